//! The port through which fleets speak to a broker, and its adapters.
//!
//! May use `units`, `plan`, `stamp` and `endpoint`. The port speaks in batches of messages and settlements, not in AMQP methods, so
//! that other protocols can stand behind it. An adapter never reconnects by itself: each failure comes back as an
//! error, and what was in flight on the old link is never matched on a new one, because a link lives as long as its
//! channel.

pub mod lapin;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::endpoint::Endpoint;
use crate::plan::{Arguments, BindingPlan, PrefetchScope, QueuePlan, StreamOffset};
use crate::stamp::STAMP_LEN;

/// Why a client could not go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The broker could not be reached.
    #[error("could not connect to {endpoint}: {reason}")]
    Connect {
        /// Address without credentials.
        endpoint: String,
        /// What the system or the broker said.
        reason: String,
    },
    /// The broker refused the credentials or the virtual host.
    #[error("{endpoint} refused the login: {reason}")]
    Refused {
        /// Address without credentials.
        endpoint: String,
        /// The broker's reply.
        reason: String,
    },
    /// TLS material could not be read or used.
    #[error("could not use the TLS file {path}: {reason}")]
    Tls {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection ended.
    #[error("connection lost: {reason}")]
    ConnectionLost {
        /// The broker's reply with its code, or the system's error.
        reason: String,
    },
    /// The broker closed the channel.
    #[error("channel closed by the broker: {code} {reason}")]
    ChannelClosed {
        /// AMQP reply code, such as 404 or 406.
        code: u16,
        /// The broker's reply.
        reason: String,
    },
    /// The broker cancelled the subscription, for example because its queue was deleted.
    #[error("subscription to `{queue}` cancelled by the broker")]
    Cancelled {
        /// The queue.
        queue: String,
    },
    /// Something that AMQP cannot carry. The link is as good as before, but the message and those behind it in its
    /// batch were not sent.
    #[error("the {what} does not fit into AMQP: {reason}")]
    Unfit {
        /// What it is, such as "routing key".
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No answer within the time that was given.
    #[error("no answer from the broker within {after:?} to {what}")]
    TimedOut {
        /// What was asked.
        what: String,
        /// How long it took.
        after: Duration,
    },
}

impl ClientError {
    /// Whether the connection itself is still usable and only the channel has to be opened again.
    pub fn is_channel_only(&self) -> bool {
        matches!(self, Self::ChannelClosed { .. } | Self::Cancelled { .. })
    }
}

/// Opens connections.
#[async_trait]
pub trait Client: Send + Sync {
    /// Opens one connection under a name that the broker shows. Never retries.
    async fn connect(&self, endpoint: &Endpoint, name: &str) -> Result<Box<dyn Connection>, ClientError>;
}

/// One connection, shared by the channels of its publishers or subscribers, never by both.
#[async_trait]
pub trait Connection: Send + Sync {
    /// Opens a channel that publishes.
    async fn open_publisher(&self, setup: &PublisherSetup) -> Result<Box<dyn PublisherLink>, ClientError>;
    /// Opens a channel that consumes.
    async fn open_subscriber(&self, setup: &SubscriberSetup) -> Result<Box<dyn SubscriberLink>, ClientError>;
    /// Declares a queue with its bindings on this connection, as exclusive queues need.
    async fn declare(&self, queue: &QueuePlan, bindings: &[BindingPlan]) -> Result<(), ClientError>;
    /// Messages that are ready in a queue (passive declare); none where the queue does not exist.
    async fn ready(&self, queue: &str) -> Result<Option<u64>, ClientError>;
    /// What the connection itself had to say since last asked: blocked and unblocked, in order.
    fn take_notices(&self) -> Vec<Notice>;
    /// Closes with a goodbye; waits at most `within`, then drops the socket.
    async fn close(&self, within: Duration);
}

/// What a connection says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The broker takes no more publishes (`connection.blocked`).
    Blocked {
        /// The broker's reason, such as "low on memory".
        reason: String,
    },
    /// The broker takes publishes again.
    Unblocked,
}

/// How a publishing channel is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct PublisherSetup {
    /// Exchange to publish to.
    pub exchange: String,
    /// Whether the broker confirms.
    pub confirms: bool,
    /// Have unroutable messages returned.
    pub mandatory: bool,
    /// Delivery mode 2.
    pub persistent: bool,
}

/// One message on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// What settlements will call it; the sequence of its publisher.
    pub token: u64,
    /// Routing key.
    pub routing_key: std::sync::Arc<str>,
    /// Properties.
    pub properties: Properties,
    /// Body.
    pub body: Bytes,
}

/// Properties of one message. What fleets set rarely is boxed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties {
    /// Priority.
    pub priority: Option<u8>,
    /// The stamp, where the body cannot hold it; goes into [`crate::stamp::STAMP_HEADER`].
    pub stamp: Option<[u8; STAMP_LEN]>,
    /// Everything else.
    pub more: Option<Box<MoreProperties>>,
}

