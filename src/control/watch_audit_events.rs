use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::page::parse_filter;
use super::{Control, CursoredEvent};
use crate::domain::audit::{AuditEvent, LoggedEvent};
use crate::domain::filter::{self, AUDIT, Expr};
use crate::domain::ids::KeyId;
use crate::domain::permission::{Principal, Reach, Verb};
use crate::domain::token::{LogPosition, PositionKind};
use crate::domain::{Error, Timestamp};
use crate::log::Subscription;
use crate::store::Store;

/// A watcher hears from us at least this often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// A request to follow the log.
#[derive(Debug, Clone)]
pub struct WatchAuditEvents {
    /// Where to start.
    pub start: WatchStart,
    /// Which events; empty: all within reach.
    pub filter: String,
}

/// Where to start following the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchStart {
    /// From now on.
    Now,
    /// After the message that carried this cursor.
    Cursor(String),
    /// After this revision.
    AfterRevision(i64),
}

/// One message of a watch.
#[derive(Debug, Clone)]
pub enum WatchMessage {
    /// The next event.
    Event(CursoredEvent),
    /// The watch is alive and has come this far.
    Heartbeat {
        /// Where to resume.
        cursor: String,
        /// The time at this replica.
        time: Timestamp,
    },
}

/// A running watch.
pub struct Watch {
    control: Control,
    subscription: Subscription<Store>,
    /// The key behind the watch.
    own_key: KeyId,
    reach: Reach,
    filter: Option<Expr>,
    /// Handed over by the subscription, not yet looked at.
    pending: VecDeque<Arc<LoggedEvent>>,
    /// The revision up to which every event was sent or filtered out.
    seen: u64,
    announced: bool,
    heartbeat_due: Instant,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Control {
    /// Follows the log within the principal's reach.
    ///
    /// # Errors
    ///
    /// A filter or cursor that is not valid; [`Error::CursorOutOfRange`].
    pub async fn watch_audit_events(
        &self,
        principal: &Principal,
        request: WatchAuditEvents,
    ) -> Result<Watch, Error> {
        principal.require(Verb::WatchAuditEvents)?;
        let filter = parse_filter(&request.filter, &AUDIT)?;
        let after = match request.start {
            WatchStart::Now => self.log.applied(),
            WatchStart::AfterRevision(revision) => {
                let revision = u64::try_from(revision);
                let negative = || Error::invalid("after_revision", "must not be negative");
                self.reachable(revision.map_err(|_| negative())?).await?
            }
            WatchStart::Cursor(cursor) => {
                let position = LogPosition::decode(PositionKind::Cursor, &cursor)
                    .map_err(|error| Error::invalid("cursor", error.to_string()))?;
                if position != self.log.position_at(position.revision) {
                    return Err(Error::CursorOutOfRange("it is of another store or epoch"));
                }
                self.reachable(position.revision).await?
            }
        };
        Ok(Watch {
            control: self.clone(),
            subscription: self.log.subscribe(after),
            own_key: principal.key_id().clone(),
            reach: principal.reach().clone(),
            filter,
            pending: VecDeque::new(),
            seen: after,
            announced: false,
            heartbeat_due: Instant::now() + HEARTBEAT_EVERY,
        })
    }

    /// A revision to start after, once it is sure that the log has come that far. It may come from
    /// another replica that is ahead of this one, so the store is asked before it is refused.
    async fn reachable(&self, revision: u64) -> Result<u64, Error> {
        if revision > self.log.applied() {
            let (last, _) = self.store.last_revision().await?;
            if revision > last {
                return Err(Error::CursorOutOfRange("it is ahead of the log"));
            }
            let reached = self.log.wait_for(revision).await;
            reached.map_err(|_| Error::Unavailable("this replica has not come that far yet"))?;
        }
        Ok(revision)
    }
}

impl Watch {
    /// The next message; waits for it. Nothing is lost if this future is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::SlowWatcher`] if the reader fell behind; those of the store while replaying.
    pub async fn next(&mut self) -> Result<WatchMessage, Error> {
        loop {
            while let Some(logged) = self.pending.pop_front() {
                self.seen = logged.event.revision;
                if self.wants(&logged) {
                    self.heartbeat_due = Instant::now() + HEARTBEAT_EVERY;
                    return Ok(WatchMessage::Event(self.control.cursored(logged)));
                }
                // The watch may have lost its right by this event; a message has that looked into now,
                // also where the filter holds the event back.
                if logged.event.key_id == self.own_key.as_str() {
                    return Ok(self.heartbeat());
                }
            }
            if !self.announced && self.subscription.has_caught_up() {
                return Ok(self.heartbeat());
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.heartbeat_due) => return Ok(self.heartbeat()),
                events = self.subscription.next() => self.pending.extend(events?),
            }
        }
    }

    fn heartbeat(&mut self) -> WatchMessage {
        self.heartbeat_due = Instant::now() + HEARTBEAT_EVERY;
        self.announced |= self.pending.is_empty() && self.subscription.has_caught_up();
        let cursor = self.control.log.position_at(self.seen).encode(PositionKind::Cursor);
        WatchMessage::Heartbeat { cursor, time: self.control.now() }
    }

    fn wants(&self, logged: &LoggedEvent) -> bool {
        let reachable = match self.reach.account() {
            None => true,
            Some(account) => account.as_str() == logged.event.account_id,
        };
        let filtered = self.filter.as_ref();
        reachable && filtered.is_none_or(|expr| filter::matches(expr, &Filterable(&logged.event)))
    }
}

/// An event as filters see it.
struct Filterable<'a>(&'a AuditEvent);

impl filter::Row for Filterable<'_> {
    fn text(&self, field: &str) -> Option<Cow<'_, str>> {
        let event = self.0;
        match field {
            "type" => Some(event.kind.as_str().into()),
            "account_id" => Some(event.account_id.as_str().into()),
            "application_id" => Some(event.application_id.as_str().into()),
            "key_id" => Some(event.key_id.as_str().into()),
            "actor" => Some(event.actor.name().into()),
            "request_id" => Some(event.request_id.as_str().into()),
            _ => None,
        }
    }

    fn time(&self, field: &str) -> Option<Timestamp> {
        (field == "time").then_some(self.0.time)
    }

    fn number(&self, field: &str) -> Option<u64> {
        (field == "revision").then_some(self.0.revision)
    }

    fn has_member(&self, _field: &str, _member: &str) -> bool {
        false
    }

    fn entry(&self, _field: &str, _key: &str) -> Option<Cow<'_, str>> {
        None
    }
}
