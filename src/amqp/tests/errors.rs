//! Each error, provoked, and what it says.

use amq_protocol::types::{AMQPValue, FieldTable};

use super::convert::framed;
use super::strategies::nested;
use crate::amqp::*;

fn ack() -> Vec<u8> {
    let mut out = Vec::new();
    put_ack(&mut out, 1, 42, false);
    out
}

fn header(flags: u16, values: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24];
    payload.extend_from_slice(&flags.to_be_bytes());
    payload.extend_from_slice(values);
    payload
}

#[track_caller]
fn malformed<T: std::fmt::Debug>(result: Result<T, CodecError>, about: &str) {
    assert!(matches!(&result, Err(CodecError::Malformed { what }) if what.contains(about)), "{result:?}");
}

#[test]
fn another_version() {
    let offered = *b"AMQP\x03\x01\x00\x00";
    for len in 1..8 {
        assert_eq!(first_frame(&offered[..len], 0), Ok(None), "{len} bytes of a header");
    }
    assert_eq!(first_frame(&offered, 0), Err(CodecError::WrongVersion { offered }));
    let offered = PROTOCOL_HEADER;
    let error = first_frame(&[&offered[..], b"more"].concat(), 0).unwrap_err();
    assert_eq!(error, CodecError::WrongVersion { offered });
    assert_eq!(error.to_string(), "the peer offers protocol version 0.9.1 instead of AMQP 0-9-1");
}

#[test]
fn a_type_that_there_is_not() {
    for kind in (0..=255).filter(|kind| ![1, 2, 3, 8, b'A'].contains(kind)) {
        assert_eq!(first_frame(&[kind], 0), Err(CodecError::UnknownFrameType { kind }));
    }
    assert_eq!(first_frame(b"AMX", 0), Err(CodecError::UnknownFrameType { kind: b'A' }));
    assert_eq!(first_frame(b"HTTP/1.1 400", 0), Err(CodecError::UnknownFrameType { kind: b'H' }));
}

#[test]
fn a_frame_that_does_not_end() {
    for found in (0..=255).filter(|found| *found != FRAME_END) {
        let mut frame = ack();
        *frame.last_mut().unwrap() = found;
        assert_eq!(first_frame(&frame, 0), Err(CodecError::FrameEnd { found }));
    }
}

#[test]
fn a_frame_at_the_limit_and_one_above() {
    let frame = framed(FrameKind::Body, 1, &[0; 4088]);
    assert_eq!(first_frame(&frame, FRAME_MIN_SIZE).unwrap().map(|frame| frame.wire_len()), Some(4096));
    let frame = framed(FrameKind::Body, 1, &[0; 4089]);
    let too_large = Err(CodecError::FrameTooLarge { size: 4097, limit: 4096 });
    assert_eq!(first_frame(&frame, FRAME_MIN_SIZE), too_large);
    // From its header alone, before any of it has to be kept.
    assert_eq!(first_frame(&frame[..7], FRAME_MIN_SIZE), too_large);
    assert_eq!(first_frame(&frame[..6], FRAME_MIN_SIZE), Ok(None));
    assert_eq!(first_frame(&frame, 0).unwrap().map(|frame| frame.wire_len()), Some(4097));
    let largest = [3, 0, 1, 0xff, 0xff, 0xff, 0xff];
    let size = u64::from(u32::MAX) + 8;
    assert_eq!(first_frame(&largest, u32::MAX), Err(CodecError::FrameTooLarge { size, limit: u32::MAX }));
    assert_eq!(first_frame(&largest, 0), Ok(None));
}

#[test]
fn a_heartbeat_with_a_channel_or_a_payload() {
    malformed(first_frame(&[8, 0, 1, 0, 0, 0, 0], 0), "a heartbeat");
    malformed(first_frame(&[8, 0, 0, 0, 0, 0, 1], 0), "a heartbeat");
    assert!(first_frame(&[8, 0, 0, 0, 0, 0, 0, FRAME_END], 0).unwrap().is_some());
}

#[test]
fn a_method_that_is_cut_off() {
    for (name, frame) in super::samples::frames() {
        let payload = &frame[7..frame.len() - 1];
        for len in 0..payload.len() {
            let (read, what) = match frame[0] {
                1 => (Method::parse(&payload[..len]).map(drop), "a method"),
                2 => (ContentHeader::parse(&payload[..len]).map(drop), "a content header"),
                _ => continue,
            };
            let is_truncated = matches!(read, Err(CodecError::Truncated { .. }));
            assert!(is_truncated, "{what}: {name}, cut at {len} of {}: {read:?}", payload.len());
        }
    }
    let frame = ack();
    let error = Method::parse(&frame[7..15]).unwrap_err();
    assert_eq!(error, CodecError::Truncated { what: "basic.ack" });
    assert_eq!(method_id(&frame[7..10]), None);
}

#[test]
fn bytes_after_a_method() {
    for (_, frame) in super::samples::frames().into_iter().filter(|(_, frame)| frame[0] == 1) {
        let payload = [&frame[7..frame.len() - 1], &[0]].concat();
        malformed(Method::parse(&payload), "bytes after a method's arguments");
    }
}

#[test]
fn a_method_that_there_is_not() {
    for (class, method) in [(60, 61), (60, 255), (61, 60), (0, 0), (u16::MAX, u16::MAX)] {
        let payload = [class.to_be_bytes(), method.to_be_bytes()].concat();
        assert_eq!(Method::parse(&payload), Err(CodecError::UnknownMethod { class, method }));
    }
}

