//! Name patterns: `orders.{1..100}` is a hundred names, `orders.{001..100}` the same ones with zeros in front.

/// Most names that one pattern may stand for.
pub const MAX_NAMES: u64 = 10_000;

/// Why a pattern could not be expanded. The text fits the sentence "`queue[0].name`: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The braces hold no range of whole numbers.
    #[error("`{{{range}}}` is not a range; write it like {{1..100}}")]
    NotARange {
        /// What the braces hold.
        range: String,
    },
    /// The first number is larger than the last.
    #[error("`{{{range}}}` counts backwards; the smaller number comes first")]
    Backwards {
        /// What the braces hold.
        range: String,
    },
    /// More names than the limit.
    #[error("`{{{range}}}` stands for {count} names; at most {MAX_NAMES} are allowed")]
    TooMany {
        /// What the braces hold.
        range: String,
        /// How many names it stands for.
        count: u64,
    },
    /// A second range.
    #[error("`{name}` holds more than one range; one is allowed")]
    SecondRange {
        /// The name.
        name: String,
    },
}

/// The names that `name` stands for, in ascending order; itself, where it holds no range.
///
/// # Errors
/// Where its range is none, counts backwards or stands for more than [`MAX_NAMES`] names.
pub fn expand(name: &str) -> Result<Vec<String>, PatternError> {
    let Some((before, rest)) = name.split_once('{') else { return Ok(vec![name.to_owned()]) };
    let Some((range, after)) = rest.split_once('}') else { return Ok(vec![name.to_owned()]) };
    let Some((first, last)) = range.split_once("..") else { return Ok(vec![name.to_owned()]) };
    if after.contains('{') {
        return Err(PatternError::SecondRange { name: name.to_owned() });
    }
    let range = range.to_owned();
    let (Some(low), Some(high)) = (number(first), number(last)) else {
        return Err(PatternError::NotARange { range });
    };
    if low > high {
        return Err(PatternError::Backwards { range });
    }
    let count = (high - low).saturating_add(1);
    if count > MAX_NAMES {
        return Err(PatternError::TooMany { range, count });
    }
    let width = if first.starts_with('0') { first.len() } else { 0 };
    Ok((low..=high).map(|number| format!("{before}{number:0width$}{after}")).collect())
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `text` with `number` in the place of each `{}`.
pub fn fill(text: &str, number: &str) -> String {
    text.replace("{}", number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_becomes_its_names() {
        assert_eq!(expand("orders").as_deref(), Ok(&["orders".to_owned()][..]));
        assert_eq!(expand("a{9..11}b").unwrap(), ["a9b", "a10b", "a11b"]);
        assert_eq!(expand("a{08..10}").unwrap(), ["a08", "a09", "a10"]);
        assert_eq!(fill("key.{}.#", "07"), "key.07.#");
    }

    #[test]
    fn what_is_no_range_is_refused() {
        assert!(matches!(expand("a{1..}"), Err(PatternError::NotARange { .. })));
        assert!(matches!(expand("a{2..1}"), Err(PatternError::Backwards { .. })));
        assert!(matches!(expand("a{1..10001}"), Err(PatternError::TooMany { count: 10_001, .. })));
        assert!(matches!(expand("a{1..2}.{1..2}"), Err(PatternError::SecondRange { .. })));
    }
}
