//! Connections: a pool that writes, one that reads, one that follows the log and one that checks it. Whatever callers
//! ask for at once, the follower has a connection, and so verifications go on.
//!
//! The pools are sqlx's own, made here and handed to SeaORM, so that no `ConnectOptions` of SeaORM exists: it would
//! write the URL with its password into a span at TRACE.
//!
//! A connection lies in its pool, and is handed out, in a known state only. A future that is dropped inside `BEGIN`
//! can leave a connection within a transaction that nobody knows of (sqlx 0.9.0); whatever ran on it afterwards would
//! be lost. And after a failover a connection can still lead to the old primary, which now only reads. So what is open
//! is ended when a connection comes back, and looked for once more when it goes out; one that can't write is closed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _,
    pool::PoolOptions,
    postgres::{PgConnectOptions, PgConnection, Postgres},
    sqlite::{
        Sqlite, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
    },
};
use sea_orm::{
    ConnAcquireErr, DatabaseConnection, DbBackend, DbErr, SqlxPostgresConnector,
    SqlxSqliteConnector,
};
use tokio::sync::Semaphore;

use super::Settings;
use super::direct::Direct;
use super::error::Fault;
use super::reader::Reader;
use super::url::Place;
use crate::domain::Error;

/// How many connections of one process write to PostgreSQL: one works while the next has begun and waits for the
/// lock. More would only wait.
const POSTGRES_WRITERS: u32 = 2;

/// All connections of a store.
pub(super) struct Pools {
    pub(super) writer: DatabaseConnection,
    pub(super) reader: Reader,
    /// The follower's alone. Its connections belong to the runtime that uses it first.
    pub(super) follower: Reader,
    /// On PostgreSQL, for what is a single message: the follower's, and everybody else's.
    direct: Option<[Direct; 2]>,
    /// Whether a session keeps nothing from one transaction to the next.
    pub(super) pooled: bool,
    /// How to connect for listening, where that can be done.
    listening: Option<PgConnectOptions>,
    /// For the check of the log, which may take minutes.
    pub(super) checker: Reader,
    /// Makes connections for loading all keys, which are closed when that is done.
    pub(super) loaders: Box<dyn Fn(u32) -> Reader + Send + Sync>,
    /// Lists that may be made at once.
    pub(super) lists: Semaphore,
    /// Watchers that may read from the store at once.
    pub(super) replays: Semaphore,
    pub(super) backend: DbBackend,
    /// How long to wait for the writer's lock, and for a free connection.
    pub(super) patience: Duration,
    reachable: Reachable,
}

/// Whether the connection that was looked at last was good. A database that can't be reached shows in this before
/// all connections are gone, since each is looked at when it comes back and when it goes out.
type Reachable = Arc<AtomicBool>;

impl Pools {
    /// Pools that connect when they are first used.
    pub(super) fn new(settings: &Settings) -> Self {
        let patience = settings.lock_timeout;
        let readers = settings.max_connections.max(1);
        match &settings.url.0 {
            Place::Sqlite(path) => {
                let options = sqlite_options(path, patience);
                let read_only = options.clone().pragma("query_only", "ON");
                let reader =
                    |size| Reader::new(sqlite_pool(read_only.clone(), size, patience), false);
                Self {
                    writer: sqlite_pool(options, 1, patience),
                    reader: reader(readers),
                    follower: reader(1),
                    checker: reader(1),
                    // Who reads everything once has no use for a large cache.
                    loaders: {
                        let options = read_only.clone().pragma("cache_size", "-512");
                        Box::new(move |size| {
                            Reader::new(sqlite_pool(options.clone(), size, patience), false)
                        })
                    },
                    lists: places(readers),
                    replays: places(readers),
                    backend: DbBackend::Sqlite,
                    patience,
                    reachable: Arc::new(AtomicBool::new(true)),
                    direct: None,
                    pooled: false,
                    listening: None,
                }
            }
            Place::Postgres(server) => {
                let options = postgres_options(&server.options);
                let pooled = server.pooled;
                let reachable = Reachable::default();
                let pool = |size| postgres_pool(options.clone(), size, patience, &reachable);
                Self {
                    writer: pool(POSTGRES_WRITERS),
                    reader: Reader::new(pool(readers), pooled),
                    // Two, so that it can go on while one that has gone silent is looked at.
                    follower: {
                        let patience = settings.following.read * 2;
                        let pool = postgres_pool(options.clone(), 2, patience, &reachable);
                        Reader::new(pool, pooled)
                    },
                    checker: Reader::new(pool(1), pooled),
                    loaders: {
                        let (options, reachable) = (options.clone(), Arc::clone(&reachable));
                        Box::new(move |size| {
                            let pool = postgres_pool(options.clone(), size, patience, &reachable);
                            Reader::new(pool, pooled)
                        })
                    },
                    lists: places(readers),
                    replays: places(readers),
                    backend: DbBackend::Postgres,
                    patience,
                    reachable,
                    direct: Some([(), ()].map(|()| Direct::new(options.clone()))),
                    pooled,
                    listening: (!pooled).then_some(options),
                }
            }
        }
    }

