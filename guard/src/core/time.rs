//! Points in time and lengths of time. The core reads no clock: every time comes in.

use std::fmt;
use std::ops::{Add, Sub};

/// A point in wall-clock time: microseconds since 1970-01-01 00:00:00 UTC, the
/// journal's own unit.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the epoch; saturates.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

/// A length of time in microseconds; never negative.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From whole seconds; saturates, and less than nothing is nothing.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// From microseconds; less than nothing is nothing.
    pub const fn from_micros(micros: i64) -> Self {
        Self(if micros < 0 { 0 } else { micros })
    }

    /// Microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0 / 1_000_000
    }
}

/// `1d 2h 3m 4s`, without the parts that are zero.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.seconds();
        let mut separator = "";
        for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
            if rest >= seconds {
                write!(f, "{separator}{}{unit}", rest / seconds)?;
                rest %= seconds;
                separator = " ";
            }
        }
        if rest > 0 || separator.is_empty() {
            write!(f, "{separator}{rest}s")?;
        }
        Ok(())
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// How long after `earlier` this is; zero when it is not after it.
impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Self) -> Span {
        Span::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_never_negative() {
        let (a, b) = (Timestamp::from_seconds(5), Timestamp::from_seconds(7));
        assert_eq!(b - a, Span::from_seconds(2));
        assert_eq!(a - b, Span::ZERO);
    }

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(Timestamp::from_micros(-1).seconds(), -1);
        assert_eq!(Timestamp::from_micros(1_999_999).seconds(), 1);
    }

    #[test]
    fn spans_read_as_people_write_them() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (3_600, "1h"), (90_061, "1d 1h 1m 1s")] {
            assert_eq!(Span::from_seconds(seconds).to_string(), text);
        }
    }
}
