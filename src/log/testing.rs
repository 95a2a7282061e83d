//! A log in memory, to follow in tests.

use std::sync::{Arc, Mutex};

use crate::domain::audit::{Actor, AuditEvent, CANONICAL_VERSION, EventType, LoggedEvent};
use crate::domain::{Error, Timestamp};
use crate::log::Feed;
use crate::store::{Events, KeyState};

/// An event of that revision about a key of that number.
pub(super) fn event(revision: u64) -> LoggedEvent {
    let event = AuditEvent {
        account_id: "acme".to_owned(),
        actor: Actor::local("test"),
        application_id: "web".to_owned(),
        changes: Vec::new(),
        comment: String::new(),
        key_id: format!("key-{revision}"),
        key_seal: String::new(),
        request_id: String::new(),
        revision,
        revoke_reason: String::new(),
        time: Timestamp::default(),
        trace_id: String::new(),
        kind: EventType::KeyCreated,
        v: CANONICAL_VERSION,
    };
    LoggedEvent::from_canonical(&event.canonical().expect("serialises")).expect("parses")
}

/// A log in memory that can be made to fail.
#[derive(Clone, Default)]
pub(super) struct MemoryFeed(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    events: Vec<LoggedEvent>,
    reads: u64,
    broken: bool,
    while_scanned: u64,
}

impl MemoryFeed {
    /// Appends this many events.
    pub(super) fn append(&self, count: u64) {
        let mut state = self.0.lock().expect("no panic");
        let first = state.events.len() as u64 + 1;
        state.events.extend((first..first + count).map(event));
    }

    /// Appends this many events while the keys are read.
    pub(super) fn append_while_scanned(&self, count: u64) {
        self.0.lock().expect("no panic").while_scanned = count;
    }

    /// Makes every read fail, or none.
    pub(super) fn set_broken(&self, broken: bool) {
        self.0.lock().expect("no panic").broken = broken;
    }

    /// Takes an event out, which no real log ever does.
    pub(super) fn lose(&self, revision: u64) {
        self.0.lock().expect("no panic").events.retain(|logged| logged.event.revision != revision);
    }

    /// How often events were read.
    pub(super) fn reads(&self) -> u64 {
        self.0.lock().expect("no panic").reads
    }
}

impl Feed for MemoryFeed {
    async fn last_revision(&self) -> Result<(u64, Timestamp), Error> {
        Ok((self.0.lock().expect("no panic").events.len() as u64, Timestamp::default()))
    }

    async fn events_after(&self, revision: u64, limit: u32, _: usize) -> Result<Events, Error> {
        let mut state = self.0.lock().expect("no panic");
        state.reads += 1;
        if state.broken {
            return Err(Error::Unavailable("broken for the test"));
        }
        let newer = state.events.iter().filter(|logged| logged.event.revision > revision);
        let complete = newer.clone().count() <= limit as usize;
        Ok(Events { events: newer.take(limit as usize).cloned().collect(), complete })
    }

    async fn key_states(&self, key_ids: &[String]) -> Result<Vec<KeyState>, Error> {
        // As with a real store, others get their turn in between, and see how far the follower says it is.
        tokio::task::yield_now().await;
        Ok(key_ids.iter().cloned().map(KeyState::Absent).collect())
    }

    async fn scan_keys(&self, _: Option<&str>, _: u32) -> Result<Vec<KeyState>, Error> {
        let count = std::mem::take(&mut self.0.lock().expect("no panic").while_scanned);
        self.append(count);
        Ok(Vec::new())
    }
}
