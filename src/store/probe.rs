//! A first connection, before any pool: a pool would try again until its patience is over and then only say that it
//! timed out, where one connection says what is wrong.

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::{
    self, ConnectOptions as _, Connection as _, Executor as _, Row as _,
    postgres::{PgConnectOptions, PgConnection},
};
use tokio::time::{Instant, timeout};

use super::Settings;
use super::open_error::OpenError;
use super::pools::{postgres_options, sqlite_options};
use super::url::{DatabaseUrl, Place};

/// PostgreSQL 14.
const OLDEST_POSTGRES: i32 = 140_000;
/// For how long a server may not answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects once, and checks that the database is one that this service can write to.
pub(super) async fn probe(settings: &Settings) -> Result<(), OpenError> {
    match &settings.url.0 {
        Place::Sqlite(path) => probe_sqlite(&settings.url, path, settings.lock_timeout).await,
        Place::Postgres(server) => {
            let probing = probe_postgres(&settings.url, &server.options);
            let late = |_| OpenError::Unreachable {
                url: settings.url.clone(),
                why: format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            };
            timeout(CONNECT_TIMEOUT, probing).await.map_err(late)?
        }
    }
}

async fn probe_sqlite(url: &DatabaseUrl, path: &Path, patience: Duration) -> Result<(), OpenError> {
    match tokio::fs::metadata(path).await {
        Ok(found) if found.is_dir() => return Err(OpenError::NotADatabase(url.clone())),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpenError::NoFile(url.clone()));
        }
        Err(_) => return Err(OpenError::CannotOpen(url.clone())),
    }
    let until = Instant::now() + patience;
    loop {
        match try_sqlite(path, patience).await.map_err(|error| OpenError::of_driver(url, &error)) {
            // Switching to WAL needs the file for itself and does not wait for it.
            Err(OpenError::Locked(_)) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn try_sqlite(path: &Path, patience: Duration) -> Result<(), sqlx::Error> {
    let mut connection = sqlite_options(path, patience).connect().await?;
    // SQLite opens a file that it may not write to for reading, without a word, and then takes BEGIN IMMEDIATE for
    // BEGIN. Only a write tells.
    const WRITE: &str = "BEGIN IMMEDIATE; CREATE TABLE countersign_probe (n); ROLLBACK";
    let writable = connection.execute(WRITE).await;
    // Whatever closing says, the answer is known.
    let _ = connection.close().await;
    writable.map(|_| ())
}

async fn probe_postgres(url: &DatabaseUrl, options: &PgConnectOptions) -> Result<(), OpenError> {
    let connection = postgres_options(options).connect().await;
    let mut connection = connection.map_err(|error| OpenError::of_driver(url, &error))?;
    let facts = facts(&mut connection).await;
    let _ = connection.close().await;
    let facts = facts.map_err(|error| OpenError::of_driver(url, &error))?;
    if facts.version_number < OLDEST_POSTGRES {
        return Err(OpenError::TooOld { version: facts.version });
    }
    if facts.encoding != "UTF8" {
        return Err(OpenError::Encoding { encoding: facts.encoding });
    }
    if facts.read_only != "off" {
        return Err(OpenError::ReadOnly(url.clone()));
    }
    Ok(())
}

struct Facts {
    version_number: i32,
    version: String,
    encoding: String,
    read_only: String,
}

async fn facts(connection: &mut PgConnection) -> Result<Facts, sqlx::Error> {
    const FACTS: &str = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
                         current_setting('server_encoding'), current_setting('transaction_read_only')";
    let row = connection.fetch_one(FACTS).await?;
    Ok(Facts {
        version_number: row.try_get(0)?,
        version: row.try_get(1)?,
        encoding: row.try_get(2)?,
        read_only: row.try_get(3)?,
    })
}
