//! Listens to the other replicas' wake-ups, so that this one polls at once instead of at its next turn. Nothing depends
//! on it: whatever is lost here is found by the next poll.

use std::convert::Infallible;
use std::time::Duration;

use crate::store::Store;

/// The pause after the first failure; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Runs for ever, and calls `wake` for each wake-up.
pub async fn run(store: Store, wake: impl Fn()) -> Infallible {
    let Some(mut wake_ups) = store.wake_ups() else { return std::future::pending().await };
    let mut pause = FIRST_PAUSE;
    loop {
        match wake_ups.next().await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                wake();
            }
            Err(error) => {
                tracing::debug!(%error, "can't listen to the other replicas; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
