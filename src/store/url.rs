//! Where a database is. The one type that holds a database password; it never shows it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sea_orm::sqlx::postgres::PgConnectOptions;

/// Where the database is: a SQLite file or a PostgreSQL server. It prints without password and parameters.
#[derive(Clone)]
pub struct DatabaseUrl(pub(super) Place);

#[derive(Clone)]
pub(super) enum Place {
    Sqlite(PathBuf),
    Postgres(Box<Server>),
}

/// How to connect to PostgreSQL.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) options: PgConnectOptions,
    /// Whether nothing may be kept in a session from one transaction to the next, since a pooler gives it to another
    /// client between them. The URL says so by `statement-cache-capacity=0`.
    pub(super) pooled: bool,
}

/// Why a database URL is refused. Never holds a part of the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// Neither `sqlite:` nor `postgres://`.
    #[error("must begin with sqlite: or postgres://")]
    Scheme,
    /// `sqlite:` with no file after it.
    #[error("names no file after sqlite:")]
    NoFile,
    /// A SQLite database in memory, which would forget every key.
    #[error("must name a file: a database in memory would forget every key")]
    InMemory,
    /// `sqlite:` with `?…`.
    #[error("must have no parameters after sqlite: and the file")]
    SqliteParameters,
    /// Not what a PostgreSQL URL looks like.
    #[error("is not of the form postgres://user:password@host:port/database")]
    Postgres,
    /// A parameter that the driver would pass over, perhaps a misspelt `sslmode`.
    #[error("has an unknown parameter; known are {}", PARAMETERS.join(", "))]
    Parameter,
}

/// The parameters of a PostgreSQL URL that the driver knows (sqlx-postgres, `options/parse.rs`).
const PARAMETERS: [&str; 13] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

impl DatabaseUrl {
    /// Reads `sqlite:path`, `sqlite://path`, `postgres://…` or `postgresql://…`.
    pub fn parse(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        if let Some(rest) = text.strip_prefix("sqlite:") {
            return sqlite(rest.strip_prefix("//").unwrap_or(rest)).map(Self);
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return postgres(text).map(Self);
        }
        Err(InvalidDatabaseUrl::Scheme)
    }

    /// A SQLite database in this file.
    pub fn sqlite_file(path: &Path) -> Self {
        Self(Place::Sqlite(path.to_owned()))
    }

    /// The SQLite file, if it is one.
    pub fn sqlite_path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Sqlite(path) => Some(path),
            Place::Postgres(_) => None,
        }
    }

    /// Whether this is a SQLite file.
    pub fn is_sqlite(&self) -> bool {
        matches!(self.0, Place::Sqlite(_))
    }
}

fn sqlite(path: &str) -> Result<Place, InvalidDatabaseUrl> {
    match path {
        "" => Err(InvalidDatabaseUrl::NoFile),
        _ if path.starts_with(":memory:") => Err(InvalidDatabaseUrl::InMemory),
        _ if path.contains('?') => Err(InvalidDatabaseUrl::SqliteParameters),
        _ => Ok(Place::Sqlite(path.into())),
    }
}

fn postgres(text: &str) -> Result<Place, InvalidDatabaseUrl> {
    let parameters = text.split_once('?').map_or("", |(_, parameters)| parameters);
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        if !PARAMETERS.contains(&name) {
            return Err(InvalidDatabaseUrl::Parameter);
        }
    }
    let options = PgConnectOptions::from_str(text).map_err(|_| InvalidDatabaseUrl::Postgres)?;
    let is_zero = |value: &str| value.parse() == Ok(0);
    let pooled = parameters
        .split('&')
        .filter_map(|parameter| parameter.split_once('='))
        .any(|(name, value)| name == "statement-cache-capacity" && is_zero(value));
    Ok(Place::Postgres(Box::new(Server { options, pooled })))
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        Self::parse(text)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Place::Postgres(server) => {
                let options = &server.options;
                let (user, host) = (options.get_username(), options.get_host());
                let database = options.get_database().unwrap_or(user);
                write!(f, "postgres://{user}@{host}:{}/{database}", options.get_port())
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, InvalidDatabaseUrl> {
        DatabaseUrl::parse(text).map(|url| format!("{url} {url:?}"))
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = "postgres://app:hunter2@db.internal:6432/keys?sslmode=require&password=hunter3";
        let shown = shown(url).expect("a good URL");
        assert!(shown.starts_with("postgres://app@db.internal:6432/keys "), "{shown}");
        assert!(!shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn sqlite_is_a_file() {
        for (text, path) in
            [("sqlite:a.db", "a.db"), ("sqlite://a/b.db", "a/b.db"), ("sqlite:///a.db", "/a.db")]
        {
            let url = DatabaseUrl::parse(text).expect("a good URL");
            assert!(url.is_sqlite());
            assert_eq!(url.to_string(), format!("sqlite:{path}"));
        }
    }

    #[test]
    fn what_is_no_database_url_is_refused_with_the_reason() {
        for (text, why) in [
            ("", InvalidDatabaseUrl::Scheme),
            ("mysql://host/db", InvalidDatabaseUrl::Scheme),
            ("sqlite:", InvalidDatabaseUrl::NoFile),
            ("sqlite://", InvalidDatabaseUrl::NoFile),
            ("sqlite::memory:", InvalidDatabaseUrl::InMemory),
            ("sqlite:a.db?mode=ro", InvalidDatabaseUrl::SqliteParameters),
            ("postgres://host:port/db", InvalidDatabaseUrl::Postgres),
            ("postgres://host/db?sslmod=require", InvalidDatabaseUrl::Parameter),
        ] {
            assert_eq!(shown(text), Err(why), "{text}");
        }
    }
}
