//! A broker of one queue, in memory and in step: what a client writes is answered before the write returns.
//!
//! It waits for nothing and calls nothing of the system, so that what a client costs can be counted, the same on every
//! run; and it can say what no broker says, so that a client's manners can be tried.

// Each binary that includes this uses a part of it.
#![allow(dead_code)]

pub mod pair;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection};
use amq_protocol::types::{FieldTable, LongString};
use async_trait::async_trait;
use lurcher::amqp::{
    ContentHeader, FrameKind, Method, PROTOCOL_HEADER, first_frame, put_ack, put_body, put_header, put_method,
};
use lurcher::client::wire::Wire;
use lurcher::client::{Client, ClientError, Connection};
use lurcher::endpoint::{Credentials, Endpoint, Secret};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const FRAME_MAX: u32 = 131_072;
/// Confirms name so many messages at once, as a broker's do under load.
const CONFIRMED_AT_ONCE: u64 = 10;
/// Bytes that a read gets at once, as a socket's do.
const READ_AT_ONCE: usize = 4_096;
/// Bytes of bodies in the queue beyond which nothing is confirmed, so that a publisher waits for its consumer.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// When trouble begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After so many messages were published on the connection.
    Published(u64),
    /// When a consumer subscribes.
    Consuming,
}

/// What no broker says.
#[derive(Clone)]
pub struct Trouble {
    pub when: When,
    /// Said instead of the next answer.
    pub says: Vec<u8>,
    /// Hangs up after it.
    pub hangs_up: bool,
}

/// The broker.
#[derive(Clone, Default)]
pub struct Looped(Arc<Mutex<Core>>);

#[derive(Default)]
struct Core {
    /// Bodies, each after its length.
    queue: VecDeque<u8>,
    peers: Vec<Peer>,
    /// Troubles of the connections to come, in their order.
    troubles: VecDeque<Option<Trouble>>,
}

#[derive(Default)]
struct Peer {
    inbox: Vec<u8>,
    greeted: bool,
    out: Vec<u8>,
    sent: usize,
    hung_up: bool,
    trouble: Option<Trouble>,
    reader: Option<Waker>,
    channels: Vec<Channel>,
}

#[derive(Default)]
struct Channel {
    confirms: bool,
    published: u64,
    confirmed: u64,
    left: u64,
    body: Vec<u8>,
    consumes: bool,
    prefetch: u64,
    delivered: u64,
    acked: u64,
}

impl Looped {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap()
    }

    /// The next connection gets into trouble; call it again for the one after.
    pub fn will(&self, trouble: Option<Trouble>) {
        self.lock().troubles.push_back(trouble);
    }

    /// A socket to it.
    pub fn socket(&self) -> LoopedSocket {
        let mut core = self.lock();
        let trouble = core.troubles.pop_front().flatten();
        core.peers.push(Peer { trouble, ..Peer::default() });
        LoopedSocket { broker: self.clone(), me: core.peers.len() - 1 }
    }

    /// Says something to everybody, unasked.
    pub fn say(&self, bytes: &[u8]) {
        let mut core = self.lock();
        core.peers.iter_mut().for_each(|peer| peer.out.extend_from_slice(bytes));
        core.wake();
    }

    /// Messages that were published to it on connections that are open.
    pub fn published(&self) -> u64 {
        self.lock().peers.iter().flat_map(|peer| &peer.channels).map(|channel| channel.published).sum()
    }

    /// Where it says it is; nobody is there.
    pub fn endpoint() -> Endpoint {
        Endpoint {
            host: "127.0.0.1".to_owned(),
            port: 1,
            vhost: "/".to_owned(),
            credentials: Credentials::Plain { user: "u".to_owned(), password: Secret::new("p") },
            tls: None,
            heartbeat: None,
        }
    }
}

#[async_trait]
impl Client for Looped {
    async fn connect(&self, endpoint: &Endpoint, name: &str) -> Result<Box<dyn Connection>, ClientError> {
        Wire.connect_over(Box::new(self.socket()), endpoint, name).await
    }
}

/// One connection.
pub struct LoopedSocket {
    broker: Looped,
    me: usize,
}

impl LoopedSocket {
    /// Says something, and has the answers made. Never inlined: what it costs is told apart by its name.
    #[inline(never)]
    pub fn say(&mut self, bytes: &[u8]) {
        let mut core = self.broker.lock();
        core.peers[self.me].inbox.extend_from_slice(bytes);
        core.hear(self.me);
    }

