//! Name patterns: `orders.{1..100}` stands for a hundred names, and `{}` in the other texts of the same queue for the
//! same number.
//!
//! May use nothing.

/// Most names of one pattern.
pub const MAX_NAMES: u64 = 10_000;

/// Why a name is not a pattern. The text fits the sentence "`queue[0].name`: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A brace without its counterpart.
    #[error("`{name}` has a brace without its counterpart")]
    Unbalanced {
        /// The name.
        name: String,
    },
    /// Braces around something that is no range.
    #[error("`{{{inside}}}` in `{name}` is not a range of numbers")]
    NotARange {
        /// The name.
        name: String,
        /// What stands between the braces.
        inside: String,
    },
    /// More than one pair of braces.
    #[error("`{name}` has more than one range")]
    SecondRange {
        /// The name.
        name: String,
    },
    /// The range ends before it begins.
    #[error("the range `{{{inside}}}` in `{name}` ends before it begins")]
    Backwards {
        /// The name.
        name: String,
        /// What stands between the braces.
        inside: String,
    },
    /// More names than [`MAX_NAMES`].
    #[error("`{name}` stands for {count} names; at most {MAX_NAMES} are allowed")]
    TooMany {
        /// The name.
        name: String,
        /// Names that the pattern would make.
        count: u64,
    },
}

/// One name of a pattern, with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// The name, such as `orders.07`.
    pub name: String,
    /// The number as it stands in the name, such as `07`; none where the name is no pattern.
    pub number: Option<String>,
}

impl Numbered {
    /// `text` with the number in place of each `{}`; unchanged where the name is no pattern.
    pub fn fill(&self, text: &str) -> String {
        match &self.number {
            Some(number) => text.replace("{}", number),
            None => text.to_owned(),
        }
    }
}

/// The names that `name` stands for, in ascending order: itself, or one for each number of its range.
///
/// # Errors
/// Where its braces hold no range, or one of more than [`MAX_NAMES`] numbers.
pub fn expand(name: &str) -> Result<Vec<String>, PatternError> {
    Ok(expand_numbered(name)?.into_iter().map(|numbered| numbered.name).collect())
}

/// The names that `name` stands for, each with its number. A range that begins with a zero, such as `{01..10}`, pads
/// its numbers to the same width.
///
/// # Errors
/// As [`expand`].
pub fn expand_numbered(name: &str) -> Result<Vec<Numbered>, PatternError> {
    let Some(open) = name.find('{') else {
        return match name.find('}') {
            Some(_) => Err(PatternError::Unbalanced { name: name.to_owned() }),
            None => Ok(vec![Numbered { name: name.to_owned(), number: None }]),
        };
    };
    let (before, rest) = name.split_at(open);
    let (inside, after) =
        rest[1..].split_once('}').ok_or_else(|| PatternError::Unbalanced { name: name.to_owned() })?;
    if before.contains('}') {
        return Err(PatternError::Unbalanced { name: name.to_owned() });
    }
    if after.contains(['{', '}']) {
        return Err(PatternError::SecondRange { name: name.to_owned() });
    }
    let (first, last, width) = parse_range(name, inside)?;
    Ok((first..=last)
        .map(|number| {
            let number = format!("{number:0width$}");
            Numbered { name: format!("{before}{number}{after}"), number: Some(number) }
        })
        .collect())
}

/// First number, last number, and the width to pad to.
fn parse_range(name: &str, inside: &str) -> Result<(u64, u64, usize), PatternError> {
    let not_a_range = || PatternError::NotARange { name: name.to_owned(), inside: inside.to_owned() };
    let number = |text: &str| {
        // `u64` would read a plus sign too.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten().ok_or_else(not_a_range)
    };
    let (first_text, last_text) = inside.split_once("..").ok_or_else(not_a_range)?;
    let (first, last) = (number(first_text)?, number(last_text)?);
    if last < first {
        return Err(PatternError::Backwards { name: name.to_owned(), inside: inside.to_owned() });
    }
    let count = (last - first).saturating_add(1);
    if count > MAX_NAMES {
        return Err(PatternError::TooMany { name: name.to_owned(), count });
    }
    let padded = first_text.len() > 1 && first_text.starts_with('0');
    Ok((first, last, if padded { first_text.len() } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn expands() {
        assert_eq!(expand("orders").expect("a name"), ["orders"]);
        assert_eq!(expand("orders.{1..3}.eu").expect("a pattern"), ["orders.1.eu", "orders.2.eu", "orders.3.eu"]);
        assert_eq!(expand("q{08..10}").expect("a pattern"), ["q08", "q09", "q10"]);
        assert_eq!(expand("q{0..1}").expect("a pattern"), ["q0", "q1"]);
    }

    #[test]
    fn fills_the_same_number() {
        let names = expand_numbered("orders.{01..02}").expect("a pattern");
        assert_eq!(names[1].fill("order.{}.created.{}"), "order.02.created.02");
    }

    #[test]
    fn refuses_what_is_no_pattern() {
        for name in [
            "q{",
            "q}",
            "q}{1..2",
            "q{}",
            "q{1}",
            "q{1..}",
            "q{a..b}",
            "q{+1..2}",
            "q{2..1}",
            "q{1..2}{1..2}",
            "{-1..2}",
        ] {
            assert!(expand(name).is_err(), "{name:?} was accepted");
        }
        assert!(matches!(expand("q{1..10000}"), Ok(names) if names.len() == 10_000));
        assert!(matches!(expand("q{0..10000}"), Err(PatternError::TooMany { count: 10_001, .. })));
        assert!(matches!(expand("q{0..18446744073709551615}"), Err(PatternError::TooMany { .. })));
    }

    proptest! {
        #[test]
        fn as_many_as_the_range_is_long(first in 0u64..5000, more in 0u64..5000) {
            let names = expand(&format!("q{{{first}..{}}}", first + more)).expect("a pattern");
            prop_assert_eq!(names.len() as u64, more + 1);
        }

        #[test]
        fn never_panics(name in "[a-z{}.0-9]{0,20}") {
            let _ = expand(&name);
        }
    }
}
