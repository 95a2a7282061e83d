//! The one follower of the log: it polls the store, brings the index up to date, keeps the newest
//! events in memory, and tells whoever waits for a revision or subscribes to the events.
//!
//! ```text
//!            poll (every 200 ms, or at once after a commit of our own)
//!   store ───────────► Follower ──► index   (first: verifications see the change …)
//!                          │
//!                          ├──────► Position (… then `applied` says so)
//!                          └──────► ring ──► Subscription, one for each watcher
//! ```
//!
//! Replicas that prove to each other how far they are will have their place in [`Follower`]: a lease
//! beside the poll, a wake-up beside [`Log::wake`].

mod feed;
mod follower;
mod ring;
mod subscription;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use feed::Feed;
pub use follower::{Feeds, Follower, start};
pub use ring::{Ring, weight};
pub use subscription::Subscription;

use crate::domain::Timestamp;
use crate::domain::ids::StoreId;
use crate::domain::position::Position;
use crate::domain::time::Clock;
use crate::domain::token::LogPosition;

/// How the log is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time between polls.
    pub poll_interval: Duration,
    /// For how long verifications are answered after the last successful poll.
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
    epoch: u32,
    position: Arc<Position>,
    visible_within: Duration,
    ring: Mutex<Ring>,
    applied: watch::Sender<u64>,
    wake: Notify,
}

impl<F> Shared<F> {
    /// The ring. A panic elsewhere while it was locked left it whole: it is changed by whole events.
    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Feed> Log<F> {
    /// The newest revision that verifications on this replica see.
    pub fn applied(&self) -> u64 {
        *self.shared.applied.borrow()
    }

    /// The present for deciding on expiry, as verifications on this replica have it.
    pub fn now(&self, clock: &dyn Clock) -> Timestamp {
        self.shared.position.now(clock)
    }

    /// A revision of this log as callers see it.
    pub fn position_at(&self, revision: u64) -> LogPosition {
        LogPosition { store: self.shared.store, epoch: self.shared.epoch, revision }
    }

    /// Makes the follower poll now instead of at its next turn.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// Waits until verifications on this replica see a revision.
    ///
    /// # Errors
    ///
    /// [`NotYetVisible`] if that takes longer than the settings allow.
    pub async fn wait_for(&self, revision: u64) -> Result<(), NotYetVisible> {
        let mut applied = self.shared.applied.subscribe();
        self.wake();
        let visible = applied.wait_for(|applied| *applied >= revision);
        match tokio::time::timeout(self.shared.visible_within, visible).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotYetVisible),
        }
    }

    /// Follows the events after a revision: replayed from the store, then live.
    pub fn subscribe(&self, after: u64) -> Subscription<F> {
        Subscription::new(self.clone(), after)
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
