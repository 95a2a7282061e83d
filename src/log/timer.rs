//! Where waiting comes from: the runtime's timer in production, a virtual one in the simulation.

use std::pin::Pin;
use std::time::Duration;

use crate::domain::time::Clock;

/// Waits. Given as a parameter like the clock, so that the protocol runs on virtual time too.
pub trait Timer: Send + Sync {
    /// Ends after that long.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The timer of the tokio runtime that polls it.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimedOut;

/// What a future gives, if it does so in time.
pub(super) async fn timeout<T>(
    timer: &dyn Timer,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, TimedOut> {
    let sleep = timer.sleep(limit);
    tokio::select! {
        biased;
        value = future => Ok(value),
        () = sleep => Err(TimedOut),
    }
}

/// Waits until the clock shows that uptime. A machine that slept wakes late: then it ends at once.
pub(super) async fn sleep_until(timer: &dyn Timer, clock: &dyn Clock, uptime: Duration) {
    loop {
        let left = uptime.saturating_sub(clock.uptime());
        if left.is_zero() {
            return;
        }
        timer.sleep(left).await;
    }
}
