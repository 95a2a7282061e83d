//! The one follower of the log: it polls the store, brings the index up to date, keeps the newest
//! events in memory, and tells whoever waits for a revision or subscribes to the events. It also says how long
//! this replica may answer from that, and how far the other replicas are.
//!
//! ```text
//!            poll (every 200 ms, or at once after a commit of our own)
//!   store ───────────► Follower ──► index   (first: verifications see the change …)
//!                        │  │
//!                        │  ├─────► Position (… then `applied` says so; and until when that may be used: the lease)
//!                        │  └─────► ring ──► Subscription, one for each watcher
//!                        │
//!                        └────────► our row: alive, and how far        other rows ──► Log::everywhere
//! ```
//!
//! Read [`lease`](self) first: it says what is promised and why it holds; then `follower`, `membership` and
//! `everywhere`, each of which draws its timeline.

mod everywhere;
mod feed;
mod follower;
mod fork;
mod high_water;
mod lease;
mod load;
mod membership;
mod reached;
mod refused;
mod ring;
mod start;
mod state;
mod subscription;
mod take;
mod timer;
mod wake;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use everywhere::{Patience, Propagation};
pub use feed::{Apply, Feed};
pub use follower::Follower;
pub use high_water::{HighWater, HighWaterFile, Mark};
pub use ring::{Ring, weight};
pub use start::{ApplyChange, Feeds, Start, start};
pub use subscription::Subscription;
pub use timer::{Timer, TokioTimer};

use self::membership::{LEAVE_WITHIN, Look, REVISIONS_PER_LOOK};
use self::timer::timeout;
use self::wake::Wake;
use crate::domain::ids::StoreId;
use crate::domain::position::Position;
use crate::domain::replica::{EpochStart, ReplicaRow, Roster};
use crate::domain::time::Clock;
use crate::domain::token::LogPosition;
use crate::domain::{Error, Timestamp};

/// How the log is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time between the beginnings of two polls.
    pub poll_interval: Duration,
    /// The length of the lease: the longest time for which a revocation may not hold here, whatever fails.
    pub max_staleness: Duration,
    /// How long a reply waits for its own change to become visible on this replica.
    pub visible_within: Duration,
    /// Most events kept in memory for watchers.
    pub ring_events: usize,
    /// Most bytes of events kept in memory for watchers.
    pub ring_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_millis(200),
            max_staleness: Duration::from_secs(30),
            visible_within: Duration::from_secs(10),
            ring_events: 16_384,
            ring_bytes: 32 * 1024 * 1024,
        }
    }
}

/// This replica has not come as far as it was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this replica has not come that far yet")]
pub struct NotYetVisible;

/// A handle on the followed log.
pub struct Log<F> {
    shared: Arc<Shared<F>>,
}

impl<F> Clone for Log<F> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<F> fmt::Debug for Log<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("position", &self.shared.position).finish_non_exhaustive()
    }
}

/// What the follower and the handles share.
struct Shared<F> {
    /// What watchers read from; the follower has a feed of its own.
    feed: F,
    store: StoreId,
    /// What this replica says of itself; beat and position are those of its start.
    replica: ReplicaRow,
    settings: Settings,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    position: Arc<Position>,
    /// All epochs after the first.
    epochs: Mutex<Vec<EpochStart>>,
    ring: Mutex<Ring>,
    applied: watch::Sender<u64>,
    /// Counts the logs that took another's place here.
    replaced: AtomicU64,
    /// The database's log is not the one that was followed; for whoever only looks on.
    forked: AtomicBool,
    wake: Wake,
    row_is_gone: Notify,
    /// The newest look at all rows.
    look: watch::Sender<Arc<Look>>,
    /// For which revisions is waited, and by how many.
    waiting: Mutex<BTreeMap<u64, usize>>,
    rows_wanted: Notify,
    leaving: watch::Sender<bool>,
    left: watch::Sender<bool>,
}

