//! What the checks share: connections, queues, messages, and waits with an end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use lurcher::client::{
    Client, ClientError, Connection, Death, Deliveries, Ids, Outbox, Properties, PublisherLink, PublisherSetup,
    QueueSubscription, Settlement, SubscriberLink, SubscriberSetup,
};
use lurcher::plan::{BindingPlan, PrefetchScope, QueueKind, QueuePlan};
use lurcher::stamp::{STAMP_LEN, Stamp};
use serde_json::json;

use super::support::Broker;

/// Longer than any answer should take; a check that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Bench<'a> {
    pub client: &'a dyn Client,
    pub broker: &'a Broker,
}

impl Bench<'_> {
    pub async fn connect(&self) -> Box<dyn Connection> {
        self.client.connect(&self.broker.endpoint(), "conformance").await.unwrap()
    }

    /// A new queue under a name of its own.
    pub async fn queue(&self, arguments: serde_json::Value) -> QueuePlan {
        let queue = queue_plan(arguments);
        let connection = self.connect().await;
        connection.declare(&queue, &[]).await.unwrap();
        connection.close(PATIENCE).await;
        queue
    }

    /// A new queue, bound to an exchange that every broker has.
    pub async fn bound_queue(&self, exchange: &str, key: &str) -> QueuePlan {
        let queue = queue_plan(json!({}));
        let binding = BindingPlan {
            source: exchange.to_owned(),
            destination: queue.name.clone(),
            to_exchange: false,
            key: key.to_owned(),
            arguments: lurcher::plan::Arguments::new(),
        };
        let connection = self.connect().await;
        connection.declare(&queue, &[binding]).await.unwrap();
        connection.close(PATIENCE).await;
        queue
    }

    /// Publishes to a queue and waits until all is confirmed.
    pub async fn fill(&self, queue: &str, count: u64) {
        let connection = self.connect().await;
        let mut link = connection.open_publisher(&setup()).await.unwrap();
        publish(link.as_mut(), (0..count).map(|n| message(queue, n))).await.unwrap();
        settled(link.as_mut(), count as usize).await;
        connection.close(PATIENCE).await;
    }

    /// Waits until a queue holds so many ready messages.
    pub async fn wait_ready(&self, queue: &str, count: u64) {
        let connection = self.connect().await;
        within("the queue to hold what it should", async {
            while connection.ready(queue).await.unwrap() != Some(count) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        connection.close(PATIENCE).await;
    }

    /// A subscriber to one queue on a connection of its own.
    pub async fn subscribe(&self, queue: &str) -> (Box<dyn Connection>, Box<dyn SubscriberLink>) {
        let connection = self.connect().await;
        let link = connection.open_subscriber(&subscription(&[queue])).await.unwrap();
        (connection, link)
    }
}

pub fn queue_plan(arguments: serde_json::Value) -> QueuePlan {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let kind = match arguments.get("x-queue-type").and_then(|kind| kind.as_str()) {
        Some("quorum") => QueueKind::Quorum,
        Some("stream") => QueueKind::Stream,
        _ => QueueKind::Classic,
    };
    QueuePlan {
        name: format!("conformance.{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        kind,
        durable: true,
        exclusive: false,
        auto_delete: false,
        arguments: serde_json::from_value(arguments).unwrap(),
        dead_letter: None,
        removal_rules: Vec::new(),
    }
}

/// Confirms on, the default exchange, persistent.
pub fn setup() -> PublisherSetup {
    PublisherSetup { exchange: String::new(), confirms: true, mandatory: false, persistent: true }
}

/// Manual acks, no limit.
pub fn subscription(queues: &[&str]) -> SubscriberSetup {
    SubscriberSetup {
        queues: queues
            .iter()
            .enumerate()
            .map(|(number, name)| QueueSubscription { number, name: (*name).to_owned(), offset: None })
            .collect(),
        prefetch: 0,
        prefetch_scope: PrefetchScope::Consumer,
        auto_ack: false,
        poll: None,
        priority: 0,
        ids: false,
    }
}

/// A message to publish.
pub struct Message {
    pub token: u64,
    pub key: String,
    pub properties: Properties,
    pub body: Bytes,
}

/// A message that was received.
#[derive(Debug)]
pub struct Received {
    pub queue: usize,
    pub tag: u64,
    pub redelivered: bool,
    pub stamp: Option<[u8; STAMP_LEN]>,
    pub deaths: Box<[Death]>,
    pub ids: Option<Box<Ids>>,
    pub body: Bytes,
}

/// A message that says which one it is, as the fleet's messages do.
pub fn message(key: &str, token: u64) -> Message {
    let stamp = Stamp { run: 7, publisher: 1, attempt: 0, sequence: token, intended_us: 0, lag_us: 0 };
    outgoing(key, token, Bytes::copy_from_slice(&stamp.encode(&[])))
}

pub fn outgoing(key: &str, token: u64, body: Bytes) -> Message {
    Message { token, key: key.to_owned(), properties: Properties::default(), body }
}

/// Messages as the port takes them.
pub fn outbox(messages: impl IntoIterator<Item = Message>) -> Outbox {
    let mut outbox = Outbox::default();
    for Message { token, key, properties, body } in messages {
        outbox.push(token, key.into(), |bodies| {
            bodies.extend_from_slice(&body);
            properties
        });
    }
    outbox
}

pub async fn publish(
    link: &mut dyn PublisherLink,
    messages: impl IntoIterator<Item = Message>,
) -> Result<(), ClientError> {
    let mut batch = outbox(messages);
    let published = link.publish(&mut batch).await;
    assert!(batch.is_empty(), "the batch was not emptied");
    published
}

/// What a batch holds.
pub fn opened(deliveries: &Deliveries) -> Vec<Received> {
    let opened = deliveries.iter().map(|(delivery, body)| Received {
        queue: delivery.queue,
        tag: delivery.tag,
        redelivered: delivery.redelivered,
        stamp: delivery.stamp,
        deaths: delivery.deaths.clone(),
        ids: delivery.ids.clone(),
        body: Bytes::copy_from_slice(body),
    });
    opened.collect()
}

/// The next `count` settlements, in the order in which they came.
pub async fn settled(link: &mut dyn PublisherLink, count: usize) -> Vec<Settlement> {
    let mut settled = Vec::new();
    while settled.len() < count {
        within("a settlement", link.settlements(&mut settled)).await.unwrap();
    }
    assert_eq!(settled.len(), count, "a message was settled twice: {settled:?}");
    settled
}

/// The next `count` deliveries.
pub async fn received(link: &mut dyn SubscriberLink, count: usize) -> Vec<Received> {
    let mut deliveries = Deliveries::default();
    while deliveries.len() < count {
        let room = count - deliveries.len();
        within("a delivery", link.receive(&mut deliveries, room)).await.unwrap();
    }
    assert_eq!(deliveries.len(), count, "more than the limit");
    opened(&deliveries)
}

/// Nothing comes, for a while that is long beside what a delivery takes.
pub async fn nothing_comes(link: &mut dyn SubscriberLink) {
    let mut deliveries = Deliveries::default();
    let wait = tokio::time::timeout(Duration::from_millis(300), link.receive(&mut deliveries, 10)).await;
    assert!(wait.is_err() && deliveries.is_empty(), "{wait:?} {deliveries:?}");
}

/// How the link fails, whatever it has to tell before.
pub async fn publisher_failure(link: &mut dyn PublisherLink) -> ClientError {
    within("the link to fail", async {
        let mut settled = Vec::new();
        loop {
            if let Err(error) = link.settlements(&mut settled).await {
                return error;
            }
        }
    })
    .await
}

pub async fn subscriber_failure(link: &mut dyn SubscriberLink) -> ClientError {
    within("the link to fail", async {
        let mut deliveries = Deliveries::default();
        loop {
            deliveries.clear();
            if let Err(error) = link.receive(&mut deliveries, 100).await {
                return error;
            }
        }
    })
    .await
}

pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// Polls a wait so many times and drops it: none where it was cut short.
pub async fn cut_short<T>(polls: u64, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..polls {
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}
