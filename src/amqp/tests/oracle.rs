//! The codec held against `amq-protocol`, in both directions, over any bytes. Property tests and the fuzz target both
//! end here, so this file stands on the public face of the room only.
//!
//! The two may differ where this says so, and nowhere else:
//! - `amq-protocol` reads names and texts as UTF-8 and refuses others; the hot paths keep bytes, or skip them where they
//!   are reserved. Inside of rare methods, which it decodes, its refusal stands.
//! - It takes protocol headers of AMQP 0 only; a broker that speaks AMQP 1.0 answers with one of AMQP 3.
//! - It knows no limits: of a frame, and of how deeply tables nest.
//! - It takes a heartbeat with a channel or a payload, a content header of any class and weight, and flags of no
//!   property. The specification forbids them all.

use amq_protocol::frame::parsing::parse_content_header;
use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, parse_frame};
use amq_protocol::protocol::basic::AMQPMethod;
use amq_protocol::protocol::parse_class;
use amq_protocol::types::parsing::parse_field_table;

use super::convert::{class_of, encoded_class, encoded_properties, encoded_table, field_table, properties_of, text};
use crate::amqp::{
    AMQPClass, CodecError, ContentHeader, ContentState, FRAME_MIN_SIZE, Frame, FrameKind, Method, PropertiesToWrite,
    Table, Value, first_frame, put_ack, put_body, put_entries, put_entry_bool, put_entry_bytes, put_entry_f64,
    put_entry_i32, put_entry_i64, put_entry_long_string, put_entry_table, put_entry_timestamp, put_get, put_header,
    put_heartbeat, put_method, put_nack, put_properties, put_publish, put_reject,
};

/// Holds all readers and writers against the oracle, with `bytes` as a stream of frames and as the payload of each kind.
pub fn check(bytes: &[u8]) {
    check_stream(bytes, FRAME_MIN_SIZE);
    check_stream(bytes, 0);
    check_method(bytes);
    check_header(bytes);
    check_table(bytes);
}

/// Reads frames until one is refused or not whole.
fn check_stream(mut bytes: &[u8], frame_max: u32) {
    // Channels are as good as one another, so a few states stand for all of them.
    let mut contents = [Content::default(); 4];
    loop {
        let frame = match first_frame(bytes, frame_max) {
            Ok(Some(frame)) => frame,
            Ok(None) if bytes.starts_with(b"AMQP") => return,
            Ok(None) => {
                let theirs = parse_frame(bytes);
                assert!(theirs.is_err_and(|error| error.is_incomplete()), "more bytes are needed by us alone");
                return;
            }
            Err(CodecError::UnknownFrameType { .. } | CodecError::FrameEnd { .. }) => {
                let theirs = parse_frame(bytes);
                assert!(theirs.is_err_and(|error| !error.is_incomplete()), "refused by us alone");
                return;
            }
            // A limit, a heartbeat, a protocol header: where the two differ.
            Err(_) => return,
        };
        let agreed = match frame.kind {
            FrameKind::Method => check_method(frame.payload),
            FrameKind::Header => check_header(frame.payload),
            FrameKind::Body | FrameKind::Heartbeat => Agreed::Read,
        };
        match agreed {
            Agreed::Read => {
                let (rest, theirs) = parse_frame(bytes).unwrap();
                assert_eq!(rest.len(), bytes.len() - frame.wire_len());
                check_frame(&frame, &theirs);
            }
            Agreed::Refused => assert!(parse_frame(bytes).is_err(), "refused by us alone: {frame:?}"),
            Agreed::Differed => {}
        }
        contents[usize::from(frame.channel % 4)].follow(&frame);
        bytes = &bytes[frame.wire_len()..];
    }
}

/// What the codec and the oracle said to a payload.
enum Agreed {
    /// Both read it, as the same.
    Read,
    /// Both refused it.
    Refused,
    /// They differ, as they may.
    Differed,
}

/// Whole frames of a kind that needs no reading are written the same again; the others agree on kind and channel.
fn check_frame(frame: &Frame<'_>, theirs: &AMQPFrame) {
    assert_eq!(frame.channel, theirs.channel_id());
    let mut out = Vec::new();
    match (frame.kind, theirs) {
        (FrameKind::Body, AMQPFrame::Body(_, payload)) => {
            assert_eq!(frame.payload, payload);
            put_body(&mut out, frame.channel, frame.payload, 0);
            let written = first_frame(&out, 0).unwrap();
            assert_eq!(written, (!payload.is_empty()).then_some(*frame));
        }
        (FrameKind::Heartbeat, AMQPFrame::Heartbeat) => {
            put_heartbeat(&mut out);
            assert_eq!(first_frame(&out, 0), Ok(Some(*frame)));
        }
        (FrameKind::Method, AMQPFrame::Method(..)) | (FrameKind::Header, AMQPFrame::Header(..)) => {}
        _ => panic!("{frame:?} is {theirs:?} to the oracle"),
    }
}

