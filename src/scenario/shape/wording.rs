//! What is said about a value of the wrong shape.

use serde_json::Value as Json;
use toml::Value;

use super::form::Form;
use super::{resolve, schema};
use crate::scenario::key::{KeyPath, Step, quoted};
use crate::scenario::problem::Problems;
use crate::scenario::suggest::{list, nearest};

/// Names that other tools and the protocol have for keys of a scenario.
const ALIASES: [(&str, &str); 12] = [
    ("type", "kind"),
    ("qos", "prefetch"),
    ("bindings", "bind"),
    ("ttl", "message_ttl"),
    ("x-message-ttl", "message_ttl"),
    ("x-max-length", "max_length"),
    ("dlx", "dead_letter"),
    ("dead_letter_exchange", "dead_letter"),
    ("autoack", "ack"),
    ("queues", "queue"),
    ("interval", "rate"),
    ("timeout", "duration"),
];

/// What to say about words that are wrong in a telling way.
const WORD_HINTS: [(&str, &str); 3] = [
    (
        "exactly-once",
        "no broker can promise it; ask for `effectively-once` of consumers with `idempotency`, or for `at-least-once`",
    ),
    ("mirrored", "RabbitMQ 4 has no mirrored queues; `quorum` replicates"),
    ("docker", "a container is asked for with `container`"),
];

