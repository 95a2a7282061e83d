//! Reading every key, for the index.
//!
//! What verifications need of a key stands in one narrow table, in the bytes that the seal covers. Several
//! connections read ranges of it at once, each in short statements of their own, many keys to a row: what a row costs
//! on its way through the driver is more than what is done with a key. The seal is checked over the bytes as they
//! are, and only then are they read.
//!
//! ```text
//! ranges of ids ─► one row: lengths, records, seals ─► seals checked, records read ─► apply
//!                  (one connection each)               (threads for blocking work)    (the caller, in any order)
//! ```
//!
//! Rows have their ids for ever, so whatever happens meanwhile, a key that was there before and still is afterwards
//! comes at least once.
//!
//! The end of the log was read before, over another connection. While a primary that has been deposed still answers,
//! new connections can lead to it: keys from there would pass for those of a log that has gone on. So every reading also
//! reads the leaf at that end, in the same statement.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement, Value};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::error::Fault;
use super::reader::Reader;
use super::row::signed;
use super::{KeyState, Store};
use crate::domain::Error;
use crate::domain::canonical::Decoder;
use crate::domain::ids::KeyId;
use crate::domain::replica::LogEnd;
use crate::domain::seal::SEAL_LEN;
use crate::domain::tree::TreeHash;
use crate::domain::verdict::{IndexChange, VerifiableKey};

/// Ids in the first row of each connection. The next have twice or half as many, as their size says.
const FIRST_SPAN: i64 = 256;
/// The most ids in a row, so that rows end where many keys are gone.
const LONGEST_SPAN: i64 = 4_096;
/// A row below this gets longer, and one of four times as much shorter. A key may have a hundred kilobytes. Longer rows
/// are not read faster, but what they need stays with the process.
const ROW_BYTES: usize = 64 * 1024;
/// Connections at once: one more than there are cores, since who reads waits in between. No more of them, since
/// everybody else's requests go to the same database.
const CONNECTIONS: Range<usize> = 2..5;
/// A load longer than this many keys says how far it is, each time it has read as many again.
const PROGRESS_EVERY: u64 = 1_000_000;

impl Store {
    /// Hands every key of the log that has this end over, in no order, and says how many there were. A key that changes
    /// meanwhile may come as it was or as it is. One whose seal does not fit is not handed over, with an alarm.
    ///
    /// # Errors
    ///
    /// Those of the database; [`Error::Unavailable`] if keys came from a log that does not have this end. Some keys may
    /// have been handed over by then.
    pub async fn load(
        &self,
        end: &LogEnd,
        apply: &(dyn Fn(IndexChange) + Send + Sync),
    ) -> Result<u64, Error> {
        let end = End { revision: signed(end.revision)?, leaf: end.leaf };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let size = (cores + 1).clamp(CONNECTIONS.start, CONNECTIONS.end - 1);
        let connections = (self.inner.pools.loaders)(u32::try_from(size).unwrap_or(1));
        let connections = Arc::new(connections);
        let loaded = self.load_through(&connections, size, end, apply).await;
        // Nothing was written: there is nothing left to be done about a connection that does not close.
        let _ = connections.close().await;
        loaded
    }

    async fn load_through(
        &self,
        connections: &Arc<Reader>,
        size: usize,
        end: End,
        apply: &(dyn Fn(IndexChange) + Send + Sync),
    ) -> Result<u64, Error> {
        let Extent { ids, keys, records } = self.answered(extent(connections, &end)).await?;
        let ids = Arc::new(ids);
        apply(IndexChange::Expect(records));
        let (sender, mut read) = mpsc::channel(size);
        let mut readers = JoinSet::new();
        for _ in 0..size {
            let reader = RangeReader {
                store: self.clone(),
                connections: Arc::clone(connections),
                ids: Arc::clone(&ids),
                end,
                read: sender.clone(),
                decoder: Decoder::default(),
            };
            readers.spawn(reader.run());
        }
        drop(sender);
        let mut loaded = 0;
        while let Some(states) = read.recv().await {
            let before = loaded / PROGRESS_EVERY;
            loaded += states.len();
            states.apply(apply);
            if loaded / PROGRESS_EVERY > before {
                tracing::info!(keys = loaded, "loading keys");
            }
        }
        while let Some(ended) = readers.join_next().await {
            ended.unwrap_or_else(|error| Err(ended_early(&error)))?;
        }
        // Only what was lost before; nobody but an intruder takes records away.
        if keys > records {
            let lost = self.without_record(connections, &end).await?;
            loaded += lost.len();
            lost.apply(apply);
        }
        Ok(loaded)
    }

