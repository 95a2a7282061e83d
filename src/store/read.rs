//! Reading, outside of any transaction. Every answer is one statement's, and so of one moment.

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, Order, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait,
};

use super::entity::{audit_event, key};
use super::error::Fault;
use super::row::Unserved;
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

impl Store {
    fn reader(&self) -> &DatabaseConnection {
        &self.inner.pools.reader
    }

    fn read_error(&self, fault: impl Into<Fault>) -> Error {
        match fault.into() {
            Fault::Database(error) => self.inner.pools.explain(error).into(),
            fault => fault.into(),
        }
    }

    /// One key.
    pub async fn get_key(&self, key_id: &str) -> Result<Option<Key>, Error> {
        let read = key_rows::read_one(self.reader(), key_id, self.seals()).await;
        let read = read.map_err(|error| self.read_error(error))?;
        read.transpose().map_err(|unserved| self.read_error(unserved))
    }

    /// The keys that fit a query, in its order.
    pub async fn list_keys(&self, query: &KeyQuery) -> Result<Vec<Key>, Error> {
        let KeyOrder { by, descending } = query.order;
        let direction = if descending { Order::Desc } else { Order::Asc };
        let columns = match by {
            KeySort::CreateTime => vec![key::Column::CreateTime, key::Column::KeyId],
            KeySort::UpdateTime => vec![key::Column::UpdateTime, key::Column::KeyId],
            KeySort::KeyId => vec![key::Column::KeyId],
        };
        let order: Vec<_> = columns.into_iter().map(|column| (column, direction.clone())).collect();
        let mut ids = key_rows::ids().filter(condition_of(query)).limit(query.limit);
        for (column, direction) in &order {
            ids = ids.order_by(*column, direction.clone());
        }
        let read = key_rows::read(self.reader(), ids.into_query(), &order, self.seals()).await;
        let read = read.map_err(|error| self.read_error(error))?;
        read.into_iter().collect::<Result<_, _>>().map_err(|unserved| self.read_error(unserved))
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
        let read = events::read(self.reader(), query.after_revision, condition, query.limit).await;
        read.map_err(|fault| self.read_error(fault))
    }

    /// The newest revision and its time; zero and the Unix epoch for an empty log.
    pub async fn last_revision(&self) -> Result<(u64, Timestamp), Error> {
        let tip = events::tip(self.reader()).await.map_err(|fault| self.read_error(fault))?;
        Ok((tip.revision, tip.time))
    }

    /// The events after a revision, oldest first.
    pub async fn events_after(&self, revision: u64, limit: u32) -> Result<Vec<LoggedEvent>, Error> {
        let read = events::read(self.reader(), revision, Condition::all(), limit.into()).await;
        read.map_err(|fault| self.read_error(fault))
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

    /// What is to be known of the next keys after one, by key id.
    pub async fn scan_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<KeyState>, Error> {
        let mut select = key_rows::ids().order_by_asc(key::Column::KeyId).limit(u64::from(limit));
        if let Some(after) = after {
            select = select.filter(key::Column::KeyId.gt(after));
        }
        self.states(select.into_query()).await
    }

    async fn states(
        &self,
        ids: sea_orm::sea_query::SelectStatement,
    ) -> Result<Vec<KeyState>, Error> {
        let order = [(key::Column::KeyId, Order::Asc)];
        let read = key_rows::read(self.reader(), ids, &order, self.seals()).await;
        let read = read.map_err(|error| self.read_error(error))?;
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

impl From<super::row::Read> for KeyState {
    fn from(read: super::row::Read) -> Self {
        match read {
            Ok(key) => Self::Sealed(key.verifiable()),
            Err(Unserved { key_id, fault }) => Self::Broken { key_id, fault },
        }
    }
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
