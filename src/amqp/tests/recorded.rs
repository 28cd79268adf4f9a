//! A conversation with RabbitMQ 4.0.5 as it was on the wire: a login, a topology, publishes with confirms and a return,
//! deliveries and gets, settlements of each kind, dead letters, and a channel that the broker closes.

use super::oracle::check;
use super::samples::{CLIENT, SERVER};
use crate::amqp::*;

/// All frames, read to the last byte, their contents in order.
fn read(mut bytes: &[u8], mut each: impl FnMut(&Frame<'_>)) -> Vec<(FrameKind, Option<(u16, u16)>)> {
    let (mut seen, mut content) = (Vec::new(), ContentState::new());
    while let Some(frame) = first_frame(bytes, 131_072).unwrap() {
        let mut id = None;
        match frame.kind {
            FrameKind::Method => {
                let method = Method::parse(frame.payload).unwrap();
                if method.carries_content() {
                    content.begin().unwrap()
                } else {
                    content.method().unwrap()
                }
                id = method_id(frame.payload);
            }
            FrameKind::Header => {
                content.header(ContentHeader::parse(frame.payload).unwrap().body_size).unwrap();
            }
            FrameKind::Body => {
                content.body(frame.payload.len()).unwrap();
            }
            FrameKind::Heartbeat => {}
        }
        each(&frame);
        seen.push((frame.kind, id));
        bytes = &bytes[frame.wire_len()..];
    }
    assert!(bytes.is_empty() && content.is_idle());
    seen
}

fn count(seen: &[(FrameKind, Option<(u16, u16)>)], method: u16) -> usize {
    seen.iter().filter(|(_, id)| *id == Some((60, method))).count()
}

#[test]
fn what_the_broker_sent_is_read_to_its_end() {
    let (mut reasons, mut counts, mut got) = (Vec::new(), 0, Vec::new());
    let seen = read(SERVER, |frame| match frame.kind {
        FrameKind::Header => {
            let headers = ContentHeader::parse(frame.payload).unwrap().headers();
            let Some(Value::Array(deaths)) = headers.and_then(|headers| headers.get("x-death")) else { return };
            for death in deaths.iter() {
                let Value::Table(death) = death.unwrap() else { panic!("a death that is no table") };
                reasons.push(death.get("reason").and_then(|reason| reason.as_bytes()).unwrap().to_vec());
                counts += death.get("count").and_then(|count| count.as_i64()).unwrap();
            }
        }
        FrameKind::Method => {
            if let Ok(Method::GetOk(message)) = Method::parse(frame.payload) {
                got.push((message.routing_key.to_vec(), message.message_count));
            }
        }
        FrameKind::Body | FrameKind::Heartbeat => {}
    });
    check(SERVER);
    assert_eq!(seen.len(), 40);
    assert_eq!(reasons, [b"rejected", b"rejected"]);
    assert_eq!(counts, 2);
    assert_eq!(got.first(), Some(&(b"order.two".to_vec(), 2)));
    // Confirms, a return, deliveries, and answers to basic.get: with and without a message.
    assert_eq!([80, 50, 60, 71, 72].map(|method| count(&seen, method)), [3, 1, 3, 3, 1]);
}

#[test]
fn what_the_client_sent_is_read_to_its_end() {
    let frames = CLIENT.strip_prefix(&PROTOCOL_HEADER).unwrap();
    assert_eq!(first_frame(CLIENT, 0), Err(CodecError::WrongVersion { offered: PROTOCOL_HEADER }));
    let mut routing_keys = Vec::new();
    let seen = read(frames, |frame| {
        if let (FrameKind::Method, Ok(Method::Publish(publish))) = (frame.kind, Method::parse(frame.payload)) {
            routing_keys.push((publish.routing_key.to_vec(), publish.mandatory));
        }
    });
    check(frames);
    assert_eq!(seen.len(), 37);
    let keys = [("order.new", false), ("order.new", false), ("order.two", false), ("nowhere", true)];
    assert_eq!(routing_keys, keys.map(|(key, mandatory)| (key.as_bytes().to_vec(), mandatory)));
    // Of each settlement one: an ack, a nack, and two rejects.
    assert_eq!([80, 120, 90].map(|method| count(&seen, method)), [1, 1, 2]);
}
