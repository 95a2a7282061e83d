//! The check of the whole log against itself, and of every key against the log.
//!
//! It finds any event that was changed, removed or put elsewhere, any tree hash that does not fit, and any key's row
//! that is not the one its last event sealed. Somebody who can rewrite all of these consistently needs the root key
//! for the seals; cutting off the end of the log is found only against a root that was noted elsewhere.

use std::collections::HashMap;

use sea_orm::sea_query::{Alias, DynIden, Expr, ExprTrait as _, IntoIden as _, Query};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait as _,
};

use super::Store;
use super::entity::{audit_event, key, tree_hash};
use super::error::Fault;
use super::events::{self, hash};
use super::key_rows;
use super::row::{Read, signed, unsigned};
use crate::domain::Error;
use crate::domain::audit::{AuditEvent, EventType};
use crate::domain::hex::unhex;
use crate::domain::tree::{self, TreeHash};

/// Events, or keys, that are looked at in one go. An event may have a hundred kilobytes.
const CHUNK: u64 = 100;
/// More faults than this are not listed: the log is lost anyway.
const MOST_FAULTS: usize = 1_000;

/// What a check of the log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    /// Events up to the newest, those that are missing included.
    pub events: u64,
    /// The tree's root, computed from the events.
    pub root: TreeHash,
    /// Everything that does not fit, in words; empty if all is well. At most 1,000.
    pub faults: Vec<String>,
}

impl Store {
    /// Computes every leaf and the whole tree anew from the events, compares with what is stored, and every key's
    /// seal with the one in its last event.
    ///
    /// Reads everything, at one moment; memory stays bounded.
    pub async fn check_log(&self) -> Result<LogReport, Error> {
        let pools = &self.inner.pools;
        let snapshot = pools.checker.snapshot().await;
        let snapshot = snapshot.map_err(|error| pools.explain(error))?;
        let mut check = Check { store: self, snapshot: &snapshot, faults: Vec::new() };
        let report = check.run().await;
        // Nothing was written; a connection that cannot even end this is closed by the pool.
        let _ = snapshot.rollback().await;
        Ok(report?)
    }
}

struct Check<'c> {
    store: &'c Store,
    snapshot: &'c DatabaseTransaction,
    faults: Vec<String>,
}

