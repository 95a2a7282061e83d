//! Reading, outside of any transaction. Each key is one statement's, and so of one moment.

use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait, Condition, DbErr, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::entity::{audit_event, key};
use super::events::{Events, Limit};
use super::row::{Read, Unserved};
use super::{Store, events, filter_sql, key_rows};
use crate::domain::audit::LoggedEvent;
use crate::domain::filter;
use crate::domain::ids::AccountId;
use crate::domain::key::Key;
use crate::domain::seal::SealFault;
use crate::domain::verdict::VerifiableKey;
use crate::domain::{Error, Timestamp};

/// What a verifying replica is to know of a key.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly all of a list are of the large one")]
pub enum KeyState {
    /// Its seal fits.
    Sealed(VerifiableKey),
    /// There is no such key.
    Absent(String),
    /// There is one, but it is not to be served.
    Broken {
        /// The key.
        key_id: String,
        /// Why.
        fault: SealFault,
    },
}

/// Which keys, and in which order.
#[derive(Debug, Clone)]
pub struct KeyQuery {
    /// Only those of this account.
    pub account: Option<AccountId>,
    /// Only those that fit; of the schema [`filter::KEYS`].
    pub filter: Option<filter::Expr>,
    /// In this order.
    pub order: KeyOrder,
    /// Only those after this one: its sort value (a time in microseconds; zero where sorted by id) and its key id.
    pub after: Option<(i64, String)>,
    /// At most so many.
    pub limit: u64,
    /// The present, which decides on `STATE_EXPIRED`.
    pub now: Timestamp,
}

/// An order of keys. Keys of the same time follow by their ids, in the same direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOrder {
    /// By what.
    pub by: KeySort,
    /// Largest first.
    pub descending: bool,
}

/// By what keys are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySort {
    /// By `create_time`.
    CreateTime,
    /// By `update_time`.
    UpdateTime,
    /// By `key_id`, byte for byte.
    KeyId,
}

/// Which events; always oldest first.
#[derive(Debug, Clone)]
pub struct EventQuery {
    /// Only those of this account.
    pub account: Option<AccountId>,
    /// Only those that fit; of the schema [`filter::AUDIT`].
    pub filter: Option<filter::Expr>,
    /// Only those after this revision.
    pub after_revision: u64,
    /// At most so many.
    pub limit: u64,
}

/// The most key ids that one query names.
const IDS_PER_QUERY: usize = 500;
/// Keys that a list reads in one statement: a key may have a hundred kilobytes.
const ROWS_AT_A_TIME: u64 = 50;

impl Store {
    /// This store through connections that nobody else has. Use it on one runtime only: they belong to the one that
    /// used them first.
    #[must_use]
    pub fn for_follower(&self) -> Self {
        Self { of_follower: true, ..self.clone() }
    }

    /// A place among the lists that are made at once. Held until a list is complete, since its pages are in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] if none is free in time.
    pub async fn place_to_list(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.place(&self.inner.pools.lists, "lists").await
    }

