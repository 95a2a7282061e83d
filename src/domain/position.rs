//! How far this replica has followed the log, shared between the follower that moves it and the
//! verifying threads that read it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::Timestamp;
use super::time::Clock;

/// What this replica knows. Only the follower writes; everybody reads, without waiting.
///
/// The follower changes the index first and moves `applied` afterwards, so whoever reads `applied`
/// first and the index second finds at least that revision there.
#[derive(Debug, Default)]
pub struct Position {
    applied: AtomicU64,
    /// Time of the newest applied event, in microseconds since the Unix epoch.
    newest_event: AtomicI64,
    /// Clock uptime, in microseconds, at which the last successful poll began.
    confirmed: AtomicU64,
}

impl Position {
    /// All events up to this revision are in the index.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The present for deciding on expiry: the clock's, but never before the newest applied event.
    /// So a secret that an event expired "now" is expired here as soon as the event is applied, even
    /// if this machine's clock lags behind the database's.
    pub fn now(&self, clock: &dyn Clock) -> Timestamp {
        let newest_event = Timestamp::from_micros(self.newest_event.load(Ordering::Acquire));
        clock.now().max(newest_event.unwrap_or_default())
    }

    /// How long ago this replica last knew that nothing newer existed.
    pub fn staleness(&self, clock: &dyn Clock) -> Duration {
        let confirmed = Duration::from_micros(self.confirmed.load(Ordering::Acquire));
        clock.uptime().saturating_sub(confirmed)
    }

    /// The follower has put everything up to `revision` into the index; the last of it happened at
    /// `newest_event`. Positions never go back.
    pub fn advance(&self, revision: u64, newest_event: Timestamp) {
        self.newest_event.fetch_max(newest_event.micros(), Ordering::AcqRel);
        self.applied.fetch_max(revision, Ordering::AcqRel);
    }

    /// A poll that began at this uptime found nothing newer than what is applied.
    pub fn confirm(&self, poll_began: Duration) {
        let micros = u64::try_from(poll_began.as_micros()).unwrap_or(u64::MAX);
        self.confirmed.fetch_max(micros, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::ManualClock;

    #[test]
    fn now_never_lies_before_the_newest_event() {
        let at = |micros| Timestamp::from_micros(micros).expect("in range");
        let (position, clock) = (Position::default(), ManualClock::at(at(100)));
        assert_eq!(position.now(&clock), at(100));
        position.advance(7, at(250));
        assert_eq!((position.applied(), position.now(&clock)), (7, at(250)));
        position.advance(6, at(200));
        assert_eq!((position.applied(), position.now(&clock)), (7, at(250)));
    }
}
