//! Hands durations that were counted in buckets over to a histogram of OpenTelemetry.
//!
//! Its instrument takes one value at a time, under a lock that all threads would share. So the threads count in buckets
//! of their own, with the very bounds of the histogram, and what has come since the last time is recorded here, value
//! by value, bucket by bucket. The counts are exact. So is the sum, to the nanosecond: a bucket keeps the time of all
//! in it, and the values are their mean, which lies in the same bucket. Only the smallest and the largest value are not
//! known; they are not reported.

use std::collections::HashMap;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram};

/// The values of the labels of one series, in the order of the metric's labels.
pub type Labels = Vec<&'static str>;
/// How many durations a bucket holds, and how long they are together in nanoseconds.
pub type Held = (u64, u64);
/// Reads the buckets of all series.
pub(super) type ReadBuckets = dyn Fn() -> Vec<(Labels, Vec<Held>)> + Send + Sync;

/// One histogram and where its durations come from.
pub(super) struct Handover {
    pub(super) to: Histogram<f64>,
    pub(super) labels: &'static [&'static str],
    /// The upper bounds of the buckets in nanoseconds.
    pub(super) bounds: &'static [u64],
    pub(super) read: Box<ReadBuckets>,
    pub(super) series: HashMap<Labels, Series>,
}

/// What was handed over of one series.
pub(super) struct Series {
    to: BoundHistogram<f64>,
    buckets: Vec<Held>,
}

impl Handover {
    /// Records what has come since the last time.
    pub(super) fn hand_over(&mut self) {
        for (values, held) in (self.read)() {
            let series = self.series.entry(values).or_insert_with_key(|values| {
                let pairs = self.labels.iter().zip(values);
                let pairs: Vec<_> =
                    pairs.map(|(name, value)| KeyValue::new(*name, *value)).collect();
                Series { to: self.to.bind(&pairs), buckets: vec![(0, 0); held.len()] }
            });
            for (bucket, (count, nanos)) in held.into_iter().enumerate() {
                let Some(handed) = series.buckets.get_mut(bucket) else { continue };
                let shares = shares(
                    count.wrapping_sub(handed.0),
                    i128::from(nanos) - i128::from(handed.1),
                    bucket.checked_sub(1).and_then(|below| self.bounds.get(below).copied()),
                    self.bounds.get(bucket).copied(),
                );
                for (count, each) in shares {
                    for _ in 0..count {
                        series.to.record(seconds(each));
                    }
                    handed.0 = handed.0.wrapping_add(count);
                    handed.1 = handed.1.wrapping_add(each.wrapping_mul(count));
                }
            }
        }
    }
}

/// Parts of a time as even as can be in whole nanoseconds, all of them within a bucket: how many of which length.
///
/// Who reads a bucket while somebody adds to it may find the time of one that is not counted yet. Then the parts may
/// not fit; they are made to, and what is too much or too little remains for the next time.
fn shares(count: u64, nanos: i128, above: Option<u64>, bound: Option<u64>) -> [(u64, u64); 2] {
    if count == 0 {
        return [(0, 0); 2];
    }
    let (least, most) = (above.map_or(0, |above| above + 1), bound.unwrap_or(u64::MAX));
    let each = nanos.div_euclid(i128::from(count)).clamp(least.into(), most.into());
    let rest = nanos - each * i128::from(count);
    let longer = if each < most.into() { rest.clamp(0, count.into()) } else { 0 };
    // Between the bounds, which are of this type, and the count.
    let each = u64::try_from(each).unwrap_or(most);
    let longer = u64::try_from(longer).unwrap_or(0);
    [(count - longer, each), (longer, each.saturating_add(1))]
}

/// Whole nanoseconds as the nearest number of seconds: a bound is the very bound of the histogram.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_are_as_many_as_there_were_as_long_together_and_in_their_bucket(
            durations in proptest::collection::vec(1_001_u64..=2_500, 1..200),
        ) {
            let (count, nanos) = (durations.len() as u64, durations.iter().sum::<u64>());
            let shares = shares(count, nanos.into(), Some(1_000), Some(2_500));
            prop_assert_eq!(shares.iter().map(|(count, _)| count).sum::<u64>(), count);
            prop_assert_eq!(shares.iter().map(|(count, each)| count * each).sum::<u64>(), nanos);
            for (_, each) in shares.into_iter().filter(|(count, _)| *count > 0) {
                prop_assert!((1_001..=2_500).contains(&each), "{}", each);
            }
        }
    }

    #[test]
    fn what_was_read_half_done_stays_in_its_bucket() {
        // The time of a fourth is there already.
        assert_eq!(shares(3, 4 * 2_400, Some(1_000), Some(2_500)), [(3, 2_500), (0, 2_501)]);
        // The next time it is missing.
        assert_eq!(shares(1, 2_100 - 7_500, Some(1_000), Some(2_500)), [(1, 1_001), (0, 1_002)]);
        assert_eq!(shares(0, 700, None, Some(1_000)), [(0, 0); 2]);
        assert_eq!(
            shares(2, 30_000_000_001, Some(10), None),
            [(1, 15_000_000_000), (1, 15_000_000_001)]
        );
    }
}