impl Check<'_> {
    async fn run(&mut self) -> Result<LogReport, Fault> {
        let size = events::tip(self.snapshot).await?.revision;
        let mut edge = HashMap::new();
        for first in (0..size).step_by(usize::try_from(CHUNK).unwrap_or(usize::MAX)) {
            self.check_events(first, Ord::min(size, first + CHUNK), &mut edge).await?;
        }
        let root = tree::root(size, &edge).map_err(|error| Fault::internal(error.to_string()))?;
        self.check_beyond(size).await?;
        self.check_keys().await?;
        self.check_lost_keys().await?;
        Ok(LogReport { events: size, root, faults: std::mem::take(&mut self.faults) })
    }

    fn found(&mut self, fault: String) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        }
    }

    /// Checks leaves `first` to `end`. `edge` holds the hashes on the tree's right edge before, and after.
    async fn check_events(
        &mut self,
        first: u64,
        end: u64,
        edge: &mut HashMap<u64, TreeHash>,
    ) -> Result<(), Fault> {
        let mut rows = self.event_rows(first, end).await?;
        let stored = self.tree_hashes(tree::stored_count(first), tree::stored_count(end)).await?;
        for index in first..end {
            let position = tree::stored_count(index);
            let leaf = match rows.remove(&(index + 1)) {
                Some(row) => self.check_event(index + 1, row)?,
                None => {
                    self.found(format!("event {} is missing", index + 1));
                    stored.get(&position).copied().unwrap_or_default()
                }
            };
            let computed = tree::append(index, leaf, edge);
            for (position, hash) in computed.map_err(|error| Fault::internal(error.to_string()))? {
                match stored.get(&position) {
                    Some(there) if *there == hash => {}
                    Some(_) => self.found(format!(
                        "tree hash {position} does not fit event {} and those before it",
                        index + 1
                    )),
                    None => self.found(format!("tree hash {position} is missing")),
                }
                edge.insert(position, hash);
            }
        }
        let needed = tree::needed_for_root(end);
        edge.retain(|position, _| needed.contains(position));
        Ok(())
    }

    /// Checks one event by itself and gives its leaf hash, computed.
    fn check_event(&mut self, revision: u64, row: audit_event::Model) -> Result<TreeHash, Fault> {
        let leaf = tree::leaf_hash(row.canonical.as_bytes());
        if row.leaf_hash != leaf {
            self.found(format!("event {revision}: its text does not fit its leaf hash"));
        }
        match events::parse(row.revision, &row.canonical) {
            Ok(logged) => {
                let event = logged.event;
                let kind = AuditEvent::type_named_in(&row.canonical);
                let repeated = row.time == event.time.micros()
                    && Some(row.kind) == kind
                    && row.account_id == event.account_id
                    && row.application_id == event.application_id
                    && row.key_id == event.key_id
                    && row.actor == event.actor.name()
                    && row.request_id == event.request_id;
                if !repeated {
                    self.found(format!("event {revision}: its columns do not fit its text"));
                }
            }
            Err(_) => self.found(format!("event {revision}: its text is not that of this event")),
        }
        Ok(leaf)
    }

    async fn event_rows(
        &self,
        first: u64,
        end: u64,
    ) -> Result<HashMap<u64, audit_event::Model>, Fault> {
        let rows = audit_event::Entity::find()
            .filter(audit_event::Column::Revision.gt(signed(first)?))
            .filter(audit_event::Column::Revision.lte(signed(end)?))
            .all(self.snapshot)
            .await?;
        rows.into_iter().map(|row| Ok((unsigned(row.revision)?, row))).collect()
    }

    async fn tree_hashes(&self, from: u64, to: u64) -> Result<HashMap<u64, TreeHash>, Fault> {
        let rows = tree_hash::Entity::find()
            .filter(tree_hash::Column::Position.gte(signed(from)?))
            .filter(tree_hash::Column::Position.lt(signed(to)?))
            .all(self.snapshot)
            .await?;
        rows.into_iter().map(|row| Ok((unsigned(row.position)?, hash(row.hash)?))).collect()
    }

    /// Hashes after the last event, or at positions below zero, are what is left of events that were cut off.
    async fn check_beyond(&mut self, size: u64) -> Result<(), Fault> {
        let end = signed(tree::stored_count(size))?;
        let position = tree_hash::Column::Position;
        let beyond = tree_hash::Entity::find().filter(position.gte(end).or(position.lt(0)));
        if let Some(row) = beyond.one(self.snapshot).await? {
            self.found(format!(
                "tree hash {} belongs to no event: the end of the log was cut off",
                row.position
            ));
        }
        Ok(())
    }

    async fn check_keys(&mut self) -> Result<(), Fault> {
        let mut after = String::new();
        loop {
            let chunk = key_rows::ids()
                .filter(key::Column::KeyId.gt(after.as_str()))
                .order_by_asc(key::Column::KeyId)
                .limit(CHUNK)
                .into_query();
            let order = [(key::Column::KeyId, sea_orm::Order::Asc)];
            let keys = key_rows::read(self.snapshot, chunk, &order, self.store.seals()).await?;
            let Some(last) = keys.last() else { return Ok(()) };
            let through = match last {
                Ok(key) => key.key_id.to_string(),
                Err(unserved) => unserved.key_id.clone(),
            };
            let seals = self.last_seals(&after, &through).await?;
            for read in keys {
                self.check_key(read, &seals);
            }
            after = through;
        }
    }

    fn check_key(&mut self, read: Read, seals: &HashMap<String, String>) {
        let key = match read {
            Ok(key) => key,
            Err(unserved) => {
                return self.found(format!("key {}: {}", unserved.key_id, unserved.fault));
            }
        };
        let Some(seal) = seals.get(key.key_id.as_str()) else {
            return self.found(format!("key {} has no event", key.key_id));
        };
        // Held against the row, not compared with its seal: a row may have been sealed anew under a newer root key.
        let fits = unhex(seal)
            .is_some_and(|seal| self.store.seals().check(&key.verifiable(), &seal).is_ok());
        if !fits {
            self.found(format!(
                "key {}: its row is not the one that its last event sealed",
                key.key_id
            ));
        }
    }

    /// The seals in the last events of the keys after one and through another.
    async fn last_seals(
        &self,
        after: &str,
        through: &str,
    ) -> Result<HashMap<String, String>, Fault> {
        let column = audit_event::Column::KeyId;
        let last = Query::select()
            .expr(audit_event::Column::Revision.max())
            .from(audit_event::Entity)
            .and_where(column.gt(after))
            .and_where(column.lte(through))
            .group_by_col(column)
            .take();
        let rows: Vec<(i64, String)> = audit_event::Entity::find()
            .select_only()
            .columns([audit_event::Column::Revision, audit_event::Column::Canonical])
            .filter(audit_event::Column::Revision.in_subquery(last))
            .into_tuple()
            .all(self.snapshot)
            .await?;
        // Texts that can't be read were found already; here they count as no event.
        let read = rows
            .into_iter()
            .filter_map(|(revision, canonical)| events::parse(revision, &canonical).ok());
        Ok(read.map(|logged| (logged.event.key_id, logged.event.key_seal)).collect())
    }

    /// Keys whose last event is no deletion, but whose row is gone.
    async fn check_lost_keys(&mut self) -> Result<(), Fault> {
        let later = Alias::new("later");
        let of_same_key = |table: DynIden, column: DynIden| {
            Expr::col((table, column)).equals((audit_event::Entity, audit_event::Column::KeyId))
        };
        let row = Query::select()
            .expr(Expr::val(1))
            .from(key::Entity)
            .and_where(of_same_key(key::Entity.into_iden(), key::Column::KeyId.into_iden()))
            .take();
        let newer = Query::select()
            .expr(Expr::val(1))
            .from_as(audit_event::Entity, later.clone())
            .and_where(of_same_key(
                later.clone().into_iden(),
                audit_event::Column::KeyId.into_iden(),
            ))
            .and_where(
                Expr::col((later, audit_event::Column::Revision))
                    .gt(Expr::col((audit_event::Entity, audit_event::Column::Revision))),
            )
            .take();
        let lost: Vec<String> = audit_event::Entity::find()
            .select_only()
            .column(audit_event::Column::KeyId)
            .filter(audit_event::Column::Kind.ne(EventType::KeyDeleted.as_str()))
            // An event of the store as a whole names no key.
            .filter(audit_event::Column::KeyId.ne(""))
            .filter(Expr::exists(row).not())
            .filter(Expr::exists(newer).not())
            .limit(MOST_FAULTS as u64)
            .into_tuple()
            .all(self.snapshot)
            .await?;
        for key_id in lost {
            self.found(format!(
                "key {key_id}: its row is gone, and no event says that it was deleted"
            ));
        }
        Ok(())
    }
}
