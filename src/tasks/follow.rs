//! The follower of the log, on a thread and a runtime of its own, with connections of its own: every
//! verification depends on it, so no amount of other work may keep it waiting.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::domain::Error;
use crate::domain::position::Position;
use crate::domain::replica::ReplicaRow;
use crate::domain::time::Clock;
use crate::log::{self, ApplyChange, Feeds, HighWater, Log, Settings, Start, TokioTimer};
use crate::store::Store;

/// Why the log can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum NotFollowed {
    /// The system gave no thread or no runtime.
    #[error("can't start the thread that follows the log: {0}")]
    NoThread(#[from] io::Error),
    /// The keys could not be loaded.
    #[error(transparent)]
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

/// Loads every key, then follows the log until the second value is dropped.
///
/// # Errors
///
/// [`NotFollowed`].
pub async fn start(
    store: &Store,
    following: Following,
) -> Result<(Log<Store>, FollowerThread), NotFollowed> {
    let Following { replica, settings, clock, position, high_water, apply } = following;
    let start = Start {
        feeds: Feeds { follower: store.for_follower(), watchers: store.clone() },
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
    let follow = async move {
        match log::start(start).await {
            Ok((log, follower)) => {
                // Whoever asked may be gone; then so is `stop`.
                let _ = loaded.send(Ok(log));
                follower.run().await;
            }
            Err(error) => {
                let _ = loaded.send(Err(error));
            }
        }
    };
    std::thread::Builder::new().name("follower".to_owned()).spawn(move || {
        let _alive = alive;
        runtime.block_on(async {
            tokio::select! {
                () = follow => {}
                Err(_) = stopped => {}
            }
        });
    })?;
    let log = log.await.map_err(|_| NotFollowed::Died)??;
    Ok((log, FollowerThread { ended, _stop: stop }))
}
