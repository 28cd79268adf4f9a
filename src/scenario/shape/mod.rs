//! The shape of a scenario: its keys, the types of its values, the words that are allowed. Checked against the JSON
//! Schema, which comes from the serde types, so that everything that is wrong is found at once; serde alone stops at
//! the first.
//!
//! May use `units` only.

mod form;
mod wording;

use serde_json::Value as Json;
use toml::Value;

use super::key::{KeyPath, Step};
use super::problem::Problems;
use super::schema;
use form::{FORMS, Form, Reason};

/// Finds everything in `table` that is not of the right shape.
pub(super) fn check(table: &toml::Table, problems: &mut Problems) {
    let root = Value::Table(table.clone());
    check_value(schema::shared(), &KeyPath::default(), &root, problems);
}

/// Whether `value` could stand at `path`.
pub(super) fn accepts(path: &KeyPath, value: &Value) -> bool {
    find(schema::shared(), &path.0).into_iter().any(|schema| {
        let mut problems = Problems::default();
        check_value(schema, path, value, &mut problems);
        problems.is_empty()
    })
}

/// Name (of a definition) and content of what `schema` refers to.
fn resolve(schema: &'static Json) -> (Option<&'static str>, &'static Json) {
    let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
    match name {
        Some(name) => (Some(name), &schema::shared()["$defs"][name]),
        None => (None, schema),
    }
}

/// The schemas that apply at `steps` below `schema`.
fn find(schema: &'static Json, steps: &[Step]) -> Vec<&'static Json> {
    let Some((step, rest)) = steps.split_first() else { return vec![schema] };
    let (_, content) = resolve(schema);
    if is_free(content) {
        return vec![content];
    }
    if let Some(alternatives) = content["anyOf"].as_array() {
        return alternatives.iter().flat_map(|alternative| find(alternative, steps)).collect();
    }
    let next = match step {
        Step::Key(key) => entry(content, key),
        Step::Index(_) => content.get("items"),
    };
    next.map(|next| find(next, rest)).unwrap_or_default()
}

/// The schema of the entry `key` of a table; none where it is not allowed.
fn entry(table: &'static Json, key: &str) -> Option<&'static Json> {
    let any_pattern = || table["patternProperties"].as_object().and_then(|patterns| patterns.values().next());
    let free = || table.get("additionalProperties").filter(|schema| **schema != Json::Bool(false));
    table["properties"].get(key).or_else(any_pattern).or_else(free)
}

/// Whether any value will do, and whatever is nested in it: what the schema says of AMQP's free values.
fn is_free(content: &Json) -> bool {
    *content == Json::Bool(true)
}

fn check_value(schema: &'static Json, path: &KeyPath, value: &Value, problems: &mut Problems) {
    let (name, content) = resolve(schema);
    if is_free(content) {
        return;
    }
    if let Some(form) = FORMS.iter().find(|form| Some(form.name) == name) {
        return check_form(form, content, path, value, problems);
    }
    if let Some(alternatives) = content["anyOf"].as_array() {
        let fitting = alternatives.iter().find(|alternative| has_type(resolve(alternative).1, value));
        return match fitting {
            Some(fitting) => check_value(fitting, path, value, problems),
            None => wording::wrong_type(path, &wording::expected(content), value, problems),
        };
    }
    if let Some(words) = allowed_words(content) {
        return check_word(&words, path, value, problems);
    }
    if !has_type(content, value) {
        return wording::wrong_type(path, &wording::expected(content), value, problems);
    }
    match value {
        Value::Table(table) => check_table(content, path, table, problems),
        Value::Array(elements) => {
            let Some(items) = content.get("items") else { return };
            for (index, element) in elements.iter().enumerate() {
                check_value(items, &path.index(index), element, problems);
            }
        }
        Value::Integer(number) => check_range(content, path, *number, problems),
        _ => {}
    }
}

fn check_form(form: &Form, content: &'static Json, path: &KeyPath, value: &Value, problems: &mut Problems) {
    let alternatives = content["anyOf"].as_array();
    let table_schema = alternatives.and_then(|list| list.iter().find(|alternative| alternative.get("$ref").is_some()));
    let result = match (value, table_schema) {
        (Value::String(text), _) => (form.text)(text),
        (Value::Table(_), Some(schema)) => {
            let before = problems.len();
            check_value(schema, path, value, problems);
            if problems.len() > before {
                return;
            }
            (form.table)(value)
        }
        _ => Err(Reason::Expected((form.expected)())),
    };
    match result {
        Ok(()) => {}
        Err(Reason::Said(text)) => wording::said(form, path, &text, problems),
        Err(Reason::Expected(what)) => wording::wrong_form(form, path, &what, value, problems),
    }
}

fn check_table(content: &'static Json, path: &KeyPath, table: &toml::Table, problems: &mut Problems) {
    for (key, value) in table {
        match entry(content, key) {
            Some(schema) => check_value(schema, &path.key(key), value, problems),
            None => wording::unknown_key(content, path, key, problems),
        }
    }
    let required = content["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    for key in required.filter(|key| !table.contains_key(*key)) {
        wording::missing_key(content, path, key, problems);
    }
}

/// The words of an enumeration; none where the schema is none.
fn allowed_words(content: &'static Json) -> Option<Vec<&'static str>> {
    let listed = content["enum"].as_array().map(|words| words.iter().filter_map(Json::as_str).collect());
    listed.or_else(|| {
        let variants = content["oneOf"].as_array()?;
        Some(variants.iter().filter_map(|variant| variant["const"].as_str()).collect())
    })
}

fn check_word(words: &[&str], path: &KeyPath, value: &Value, problems: &mut Problems) {
    match value {
        Value::String(text) if words.contains(&text.as_str()) => {}
        Value::String(text) => wording::unknown_word(path, text, words, problems),
        _ => {
            let expected = format!("one of {}", super::suggest::list(words.iter().copied(), "and"));
            wording::wrong_type(path, &expected, value, problems);
        }
    }
}

fn check_range(content: &Json, path: &KeyPath, number: i64, problems: &mut Problems) {
    if let Some(only) = content["const"].as_i64() {
        if number != only {
            wording::wrong_version(path, number, only, problems);
        }
        return;
    }
    let (least, most) = (content["minimum"].as_i64(), content["maximum"].as_i64());
    let most = most.or((content["format"] == "uint32").then_some(i64::from(u32::MAX)));
    if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
        wording::out_of_range(path, number, least, most, problems);
    }
}

/// Whether the value is of the schema's `type`; any value is where it names none.
fn has_type(content: &Json, value: &Value) -> bool {
    let fits = |name: &str| match value {
        Value::String(_) => name == "string",
        Value::Integer(_) => matches!(name, "integer" | "number"),
        Value::Float(_) => name == "number",
        Value::Boolean(_) => name == "boolean",
        Value::Array(_) => name == "array",
        Value::Table(_) => name == "object",
        Value::Datetime(_) => false,
    };
    match &content["type"] {
        Json::String(name) => fits(name),
        Json::Array(names) => names.iter().filter_map(Json::as_str).any(fits),
        _ => true,
    }
}
