use std::pin::pin;

use futures::FutureExt as _;
use tokio::sync::oneshot;

use super::*;
use crate::domain::Timestamp;
use crate::domain::time::ManualClock;

/// A moment, in seconds of uptime.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).expect("in range")
}

#[test]
fn a_replica_is_ready_as_long_as_it_answers_however_long_the_database_is_away() {
    let (serving, position) = (Arc::new(AtomicBool::new(false)), Arc::new(Position::default()));
    let clock = Arc::new(ManualClock::at(at(100)));
    let ready = readiness(&serving, &position, &(Arc::clone(&clock) as Arc<dyn Clock>));
    let why_not = || ready().expect_err("it is not ready");
    assert_eq!(why_not(), "starting, or stopping");
    serving.store(true, Ordering::Release);
    let no_lease = "this replica has no lease: verifications answer UNAVAILABLE";
    assert_eq!(why_not(), no_lease);

    // The last poll that there is for now.
    position.confirm(Duration::from_secs(100), at(100), &*clock);
    position.grant(Duration::from_secs(130));
    for seconds in [100, 105, 106, 129] {
        clock.set(at(seconds));
        assert_eq!(ready(), Ok(()), "{} s after the last news", seconds - 100);
    }
    clock.set(at(130));
    assert_eq!(why_not(), no_lease);
    position.grant(Duration::from_secs(160));
    assert_eq!(ready(), Ok(()));
    serving.store(false, Ordering::Release);
    assert_eq!(why_not(), "starting, or stopping");
}

/// A clock that nobody looks at before the server was asked to stop, and has said so.
struct Stops {
    health: Health,
    serving: Arc<AtomicBool>,
}

impl Clock for Stops {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn uptime(&self) -> Duration {
        if self.serving.swap(false, Ordering::AcqRel) {
            self.health.not_serving().now_or_never().expect("nobody else says anything");
        }
        Duration::ZERO
    }
}

#[tokio::test]
async fn the_word_to_stop_is_the_last() {
    let health = Health::starting().await;
    let serving = Arc::new(AtomicBool::new(false));
    let position = Arc::new(Position::default());
    position.grant(Duration::MAX);
    let clock = Arc::new(Stops { health: health.clone(), serving: Arc::clone(&serving) });
    let (ready, readied) = oneshot::channel();
    let ready = || ready.send(()).expect("it is waited for");
    let begun = Arc::clone(&serving);
    let mut following = pin!(follow_the_lease(health.clone(), begun, position, clock, ready));
    // It has looked once, and waits for the server to begin.
    assert!(following.as_mut().now_or_never().is_none());
    serving.store(true, Ordering::Release);
    tokio::select! {
        never = following => match never {},
        said = readied => said.expect("it was about to say so"),
    }
    assert!(!health.is_serving().await, "a server that stops says that it serves");
}
