//! What the commands that call a server need: where it is, and the credential to present.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::credential_file::{self, Credential};
use super::{SettingsError, environment};

/// The folder in which `serve` leaves the first admin's credential unless told otherwise.
pub const DEFAULT_CREDENTIAL_FILE: &str = "countersign-data/admin.env";

/// Flags and variables of the commands that call a server.
///
/// The secret has no flag: arguments are seen by everybody on the machine.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ClientArgs {
    /// The server
    #[arg(
        long,
        env = "COUNTERSIGN_ENDPOINT",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:50051"
    )]
    endpoint: String,

    /// The key id to present; its secret is taken from the variable COUNTERSIGN_SECRET
    #[arg(
        id = "caller",
        long = "as",
        env = "COUNTERSIGN_KEY_ID",
        hide_env_values = true,
        value_name = "KEY_ID"
    )]
    key_id: Option<String>,

    /// A file with the credential to present, before the variables. Without any of them,
    /// countersign-data/admin.env is used if it is there
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,

    /// How long to wait for an answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// What a call needs.
#[derive(Debug)]
pub struct ClientSettings {
    /// An `http://` URL.
    pub endpoint: String,
    /// Whom to call as; `None` presents nothing.
    pub credential: Option<Credential>,
    /// How long one call may take, with all its attempts.
    pub timeout: Duration,
}

impl ClientArgs {
    /// The settings that the flags and the environment say.
    pub fn resolve(self) -> Result<ClientSettings, SettingsError> {
        let timeout = Duration::from_secs(self.timeout);
        let credential = credential(self.credential_file.as_deref(), self.key_id)?;
        Ok(ClientSettings { endpoint: self.endpoint, credential, timeout })
    }
}

fn credential(
    file: Option<&Path>,
    key_id: Option<String>,
) -> Result<Option<Credential>, SettingsError> {
    if let Some(file) = file {
        return credential_file::read(file).map(Some);
    }
    let key_id = key_id.filter(|key_id| !key_id.is_empty());
    match (key_id, environment::variable(environment::SECRET)) {
        (Some(key_id), Some(secret)) => Ok(Some(Credential { key_id, secret })),
        (Some(_), None) => Err(half("the variable COUNTERSIGN_SECRET is not set")),
        (None, Some(_)) => Err(half("the variable COUNTERSIGN_KEY_ID is not set")),
        (None, None) => {
            let default = Path::new(DEFAULT_CREDENTIAL_FILE);
            // One that can't be read belongs to somebody else.
            if std::fs::File::open(default).is_ok() {
                credential_file::read(default).map(Some)
            } else {
                Ok(None)
            }
        }
    }
}

fn half(what: &str) -> SettingsError {
    SettingsError(format!("{what}: a credential is a key id and its secret"))
}
