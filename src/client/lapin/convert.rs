//! Between the port's types and AMQP's: values, properties, what a delivery carries. Pure.

use ::lapin::BasicProperties;
use ::lapin::types::{AMQPValue, ByteArray, FieldTable, ShortString};

use super::super::convert::{short, table};
use super::super::{CAUSATION_HEADER, ClientError, Death, Deliveries, Delivery, Ids, MoreProperties, Properties};
use crate::stamp::{Reading, STAMP_HEADER, STAMP_LEN, Stamp};

/// AMQP delivery modes (AMQP 0-9-1, class basic).
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

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

/// A delivery of lapin's as the port knows it, without its body: from which queue it came, and whether its ids are
/// asked for.
pub(super) fn delivery((queue, wants_ids): (usize, bool), from: &::lapin::message::Delivery) -> Delivery {
    let headers = from.properties.headers().as_ref();
    Delivery {
        queue,
        tag: from.delivery_tag,
        redelivered: from.redelivered,
        stamp: headers.and_then(stamp),
        deaths: headers.map(deaths).unwrap_or_default(),
        ids: wants_ids.then(|| Box::new(ids(&from.properties))),
        body: 0..0,
    }
}

/// Adds a delivery of lapin's to those that are handed over.
pub(super) fn hand_over(of: (usize, bool), from: &::lapin::message::Delivery, to: &mut Deliveries) {
    to.push(delivery(of, from), &from.data);
}

fn ids(properties: &BasicProperties) -> Ids {
    let causation = properties.headers().as_ref().and_then(|headers| text(headers, CAUSATION_HEADER));
    let bytes = |id: &Option<ShortString>| id.as_ref().map(|id| id.as_str().as_bytes().to_vec());
    let (message, correlation) = (bytes(properties.message_id()), bytes(properties.correlation_id()));
    Ids::read(message.as_deref(), correlation.as_deref(), causation.as_deref().map(str::as_bytes))
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

/// The entries of `x-death`: the broker puts the newest one first. What is no entry ends them.
fn deaths(headers: &FieldTable) -> Box<[Death]> {
    let Some(AMQPValue::FieldArray(entries)) = headers.inner().get("x-death") else { return Box::default() };
    entries.as_slice().iter().map_while(death).collect()
}

fn death(entry: &AMQPValue) -> Option<Death> {
    let AMQPValue::FieldTable(entry) = entry else { return None };
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
