//! The log: its tip, appending to it, and reading it.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::sea_query::{Expr, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait,
    FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
};

use super::change::EventDraft;
use super::entity::{audit_event, store, tree_hash};
use super::error::Fault;
use super::row::{signed, small, time, unsigned};
use super::write::WriteTransaction;
use crate::domain::Timestamp;
use crate::domain::audit::{AuditEvent, CANONICAL_VERSION, LoggedEvent};
use crate::domain::hex::hex;
use crate::domain::key::Key;
use crate::domain::replica::LogEnd;
use crate::domain::tree::{self, TreeHash};

/// The most rows that one INSERT carries.
const ROWS_PER_INSERT: usize = 1_000;

/// Events that are read in one statement.
const ROWS_AT_A_TIME: u64 = 50;

/// What clocks of healthy machines differ by at the most, generously.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(60);

/// The time of the next event: never before the newest. If the database's clock was wrong by a lot once, that decides
/// on every expiry until it is right again, so somebody has to know.
pub(super) fn now(tip: &LogEnd) -> Timestamp {
    let ahead = tip.time.saturating_since(tip.clock);
    if ahead > CLOCKS_DIFFER_BY {
        let seconds = ahead.as_secs();
        tracing::error!(
            seconds,
            "ALARM: the newest event is of the future, by the database's clock"
        );
    }
    tip.clock.max(tip.time)
}

#[derive(FromQueryResult)]
struct TipRow {
    epoch: i32,
    clock: i64,
    revision: Option<i64>,
    time: Option<i64>,
    leaf_hash: Option<Vec<u8>>,
}

/// Reads the end of the log, its epoch and the database's clock, in one statement.
pub(super) async fn tip(connection: &impl ConnectionTrait) -> Result<LogEnd, Fault> {
    let newest = |column: audit_event::Column| -> Expr {
        let select = Query::select()
            .column(column)
            .from(audit_event::Entity)
            .order_by(audit_event::Column::Revision, sea_orm::Order::Desc)
            .limit(1)
            .take();
        Expr::SubQuery(None, Box::new(select.into()))
    };
    let select = Query::select()
        .column(store::Column::Epoch)
        .expr_as(Expr::cust(clock(connection.get_database_backend())), "clock")
        .expr_as(newest(audit_event::Column::Revision), "revision")
        .expr_as(newest(audit_event::Column::Time), "time")
        .expr_as(newest(audit_event::Column::LeafHash), "leaf_hash")
        .from(store::Entity)
        .take();
    let row = connection.query_one(&select).await?;
    let row = row.ok_or_else(|| Fault::internal("the store has lost its own row"))?;
    let row = TipRow::from_query_result(&row, "")?;
    Ok(LogEnd {
        epoch: small(row.epoch)?,
        revision: unsigned(row.revision.unwrap_or(0))?,
        time: time(row.time.unwrap_or(0))?,
        leaf: row.leaf_hash.map(hash).transpose()?,
        clock: time(row.clock)?,
    })
}

/// The time by the database's clock.
pub(super) async fn present(connection: &impl ConnectionTrait) -> Result<Timestamp, Fault> {
    let backend = connection.get_database_backend();
    let select = Query::select().expr_as(Expr::cust(clock(backend)), "clock").take();
    let row = connection.query_one(&select).await?;
    let row = row.ok_or_else(|| Fault::internal("the database does not tell the time"))?;
    time(row.try_get("", "clock")?)
}

/// The database's clock in microseconds. SQLite's has milliseconds; as a real number a microsecond would be lost.
pub(super) fn clock(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Sqlite => "CAST(ROUND(unixepoch('subsec') * 1000) AS INTEGER) * 1000",
        _ => "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    }
}