    /// Keys from their own rows, of the log that has this end.
    async fn states_at(&self, ids: &[String], end: &End) -> Result<Loaded, Error> {
        let states = self.key_states(ids).await?;
        // Over the connections that the rows came from: they take several statements.
        let leaf = self.leaf(end.revision.unsigned_abs()).await?;
        end.check(leaf.map(Vec::from))?;
        Ok(Loaded::Slowly(states))
    }

    /// The keys that have no record, from their own rows.
    async fn without_record(&self, connections: &Reader, end: &End) -> Result<Loaded, Error> {
        const IDS: &str = "SELECT key_id FROM keys WHERE NOT EXISTS \
                           (SELECT 1 FROM key_records WHERE key_records.key_id = keys.key_id)";
        tracing::error!("ALARM: records of keys are gone; these keys are read from their rows");
        let ids = texts(connections, statement(connections, IDS, &[]));
        let ids = self.answered(ids).await?;
        self.states_at(&ids, end).await
    }
}

/// The end of the log whose keys are loaded.
#[derive(Clone, Copy)]
struct End {
    revision: i64,
    /// `None`: the log was empty, so there is none that does not begin with it.
    leaf: Option<TreeHash>,
}

impl End {
    /// Reads the leaf at the end, in a statement whose parameter of that number is the revision.
    fn column(parameter: usize) -> String {
        format!("(SELECT leaf_hash FROM audit_events WHERE revision = ${parameter})")
    }

    /// Refuses what was read from a log that has another leaf there, or none.
    fn check(&self, read: Option<Vec<u8>>) -> Result<(), Fault> {
        let is_there = self.leaf.is_none_or(|leaf| read.is_some_and(|read| read == leaf));
        let another = || Error::Unavailable("the keys were read from another log than its end");
        is_there.then_some(()).ok_or_else(|| another().into())
    }
}

/// What there is to be read.
struct Extent {
    ids: Ids,
    keys: u64,
    records: u64,
}

/// What there is at one moment. Keys and records are counted in their indexes.
async fn extent(connections: &Reader, end: &End) -> Result<Extent, Fault> {
    let sql = format!(
        "SELECT COALESCE((SELECT min(id) FROM key_records), 0), COALESCE((SELECT max(id) FROM key_records), -1), \
         (SELECT count(*) FROM keys), (SELECT count(*) FROM key_records), {}",
        End::column(1)
    );
    let row = connections.query_one_raw(statement(connections, &sql, &[end.revision])).await?;
    let row = row.ok_or_else(|| Fault::internal("aggregates gave no row"))?;
    end.check(row.try_get_by_index(4)?)?;
    let (first, last): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let count = |column| row.try_get_by_index::<i64>(column).map(i64::unsigned_abs);
    let ids = Ids { next: AtomicI64::new(first), end: last.saturating_add(1) };
    Ok(Extent { ids, keys: count(2)?, records: count(3)? })
}

/// The ids that are still to be read.
struct Ids {
    next: AtomicI64,
    end: i64,
}

impl Ids {
    fn take(&self, span: i64) -> Option<Range<i64>> {
        let first = self.next.fetch_add(span, Ordering::Relaxed);
        (first < self.end).then(|| first..self.end.min(first.saturating_add(span)))
    }
}

/// Keys that were read.
enum Loaded {
    /// From their records, whose seals fit.
    Sealed(Vec<Arc<VerifiableKey>>),
    /// From their own rows.
    Slowly(Vec<KeyState>),
}

impl Loaded {
    fn len(&self) -> u64 {
        match self {
            Self::Sealed(keys) => keys.len() as u64,
            Self::Slowly(states) => states.len() as u64,
        }
    }

    fn apply(self, apply: &(dyn Fn(IndexChange) + Send + Sync)) {
        match self {
            Self::Sealed(keys) => keys.into_iter().map(IndexChange::Put).for_each(apply),
            Self::Slowly(states) => {
                for state in states {
                    match state {
                        KeyState::Sealed(key) => apply(IndexChange::Put(Arc::new(key))),
                        KeyState::Absent(key_id) => {
                            if let Ok(key_id) = KeyId::from_stored(key_id) {
                                apply(IndexChange::Remove(key_id));
                            }
                        }
                        KeyState::Broken { key_id, fault } => tracing::error!(
                            key_id, %fault, "ALARM: a key's row was changed from outside; it is not served"
                        ),
                    }
                }
            }
        }
    }
}

/// One of those who read ranges, until there are none left.
struct RangeReader {
    store: Store,
    connections: Arc<Reader>,
    ids: Arc<Ids>,
    end: End,
    read: mpsc::Sender<Loaded>,
    decoder: Decoder,
}