    /// An error of a pool. That no connection was free in time means that all are busy, or that none can be made;
    /// what last became of one tells which.
    pub(super) fn explain(&self, error: DbErr) -> Fault {
        let timed_out = matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        if timed_out && !self.reachable.load(Ordering::Acquire) {
            Error::Unavailable("the database can't be reached").into()
        } else {
            error.into()
        }
    }

    /// Connections for single messages; `None` on SQLite.
    pub(super) fn direct(&self, of_follower: bool) -> Option<&Direct> {
        let [follower, others] = self.direct.as_ref()?;
        Some(if of_follower { follower } else { others })
    }

    /// How to connect for LISTEN, which needs a session of its own.
    pub(super) fn listening(&self) -> Option<PgConnectOptions> {
        self.listening.clone()
    }

    /// Closes all connections, which on SQLite moves the journal into the database file.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        for direct in self.direct.iter().flatten() {
            direct.close().await;
        }
        self.checker.close().await?;
        self.follower.close().await?;
        self.reader.close().await?;
        self.writer.close_by_ref().await
    }
}

/// Lists and replays hold pages in memory and may read for long: each kind gets a third of the readers, four at most,
/// so that whoever asks for one row finds a connection.
fn places(readers: u32) -> Semaphore {
    Semaphore::new((readers / 3).clamp(1, 4) as usize)
}

/// WAL, so that reading and writing don't wait for each other; FULL, so that a commit is on the disk when it returns.
/// The journal files get the permissions of the database file.
pub(super) fn sqlite_options(path: &std::path::Path, patience: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(patience)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .disable_statement_logging()
}

pub(super) fn postgres_options(options: &PgConnectOptions) -> PgConnectOptions {
    let options = match options.get_application_name() {
        Some(_) => options.clone(),
        None => options.clone().application_name("countersign"),
    };
    options.disable_statement_logging()
}

fn sqlite_pool(options: SqliteConnectOptions, size: u32, patience: Duration) -> DatabaseConnection {
    let pool = PoolOptions::<Sqlite>::new()
        .max_connections(size)
        .acquire_timeout(patience)
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(settle_sqlite(connection)))
        .before_acquire(|connection, _| Box::pin(settle_sqlite(connection)));
    SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.connect_lazy_with(options))
}

fn postgres_pool(
    options: PgConnectOptions,
    size: u32,
    patience: Duration,
    reachable: &Reachable,
) -> DatabaseConnection {
    // Less than an acquisition may take, so that it can still connect anew.
    let limit = patience / 2;
    let (at_first, at_release, at_acquire) =
        (reachable.clone(), reachable.clone(), reachable.clone());
    let pool = PoolOptions::<Postgres>::new()
        .max_connections(size)
        .acquire_timeout(patience)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let reachable = at_first.clone();
            Box::pin(async move {
                let settled = settle_postgres(connection, &reachable, limit).await?;
                let read_only = || sqlx::Error::Configuration("the database is read-only".into());
                settled.then_some(()).ok_or_else(read_only)
            })
        })
        .after_release(move |connection, _| {
            let reachable = at_release.clone();
            Box::pin(async move { settle_postgres(connection, &reachable, limit).await })
        })
        .before_acquire(move |connection, _| {
            let reachable = at_acquire.clone();
            Box::pin(async move { settle_postgres(connection, &reachable, limit).await })
        });
    SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_lazy_with(options))
}

/// Whether the connection is outside of any transaction. One that was inside is closed, not trusted.
async fn settle_sqlite(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let was_open = connection.execute("ROLLBACK").await.is_ok();
    Ok(!was_open && !connection.is_in_transaction())
}

/// Ends what is open, and says whether the connection leads to a server that takes writes. `BEGIN` first, so that the
/// usual case, in which nothing is open, puts no warning into the server's log.
async fn settle_postgres(
    connection: &mut PgConnection,
    reachable: &Reachable,
    limit: Duration,
) -> Result<bool, sqlx::Error> {
    // A connection that a partition has cut says nothing, not even that it is dead.
    let settled = tokio::time::timeout(limit, try_settle_postgres(connection)).await;
    let settled = settled.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
    reachable.store(matches!(settled, Ok(true)), Ordering::Release);
    settled
}

async fn try_settle_postgres(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    const SETTLE: &str = "BEGIN; ROLLBACK; SHOW transaction_read_only";
    let row = sqlx::raw_sql(AssertSqlSafe(SETTLE)).fetch_one(&mut *connection).await?;
    let read_only: String = row.try_get(0)?;
    Ok(read_only == "off" && !connection.is_in_transaction())
}
