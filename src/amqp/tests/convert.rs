//! From the codec's types to those of `amq-protocol`, and the bytes that it writes for them.
//!
//! Stands on the public face of the room only: the fuzz target uses it too.

use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::basic::{self, AMQPMethod, AMQPProperties, gen_properties};
use amq_protocol::protocol::gen_class;
use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::{AMQPValue, DecimalValue, ShortString};

use crate::amqp::{
    AMQPClass, Array, ContentHeader, FRAME_END, FRAME_OVERHEAD, FieldTable, FrameKind, Method, Table, Value,
};

/// The bytes as text, where they are UTF-8.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn short(bytes: &[u8]) -> Option<ShortString> {
    text(bytes).map(ShortString::from)
}

/// The oracle's form of a method; none where a text is not UTF-8.
pub fn class_of(method: &Method<'_>) -> Option<AMQPClass> {
    Some(AMQPClass::Basic(match method {
        Method::Publish(publish) => AMQPMethod::Publish(basic::Publish {
            exchange: short(publish.exchange)?,
            routing_key: short(publish.routing_key)?,
            mandatory: publish.mandatory,
            immediate: publish.immediate,
        }),
        Method::Deliver(deliver) => AMQPMethod::Deliver(basic::Deliver {
            consumer_tag: short(deliver.consumer_tag)?,
            delivery_tag: deliver.tag,
            redelivered: deliver.redelivered,
            exchange: short(deliver.exchange)?,
            routing_key: short(deliver.routing_key)?,
        }),
        Method::GetOk(get) => AMQPMethod::GetOk(basic::GetOk {
            delivery_tag: get.tag,
            redelivered: get.redelivered,
            exchange: short(get.exchange)?,
            routing_key: short(get.routing_key)?,
            message_count: get.message_count,
        }),
        Method::GetEmpty => AMQPMethod::GetEmpty(basic::GetEmpty {}),
        Method::Return(returned) => AMQPMethod::Return(basic::Return {
            reply_code: returned.code,
            reply_text: short(returned.reason)?,
            exchange: short(returned.exchange)?,
            routing_key: short(returned.routing_key)?,
        }),
        Method::Ack { tag, multiple } => AMQPMethod::Ack(basic::Ack { delivery_tag: *tag, multiple: *multiple }),
        Method::Nack { tag, multiple, requeue } => {
            AMQPMethod::Nack(basic::Nack { delivery_tag: *tag, multiple: *multiple, requeue: *requeue })
        }
        Method::Reject { tag, requeue } => AMQPMethod::Reject(basic::Reject { delivery_tag: *tag, requeue: *requeue }),
        Method::Other(class) => return Some((**class).clone()),
    }))
}

/// The oracle's form of the properties; none where a text is not UTF-8, or a table is malformed.
pub fn properties_of(header: &ContentHeader<'_>) -> Option<AMQPProperties> {
    let mut properties = AMQPProperties::default();
    macro_rules! set {
        ($($property:ident => $with:ident, $convert:expr);* $(;)?) => {
            $(if let Some(value) = header.$property() {
                properties = properties.$with($convert(value)?);
            })*
        };
    }
    set! {
        content_type => with_content_type, short;
        content_encoding => with_content_encoding, short;
        headers => with_headers, |table: Table<'_>| field_table(&table);
        delivery_mode => with_delivery_mode, Some;
        priority => with_priority, Some;
        correlation_id => with_correlation_id, short;
        reply_to => with_reply_to, short;
        expiration => with_expiration, short;
        message_id => with_message_id, short;
        timestamp => with_timestamp, Some;
        kind => with_type, short;
        user_id => with_user_id, short;
        app_id => with_app_id, short;
        cluster_id => with_cluster_id, short;
    }
    Some(properties)
}

/// The oracle's form of a table; none where a name is not UTF-8, or it is malformed.
pub fn field_table(table: &Table<'_>) -> Option<FieldTable> {
    let mut converted = FieldTable::default();
    for entry in table.iter() {
        let (name, value) = entry.ok()?;
        converted.insert(short(name)?, field_value(value)?);
    }
    Some(converted)
}

fn field_array(array: &Array<'_>) -> Option<AMQPValue> {
    let values: Option<Vec<_>> = array.iter().map(|value| field_value(value.ok()?)).collect();
    values.map(|values| AMQPValue::FieldArray(values.into()))
}

/// The oracle's form of a value; none where [`field_table`] has none.
pub fn field_value(value: Value<'_>) -> Option<AMQPValue> {
    Some(match value {
        Value::Bool(value) => AMQPValue::Boolean(value),
        Value::I8(value) => AMQPValue::ShortShortInt(value),
        Value::U8(value) => AMQPValue::ShortShortUInt(value),
        Value::I16(value) => AMQPValue::ShortInt(value),
        Value::U16(value) => AMQPValue::ShortUInt(value),
        Value::I32(value) => AMQPValue::LongInt(value),
        Value::U32(value) => AMQPValue::LongUInt(value),
        Value::I64(value) => AMQPValue::LongLongInt(value),
        Value::F32(value) => AMQPValue::Float(value),
        Value::F64(value) => AMQPValue::Double(value),
        Value::Decimal { scale, value } => AMQPValue::DecimalValue(DecimalValue { scale, value }),
        Value::LongString(value) => AMQPValue::LongString(value.to_vec().into()),
        Value::Bytes(value) => AMQPValue::ByteArray(value.into()),
        Value::Array(array) => field_array(&array)?,
        Value::Timestamp(value) => AMQPValue::Timestamp(value),
        Value::Table(table) => AMQPValue::FieldTable(field_table(&table)?),
        Value::Void => AMQPValue::Void,
    })
}

// What the oracle writes; also the way to compare, for what is not a number is not equal to itself.

/// The oracle's bytes of a method frame's payload.
pub fn encoded_class(class: &AMQPClass) -> Vec<u8> {
    gen_class(class)(WriteContext::from(Vec::new())).unwrap().into_inner().0
}

/// The oracle's flags and values of properties.
pub fn encoded_properties(properties: &AMQPProperties) -> Vec<u8> {
    gen_properties(properties)(WriteContext::from(Vec::new())).unwrap().into_inner().0
}

/// The oracle's bytes of a table, its length before them.
pub fn encoded_table(table: &FieldTable) -> Vec<u8> {
    gen_field_table(table)(WriteContext::from(Vec::new())).unwrap().into_inner().0
}

/// A whole frame around a payload, with nothing checked.
pub fn framed(kind: FrameKind, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + FRAME_OVERHEAD);
    frame.push(kind as u8);
    frame.extend_from_slice(&channel.to_be_bytes());
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    frame.extend_from_slice(payload);
    frame.push(FRAME_END);
    frame
}
