//! A conversation on a test bed: what each side says, and what the other hears of it, frame by frame.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection};

use crate::amqp::*;
use crate::proxy::conversation::Conversation;
use crate::proxy::disturbance::{Disturbance, What};
use crate::proxy::rule::{Rule, Rules};
use crate::stamp::Stamp;

pub(super) use crate::proxy::disturbance::Way::{self, ToBroker, ToClient};

/// A frame, or a whole message, as the other side hears it.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Publish(Vec<u8>),
    Deliver { tag: u64, redelivered: bool, body: Vec<u8> },
    GetOk { tag: u64, body: Vec<u8> },
    GetEmpty,
    Ack(u64, bool),
    Nack(u64, bool),
    Reject(u64),
    Heartbeat,
    Other,
}

pub struct Bed {
    pub talk: Conversation,
    pub now: Instant,
    rules: Vec<Arc<Rule>>,
    ids: u64,
}

impl Bed {
    /// A connection that has said hello.
    pub fn new() -> Self {
        let mut bed = Self { talk: Conversation::new(7), now: Instant::now(), rules: Vec::new(), ids: 0 };
        assert_eq!(bed.bytes(ToBroker, &PROTOCOL_HEADER), PROTOCOL_HEADER);
        bed
    }

    /// With channel 1 open, and confirms on it.
    pub fn confirming() -> Self {
        let mut bed = Self::new();
        bed.say(ToBroker, &select());
        bed
    }

    pub fn begin(&mut self, what: What) -> Arc<Rule> {
        let rule = Arc::new(Rule::new(self.ids, Disturbance::of_all(what)));
        self.ids += 1;
        self.rules.push(Arc::clone(&rule));
        self.talk.set_rules(Arc::new(Rules::new(self.rules.clone())));
        rule
    }

    pub fn end(&mut self, rule: &Arc<Rule>) {
        rule.end();
        self.rules.retain(|it| it.id != rule.id);
        self.talk.set_rules(Arc::new(Rules::new(self.rules.clone())));
        self.talk.release(self.now);
    }

    pub fn end_all(&mut self) {
        for rule in self.rules.clone() {
            self.end(&rule);
        }
    }

    pub fn pass_time(&mut self, time: Duration) {
        self.now += time;
        self.talk.release(self.now);
    }

    /// One side says bytes; those that the other side hears, what it could have heard before among them.
    pub fn bytes(&mut self, way: Way, bytes: &[u8]) -> Vec<u8> {
        self.talk.buffer(way).extend_from_slice(bytes);
        self.talk.hear(way, self.now);
        self.out(way)
    }

    pub fn out(&mut self, way: Way) -> Vec<u8> {
        self.talk.take_out(way).concat()
    }

    /// One side says something; what the other side hears.
    pub fn say(&mut self, way: Way, bytes: &[u8]) -> Vec<Heard> {
        let heard = self.bytes(way, bytes);
        parsed(&heard).into_iter().map(|(_, heard)| heard).collect()
    }

    pub fn hear(&mut self, way: Way) -> Vec<Heard> {
        self.say(way, &[])
    }
}

/// Frames and messages with their channels. Messages of one channel must not be torn.
#[track_caller]
pub fn parsed(mut bytes: &[u8]) -> Vec<(u16, Heard)> {
    let mut heard = Vec::new();
    let mut open: std::collections::BTreeMap<u16, (Heard, u64)> = Default::default();
    while let Some(frame) = first_frame(bytes, 0).unwrap() {
        bytes = &bytes[frame.wire_len()..];
        match frame.kind {
            FrameKind::Heartbeat => heard.push((0, Heard::Heartbeat)),
            FrameKind::Method => {
                assert!(!open.contains_key(&frame.channel), "a method inside of a message");
                let method = Method::parse(frame.payload).unwrap();
                let carries = method.carries_content();
                let it = heard_of(&method);
                if carries {
                    open.insert(frame.channel, (it, u64::MAX));
                } else {
                    heard.push((frame.channel, it));
                }
            }
            FrameKind::Header => {
                let size = ContentHeader::parse(frame.payload).unwrap().body_size;
                open.get_mut(&frame.channel).expect("a header after its method").1 = size;
            }
            FrameKind::Body => {
                let (it, left) = open.get_mut(&frame.channel).expect("a body after its header");
                *left -= frame.payload.len() as u64;
                if let Heard::Publish(body) | Heard::Deliver { body, .. } | Heard::GetOk { body, .. } = it {
                    body.extend_from_slice(frame.payload);
                }
            }
        }
        if let Some((it, 0)) = open.get(&frame.channel) {
            heard.push((frame.channel, it.clone()));
            open.remove(&frame.channel);
        }
    }
    assert!(bytes.is_empty() && open.is_empty(), "something torn is left: {open:?}");
    heard
}

fn heard_of(method: &Method<'_>) -> Heard {
    match *method {
        Method::Publish(_) => Heard::Publish(Vec::new()),
        Method::Deliver(Deliver { tag, redelivered, .. }) => Heard::Deliver { tag, redelivered, body: Vec::new() },
        Method::GetOk(GetOk { tag, .. }) => Heard::GetOk { tag, body: Vec::new() },
        Method::GetEmpty => Heard::GetEmpty,
        Method::Ack { tag, multiple } => Heard::Ack(tag, multiple),
        Method::Nack { tag, multiple, .. } => Heard::Nack(tag, multiple),
        Method::Reject { tag, .. } => Heard::Reject(tag),
        Method::Return(_) | Method::Other(_) => Heard::Other,
    }
}