impl RangeReader {
    async fn run(mut self) -> Result<(), Error> {
        let mut span = FIRST_SPAN;
        while let Some(ids) = self.ids.take(span) {
            let row = self.store.answered(Row::read(&self.connections, &ids, &self.end)).await?;
            span = match row.records.len() {
                ..ROW_BYTES => LONGEST_SPAN.min(span * 2),
                len if len / 4 > ROW_BYTES => 1.max(span / 2),
                _ => span,
            };
            let (store, mut decoder) = (self.store.clone(), self.decoder);
            let opened = tokio::task::spawn_blocking(move || {
                let keys = row.open(&store, &mut decoder);
                (keys, decoder)
            });
            let (keys, decoder) = opened.await.map_err(|error| ended_early(&error))?;
            self.decoder = decoder;
            let loaded = match keys {
                Some(keys) => Loaded::Sealed(keys),
                None => slowly(&self.store, &self.connections, ids, &self.end).await?,
            };
            if self.read.send(loaded).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// The records of a range of ids, as one row of the database.
struct Row {
    count: usize,
    /// The lengths of the records, with commas.
    lengths: String,
    records: Vec<u8>,
    seals: Vec<u8>,
}

impl Row {
    async fn read(connections: &Reader, ids: &Range<i64>, end: &End) -> Result<Self, Fault> {
        // SQLite joins the bytes of blobs as if they were text, and changes none of them.
        const SQLITE: &str = "SELECT count(*), COALESCE(group_concat(length(record)), ''), \
             CAST(COALESCE(group_concat(record, ''), '') AS BLOB), CAST(COALESCE(group_concat(seal, ''), '') AS BLOB), \
             {leaf} FROM key_records WHERE id >= $1 AND id < $2";
        const POSTGRES: &str = "SELECT count(*), COALESCE(string_agg(octet_length(record)::text, ','), ''), \
             COALESCE(string_agg(record, ''::bytea), ''::bytea), COALESCE(string_agg(seal, ''::bytea), ''::bytea), \
             {leaf} FROM key_records WHERE id >= $1 AND id < $2";
        let sql = match connections.get_database_backend() {
            DbBackend::Sqlite => SQLITE,
            _ => POSTGRES,
        };
        let sql = sql.replace("{leaf}", &End::column(3));
        let values = [ids.start, ids.end, end.revision];
        let row = connections.query_one_raw(statement(connections, &sql, &values)).await?;
        let row = row.ok_or_else(|| Fault::internal("an aggregate gave no row"))?;
        end.check(row.try_get_by_index(4)?)?;
        Ok(Self {
            count: usize::try_from(row.try_get_by_index::<i64>(0)?).unwrap_or_default(),
            lengths: row.try_get_by_index(1)?,
            records: row.try_get_by_index(2)?,
            seals: row.try_get_by_index(3)?,
        })
    }

    /// The keys; `None` if a seal or anything else does not fit: it may be one record that was changed, or its
    /// length, so that all others in the row seem wrong.
    fn open(self, store: &Store, decoder: &mut Decoder) -> Option<Vec<Arc<VerifiableKey>>> {
        let (seals, rest) = self.seals.as_chunks::<SEAL_LEN>();
        if seals.len() != self.count || !rest.is_empty() {
            return None;
        }
        let mut records = self.records.as_slice();
        let mut keys = Vec::with_capacity(self.count);
        let lengths = self.lengths.split(',').filter(|length| !length.is_empty());
        for (length, seal) in lengths.zip(seals) {
            let (record, rest) = records.split_at_checked(length.parse().ok()?)?;
            records = rest;
            store.seals().check_bytes(record, seal).ok()?;
            keys.push(Arc::new(decoder.decode(record)?));
        }
        (records.is_empty() && keys.len() == self.count).then_some(keys)
    }
}

/// The keys of a range by their own rows, each judged by itself.
async fn slowly(
    store: &Store,
    connections: &Reader,
    ids: Range<i64>,
    end: &End,
) -> Result<Loaded, Error> {
    const IDS: &str = "SELECT key_id FROM key_records WHERE id >= $1 AND id < $2";
    tracing::error!(
        first = ids.start,
        end = ids.end,
        "ALARM: a record of a key was changed from outside, or has a root key that is not at hand; \
         the keys of these records are read from their rows"
    );
    let key_ids = texts(connections, statement(connections, IDS, &[ids.start, ids.end]));
    let key_ids = store.answered(key_ids).await?;
    store.states_at(&key_ids, end).await
}

fn statement(connections: &Reader, sql: &str, values: &[i64]) -> Statement {
    let values = values.iter().copied().map(Value::from);
    Statement::from_sql_and_values(connections.get_database_backend(), sql, values)
}

async fn texts(connections: &Reader, statement: Statement) -> Result<Vec<String>, DbErr> {
    let rows = connections.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

fn ended_early(error: &JoinError) -> Error {
    Error::Internal(format!("a reader of keys ended early: {error}"))
}
