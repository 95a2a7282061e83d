//! PostgreSQL connections for single short messages in the simple query protocol: one round trip each, with nothing
//! before and after, and nothing kept on the server, so that it works behind a transaction pooler too.
//!
//! A connection is used again only if the message before it was answered in full, without an error, and as expected.
//! Whatever else happens (an error, no answer in time, a future that was dropped) closes it, so that nothing half done
//! and nothing silent is ever used again; after an error also those that are idle, and those that were in use by then when
//! they come back: after a failover some of them may still lead to the old primary, and answer as if nothing had happened.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgConnection},
};
use sea_orm::{DbErr, QueryResult, RuntimeErr};
use tokio::sync::Semaphore;

use super::error::{Fault, no_answer};
use super::measured::PoolLoad;
use crate::domain::Error;

/// How many messages are under way at once.
const CONNECTIONS: usize = 3;
/// Connecting takes several round trips and a password check, whatever a message may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A few connections. They belong to the runtime on which they were made.
pub(super) struct Direct {
    options: PgConnectOptions,
    idle: Mutex<Idle>,
    places: Semaphore,
}

#[derive(Default)]
struct Idle {
    connections: Vec<PgConnection>,
    /// Counts the errors. What was taken or made before the last one does not come back.
    generation: u64,
}

impl Direct {
    /// Connects when it is first used.
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, idle: Mutex::default(), places: Semaphore::new(CONNECTIONS) }
    }

    /// Sends one message of one or more statements, and reads all rows of the answer. The text must hold nothing that
    /// came from outside: there are no parameters.
    pub(super) async fn send<T>(
        &self,
        sql: String,
        limit: Duration,
        read: impl FnOnce(Vec<QueryResult>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let place = within(limit, async { self.places.acquire().await.map_err(|_| closed()) });
        let _place = place.await?;
        let (idle, generation) = {
            let mut idle = self.idle();
            (idle.connections.pop(), idle.generation)
        };
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let connect = async { self.options.connect().await.map_err(fault) };
                within(limit.max(CONNECT_TIMEOUT), connect).await?
            }
        };
        let sent = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection);
        let rows = within(limit, async { sent.await.map_err(fault) }).await;
        let answer = rows.and_then(|rows| read(rows.into_iter().map(QueryResult::from).collect()));
        let mut idle = self.idle();
        match answer {
            Ok(_) if self.places.is_closed() || idle.generation != generation => {}
            Ok(_) => idle.connections.push(connection),
            // Whatever happened to this one has most likely happened to the others.
            Err(_) => {
                idle.generation += 1;
                idle.connections.clear();
            }
        }
        answer
    }

    /// The connections as they are now.
    pub(super) fn load(&self) -> PoolLoad {
        let idle = self.idle().connections.len();
        let used = CONNECTIONS.saturating_sub(self.places.available_permits());
        PoolLoad { pool: "messages", idle, used, limit: CONNECTIONS }
    }

    /// Closes what is idle now, and the rest when it comes back.
    pub(super) async fn close(&self) {
        self.places.close();
        let idle = std::mem::take(&mut self.idle().connections);
        for connection in idle {
            // The server notices the end of the stream as well.
            let _ = tokio::time::timeout(CONNECT_TIMEOUT, connection.close()).await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(no_answer().into()))
}

/// An error of the driver.
pub(super) fn fault(error: sqlx::Error) -> Fault {
    DbErr::Query(RuntimeErr::SqlxError(error.into())).into()
}

fn closed() -> Fault {
    Error::Unavailable("the store is closed").into()
}
