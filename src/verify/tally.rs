//! How many questions were answered, and how.
//!
//! Each thread counts for itself, on a cache line of its own: nobody waits, and no two cores pass a line to and fro.

use std::sync::atomic::{AtomicU64, Ordering};

use thread_local::ThreadLocal;

use crate::domain::verdict::DenialReason;

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The credential is good for what it was asked for.
    Allowed,
    /// It is not.
    Denied(DenialReason),
    /// This replica could not know.
    Unknown,
}

/// As many as there are outcomes: one for each reason, and two.
const OUTCOMES: usize = DenialReason::ALL.len() + 2;

impl Outcome {
    /// All that there are.
    pub fn all() -> impl Iterator<Item = Self> {
        let denied = DenialReason::ALL.into_iter().map(Self::Denied);
        [Self::Unknown].into_iter().chain(denied).chain([Self::Allowed])
    }

    /// Its place in the order of [`Self::all`]: the reasons are numbered from one.
    fn place(self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Denied(reason) => usize::try_from(reason as i32).unwrap_or(0),
            Self::Allowed => OUTCOMES - 1,
        }
    }
}

/// The counts of all threads. They only grow.
#[derive(Debug, Default)]
pub struct Tally {
    threads: ThreadLocal<Counts>,
}

/// Those of one thread; two lines, since processors fetch the neighbour of a line together with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts([AtomicU64; OUTCOMES]);

impl Tally {
    /// One more.
    pub fn count(&self, outcome: Outcome) {
        if let Some(count) = self.threads.get_or_default().0.get(outcome.place()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each came, on all threads together.
    pub fn counts(&self) -> Vec<(Outcome, u64)> {
        let of_all = |outcome: Outcome| {
            let of_each = self.threads.iter().filter_map(|counts| counts.0.get(outcome.place()));
            of_each.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        Outcome::all().map(|outcome| (outcome, of_all(outcome))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        let places: Vec<usize> = Outcome::all().map(Outcome::place).collect();
        assert_eq!(places, (0..OUTCOMES).collect::<Vec<_>>());
    }

    #[test]
    fn the_counts_of_all_threads_are_added_also_of_those_that_ended() {
        let tally = Tally::default();
        let revoked = Outcome::Denied(DenialReason::Revoked);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        tally.count(Outcome::Allowed);
                        tally.count(revoked);
                    }
                });
            }
        });
        tally.count(Outcome::Unknown);
        for (outcome, count) in tally.counts() {
            let expected = match outcome {
                Outcome::Allowed => 40_000,
                outcome if outcome == revoked => 40_000,
                Outcome::Unknown => 1,
                Outcome::Denied(_) => 0,
            };
            assert_eq!(count, expected, "{outcome:?}");
        }
    }
}
