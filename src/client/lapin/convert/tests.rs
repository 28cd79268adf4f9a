//! Properties of the conversions.

use ::lapin::types::FieldArray;
use proptest::prelude::*;

use super::*;

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
fn deaths_come_with_the_newest_first() {
    let found = deaths(&death_headers(vec![entry("new", 3), entry("old", 1)]));
    let unix_seconds = Some(1_700_000_000);
    let expected = [("new", 3), ("old", 1)].map(|(queue, count)| Death {
        queue: queue.to_owned(),
        reason: "rejected".to_owned(),
        count,
        unix_seconds,
    });
    assert_eq!(*found, expected);
}

#[test]
fn a_malformed_death_is_no_death() {
    assert!(deaths(&FieldTable::default()).is_empty());
    assert!(deaths(&death_headers(vec![])).is_empty());
    assert!(deaths(&death_headers(vec![AMQPValue::Boolean(true)])).is_empty());
    let mut headers = FieldTable::default();
    headers.insert("x-death".into(), AMQPValue::LongString("made up".into()));
    assert!(deaths(&headers).is_empty());
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