/// A content's state beside a model of it: bytes announced, and bytes so far.
#[derive(Clone, Copy, Default)]
struct Content {
    state: ContentState,
    model: Option<Option<(u64, u64)>>,
}

impl Content {
    fn follow(&mut self, frame: &Frame<'_>) {
        match frame.kind {
            FrameKind::Method => {
                let Ok(method) = Method::parse(frame.payload) else { return };
                let is_allowed = self.model.is_none();
                if method.carries_content() {
                    assert_eq!(self.state.begin().is_ok(), is_allowed);
                    self.model = self.model.or(Some(None));
                } else {
                    assert_eq!(self.state.method().is_ok(), is_allowed);
                }
            }
            FrameKind::Header => {
                let Ok(header) = ContentHeader::parse(frame.payload) else { return };
                let answer = self.state.header(header.body_size);
                if self.model == Some(None) {
                    assert_eq!(answer, Ok(header.body_size == 0));
                    self.model = (header.body_size > 0).then_some(Some((header.body_size, 0)));
                } else {
                    assert!(matches!(answer, Err(CodecError::Unexpected { .. })));
                }
            }
            FrameKind::Body => {
                let answer = self.state.body(frame.payload.len());
                if let Some(Some((announced, got))) = self.model {
                    let got = got + frame.payload.len() as u64;
                    if got > announced {
                        assert_eq!(answer, Err(CodecError::BodyTooLong { announced, got }));
                    } else {
                        assert_eq!(answer, Ok(got == announced));
                        self.model = (got < announced).then_some(Some((announced, got)));
                    }
                } else {
                    assert!(matches!(answer, Err(CodecError::Unexpected { .. })));
                }
            }
            FrameKind::Heartbeat => {}
        }
        assert_eq!(self.state.is_idle(), self.model.is_none());
        assert_eq!(self.state.left(), self.model.flatten().map(|(announced, got)| announced - got));
    }
}

fn check_method(payload: &[u8]) -> Agreed {
    let ours = Method::parse(payload);
    if is_too_deep(ours.as_ref().err()) {
        return Agreed::Differed;
    }
    let theirs = parse_class(payload).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, class)| class);
    let ours_class = ours.as_ref().ok().and_then(class_of);
    match (&ours_class, &theirs) {
        (Some(ours), Some(theirs)) => assert_eq!(encoded_class(ours), encoded_class(theirs), "{ours:?}, {theirs:?}"),
        (Some(_), None) if matches!(ours, Ok(Method::GetEmpty)) && text(&payload[5..]).is_none() => {
            return Agreed::Differed;
        }
        // Bytes that are no text: read by us alone, on the hot paths.
        (None, None) => return if ours.is_ok() { Agreed::Differed } else { Agreed::Refused },
        _ => panic!("{ours:?} is {theirs:?} to the oracle"),
    }
    if let (Ok(method), Some(class)) = (&ours, &theirs) {
        check_written_method(method, class);
    }
    Agreed::Read
}

/// What we write for a method is what the oracle writes for it, and reads as the same again.
fn check_written_method(method: &Method<'_>, class: &AMQPClass) {
    let mut through_oracle = Vec::new();
    put_method(&mut through_oracle, 7, class).unwrap();
    let frame = first_frame(&through_oracle, 0).unwrap().unwrap();
    assert_eq!((frame.kind, frame.channel, frame.wire_len()), (FrameKind::Method, 7, through_oracle.len()));
    assert_eq!(frame.payload, encoded_class(class));
    let again = Method::parse(frame.payload).unwrap();
    assert_eq!(class_of(&again).map(|class| encoded_class(&class)), Some(frame.payload.to_vec()));
    if !matches!(method, Method::Other(_)) {
        assert_eq!(&again, method);
    }

    let mut out = Vec::new();
    match method {
        Method::Publish(publish) if !publish.immediate => {
            let (exchange, key) = (text(publish.exchange).unwrap(), text(publish.routing_key).unwrap());
            put_publish(&mut out, 7, exchange, key, publish.mandatory).unwrap();
        }
        Method::Ack { tag, multiple } => put_ack(&mut out, 7, *tag, *multiple),
        Method::Nack { tag, multiple, requeue } => put_nack(&mut out, 7, *tag, *multiple, *requeue),
        Method::Reject { tag, requeue } => put_reject(&mut out, 7, *tag, *requeue),
        Method::Other(class) => match &**class {
            AMQPClass::Basic(AMQPMethod::Get(get)) => put_get(&mut out, 7, get.queue.as_str(), get.no_ack).unwrap(),
            _ => return,
        },
        _ => return,
    }
    assert_eq!(out, through_oracle);
}

