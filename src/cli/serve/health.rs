//! Says by gRPC's health protocol whether requests are welcome: not while this replica has no lease, since clients
//! that balance by themselves should ask another.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::domain::position::Position;
use crate::domain::time::Clock;
use crate::rpc::services::Health;

/// How often the lease is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Runs for ever. Says nothing once the server is to stop.
pub(super) async fn follow_the_lease(
    health: Health,
    serving: Arc<AtomicBool>,
    position: Arc<Position>,
    clock: Arc<dyn Clock>,
) -> Infallible {
    let mut said = true;
    loop {
        let held = position.staleness(&position.basis(), &*clock).is_some();
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
