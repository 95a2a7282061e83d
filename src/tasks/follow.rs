//! The follower of the log, on a thread and a runtime of its own, with a connection of its own: every
//! verification depends on it, so no amount of other work may keep it waiting.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::domain::Error;
use crate::domain::position::Position;
use crate::domain::time::Clock;
use crate::domain::verdict::IndexChange;
use crate::log::{self, Feeds, Log, Settings};
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

/// Where index changes go.
pub type Apply = Box<dyn Fn(IndexChange) + Send + Sync>;

/// The thread of a follower, which ends with this value.
#[derive(Debug)]
pub struct Following {
    ended: oneshot::Receiver<Infallible>,
    _stop: oneshot::Sender<Infallible>,
}

impl Following {
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
    settings: Settings,
    clock: Arc<dyn Clock>,
    position: Arc<Position>,
    apply: Apply,
) -> Result<(Log<Store>, Following), NotFollowed> {
    let feeds = Feeds { follower: store.for_follower(), watchers: store.clone() };
    let of = (store.store_id(), store.epoch());
    let (loaded, log) = oneshot::channel();
    let (alive, ended) = oneshot::channel::<Infallible>();
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let follow = async move {
        match log::start(feeds, of, settings, clock, position, apply).await {
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
    Ok((log, Following { ended, _stop: stop }))
}
