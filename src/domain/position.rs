//! How far this replica has followed the log and for how long it may answer from that, shared between the
//! follower that moves it and the verifying threads that read it.
//!
//! ```text
//!  reader     basis() ──► record ──► answer ──► staleness(basis): is it still within the lease that it began with?
//!  follower   record  ──► advance() ──► grant()                         void() at once when the lease is lost
//! ```
//!
//! A thread can stand still between any two of its steps, for as long as a lease and longer. So the lease is looked at
//! last, when the answer is complete; and it is the lease that was held when the answer was begun, not one that was
//! given meanwhile: the record may be from before the poll that gave it.
//!
//! ```text
//!  reader                 sent ─ begun ─ record (old) ───────────────────────► given: no
//!  follower   lease ends                              poll ─ record (new) ─ lease
//!  waiter          "expired" ─ reply
//! ```

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::Timestamp;
use super::time::Clock;

/// What this replica knows. Only the follower writes; everybody reads, without waiting.
///
/// The follower changes the index first and moves `applied` afterwards, so whoever reads `applied`
/// first and the index second finds at least that revision there.
#[derive(Debug)]
pub struct Position {
    applied: AtomicU64,
    /// The newest revision that the database was seen to have.
    seen: AtomicU64,
    epoch: AtomicU32,
    /// Clock uptime, in microseconds, at which the last successful poll began.
    confirmed: AtomicU64,
    /// Clock uptime, in microseconds, from which on no answers are given; zero without a lease.
    lease_end: AtomicU64,
    /// How long half a lease is, in microseconds.
    half_lease: AtomicU64,
    /// How many leases were more than half used, and the end of the last that was counted.
    half_used: AtomicU64,
    half_used_end: AtomicU64,
    /// Counts how often the lease was lost before its end.
    term: AtomicU64,
    /// What the database's clock is ahead of the clock's uptime, in microseconds.
    ahead: AtomicI64,
    /// The present was said to be at least this, in microseconds since the Unix epoch.
    floor: AtomicI64,
}

/// [`Position::ahead`] before the first poll.
const UNKNOWN: i64 = i64::MIN;

impl Default for Position {
    fn default() -> Self {
        Self {
            applied: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            epoch: AtomicU32::new(1),
            confirmed: AtomicU64::new(0),
            lease_end: AtomicU64::new(0),
            half_lease: AtomicU64::new(0),
            half_used: AtomicU64::new(0),
            half_used_end: AtomicU64::new(0),
            term: AtomicU64::new(0),
            ahead: AtomicI64::new(UNKNOWN),
            floor: AtomicI64::new(i64::MIN),
        }
    }
}

/// What an answer is based on: read before the record that it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Basis {
    /// The epoch of the log.
    pub epoch: u32,
    /// All events up to this revision were in the index.
    pub revision: u64,
    /// When the poll began after which nothing newer was known, in microseconds of uptime.
    confirmed: u64,
    /// The end of the lease that was held, and its term.
    lease_end: u64,
    term: u64,
}

impl Position {
    /// All events up to this revision are in the index.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The epoch of the log that is followed.
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// How many revisions the database was seen to have that are not in the index yet.
    pub fn behind(&self) -> u64 {
        // In this order: what is applied was seen before.
        let applied = self.applied();
        self.seen.load(Ordering::Acquire).saturating_sub(applied)
    }

    /// What an answer that is begun now will be based on.
    pub fn basis(&self) -> Basis {
        // The term before the end: whoever sees the end of a lease that was lost sees its term too.
        let term = self.term.load(Ordering::Acquire);
        let lease_end = self.lease_end.load(Ordering::Acquire);
        let confirmed = self.confirmed.load(Ordering::Acquire);
        Basis { term, lease_end, confirmed, epoch: self.epoch(), revision: self.applied() }
    }

