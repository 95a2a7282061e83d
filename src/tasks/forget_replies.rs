//! Erases the secrets in remembered replies once their ten minutes are over, and the records
//! themselves once their seven days are.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::store::Store;

/// How often. What is overdue is not given out meanwhile: the store looks at the time when it reads.
const EVERY: Duration = Duration::from_secs(60);

/// Runs for ever. A failure is logged, and tried again at the next turn.
pub async fn run(store: Store) -> Infallible {
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if let Err(error) = store.forget_replies().await {
            tracing::warn!(%error, "can't erase old replies; trying again in a minute");
        }
    }
}
