//! Says by gRPC's health protocol whether requests are welcome: not while this replica has no lease, since clients
//! that balance by themselves should ask another.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::domain::position::Position;
use crate::domain::time::Clock;
use crate::rpc::services::Health;

/// How often the lease is looked at, and until it is held for the first time.
const EVERY: Duration = Duration::from_millis(250);
const EVERY_AT_FIRST: Duration = Duration::from_millis(5);

/// Runs for ever. Calls `ready` when the lease is held for the first time: mostly at once, but not where the log was
/// lost, until somebody has accepted that. Says nothing once the server is to stop.
pub(super) async fn follow_the_lease(
    health: Health,
    serving: Arc<AtomicBool>,
    position: Arc<Position>,
    clock: Arc<dyn Clock>,
    ready: impl FnOnce(),
) -> Infallible {
    let is_held = || position.staleness(&position.basis(), &*clock).is_some();
    if !is_held() {
        tracing::warn!(
            "not ready: this replica has no lease yet, so verifications answer UNAVAILABLE"
        );
    }
    while !(is_held() && serving.load(Ordering::Acquire)) {
        tokio::time::sleep(EVERY_AT_FIRST).await;
    }
    health.serving().await;
    ready();
    let mut said = true;
    loop {
        let held = is_held();
        if held != said && serving.load(Ordering::Acquire) {
            if held {
                health.serving().await;
            } else {
                health.not_serving().await;
            }
            said = held;
            // The word to stop came meanwhile, and is the last.
            if !serving.load(Ordering::Acquire) {
                health.not_serving().await;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