#[test]
fn names_that_are_no_text() {
    // channel.close with a reply text of one byte that is no UTF-8: decoded, so refused.
    malformed(Method::parse(&[0, 20, 0, 40, 1, 0x94, 1, 0xff, 0, 0, 0, 0]), "UTF-8");
    // basic.deliver with such a routing key: read in place, as it is.
    let payload = [0, 60, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0xff];
    let Ok(Method::Deliver(deliver)) = Method::parse(&payload) else { panic!("refused") };
    assert_eq!(deliver.routing_key, [0xff]);
    // basic.get-empty with a reserved text of any bytes.
    assert_eq!(Method::parse(&[0, 60, 0, 72, 1, 0xff]), Ok(Method::GetEmpty));
}

#[test]
fn a_content_header_that_is_none() {
    assert!(ContentHeader::parse(&header(0, &[])).is_ok());
    malformed(ContentHeader::parse(&header(0, &[0])), "bytes after the properties");
    malformed(ContentHeader::parse(&header(1, &[])), "a flag of no property");
    malformed(ContentHeader::parse(&header(2, &[])), "a flag of no property");
    let (mut class, mut weight) = (header(0, &[]), header(0, &[]));
    class[1] = 50;
    weight[3] = 1;
    malformed(ContentHeader::parse(&class), "another class");
    malformed(ContentHeader::parse(&weight), "a weight");
    let longer_than_the_frame = header(0x2000, &[0, 0, 0, 1]);
    assert!(matches!(ContentHeader::parse(&longer_than_the_frame), Err(CodecError::Truncated { .. })));
}

#[test]
fn headers_that_are_no_table() {
    let broken = header(0x2000, &[0, 0, 0, 3, 1, b'a', b'?']);
    let table = ContentHeader::parse(&broken).unwrap().headers().unwrap();
    malformed(table.validate(), "no known type");
    assert_eq!(table.get("a"), None);
    // An error is the last item, whatever follows it.
    assert_eq!(Table::from_entries(b"\x01a?\x01bV").iter().count(), 1);
    let mut entries = Vec::new();
    put_entry_bool(&mut entries, "first", true).unwrap();
    entries.extend_from_slice(b"\x03cut");
    let table = Table::from_entries(&entries);
    assert_eq!(table.get("first"), Some(Value::Bool(true)));
    assert_eq!(table.get("cut"), None);
    assert_eq!(table.validate(), Err(CodecError::Truncated { what: "a table" }));
    malformed(Table::parse(&[0, 0, 0, 0, 0]), "bytes after a table");
}

#[test]
fn a_body_that_is_too_long() {
    let mut state = ContentState::new();
    state.begin().unwrap();
    assert_eq!(state.header(10), Ok(false));
    assert_eq!(state.body(0), Ok(false));
    assert_eq!(state.body(6), Ok(false));
    assert_eq!(state.body(5), Err(CodecError::BodyTooLong { announced: 10, got: 11 }));
    assert_eq!(state.body(4), Ok(true));
    assert!(state.is_idle());
}

#[test]
fn a_frame_out_of_order() {
    let mut state = ContentState::new();
    assert!(matches!(state.header(1), Err(CodecError::Unexpected { .. })));
    assert!(matches!(state.body(1), Err(CodecError::Unexpected { .. })));
    assert_eq!(state.method(), Ok(()));
    state.begin().unwrap();
    for state in [state, {
        state.header(1).unwrap();
        state
    }] {
        assert!(!state.is_idle());
        assert!(matches!({ state }.begin(), Err(CodecError::Unexpected { .. })));
        assert!(matches!(state.method(), Err(CodecError::Unexpected { .. })));
    }
    assert!(matches!(state.header(1), Err(CodecError::Unexpected { .. })));
    assert_eq!(state.body(1), Ok(true));
    state.begin().unwrap();
    assert_eq!(state.header(0), Ok(true));
    assert!(state.is_idle());
}

#[test]
fn what_cannot_be_written_leaves_no_trace() {
    let long = "x".repeat(256);
    let mut out = b"before".to_vec();
    malformed(put_publish(&mut out, 1, &long, "", false), "exchange");
    malformed(put_publish(&mut out, 1, "", &long, false), "routing key");
    malformed(put_get(&mut out, 1, &long, false), "queue");
    let properties = PropertiesToWrite { priority: Some(1), app_id: Some(&long), ..Default::default() };
    malformed(put_properties(&mut out, &properties), "property");
    malformed(put_entry_long_string(&mut out, &long, b""), "name");
    malformed(put_entry_i64(&mut out, &long, 1), "name");
    malformed(put_entries(&mut out, &nested(33)), "nested too deeply");
    let mut short = FieldTable::default();
    short.insert("a".into(), AMQPValue::FieldArray(vec![AMQPValue::ShortString("b".into())].into()));
    malformed(put_entries(&mut out, &short), "no known type");
    let declare = amq_protocol::protocol::queue::Declare {
        queue: "q".into(),
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: short,
    };
    let declare = AMQPClass::Queue(amq_protocol::protocol::queue::AMQPMethod::Declare(declare));
    malformed(put_method(&mut out, 1, &declare), "no known type");
    assert_eq!(out, b"before");
    let longest = "x".repeat(255);
    put_publish(&mut out, 1, &longest, &longest, false).unwrap();
    assert_eq!(first_frame(&out[6..], 0).unwrap().map(|frame| frame.wire_len()), Some(8 + 4 + 2 + 256 + 256 + 1));
}
