//! The port through which fleets speak to a broker, and its adapters.
//!
//! May use `units`, `plan`, `stamp`, `endpoint` and `amqp`. The port speaks in batches of messages and settlements,
//! not in AMQP methods, so that other protocols can stand behind it. An adapter never reconnects by itself: each
//! failure comes back as an error, and what was in flight on the old link is never matched on a new one, because a
//! link lives as long as its channel.

mod batch;
mod blocking;
mod convert;
mod error;
mod ids;
pub mod lapin;
mod tls;
pub mod wire;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::endpoint::Endpoint;
use crate::plan::{Arguments, BindingPlan, PrefetchScope, QueuePlan, StreamOffset};
use crate::stamp::STAMP_LEN;

pub use batch::{Deliveries, Delivery, Outbox, Outgoing};
pub use error::ClientError;
pub use ids::{CAUSATION_HEADER, Ids};

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
    /// What the connection itself had to say since last asked, and when: blocked and unblocked, in order.
    fn take_notices(&self) -> Vec<(Instant, Notice)>;
    /// When the broker last took no publishes (`connection.blocked`): now, as long as it takes none; none where it
    /// always took them.
    fn last_blocked(&self) -> Option<Instant>;
    /// Closes with a goodbye; waits at most `within`, then drops the socket.
    async fn close(&self, within: Duration);
    /// Drops the socket without a word, as when the process dies: its links fail with `reason`. What was not flushed may
    /// or may not have been sent.
    fn cut(&self, reason: &str);
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

/// Properties of one message. What fleets set rarely is boxed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties {
    /// Priority.
    pub priority: Option<u8>,
    /// The stamp, where the body cannot hold it; goes into [`crate::stamp::STAMP_HEADER`].
    pub stamp: Option<[u8; STAMP_LEN]>,
    /// Everything else; shared by the messages for which it is the same.
    pub more: Option<Arc<MoreProperties>>,
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
///
/// The waits are polls, so that a wait allocates nothing. [`publish`](dyn PublisherLink::publish) and
/// [`settlements`](dyn PublisherLink::settlements) are the same as futures.
#[async_trait]
pub trait PublisherLink: Send {
    /// Hands over a batch, in order, and empties it at the first poll. Ready once the client has taken it all, which may
    /// wait for the socket; polled again with an empty batch meanwhile. After an error some of the batch may have been
    /// sent: all of it counts as unconfirmed, and the link is out of use ([`ClientError::Unfit`] excepted). Not polled
    /// to its end, all of it counts as handed over.
    fn poll_publish(&mut self, cx: &mut Context<'_>, batch: &mut Outbox) -> Poll<Result<(), ClientError>>;

    /// Ready when at least one message is settled, or the link failed; appends to `settled` all that is known. What
    /// was settled before a failure is told before it. Nothing is lost between two polls. Where there is nothing to wait
    /// for (confirms off, or all settled) it is ready only when the link fails.
    fn poll_settlements(
        &mut self,
        cx: &mut Context<'_>,
        settled: &mut Vec<Settlement>,
    ) -> Poll<Result<(), ClientError>>;

    /// Waits until the broker has taken all that was published before: it answers a question that comes after it.
    async fn flush(&mut self) -> Result<(), ClientError>;

    /// Closes the channel with a goodbye.
    async fn close(self: Box<Self>);
}

impl dyn PublisherLink + '_ {
    /// [`PublisherLink::poll_publish`] as a future. Safe to cancel: all of the batch counts as handed over.
    pub async fn publish(&mut self, batch: &mut Outbox) -> Result<(), ClientError> {
        poll_fn(|cx| self.poll_publish(cx, batch)).await
    }

    /// [`PublisherLink::poll_settlements`] as a future. Safe to cancel: nothing is lost.
    pub async fn settlements(&mut self, settled: &mut Vec<Settlement>) -> Result<(), ClientError> {
        poll_fn(|cx| self.poll_settlements(cx, settled)).await
    }

    /// Publishes a batch on a channel with confirms, and waits until the broker has answered for each of its messages.
    ///
    /// # Errors
    /// The link failed, or not all answers came within `within`.
    pub async fn publish_answered(
        &mut self,
        batch: &mut Outbox,
        within: Duration,
    ) -> Result<Vec<Settlement>, ClientError> {
        let (count, mut told) = (batch.len(), Vec::new());
        let answered = async {
            self.publish(batch).await?;
            while told.len() < count {
                self.settlements(&mut told).await?;
            }
            Ok(())
        };
        let late = |_| ClientError::TimedOut { what: format!("{count} publishes"), after: within };
        tokio::time::timeout(within, answered).await.map_err(late)??;
        Ok(told)
    }
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
    /// Read the ids of messages.
    pub ids: bool,
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

/// Why a message was dead-lettered: an entry of its `x-death` header.
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
    /// `basic.reject` with requeue; of several, `basic.nack`, the only method for several. They differ from RabbitMQ
    /// 4.3 on: a requeue by `basic.nack` no longer counts toward a quorum queue's delivery limit.
    Requeue,
    /// `basic.reject` without requeue, of several `basic.nack`: dead-lettered or dropped.
    Reject,
    /// `basic.nack`, also of a single message.
    Nack {
        /// Whether it goes back to its queue; else it is dead-lettered or dropped.
        requeue: bool,
    },
}

/// A channel that consumes. The waits are polls, as with [`PublisherLink`].
#[async_trait]
pub trait SubscriberLink: Send {
    /// Ready when at least one message is there, or the link failed; appends up to `limit` of those that are, in the
    /// order of their tags. What came before a failure is told before it. Nothing is lost between two polls.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        deliveries: &mut Deliveries,
        limit: usize,
    ) -> Poll<Result<(), ClientError>>;

    /// Settles one message, or with `multiple` all unsettled ones up to `tag`; sent no later than when its task next
    /// waits. AMQP does not answer: what the broker thinks of it, a tag that it does not know for example, shows in a
    /// later `receive`.
    ///
    /// # Errors
    /// The link is known to have failed.
    fn settle(&mut self, tag: u64, multiple: bool, settle: Settle) -> Result<(), ClientError>;

    /// Ready when so few settlements wait for the socket that more may be handed over. Ask it after `settle`, or memory
    /// grows while a broker takes none.
    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>>;

    /// Waits until the broker has taken all that was settled before: it answers a question that comes after it.
    async fn flush(&mut self) -> Result<(), ClientError>;

    /// Cancels the subscriptions and closes the channel with a goodbye; unsettled messages go back to their queues.
    async fn close(self: Box<Self>);
}

impl dyn SubscriberLink + '_ {
    /// [`SubscriberLink::poll_receive`] as a future. Safe to cancel: nothing is lost.
    pub async fn receive(&mut self, deliveries: &mut Deliveries, limit: usize) -> Result<(), ClientError> {
        poll_fn(|cx| self.poll_receive(cx, deliveries, limit)).await
    }

    /// [`SubscriberLink::settle`], then waits where the socket is behind.
    pub async fn settle_in_time(&mut self, tag: u64, multiple: bool, settle: Settle) -> Result<(), ClientError> {
        self.settle(tag, multiple, settle)?;
        poll_fn(|cx| self.poll_settled(cx)).await
    }
}
