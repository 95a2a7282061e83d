//! What following the log reads of it, besides the events and the keys.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait as _, DbBackend, EntityTrait as _, QueryOrder as _, QueryResult,
    QuerySelect as _, Statement,
};

use super::Store;
use super::activation::USED;
use super::entity::{audit_event, epoch};
use super::error::Fault;
use super::events::{self, clock, hash};
use super::row::{signed, small, time, unsigned};
use super::statement::{span, within};
use crate::domain::Error;
use crate::domain::replica::{EpochStart, LogEnd, Polled};
use crate::domain::tree::TreeHash;

/// Events that one poll gives at most. One may have a hundred kilobytes.
const EVENTS_PER_POLL: usize = 50;

impl Store {
    /// Whether other processes may answer from this store. On SQLite there is one process, and no rows of replicas.
    pub fn is_shared(&self) -> bool {
        self.inner.pools.backend == DbBackend::Postgres
    }

    /// Looks at the log from a revision on: one short statement, and so one moment, that takes no lock.
    ///
    /// # Errors
    ///
    /// Also if the database takes no writes: after a failover the old primary may still answer, and knows nothing of
    /// what happens elsewhere.
    pub async fn poll(&self, replica: &str, applied: u64) -> Result<Polled, Error> {
        let sql = poll_statement(self.inner.pools.backend, id_literal(replica)?, signed(applied)?);
        let limit = self.inner.following.read;
        self.ask(sql, limit, |rows| self.read_poll(rows, applied)).await
    }

    /// Whether what is committed is certainly on a second machine: on PostgreSQL, whether it waits for a synchronous
    /// standby. (`synchronous_commit` does not matter: each transaction sets its own.) SQLite has no second machine.
    pub async fn has_synchronous_standby(&self) -> Result<bool, Error> {
        if !self.is_shared() {
            return Ok(false);
        }
        let sql = "SELECT current_setting('synchronous_standby_names') AS names".to_owned();
        let names: String = self
            .ask(sql, self.patience(), |rows| {
                let row = rows.first().ok_or_else(|| Fault::internal("a setting has no value"))?;
                Ok(row.try_get("", "names")?)
            })
            .await?;
        Ok(!names.trim().is_empty())
    }

    /// The end of the log.
    pub async fn end(&self) -> Result<LogEnd, Error> {
        self.answered(events::tip(self.reader())).await
    }

    /// The leaf hash of the event at a revision, as it is stored.
    pub async fn leaf(&self, revision: u64) -> Result<Option<TreeHash>, Error> {
        // No event lies beyond what the database can hold.
        let Ok(revision) = i64::try_from(revision) else { return Ok(None) };
        let leaf = audit_event::Entity::find_by_id(revision)
            .select_only()
            .column(audit_event::Column::LeafHash)
            .into_tuple::<Vec<u8>>()
            .one(self.reader());
        let leaf = self.answered(leaf).await?;
        Ok(leaf.map(hash).transpose()?)
    }

    /// All epochs after the first, oldest first.
    pub async fn epochs(&self) -> Result<Vec<EpochStart>, Error> {
        let all = epoch::Entity::find().order_by_asc(epoch::Column::Epoch);
        let rows = self.answered(all.all(self.reader())).await?;
        let starts = rows.into_iter().map(|row| {
            Ok(EpochStart {
                epoch: small(row.epoch)?,
                first_revision: unsigned(row.first_revision)?,
            })
        });
        Ok(starts.collect::<Result<_, Fault>>()?)
    }

    fn read_poll(&self, rows: Vec<QueryResult>, applied: u64) -> Result<Polled, Fault> {
        let first =
            rows.first().ok_or_else(|| Fault::internal("the store has lost its own row"))?;
        writable(first)?;
        let mut polled = Polled {
            epoch: small(first.try_get("", "epoch")?)?,
            clock: time(first.try_get("", "clock")?)?,
            beat: first.try_get::<Option<i64>>("", "beat")?.map(unsigned).transpose()?,
            leaf: None,
            refused: self.refused(first)?,
            events: Vec::with_capacity(rows.len()),
            complete: true,
        };
        if polled.refused.is_some() {
            return Ok(polled);
        }
        for row in &rows {
            let Some(revision) = row.try_get::<Option<i64>>("", "revision")? else { continue };
            if unsigned(revision)? == applied {
                polled.leaf = Some(hash(row.try_get("", "leaf_hash")?)?);
            } else if polled.events.len() == EVENTS_PER_POLL {
                polled.complete = false;
            } else {
                let canonical: String = row.try_get("", "canonical")?;
                polled.events.push(events::parse(revision, &canonical)?);
            }
        }
        Ok(polled)
    }

    /// Sends one message and reads the rows of its answer; on PostgreSQL without anything before and after it.
    pub(super) async fn ask<T>(
        &self,
        sql: String,
        limit: Duration,
        read: impl FnOnce(Vec<QueryResult>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        match self.inner.pools.direct(self.of_follower) {
            Some(direct) => {
                let span = span(DbBackend::Postgres, &sql, None);
                Ok(within(span, direct.send(sql, limit, read)).await?)
            }
            None => {
                let statement = Statement::from_string(DbBackend::Sqlite, sql);
                let rows = self.answered(self.reader().query_all_raw(statement)).await?;
                Ok(read(rows)?)
            }
        }
    }
}

fn poll_statement(backend: DbBackend, replica: &str, applied: i64) -> String {
    let clock = clock(backend);
    let (beat, own_row, read_only) = match backend {
        DbBackend::Sqlite => ("0", String::new(), "'off'"),
        _ => (
            "replicas.beat",
            format!("LEFT JOIN replicas ON replicas.id = '{replica}' "),
            "current_setting('transaction_read_only')",
        ),
    };
    // The event at the revision itself, if there is one, and one more than is given, which tells whether that is all.
    let rows = EVENTS_PER_POLL + 1 + usize::from(applied > 0);
    format!(
        "SELECT store.epoch, {USED}, {clock} AS clock, {beat} AS beat, {read_only} AS read_only, \
         e.revision, e.canonical, e.leaf_hash \
         FROM store {own_row}LEFT JOIN \
         (SELECT revision, CASE WHEN revision > {applied} THEN canonical END AS canonical, leaf_hash \
         FROM audit_events WHERE revision >= {applied} ORDER BY revision LIMIT {rows}) AS e ON 1 = 1 \
         ORDER BY e.revision"
    )
}

/// Refuses an answer of a database that takes no writes.
pub(super) fn writable(row: &QueryResult) -> Result<(), Fault> {
    let read_only: String = row.try_get("", "read_only")?;
    match read_only.as_str() {
        "off" => Ok(()),
        _ => Err(Error::Unavailable("the database is read-only").into()),
    }
}

/// The id of a replica as it may stand between quotes.
pub(super) fn id_literal(id: &str) -> Result<&str, Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_plain = (1..=64).contains(&id.len()) && id.bytes().all(plain);
    is_plain.then_some(id).ok_or_else(|| Fault::internal("the id of a replica is not plain"))
}
