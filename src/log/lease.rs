//! For how long a replica may answer from what it has.
//!
//! ```text
//!  replica    poll begins ─┐                                        lease ends
//!                          ├──────────── lease_ms − 0.1 % ──────────┤
//!  database        (nothing newer)  COMMIT
//!  waiter                             ├──────── lease_ms + 0.1 % ─────────┤ "expired"
//! ```
//!
//! A poll that did not see a commit began before it. So the lease that it gave ends, by the replica's clock, less
//! than `lease_ms` after the commit; a waiter who waits a little longer than `lease_ms` by its own clock has waited
//! long enough, as long as the two clocks don't differ in speed by more than 0.2 %. What a clock *shows* plays no part.
//!
//! The second bound is for the row. Whoever commits looks at the rows and waits for those that it finds; a row that is
//! gone must be one of a replica that answers no more. It is swept once it has been the same for twice `lease_ms`:
//!
//! ```text
//!  replica    beat begins ─┬─ committed                     lease ends
//!                          ├──────────── lease_ms ──────────┤
//!  sweeper                      sees the beat ├──────────── 2 × lease_ms, unchanged ─────────────┤ sweeps
//! ```
//!
//! Polls alone would not do: they can go on (on a connection to a primary that has been deposed, say) while no beat
//! of this replica arrives any more where rows are swept.

use std::collections::VecDeque;
use std::time::Duration;

/// The parts of a lease, as uptimes of the replica's own clock.
///
/// The beat that counts is the one that the poll found in the row, not the last that was committed: a poll can be
/// answered by a primary that has been deposed while beats arrive at the new one, and neither makes up for the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Lease {
    /// When the last poll began that found the own row and nothing that is not applied, and when the beat began that it
    /// found there; `None` for that where there are no rows.
    polled: Option<(Duration, Option<Duration>)>,
    /// When each of the last beats began that were tried, by number.
    begun: VecDeque<(u64, Duration)>,
}

/// Beats that are remembered: more than are tried within a lease.
const REMEMBERED: usize = 256;

impl Lease {
    /// A beat of that number begins then.
    pub(super) fn beats(&mut self, beat: u64, began: Duration) {
        self.begun.push_back((beat, began));
        if self.begun.len() > REMEMBERED {
            self.begun.pop_front();
        }
    }

    /// A good poll that began then and found that beat.
    pub(super) fn polled(&mut self, began: Duration, beat: Option<u64>) {
        let begun = |beat| self.begun.iter().find(|(number, _)| *number == beat);
        self.polled = Some((began, beat.and_then(begun).map(|(_, began)| *began)));
    }

    /// Nothing that was confirmed before counts any more.
    pub(super) fn void(&mut self) {
        self.polled = None;
    }

    /// Until when answers may be given; `None`: no longer, or not yet.
    pub(super) fn end(&self, length: Duration, is_shared: bool) -> Option<Duration> {
        let (polled, beaten) = self.polled?;
        let by_poll = polled + shortened(length);
        if is_shared { Some(by_poll.min(beaten? + length)) } else { Some(by_poll) }
    }
}

/// Less by the 0.1 % that clocks may differ in speed.
fn shortened(length: Duration) -> Duration {
    length - length / 1_000
}

/// How long a waiter waits for the end of a lease: more by the 0.1 % that clocks may differ in speed.
pub(super) fn prolonged(length: Duration) -> Duration {
    length + length / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_ends_with_the_earlier_of_a_poll_and_the_beat_that_it_found() {
        let mut lease = Lease::default();
        assert_eq!(lease.end(ms(1_000), true), None);
        lease.polled(ms(50), None);
        assert_eq!(lease.end(ms(1_000), true), None, "without a beat there is no lease");
        assert_eq!(lease.end(ms(1_000), false), Some(ms(1_049)));
        lease.beats(1, ms(20));
        lease.polled(ms(50), Some(1));
        assert_eq!(lease.end(ms(1_000), true), Some(ms(1_020)));
        lease.beats(2, ms(200));
        assert_eq!(lease.end(ms(1_000), true), Some(ms(1_020)), "no poll has found it");
        lease.polled(ms(300), Some(1));
        assert_eq!(lease.end(ms(1_000), true), Some(ms(1_020)), "the poll found the older one");
        lease.polled(ms(350), Some(2));
        assert_eq!(lease.end(ms(1_000), true), Some(ms(1_200)));
        lease.void();
        assert_eq!(lease.end(ms(1_000), false), None);
    }

    #[test]
    fn a_waiter_outlasts_every_lease_from_before_its_commit() {
        let length = ms(30_000);
        // The replica's clock may be slow by 0.1 % and the waiter's fast by as much.
        let replica = shortened(length).mul_f64(1.001);
        let waiter = prolonged(length).mul_f64(0.999);
        assert!(replica <= length && waiter >= length.mul_f64(0.999_999));
    }
}