impl<F> Shared<F> {
    fn new(
        feed: F,
        store: StoreId,
        replica: ReplicaRow,
        settings: Settings,
        clock: Arc<dyn Clock>,
        timer: Arc<dyn Timer>,
        position: Arc<Position>,
    ) -> Self {
        let ring = Ring::new(0, settings.ring_events, settings.ring_bytes);
        // Of a time before everything, so that no waiter takes it for one after its commit.
        let look = Look { began: Duration::ZERO, roster: Roster::default() };
        Self {
            feed,
            store,
            replica,
            settings,
            clock,
            timer,
            position,
            epochs: Mutex::default(),
            ring: Mutex::new(ring),
            applied: watch::Sender::new(0),
            replaced: AtomicU64::new(0),
            forked: AtomicBool::new(false),
            wake: Wake::default(),
            row_is_gone: Notify::new(),
            look: watch::Sender::new(Arc::new(look)),
            waiting: Mutex::default(),
            rows_wanted: Notify::new(),
            leaving: watch::Sender::new(false),
            left: watch::Sender::new(false),
        }
    }

    /// The ring. A panic elsewhere while it was locked left it whole: it is changed by whole events.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epochs(&self) -> MutexGuard<'_, Vec<EpochStart>> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first revision of an epoch that a later one does not have; `None` while it goes on.
    fn end_of(&self, epoch: u32) -> Option<u64> {
        let epochs = self.epochs();
        let later = epochs.iter().filter(|later| later.epoch > epoch);
        later.map(|later| later.first_revision).min()
    }

    /// Ends every subscription: what they have handed out is not of the log that comes.
    fn begin_another_log(&self) {
        self.replaced.fetch_add(1, Ordering::AcqRel);
    }

    fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn one_more_waits(&self, revision: u64) {
        *self.waiting().entry(revision).or_default() += 1;
        self.rows_wanted.notify_one();
    }

    fn one_less_waits(&self, revision: u64) {
        let mut waiting = self.waiting();
        if let Some(count) = waiting.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&revision);
            }
        }
    }

    /// The revisions for which is waited, those first that were there first; no more than one look asks for.
    fn awaited(&self) -> Vec<u64> {
        self.waiting().keys().copied().take(REVISIONS_PER_LOOK).collect()
    }
}

impl<F: Feed> Log<F> {
    /// The newest revision that verifications on this replica see.
    pub fn applied(&self) -> u64 {
        *self.shared.applied.borrow()
    }

    /// Whether the database's log is not the one that this replica has followed, so that nothing is answered.
    pub fn is_forked(&self) -> bool {
        self.shared.forked.load(Ordering::Acquire)
    }

    /// This replica's id.
    pub fn replica_id(&self) -> &str {
        &self.shared.replica.id
    }

    /// What all replicas say of themselves; where there can be only one, what this one would say.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn replica_rows(&self) -> Result<Vec<ReplicaRow>, Error> {
        let shared = &self.shared;
        if shared.feed.is_shared() {
            return Ok(shared.feed.replicas(&[]).await?.rows);
        }
        let beat_age = shared.position.since_poll(shared.clock.as_ref());
        Ok(vec![ReplicaRow { applied: self.applied(), beat_age, ..shared.replica.clone() }])
    }

    /// The present for deciding on expiry, as verifications on this replica have it.
    pub fn now(&self, clock: &dyn Clock) -> Timestamp {
        self.shared.position.now(clock)
    }

    /// A revision of this log as callers see it.
    pub fn position_at(&self, revision: u64) -> LogPosition {
        LogPosition { store: self.shared.store, epoch: self.shared.position.epoch(), revision }
    }

    /// Makes the follower poll now instead of at its next turn.
    pub fn wake(&self) {
        self.shared.wake.ask();
    }

    /// Follows the events after a revision: replayed from the store, then live.
    pub fn subscribe(&self, after: u64) -> Subscription<F> {
        Subscription::new(self.clone(), after)
    }

    /// Whether this replica has left, and has tried to remove its row. The database may be closed by now.
    pub fn has_left(&self) -> bool {
        *self.shared.left.borrow()
    }

    /// The end, after the last answer was sent: gives the lease back and removes this replica's row, so that nobody
    /// waits for it. Not waited for longer than it takes: a follower that has died leaves nothing but its row, which
    /// the others remove.
    pub async fn leave(&self) {
        let mut left = self.shared.left.subscribe();
        self.shared.leaving.send_replace(true);
        let left = left.wait_for(|left| *left);
        // Either way there is nothing more to be done.
        let _ = timeout(self.shared.timer.as_ref(), LEAVE_WITHIN * 2, left).await.is_ok();
    }
}

#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
