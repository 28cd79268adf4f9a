//! The least that a client can do: frames encoded once and sent again, answers parsed in place; no stamp, no ledger, no
//! histogram.

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection};
use amq_protocol::types::{FieldTable, LongString};
use lurcher::amqp::{FRAME_OVERHEAD, PROTOCOL_HEADER, put_ack, put_body, put_header, put_method, put_publish};

use super::looped::{Looped, LoopedSocket};

const WINDOW: u64 = 192;
const PREFETCH: u16 = 200;
const FRAME_MAX: u32 = 131_072;

/// Publishes and consumes so many messages.
pub fn run(messages: u64, body_bytes: u32) {
    let broker = Looped::default();
    let mut consuming = open(&broker);
    ask(
        &mut consuming,
        AMQPClass::Basic(basic::AMQPMethod::Qos(basic::Qos { prefetch_count: PREFETCH, global: false })),
    );
    let consume = basic::Consume {
        queue: "q".into(),
        consumer_tag: "0".into(),
        no_local: false,
        no_ack: false,
        exclusive: false,
        nowait: false,
        arguments: FieldTable::default(),
    };
    ask(&mut consuming, AMQPClass::Basic(basic::AMQPMethod::Consume(consume)));
    let mut publishing = open(&broker);
    ask(&mut publishing, AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: false })));

    let mut frames = Vec::new();
    for _ in 0..WINDOW {
        put_publish(&mut frames, 1, "", "q", false).expect("short names");
        put_header(&mut frames, 1, body_bytes.into(), &[0x10, 0, 2]);
        put_body(&mut frames, 1, &vec![0; body_bytes as usize], FRAME_MAX);
    }
    let length = frames.len() / WINDOW as usize;
    let (mut published, mut confirmed, mut consumed) = (0, 0, 0);
    let (mut confirms, mut deliveries) = (Reader::default(), Reader::default());
    let mut acks = Vec::new();
    while consumed < messages {
        let room = (WINDOW - (published - confirmed)).min(messages - published);
        if room > 0 {
            publishing.say(&frames[..room as usize * length]);
            published += room;
        }
        // basic.ack: the tag is behind the method's number.
        confirms.read(&mut publishing, |payload| {
            confirmed = u64::from_be_bytes(payload[4..12].try_into().expect("eight bytes"));
        });
        acks.clear();
        // basic.deliver: the tag is behind the method's number and the consumer tag "0".
        deliveries.read(&mut consuming, |payload| {
            consumed += 1;
            put_ack(&mut acks, 1, u64::from_be_bytes(payload[6..14].try_into().expect("eight bytes")), false);
        });
        if !acks.is_empty() {
            consuming.say(&acks);
        }
    }
}

/// What is read and not yet understood.
struct Reader {
    buffer: Vec<u8>,
    filled: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; 64 * 1_024], filled: 0 }
    }
}

impl Reader {
    /// Reads once, and hands on the payload of each method.
    fn read(&mut self, from: &mut LoopedSocket, mut method: impl FnMut(&[u8])) {
        self.filled += from.hear(&mut self.buffer[self.filled..]);
        let mut at = 0;
        while let Some(head) = self.buffer[at..self.filled].first_chunk::<7>() {
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            if self.filled - at < size + FRAME_OVERHEAD {
                break;
            }
            if head[0] == 1 {
                method(&self.buffer[at + 7..at + 7 + size]);
            }
            at += size + FRAME_OVERHEAD;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
    }
}

/// A connection with one open channel.
fn open(broker: &Looped) -> LoopedSocket {
    let mut socket = broker.socket();
    socket.say(&PROTOCOL_HEADER);
    let start = connection::StartOk {
        client_properties: FieldTable::default(),
        mechanism: "PLAIN".into(),
        response: LongString::from("\0u\0p"),
        locale: "en_US".into(),
    };
    say(&mut socket, 0, AMQPClass::Connection(connection::AMQPMethod::StartOk(start)));
    let tune = connection::TuneOk { channel_max: 1, frame_max: FRAME_MAX, heartbeat: 0 };
    say(&mut socket, 0, AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune)));
    let open = connection::Open { virtual_host: "/".into() };
    say(&mut socket, 0, AMQPClass::Connection(connection::AMQPMethod::Open(open)));
    ask(&mut socket, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})));
    socket
}

fn say(socket: &mut LoopedSocket, channel: u16, method: AMQPClass) {
    let mut frame = Vec::new();
    put_method(&mut frame, channel, &method).expect("short names");
    socket.say(&frame);
}

/// Says something on the channel, and passes over all that was answered so far.
fn ask(socket: &mut LoopedSocket, method: AMQPClass) {
    say(socket, 1, method);
    while socket.hear(&mut [0; 4_096]) > 0 {}
}