/// Makes the event of a change of a key; `key` is the key after it or, for a deletion, before.
pub(super) fn complete(
    draft: EventDraft,
    key: &Key,
    seal: &[u8],
    revision: u64,
    time: Timestamp,
) -> AuditEvent {
    AuditEvent {
        account_id: key.account_id.to_string(),
        actor: draft.actor,
        application_id: key.application_id.to_string(),
        changes: draft.changes,
        comment: draft.comment,
        key_id: key.key_id.to_string(),
        key_seal: hex(seal),
        request_id: draft.request_id,
        revision,
        revoke_reason: draft
            .revoke_reason
            .map(|reason| reason.as_str().to_owned())
            .unwrap_or_default(),
        time,
        trace_id: draft.trace_id,
        kind: draft.kind,
        v: CANONICAL_VERSION,
    }
}

/// Appends events of consecutive revisions, with the tree hashes that they complete. Gives the leaf hash of the last.
pub(super) async fn append(
    transaction: &WriteTransaction,
    events: &[AuditEvent],
) -> Result<Option<TreeHash>, Fault> {
    let (rows, hashes) = rows_of(transaction, events).await?;
    let leaf = rows.last().and_then(|row| row.leaf_hash.try_as_ref().cloned());
    let leaf = leaf.map(hash).transpose()?;
    for rows in rows.chunks(ROWS_PER_INSERT) {
        let insert = audit_event::Entity::insert_many(rows.iter().cloned());
        insert.exec_without_returning(&transaction.step("event")).await?;
    }
    for hashes in hashes.chunks(ROWS_PER_INSERT) {
        let insert = tree_hash::Entity::insert_many(hashes.iter().cloned());
        insert.exec_without_returning(&transaction.step("tree hashes")).await?;
    }
    Ok(leaf)
}

/// The rows of events of consecutive revisions that follow the tip, and of the tree hashes that they complete.
pub(super) async fn rows_of(
    transaction: &WriteTransaction,
    events: &[AuditEvent],
) -> Result<(Vec<audit_event::ActiveModel>, Vec<tree_hash::ActiveModel>), Fault> {
    let Some(first) = events.first().and_then(|event| event.revision.checked_sub(1)) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let mut hashes = hashes_to_append(transaction, first, events.len() as u64).await?;
    let (mut rows, mut completed) = (Vec::with_capacity(events.len()), Vec::new());
    for (index, event) in (first..).zip(events) {
        if event.revision != index + 1 {
            return Err(Fault::internal("a batch of events has a gap"));
        }
        let canonical = event.canonical().map_err(|error| Fault::internal(error.to_string()))?;
        let leaf = tree::leaf_hash(canonical.as_bytes());
        let new = tree::append(index, leaf, &hashes)
            .map_err(|error| Fault::internal(error.to_string()))?;
        hashes.extend(new.iter().copied());
        for (position, hash) in new {
            let (position, hash) = (Set(signed(position)?), Set(hash.to_vec()));
            completed.push(tree_hash::ActiveModel { position, hash });
        }
        rows.push(event_row(event, canonical, leaf)?);
    }
    Ok((rows, completed))
}

/// The stored hashes that appending `count` leaves from `first` on needs.
async fn hashes_to_append(
    transaction: &WriteTransaction,
    first: u64,
    count: u64,
) -> Result<HashMap<u64, TreeHash>, Fault> {
    let stored = tree::stored_count(first);
    let mut needed: Vec<u64> = (first..first + count)
        .flat_map(tree::needed_to_append)
        .filter(|position| *position < stored)
        .collect();
    needed.sort_unstable();
    needed.dedup();
    if needed.is_empty() {
        return Ok(HashMap::new());
    }
    read_hashes(&transaction.step("hashes to append"), &needed).await
}

/// Reads the stored hashes at these positions, as far as they are there.
pub(super) async fn read_hashes(
    connection: &impl ConnectionTrait,
    positions: &[u64],
) -> Result<HashMap<u64, TreeHash>, Fault> {
    let positions =
        positions.iter().map(|position| signed(*position)).collect::<Result<Vec<_>, _>>()?;
    let wanted = tree_hash::Column::Position.is_in(positions);
    let rows = tree_hash::Entity::find().filter(wanted).all(connection).await?;
    rows.into_iter().map(|row| Ok((unsigned(row.position)?, hash(row.hash)?))).collect()
}

