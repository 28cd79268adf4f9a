//! `${NAME}` and `${NAME:-default}` in the texts of a scenario, filled from the environment; `$${` is a plain `${`.
//!
//! Keys are never filled. The scenario's text that goes into a record is kept apart and holds no value from here; the plan
//! that goes beside it does, but for the passwords in the URLs of brokers and stores.

use std::collections::BTreeMap;

use toml::Value;

use super::key::{KeyPath, Step};
use super::problem::Problems;

/// Fills the texts in `table`, and returns where that was, with the names of the variables.
pub(super) fn fill(
    table: &mut toml::Table,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> BTreeMap<KeyPath, Vec<String>> {
    let mut filled = BTreeMap::new();
    for (key, value) in table.iter_mut() {
        fill_value(KeyPath::default().key(key), value, env, problems, &mut filled);
    }
    filled
}

fn fill_value(
    path: KeyPath,
    value: &mut Value,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
    filled: &mut BTreeMap<KeyPath, Vec<String>>,
) {
    match value {
        Value::String(text) => match fill_text(text, env) {
            Ok((new, names)) => {
                *text = new;
                if !names.is_empty() {
                    filled.insert(path, names);
                }
            }
            Err(fault) => fault.report(&path, problems),
        },
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                fill_value(path.index(index), element, env, problems, filled);
            }
        }
        Value::Table(table) => {
            for (key, value) in table.iter_mut() {
                fill_value(path.key(key), value, env, problems, filled);
            }
        }
        _ => {}
    }
}

/// Reads the text at `path` as TOML where it fits only so: the environment holds texts, but `count = "${COUNT}"` is
/// meant as a number.
pub(super) fn reread(table: &mut toml::Table, path: &KeyPath, accepts: impl Fn(&Value) -> bool) {
    let Some((Step::Key(first), rest)) = path.0.split_first() else { return };
    let value = rest.iter().try_fold(table.get_mut(first), |value, step| match (value, step) {
        (Some(Value::Table(table)), Step::Key(key)) => Some(table.get_mut(key)),
        (Some(Value::Array(elements)), Step::Index(index)) => Some(elements.get_mut(*index)),
        _ => None,
    });
    let Some(value) = value.flatten() else { return };
    let Some(text) = value.as_str().filter(|_| !accepts(value)) else { return };
    if let Some(read) = text.parse().ok().filter(accepts) {
        *value = read;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Undefined(String),
    Unclosed,
    BadName(String),
}

impl Fault {
    fn report(self, path: &KeyPath, problems: &mut Problems) {
        match self {
            Self::Undefined(name) => problems
                .value(path, format!("the environment variable `{name}` is not set"))
                .help(format!("set it, or give a default: `${{{name}:-default}}`")),
            Self::Unclosed => problems
                .value(path, "a `${` without its `}`")
                .help("write `${NAME}` or `${NAME:-default}`; `$${` is a plain `${`"),
            Self::BadName(name) => problems
                .value(path, format!("`{name}` is not the name of an environment variable"))
                .help("names hold letters, digits and `_`; `$${` is a plain `${`"),
        };
    }
}

/// The text with its variables filled in, and their names.
fn fill_text(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<(String, Vec<String>), Fault> {
    let mut filled = String::with_capacity(text.len());
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(plain) = before.strip_suffix('$') {
            filled.push_str(plain);
            filled.push_str("${");
            rest = after;
            continue;
        }
        filled.push_str(before);
        let (inside, following) = after.split_once('}').ok_or(Fault::Unclosed)?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let starts_right = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_right || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(Fault::BadName(name.to_owned()));
        }
        // As in a shell: with `:-`, an empty variable takes the default too.
        let value = env(name).filter(|value| default.is_none() || !value.is_empty());
        let value = value.or_else(|| default.map(str::to_owned)).ok_or_else(|| Fault::Undefined(name.to_owned()))?;
        filled.push_str(&value);
        names.push(name.to_owned());
        rest = following;
    }
    filled.push_str(rest);
    Ok((filled, names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("broker".to_owned()),
            "NESTED" => Some("${HOST}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn fills() {
        for (text, filled) in [
            ("amqp://${HOST}:5672", "amqp://broker:5672"),
            ("${HOST}${HOST}", "brokerbroker"),
            ("${NOWHERE:-local}", "local"),
            ("${NOWHERE:-}", ""),
            ("[${EMPTY}]", "[]"),
            ("[${EMPTY:-local}]", "[local]"),
            ("$${HOST}", "${HOST}"),
            ("cost: $5, {HOST}", "cost: $5, {HOST}"),
            // What comes out of the environment is not read again.
            ("${NESTED}", "${HOST}"),
        ] {
            assert_eq!(fill_text(text, &env).map(|(text, _)| text), Ok(filled.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses() {
        assert_eq!(fill_text("${NOWHERE}", &env), Err(Fault::Undefined("NOWHERE".into())));
        assert_eq!(fill_text("${HOST", &env), Err(Fault::Unclosed));
        assert_eq!(fill_text("${}", &env), Err(Fault::BadName(String::new())));
        assert_eq!(fill_text("${A B}", &env), Err(Fault::BadName("A B".into())));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[$ {}:A-C-]{0,20}") {
            let _ = fill_text(&text, &env);
        }
    }
}
