//! Bindings of headers exchanges: the argument `x-match` says how many of the others must match.
//!
//! `all` (the default) and `any` leave out arguments whose names begin with `x-`; `all-with-x` and `any-with-x` compare
//! them too. See "Headers Exchange" in RabbitMQ's manual.

use serde_json::Value;

use crate::plan::Arguments;

const MATCH: &str = "x-match";

/// Values that `x-match` may have.
pub(in crate::plan) const MATCH_KINDS: [&str; 4] = ["all", "any", "all-with-x", "any-with-x"];

/// Whether `headers` match a binding's `arguments`.
pub(super) fn matches(arguments: &Arguments, headers: &Arguments) -> bool {
    let kind = arguments.get(MATCH).and_then(Value::as_str).unwrap_or(MATCH_KINDS[0]);
    let with_x = kind.ends_with("-with-x");
    let mut compared = arguments
        .iter()
        .filter(|(name, _)| *name != MATCH && (with_x || !name.starts_with("x-")))
        .map(|(name, value)| headers.get(name).is_some_and(|header| value.is_null() || header == value));
    if kind.starts_with("any") { compared.any(|same| same) } else { compared.all(|same| same) }
}