    /// How long ago this replica knew that nothing newer existed than an answer that was begun on that basis
    /// and is complete now; `None`: the answer must not be given.
    pub fn staleness(&self, basis: &Basis, clock: &dyn Clock) -> Option<Duration> {
        let uptime = micros(clock.uptime());
        let held = uptime < basis.lease_end && self.term.load(Ordering::Acquire) == basis.term;
        held.then(|| Duration::from_micros(uptime.saturating_sub(basis.confirmed)))
    }

    /// How long ago the last successful poll began, with or without a lease.
    pub fn since_poll(&self, clock: &dyn Clock) -> Duration {
        let confirmed = Duration::from_micros(self.confirmed.load(Ordering::Acquire));
        clock.uptime().saturating_sub(confirmed)
    }

    /// For how long answers may still be given; zero without a lease.
    pub fn lease_left(&self, clock: &dyn Clock) -> Duration {
        let end = Duration::from_micros(self.lease_end.load(Ordering::Acquire));
        end.saturating_sub(clock.uptime())
    }

    /// How many leases were used up by more than half before there was another, that of now included.
    ///
    /// Who looks every minute may well miss each of them while it lasts; so they are counted, by whoever sees them first.
    pub fn half_used(&self, clock: &dyn Clock) -> u64 {
        // The time before the end: a lease is not charged with what passed after the next was given.
        let now = micros(clock.uptime());
        let end = self.lease_end.load(Ordering::Acquire);
        let half = self.half_lease.load(Ordering::Acquire);
        // Ends grow, so each is counted once, whether it is seen while it lasts, or when the next is given, or by both.
        let is_half_used = end > 0 && now.saturating_add(half) > end;
        if is_half_used && self.half_used_end.fetch_max(end, Ordering::AcqRel) < end {
            self.half_used.fetch_add(1, Ordering::AcqRel);
        }
        self.half_used.load(Ordering::Acquire)
    }

    /// How far this machine's wall clock is ahead of the database's, in microseconds; negative if it is behind, `None`
    /// before the first poll. Nothing is decided by it.
    pub fn skew(&self, clock: &dyn Clock) -> Option<i64> {
        match self.ahead.load(Ordering::Acquire) {
            UNKNOWN => None,
            ahead => {
                let there = signed(clock.uptime()).saturating_add(ahead);
                Some(clock.now().micros().saturating_sub(there))
            }
        }
    }

    /// The present for deciding on expiry: the database's at the last poll and the time since, by a clock that
    /// nobody sets. It never goes back, and never lies before the newest applied event, so a secret that an
    /// event expired "now" is expired here as soon as the event is applied. Before the first poll: this
    /// machine's wall clock.
    pub fn now(&self, clock: &dyn Clock) -> Timestamp {
        // In this order: `confirm` raises the floor before it lowers what is added.
        let ahead = self.ahead.load(Ordering::Acquire);
        let floor = self.floor.load(Ordering::Acquire);
        let present = match ahead {
            UNKNOWN => clock.now().micros(),
            ahead => signed(clock.uptime()).saturating_add(ahead),
        };
        Timestamp::from_micros(present.max(floor)).unwrap_or(Timestamp::MAX)
    }

    /// The log that is followed was seen to go on up to this revision.
    pub fn see(&self, revision: u64) {
        self.seen.fetch_max(revision, Ordering::AcqRel);
    }

    /// The follower has put everything up to `revision` into the index; the last of it happened at
    /// `newest_event`. Within a log, positions never go back.
    pub fn advance(&self, revision: u64, newest_event: Timestamp) {
        self.floor.fetch_max(newest_event.micros(), Ordering::AcqRel);
        self.applied.fetch_max(revision, Ordering::AcqRel);
    }