    async fn place<'s>(
        &self,
        places: &'s Semaphore,
        what: &'static str,
    ) -> Result<SemaphorePermit<'s>, Error> {
        let free = tokio::time::timeout(self.patience(), places.acquire()).await;
        let overloaded = Error::Overloaded { what, retry_after: Duration::from_secs(1) };
        free.ok().and_then(Result::ok).ok_or(overloaded)
    }

    /// One key.
    pub async fn get_key(&self, key_id: &str) -> Result<Option<Key>, Error> {
        let read = key_rows::read_one(self.reader(), key_id, self.seals());
        let read = self.answered(read).await?;
        read.transpose().map_err(|unserved| self.read_error(unserved))
    }

    /// The keys that fit a query, in its order; fewer than its limit only if there are no more. A row whose seal does
    /// not fit is no reason to show none of the others: it is passed over, with an alarm.
    pub async fn list_keys(&self, query: &KeyQuery) -> Result<Vec<Key>, Error> {
        let (mut keys, mut query, asked) = (Vec::new(), query.clone(), query.limit);
        loop {
            let limit = Ord::min(query.limit, ROWS_AT_A_TIME);
            let rows = self.answered(self.key_rows(&query, limit)).await?;
            let is_last = (rows.len() as u64) < limit;
            query.after = rows.last().map(|last| place_of(last, query.order.by)).or(query.after);
            for row in rows {
                match row {
                    Ok(key) => keys.push(key),
                    Err(Unserved { key_id, fault, .. }) => tracing::error!(
                        key_id, %fault, "ALARM: a key's row was changed from outside; it is not listed"
                    ),
                }
            }
            query.limit = asked.saturating_sub(keys.len() as u64);
            if is_last || query.limit == 0 {
                return Ok(keys);
            }
        }
    }

    async fn key_rows(&self, query: &KeyQuery, limit: u64) -> Result<Vec<Read>, DbErr> {
        let KeyOrder { by, descending } = query.order;
        let direction = if descending { Order::Desc } else { Order::Asc };
        let columns = match by {
            KeySort::CreateTime => vec![key::Column::CreateTime, key::Column::KeyId],
            KeySort::UpdateTime => vec![key::Column::UpdateTime, key::Column::KeyId],
            KeySort::KeyId => vec![key::Column::KeyId],
        };
        let order: Vec<_> = columns.into_iter().map(|column| (column, direction.clone())).collect();
        let mut ids = key_rows::ids().filter(condition_of(query)).limit(limit);
        for (column, direction) in &order {
            ids = ids.order_by(*column, direction.clone());
        }
        key_rows::read(self.reader(), ids.into_query(), &order, self.seals()).await
    }

    /// The events that fit a query, oldest first.
    pub async fn list_events(&self, query: &EventQuery) -> Result<Vec<LoggedEvent>, Error> {
        let mut condition = Condition::all();
        if let Some(account) = &query.account {
            condition = condition.add(audit_event::Column::AccountId.eq(account.as_str()));
        }
        if let Some(filter) = &query.filter {
            condition = condition.add(filter_sql::of_events(filter));
        }
        let limit = Limit { events: query.limit, bytes: usize::MAX };
        let read = events::read(self.reader(), query.after_revision, condition, limit);
        Ok(self.answered(read).await?.events)
    }

    /// The newest revision and its time; zero and the Unix epoch for an empty log.
    pub async fn last_revision(&self) -> Result<(u64, Timestamp), Error> {
        let tip = self.answered(events::tip(self.reader())).await?;
        Ok((tip.revision, tip.time))
    }

    /// The events after a revision, oldest first: at most so many, and at most so many bytes of text, but one in any
    /// case.
    pub async fn events_within(
        &self,
        revision: u64,
        limit: u32,
        bytes: usize,
    ) -> Result<Events, Error> {
        let replays = &self.inner.pools.replays;
        let _place = match self.of_follower {
            true => None,
            false => Some(self.place(replays, "watchers that read from the database").await?),
        };
        let limit = Limit { events: limit.into(), bytes };
        self.answered(events::read(self.reader(), revision, Condition::all(), limit)).await
    }

    /// The events after a revision, oldest first.
    pub async fn events_after(&self, revision: u64, limit: u32) -> Result<Vec<LoggedEvent>, Error> {
        Ok(self.events_within(revision, limit, usize::MAX).await?.events)
    }

    /// What is to be known of these keys; one answer for each id.
    pub async fn key_states(&self, ids: &[String]) -> Result<Vec<KeyState>, Error> {
        let mut states = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_PER_QUERY) {
            let sane: Vec<&str> =
                ids.iter().map(String::as_str).filter(|id| key_rows::can_be_text(id)).collect();
            let select = key_rows::ids().filter(key::Column::KeyId.is_in(sane));
            let found = self.states(select.into_query()).await?;
            let known: std::collections::HashSet<&str> =
                found.iter().map(KeyState::key_id).collect();
            let absent = ids.iter().filter(|id| !known.contains(id.as_str()));
            states.extend(absent.cloned().map(KeyState::Absent));
            states.extend(found);
        }
        Ok(states)
    }

    async fn states(
        &self,
        ids: sea_orm::sea_query::SelectStatement,
    ) -> Result<Vec<KeyState>, Error> {
        let order = [(key::Column::KeyId, Order::Asc)];
        let read = key_rows::read(self.reader(), ids, &order, self.seals());
        // The follower has just seen an event of them: it has more to do than to wait for a connection that was cut.
        let read = match self.of_follower {
            true => self.answered_within(self.inner.following.read * 2, read).await?,
            false => self.answered(read).await?,
        };
        Ok(read.into_iter().map(KeyState::from).collect())
    }
}

impl KeyState {
    /// The key that this is about.
    pub fn key_id(&self) -> &str {
        match self {
            Self::Sealed(key) => key.key_id.as_str(),
            Self::Absent(key_id) | Self::Broken { key_id, .. } => key_id,
        }
    }
}

impl From<Read> for KeyState {
    fn from(read: Read) -> Self {
        match read {
            Ok(key) => Self::Sealed(key.verifiable()),
            Err(Unserved { key_id, fault, .. }) => Self::Broken { key_id, fault },
        }
    }
}

/// Where a row stands in an order, as [`KeyQuery::after`] has it.
fn place_of(row: &Read, by: KeySort) -> (i64, String) {
    let (created, updated, key_id) = match row {
        Ok(key) => (key.create_time.micros(), key.update_time.micros(), key.key_id.as_str()),
        Err(unserved) => (unserved.create_time, unserved.update_time, unserved.key_id.as_str()),
    };
    let sort_value = match by {
        KeySort::CreateTime => created,
        KeySort::UpdateTime => updated,
        KeySort::KeyId => 0,
    };
    (sort_value, key_id.to_owned())
}

fn condition_of(query: &KeyQuery) -> Condition {
    let mut condition = Condition::all();
    if let Some(account) = &query.account {
        condition = condition.add(key::Column::AccountId.eq(account.as_str()));
    }
    if let Some(filter) = &query.filter {
        condition = condition.add(filter_sql::of_keys(filter, query.now));
    }
    if let Some((value, key_id)) = &query.after {
        let column = |column: key::Column| Expr::col((key::Entity, column));
        let (here, there) = match query.order.by {
            KeySort::CreateTime => (vec![column(key::Column::CreateTime)], vec![Expr::val(*value)]),
            KeySort::UpdateTime => (vec![column(key::Column::UpdateTime)], vec![Expr::val(*value)]),
            KeySort::KeyId => (vec![], vec![]),
        };
        let here = Expr::tuple(here.into_iter().chain([column(key::Column::KeyId)]));
        let there = Expr::tuple(there.into_iter().chain([Expr::val(key_id.as_str())]));
        condition =
            condition.add(if query.order.descending { here.lt(there) } else { here.gt(there) });
    }
    condition
}
