//! Starting to follow a log: with what, from where, as whom.

use std::sync::Arc;

use super::feed::Feed;
use super::follower::Follower;
use super::high_water::HighWater;
use super::timer::Timer;
use super::{Log, Settings, Shared};
use crate::domain::Error;
use crate::domain::ids::StoreId;
use crate::domain::position::Position;
use crate::domain::replica::ReplicaRow;
use crate::domain::time::Clock;
use crate::domain::verdict::IndexChange;

/// Where index changes go. While keys are loaded it is called from several threads.
pub type ApplyChange = Box<dyn Fn(IndexChange) + Send + Sync>;

/// The two ways to one store.
#[derive(Debug, Clone)]
pub struct Feeds<F> {
    /// For the follower alone: on it hangs every verification.
    pub follower: F,
    /// For all watchers.
    pub watchers: F,
}

/// Where and as whom a log is followed.
pub struct Start<F> {
    /// The ways to the store.
    pub feeds: Feeds<F>,
    /// Whose log it is.
    pub store: StoreId,
    /// What this replica says of itself.
    pub replica: ReplicaRow,
    /// How it is followed.
    pub settings: Settings,
    /// The clock that leases are measured with.
    pub clock: Arc<dyn Clock>,
    /// What waits.
    pub timer: Arc<dyn Timer>,
    /// What verifying threads read.
    pub position: Arc<Position>,
    /// Where the high-water mark is kept.
    pub high_water: Arc<dyn HighWater>,
    /// Where index changes go.
    pub apply: ApplyChange,
}

/// Registers this replica, loads every key into the index, then everything that happened meanwhile. On return the
/// index holds everything up to a revision that was current a moment ago, and `position` says so; or, if the log is
/// not the one that this replica had followed before, nothing is answered until an operator accepts it.
///
/// # Errors
///
/// Those of the store, and a high-water mark that can't be read.
pub async fn start<F: Feed>(start: Start<F>) -> Result<(Log<F>, Follower<F>), Error> {
    let Start { feeds, store, replica, settings, clock, timer, position, high_water, apply } =
        start;
    let shared =
        Shared::new(feeds.watchers, store, replica.clone(), settings, clock, timer, position);
    let shared = Arc::new(shared);
    let log = Log { shared: Arc::clone(&shared) };
    let follower = Follower::begin(feeds.follower, shared, replica, apply, high_water).await?;
    Ok((log, follower))
}
