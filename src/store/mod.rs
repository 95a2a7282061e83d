//! The store: keys, their log and what belongs to them, in SQLite or PostgreSQL.
//!
//! In: types of the domain. Out: types of the domain. Every change is [one transaction](Store::change_key) under the
//! writer's lock; nothing is written outside of one. A row whose seal does not fit is never handed out as a key.
//! Never in here: rules. What a change is allowed to do, the caller decides, inside the transaction.

mod activation;
mod administrators;
mod announce;
mod bulk;
mod change;
mod check_log;
mod direct;
mod entity;
mod epochs;
mod error;
mod events;
mod filter_sql;
mod follow;
mod key_rows;
mod load;
mod measured;
mod migrate;
mod migrations;
mod open;
mod open_error;
mod pools;
#[cfg(test)]
mod pools_tests;
mod probe;
mod read;
mod reader;
mod replicas;
mod replies;
mod retry;
mod row;
mod transaction;
mod url;
mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use self::announce::Announcer;
use self::error::Fault;
use self::pools::Pools;
use self::write::WriteTransaction;
use crate::domain::durations::Durations;
use crate::domain::ids::StoreId;
use crate::domain::keyring::DataKey;
use crate::domain::random::Random;
use crate::domain::replica::LogEnd;
use crate::domain::seal::SealKeys;
use crate::domain::token::LogPosition;

pub use announce::WakeUps;
pub use change::{Before, Changed, Decision, EventDraft, Remembered, ReplySlot, Target};
pub use check_log::LogReport;
pub use events::Events;
pub use measured::PoolLoad;
pub use migrate::{Migrated, migrate};
pub use open_error::OpenError;
pub use read::{EventQuery, KeyOrder, KeyQuery, KeySort, KeyState};
pub use replies::Forgotten;
pub use url::{DatabaseUrl, InvalidDatabaseUrl};
pub use write::{InjectedFault, StatementHook};

/// Which database, and how to use it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub url: DatabaseUrl,
    /// The most connections that read. Beside them two write, up to nine follow the log and wake others, one checks it,
    /// and one a core loads the keys at the start. Default 10.
    pub max_connections: u32,
    /// How long a change waits for the writer's lock, and anything for a free connection. Default 5 s.
    pub lock_timeout: Duration,
    /// How long following the log may take at each turn. What takes longer gets a new connection. Defaults: 1 s, 5 s.
    pub following: Following,
    /// Whether replicas wake each other with PostgreSQL's LISTEN and NOTIFY. Without it they notice a change at their
    /// next poll. Default yes.
    pub wake_ups: bool,
}

/// How long to wait for an answer of the database while following the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Following {
    /// To what only reads.
    pub read: Duration,
    /// To what commits, which may have to wait for a disk, and for a standby.
    pub commit: Duration,
}

impl Following {
    /// So that with a lease of this length one connection that has gone silent does not cost the lease: a beat is due
    /// each quarter of it.
    pub fn within(lease: Duration) -> Self {
        let quarter = lease / 4;
        Self {
            read: quarter.min(Duration::from_secs(1)),
            commit: quarter.min(Duration::from_secs(5)),
        }
    }
}

impl Settings {
    /// The defaults, for this database.
    pub fn new(url: DatabaseUrl) -> Self {
        let lock_timeout = Duration::from_secs(5);
        let following = Following::within(Duration::from_secs(30));
        Self { url, max_connections: 10, lock_timeout, following, wake_ups: true }
    }
}

/// An open store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    hook: Option<StatementHook>,
    /// Whether it reads through the follower's connection.
    of_follower: bool,
}

struct Inner {
    pools: Pools,
    following: Following,
    announcer: Option<Arc<Announcer>>,
    seals: SealKeys,
    /// The newest root key version of which the database is known to know that it is in use.
    root_key_in_use: AtomicU32,
    data_key: Arc<DataKey>,
    store_id: StoreId,
    random: Arc<dyn Random>,
    /// How long committed changes took.
    appended: Durations,
}

impl Store {
    /// The store's identity, made with its first migration.
    pub fn store_id(&self) -> StoreId {
        self.inner.store_id
    }

    /// The newest stored format that this release reads.
    pub fn reads_up_to(&self) -> u32 {
        migrations::READS_UP_TO.unsigned_abs()
    }

    /// The versions of the root key that it was opened with, in ascending order.
    pub fn root_key_versions(&self) -> Vec<u32> {
        self.seals().versions()
    }

    /// The key of all digests, unwrapped.
    pub fn data_key(&self) -> &Arc<DataKey> {
        &self.inner.data_key
    }

    /// Waits until nothing runs any more, and closes all connections. What is asked of a clone afterwards fails.
    pub async fn close(self) {
        // There is nothing left to be done about a connection that does not close.
        let _ = self.inner.pools.close().await;
    }

    /// Lets a test make any statement of a write transaction fail; clones made later carry the hook too.
    #[doc(hidden)]
    pub fn on_statement(&mut self, hook: StatementHook) {
        self.hook = Some(hook);
    }

    fn seals(&self) -> &SealKeys {
        &self.inner.seals
    }

    fn random(&self) -> &dyn Random {
        &*self.inner.random
    }

    fn patience(&self) -> Duration {
        self.inner.pools.patience
    }

    /// A place in the log that ended like this a moment ago, in the same transaction.
    fn position(&self, end: &LogEnd, revision: u64) -> LogPosition {
        LogPosition { store: self.store_id(), epoch: end.epoch, revision }
    }

    async fn begin(&self) -> Result<WriteTransaction, Fault> {
        WriteTransaction::begin(&self.inner.pools, self.hook.clone()).await
    }
}
