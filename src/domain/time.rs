//! Points in time, in microseconds, and where "now" comes from.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: microseconds since 1970-01-01T00:00:00Z, from year 1 to year 9999.
///
/// Both databases store it as a 64-bit integer, so that they compare and round alike. It prints as
/// RFC 3339 in UTC with exactly six fractional digits, which is also its form in audit events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The text was not an RFC 3339 time, or one that lies outside of the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an RFC 3339 time such as 2030-01-31T12:00:00Z")]
pub struct NotATimestamp;

impl Timestamp {
    /// 0001-01-01T00:00:00Z, the earliest time that `google.protobuf.Timestamp` can hold.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-31T23:59:59.999999Z, the latest time that `google.protobuf.Timestamp` can hold.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// From microseconds since the Unix epoch; `None` outside of [`Self::MIN`]..=[`Self::MAX`].
    pub fn from_micros(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    /// From the parts of a `google.protobuf.Timestamp`; anything finer than a microsecond is cut off.
    pub fn from_seconds_and_nanos(seconds: i64, nanos: i32) -> Option<Self> {
        if !(0..1_000_000_000).contains(&nanos) {
            return None;
        }
        let micros = seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos) / 1_000)?;
        Self::from_micros(micros)
    }

    /// Microseconds since the Unix epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds and remaining nanoseconds (0 to 999,999,999) since the Unix epoch.
    pub fn seconds_and_nanos(self) -> (i64, i32) {
        let nanos = i32::try_from(self.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
        (self.0.div_euclid(1_000_000), nanos)
    }

    /// This time plus a duration; `None` past [`Self::MAX`].
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let micros = i64::try_from(duration.as_micros()).ok()?;
        Self::from_micros(self.0.checked_add(micros)?)
    }

    /// The time since `earlier`; zero if that lies in the future.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 time with any offset; anything finer than a microsecond is cut off.
    pub fn parse_rfc3339(text: &str) -> Result<Self, NotATimestamp> {
        let nanoseconds = match text.parse::<jiff::Timestamp>() {
            Ok(instant) => instant.as_nanosecond(),
            Err(_) => last_day(text).ok_or(NotATimestamp)?,
        };
        let micros = i64::try_from(nanoseconds.div_euclid(1_000)).map_err(|_| NotATimestamp)?;
        Self::from_micros(micros).ok_or(NotATimestamp)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Civil time covers all of year 9999; an instant of this library ends a day before.
        match EPOCH.checked_add(SignedDuration::from_micros(self.0)) {
            Ok(time) => write!(f, "{time:.6}Z"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// 1970-01-01T00:00:00, without a zone.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// The nanoseconds of a UTC time in the last hours of year 9999, a common way to write "never".
fn last_day(text: &str) -> Option<i128> {
    let civil: DateTime = text.strip_suffix(['Z', 'z'])?.parse().ok()?;
    Some(civil.duration_since(EPOCH).as_nanos())
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where "now" comes from: the machine's clock in production, a settable one in tests.
pub trait Clock: Send + Sync {
    /// The present wall-clock time.
    fn now(&self) -> Timestamp;

    /// Time since some moment before the program's start, the machine's sleep included; never goes back,
    /// whatever people do to the wall clock.
    fn uptime(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clocks.
    pub fn start() -> Self {
        Self
    }
}

/// The clock that goes on while the machine sleeps: a replica that was suspended must find its lease over.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_TIME: rustix::time::ClockId = rustix::time::ClockId::Boottime;
/// Elsewhere the monotonic clock does so itself, or there is none that does.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_TIME: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else takes")]
    fn now(&self) -> Timestamp {
        let micros = jiff::Timestamp::now().as_microsecond();
        Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)
    }

    fn uptime(&self) -> Duration {
        let time = rustix::time::clock_gettime(BOOT_TIME);
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.micros()))
    }

    /// Sets the time that the clock shows, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prints_and_parses_back(micros in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let time = Timestamp(micros);
            prop_assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Ok(time));
            prop_assert_eq!(time.to_string().len(), "2030-01-31T12:00:00.000000Z".len());
        }

        #[test]
        fn seconds_and_nanos_are_exact(micros in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let (seconds, nanos) = Timestamp(micros).seconds_and_nanos();
            prop_assert_eq!(Timestamp::from_seconds_and_nanos(seconds, nanos), Some(Timestamp(micros)));
        }
    }

    #[test]
    fn both_ends_print_and_parse_back() {
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(Timestamp::parse_rfc3339(&end.to_string()), Ok(end));
        }
        assert!(Timestamp::parse_rfc3339("9999-12-31T23:59:59Z").is_ok());
        assert!(Timestamp::parse_rfc3339("9999-12-31T23:59:59").is_err());
        assert!(Timestamp::parse_rfc3339("10000-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn refuses_what_protobuf_cannot_hold() {
        assert_eq!(Timestamp::from_seconds_and_nanos(253_402_300_800, 0), None);
        assert_eq!(Timestamp::from_seconds_and_nanos(0, -1), None);
        assert_eq!(Timestamp::from_seconds_and_nanos(i64::MAX, 0), None);
    }
}
