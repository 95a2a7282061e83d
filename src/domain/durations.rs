//! How long things took, counted in buckets without anybody waiting for anybody.

use std::sync::atomic::{AtomicU64, Ordering};

/// The upper bounds of the buckets, in nanoseconds, each one included in its bucket: from a microsecond, which is what
/// a verification takes, to ten seconds, after which nobody waits any more. One more bucket holds what took longer.
pub const BOUNDS: [u64; 22] = {
    const MICRO: u64 = 1_000;
    const MILLI: u64 = 1_000 * MICRO;
    const SECOND: u64 = 1_000 * MILLI;
    [
        MICRO,
        2 * MICRO + MICRO / 2,
        5 * MICRO,
        10 * MICRO,
        25 * MICRO,
        50 * MICRO,
        100 * MICRO,
        250 * MICRO,
        500 * MICRO,
        MILLI,
        2 * MILLI + MILLI / 2,
        5 * MILLI,
        10 * MILLI,
        25 * MILLI,
        50 * MILLI,
        100 * MILLI,
        250 * MILLI,
        500 * MILLI,
        SECOND,
        2 * SECOND + SECOND / 2,
        5 * SECOND,
        10 * SECOND,
    ]
};

/// One for each bound, and one for what lies above all.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// How many durations fell into each bucket, and how long they were together. They only grow.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Bucket; BUCKETS],
}

#[derive(Debug, Default)]
struct Bucket {
    count: AtomicU64,
    nanos: AtomicU64,
}

/// What one bucket holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// How many durations.
    pub count: u64,
    /// How long they were together, in nanoseconds.
    pub nanos: u64,
}

impl Durations {
    /// One more.
    pub fn add(&self, took: std::time::Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // There is one bucket more than there are bounds.
        if let Some(bucket) = self.buckets.get(BOUNDS.partition_point(|bound| *bound < nanos)) {
            bucket.nanos.fetch_add(nanos, Ordering::Relaxed);
            // After the time, so that whoever reads in the other order has the time of all that are counted.
            bucket.count.fetch_add(1, Ordering::Release);
        }
    }

    /// What the buckets hold, added to `sums`. The time may already have what the number does not have yet.
    pub fn add_to(&self, sums: &mut [Held; BUCKETS]) {
        for (bucket, sum) in self.buckets.iter().zip(sums) {
            sum.count += bucket.count.load(Ordering::Acquire);
            sum.nanos = sum.nanos.wrapping_add(bucket.nanos.load(Ordering::Relaxed));
        }
    }

    /// What the buckets hold.
    pub fn held(&self) -> [Held; BUCKETS] {
        let mut sums = [Held::default(); BUCKETS];
        self.add_to(&mut sums);
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_is_counted_in_the_first_bucket_that_is_long_enough() {
        let durations = Durations::default();
        for nanos in [0, 1_000, 1_001, 2_500, 10_000_000_000, 10_000_000_001] {
            durations.add(Duration::from_nanos(nanos));
        }
        let held = durations.held();
        let count = |bucket: usize| held[bucket].count;
        assert_eq!((count(0), count(1), count(21), count(22)), (2, 2, 1, 1));
        assert_eq!((held[0].nanos, held[1].nanos, held[22].nanos), (1_000, 3_501, 10_000_000_001));
        assert_eq!(held.iter().map(|held| held.count).sum::<u64>(), 6);
    }

    #[test]
    fn bounds_ascend() {
        assert!(BOUNDS.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn what_several_threads_add_is_all_there() {
        let durations = Durations::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| durations.add(Duration::from_nanos(700))));
            }
        });
        assert_eq!(durations.held()[0], Held { count: 40_000, nanos: 28_000_000 });
    }
}
