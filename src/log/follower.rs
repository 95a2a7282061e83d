//! Loads every key, then follows the log.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use super::feed::Feed;
use super::ring::Ring;
use super::{Log, Settings, Shared};
use crate::domain::Error;
use crate::domain::ids::KeyId;
use crate::domain::ids::StoreId;
use crate::domain::position::Position;
use crate::domain::time::Clock;
use crate::domain::verdict::IndexChange;
use crate::store::{Events, KeyState};

/// Keys read at once while loading; a key may have a hundred kilobytes.
const LOAD_PAGE: u32 = 500;
/// Events read at once while following.
const POLL_PAGE: u32 = 500;
/// Most bytes of events read at once while following.
const POLL_BYTES: usize = 4 * 1024 * 1024;
/// A load longer than this many keys says how far it is, each time it has read as many again.
const PROGRESS_EVERY: usize = 250_000;

/// Where index changes go. Called by the follower alone, in order.
type Apply = Box<dyn Fn(IndexChange) + Send + Sync>;

/// The loop that follows the log. One for each process.
pub struct Follower<F> {
    /// The follower's own; the watchers share another, so that none of them is in its way.
    feed: F,
    shared: Arc<Shared<F>>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    apply: Apply,
}

impl<F> std::fmt::Debug for Follower<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The two ways to one store.
#[derive(Debug, Clone)]
pub struct Feeds<F> {
    /// For the follower alone: on it hangs every verification.
    pub follower: F,
    /// For all watchers.
    pub watchers: F,
}

/// Loads every key into the index, then everything that happened meanwhile. On return the index holds
/// everything up to a revision that was current a moment ago, and `position` says so.
///
/// The revision is read before the keys: a key that changes meanwhile is read as it is then, and its
/// event is applied again by the follower, which changes nothing.
///
/// # Errors
///
/// Those of the store.
pub async fn start<F: Feed>(
    Feeds { follower: feed, watchers }: Feeds<F>,
    (store, epoch): (StoreId, u32),
    settings: Settings,
    clock: Arc<dyn Clock>,
    position: Arc<Position>,
    apply: Apply,
) -> Result<(Log<F>, Follower<F>), Error> {
    let (revision, newest_event) = feed.last_revision().await?;
    let mut loaded = 0;
    let mut last: Option<String> = None;
    loop {
        let page = feed.scan_keys(last.as_deref(), LOAD_PAGE).await?;
        let Some(end) = page.last() else { break };
        last = Some(end.key_id().to_owned());
        let before = loaded / PROGRESS_EVERY;
        loaded += page.len();
        page.into_iter().filter_map(index_change).for_each(&apply);
        if loaded / PROGRESS_EVERY > before {
            tracing::info!(keys = loaded, "loading keys");
        }
    }
    position.advance(revision, newest_event);
    tracing::info!(keys = loaded, revision, "keys loaded");

    let shared = Arc::new(Shared {
        feed: watchers,
        store,
        epoch,
        position,
        visible_within: settings.visible_within,
        ring: Mutex::new(Ring::new(revision, settings.ring_events, settings.ring_bytes)),
        applied: watch::Sender::new(revision),
        wake: Notify::new(),
    });
    let log = Log { shared: Arc::clone(&shared) };
    let follower = Follower { feed, shared, settings, clock, apply };
    // A load may take longer than answers may be given without news, and others write meanwhile.
    follower.poll().await?;
    Ok((log, follower))
}

impl<F: Feed> Follower<F> {
    /// Polls for ever. A poll that fails is tried again at the next turn; meanwhile staleness grows.
    pub async fn run(self) {
        let mut failing = false;
        loop {
            match self.poll().await {
                Ok(()) if failing => tracing::info!("the log can be read again"),
                Ok(()) => {}
                Err(error) if failing => tracing::debug!(?error, "the log still can't be read"),
                Err(error) => tracing::error!(?error, "the log can't be read; trying again"),
            }
            failing = self.shared.position.staleness(self.clock.as_ref())
                > self.settings.poll_interval * 2;
            tokio::select! {
                () = tokio::time::sleep(self.settings.poll_interval) => {}
                () = self.shared.wake.notified() => {}
            }
        }
    }

    /// Reads and applies all events that this replica has not seen.
    async fn poll(&self) -> Result<(), Error> {
        loop {
            let began = self.clock.uptime();
            let applied = *self.shared.applied.borrow();
            let read = self.feed.events_after(applied, POLL_PAGE, POLL_BYTES).await?;
            let Events { events, complete } = read;

            let mut expected = applied;
            let mut key_ids = BTreeSet::new();
            for logged in &events {
                expected += 1;
                if logged.event.revision != expected {
                    return Err(Error::Internal(format!(
                        "the log has revision {} where {expected} must be",
                        logged.event.revision
                    )));
                }
                key_ids.insert(logged.event.key_id.clone());
            }
            // A key's row may be newer than the event that names it; its own event follows then.
            let key_ids: Vec<String> = key_ids.into_iter().collect();
            if !key_ids.is_empty() {
                let states = self.feed.key_states(&key_ids).await?;
                states.into_iter().filter_map(index_change).for_each(&self.apply);
            }
            if let Some(last) = events.last() {
                self.shared.position.advance(last.event.revision, last.event.time);
                let revision = last.event.revision;
                self.shared.ring().extend(events);
                self.shared.applied.send_replace(revision);
            }
            if complete {
                self.shared.position.confirm(began);
                return Ok(());
            }
        }
    }
}

/// What a key's state means for the index. A row whose seal does not fit is never served.
fn index_change(state: KeyState) -> Option<IndexChange> {
    match state {
        KeyState::Sealed(key) => Some(IndexChange::Put(Arc::new(key))),
        KeyState::Absent(key_id) => KeyId::from_stored(key_id).ok().map(IndexChange::Remove),
        KeyState::Broken { key_id, fault } => {
            tracing::error!(key_id, %fault, "ALARM: a key's row was changed from outside; it is not served");
            KeyId::from_stored(key_id).ok().map(IndexChange::Remove)
        }
    }
}
