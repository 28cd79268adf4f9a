//! Free values: from TOML, as the scenario holds them, to JSON, as the plan does.

use serde_json::Value;

use super::Problems;
use crate::plan::Arguments;
use crate::scenario::topology::Arguments as Written;
use crate::units::{ByteSize, Span};

/// Longest time to live that the broker takes, in milliseconds: ten years (`value_too_large` on RabbitMQ 4.0.5).
const MAX_EXPIRY_MS: u64 = 315_360_000_000;

/// `key` of a table as TOML writes it behind a dot: in quotation marks where it must be.
pub(super) fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if bare { key.to_owned() } else { format!("\"{key}\"") }
}

/// The values of the table `path`, `{}` in texts filled with `number`, where there is one.
pub(super) fn arguments(path: &str, written: &Written, number: Option<&str>, problems: &mut Problems) -> Arguments {
    let mut resolved = Arguments::new();
    for (name, value) in written {
        match json(value, number) {
            Ok(value) => _ = resolved.insert(name.clone(), value),
            Err(what) => problems.add_with_help(
                format!("{path}.{}", quoted(name)),
                format!("{what} cannot be sent to the broker"),
                "use a string, a whole number, a finite number, a boolean, a list or a table",
            ),
        }
    }
    resolved
}

fn json(value: &toml::Value, number: Option<&str>) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(filled(text, number)),
        toml::Value::Integer(integer) => Value::from(*integer),
        toml::Value::Float(float) => {
            serde_json::Number::from_f64(*float).map(Value::Number).ok_or_else(|| format!("the number {float}"))?
        }
        toml::Value::Boolean(boolean) => Value::Bool(*boolean),
        toml::Value::Datetime(datetime) => return Err(format!("the date {datetime}")),
        toml::Value::Array(list) => list.iter().map(|value| json(value, number)).collect::<Result<_, _>>()?,
        toml::Value::Table(table) => Value::Object(
            table
                .iter()
                .map(|(name, value)| Ok((name.clone(), json(value, number)?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}

/// `text` with `number`, where there is one, in the place of each `{}`.
pub(super) fn filled(text: &str, number: Option<&str>) -> String {
    number.map_or_else(|| text.to_owned(), |number| text.replace("{}", number))
}

/// `span` in the whole milliseconds that the broker counts.
pub(super) fn milliseconds(key: &str, span: Span, problems: &mut Problems) -> u64 {
    let ms = span.as_us() / 1000;
    if !span.0.subsec_nanos().is_multiple_of(1_000_000) {
        let help = format!("write \"{}\" or \"{}\"", Span::from_millis(ms), Span::from_millis(ms + 1));
        problems.add_with_help(key, format!("the broker counts whole milliseconds, and `{span}` is none"), help);
    } else if ms > MAX_EXPIRY_MS {
        problems.add_with_help(key, format!("`{span}` is longer than the broker takes"), "at most ten years");
    }
    ms
}

/// `size` as a body's length.
pub(super) fn body_size(key: &str, size: ByteSize, problems: &mut Problems) -> u32 {
    /// What RabbitMQ accepts at the very most (`max_message_size`).
    const MAX: ByteSize = ByteSize(512 << 20);
    const MIN: ByteSize = ByteSize(crate::plan::body::STAMP_BYTES as u64);
    if size < MIN || size > MAX {
        let help = format!("between {MIN}, which the stamp takes, and {MAX}, the broker's limit");
        problems.add_with_help(key, format!("a body of {size} cannot be sent"), help);
    }
    u32::try_from(size.0).unwrap_or(u32::MAX)
}

/// Refuses a weight that cannot be drawn by, and weights that are all 0.
pub(super) fn check_weights(key: &str, weights: &[f64], problems: &mut Problems) {
    if weights.is_empty() {
        return problems.add_with_help(key, "an empty choice chooses nothing", "list at least one");
    }
    for (place, weight) in weights.iter().enumerate() {
        if !weight.is_finite() || *weight < 0.0 {
            let message = format!("`{weight}` is not a weight");
            problems.add_with_help(format!("{key}[{place}].weight"), message, "a finite number, not below 0");
        }
    }
    if weights.iter().all(|weight| *weight == 0.0) {
        problems.add_with_help(key, "all weights are 0", "give at least one a weight above 0");
    }
}

/// `names` for a help text, the first ones of many.
pub(super) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<_> = names.take(SHOWN).map(|name| format!("`{name}`")).collect();
    match (shown.is_empty(), more) {
        (true, _) => "none is known".to_owned(),
        (false, 0) => format!("known: {}", shown.join(", ")),
        (false, _) => format!("known: {} and {more} more", shown.join(", ")),
    }
}
