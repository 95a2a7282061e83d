//! What a command finds or makes before it can open a store: the data folder, the root keys, the schema.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use super::failure::Failure;
use super::root_key;
use crate::config::{Settings, in_words, read_root_keys};
use crate::domain::random::OsRandom;
use crate::store::{self, OpenError, Store};

/// Makes the data folder where it holds the store: on SQLite.
pub(super) fn folder_of_store(settings: &Settings) -> Result<(), Failure> {
    if settings.store.url.is_sqlite() { data_dir(settings) } else { Ok(()) }
}

/// Makes the data folder, closed to others.
pub(super) fn data_dir(settings: &Settings) -> Result<(), Failure> {
    let dir = &settings.data_dir;
    if dir.exists() && !dir.is_dir() {
        return Err(Failure::Said(format!("the data folder {} is a file", dir.display())));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        Failure::Said(format!("can't make the data folder {}: {}", dir.display(), in_words(&error)))
    })
}

/// Opens a store that must be there, with the root keys that it was made with; makes nothing.
pub(super) async fn existing_store(settings: &Settings) -> Result<Store, Failure> {
    // Before the root keys are missed: whoever mistypes the folder would be told to make new ones.
    if let Some(file) = settings.store.url.sqlite_path().filter(|file| !file.exists()) {
        return Err(Failure::Said(format!(
            "there is no store at {}; check --data-dir and --database-url",
            file.display()
        )));
    }
    let keyring = read_root_keys(&settings.root_key_file()?)?;
    Store::open(&settings.store, keyring, Arc::new(OsRandom)).await.map_err(Failure::said)
}

/// Opens the store of a server or of `bootstrap`. On SQLite what is missing is made.
pub(super) async fn open_store(settings: &Settings) -> Result<Store, Failure> {
    folder_of_store(settings)?;
    let file = settings.root_key_file()?;
    let is_new = settings.makes_root_key() && !file.exists();
    if is_new {
        root_key::create(&file)?;
    }
    let keyring = read_root_keys(&file)?;
    let opened = async {
        if settings.store.url.is_sqlite() {
            store::migrate(&settings.store).await?;
        }
        Store::open(&settings.store, keyring, Arc::new(OsRandom)).await
    };
    match opened.await {
        Ok(store) => {
            if is_new {
                tracing::info!(file = %file.display(), "made a root key; keep a copy of it, apart from the database's");
            }
            Ok(store)
        }
        Err(OpenError::WrongRootKey { .. } | OpenError::NoRootKey { .. }) if is_new => {
            Err(forget_new(&file))
        }
        Err(error) => Err(Failure::said(error)),
    }
}

/// The database was made with another root key, so the one that was just made is of no use and would
/// only hide what is missing.
fn forget_new(file: &Path) -> Failure {
    // If it stays, the next start says that it is the wrong one.
    let _ = std::fs::remove_file(file);
    Failure::Said(format!(
        "the root key file {} is missing, and the database was made with it; restore it from a backup",
        file.display()
    ))
}
