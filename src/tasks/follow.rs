//! The follower of the log, on a thread and a runtime of its own, with connections of its own: every
//! verification depends on it, so no amount of other work may keep it waiting.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::domain::Error;
use crate::domain::position::Position;
use crate::domain::replica::ReplicaRow;
use crate::domain::time::Clock;
use crate::log::{self, ApplyChange, Feeds, HighWater, Log, Settings, Start, TokioTimer};
use crate::store::Store;

/// How long it may take to remove the row of a start that came to nothing.
pub const TAKEN_BACK_WITHIN: Duration = Duration::from_secs(1);

/// Why the log can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum NotFollowed {
    /// The system gave no thread or no runtime.
    #[error("can't start the thread that follows the log: {0}")]
    NoThread(#[from] io::Error),
    /// The keys could not be loaded. Whoever starts a server is its operator, so also a fault of ours is told.
    #[error("{}", .0.to_operators())]
    NotLoaded(#[from] Error),
    /// The thread ended.
    #[error("the thread that follows the log ended")]
    Died,
}

/// As whom a log is followed, and what the rest of the server sees of it.
pub struct Following {
    /// What this replica says of itself.
    pub replica: ReplicaRow,
    /// How the log is followed.
    pub settings: Settings,
    /// The clock that leases are measured with.
    pub clock: Arc<dyn Clock>,
    /// What verifying threads read.
    pub position: Arc<Position>,
    /// Where the high-water mark is kept.
    pub high_water: Arc<dyn HighWater>,
    /// Where index changes go.
    pub apply: ApplyChange,
    /// Dropped when the thread has ended and nobody needs to wait for this replica any more.
    pub ended: oneshot::Sender<Infallible>,
}

/// The thread of a follower, which ends with this value.
#[derive(Debug)]
pub struct FollowerThread {
    ended: oneshot::Receiver<Infallible>,
    _stop: oneshot::Sender<Infallible>,
}

impl FollowerThread {
    /// Waits for an end that should not come.
    pub async fn run(self) -> &'static str {
        let Err(_) = self.ended.await;
        "its thread ended"
    }
}

/// Loads every key, then follows the log until the second value is dropped. This replica's row is there from the
/// beginning of the load on; where it comes to nothing, or is broken off (by dropping this), the row is removed, so that
/// nobody waits for a replica that never served.
///
/// # Errors
///
/// [`NotFollowed`].
pub async fn start(
    store: &Store,
    following: Following,
) -> Result<(Log<Store>, FollowerThread), NotFollowed> {
    let Following { replica, settings, clock, position, high_water, apply, ended: gone } =
        following;
    let own =
        Own { row: replica.id.clone(), store: store.for_follower(), followed: OnceLock::new() };
    let start = Start {
        feeds: Feeds { follower: own.store.clone(), watchers: store.clone() },
        store: store.store_id(),
        replica,
        settings,
        clock,
        timer: Arc::new(TokioTimer),
        position,
        high_water,
        apply,
    };
    let (loaded, log) = oneshot::channel();
    let (alive, ended) = oneshot::channel::<Infallible>();
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let follow = async |own: &Own| {
        match log::start(start).await {
            Ok((log, follower)) => {
                own.followed.get_or_init(|| log.clone());
                // Whoever asked may be gone; then so is `stop`.
                let _ = loaded.send(Ok(log));
                follower.run().await;
            }
            Err(error) => {
                own.take_back().await;
                let _ = loaded.send(Err(error));
            }
        }
    };
    std::thread::Builder::new().name("follower".to_owned()).spawn(move || {
        let (_alive, _gone) = (alive, gone);
        runtime.block_on(async {
            tokio::select! {
                () = follow(&own) => {}
                Err(_) = stopped => own.take_back().await,
            }
        });
    })?;
    let log = log.await.map_err(|_| NotFollowed::Died)??;
    Ok((log, FollowerThread { ended, _stop: stop }))
}

/// This replica's row, and the way to it.
struct Own {
    row: String,
    store: Store,
    /// Once the keys are loaded.
    followed: OnceLock<Log<Store>>,
}

impl Own {
    /// Removes it, unless it went with a farewell. This replica answers nothing, and if the row stays, it is swept like
    /// those of the dead.
    async fn take_back(&self) {
        if self.followed.get().is_some_and(Log::has_left) {
            return;
        }
        let removed = self.store.deregister(&self.row);
        match tokio::time::timeout(TAKEN_BACK_WITHIN, removed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "can't remove the row of this replica"),
            Err(_) => tracing::warn!("can't remove the row of this replica in time"),
        }
    }
}
