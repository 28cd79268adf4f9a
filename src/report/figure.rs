//! Numbers as text: the one place that decides how many digits a figure has.
//!
//! Whole numbers are written as they are. All others have exactly [`DIGITS`] digits after the point. What people read
//! is the same number, with its thousands grouped; microseconds are shown as milliseconds and bytes as MiB, where
//! three digits after the point lose nothing of the former.

/// Digits after the point of a number that is not whole.
pub const DIGITS: usize = 3;

/// A number of the record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// A count, or a measurement in whole units; wide enough for every `u64` and `i64`.
    Whole(i128),
    /// A measurement.
    Real(f64),
}

impl Figure {
    /// As a number, for comparisons; exact below 2^53.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }

    /// `value` in `unit`: whole where it is a whole number of something that is counted or measured in whole numbers.
    pub fn of(value: f64, unit: &str) -> Self {
        // Above 2^53 not every whole number is an f64.
        let is_whole = value.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&value);
        match unit {
            "messages" | "samples" | "times" | "events" | "us" | "bytes" if is_whole => Self::Whole(value as i128),
            _ => Self::Real(value),
        }
    }
}

impl From<u64> for Figure {
    fn from(whole: u64) -> Self {
        Self::Whole(whole.into())
    }
}

impl From<i64> for Figure {
    fn from(whole: i64) -> Self {
        Self::Whole(whole.into())
    }
}

impl From<f64> for Figure {
    fn from(real: f64) -> Self {
        Self::Real(real)
    }
}

/// As programs read it. A number that is none (no sample to take it of) is empty.
pub fn plain(figure: impl Into<Figure>) -> String {
    match figure.into() {
        Figure::Whole(whole) => whole.to_string(),
        Figure::Real(real) if real.is_finite() => format!("{real:.DIGITS$}"),
        Figure::Real(_) => String::new(),
    }
}

/// [`plain`], or nothing.
pub fn plain_or_empty<F: Into<Figure>>(figure: Option<F>) -> String {
    figure.map(plain).unwrap_or_default()
}

/// As people read it, with its unit.
pub fn shown(figure: impl Into<Figure>, unit: &str) -> String {
    let figure = figure.into();
    let (text, symbol) = match (unit, figure) {
        ("us", figure) => (milliseconds(figure), "ms"),
        ("bytes", figure) => (plain(figure.as_f64() / f64::from(1 << 20)), "MiB"),
        ("per_s", figure) => (plain(figure), "/s"),
        ("cores" | "percent", figure) => (plain(figure), if unit == "cores" { "cores" } else { "%" }),
        (_, figure) => (plain(figure), ""),
    };
    match (text.is_empty(), symbol) {
        (true, _) => "–".to_owned(),
        (false, "") => grouped(&text),
        (false, "/s") => format!("{}/s", grouped(&text)),
        (false, _) => format!("{} {symbol}", grouped(&text)),
    }
}

/// [`shown`], or a dash where there is nothing to show.
pub fn shown_or_dash<F: Into<Figure>>(figure: Option<F>, unit: &str) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| shown(figure, unit))
}

/// Microseconds on the run's clock, as seconds.
pub fn seconds(at_us: i64) -> String {
    let sign = if at_us < 0 { "−" } else { "" };
    let us = at_us.unsigned_abs();
    format!("{sign}{}.{:03} s", grouped(&(us / 1_000_000).to_string()), us % 1_000_000 / 1000)
}

fn milliseconds(us: Figure) -> String {
    match us {
        Figure::Whole(us) => {
            let (sign, us) = (if us < 0 { "-" } else { "" }, us.unsigned_abs());
            format!("{sign}{}.{:03}", us / 1000, us % 1000)
        }
        Figure::Real(us) => plain(us / 1000.0),
    }
}

/// A comma between thousands.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut text = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    fraction.iter().for_each(|rest| {
        text.push('.');
        text.push_str(rest);
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn programs_and_people_read_the_same_number() {
        for (figure, unit, for_programs, for_people) in [
            (Figure::Whole(1_234_567), "messages", "1234567", "1,234,567"),
            (Figure::Whole(2_702_335), "us", "2702335", "2,702.335 ms"),
            (Figure::Whole(7), "us", "7", "0.007 ms"),
            (Figure::Whole(-83), "us", "-83", "-0.083 ms"),
            (Figure::Real(91_204.118), "us", "91204.118", "91.204 ms"),
            (Figure::Real(1200.0), "per_s", "1200.000", "1,200.000/s"),
            (Figure::Whole(41_943_040), "bytes", "41943040", "40.000 MiB"),
            (Figure::Real(0.1867), "cores", "0.187", "0.187 cores"),
            (Figure::Real(-83.5), "", "-83.500", "-83.500"),
            (Figure::Real(f64::NAN), "us", "", "–"),
            (Figure::Real(f64::INFINITY), "per_s", "", "–"),
        ] {
            assert_eq!((plain(figure).as_str(), shown(figure, unit).as_str()), (for_programs, for_people));
        }
    }

    #[test]
    fn what_is_counted_is_whole() {
        assert_eq!(Figure::of(37.0, "messages"), Figure::Whole(37));
        assert_eq!(Figure::of(37.5, "us"), Figure::Real(37.5));
        assert_eq!(Figure::of(37.0, "per_s"), Figure::Real(37.0));
        assert_eq!(Figure::of(1e300, "messages"), Figure::Real(1e300));
    }

    #[test]
    fn times_before_the_load_are_negative() {
        assert_eq!(seconds(-9_412_337), "−9.412 s");
        assert_eq!(seconds(3_600_000_500), "3,600.000 s");
    }

    proptest! {
        #[test]
        fn grouping_and_milliseconds_lose_no_digit(number: u64) {
            prop_assert_eq!(grouped(&number.to_string()).replace(',', ""), number.to_string());
            let digits = shown(number, "us").replace([',', '.'], "").replace(" ms", "");
            prop_assert_eq!(digits.parse::<u64>(), Ok(number));
        }
    }
}
