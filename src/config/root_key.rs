//! Reads the file of root keys.

use std::path::Path;

use super::{SettingsError, private_file, quoted};
use crate::domain::keyring::RootKeyring;

/// The root keys in a file that others can't read.
pub fn read(path: &Path) -> Result<RootKeyring, SettingsError> {
    if !path.exists() {
        return Err(SettingsError(format!(
            "root key file {} does not exist; make one with `countersign root-key generate --out {}`, \
             and give every replica of one store the same file",
            path.display(),
            quoted(path),
        )));
    }
    parse(path, &private_file::read("root key file", path)?)
}

/// The root keys that a file's text holds.
pub fn parse(path: &Path, text: &str) -> Result<RootKeyring, SettingsError> {
    RootKeyring::parse(text)
        .map_err(|error| SettingsError(format!("root key file {}: {error}", path.display())))
}
