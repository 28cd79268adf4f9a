//! Properties of the conversions.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::units::Span;

fn arguments(value: serde_json::Value) -> Arguments {
    serde_json::from_value(value).unwrap()
}

#[test]
fn free_values_become_the_broker_s_types() {
    let table = table(&arguments(json!({
        "x-max-length": 10, "ratio": 0.5, "flag": true, "text": "a", "none": null,
        "list": [1, "b"], "table": { "deep": [false] }, "huge": u64::MAX,
    })))
    .unwrap();
    insta::assert_debug_snapshot!(table);
}

#[test]
fn a_text_too_long_for_the_wire_is_refused() {
    let error = short(&"k".repeat(256), "routing key").unwrap_err();
    insta::assert_snapshot!(error, @"the routing key does not fit into AMQP: ShortString exceeds maximum length of 255 bytes (got 256)");
    assert!(short(&"k".repeat(255), "routing key").is_ok());
}

#[test]
fn stream_offsets_are_written_in_the_broker_s_words() {
    let offsets = [
        StreamOffset::First,
        StreamOffset::Last,
        StreamOffset::Next,
        StreamOffset::At(7),
        StreamOffset::Ago(Span(Duration::from_millis(90_500))),
        StreamOffset::Ago(Span(Duration::from_millis(5))),
    ];
    let written: Vec<_> = offsets.iter().map(|offset| consume_arguments(0, Some(offset))).collect();
    insta::assert_debug_snapshot!(written);
    assert_eq!(consume_arguments(0, None), FieldTable::default());
}

fn death_headers(entries: Vec<AMQPValue>) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("x-death".into(), AMQPValue::FieldArray(FieldArray::from(entries)));
    headers
}

fn entry(queue: &str, count: i64) -> AMQPValue {
    let mut entry = FieldTable::default();
    entry.insert("queue".into(), AMQPValue::LongString(queue.into()));
    entry.insert("reason".into(), AMQPValue::LongString("rejected".into()));
    entry.insert("count".into(), AMQPValue::LongLongInt(count));
    entry.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
    AMQPValue::FieldTable(entry)
}

#[test]
fn the_newest_death_is_the_first_entry() {
    let found = death(&death_headers(vec![entry("new", 3), entry("old", 1)]));
    let expected =
        Death { queue: "new".to_owned(), reason: "rejected".to_owned(), count: 3, unix_seconds: Some(1_700_000_000) };
    assert_eq!(found, Some(expected));
}

#[test]
fn a_malformed_death_is_none() {
    assert_eq!(death(&FieldTable::default()), None);
    assert_eq!(death(&death_headers(vec![])), None);
    assert_eq!(death(&death_headers(vec![AMQPValue::Boolean(true)])), None);
    let mut headers = FieldTable::default();
    headers.insert("x-death".into(), AMQPValue::LongString("made up".into()));
    assert_eq!(death(&headers), None);
}

proptest! {
    #[test]
    fn a_returned_message_names_its_sequence(
        run: u32, sequence in 0..=crate::stamp::MAX_SEQUENCE, rest: Vec<u8>, in_header: bool,
    ) {
        let stamp = Stamp { run, publisher: 1, attempt: 0, sequence, intended_us: 0, lag_us: 0 }.encode(&rest);
        let sent = Properties { stamp: in_header.then_some(stamp), ..Properties::default() };
        let body = if in_header { rest } else { [stamp.as_slice(), &rest].concat() };
        prop_assert_eq!(stamped_sequence(&properties(&sent, true).unwrap(), &body), Some(sequence));
    }

    #[test]
    fn a_body_without_a_stamp_names_no_sequence(body: Vec<u8>) {
        // A checksum of 32 bits: chance finds one in four thousand million.
        prop_assert_eq!(stamped_sequence(&BasicProperties::default(), &body), None);
    }
}
