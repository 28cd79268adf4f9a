//! Key paths: where in a scenario a value stands, written like `producer[0].confirm.window` or
//! `expect."end_to_end.p99"`.
//!
//! May use nothing. `--set` reads its paths with the same grammar, and `[*]` or `*` there means every element.

use std::fmt;

/// One step of a path as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A key of a table.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
    /// Every element of a list.
    Every,
}

/// One step of a path to one value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A key of a table.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// Where in a scenario a value stands; empty: the whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(pub Vec<Step>);

impl KeyPath {
    /// The path of `key` below this one.
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// The path of element `index` of this list.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The table or list that holds it; none of the whole file.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }

    /// Whether `other` is this value or stands inside of it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The last key, such as `window`; none of the whole file.
    pub fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }

    /// Reads a path as `Display` writes it; what is no path becomes one key.
    pub fn read(text: &str) -> Self {
        let Ok((parts, "")) = parse(text) else { return Self(vec![Step::Key(text.to_owned())]) };
        let steps = parts.into_iter().map(|part| match part {
            Part::Key(key) => Step::Key(key),
            Part::Index(index) => Step::Index(index),
            Part::Every => Step::Key("*".to_owned()),
        });
        Self(steps.collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if place > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(&quoted(key))?;
                }
            }
        }
        Ok(())
    }
}

/// `key` as TOML writes it: bare where it can be.
pub(super) fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else if key.chars().any(char::is_control) {
        format!("{key:?}")
    } else if key.contains('"') {
        format!("'{key}'")
    } else {
        format!("\"{key}\"")
    }
}

/// Reads the path at the start of `text`, up to an unquoted `=` or the end, and returns what follows it.
///
/// # Errors
/// What is wrong with the path, as a sentence fragment.
pub(super) fn parse(text: &str) -> Result<(Vec<Part>, &str), String> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    loop {
        let (part, after) = parse_key(rest)?;
        parts.push(part);
        rest = after.trim_start();
        while let Some(inside) = rest.strip_prefix('[') {
            let (index, after) = inside.split_once(']').ok_or("a `[` in the path is not closed")?;
            parts.push(parse_index(index.trim())?);
            rest = after.trim_start();
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() || rest.starts_with('=') => return Ok((parts, rest)),
            None => return Err(format!("`{rest}` does not belong in a path")),
        }
    }
}

fn parse_key(text: &str) -> Result<(Part, &str), String> {
    for quote in ['"', '\''] {
        if let Some(inside) = text.strip_prefix(quote) {
            let (key, after) = inside.split_once(quote).ok_or("a quote in the path is not closed")?;
            return Ok((Part::Key(key.to_owned()), after));
        }
    }
    let end = text.find(['.', '[', '=']).unwrap_or(text.len());
    let (key, after) = text.split_at(end);
    match key.trim_end() {
        "" => Err("a key in the path is empty".to_owned()),
        "*" => Ok((Part::Every, after)),
        key => Ok((Part::Key(key.to_owned()), after)),
    }
}

fn parse_index(text: &str) -> Result<Part, String> {
    if text == "*" {
        return Ok(Part::Every);
    }
    text.parse().map(Part::Index).map_err(|_| format!("`[{text}]` is not a place in a list; write `[0]` or `[*]`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_it_prints() {
        for text in ["producer[0].confirm.window", "expect.\"end_to_end.p99\"", "name", "queue[2].bind[1].key"] {
            assert_eq!(KeyPath::read(text).to_string(), text);
        }
    }

    #[test]
    fn a_path_ends_at_its_equals_sign() {
        let (parts, rest) = parse("expect.\"a=b\" = <= 1s").expect("a path");
        assert_eq!(parts, [Part::Key("expect".into()), Part::Key("a=b".into())]);
        assert_eq!(rest, "= <= 1s");
    }

    #[test]
    fn broken_paths_are_refused() {
        for text in ["", ".a", "a.", "a..b", "a[", "a[x]", "a[0]b", "\"a"] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn any_key_reads_back(key in "[^'\\p{Cc}]{1,12}", index in 0usize..100) {
            let path = KeyPath::default().key("expect").key(&key).index(index);
            prop_assert_eq!(KeyPath::read(&path.to_string()), path);
        }

        #[test]
        fn never_panics(text in ".*") {
            let _ = KeyPath::read(&text);
        }
    }
}
