//! Percentiles of a distribution, written like `p50`, `p99` or `p99.9`; `min` and `max` are its ends.

use std::fmt;
use std::str::FromStr;

use super::ParseUnitError;

/// A percentile between 0 and 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percentile(f64);

impl Percentile {
    /// The percentile `percent` of 100; `None` outside 0–100.
    pub fn new(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Self(percent))
    }

    /// Between 0 and 100.
    pub fn percent(self) -> f64 {
        self.0
    }

    /// Between 0 and 1.
    pub fn quantile(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percentile {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error =
            || ParseUnitError { text: text.to_owned(), what: "percentile", example: "\"p50\", \"p99.9\" or \"max\"" };
        match text {
            "min" => Ok(Self(0.0)),
            "max" => Ok(Self(100.0)),
            _ => {
                let digits = text.strip_prefix('p').ok_or_else(error)?;
                if !digits.chars().all(|c| c.is_ascii_digit() || c == '.') {
                    return Err(error());
                }
                digits.parse().ok().and_then(Self::new).ok_or_else(error)
            }
        }
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0.0 => f.write_str("min"),
            100.0 => f.write_str("max"),
            percent => write!(f, "p{percent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for text in ["min", "p50", "p99", "p99.9", "p99.99", "max"] {
            assert_eq!(text.parse::<Percentile>().map(|p| p.to_string()), Ok(text.to_owned()));
        }
        for text in ["99", "p101", "p", "pinf", "p-1", "median"] {
            assert!(text.parse::<Percentile>().is_err(), "{text:?} was accepted");
        }
    }
}
