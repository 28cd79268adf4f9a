//! Lengths of time, written like `10s`, `200us`, `5m` or `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{ParseUnitError, written_as_string};

/// A length of time, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Span(pub Duration);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// Whole microseconds.
    pub const fn from_us(microseconds: u64) -> Self {
        Self(Duration::from_micros(microseconds))
    }

    /// In microseconds, rounded down; saturates after 584,000 years.
    pub fn as_us(self) -> u64 {
        micros(self.0)
    }

    /// In seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }
}

/// `duration` in whole microseconds, rounded down.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl FromStr for Span {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseUnitError {
            text: text.to_owned(),
            what: "duration",
            example: "\"10s\", \"200us\", \"5m\" or \"1h30m\"",
        };
        let signed: jiff::SignedDuration = text.trim().parse().map_err(|_| error())?;
        Duration::try_from(signed).map(Span).map_err(|_| error())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(signed) => write!(f, "{signed:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

written_as_string!(Span, "Duration", "a duration such as \"10s\", \"200us\" or \"1h30m\"", ["10s", "200us", "1h30m"]);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, microseconds) in [
            ("10s", 10_000_000),
            ("200us", 200),
            ("5m", 300_000_000),
            ("1h30m", 5_400_000_000),
            ("250ms", 250_000),
            ("1.5s", 1_500_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse::<Span>().map(Span::as_us), Ok(microseconds), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "10", "fast", "-1s", "10 parsecs"] {
            assert!(text.parse::<Span>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(nanoseconds in 0u64..10_000_000_000_000_000) {
            let span = Span(Duration::from_nanos(nanoseconds));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }
    }
}
