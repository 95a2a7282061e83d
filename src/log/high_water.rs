//! How far this replica has come, in a file that survives its restart: a database that comes back with less, or
//! with something else in that place, has lost what somebody was told.
//!
//! ```text
//!  this replica    … 91 ─ 92 ─ mark (1, 92, hash) ─ stops                    starts ─ 92' ≠ 92: nothing is answered
//!  database        … 91 ─ 92 ─────────────── restored from a backup: … 91 ─ 92' ─ 93'
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// If there may be one that can't be read: it could be what tells us that something was lost. Says where it is and
    /// what to do.
    fn read(&self, store: StoreId) -> io::Result<Option<Mark>>;

    /// Keeps a mark in the place of the one before. On return it outlives a power cut.
    ///
    /// # Errors
    ///
    /// Those of the place.
    fn keep(&self, mark: &Mark) -> io::Result<()>;

    /// The same, but need not have happened on return: whoever follows the log must not wait for a disk. Says whether
    /// it was begun; it is not while one before it is under way.
    fn keep_soon(&self, mark: &Mark) -> bool {
        let kept = self.keep(mark);
        kept.inspect_err(not_kept).is_ok()
    }
}

fn not_kept(error: &io::Error) {
    tracing::warn!(%error, "can't keep the high-water mark in the data directory");
}

/// A file in the data directory.
#[derive(Debug, Clone)]
pub struct HighWaterFile {
    path: PathBuf,
    /// Held by whoever writes; counts what was written while somebody waited, so that nothing older comes after it.
    writing: Arc<Mutex<u64>>,
}

impl HighWaterFile {
    /// The file in that directory.
    pub fn within(data_dir: &Path) -> Self {
        Self { path: data_dir.join("high-water.json"), writing: Arc::default() }
    }

    fn unreadable(&self, why: impl std::fmt::Display) -> io::Error {
        io::Error::other(format!(
            "the high-water mark {} can't be read ({why}); it says how far this replica has followed the log. Restore \
             it; or, if the database has lost nothing since, remove it, and it is made anew",
            self.path.display()
        ))
    }

    /// Written beside, onto the disk, and renamed, so that a crash or a power cut leaves the old one or the new one.
    fn write(&self, mark: &Mark) -> io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        // One that was left behind may have had another mode.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(serde_json::to_string(mark)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl HighWater for HighWaterFile {
    fn read(&self, store: StoreId) -> io::Result<Option<Mark>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unreadable(error.kind())),
        };
        if text.trim().is_empty() {
            return Err(self.unreadable("it is empty"));
        }
        let mark: Result<Mark, _> = serde_json::from_str(&text);
        let mark = mark.map_err(|_| self.unreadable("it holds something else"))?;
        if mark.store != store.0 {
            tracing::warn!("the data directory was used with another store before");
            return Ok(None);
        }
        Ok(Some(mark))
    }

    fn keep(&self, mark: &Mark) -> io::Result<()> {
        let mut waited_for = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        *waited_for += 1;
        self.write(mark)
    }

    fn keep_soon(&self, mark: &Mark) -> bool {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return self.keep(mark).inspect_err(not_kept).is_ok();
        };
        let Ok(waited_for) = self.writing.try_lock().map(|waited_for| *waited_for) else {
            return false;
        };
        let (file, mark) = (self.clone(), *mark);
        // Nobody waits for the outcome: a mark that was not kept is tried again with the next change.
        drop(runtime.spawn_blocking(move || {
            let before = file.writing.lock().unwrap_or_else(PoisonError::into_inner);
            if *before == waited_for {
                let _ = file.write(&mark).inspect_err(not_kept);
            }
        }));
        true
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
        let path = folder.path().join("high-water.json");
        let refused = || {
            let error = file.read(StoreId([1; 16])).expect_err("can't be read").to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
            assert!(error.contains("remove it") && !error.contains('\n'), "{error}");
        };
        for text in ["{\"store\":", "", "\n", "{}", "null"] {
            fs::write(&path, text).expect("written");
            refused();
        }
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("made");
        refused();
    }

    #[test]
    fn the_file_is_closed_to_others_also_where_one_that_was_left_behind_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = HighWaterFile::within(folder.path());
        let left = folder.path().join("high-water.json.new");
        fs::write(&left, "left by a crash").expect("written");
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).expect("opened");
        file.keep(&MARK).expect("kept");
        let kept = fs::metadata(folder.path().join("high-water.json")).expect("there");
        assert_eq!(kept.permissions().mode() & 0o777, 0o600);
        assert!(!left.exists());
    }

    #[test]
    fn a_mark_that_is_kept_soon_never_takes_the_place_of_a_later_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = HighWaterFile::within(folder.path());
        let revision = || file.read(StoreId([1; 16])).expect("there").map(|mark| mark.revision);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().expect("a runtime");
        runtime.block_on(async {
            let held = file.writing.lock().expect("free");
            assert!(!file.keep_soon(&MARK), "one before it is under way");
            drop(held);
            // The disk is busy until the later one is kept.
            let (free, busy) = std::sync::mpsc::sync_channel::<()>(1);
            let disk = tokio::task::spawn_blocking(move || busy.recv());
            assert!(file.keep_soon(&MARK));
            file.keep(&Mark { revision: 8, ..MARK }).expect("kept");
            free.send(()).expect("it waits");
            disk.await.expect("ends").expect("was told");
            tokio::task::spawn_blocking(|| {}).await.expect("comes after it");
            assert_eq!(revision(), Some(8));
            assert!(file.keep_soon(&Mark { revision: 9, ..MARK }));
            tokio::task::spawn_blocking(|| {}).await.expect("comes after it");
            assert_eq!(revision(), Some(9));
        });
    }
}