/// What `value` is, in words.
fn found(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text {text:?}"),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(truth) => format!("`{truth}`"),
        Value::Datetime(_) => "a date".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// What `content` allows, in words.
pub(super) fn expected(content: &Json) -> String {
    if let Some(alternatives) = content["anyOf"].as_array() {
        let words: Vec<String> = alternatives.iter().map(expected).collect();
        return words.join(" or ");
    }
    let word = |name: &str| match name {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        _ => "a table",
    };
    match &content["type"] {
        Json::Array(names) => {
            let words: Vec<&str> = names.iter().filter_map(Json::as_str).map(word).collect();
            let (last, before) = words.split_last().unwrap_or((&"", &[]));
            format!("{}, or {last}", before.join(", "))
        }
        name => word(name.as_str().unwrap_or_default()).to_owned(),
    }
}

fn subject(path: &KeyPath) -> String {
    match path.0.last() {
        Some(Step::Key(key)) => format!("`{}`", quoted(key)),
        Some(Step::Index(_)) => format!("an element of `{}`", path.last_key().unwrap_or_default()),
        None => "a scenario".to_owned(),
    }
}

pub(super) fn wrong_type(path: &KeyPath, expected: &str, value: &Value, problems: &mut Problems) {
    let message = format!("{} should be {expected}, not {}", subject(path), found(value));
    let key = path.last_key().unwrap_or_default();
    let help = match (expected, value) {
        ("a list", Value::Table(_)) if path.0.len() == 1 => {
            Some(format!("write `[[{key}]]` in double brackets, once for each {key}"))
        }
        ("a list", Value::Table(_)) => Some(format!("write it as a list: `{key} = [{{ … }}]`")),
        ("a list", scalar) => Some(format!("write it as a list: `{key} = [{scalar}]`")),
        ("a table", Value::Array(_)) => Some(format!("write `[{key}]` in single brackets, once")),
        ("text", Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) => {
            Some(format!("put it in quotes: `{key} = \"{value}\"`"))
        }
        ("a whole number" | "a number" | "`true` or `false`", Value::String(text)) if is_plain(text, expected) => {
            Some(format!("write it without quotes: `{key} = {text}`"))
        }
        ("a number, `true` or `false`, or text", Value::Table(_)) => {
            Some("put the whole name in quotes: `\"end_to_end.p99\" = \"<= 250ms\"`".to_owned())
        }
        _ => None,
    };
    let otherwise = match expected {
        "a whole number" => format!("write a number, such as `{key} = 10`"),
        "a number" => format!("write a number, such as `{key} = 1.5`"),
        "`true` or `false`" => format!("write `{key} = true` or `{key} = false`"),
        "text" => format!("write `{key} = \"…\"`"),
        "a list" => format!("write `{key} = […]`"),
        "a table" => format!("write `{key} = {{ … }}`"),
        _ => format!("change `{key}`, or remove it"),
    };
    problems.value(path, message).help(help.unwrap_or(otherwise));
}

/// Whether `text` would be right without its quotes.
fn is_plain(text: &str, expected: &str) -> bool {
    match expected {
        "a whole number" => text.parse::<i64>().is_ok(),
        "a number" => text.parse::<f64>().is_ok(),
        _ => matches!(text, "true" | "false"),
    }
}

pub(super) fn wrong_form(form: &Form, path: &KeyPath, expected: &str, value: &Value, problems: &mut Problems) {
    let problem = problems.value(path, format!("{} should be {expected}, not {}", subject(path), found(value)));
    let key = path.last_key().unwrap_or_default();
    match value {
        Value::Integer(_) | Value::Float(_) if !form.unit.is_empty() => {
            problem.help(format!("write it with its unit, in quotes: `{key} = \"{value}{}\"`", form.unit));
        }
        Value::Boolean(false) if form.name == "Confirm" => {
            problem.help("write `confirm = \"off\"`");
        }
        Value::Boolean(true) if form.name == "Confirm" => {
            problem.help("confirms are on where `confirm` is left out");
        }
        _ => {
            problem.help(format!("write `{key}` as {expected}"));
        }
    }
}

/// What a type said about its own text: a fault, and after "; write" what would be right.
pub(super) fn said(form: &Form, path: &KeyPath, text: &str, problems: &mut Problems) {
    let (message, help) = match text.split_once("; write ") {
        Some((message, help)) => (message, Some(format!("write {help}"))),
        None => (text, None),
    };
    let problem = problems.value(path, message);
    problem.help = match (help, form.name) {
        (Some(help), "RatePlan") => Some(format!("{help}; `\"max\"` is as fast as the confirms allow")),
        (None, _) => Some(format!("`{}` is {}", path.last_key().unwrap_or_default(), (form.expected)())),
        (help, _) => help,
    };
}

pub(super) fn unknown_word(path: &KeyPath, text: &str, words: &[&str], problems: &mut Problems) {
    let problem = problems.value(path, format!("`{text}` is not one of {}", list(words.iter().copied(), "and")));
    let hint = WORD_HINTS.iter().find(|(word, _)| *word == text).map(|(_, hint)| (*hint).to_owned());
    let near = || nearest(text, words.iter().copied()).map(|best| format!("did you mean `{best}`?"));
    problem.help = hint.or_else(near).or_else(|| {
        let first = words.first().copied().unwrap_or_default();
        Some(format!("write one of them, such as `{} = {first:?}`", path.last_key().unwrap_or_default()))
    });
}

pub(super) fn out_of_range(
    path: &KeyPath,
    number: i64,
    least: Option<i64>,
    most: Option<i64>,
    problems: &mut Problems,
) {
    let help = match (least, most) {
        (Some(least), Some(most)) if most < i64::from(u32::MAX) => format!("it goes from {least} to {most}"),
        (Some(least), _) if number < least => format!("it is at least {least}"),
        (_, Some(most)) => format!("it is at most {most}"),
        _ => return,
    };
    problems.value(path, format!("{number} is out of range for {}", subject(path))).help(help);
}

pub(super) fn wrong_version(path: &KeyPath, number: i64, only: i64, problems: &mut Problems) {
    problems
        .value(path, format!("this build reads version {only} of the scenario format, not {number}"))
        .help(format!("write `{} = {only}`", path.last_key().unwrap_or_default()));
}

/// The table at `path` as it is written: `[load]`, `[[queue]]`.
fn table_name(path: &KeyPath) -> String {
    match path.0.as_slice() {
        [] => "a scenario".to_owned(),
        [Step::Key(key)] => format!("`[{key}]`"),
        [Step::Key(key), Step::Index(_)] => format!("`[[{key}]]`"),
        _ => format!("`{}`", path.last_key().unwrap_or_default()),
    }
}

fn keys(content: &'static Json) -> impl Iterator<Item = &'static str> {
    content["properties"].as_object().into_iter().flat_map(|properties| properties.keys().map(String::as_str))
}

pub(super) fn missing_key(content: &'static Json, path: &KeyPath, key: &str, problems: &mut Problems) {
    let message = match path.0.as_slice() {
        [] => format!("`{key}` is missing"),
        _ => format!("{} needs `{key}`", table_name(path)),
    };
    let (_, schema) = resolve(&content["properties"][key]);
    let help = match (path.0.as_slice(), key) {
        ([], "schema") => "begin the file with `schema = 1`".to_owned(),
        ([], "name") => "name the scenario: `name = \"quickstart\"`".to_owned(),
        _ => match super::allowed_words(schema) {
            Some(words) => format!("add `{key}`, one of {}", list(words, "and")),
            None => {
                let what = content["properties"][key]["description"].as_str().unwrap_or_default();
                format!("add `{key}`: {}", lowercase_first(what))
            }
        },
    };
    problems.value(&path.key(key), message).help(help);
}

fn lowercase_first(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

pub(super) fn unknown_key(content: &'static Json, path: &KeyPath, key: &str, problems: &mut Problems) {
    let name = table_name(path);
    let message = match path.0.as_slice() {
        [] => format!("unknown key `{}`", quoted(key)),
        _ => format!("unknown key `{}` in {name}", quoted(key)),
    };
    let problem = problems.key(&path.key(key), message);
    let alias = || ALIASES.iter().find(|(alias, to)| *alias == key && keys(content).any(|known| known == *to));
    let help = alias()
        .map(|(_, to)| format!("here it is called `{to}`"))
        .or_else(|| inside_of(content, key).map(|inside| format!("it belongs inside of `{inside}`")))
        .or_else(|| nearest(key, keys(content)).map(|best| format!("did you mean `{best}`?")))
        .or_else(|| elsewhere(path, key))
        .unwrap_or_else(|| "remove it".to_owned());
    problem.help(help).note(wrap(&format!("keys of {name}: "), keys(content)));
}

/// The key of `content` whose table has `key`.
fn inside_of(content: &'static Json, key: &str) -> Option<&'static str> {
    keys(content).find(|outer| {
        let (_, inner) = resolve(&content["properties"][*outer]);
        let alternatives = inner["anyOf"].as_array().into_iter().flatten().map(|alternative| resolve(alternative).1);
        inner["type"] == "object" && inner["properties"].get(key).is_some()
            || alternatives.into_iter().any(|table| table["properties"].get(key).is_some())
    })
}

/// Where else in a scenario `key` would be right.
fn elsewhere(path: &KeyPath, key: &str) -> Option<String> {
    let root = schema::shared();
    if !path.0.is_empty() && root["properties"].get(key).is_some() {
        let what = &root["properties"][key];
        let written = match what["type"].as_str() {
            Some("array") => format!("`[[{key}]]` is a table of its own"),
            _ if what.get("$ref").is_some() => format!("`[{key}]` is a table of its own"),
            _ => format!("`{key}` belongs at the top of the file, before the first table"),
        };
        return Some(written);
    }
    let tables = ["Load", "Producer", "Consumer", "Queue", "Exchange", "Fault", "Broker"];
    let home = tables.into_iter().find(|table| root["$defs"][*table]["properties"].get(key).is_some())?;
    let home_key = home.to_lowercase();
    let list = root["properties"][&home_key]["type"] == "array";
    Some(if list {
        format!("`{key}` is a key of `[[{home_key}]]`")
    } else {
        format!("`{key}` is a key of `[{home_key}]`")
    })
}

/// `words` in quotes behind `start`, in lines of about ninety characters.
fn wrap<'a>(start: &str, words: impl Iterator<Item = &'a str>) -> String {
    const WIDTH: usize = 90;
    let mut text = start.to_owned();
    let mut line = text.chars().count();
    let mut first = true;
    for word in words {
        let length = word.chars().count() + 4;
        if !first {
            text.push(',');
            if line + length > WIDTH {
                text.push('\n');
                line = 0;
            } else {
                text.push(' ');
            }
        }
        first = false;
        text.push_str(&format!("`{word}`"));
        line += length;
    }
    text
}