pub fn method(number: u16, class: AMQPClass) -> Vec<u8> {
    let mut out = Vec::new();
    put_method(&mut out, number, &class).unwrap();
    out
}

fn content(mut out: Vec<u8>, number: u16, body: &[u8], piece: usize) -> Vec<u8> {
    put_header(&mut out, number, body.len() as u64, &[0, 0]);
    put_body(&mut out, number, body, (piece + FRAME_OVERHEAD) as u32);
    out
}

/// A publish whose body comes in pieces of so many bytes.
pub fn publish_on(number: u16, body: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    put_publish(&mut out, number, "", "queue", false).unwrap();
    content(out, number, body, piece)
}

pub fn publish(body: &[u8]) -> Vec<u8> {
    publish_on(1, body, 4_096)
}

pub fn deliver_on(number: u16, consumer: &str, tag: u64, body: &[u8], piece: usize) -> Vec<u8> {
    let deliver = basic::Deliver {
        consumer_tag: consumer.into(),
        delivery_tag: tag,
        redelivered: false,
        exchange: "".into(),
        routing_key: "queue".into(),
    };
    content(method(number, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver))), number, body, piece)
}

pub fn deliver(tag: u64, body: &[u8]) -> Vec<u8> {
    deliver_on(1, "c", tag, body, 4_096)
}

pub fn get_ok(tag: u64, body: &[u8]) -> Vec<u8> {
    let get_ok = basic::GetOk {
        delivery_tag: tag,
        redelivered: false,
        exchange: "".into(),
        routing_key: "queue".into(),
        message_count: 0,
    };
    content(method(1, AMQPClass::Basic(basic::AMQPMethod::GetOk(get_ok))), 1, body, 4_096)
}

pub fn get(no_ack: bool) -> Vec<u8> {
    let mut out = Vec::new();
    put_get(&mut out, 1, "queue", no_ack).unwrap();
    out
}

pub fn returned(body: &[u8]) -> Vec<u8> {
    let returned = basic::Return {
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
        exchange: "".into(),
        routing_key: "queue".into(),
    };
    content(method(1, AMQPClass::Basic(basic::AMQPMethod::Return(returned))), 1, body, 4_096)
}

pub fn ack_on(number: u16, tag: u64, multiple: bool) -> Vec<u8> {
    let mut out = Vec::new();
    put_ack(&mut out, number, tag, multiple);
    out
}

pub fn ack(tag: u64, multiple: bool) -> Vec<u8> {
    ack_on(1, tag, multiple)
}

pub fn nack(tag: u64, multiple: bool) -> Vec<u8> {
    let mut out = Vec::new();
    put_nack(&mut out, 1, tag, multiple, true);
    out
}

pub fn heartbeat() -> Vec<u8> {
    let mut out = Vec::new();
    put_heartbeat(&mut out);
    out
}

pub fn select() -> Vec<u8> {
    select_on(1)
}

pub fn select_on(number: u16) -> Vec<u8> {
    method(number, AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: false })))
}

pub fn consume(consumer: &str, no_ack: bool) -> Vec<u8> {
    let consume = basic::Consume {
        queue: "queue".into(),
        consumer_tag: consumer.into(),
        no_local: false,
        no_ack,
        exclusive: false,
        nowait: false,
        arguments: Default::default(),
    };
    method(1, AMQPClass::Basic(basic::AMQPMethod::Consume(consume)))
}

pub fn consume_ok(consumer: &str) -> Vec<u8> {
    let answer = basic::ConsumeOk { consumer_tag: consumer.into() };
    method(1, AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(answer)))
}

pub fn recover_ok() -> Vec<u8> {
    method(1, AMQPClass::Basic(basic::AMQPMethod::RecoverOk(basic::RecoverOk {})))
}

pub fn open() -> Vec<u8> {
    method(1, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})))
}

pub fn close() -> Vec<u8> {
    let close = channel::Close { reply_code: 200, reply_text: "".into(), class_id: 0, method_id: 0 };
    method(1, AMQPClass::Channel(channel::AMQPMethod::Close(close)))
}

pub fn close_ok() -> Vec<u8> {
    method(1, AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})))
}

pub fn close_connection() -> Vec<u8> {
    let close = connection::Close { reply_code: 200, reply_text: "".into(), class_id: 0, method_id: 0 };
    method(0, AMQPClass::Connection(connection::AMQPMethod::Close(close)))
}

/// A body that begins with a stamp of run 7.
pub fn stamped(sequence: u64, rest: &[u8]) -> Vec<u8> {
    let stamp = Stamp { run: 7, publisher: 1, attempt: 0, sequence, intended_us: 0, lag_us: 0 };
    [stamp.encode(rest).as_slice(), rest].concat()
}

/// What a client hears of a delivery that is not flagged.
pub fn delivered(tag: u64, body: &[u8]) -> Heard {
    Heard::Deliver { tag, redelivered: false, body: body.to_vec() }
}
