//! Why a database can't be used: one line each, which says what to do.

use sea_orm::DbErr;
use sea_orm::sqlx;

use super::error::{Fault, Kind, detail, driver_error, kind, kind_of_driver_error};
use super::migrations::READS_UP_TO;
use super::url::DatabaseUrl;
use crate::domain::Error;

/// Why a store can't be opened or migrated. Each prints as one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The SQLite file is not there.
    #[error("no database at {0}; create it with `countersign migrate --database-url {0}`")]
    NoFile(DatabaseUrl),
    /// The directory of the SQLite file is not there.
    #[error("no directory for the database {0}; make it, or check --database-url")]
    NoDirectory(DatabaseUrl),
    /// The PostgreSQL server has no database of that name.
    #[error("the server has no database {0}; create it with `createdb`, or check --database-url")]
    NoDatabase(DatabaseUrl),
    /// Nothing listens there.
    #[error("nothing answers at {0}; start the database, or check host and port in --database-url")]
    Refused(DatabaseUrl),
    /// The server can't be reached for another reason.
    #[error("can't reach {url} ({why}); check host, port and sslmode in --database-url")]
    Unreachable {
        /// The database.
        url: DatabaseUrl,
        /// What the network or TLS said.
        why: String,
    },
    /// The server is starting or shutting down, or has no connection to spare.
    #[error("the database {0} takes no connections now; try again, or raise its max_connections")]
    NotNow(DatabaseUrl),
    /// Wrong user or password.
    #[error("{0} refuses this user and password; check them in --database-url")]
    WrongPassword(DatabaseUrl),
    /// The user lacks a right.
    #[error("the user of {url} may not use the database ({why}); grant it the right")]
    NoRight {
        /// The database.
        url: DatabaseUrl,
        /// What the server said.
        why: String,
    },
    /// Somebody holds the write lock for longer than we wait.
    #[error("the database {0} is locked by another process; stop that one, or try again")]
    Locked(DatabaseUrl),
    /// It can be read but not written.
    #[error(
        "the database {0} is read-only; make the file and its directory writable for this user, \
         or give the primary in --database-url"
    )]
    ReadOnly(DatabaseUrl),
    /// The file is there but can't be opened.
    #[error(
        "can't open the database {0}; make the file and its directory readable and writable for this user"
    )]
    CannotOpen(DatabaseUrl),
    /// Something else is in its place.
    #[error("{0} is not a database; check --database-url, or restore the file from a backup")]
    NotADatabase(DatabaseUrl),
    /// No room.
    #[error("there is no space left for the database {0}; make room")]
    Full(DatabaseUrl),
    /// A migration of this release was not applied.
    #[error("the database needs migrating: run `countersign migrate --database-url {0}`")]
    Pending(DatabaseUrl),
    /// A newer release made changes that this one can't read.
    #[error(
        "the database was migrated by a newer release (min_reader {min_reader}, this release reads up to \
         {reads_up_to}); install that release or a newer one"
    )]
    TooNew {
        /// The least release that can read the database.
        min_reader: i32,
        /// What this release can read.
        reads_up_to: i32,
    },
    /// The data key is wrapped by root keys that are not at hand.
    #[error(
        "the root key file lacks version {version}, which wraps this database's data key; \
         use the root key file that belongs to this database"
    )]
    NoRootKey {
        /// The newest version that would do.
        version: i32,
    },
    /// The root key of that version is another one.
    #[error(
        "version {version} of the root key file is not the root key of this database; \
         use the root key file that belongs to this database"
    )]
    WrongRootKey {
        /// The version.
        version: u32,
    },
    /// There are keys but no data key.
    #[error(
        "the database has lost its data key, without which no secret can be verified; restore it from a backup"
    )]
    NoDataKey,
    /// The server is too old.
    #[error("PostgreSQL {version} is too old; use 14 or newer")]
    TooOld {
        /// What the server says it is.
        version: String,
    },
    /// The database's encoding can't hold every text.
    #[error("the database has encoding {encoding}; create it with ENCODING 'UTF8'")]
    Encoding {
        /// Its encoding.
        encoding: String,
    },
    /// Anything else.
    #[error("can't use the database {url}: {why}")]
    Other {
        /// The database.
        url: DatabaseUrl,
        /// What happened.
        why: String,
    },
}

impl OpenError {
    pub(super) fn too_new(min_reader: i32) -> Self {
        Self::TooNew { min_reader, reads_up_to: READS_UP_TO }
    }

    pub(super) fn of_fault(url: &DatabaseUrl, fault: Fault) -> Self {
        match fault {
            Fault::Database(error) => Self::of_database(url, &error),
            Fault::LockTimeout => Self::Locked(url.clone()),
            Fault::OutcomeUnknown => Self::other(url, "the connection broke; try again".to_owned()),
            Fault::Refused(Error::Internal(detail)) => Self::other(url, detail),
            Fault::Refused(error) => Self::other(url, error.to_string()),
        }
    }

    pub(super) fn of_database(url: &DatabaseUrl, error: &DbErr) -> Self {
        match driver_error(error) {
            Some(error) => Self::of_driver(url, error),
            None if kind(error) == Kind::NoConnection => Self::NotNow(url.clone()),
            None => Self::other(url, detail(error)),
        }
    }

    pub(super) fn of_driver(url: &DatabaseUrl, error: &sqlx::Error) -> Self {
        let url = url.clone();
        match error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                match (url.is_sqlite(), &*code) {
                    (true, "26" | "11") => return Self::NotADatabase(url),
                    (true, "14") => return Self::CannotOpen(url),
                    (false, "3D000") => return Self::NoDatabase(url),
                    (false, "28P01" | "28000") => return Self::WrongPassword(url),
                    (false, "42501") => {
                        return Self::NoRight { url, why: one_line(database.message()) };
                    }
                    _ => {}
                }
                match kind_of_driver_error(error) {
                    Kind::Conflict | Kind::LockTimeout => Self::Locked(url),
                    Kind::ReadOnly => Self::ReadOnly(url),
                    Kind::Full => Self::Full(url),
                    Kind::Lost if url.is_sqlite() => Self::CannotOpen(url),
                    Kind::Lost => Self::NotNow(url),
                    _ => Self::other(&url, format!("{code}: {}", database.message())),
                }
            }
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Self::Refused(url)
            }
            sqlx::Error::Io(error) => Self::Unreachable { url, why: one_line(&error.to_string()) },
            sqlx::Error::Tls(error) => Self::Unreachable { url, why: one_line(&error.to_string()) },
            other => Self::other(&url, other.to_string()),
        }
    }

    pub(super) fn other(url: &DatabaseUrl, why: String) -> Self {
        Self::Other { url: url.clone(), why: one_line(&why) }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
