//! Properties of the conversions.

use std::time::Duration;

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
