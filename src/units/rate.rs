//! Messages in a length of time, written like `2000/s` or `90/min`.

use std::fmt;
use std::str::FromStr;

use super::{ParseUnitError, written_as_string};

/// The highest rate, in messages per second: far beyond what any machine can offer, and low enough to be counted with.
const MAX_PER_SECOND: f64 = 1e9;

const EXAMPLES: &str = "\"2000/s\", \"90/min\" or \"500/h\", at most \"1_000_000_000/s\"";

/// Messages per second: not negative, and at most a billion.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Rate(f64);

impl Rate {
    /// A rate in messages per second; `None` where it is negative or above a billion.
    pub fn per_second(messages: f64) -> Option<Self> {
        (0.0..=MAX_PER_SECOND).contains(&messages).then_some(Self(messages))
    }

    /// In messages per second.
    pub fn as_per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseUnitError { text: text.to_owned(), what: "rate", example: EXAMPLES };
        let (number, unit) = text.trim().split_once('/').ok_or_else(error)?;
        let number: f64 = number.trim().replace('_', "").parse().map_err(|_| error())?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1.0,
            "m" | "min" | "minute" => 60.0,
            "h" | "hour" => 3600.0,
            _ => return Err(error()),
        };
        Self::per_second(number / seconds).ok_or_else(error)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

written_as_string!(Rate, "Rate", "a rate such as \"2000/s\" or \"90/min\"", ["2000/s", "90/min"]);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, per_second) in
            [("2000/s", 2000.0), ("90/min", 1.5), ("7200/h", 2.0), ("20_000/s", 20_000.0), (" 0.5 / s ", 0.5)]
        {
            assert_eq!(text.parse::<Rate>().map(Rate::as_per_second), Ok(per_second), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for text in ["", "2000", "-1/s", "inf/s", "NaN/s", "1e30/s", "1_000_000_001/s", "10/fortnight", "/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(per_second in 0.0f64..1e9) {
            let rate = Rate(per_second);
            prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
        }
    }
}
