//! Holds the log against itself and every key against the log, over and over: an old row that was put
//! back has a seal that fits, so nothing else would notice it.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::store::Store;

/// How often, the first time at the start. It reads everything, through one connection of its own.
const EVERY: Duration = Duration::from_secs(3_600);

/// Runs for ever. A failure is logged, and tried again at the next turn.
pub async fn run(store: Store) -> Infallible {
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        match store.check_log().await {
            Ok(report) if report.faults.is_empty() => {
                tracing::info!(
                    events = report.events,
                    "the log and the keys were checked: all is well"
                );
            }
            Ok(report) => {
                for fault in &report.faults {
                    tracing::error!(fault, "ALARM: the log or a key was changed from outside");
                }
            }
            Err(error) => tracing::warn!(%error, "can't check the log; trying again in an hour"),
        }
    }
}