/// The rarer properties, their fields filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MoreProperties {
    /// `expiration`, in whole milliseconds.
    pub expiration_ms: Option<u64>,
    /// `content-type`.
    pub content_type: Option<String>,
    /// `content-encoding`.
    pub content_encoding: Option<String>,
    /// `message-id`.
    pub message_id: Option<String>,
    /// `correlation-id`.
    pub correlation_id: Option<String>,
    /// `reply-to`.
    pub reply_to: Option<String>,
    /// `type`.
    pub kind: Option<String>,
    /// `app-id`.
    pub app_id: Option<String>,
    /// Headers.
    pub headers: Arguments,
}

/// What became of a published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The message's token.
    pub token: u64,
    /// What the broker said.
    pub outcome: Outcome,
}

/// What the broker said of a published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `basic.ack`.
    Confirmed,
    /// `basic.nack`.
    Nacked,
    /// `basic.return`. The ack that follows it where confirms are on is not told: each message is settled once.
    /// Which message it was is read from its stamp.
    Returned {
        /// AMQP reply code, such as 312 (NO_ROUTE).
        code: u16,
        /// The broker's reply.
        reason: String,
    },
}

/// A channel that publishes.
#[async_trait]
pub trait PublisherLink: Send {
    /// Hands over a batch, in order, and empties it. Returns once the client has taken it all, which may wait for the
    /// socket. After an error some of the batch may have been sent: all of it counts as unconfirmed, and the link is out
    /// of use ([`ClientError::Unfit`] excepted). Dropped while it waits, all of it counts as handed over.
    async fn publish(&mut self, batch: &mut Vec<Outgoing>) -> Result<(), ClientError>;

    /// Waits until at least one message is settled, or the link fails, and appends to `settled` all that is known. What
    /// was settled before a failure is told before it. Safe to cancel: nothing is lost. Where there is nothing to wait
    /// for (confirms off, or all settled) it returns only when the link fails.
    async fn settlements(&mut self, settled: &mut Vec<Settlement>) -> Result<(), ClientError>;

    /// Closes the channel with a goodbye.
    async fn close(self: Box<Self>);
}

/// How a consuming channel is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriberSetup {
    /// Queues to subscribe to.
    pub queues: Vec<QueueSubscription>,
    /// Most messages that the broker sends ahead of their acks; 0: no limit.
    pub prefetch: u16,
    /// What the prefetch counts.
    pub prefetch_scope: PrefetchScope,
    /// The broker settles on sending.
    pub auto_ack: bool,
    /// Ask with `basic.get` instead of subscribing, this often where the queues are empty.
    pub poll: Option<Duration>,
    /// `x-priority`.
    pub priority: i32,
}

/// One queue of a consuming channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSubscription {
    /// Its number in the plan; deliveries carry it.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Where to begin, for a stream.
    pub offset: Option<StreamOffset>,
}

/// One message on its way in.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Queue that it came from, by number.
    pub queue: usize,
    /// Delivery tag: rises by one for each delivery of the channel, from 1.
    pub tag: u64,
    /// The broker's redelivered flag.
    pub redelivered: bool,
    /// Body.
    pub body: Bytes,
    /// The stamp header's value, where there is one.
    pub stamp: Option<[u8; STAMP_LEN]>,
    /// The first entry of `x-death`, where there is one.
    pub death: Option<Box<Death>>,
}

/// Why a message was dead-lettered: the newest entry of its `x-death` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Queue that it left.
    pub queue: String,
    /// `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: String,
    /// How often, for this queue and reason.
    pub count: u64,
    /// When it was first dead-lettered there, in seconds since 1970 (the header is no finer).
    pub unix_seconds: Option<u64>,
}

/// What a consumer does with the messages up to a delivery tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// `basic.ack`.
    Ack,
    /// `basic.nack` or `basic.reject` with requeue.
    Requeue,
    /// `basic.nack` or `basic.reject` without requeue: dead-lettered or dropped.
    Reject,
}

/// A channel that consumes.
#[async_trait]
pub trait SubscriberLink: Send {
    /// Waits until at least one message is there, or the link fails, and appends up to `limit` of those that are, in the
    /// order of their tags. What came before a failure is told before it. Safe to cancel: nothing is lost.
    async fn receive(&mut self, deliveries: &mut Vec<Delivery>, limit: usize) -> Result<(), ClientError>;

    /// Settles one message, or with `multiple` all unsettled ones up to `tag`. AMQP does not answer: what the broker
    /// thinks of it, a tag that it does not know for example, shows in a later `receive`.
    async fn settle(&mut self, tag: u64, multiple: bool, settle: Settle) -> Result<(), ClientError>;

    /// Cancels the subscriptions and closes the channel with a goodbye; unsettled messages go back to their queues.
    async fn close(self: Box<Self>);
}
