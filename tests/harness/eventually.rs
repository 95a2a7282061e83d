//! Waiting for something to become true: never for time to pass.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);

/// What a probe can answer: `bool`, or an `Option` with what was waited for.
pub trait Answer {
    type Value;
    fn value(self) -> Option<Self::Value>;
}

impl Answer for bool {
    type Value = ();
    fn value(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Answer for Option<T> {
    type Value = T;
    fn value(self) -> Option<T> {
        self
    }
}

/// Asks again and again until the probe says yes, and gives what it found. After `limit` it panics
/// with the sentence `what`, e.g. "the second watcher sees the event".
pub async fn eventually<A: Answer>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> A,
) -> A::Value {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe().await.value() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}
