//! Frames of each kind and each writer, by name: what tests mutate and what the fuzz target starts from.
//!
//! Stands on the public face of the room only: the fuzz target's seeds come from here.

use amq_protocol::protocol::{basic, channel, confirm, connection, exchange, queue};
use amq_protocol::types::{AMQPValue, DecimalValue};

use super::convert::{encoded_class, encoded_properties, encoded_table, framed};
use crate::amqp::{
    AMQPClass, FieldTable, FrameKind, PropertiesToWrite, put_ack, put_body, put_entry_bool, put_entry_i64,
    put_entry_long_string, put_get, put_header, put_heartbeat, put_nack, put_properties, put_publish, put_reject,
};

/// What RabbitMQ 4.0.5 sent in a conversation; see `recorded`.
pub const SERVER: &[u8] = include_bytes!("recorded/server.bin");
/// What its client sent, the protocol header first.
pub const CLIENT: &[u8] = include_bytes!("recorded/client.bin");

/// A table with a value of every type, nested too.
pub fn every_value() -> FieldTable {
    let flat = [
        ("t", AMQPValue::Boolean(true)),
        ("b", AMQPValue::ShortShortInt(-2)),
        ("B", AMQPValue::ShortShortUInt(200)),
        ("s", AMQPValue::ShortInt(-300)),
        ("u", AMQPValue::ShortUInt(60_000)),
        ("I", AMQPValue::LongInt(-70_000)),
        ("i", AMQPValue::LongUInt(4_000_000_000)),
        ("l", AMQPValue::LongLongInt(-5_000_000_000)),
        ("f", AMQPValue::Float(1.5)),
        ("d", AMQPValue::Double(-2.25)),
        ("D", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 314 })),
        ("S", AMQPValue::LongString("text".into())),
        ("T", AMQPValue::Timestamp(1_700_000_000)),
        ("x", AMQPValue::ByteArray(vec![0, 255, 206].into())),
        ("V", AMQPValue::Void),
    ];
    let mut table = FieldTable::default();
    for (name, value) in &flat {
        table.insert((*name).into(), value.clone());
    }
    let values: Vec<_> = flat.into_iter().map(|(_, value)| value).collect();
    let inner = AMQPValue::FieldTable(table.clone());
    table.insert("A".into(), AMQPValue::FieldArray([values, vec![inner.clone()]].concat().into()));
    table.insert("F".into(), inner);
    table
}

/// Headers as a queue leaves them on a dead letter.
fn death() -> FieldTable {
    let mut death = FieldTable::default();
    death.insert("count".into(), AMQPValue::LongLongInt(3));
    death.insert("reason".into(), AMQPValue::LongString("rejected".into()));
    death.insert("queue".into(), AMQPValue::LongString("orders".into()));
    death.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
    death.insert("routing-keys".into(), AMQPValue::FieldArray(vec![AMQPValue::LongString("order.new".into())].into()));
    let mut headers = FieldTable::default();
    headers.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
    headers.insert("x-first-death-reason".into(), AMQPValue::LongString("rejected".into()));
    headers
}