    /// The follower has put another log into the index than the one before, up to `revision`. Only without a
    /// lease.
    pub fn restart(&self, epoch: u32, revision: u64, newest_event: Timestamp) {
        self.floor.fetch_max(newest_event.micros(), Ordering::AcqRel);
        // Readers take the epoch first: none may see the new one with how far the old log had come.
        self.applied.store(0, Ordering::Release);
        self.seen.store(revision, Ordering::Release);
        self.epoch.store(epoch, Ordering::Release);
        self.applied.store(revision, Ordering::Release);
    }

    /// The log goes on in a later epoch.
    pub fn enter(&self, epoch: u32) {
        self.epoch.store(epoch, Ordering::Release);
    }

    /// A poll that began at this uptime and has just ended found nothing newer than what is applied; by the
    /// database's clock it was `primary` meanwhile.
    ///
    /// The time is counted from the poll's beginning: `now` is then ahead by the time that the question took to
    /// get there, and a key expires that much early rather than late.
    pub fn confirm(&self, poll_began: Duration, primary: Timestamp, clock: &dyn Clock) {
        // What was said before the first poll came from a clock that may be hours ahead: nothing was decided by it, and
        // it must not hold the present fast until then.
        if self.ahead.load(Ordering::Acquire) != UNKNOWN {
            self.floor.fetch_max(self.now(clock).micros(), Ordering::AcqRel);
        }
        let ahead = primary.micros().saturating_sub(signed(poll_began));
        self.ahead.store(ahead, Ordering::Release);
        self.confirmed.fetch_max(micros(poll_began), Ordering::AcqRel);
    }

    /// As [`Self::grant`], for leases of that length.
    pub fn grant_next(&self, end: Duration, length: Duration, clock: &dyn Clock) {
        self.half_lease.store(micros(length / 2), Ordering::Release);
        self.half_used(clock);
        self.grant(end);
    }

    /// Answers that are begun from now on may be given until this uptime. All that the lease rests on is in the
    /// index.
    pub fn grant(&self, end: Duration) {
        self.lease_end.store(micros(end), Ordering::Release);
    }

    /// No answers may be given until the next [`Self::grant`], nor those that are being computed.
    pub fn void(&self) {
        self.lease_end.store(0, Ordering::Release);
        self.term.fetch_add(1, Ordering::AcqRel);
    }
}

fn micros(uptime: Duration) -> u64 {
    u64::try_from(uptime.as_micros()).unwrap_or(u64::MAX)
}

