//! How far this replica has come, in a file that survives its restart: a database that comes back with less, or
//! with something else in that place, has lost what somebody was told.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::ids::StoreId;
use crate::domain::tree::TreeHash;

/// A place in one log that this replica has seen with its own eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The store whose log it is.
    pub store: [u8; 16],
    /// The epoch that was current.
    pub epoch: u32,
    /// The revision.
    pub revision: u64,
    /// The leaf hash of its event.
    pub leaf: TreeHash,
}

/// Where marks are kept. A trait, since replicas of the simulation have no files.
pub trait HighWater: Send + Sync {
    /// The mark of a store, if one was kept.
    ///
    /// # Errors
    ///
    /// If there may be one that can't be read: it could be what tells us that something was lost.
    fn read(&self, store: StoreId) -> io::Result<Option<Mark>>;

    /// Keeps a mark in the place of the one before.
    ///
    /// # Errors
    ///
    /// Those of the place.
    fn keep(&self, mark: &Mark) -> io::Result<()>;
}

/// A file in the data directory.
#[derive(Debug, Clone)]
pub struct HighWaterFile {
    path: PathBuf,
}

impl HighWaterFile {
    /// The file in that directory.
    pub fn within(data_dir: &Path) -> Self {
        Self { path: data_dir.join("high-water.json") }
    }
}

impl HighWater for HighWaterFile {
    fn read(&self, store: StoreId) -> io::Result<Option<Mark>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mark: Mark = serde_json::from_str(&text)?;
        if mark.store != store.0 {
            tracing::warn!("the data directory was used with another store before");
            return Ok(None);
        }
        Ok(Some(mark))
    }

    /// Written beside and renamed, so that a crash leaves the old one or the new one. It is not flushed to the
    /// disk: after a power cut an older one only notices less.
    fn keep(&self, mark: &Mark) -> io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut file = fs::File::create(&new)?;
        file.write_all(serde_json::to_string(mark)?.as_bytes())?;
        drop(file);
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { store: [1; 16], epoch: 2, revision: 7, leaf: [3; 32] };

    #[test]
    fn a_mark_is_read_back_for_its_own_store_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = HighWaterFile::within(folder.path());
        assert_eq!(file.read(StoreId([1; 16])).expect("nothing there"), None);
        file.keep(&MARK).expect("kept");
        file.keep(&Mark { revision: 8, ..MARK }).expect("kept");
        let read = file.read(StoreId([1; 16])).expect("there");
        assert_eq!(read, Some(Mark { revision: 8, ..MARK }));
        assert_eq!(file.read(StoreId([2; 16])).expect("of another store"), None);
    }

    #[test]
    fn a_mark_that_cannot_be_read_is_not_taken_for_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = HighWaterFile::within(folder.path());
        fs::write(folder.path().join("high-water.json"), "{\"store\":").expect("written");
        assert!(file.read(StoreId([1; 16])).is_err());
    }
}
