//! Where a database's errors become ours, once.

use std::time::Duration;

use sea_orm::sqlx;
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, SqlxSqliteError};

use crate::domain::Error;

/// Why a piece of work on the database stopped.
#[derive(Debug)]
pub(super) enum Fault {
    /// The rules said no, or what is stored makes no sense.
    Refused(Error),
    /// The database said no.
    Database(DbErr),
    /// The writer's lock was not to be had in time.
    LockTimeout,
    /// COMMIT was sent, and no answer came back.
    OutcomeUnknown,
}

/// What an error of the database means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another transaction was in the way; trying again is right.
    Conflict,
    /// A lock was not to be had in time.
    LockTimeout,
    /// No connection was free in time.
    NoConnection,
    /// No room.
    Full,
    /// The database takes no writes.
    ReadOnly,
    /// The connection broke, or the server goes down or comes up.
    Lost,
    /// Anything else: a fault of ours, or a damaged database.
    Other,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<DbErr> for Fault {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

/// The database gave no answer in time. Its connection is of no use any more.
pub(super) fn no_answer() -> DbErr {
    let silent = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
    DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::Io(silent).into()))
}

impl Fault {
    /// A fault of ours, with what to look at in the log.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::Refused(Error::Internal(detail.into()))
    }

    /// Whether doing the same again may succeed at once.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) if kind(error) == Kind::Conflict)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let retry_after = Duration::from_secs(1);
        match fault {
            Fault::Refused(error) => error,
            Fault::LockTimeout => Self::Overloaded { what: "the writer's lock", retry_after },
            Fault::OutcomeUnknown => {
                Self::Unavailable("the outcome of the change is unknown; repeat it")
            }
            Fault::Database(error) => match kind(&error) {
                Kind::Conflict | Kind::LockTimeout => {
                    Self::Overloaded { what: "the writer's lock", retry_after }
                }
                Kind::NoConnection => {
                    Self::Overloaded { what: "database connections", retry_after }
                }
                Kind::Full => Self::StoreFull,
                Kind::ReadOnly => Self::Unavailable("the database is read-only"),
                Kind::Lost => Self::Unavailable("the database can't be reached"),
                Kind::Other => Self::Internal(detail(&error)),
            },
        }
    }
}

/// What an error means, by SQLSTATE (PostgreSQL, appendix A) or result code (<https://www.sqlite.org/rescode.html>).
pub(super) fn kind(error: &DbErr) -> Kind {
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => Kind::NoConnection,
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => Kind::Lost,
        _ => driver_error(error).map_or(Kind::Other, kind_of_driver_error),
    }
}

pub(super) fn kind_of_driver_error(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            if database.try_downcast_ref::<SqlxSqliteError>().is_some() {
                sqlite_kind(code.parse().unwrap_or_default())
            } else {
                postgres_kind(&code)
            }
        }
        sqlx::Error::PoolTimedOut => Kind::NoConnection,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed
        | sqlx::Error::InvalidSavePointStatement => Kind::Lost,
        _ => Kind::Other,
    }
}

fn sqlite_kind(extended: i32) -> Kind {
    match extended & 0xff {
        // BUSY, LOCKED
        5 | 6 => Kind::Conflict,
        // READONLY
        8 => Kind::ReadOnly,
        // FULL; IOERR_SHMSIZE and IOERR_SHMMAP, when there is no room for the -shm file
        13 => Kind::Full,
        10 if matches!(extended, 4874 | 5386) => Kind::Full,
        // IOERR, CANTOPEN: the disk went away
        10 | 14 => Kind::Lost,
        _ => Kind::Other,
    }
}

fn postgres_kind(sqlstate: &str) -> Kind {
    match sqlstate {
        "40001" | "40P01" => Kind::Conflict,
        "55P03" => Kind::LockTimeout,
        "53100" => Kind::Full,
        "25006" => Kind::ReadOnly,
        // Too many connections, timeouts of the server, shutting down, crashed, starting up, no such database.
        "53300" | "57014" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" => Kind::Lost,
        _ if sqlstate.starts_with("08") || sqlstate.starts_with("58") => Kind::Lost,
        _ => Kind::Other,
    }
}

/// Whether a COMMIT that failed like this has certainly changed nothing. Everything else may have been committed,
/// also an error that the server sent: it sends one, too, when it is shut down while it waits for a standby.
pub(super) fn has_certainly_not_committed(error: &DbErr) -> bool {
    match driver_error(error) {
        Some(sqlx::Error::Database(database)) => {
            let code = database.code().unwrap_or_default();
            if database.try_downcast_ref::<SqlxSqliteError>().is_some() {
                matches!(
                    sqlite_kind(code.parse().unwrap_or_default()),
                    Kind::Conflict | Kind::Full | Kind::ReadOnly
                )
            } else {
                ["23", "25", "40", "53"].iter().any(|class| code.starts_with(class))
            }
        }
        _ => false,
    }
}

pub(super) fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// What the log gets to see: never a value that was sent. PostgreSQL quotes values in messages of class 22 (bad data)
/// and in its `DETAIL`s, so neither is taken.
pub(super) fn detail(error: &DbErr) -> String {
    match driver_error(error) {
        Some(sqlx::Error::Database(database)) => {
            let code = database.code().unwrap_or_default();
            let is_sqlite = database.try_downcast_ref::<SqlxSqliteError>().is_some();
            if code.starts_with("22") && !is_sqlite {
                format!("database error {code}")
            } else {
                format!("database error {code}: {}", database.message())
            }
        }
        Some(other) => format!("database driver: {other}"),
        None => format!("database: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_their_manuals_say() {
        for (code, kind) in [
            (5, Kind::Conflict),
            (261, Kind::Conflict),
            (517, Kind::Conflict),
            (13, Kind::Full),
            (8, Kind::ReadOnly),
            (776, Kind::ReadOnly),
            (2067, Kind::Other),
        ] {
            assert_eq!(sqlite_kind(code), kind, "SQLite {code}");
        }
        for (code, kind) in [
            ("40001", Kind::Conflict),
            ("55P03", Kind::LockTimeout),
            ("53100", Kind::Full),
            ("25006", Kind::ReadOnly),
            ("57P01", Kind::Lost),
            ("08006", Kind::Lost),
            ("23505", Kind::Other),
        ] {
            assert_eq!(postgres_kind(code), kind, "PostgreSQL {code}");
        }
    }

    #[test]
    fn a_lost_connection_at_commit_is_no_answer() {
        let lost = DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::WorkerCrashed.into()));
        assert!(!has_certainly_not_committed(&lost));
        assert_eq!(kind(&lost), Kind::Lost);
    }
}
