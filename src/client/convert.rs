//! From the plan's values to AMQP 0-9-1's, for the adapters that speak it. Pure.

use amq_protocol::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use serde_json::Value;

use super::ClientError;
use crate::plan::{Arguments, StreamOffset};

/// Text as a short string, which holds at most 255 bytes (AMQP 0-9-1, section 4.2.5.3).
pub(crate) fn short(text: &str, what: &str) -> Result<ShortString, ClientError> {
    ShortString::try_new(text).map_err(|error| ClientError::Unfit { what: what.to_owned(), reason: error.to_string() })
}

/// Arguments or headers as an AMQP table.
pub(in crate::client) fn table(values: &Arguments) -> Result<FieldTable, ClientError> {
    let mut table = FieldTable::default();
    for (key, value) in values {
        table.insert(short(key, "name of an argument")?, self::value(value)?);
    }
    Ok(table)
}

/// A free value: whole numbers become 64-bit integers, others doubles.
fn value(value: &Value) -> Result<AMQPValue, ClientError> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(flag) => AMQPValue::Boolean(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => AMQPValue::LongLongInt(whole),
            None => AMQPValue::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        Value::Array(items) => {
            AMQPValue::FieldArray(FieldArray::from(items.iter().map(self::value).collect::<Result<Vec<_>, _>>()?))
        }
        Value::Object(fields) => {
            let mut table = FieldTable::default();
            for (key, value) in fields {
                table.insert(short(key, "name of a field")?, self::value(value)?);
            }
            AMQPValue::FieldTable(table)
        }
    })
}

/// Arguments of `basic.consume`.
pub(in crate::client) fn consume_arguments(priority: i32, offset: Option<&StreamOffset>) -> FieldTable {
    let mut arguments = FieldTable::default();
    if priority != 0 {
        arguments.insert("x-priority".into(), AMQPValue::LongInt(priority));
    }
    if let Some(offset) = offset {
        let value = match offset {
            StreamOffset::First => AMQPValue::LongString("first".into()),
            StreamOffset::Last => AMQPValue::LongString("last".into()),
            StreamOffset::Next => AMQPValue::LongString("next".into()),
            StreamOffset::At(offset) => AMQPValue::LongLongInt(i64::try_from(*offset).unwrap_or(i64::MAX)),
            // The broker reads whole units only.
            StreamOffset::Ago(span) => AMQPValue::LongString(format!("{}s", span.0.as_secs().max(1)).into()),
        };
        arguments.insert("x-stream-offset".into(), value);
    }
    arguments
}

#[cfg(test)]
mod tests;
