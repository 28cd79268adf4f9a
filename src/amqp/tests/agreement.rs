//! Readers and writers against `amq-protocol`: on what it writes, on what we write, and on both, mutated.

use std::collections::BTreeMap;

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, parse_frame};
use amq_protocol::protocol::parse_class;
use proptest::collection::vec;
use proptest::prelude::*;

use super::convert::{
    class_of, encoded_class, encoded_properties, encoded_table, field_table, field_value, framed, properties_of,
};
use super::oracle::check;
use super::samples::{frames, seeds};
use super::strategies::{any_hot_method, any_properties, any_rare_payload, any_table, rare_methods};
use crate::amqp::*;

/// A method frame's payload, read by us.
fn read(payload: &[u8]) -> Method<'_> {
    Method::parse(payload).unwrap()
}

proptest! {
    #[test]
    fn hot_methods_are_read_as_the_oracle_wrote_them(class in any_hot_method()) {
        let payload = encoded_class(&class);
        let method = read(&payload);
        prop_assert!(!matches!(method, Method::Other(_)), "{:?} was not read in place", method);
        prop_assert_eq!(class_of(&method), Some(class));
        check(&framed(FrameKind::Method, 1, &payload));
    }

    #[test]
    fn rare_methods_are_read_as_the_oracle_reads_them(payload in any_rare_payload()) {
        let (rest, theirs) = parse_class(payload.as_slice()).unwrap();
        prop_assert!(rest.is_empty());
        let Method::Other(ours) = read(&payload) else { panic!("a rare method is read in place") };
        prop_assert_eq!(encoded_class(&ours), encoded_class(&theirs));
        check(&framed(FrameKind::Method, 1, &payload));
    }

    #[test]
    fn publishes_are_written_as_the_oracle_reads_them(
        exchange in "\\PC{0,40}", key in "\\PC{0,40}", channel: u16, mandatory: bool
    ) {
        let mut out = Vec::new();
        put_publish(&mut out, channel, &exchange, &key, mandatory).unwrap();
        let (rest, frame) = parse_frame(out.as_slice()).unwrap();
        prop_assert!(rest.is_empty());
        let expected = amq_protocol::protocol::basic::Publish {
            exchange: exchange.into(), routing_key: key.into(), mandatory, immediate: false,
        };
        let expected = AMQPClass::Basic(amq_protocol::protocol::basic::AMQPMethod::Publish(expected));
        prop_assert_eq!(frame, AMQPFrame::Method(channel, expected));
    }

    #[test]
    fn settlements_are_written_as_the_oracle_reads_them(tag: u64, channel: u16, first: bool, second: bool) {
        use amq_protocol::protocol::basic::{AMQPMethod, Ack, Nack, Reject};
        let mut out = Vec::new();
        put_ack(&mut out, channel, tag, first);
        put_nack(&mut out, channel, tag, first, second);
        put_reject(&mut out, channel, tag, second);
        let expected = [
            AMQPMethod::Ack(Ack { delivery_tag: tag, multiple: first }),
            AMQPMethod::Nack(Nack { delivery_tag: tag, multiple: first, requeue: second }),
            AMQPMethod::Reject(Reject { delivery_tag: tag, requeue: second }),
        ];
        let mut rest = out.as_slice();
        for method in expected {
            let (after, frame) = parse_frame(rest).unwrap();
            prop_assert_eq!(frame, AMQPFrame::Method(channel, AMQPClass::Basic(method)));
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn properties_are_read_as_the_oracle_wrote_them(properties in any_properties(), body_size: u64) {
        let mut out = Vec::new();
        put_header(&mut out, 3, body_size, &encoded_properties(&properties));
        let (_, theirs) = parse_frame(out.as_slice()).unwrap();
        let expected = AMQPContentHeader { class_id: 60, body_size, properties };
        prop_assert_eq!(format!("{:?}", theirs), format!("{:?}", AMQPFrame::Header(3, expected.clone())));
        let frame = first_frame(&out, 0).unwrap().unwrap();
        let header = ContentHeader::parse(frame.payload).unwrap();
        prop_assert_eq!(header.body_size, body_size);
        let ours = properties_of(&header).unwrap();
        prop_assert_eq!(encoded_properties(&ours), encoded_properties(&expected.properties));
        check(&out);
    }

    #[test]
    fn tables_are_read_as_the_oracle_wrote_them(written in any_table()) {
        let bytes = encoded_table(&written);
        let table = Table::parse(&bytes).unwrap();
        prop_assert_eq!(encoded_table(&field_table(&table).unwrap()), bytes.clone());
        let mut entries = Vec::new();
        put_entries(&mut entries, &written).unwrap();
        prop_assert_eq!(entries.as_slice(), table.entries());
        for (name, value) in &written {
            let found = table.get(name.as_str()).and_then(field_value);
            let alone = |value| encoded_table(&BTreeMap::from([(name.clone(), value)]).into());
            prop_assert_eq!(found.map(alone), Some(alone(value.clone())));
        }
        check(&bytes);
    }

    #[test]
    fn bodies_are_split_and_joined(body in vec(any::<u8>(), 0..200), frame_max in prop_oneof![Just(0), 9u32..64]) {
        let mut out = Vec::new();
        put_body(&mut out, 1, &body, frame_max);
        let (mut rest, mut joined) = (out.as_slice(), Vec::new());
        let mut state = ContentState::new();
        state.begin().unwrap();
        let mut is_complete = state.header(body.len() as u64).unwrap();
        while let Some(frame) = first_frame(rest, frame_max).unwrap() {
            prop_assert!(!is_complete, "frames after a whole body");
            prop_assert_eq!((frame.kind, frame.channel), (FrameKind::Body, 1));
            joined.extend_from_slice(frame.payload);
            is_complete = state.body(frame.payload.len()).unwrap();
            rest = &rest[frame.wire_len()..];
            // As few frames as can be: all but the last are full.
            prop_assert!(rest.is_empty() || frame.wire_len() == frame_max as usize);
        }
        prop_assert!(is_complete && rest.is_empty());
        prop_assert_eq!(joined, body);
    }

    #[test]
    fn a_part_of_a_frame_asks_for_more(class in any_hot_method(), at: prop::sample::Index) {
        let frame = framed(FrameKind::Method, 1, &encoded_class(&class));
        prop_assert_eq!(first_frame(&frame[..at.index(frame.len())], 0), Ok(None));
    }

    #[test]
    fn random_bytes_are_never_more_than_an_error(bytes in vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    /// Random bytes rarely get beyond a frame's first bytes: here they are its payload.
    #[test]
    fn random_payloads_are_never_more_than_an_error(
        kind in prop_oneof![Just(FrameKind::Method), Just(FrameKind::Header)],
        method in prop::sample::select(rare_methods()),
        payload in vec(any::<u8>(), 0..100),
    ) {
        let id = [method.0.to_be_bytes(), method.1.to_be_bytes()].concat();
        check(&framed(kind, 1, &payload));
        check(&framed(FrameKind::Method, 1, &[id, payload].concat()));
    }

    #[test]
    fn mutated_frames_are_never_more_than_an_error(
        sample in prop::sample::select(seeds()),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = sample.1;
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check(&bytes);
    }
}

#[test]
fn every_sample_is_whole_and_read() {
    for (name, bytes) in frames() {
        let frame = first_frame(&bytes, FRAME_MIN_SIZE).unwrap().unwrap_or_else(|| panic!("{name} is cut off"));
        assert_eq!(frame.wire_len(), bytes.len(), "{name}");
        match frame.kind {
            FrameKind::Method => drop(read(frame.payload)),
            FrameKind::Header => assert_eq!(ContentHeader::parse(frame.payload).map(|header| header.class), Ok(60)),
            FrameKind::Body => assert_eq!(frame.payload, [0x5a; 24]),
            FrameKind::Heartbeat => assert!(frame.payload.is_empty()),
        }
    }
    for (_, bytes) in seeds() {
        check(&bytes);
    }
}

#[test]
fn every_prefix_of_every_sample_asks_for_more() {
    for (name, bytes) in frames() {
        for len in 0..bytes.len() {
            assert_eq!(first_frame(&bytes[..len], FRAME_MIN_SIZE), Ok(None), "{name}, cut at {len}");
        }
    }
}

#[test]
fn every_single_byte_may_change() {
    // The recorded conversation is long, and of the same kinds of frames.
    for (_, bytes) in seeds().into_iter().filter(|(_, bytes)| bytes.len() < 1000) {
        for at in 0..bytes.len() {
            let was = bytes[at];
            let mut mutated = bytes.clone();
            for value in [was ^ 1, was ^ 2, was ^ 0x80, was.wrapping_add(1), was.wrapping_sub(1), 0, 0xff, 0xce] {
                mutated[at] = value;
                check(&mutated);
            }
        }
    }
}

#[test]
fn both_know_the_same_methods() {
    let mut known = 0;
    for (class, method) in (0..=255).flat_map(|class| (0..=255).map(move |method| (class, method))) {
        let id = [u16::to_be_bytes(class), u16::to_be_bytes(method)].concat();
        // Zeros are arguments to all of them: numbers, and empty texts and tables.
        let is_theirs = parse_class([id.as_slice(), &[0; 64]].concat().as_slice()).is_ok();
        let is_ours = Method::parse(&id) != Err(CodecError::UnknownMethod { class, method });
        assert_eq!(is_ours, is_theirs, "{class}, {method}");
        assert_eq!(method_id(&id), Some((class, method)));
        known += usize::from(is_ours);
    }
    assert_eq!(known, 66);
}

#[test]
fn both_know_the_same_types() {
    let mut known = Vec::new();
    for kind in 0..=255 {
        // One entry, its value cut to each length that a value of all zeros can have.
        let tables = (0..=8).map(|len| {
            let mut table = vec![0, 0, 0, 2 + len as u8, 0, kind];
            table.resize(6 + len, 0);
            table
        });
        let read = tables.filter(|table| {
            check(table);
            Table::parse(table).and_then(|table| table.validate()).is_ok()
        });
        let read = read.count();
        assert!(read <= 1, "{kind} is read at several lengths");
        known.extend((read == 1).then_some(char::from(kind)));
    }
    assert_eq!(known.into_iter().collect::<String>(), "ABDFILSTUVbdfilstux");
    for (kind, value) in [(b'U', Value::I16(-2)), (b's', Value::I16(-2)), (b'u', Value::U16(0xfffe))] {
        let entries = [1, b'n', kind, 0xff, 0xfe];
        assert_eq!(Table::from_entries(&entries).get("n"), Some(value));
        check(&[&[0, 0, 0, 5], entries.as_slice()].concat());
    }
    for kind in [b'l', b'L'] {
        let entries = [1, b'n', kind, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(Table::from_entries(&entries).get("n"), Some(Value::I64(-2)));
        check(&[&[0, 0, 0, 11], entries.as_slice()].concat());
    }
}