    /// Moves out up to so many bytes of what it has to say; how many there were. Never inlined, as `say`.
    #[inline(never)]
    pub fn hear(&mut self, to: &mut [u8]) -> usize {
        let mut core = self.broker.lock();
        let peer = &mut core.peers[self.me];
        let bytes = to.len().min(READ_AT_ONCE).min(peer.out.len() - peer.sent);
        to[..bytes].copy_from_slice(&peer.out[peer.sent..peer.sent + bytes]);
        peer.sent += bytes;
        // What is heard is forgotten; not at each read, which would move the rest each time.
        if 2 * peer.sent >= peer.out.len() {
            peer.out.drain(..peer.sent);
            peer.sent = 0;
        }
        bytes
    }
}

impl Drop for LoopedSocket {
    /// Nothing is delivered to a socket that is gone.
    fn drop(&mut self) {
        self.broker.lock().peers[self.me] = Peer::default();
    }
}

impl AsyncWrite for LoopedSocket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.say(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for LoopedSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let bytes = self.hear(to.initialize_unfilled());
        if bytes > 0 {
            to.advance(bytes);
            return Poll::Ready(Ok(()));
        }
        let me = self.me;
        let mut core = self.broker.lock();
        let peer = &mut core.peers[me];
        if peer.hung_up {
            return Poll::Ready(Ok(()));
        }
        match &mut peer.reader {
            Some(waker) => waker.clone_from(cx.waker()),
            None => peer.reader = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Core {
    fn hear(&mut self, me: usize) {
        let mut inbox = std::mem::take(&mut self.peers[me].inbox);
        let mut from = 0;
        if !self.peers[me].greeted && inbox.len() >= PROTOCOL_HEADER.len() {
            self.peers[me].greeted = true;
            from = PROTOCOL_HEADER.len();
            self.peers[me].greet();
        }
        while self.peers[me].greeted
            && let Some(frame) = first_frame(&inbox[from..], FRAME_MAX).unwrap()
        {
            from += frame.wire_len();
            let peer = &mut self.peers[me];
            match frame.kind {
                FrameKind::Heartbeat => {}
                FrameKind::Method => peer.method(frame.channel, frame.payload),
                FrameKind::Header => {
                    let size = ContentHeader::parse(frame.payload).unwrap().body_size;
                    let channel = peer.channel(frame.channel);
                    (channel.left, channel.published) = (size, channel.published + 1);
                    channel.body.clear();
                }
                FrameKind::Body => {
                    let channel = peer.channel(frame.channel);
                    channel.body.extend_from_slice(frame.payload);
                    channel.left -= frame.payload.len() as u64;
                }
            }
            let is_content = matches!(frame.kind, FrameKind::Header | FrameKind::Body);
            let channel = &mut self.peers[me].channel(frame.channel.max(1));
            if is_content && channel.left == 0 {
                self.queue.extend((channel.body.len() as u32).to_be_bytes());
                self.queue.extend(&channel.body);
            }
        }
        inbox.drain(..from);
        self.peers[me].inbox = inbox;
        self.deliver();
        let may_confirm = self.queue.len() < QUEUE_BYTES_MAX;
        self.peers.iter_mut().for_each(|peer| peer.confirm(may_confirm));
        self.wake();
    }

    fn deliver(&mut self) {
        let Self { queue, peers, .. } = self;
        for peer in peers {
            for (place, channel) in peer.channels.iter_mut().enumerate() {
                while channel.consumes && channel.delivered - channel.acked < channel.prefetch && !queue.is_empty() {
                    let length = u32::from_be_bytes([0; 4].map(|_: u8| queue.pop_front().unwrap()));
                    channel.body.clear();
                    channel.body.extend(queue.drain(..length as usize));
                    channel.delivered += 1;
                    put_delivery(&mut peer.out, place as u16 + 1, channel.delivered, &channel.body);
                }
            }
        }
    }

    fn wake(&mut self) {
        for peer in &mut self.peers {
            if peer.sent < peer.out.len() || peer.hung_up {
                peer.reader.take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

/// A delivery to the first consumer of a channel.
pub fn put_delivery(out: &mut Vec<u8>, channel: u16, tag: u64, body: &[u8]) {
    // basic.deliver: consumer tag "0", not redelivered, default exchange, routing key "q".
    let mut payload = [0u8; 19];
    payload[..4].copy_from_slice(&[0, 60, 0, 60]);
    payload[4..6].copy_from_slice(&[1, b'0']);
    payload[6..14].copy_from_slice(&tag.to_be_bytes());
    payload[14..18].copy_from_slice(&[0, 0, 1, b'q']);
    out.push(1);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&18u32.to_be_bytes());
    out.extend_from_slice(&payload[..18]);
    out.push(lurcher::amqp::FRAME_END);
    // Delivery mode 2, no other property.
    put_header(out, channel, body.len() as u64, &[0x10, 0, 2]);
    put_body(out, channel, body, FRAME_MAX);
}

impl Peer {
    fn channel(&mut self, id: u16) -> &mut Channel {
        let place = usize::from(id) - 1;
        if self.channels.len() <= place {
            self.channels.resize_with(place + 1, Channel::default);
        }
        &mut self.channels[place]
    }

    fn answer(&mut self, channel: u16, method: AMQPClass) {
        put_method(&mut self.out, channel, &method).unwrap();
    }

    fn greet(&mut self) {
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: FieldTable::default(),
            mechanisms: LongString::from("PLAIN"),
            locales: LongString::from("en_US"),
        };
        self.answer(0, AMQPClass::Connection(connection::AMQPMethod::Start(start)));
    }

    fn method(&mut self, channel: u16, payload: &[u8]) {
        match Method::parse(payload).unwrap() {
            Method::Ack { tag, multiple } => {
                let channel = self.channel(channel);
                channel.acked = if multiple { tag } else { channel.acked + 1 };
            }
            Method::Other(method) => self.other(channel, *method),
            _ => {}
        }
    }

    fn other(&mut self, channel: u16, method: AMQPClass) {
        use connection::AMQPMethod as Conn;
        let answer = match method {
            AMQPClass::Connection(Conn::StartOk(_)) => AMQPClass::Connection(Conn::Tune(connection::Tune {
                channel_max: 2047,
                frame_max: FRAME_MAX,
                heartbeat: 0,
            })),
            AMQPClass::Connection(Conn::Open(_)) => AMQPClass::Connection(Conn::OpenOk(connection::OpenOk {})),
            AMQPClass::Connection(Conn::Close(_)) => AMQPClass::Connection(Conn::CloseOk(connection::CloseOk {})),
            AMQPClass::Channel(channel::AMQPMethod::Open(_)) => {
                AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {}))
            }
            AMQPClass::Channel(channel::AMQPMethod::Close(_)) => {
                AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}))
            }
            AMQPClass::Confirm(confirm::AMQPMethod::Select(_)) => {
                self.channel(channel).confirms = true;
                AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {}))
            }
            AMQPClass::Basic(basic::AMQPMethod::Qos(qos)) => {
                self.channel(channel).prefetch = qos.prefetch_count.into();
                AMQPClass::Basic(basic::AMQPMethod::QosOk(basic::QosOk {}))
            }
            AMQPClass::Basic(basic::AMQPMethod::Consume(consume)) => {
                self.channel(channel).consumes = true;
                let ok = basic::ConsumeOk { consumer_tag: consume.consumer_tag };
                self.answer(channel, AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(ok)));
                self.make_trouble(When::Consuming);
                return;
            }
            _ => return,
        };
        self.answer(channel, answer);
    }

    fn make_trouble(&mut self, now: When) {
        let due = |trouble: &Trouble| match (trouble.when, now) {
            (When::Published(at), When::Published(published)) => published >= at,
            (at, now) => at == now,
        };
        if let Some(trouble) = self.trouble.take_if(|trouble| due(trouble)) {
            self.out.extend(trouble.says);
            self.hung_up = trouble.hangs_up;
            // What it says after it would hide it.
            self.channels.iter_mut().for_each(|channel| (channel.confirms, channel.consumes) = (false, false));
        }
    }

    fn confirm(&mut self, may_confirm: bool) {
        let published = self.channels.iter().map(|channel| channel.published).sum();
        if published > 0 {
            self.make_trouble(When::Published(published));
        }
        let Self { channels, out, .. } = self;
        let confirming = |channel: &Channel| channel.confirms && may_confirm;
        for (place, channel) in channels.iter_mut().enumerate().filter(|(_, channel)| confirming(channel)) {
            let whole = channel.published - u64::from(channel.left > 0);
            while channel.confirmed < whole {
                channel.confirmed = (channel.confirmed + CONFIRMED_AT_ONCE).min(whole);
                put_ack(out, place as u16 + 1, channel.confirmed, true);
            }
        }
    }
}
