//! Random values of `amq-protocol`'s types, for property tests.

use std::collections::BTreeMap;

use amq_protocol::protocol::basic::{self, AMQPMethod, AMQPProperties};
use amq_protocol::types::{AMQPValue, DecimalValue, FieldTable, ShortString};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::AMQPClass;
use super::super::rare::{Form, layout};

/// Any text that fits, the longest too.
pub(super) fn any_short() -> impl Strategy<Value = ShortString> {
    prop_oneof![
        8 => "\\PC{0,20}".prop_map(ShortString::from),
        1 => "[a-z]{255}".prop_map(ShortString::from),
    ]
}

fn flat_value() -> impl Strategy<Value = AMQPValue> {
    prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f32>().prop_map(AMQPValue::Float),
        any::<f64>().prop_map(AMQPValue::Double),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        Just(AMQPValue::Void),
    ]
}

fn any_value() -> impl Strategy<Value = AMQPValue> {
    flat_value().prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|values| AMQPValue::FieldArray(values.into())),
            btree_map(any_short(), inner, 0..6).prop_map(|entries| AMQPValue::FieldTable(entries.into())),
        ]
    })
}

/// Any table, up to five deep inside of it.
pub(super) fn any_table() -> impl Strategy<Value = FieldTable> {
    btree_map(any_short(), any_value(), 0..6).prop_map(FieldTable::from)
}

/// Any properties.
pub(super) fn any_properties() -> impl Strategy<Value = AMQPProperties> {
    let texts = vec(option::of(any_short()), 10);
    let octets = (option::of(any::<u8>()), option::of(any::<u8>()));
    (texts, option::of(any_table()), octets, option::of(any::<u64>())).prop_map(
        |(texts, headers, (delivery_mode, priority), timestamp)| {
            type With = fn(AMQPProperties, ShortString) -> AMQPProperties;
            let setters: [With; 10] = [
                AMQPProperties::with_content_type,
                AMQPProperties::with_content_encoding,
                AMQPProperties::with_correlation_id,
                AMQPProperties::with_reply_to,
                AMQPProperties::with_expiration,
                AMQPProperties::with_message_id,
                AMQPProperties::with_type,
                AMQPProperties::with_user_id,
                AMQPProperties::with_app_id,
                AMQPProperties::with_cluster_id,
            ];
            let mut properties = AMQPProperties::default();
            for (set, text) in setters.into_iter().zip(texts) {
                properties = text.map_or_else(|| properties.clone(), |text| set(properties.clone(), text));
            }
            if let Some(headers) = headers {
                properties = properties.with_headers(headers);
            }
            if let Some(mode) = delivery_mode {
                properties = properties.with_delivery_mode(mode);
            }
            if let Some(priority) = priority {
                properties = properties.with_priority(priority);
            }
            if let Some(timestamp) = timestamp {
                properties = properties.with_timestamp(timestamp);
            }
            properties
        },
    )
}

/// Any method of the hot paths.
pub(super) fn any_hot_method() -> impl Strategy<Value = AMQPClass> {
    let names = || (any_short(), any_short(), any_short());
    prop_oneof![
        (names(), any::<(bool, bool)>()).prop_map(|((exchange, routing_key, _), (mandatory, immediate))| {
            AMQPMethod::Publish(basic::Publish { exchange, routing_key, mandatory, immediate })
        }),
        (names(), any::<u64>(), any::<bool>()).prop_map(|(names, delivery_tag, redelivered)| {
            let (consumer_tag, exchange, routing_key) = names;
            AMQPMethod::Deliver(basic::Deliver { consumer_tag, delivery_tag, redelivered, exchange, routing_key })
        }),
        (names(), any::<(u64, bool, u32)>()).prop_map(|(names, (delivery_tag, redelivered, message_count))| {
            let (exchange, routing_key, _) = names;
            AMQPMethod::GetOk(basic::GetOk { delivery_tag, redelivered, exchange, routing_key, message_count })
        }),
        (names(), any::<u16>()).prop_map(|((reply_text, exchange, routing_key), reply_code)| {
            AMQPMethod::Return(basic::Return { reply_code, reply_text, exchange, routing_key })
        }),
        any::<(u64, bool)>()
            .prop_map(|(delivery_tag, multiple)| AMQPMethod::Ack(basic::Ack { delivery_tag, multiple })),
        any::<(u64, bool, bool)>().prop_map(|(delivery_tag, multiple, requeue)| {
            AMQPMethod::Nack(basic::Nack { delivery_tag, multiple, requeue })
        }),
        any::<(u64, bool)>()
            .prop_map(|(delivery_tag, requeue)| AMQPMethod::Reject(basic::Reject { delivery_tag, requeue })),
        Just(AMQPMethod::GetEmpty(basic::GetEmpty {})),
    ]
    .prop_map(AMQPClass::Basic)
}

/// All rare methods that have a layout.
pub(super) fn rare_methods() -> Vec<(u16, u16)> {
    let all = (0..200).flat_map(|class| (0..200).map(move |method| (class, method)));
    all.filter(|(class, method)| layout(*class, *method).is_some()).collect()
}

/// A payload of any rare method, its arguments drawn by its layout.
pub(super) fn any_rare_payload() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(rare_methods()).prop_flat_map(|(class, method)| {
        let forms = layout(class, method).unwrap();
        let arguments: Vec<_> = forms.iter().map(|form| any_argument(*form)).collect();
        arguments.prop_map(move |arguments| {
            let id = [class.to_be_bytes(), method.to_be_bytes()].concat();
            [id, arguments.concat()].concat()
        })
    })
}

fn any_argument(form: Form) -> BoxedStrategy<Vec<u8>> {
    match form {
        Form::Octet => vec(any::<u8>(), 1).boxed(),
        Form::Short => vec(any::<u8>(), 2).boxed(),
        Form::Long => vec(any::<u8>(), 4).boxed(),
        Form::ShortText => any_short()
            .prop_map(|text| {
                let bytes = text.as_str().as_bytes();
                [&[bytes.len() as u8], bytes].concat()
            })
            .boxed(),
        Form::LongText => vec(any::<u8>(), 0..40)
            .prop_map(|bytes| [&(bytes.len() as u32).to_be_bytes(), bytes.as_slice()].concat())
            .boxed(),
        Form::Table => any_table().prop_map(|table| super::convert::encoded_table(&table)).boxed(),
    }
}

/// A table with as many tables inside of one another, itself counted.
pub(super) fn nested(depth: usize) -> FieldTable {
    let innermost = FieldTable::default();
    (1..depth).fold(innermost, |inner, _| {
        FieldTable::from(BTreeMap::from([(ShortString::from("in"), AMQPValue::FieldTable(inner))]))
    })
}
