//! One server in a data folder, and one on a SQLite database: two would each believe that nobody else writes, and write
//! each other's notes.
//!
//! The lock is the operating system's: it ends with the process, however that ends. The files stay.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::config::{Settings, in_words};

/// What keeps other servers out while this value lives.
#[derive(Debug)]
pub(super) struct Locks {
    _held: Vec<File>,
}

/// Takes the data folder, which is there, and the SQLite database, which need not be there yet nor lie in the folder.
pub(super) fn take(settings: &Settings) -> Result<Locks, Failure> {
    let dir = &settings.data_dir;
    let in_use = format!(
        "the data folder {} is in use by another server; give each server a folder of its own with --data-dir",
        dir.display()
    );
    let mut held = vec![lock(&dir.join("lock"), &in_use)?];
    // Where no database can be, opening it says what is wrong.
    let database = settings.store.url.sqlite_path();
    if let Some(database) =
        database.filter(|file| !file.is_dir() && file.parent().is_some_and(is_there))
    {
        let in_use = format!(
            "the database {} is in use by another server; several servers need PostgreSQL",
            database.display()
        );
        held.push(lock(&beside(database), &in_use)?);
    }
    Ok(Locks { _held: held })
}

fn is_there(parent: &Path) -> bool {
    parent.as_os_str().is_empty() || parent.is_dir()
}

/// The lock of a database file, the same by whatever way the file is reached.
fn beside(database: &Path) -> PathBuf {
    let real = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let mut name = real.into_os_string();
    name.push(".lock");
    name.into()
}

fn lock(path: &Path, in_use: &str) -> Result<File, Failure> {
    let failed = |error: &std::io::Error| {
        Failure::Said(format!("can't lock {}: {}", path.display(), in_words(error)))
    };
    let mut options = OpenOptions::new();
    let opened = options.create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = opened.map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::said(in_use)),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}