fn rare() -> Vec<(&'static str, u16, AMQPClass)> {
    use {basic::AMQPMethod as B, channel::AMQPMethod as C, connection::AMQPMethod as N};
    vec![
        (
            "connection-start",
            0,
            AMQPClass::Connection(N::Start(connection::Start {
                version_major: 0,
                version_minor: 9,
                server_properties: every_value(),
                mechanisms: "AMQPLAIN PLAIN".into(),
                locales: "en_US".into(),
            })),
        ),
        (
            "connection-tune",
            0,
            AMQPClass::Connection(N::Tune(connection::Tune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 })),
        ),
        ("connection-open", 0, AMQPClass::Connection(N::Open(connection::Open { virtual_host: "/".into() }))),
        (
            "connection-close",
            0,
            AMQPClass::Connection(N::Close(connection::Close {
                reply_code: 501,
                reply_text: "FRAME_ERROR".into(),
                class_id: 60,
                method_id: 40,
            })),
        ),
        (
            "connection-blocked",
            0,
            AMQPClass::Connection(N::Blocked(connection::Blocked { reason: "low on memory".into() })),
        ),
        ("channel-open", 1, AMQPClass::Channel(C::Open(channel::Open {}))),
        ("channel-flow", 1, AMQPClass::Channel(C::Flow(channel::Flow { active: false }))),
        (
            "exchange-bind",
            1,
            AMQPClass::Exchange(exchange::AMQPMethod::Bind(exchange::Bind {
                destination: "audit".into(),
                source: "orders".into(),
                routing_key: "order.#".into(),
                nowait: false,
                arguments: FieldTable::default(),
            })),
        ),
        (
            "queue-declare",
            1,
            AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
                queue: "orders".into(),
                passive: false,
                durable: true,
                exclusive: false,
                auto_delete: false,
                nowait: false,
                arguments: death(),
            })),
        ),
        (
            "queue-declare-ok",
            1,
            AMQPClass::Queue(queue::AMQPMethod::DeclareOk(queue::DeclareOk {
                queue: "orders".into(),
                message_count: 7,
                consumer_count: 1,
            })),
        ),
        ("confirm-select", 1, AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: false }))),
        ("basic-qos", 1, AMQPClass::Basic(B::Qos(basic::Qos { prefetch_count: 100, global: false }))),
        ("basic-cancel", 1, AMQPClass::Basic(B::Cancel(basic::Cancel { consumer_tag: "c".into(), nowait: true }))),
        (
            "basic-deliver",
            1,
            AMQPClass::Basic(B::Deliver(basic::Deliver {
                consumer_tag: "ctag-1".into(),
                delivery_tag: 42,
                redelivered: true,
                exchange: "orders".into(),
                routing_key: "order.new".into(),
            })),
        ),
        (
            "basic-get-ok",
            1,
            AMQPClass::Basic(B::GetOk(basic::GetOk {
                delivery_tag: 43,
                redelivered: false,
                exchange: String::new().into(),
                routing_key: "orders".into(),
                message_count: 9,
            })),
        ),
        ("basic-get-empty", 1, AMQPClass::Basic(B::GetEmpty(basic::GetEmpty {}))),
        (
            "basic-return",
            1,
            AMQPClass::Basic(B::Return(basic::Return {
                reply_code: 312,
                reply_text: "NO_ROUTE".into(),
                exchange: "orders".into(),
                routing_key: "nowhere".into(),
            })),
        ),
    ]
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// Single frames, each whole.
pub fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let all = PropertiesToWrite {
        content_type: Some("text/plain"),
        content_encoding: Some("gzip"),
        headers: None,
        delivery_mode: Some(2),
        priority: Some(5),
        correlation_id: Some("c-1"),
        reply_to: Some("answers"),
        expiration: Some("60000"),
        message_id: Some("m-1"),
        timestamp: Some(1_700_000_000),
        kind: Some("order"),
        user_id: Some("guest"),
        app_id: Some("shop"),
    };
    let mut entries = Vec::new();
    put_entry_long_string(&mut entries, "kind", b"order").unwrap();
    put_entry_i64(&mut entries, "x-delivery-count", 2).unwrap();
    put_entry_bool(&mut entries, "retry", true).unwrap();
    let properties = |properties: PropertiesToWrite<'_>| written(|out| put_properties(out, &properties).unwrap());
    let persistent = properties(PropertiesToWrite { delivery_mode: Some(2), ..Default::default() });
    let with_headers = properties(PropertiesToWrite { headers: Some(&entries), ..all });
    let dead = encoded_properties(&basic::AMQPProperties::default().with_headers(death()));
    let with_every = encoded_properties(&basic::AMQPProperties::default().with_headers(every_value()));

    let mut frames = vec![
        ("heartbeat", written(put_heartbeat)),
        ("basic-publish", written(|out| put_publish(out, 1, "orders", "order.new", true).unwrap())),
        ("basic-ack", written(|out| put_ack(out, 1, 42, true))),
        ("basic-nack", written(|out| put_nack(out, 1, 42, false, true))),
        ("basic-reject", written(|out| put_reject(out, 1, 42, true))),
        ("basic-get", written(|out| put_get(out, 1, "orders", true).unwrap())),
        ("header-empty", written(|out| put_header(out, 1, 0, &[0, 0]))),
        ("header-persistent", written(|out| put_header(out, 1, 24, &persistent))),
        ("header-all", written(|out| put_header(out, 1, 24, &with_headers))),
        ("header-death", written(|out| put_header(out, 1, 24, &dead))),
        ("header-every-value", written(|out| put_header(out, 1, 24, &with_every))),
        ("body", written(|out| put_body(out, 1, &[0x5a; 24], 0))),
    ];
    let rare = rare().into_iter();
    frames
        .extend(rare.map(|(name, channel, class)| (name, framed(FrameKind::Method, channel, &encoded_class(&class)))));
    frames
}

/// What the fuzz target starts from: frames, their payloads, a table, and several frames as they follow one another.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vec![
        ("recorded-server".to_owned(), SERVER.to_vec()),
        ("recorded-client".to_owned(), CLIENT[crate::amqp::PROTOCOL_HEADER.len()..].to_vec()),
        ("table".to_owned(), encoded_table(&every_value())),
        ("protocol-header".to_owned(), crate::amqp::PROTOCOL_HEADER.to_vec()),
    ];
    let frames = frames();
    let frame = |name| frames.iter().filter(move |(found, _)| *found == name).flat_map(|(_, bytes)| bytes.clone());
    let delivered = frame("basic-deliver").chain(frame("header-persistent")).chain(frame("body"));
    seeds.push(("delivery".to_owned(), delivered.chain(frame("basic-ack")).collect()));
    let empty = frame("basic-get-ok").chain(frame("header-empty"));
    seeds.push(("got-empty".to_owned(), empty.chain(frame("heartbeat")).collect()));
    let long = written(|out| put_body(out, 1, &[0x5a; 25], 20));
    seeds.push((
        "body-too-long".to_owned(),
        frame("basic-publish").chain(frame("header-persistent")).chain(long).collect(),
    ));
    for (name, bytes) in &frames {
        let payload = &bytes[7..bytes.len() - 1];
        if !payload.is_empty() {
            seeds.push((format!("payload-{name}"), payload.to_vec()));
        }
        seeds.push(((*name).to_owned(), bytes.clone()));
    }
    seeds
}
