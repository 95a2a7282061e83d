//! Times and durations as people write them.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

use crate::domain::Timestamp;
use crate::domain::time::{Clock as _, SystemClock};

/// A time that a flag names: a point in time, or so long from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    At(Timestamp),
    In(Duration),
}

/// Reads `2030-01-31T12:00:00Z` or `+30d`.
pub(super) fn parse_when(text: &str) -> Result<When, String> {
    match text.strip_prefix('+') {
        Some(duration) => parse_duration(duration).map(When::In),
        None => Timestamp::parse_rfc3339(text)
            .map(When::At)
            .map_err(|error| format!("{error}, or a time from now such as +30d")),
    }
}

/// Reads `90s`, `24h`, `30d`, `1h 30m`, `2w`; a day is 24 hours. A bare `0` is none at all.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a duration such as 90s, 24h, 30d or 2w".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

impl When {
    /// As the wire has it.
    pub(super) fn to_proto(self) -> Result<prost_types::Timestamp, String> {
        let time = match self {
            Self::At(time) => Some(time),
            Self::In(duration) => SystemClock::start().now().checked_add(duration),
        };
        let (seconds, nanos) = time.ok_or("lies past the year 9999")?.seconds_and_nanos();
        Ok(prost_types::Timestamp { seconds, nanos })
    }
}

/// A duration as the wire has it.
pub(super) fn duration_to_proto(duration: Duration) -> Result<prost_types::Duration, String> {
    prost_types::Duration::try_from(duration).map_err(|_| "is too long".to_owned())
}

/// A point in time for people: RFC 3339 in UTC, to the second.
pub(super) fn shown(time: &prost_types::Timestamp) -> String {
    let time = Timestamp::from_seconds_and_nanos(time.seconds, time.nanos);
    let text = time.map(|time| time.to_string()).unwrap_or_default();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let hours = |n: u64| Ok(Duration::from_secs(n * 3600));
        assert_eq!(parse_duration("24h"), hours(24));
        assert_eq!(parse_duration("30d"), hours(720));
        assert_eq!(parse_duration("2w"), hours(336));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for bad in ["", "30", "d", "-1h", "1 month", "1y", "99999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad} passed");
        }
    }

    #[test]
    fn times_are_points_or_distances() {
        let at = Timestamp::parse_rfc3339("2030-01-31T12:00:00Z").expect("a time");
        assert_eq!(parse_when("2030-01-31T12:00:00Z"), Ok(When::At(at)));
        assert_eq!(parse_when("+1d"), Ok(When::In(Duration::from_secs(86_400))));
        for bad in ["", "+", "tomorrow", "1d", "2030-01-31"] {
            assert!(parse_when(bad).is_err(), "{bad} passed");
        }
    }

    #[test]
    fn times_are_shown_to_the_second() {
        let time = prost_types::Timestamp { seconds: 1_893_456_000, nanos: 5_000 };
        assert_eq!(shown(&time), "2030-01-01T00:00:00Z");
    }
}
