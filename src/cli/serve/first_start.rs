//! The first start on an empty SQLite store makes the first admin credential.
//!
//! ```text
//!   mint ─► admin.env on the disk ─► install in the store
//!                     │                    │
//!            crash here: the next    crash here: it is there,
//!            start installs it       and so is the file
//! ```

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::first_credential::{Form, mint, read, text};
use crate::config::{Settings, create_private_file, in_words};
use crate::control::{Occasion, install_administrator};
use crate::domain::ids::Environment;
use crate::store::Store;

/// Where the first admin's credential is, as far as this server knows.
#[derive(Debug)]
pub(super) enum Whereabouts {
    /// In this file.
    File(PathBuf),
    /// With whoever ran `countersign bootstrap`.
    Elsewhere,
    /// There is none yet.
    Nowhere,
}

/// On SQLite makes what is missing. On PostgreSQL nothing is generated: several replicas start at once.
pub(super) async fn bootstrap(store: &Store, settings: &Settings) -> Result<Whereabouts, Failure> {
    let (revision, _) = store.last_revision().await.map_err(Failure::said)?;
    let file = settings.data_dir.join("admin.env");
    if !settings.store.url.is_sqlite() {
        return Ok(if revision == 0 { Whereabouts::Nowhere } else { Whereabouts::Elsewhere });
    }
    remove_if_empty(&file);
    if revision > 0 {
        let is_there = file.exists();
        return Ok(if is_there { Whereabouts::File(file) } else { Whereabouts::Elsewhere });
    }
    // The file of a start that was cut short is as good as a new one.
    if !file.exists() {
        let credential = mint(&settings.brands, Environment::Live)?;
        create_private_file(&file, &text(&credential, Form::Variables)).map_err(|error| {
            Failure::Said(format!("can't write {}: {}", file.display(), in_words(&error)))
        })?;
    }
    let credential = read(&file, &settings.brands)?;
    install_administrator(store, &credential, Occasion::First).await.map_err(Failure::said)?;
    Ok(Whereabouts::File(file))
}

/// A Secret that is mounted as this file leaves an empty one on the volume when it is mounted no more: it would be
/// taken for a credential here and by the command line. One that can't be removed is complained of by whoever reads
/// it, and no reason not to serve.
fn remove_if_empty(file: &Path) {
    if std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
        let _ = std::fs::remove_file(file);
    }
}