pub(super) fn hash(bytes: Vec<u8>) -> Result<TreeHash, Fault> {
    bytes.try_into().map_err(|_| Fault::internal("a stored tree hash has not 32 bytes"))
}

fn event_row(
    event: &AuditEvent,
    canonical: String,
    leaf: TreeHash,
) -> Result<audit_event::ActiveModel, Fault> {
    Ok(audit_event::ActiveModel {
        revision: Set(signed(event.revision)?),
        time: Set(event.time.micros()),
        kind: Set(event.kind.as_str().to_owned()),
        account_id: Set(event.account_id.clone()),
        application_id: Set(event.application_id.clone()),
        key_id: Set(event.key_id.clone()),
        actor: Set(event.actor.name().to_owned()),
        request_id: Set(event.request_id.clone()),
        canonical: Set(canonical),
        leaf_hash: Set(leaf.to_vec()),
    })
}

/// Events of the log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// The events.
    pub events: Vec<LoggedEvent>,
    /// Whether there was nothing after them.
    pub complete: bool,
}

/// How many events to read at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) events: u64,
    /// Of canonical text. The first event is read whatever its length.
    pub(super) bytes: usize,
}

/// Reads events after a revision that fit a condition, oldest first; in small pieces, since an event may have a
/// hundred kilobytes.
pub(super) async fn read(
    connection: &impl ConnectionTrait,
    after: u64,
    condition: Condition,
    limit: Limit,
) -> Result<Events, Fault> {
    let mut read = Events { events: Vec::new(), complete: false };
    let (mut after, mut bytes) = (after, 0);
    loop {
        let left = limit.events.saturating_sub(read.events.len() as u64);
        let rows = rows(connection, after, condition.clone(), left.min(ROWS_AT_A_TIME)).await?;
        let is_last = (rows.len() as u64) < left.min(ROWS_AT_A_TIME);
        for (revision, canonical) in rows {
            bytes += canonical.len();
            if bytes > limit.bytes && !read.events.is_empty() {
                return Ok(read);
            }
            let logged = parse(revision, &canonical)?;
            after = logged.event.revision;
            read.events.push(logged);
        }
        if is_last || read.events.len() as u64 >= limit.events {
            read.complete = is_last;
            return Ok(read);
        }
    }
}

async fn rows(
    connection: &impl ConnectionTrait,
    after: u64,
    condition: Condition,
    limit: u64,
) -> Result<Vec<(i64, String)>, Fault> {
    // No revision lies after one that the database cannot hold.
    let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
    let rows = audit_event::Entity::find()
        .select_only()
        .columns([audit_event::Column::Revision, audit_event::Column::Canonical])
        .filter(audit_event::Column::Revision.gt(after))
        .filter(condition)
        .order_by_asc(audit_event::Column::Revision)
        .limit(limit)
        .into_tuple()
        .all(connection)
        .await?;
    Ok(rows)
}

/// Reads a stored event. One that was moved to another revision is none.
pub(super) fn parse(revision: i64, canonical: &str) -> Result<LoggedEvent, Fault> {
    let logged = LoggedEvent::from_canonical(canonical);
    let logged = logged.map_err(|error| Fault::internal(format!("event {revision}: {error}")))?;
    if unsigned(revision)? == logged.event.revision {
        Ok(logged)
    } else {
        Err(Fault::internal(format!("event {revision} says that it is another")))
    }
}

/// Whether there is any event.
pub(super) async fn any(connection: &impl ConnectionTrait) -> Result<bool, DbErr> {
    Ok(audit_event::Entity::find().limit(1).one(connection).await?.is_some())
}