fn signed(uptime: Duration) -> i64 {
    i64::try_from(uptime.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::ManualClock;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).expect("in range")
    }

    const fn up(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn now_never_lies_before_the_newest_event() {
        let (position, clock) = (Position::default(), ManualClock::at(at(100)));
        assert_eq!(position.now(&clock), at(100));
        position.advance(7, at(250));
        assert_eq!((position.applied(), position.now(&clock)), (7, at(250)));
        position.advance(6, at(200));
        assert_eq!((position.applied(), position.now(&clock)), (7, at(250)));
    }

    #[test]
    fn now_is_the_databases_clock_carried_on_and_never_goes_back() {
        let (position, clock) = (Position::default(), ManualClock::at(at(100)));
        position.confirm(up(100), at(5_000), &clock);
        assert_eq!(position.now(&clock), at(5_000));
        clock.set(at(160));
        assert_eq!(position.now(&clock), at(5_060));
        // The database's clock was set back by an hour: the present stands still until it has come there again.
        position.confirm(up(160), at(1_000), &clock);
        assert_eq!(position.now(&clock), at(5_060));
        clock.set(at(4_230));
        assert_eq!(position.now(&clock), at(5_070));
    }

    #[test]
    fn a_wall_clock_that_is_ahead_is_forgotten_at_the_first_poll() {
        let (position, clock) = (Position::default(), ManualClock::at(at(9_000)));
        assert_eq!(position.now(&clock), at(9_000));
        position.confirm(up(9_000), at(5_000), &clock);
        assert_eq!(position.now(&clock), at(5_000));
    }

    #[test]
    fn an_answer_counts_only_within_the_lease_under_which_it_was_begun() {
        let (position, clock) = (Position::default(), ManualClock::at(at(100)));
        assert_eq!(position.staleness(&position.basis(), &clock), None);
        position.confirm(up(90), at(1_000), &clock);
        position.grant(up(120));
        let begun = position.basis();
        assert_eq!(position.staleness(&begun, &clock), Some(up(10)));
        // A longer one was given meanwhile, for what a later poll saw.
        position.grant(up(200));
        clock.set(at(119));
        assert_eq!(position.staleness(&begun, &clock), Some(up(29)));
        clock.set(at(120));
        assert_eq!(position.staleness(&begun, &clock), None);
        assert!(position.staleness(&position.basis(), &clock).is_some());
    }

    #[test]
    fn a_lease_that_was_lost_ends_at_once_for_what_was_begun_within_it() {
        let (position, clock) = (Position::default(), ManualClock::at(at(100)));
        position.grant(up(200));
        let begun = position.basis();
        position.void();
        let begun_without = position.basis();
        position.grant(up(200));
        assert_eq!(position.staleness(&begun, &clock), None);
        assert_eq!(position.staleness(&begun_without, &clock), None);
        assert!(position.staleness(&position.basis(), &clock).is_some());
    }

    #[test]
    fn what_was_seen_and_is_not_applied_is_the_lag() {
        let position = Position::default();
        position.see(7);
        assert_eq!(position.behind(), 7);
        position.advance(5, at(250));
        assert_eq!(position.behind(), 2);
        position.advance(9, at(260));
        assert_eq!(position.behind(), 0, "this replica's own changes are applied as they are seen");
        position.restart(2, 5, at(200));
        assert_eq!(position.behind(), 0);
    }

    #[test]
    fn the_skew_is_that_of_the_wall_clocks_at_any_time_after_a_poll() {
        let (position, clock) = (Position::default(), ManualClock::at(at(100)));
        assert_eq!(position.skew(&clock), None);
        position.confirm(up(100), at(5_000), &clock);
        assert_eq!(position.skew(&clock), Some(-4_900));
        clock.set(at(300));
        assert_eq!(position.skew(&clock), Some(-4_900));
    }

    #[test]
    fn what_is_left_of_the_lease_never_is_less_than_nothing() {
        let (position, clock) = (Position::default(), ManualClock::at(at(100)));
        assert_eq!(position.lease_left(&clock), Duration::ZERO);
        position.grant(up(120));
        assert_eq!(position.lease_left(&clock), up(20));
        clock.set(at(130));
        assert_eq!(position.lease_left(&clock), Duration::ZERO);
    }

    #[test]
    fn a_lease_that_was_half_used_is_counted_once_whoever_sees_it_first() {
        let (position, clock) = (Position::default(), ManualClock::at(at(100)));
        let grant = |end| position.grant_next(up(end), up(100), &clock);
        assert_eq!(position.half_used(&clock), 0, "there was none yet");
        grant(200);
        clock.set(at(150));
        assert_eq!(position.half_used(&clock), 0, "half of it is left");
        grant(250);
        clock.set(at(201));
        assert_eq!([0; 2].map(|_| position.half_used(&clock)), [1; 2], "it is running out");
        grant(301);
        assert_eq!(position.half_used(&clock), 1);
        clock.set(at(280));
        // Nobody looked meanwhile.
        grant(380);
        assert_eq!(position.half_used(&clock), 2);
        clock.set(at(500));
        assert_eq!(position.half_used(&clock), 3, "it has ended");
        position.void();
        assert_eq!(position.half_used(&clock), 3);
        grant(600);
        assert_eq!(position.half_used(&clock), 3);
    }

    #[test]
    fn another_log_may_end_earlier() {
        let position = Position::default();
        position.advance(7, at(250));
        position.restart(2, 5, at(200));
        assert_eq!((position.epoch(), position.applied()), (2, 5));
    }
}
