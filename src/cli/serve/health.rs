//! Says whether requests are welcome, by gRPC's health protocol and on the page for probes: while this replica has a
//! lease, since clients and balancers had better ask another one when it ends. Not earlier: until then it answers, and
//! an outage of the database takes the news from all replicas at once, so that there would be none left to ask.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::domain::position::Position;
use crate::domain::time::Clock;
use crate::rpc::services::Health;
use crate::transport::Readiness;

/// How often the lease is looked at, and until it is held for the first time.
const EVERY: Duration = Duration::from_millis(250);
const EVERY_AT_FIRST: Duration = Duration::from_millis(5);

/// What the page for probes says.
pub(super) fn readiness(
    serving: &Arc<AtomicBool>,
    position: &Arc<Position>,
    clock: &Arc<dyn Clock>,
) -> Arc<Readiness> {
    let (serving, position, clock) = (Arc::clone(serving), Arc::clone(position), Arc::clone(clock));
    Arc::new(move || {
        if !serving.load(Ordering::Acquire) {
            return Err("starting, or stopping".to_owned());
        }
        if !is_held(&position, &*clock) {
            return Err("this replica has no lease: verifications answer UNAVAILABLE".to_owned());
        }
        Ok(())
    })
}

/// Runs for ever. Calls `ready` when the lease is held for the first time: mostly at once, but not where the log was
/// lost, until somebody has accepted that. Says nothing once the server is to stop.
pub(super) async fn follow_the_lease(
    health: Health,
    serving: Arc<AtomicBool>,
    position: Arc<Position>,
    clock: Arc<dyn Clock>,
    ready: impl FnOnce(),
) -> Infallible {
    if !is_held(&position, &*clock) {
        tracing::warn!(
            "not ready: this replica has no lease yet, so verifications answer UNAVAILABLE"
        );
    }
    while !(serving.load(Ordering::Acquire) && is_held(&position, &*clock)) {
        tokio::time::sleep(EVERY_AT_FIRST).await;
    }
    say(true, &health, &serving).await;
    ready();
    let mut said = true;
    loop {
        let held = is_held(&position, &*clock);
        if held != said && serving.load(Ordering::Acquire) {
            say(held, &health, &serving).await;
            said = held;
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn is_held(position: &Position, clock: &dyn Clock) -> bool {
    position.staleness(&position.basis(), clock).is_some()
}

/// The word to stop may have come meanwhile, and is the last.
async fn say(held: bool, health: &Health, serving: &AtomicBool) {
    if held {
        health.serving().await;
    } else {
        health.not_serving().await;
    }
    if !serving.load(Ordering::Acquire) {
        health.not_serving().await;
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
