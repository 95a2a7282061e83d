//! Times and durations. Protobuf can write some that mean nothing; those are violations.

use std::time::Duration;

use crate::domain::{Timestamp, Violation};

/// The longest `google.protobuf.Duration`, in seconds: 10,000 years, by its definition.
const MAX_DURATION_SECONDS: u64 = 315_576_000_000;

pub(in crate::rpc) fn to_proto(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = time.seconds_and_nanos();
    prost_types::Timestamp { seconds, nanos }
}

pub(super) fn from_proto(
    field: &str,
    time: prost_types::Timestamp,
) -> Result<Timestamp, Violation> {
    Timestamp::from_seconds_and_nanos(time.seconds, time.nanos).ok_or_else(|| {
        Violation::new(
            field,
            "must be a time of the years 1 to 9999, with 0 to 999,999,999 nanoseconds",
        )
    })
}

pub(in crate::rpc) fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    let seconds = duration.as_secs().min(MAX_DURATION_SECONDS);
    prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn duration_from_proto(
    field: &str,
    duration: prost_types::Duration,
) -> Result<Duration, Violation> {
    if duration.seconds < 0 || duration.nanos < 0 {
        return Err(Violation::new(field, "must not be negative"));
    }
    let seconds =
        u64::try_from(duration.seconds).ok().filter(|seconds| *seconds <= MAX_DURATION_SECONDS);
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos)).ok_or_else(|| {
        Violation::new(field, "must be at most 315,576,000,000 seconds and 999,999,999 nanoseconds")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_can_be_read_comes_back(micros in Timestamp::MIN.micros()..=Timestamp::MAX.micros()) {
            let time = Timestamp::from_micros(micros).expect("in range");
            prop_assert_eq!(from_proto("t", to_proto(time)), Ok(time));
        }

        #[test]
        fn no_duration_makes_a_reader_panic(seconds: i64, nanos: i32) {
            let read = duration_from_proto("d", prost_types::Duration { seconds, nanos });
            let in_range = (0..=315_576_000_000).contains(&seconds) && (0..1_000_000_000).contains(&nanos);
            prop_assert_eq!(read.is_ok(), in_range);
            if let Ok(duration) = read {
                prop_assert_eq!(duration_to_proto(duration), prost_types::Duration { seconds, nanos });
            }
        }

        #[test]
        fn no_time_makes_a_reader_panic(seconds: i64, nanos: i32) {
            _ = from_proto("t", prost_types::Timestamp { seconds, nanos });
        }
    }
}
