//! Numbers as a sentence shows them: exact, with separators and units.

/// `1234567` as `1,234,567`.
pub(super) fn count(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `number` of things: `1 message`, `2 messages`, `2 copies`.
pub(super) fn things(number: impl Into<u128>, one: &str) -> String {
    let number = number.into();
    let many = match one.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{one}s"),
    };
    format!("{} {}", count(number), if number == 1 { one } else { &many })
}

/// At most `digits` after the point, none of them a useless zero, and separators before it.
pub(super) fn decimal(number: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", number.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if number < 0.0 { "-" } else { "" };
    match whole.parse::<u128>() {
        Ok(whole) => format!("{sign}{}{point}{fraction}", count(whole)),
        Err(_) => number.to_string(),
    }
}

/// Microseconds in the unit that reads best, none of them lost: `312.45 ms`.
pub(super) fn micros(us: f64) -> String {
    let (divisor, unit, digits) = match us.abs() {
        us if us < 1e3 => (1.0, "µs", 1),
        us if us < 1e6 => (1e3, "ms", 3),
        _ => (1e6, "s", 6),
    };
    format!("{} {unit}", decimal(us / divisor, digits))
}

/// A share of 1 in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", decimal(share * 100.0, 2))
}

/// A value with the unit of its check.
pub(super) fn value(value: f64, unit: &str) -> String {
    match unit {
        "us" => micros(value),
        "per_s" => format!("{}/s", decimal(value, 1)),
        "cores" => format!("{} cores", decimal(value, 2)),
        "bytes" => format!("{} MiB", decimal(value / f64::from(1u32 << 20), 1)),
        _ => decimal(value, 3),
    }
}

/// What zero of `number` says at best: the rule of three (Hanley and Lippman-Hand, "If nothing goes wrong, is
/// everything all right?", JAMA 1983).
pub(super) fn zero_of(number: u64) -> String {
    let of = count(number);
    match number / 3 {
        0 => format!("0 of {of}: too few to bound how often it happens"),
        each => format!("0 of {of}, so at most 1 in {} at 95 %", count(each)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0u64, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(things(1u64, "message"), "1 message");
        assert_eq!(things(1200u64, "copy"), "1,200 copies");
        assert_eq!([1.0, 999.0, 312_450.0, 3_100_001.0].map(micros), ["1 µs", "999 µs", "312.45 ms", "3.100001 s"]);
        assert_eq!(percent(0.0123), "1.23 %");
        assert_eq!(value(1912.34, "per_s"), "1,912.3/s");
        assert_eq!(value(f64::from(3u32 << 19), "bytes"), "1.5 MiB");
        assert_eq!(value(-2.5, ""), "-2.5");
    }

    #[test]
    fn zero_is_bounded() {
        assert_eq!(zero_of(120_000), "0 of 120,000, so at most 1 in 40,000 at 95 %");
        assert_eq!(zero_of(2), "0 of 2: too few to bound how often it happens");
    }
}
