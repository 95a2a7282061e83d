//! What can be seen of the store from outside: its connections, and how long changes take.

use std::time::Duration;

use sea_orm::sqlx::{Database, Pool};
use sea_orm::{DatabaseConnection, DatabaseConnectionType};

use super::Store;
use crate::domain::durations::{BUCKETS, Held};

/// The connections of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLoad {
    /// What they are for: `writer`, `reader`, `follower`, `checker`, or `messages` for single messages of PostgreSQL.
    pub pool: &'static str,
    /// Those that are open and wait.
    pub idle: usize,
    /// Those that are at work, or are being opened.
    pub used: usize,
    /// The most that there may be.
    pub limit: usize,
}

impl Store {
    /// The connections as they are now. Those that load the keys at the start are not among them.
    pub fn connections(&self) -> Vec<PoolLoad> {
        let pools = &self.inner.pools;
        let of_pools = [
            ("writer", &pools.writer),
            ("reader", pools.reader.connections()),
            ("follower", pools.follower.connections()),
            ("checker", pools.checker.connections()),
        ];
        let mut loads: Vec<_> =
            of_pools.into_iter().filter_map(|(name, pool)| load(name, pool)).collect();
        let messages = [true, false].into_iter().filter_map(|own| pools.direct(own));
        loads.extend(messages.map(super::direct::Direct::load).reduce(|one, other| PoolLoad {
            idle: one.idle + other.idle,
            used: one.used + other.used,
            limit: one.limit + other.limit,
            ..one
        }));
        loads
    }

    /// How long changes took until now that were committed: from BEGIN, the wait for the writer's lock included, until
    /// the database had confirmed the COMMIT.
    pub fn appended(&self) -> [Held; BUCKETS] {
        self.inner.appended.held()
    }

    /// A change was committed, with its event.
    pub(super) fn note_appended(&self, took: Duration) {
        self.inner.appended.add(took);
    }
}

fn load(pool: &'static str, connections: &DatabaseConnection) -> Option<PoolLoad> {
    match &connections.inner {
        DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
            Some(of_pool(pool, connections.get_postgres_connection_pool()))
        }
        DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
            Some(of_pool(pool, connections.get_sqlite_connection_pool()))
        }
        _ => None,
    }
}

fn of_pool<D: Database>(name: &'static str, pool: &Pool<D>) -> PoolLoad {
    // The two are not read at one moment.
    let (idle, size) = (pool.num_idle(), usize::try_from(pool.size()).unwrap_or(usize::MAX));
    let limit = usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX);
    PoolLoad { pool: name, idle: idle.min(size), used: size.saturating_sub(idle), limit }
}
