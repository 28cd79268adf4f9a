//! Between the port's types and AMQP's: values, properties, what a delivery carries. Pure.

use ::lapin::BasicProperties;
use ::lapin::types::{AMQPValue, ByteArray, FieldArray, FieldTable, LongString, ShortString};
use bytes::Bytes;
use serde_json::Value;

use super::super::{ClientError, Death, Delivery, MoreProperties, Properties};
use crate::plan::{Arguments, StreamOffset};
use crate::stamp::{Reading, STAMP_HEADER, STAMP_LEN, Stamp};

/// AMQP delivery modes (AMQP 0-9-1, class basic).
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// Text as a short string, which holds at most 255 bytes (AMQP 0-9-1, section 4.2.5.3).
pub(crate) fn short(text: &str, what: &str) -> Result<ShortString, ClientError> {
    ShortString::try_new(text).map_err(|error| ClientError::Unfit { what: what.to_owned(), reason: error.to_string() })
}

/// Arguments or headers as an AMQP table.
pub(super) fn table(values: &Arguments) -> Result<FieldTable, ClientError> {
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

/// A message's properties on the wire.
pub(super) fn properties(from: &Properties, persistent: bool) -> Result<BasicProperties, ClientError> {
    let mut to = BasicProperties::default().with_delivery_mode(if persistent { PERSISTENT } else { TRANSIENT });
    if let Some(priority) = from.priority {
        to = to.with_priority(priority);
    }
    let mut headers = None;
    if let Some(more) = &from.more {
        to = more_properties(to, more)?;
        if !more.headers.is_empty() {
            headers = Some(table(&more.headers)?);
        }
    }
    if let Some(stamp) = &from.stamp {
        let value = AMQPValue::ByteArray(ByteArray::from(stamp.to_vec()));
        headers.get_or_insert_default().insert(short(STAMP_HEADER, "header")?, value);
    }
    Ok(match headers {
        Some(headers) => to.with_headers(headers),
        None => to,
    })
}

fn more_properties(mut to: BasicProperties, from: &MoreProperties) -> Result<BasicProperties, ClientError> {
    if let Some(ms) = from.expiration_ms {
        to = to.with_expiration(short(&ms.to_string(), "expiration")?);
    }
    let text = |value: &Option<String>, what| value.as_deref().map(|text| short(text, what)).transpose();
    if let Some(value) = text(&from.content_type, "content type")? {
        to = to.with_content_type(value);
    }
    if let Some(value) = text(&from.content_encoding, "content encoding")? {
        to = to.with_content_encoding(value);
    }
    if let Some(value) = text(&from.message_id, "message id")? {
        to = to.with_message_id(value);
    }
    if let Some(value) = text(&from.correlation_id, "correlation id")? {
        to = to.with_correlation_id(value);
    }
    if let Some(value) = text(&from.reply_to, "reply-to")? {
        to = to.with_reply_to(value);
    }
    if let Some(value) = text(&from.kind, "type")? {
        to = to.with_type(value);
    }
    if let Some(value) = text(&from.app_id, "app id")? {
        to = to.with_app_id(value);
    }
    Ok(to)
}

/// Arguments of `basic.consume`.
pub(super) fn consume_arguments(priority: i32, offset: Option<&StreamOffset>) -> FieldTable {
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

/// A delivery of lapin's as the port knows it.
pub(super) fn delivery(queue: usize, from: ::lapin::message::Delivery) -> Delivery {
    let headers = from.properties.headers().as_ref();
    Delivery {
        queue,
        tag: from.delivery_tag,
        redelivered: from.redelivered,
        stamp: headers.and_then(stamp),
        death: headers.and_then(death).map(Box::new),
        body: Bytes::from(from.data),
    }
}

/// The sequence in a message's stamp, whichever run it belongs to; none where there is no whole stamp.
pub(super) fn stamped_sequence(properties: &BasicProperties, body: &[u8]) -> Option<u64> {
    let header = properties.headers().as_ref().and_then(stamp);
    let (stamp, rest) = match &header {
        Some(stamp) => (stamp.as_slice(), body),
        None => body.split_at_checked(STAMP_LEN)?,
    };
    let run = u32::from_be_bytes(stamp.first_chunk().copied()?);
    match Stamp::read(stamp, rest, run) {
        Reading::Ours(stamp) => Some(stamp.sequence),
        Reading::Corrupt(_) | Reading::Foreign => None,
    }
}

fn stamp(headers: &FieldTable) -> Option<[u8; STAMP_LEN]> {
    match headers.inner().get(STAMP_HEADER)? {
        AMQPValue::ByteArray(bytes) => bytes.as_slice().try_into().ok(),
        AMQPValue::LongString(text) => text.as_bytes().try_into().ok(),
        _ => None,
    }
}

/// The first entry of `x-death`: the broker puts the newest one first.
fn death(headers: &FieldTable) -> Option<Death> {
    let AMQPValue::FieldArray(entries) = headers.inner().get("x-death")? else { return None };
    let AMQPValue::FieldTable(entry) = entries.as_slice().first()? else { return None };
    Some(Death {
        queue: text(entry, "queue")?,
        reason: text(entry, "reason")?,
        count: entry.inner().get("count").and_then(whole).unwrap_or(1),
        unix_seconds: entry.inner().get("time").and_then(AMQPValue::as_timestamp),
    })
}

fn text(table: &FieldTable, key: &str) -> Option<String> {
    match table.inner().get(key)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn whole(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::LongLongInt(n) => u64::try_from(*n).ok(),
        AMQPValue::LongInt(n) => u64::try_from(*n).ok(),
        AMQPValue::LongUInt(n) => Some(u64::from(*n)),
        AMQPValue::ShortUInt(n) => Some(u64::from(*n)),
        AMQPValue::ShortInt(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
