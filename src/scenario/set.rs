//! `--set path=value`: one value of a scenario changed from the command line, in the document itself, so that its
//! formatting and comments stay.
//!
//! Elements of a list are named by their `name` or their place, all of them with `*`: `producer.checkout.rate`,
//! `producer[0].rate`, `producer.*.rate`.

use toml::Value;
use toml_edit::{DocumentMut, Item, Table};

use super::key::{self, KeyPath, Part, Step};
use super::{shape, suggest};

/// What a `--set` changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// The entries.
    pub keys: Vec<KeyPath>,
    /// Where in the argument the value begins, in bytes.
    pub value_start: usize,
}

/// Why a `--set` leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub message: String,
    pub help: String,
}

impl Fault {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

const EXAMPLE: &str = "write it like `--set load.duration=5s` or `--set producer.checkout.rate=100/s`";

/// Applies `set`, written like `load.duration=5s`, to `document`.
///
/// # Errors
/// Where its path is broken, or names something that is not there.
pub(super) fn apply(set: &str, document: &mut DocumentMut) -> Result<Applied, Fault> {
    let (parts, rest) = key::parse(set).map_err(|message| Fault::new(message, EXAMPLE))?;
    let Some(value) = rest.strip_prefix('=') else {
        return Err(Fault::new(format!("`{set}` has no value"), EXAMPLE));
    };
    let text = value.trim();
    let snapshot: toml::Table = toml::from_str(&document.to_string())
        .map_err(|error| Fault::new(format!("the scenario cannot be read any more: {}", error.message()), EXAMPLE))?;
    let mut keys = Vec::new();
    resolve(Some(&Value::Table(snapshot)), &parts, KeyPath::default(), &mut keys)?;
    for path in &keys {
        put(document, path, read_value(path, text))?;
    }
    Ok(Applied { keys, value_start: set.len() - value.trim_start().len() })
}

/// `text` as TOML if it is TOML that fits at `path`, else as a string: `100/s` needs no quotes.
fn read_value(path: &KeyPath, text: &str) -> toml_edit::Value {
    let string = || toml_edit::Value::from(text);
    let (Ok(written), Ok(value)) = (text.parse::<toml_edit::Value>(), text.parse::<Value>()) else { return string() };
    let fits_only_as_string = !shape::accepts(path, &value) && shape::accepts(path, &Value::String(text.to_owned()));
    if fits_only_as_string { string() } else { written }
}

/// Finds the entries that `parts` mean below `current`, which stands at `path`.
fn resolve(current: Option<&Value>, parts: &[Part], path: KeyPath, keys: &mut Vec<KeyPath>) -> Result<(), Fault> {
    let Some((part, rest)) = parts.split_first() else {
        refuse_whole_table(&path)?;
        keys.push(path);
        return Ok(());
    };
    match (current, part) {
        (Some(Value::Table(_)), Part::Key(key)) if path.0.is_empty() && key == "expect" && !rest.is_empty() => {
            keys.push(path.key(key).key(&joined(rest).ok_or_else(|| {
                Fault::new("a metric's name holds no `[…]`", "write it like `--set expect.end_to_end.p99=\"<= 1s\"`")
            })?));
            Ok(())
        }
        (Some(Value::Table(table)), Part::Key(key)) => resolve(table.get(key), rest, path.key(key), keys),
        (None, Part::Key(key)) if !is_list_of_tables(&path) => resolve(None, rest, path.key(key), keys),
        (Some(Value::Array(elements)), Part::Key(_)) => by_name(elements, parts, path, keys),
        (Some(Value::Array(elements)), Part::Index(index)) => match elements.get(*index) {
            Some(element) => resolve(Some(element), rest, path.index(*index), keys),
            None => Err(Fault::new(format!("there is no `{path}[{index}]`"), what_there_is(&path, elements))),
        },
        (Some(Value::Array(elements)), Part::Every) => elements
            .iter()
            .enumerate()
            .try_for_each(|(index, element)| resolve(Some(element), rest, path.index(index), keys)),
        (None, _) => Err(Fault::new(format!("this scenario has no `{path}`"), "only what is in the file can be named")),
        (Some(Value::Table(_)), Part::Index(_) | Part::Every) => {
            Err(Fault::new(format!("`{path}` is a table, not a list"), "name one of its keys"))
        }
        (Some(scalar), _) => {
            let parent = format!("--set {path}={{ … }}");
            Err(Fault::new(format!("`{path}` is {scalar} and has no keys"), format!("set it as a whole: `{parent}`")))
        }
    }
}

/// Whether `path` is one of `exchange`, `queue`, `producer` and `consumer`.
fn is_list_of_tables(path: &KeyPath) -> bool {
    matches!(path.0.as_slice(), [Step::Key(_)]) && shape::accepts(path, &Value::Array(Vec::new()))
}

fn refuse_whole_table(path: &KeyPath) -> Result<(), Fault> {
    let whole = match path.0.as_slice() {
        [] => true,
        [Step::Key(key)] => is_list_of_tables(path) || matches!(key.as_str(), "broker" | "load" | "expect"),
        [Step::Key(_), Step::Index(_)] => true,
        _ => false,
    };
    if whole {
        return Err(Fault::new(format!("`{path}` is a whole table"), format!("name one of its keys; {EXAMPLE}")));
    }
    Ok(())
}

/// Finds the element whose name the parts begin with; a name may hold dots.
fn by_name(elements: &[Value], parts: &[Part], path: KeyPath, keys: &mut Vec<KeyPath>) -> Result<(), Fault> {
    let names: Vec<Option<&str>> = elements.iter().map(|element| element.get("name").and_then(Value::as_str)).collect();
    for length in (1..=parts.len()).rev() {
        let Some(name) = joined(&parts[..length]) else { continue };
        if let Some(index) = names.iter().position(|known| *known == Some(name.as_str())) {
            return resolve(Some(&elements[index]), &parts[length..], path.index(index), keys);
        }
    }
    let written = match parts.first() {
        Some(Part::Key(key)) => key.clone(),
        _ => String::new(),
    };
    let known = names.iter().copied().flatten();
    let help = suggest::did_you_mean(&written, known, &what_there_is(&path, elements));
    Err(Fault::new(format!("there is no `{written}` in `{path}`"), help))
}

fn joined(parts: &[Part]) -> Option<String> {
    let keys: Option<Vec<&str>> = parts
        .iter()
        .map(|part| match part {
            Part::Key(key) => Some(key.as_str()),
            Part::Index(_) | Part::Every => None,
        })
        .collect();
    keys.map(|keys| keys.join("."))
}

fn what_there_is(path: &KeyPath, elements: &[Value]) -> String {
    let names: Vec<&str> = elements.iter().filter_map(|element| element.get("name").and_then(Value::as_str)).collect();
    match (elements.len(), names.is_empty()) {
        (0, _) => format!("`{path}` is empty"),
        (1, false) => format!("there is {}", suggest::short_list(names)),
        (_, false) => format!("there are {}", suggest::short_list(names)),
        (1, true) => format!("there is `{path}[0]`"),
        (count, true) => format!("there are `{path}[0]` to `{path}[{}]`", count - 1),
    }
}

/// Writes `value` at `path`, and what is missing on the way there.
fn put(document: &mut DocumentMut, path: &KeyPath, value: toml_edit::Value) -> Result<(), Fault> {
    let nowhere = || Fault::new(format!("`{path}` cannot be set"), EXAMPLE);
    let (last, way) = path.0.split_last().ok_or_else(nowhere)?;
    let mut item = document.as_item_mut();
    for (depth, step) in way.iter().enumerate() {
        item = match step {
            Step::Key(key) => {
                let table = item.as_table_like_mut().ok_or_else(nowhere)?;
                if !table.contains_key(key) {
                    let new = if depth == 0 {
                        Item::Table(Table::new())
                    } else {
                        Item::Value(toml_edit::InlineTable::new().into())
                    };
                    table.insert(key, new);
                }
                table.get_mut(key).ok_or_else(nowhere)?
            }
            Step::Index(index) => item.get_mut(*index).ok_or_else(nowhere)?,
        };
    }
    let slot = match last {
        Step::Key(key) => {
            let table = item.as_table_like_mut().ok_or_else(nowhere)?;
            if !table.contains_key(key) {
                table.insert(key, Item::Value(value));
                return Ok(());
            }
            table.get_mut(key)
        }
        Step::Index(index) => item.get_mut(*index),
    };
    replace(slot.ok_or_else(nowhere)?, value);
    Ok(())
}

/// Puts `value` in the place of another, whose spaces and comments stay.
fn replace(slot: &mut Item, mut value: toml_edit::Value) {
    if let Some(old) = slot.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *slot = Item::Value(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = r#"schema = 1 # the only one
name = "base"

[[producer]]
name = "checkout"
rate = "max"       # closed loop
confirm = { window = 10 }

[[producer]]
name = "orders.eu"
rate = { steps = [{ rate = "1/s", for = "1s" }] }
"#;

    fn set(arguments: &[&str]) -> Result<String, Fault> {
        let mut document: DocumentMut = TEXT.parse().expect("TOML");
        for argument in arguments {
            apply(argument, &mut document)?;
        }
        Ok(document.to_string())
    }

    #[test]
    fn formatting_and_comments_stay() {
        let text = set(&["producer.checkout.rate=100/s", "schema = 2"]).expect("set");
        assert!(text.contains("rate = \"100/s\"       # closed loop"), "{text}");
        assert!(text.contains("schema = 2 # the only one"), "{text}");
        assert_eq!(text.lines().count(), TEXT.lines().count());
    }

    #[test]
    fn every_way_to_name_a_value() {
        for (argument, line) in [
            ("producer[1].count=3", "count = 3"),
            ("producer.orders.eu.count=4", "count = 4"),
            ("producer.\"orders.eu\".count=5", "count = 5"),
            ("producer.orders.eu.rate.steps[0].rate=7/s", "rate = \"7/s\""),
            ("producer.checkout.confirm.timeout=3s", "confirm = { window = 10 , timeout = \"3s\" }"),
            ("producer.checkout.confirm=off", "confirm = \"off\""),
            ("load.duration=5s", "[load]\nduration = \"5s\""),
            ("load.stop_when.idle=5s", "stop_when = { idle = \"5s\" }"),
            ("expect.end_to_end.p99=<= 1s", "\"end_to_end.p99\" = \"<= 1s\""),
            ("expect.\"end_to_end.p99\"=<= 1s", "\"end_to_end.p99\" = \"<= 1s\""),
            ("expect.lost=0", "lost = 0"),
            ("name=42", "name = \"42\""),
            ("name=true", "name = \"true\""),
            ("seed=42", "seed = 42"),
            ("description=", "description = \"\""),
        ] {
            let text = set(&[argument]).unwrap_or_else(|fault| panic!("{argument}: {fault:?}"));
            assert!(text.contains(line), "{argument}:\n{text}");
            assert!(text.parse::<DocumentMut>().is_ok(), "{text}");
        }
        let text = set(&["producer.*.persistent=false"]).expect("set");
        assert_eq!(text.matches("persistent = false").count(), 2);
    }

    #[test]
    fn what_is_not_there_is_refused_and_what_is_there_is_named() {
        for (argument, help) in [
            ("producer.chekout.rate=1/s", "did you mean `checkout`?"),
            ("producer.billing.rate=1/s", "there are `checkout` and `orders.eu`"),
            ("producer[2].rate=1/s", "there are `checkout` and `orders.eu`"),
            ("consumer.billing.prefetch=1", "only what is in the file can be named"),
            ("producer.orders.eu.rate.steps[3].rate=7/s", "there is `producer[1].rate.steps[0]`"),
            ("producer.checkout.rate.ramp=7", "set it as a whole"),
            ("producer.checkout=1", "name one of its keys"),
            ("load=1", "name one of its keys"),
            ("load.duration", "write it like"),
            ("=5", "write it like"),
        ] {
            let fault = set(&[argument]).expect_err(argument);
            assert!(fault.help.contains(help), "{argument}: {fault:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_leaves_toml(path in "(producer|load|name|expect|queue)[a-z.\\[\\]*0-1\"]{0,12}", value in ".{0,12}") {
            if let Ok(text) = set(&[&format!("{path}={value}")]) {
                prop_assert!(text.parse::<DocumentMut>().is_ok(), "{}", text);
            }
        }
    }
}
