//! Where every setting comes from: flag before variable before file before default.
//!
//! This room is the only reader of the environment and of files that people write. In: the parsed
//! flags ([`Layer`]). Out: [`Settings`], checked, made of the `Settings` of the rooms that use them;
//! the root keys; a client's credential. Nothing in here opens a socket or a database, and no error of
//! it quotes a value that could be a secret.

mod client;
mod credential_file;
mod environment;
mod file;
mod gateway;
mod layer;
mod private_file;
mod reference;
mod root_key;
mod settings;

pub use client::{ClientArgs, ClientSettings, DEFAULT_CREDENTIAL_FILE};
pub use credential_file::{Credential, admin_env, read as read_credential_file};
pub use environment::{unknown_variables, verify_secret};
pub use gateway::Gateway;
pub use layer::{Layer, LogFormat, Switch, UnknownRoutes, VerifyAuth};
pub use private_file::{
    create as create_private_file, in_words, quoted, read as read_private_file,
    replace as replace_private_file,
};
pub use reference::{SettingDoc, reference};
pub use root_key::{parse as parse_root_keys, read as read_root_keys};
pub use settings::{Settings, SettingsArgs};

/// A setting, or a file that a setting names, is wrong. One line that says what to do, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);