fn check_header(payload: &[u8]) -> Agreed {
    let theirs = |payload| parse_content_header(payload).ok().filter(|(rest, _): &(&[u8], _)| rest.is_empty());
    let header = match ContentHeader::parse(payload) {
        Ok(header) => header,
        Err(CodecError::Truncated { .. } | CodecError::Malformed { what: "bytes after the properties" }) => {
            assert!(theirs(payload).is_none(), "refused by us alone");
            return Agreed::Refused;
        }
        // A class, a weight, a flag: where the two differ.
        Err(_) => return Agreed::Differed,
    };
    check_written_header(&header, payload);
    let headers = header.headers().map(|table| table.validate());
    if is_too_deep(headers.as_ref().and_then(|verdict| verdict.as_ref().err())) {
        return Agreed::Differed;
    }
    let theirs = theirs(payload).map(|(_, header)| header);
    let ours = properties_of(&header).map(|properties| AMQPContentHeader {
        class_id: header.class,
        body_size: header.body_size,
        properties,
    });
    match (&ours, &theirs) {
        (Some(ours), Some(theirs)) => {
            assert_eq!((ours.class_id, ours.body_size), (theirs.class_id, theirs.body_size));
            assert_eq!(encoded_properties(&ours.properties), encoded_properties(&theirs.properties));
        }
        (None, None) => return Agreed::Differed,
        _ => panic!("{header:?} is {theirs:?} to the oracle"),
    }
    Agreed::Read
}

/// What was read is written the same again.
fn check_written_header(header: &ContentHeader<'_>, payload: &[u8]) {
    let mut same = Vec::new();
    header.put_properties_again(&mut same);
    let mut frame = Vec::new();
    put_header(&mut frame, 7, header.body_size, &same);
    assert_eq!(first_frame(&frame, 0), Ok(Some(Frame { kind: FrameKind::Header, channel: 7, payload })));

    let texts = [
        header.content_type(),
        header.content_encoding(),
        header.correlation_id(),
        header.reply_to(),
        header.expiration(),
        header.message_id(),
        header.kind(),
        header.user_id(),
        header.app_id(),
    ];
    if header.cluster_id().is_some() || texts.iter().flatten().any(|bytes| text(bytes).is_none()) {
        return;
    }
    let [content_type, content_encoding, correlation_id, reply_to, expiration, message_id, kind, user_id, app_id] =
        texts.map(|bytes| bytes.and_then(text));
    let properties = PropertiesToWrite {
        content_type,
        content_encoding,
        headers: header.headers().map(|table| table.entries()),
        delivery_mode: header.delivery_mode(),
        priority: header.priority(),
        correlation_id,
        reply_to,
        expiration,
        message_id,
        timestamp: header.timestamp(),
        kind,
        user_id,
        app_id,
    };
    let mut out = Vec::new();
    put_properties(&mut out, &properties).unwrap();
    assert_eq!(out, same);
}

fn check_table(bytes: &[u8]) {
    let ours = Table::parse(bytes).and_then(|table| table.validate().map(|()| table));
    if is_too_deep(ours.as_ref().err()) {
        return;
    }
    let theirs = parse_field_table(bytes).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, table)| table);
    let ours_table = ours.as_ref().ok().and_then(field_table);
    match (&ours_table, &theirs) {
        (Some(ours), Some(theirs)) => {
            let encoded = encoded_table(theirs);
            assert_eq!(encoded_table(ours), encoded);
            let mut out = Vec::new();
            put_entries(&mut out, theirs).unwrap();
            assert_eq!(out, &encoded[4..]);
        }
        (None, None) => {}
        _ => panic!("{ours:?} is {theirs:?} to the oracle"),
    }
    for (name, value) in ours.iter().flat_map(Table::iter).flatten() {
        if let Some(name) = text(name) {
            check_entry(name, value);
        }
    }
}

/// A value for which there is a writer reads as the same again.
fn check_entry(name: &str, value: Value<'_>) {
    let mut out = Vec::new();
    match value {
        Value::Bool(value) => put_entry_bool(&mut out, name, value),
        Value::I32(value) => put_entry_i32(&mut out, name, value),
        Value::I64(value) => put_entry_i64(&mut out, name, value),
        Value::F64(value) => put_entry_f64(&mut out, name, value),
        Value::LongString(value) => put_entry_long_string(&mut out, name, value),
        Value::Bytes(value) => put_entry_bytes(&mut out, name, value),
        Value::Timestamp(value) => put_entry_timestamp(&mut out, name, value),
        Value::Table(value) => put_entry_table(&mut out, name, value.entries()),
        _ => return,
    }
    .unwrap();
    let written = Table::from_entries(&out);
    // By their text, for what is not a number is not equal to itself.
    assert_eq!(format!("{:?}", written.get(name)), format!("{:?}", Some(value)));
    assert_eq!(written.iter().count(), 1);
}

fn is_too_deep(error: Option<&CodecError>) -> bool {
    matches!(error, Some(CodecError::Malformed { what: "a table nested too deeply" }))
}
