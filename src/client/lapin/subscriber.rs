//! A channel that consumes by subscription, and how a consuming channel settles.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use ::lapin::{Channel, Consumer};
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};

use super::super::{ClientError, Delivery, Settle, SubscriberLink};
use super::convert;
use super::wire::Wire;

/// One queue of the channel.
pub(super) struct Subscription {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) consumer: Consumer,
}

/// See [`SubscriberLink`].
pub(super) struct Subscriber {
    wire: Arc<Wire>,
    channel: Arc<Channel>,
    subscriptions: Vec<Subscription>,
    /// Deliveries by tag that wait for one of a lower tag, which sits in another queue's buffer. Callers settle
    /// `multiple` up to a tag, so they must not see a tag before all lower ones.
    early: BTreeMap<u64, Delivery>,
    next_tag: u64,
    settler: Settler,
    /// The end, found behind deliveries that had to be handed over first.
    end: Option<End>,
    failure: Option<ClientError>,
}

/// How a subscription ended.
enum End {
    Failed(::lapin::Error),
    Cancelled { queue: String },
}

impl Subscriber {
    pub(super) fn new(wire: Arc<Wire>, channel: Channel, subscriptions: Vec<Subscription>) -> Self {
        let channel = Arc::new(channel);
        Self {
            wire,
            settler: Settler::new(Arc::clone(&channel)),
            channel,
            subscriptions,
            early: BTreeMap::new(),
            next_tag: 1,
            end: None,
            failure: None,
        }
    }

    fn poll_deliveries(
        &mut self,
        cx: &mut Context<'_>,
        deliveries: &mut Vec<Delivery>,
        limit: usize,
    ) -> Poll<Result<(), End>> {
        let before = deliveries.len();
        if self.end.is_none() {
            self.poll_subscriptions(cx, deliveries, limit);
        }
        self.release(deliveries, limit, self.end.is_some());
        if deliveries.len() > before {
            return Poll::Ready(Ok(()));
        }
        match self.end.take() {
            Some(end) => Poll::Ready(Err(end)),
            None => Poll::Pending,
        }
    }

    fn poll_subscriptions(&mut self, cx: &mut Context<'_>, deliveries: &mut Vec<Delivery>, limit: usize) {
        if let [subscription] = self.subscriptions.as_mut_slice() {
            self.end = poll_one(cx, subscription, limit, |delivery| deliveries.push(delivery));
            return;
        }
        for subscription in &mut self.subscriptions {
            let ended = poll_one(cx, subscription, usize::MAX, |delivery| {
                self.early.insert(delivery.tag, delivery);
            });
            self.end = self.end.take().or(ended);
        }
    }

    /// Moves up to `limit` deliveries out in the order of their tags. At the channel's end a gap is never filled.
    fn release(&mut self, deliveries: &mut Vec<Delivery>, limit: usize, over_gaps: bool) {
        let mut room = limit;
        while room > 0
            && let Some(first) = self.early.first_entry()
            && (over_gaps || *first.key() == self.next_tag)
        {
            let delivery = first.remove();
            self.next_tag = delivery.tag + 1;
            deliveries.push(delivery);
            room -= 1;
        }
    }
}

async fn explain(wire: &Wire, channel: &Channel, end: End) -> ClientError {
    match end {
        End::Failed(error) => wire.explain(channel, &error).await,
        End::Cancelled { queue } => match wire.lost() {
            Some(lost) => lost,
            None if !channel.status().connected() => wire.ended(channel).await,
            None => ClientError::Cancelled { queue },
        },
    }
}

/// Takes up to `limit` of what is there; the end, where it is reached.
fn poll_one(
    cx: &mut Context<'_>,
    subscription: &mut Subscription,
    limit: usize,
    mut take: impl FnMut(Delivery),
) -> Option<End> {
    for _ in 0..limit {
        match subscription.consumer.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(delivery))) => take(convert::delivery(subscription.number, delivery)),
            Poll::Ready(Some(Err(error))) => return Some(End::Failed(error)),
            Poll::Ready(None) => return Some(End::Cancelled { queue: subscription.name.clone() }),
            Poll::Pending => break,
        }
    }
    None
}

#[async_trait]
impl SubscriberLink for Subscriber {
    async fn receive(&mut self, deliveries: &mut Vec<Delivery>, limit: usize) -> Result<(), ClientError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let (wire, channel) = (Arc::clone(&self.wire), Arc::clone(&self.channel));
        let error = tokio::select! {
            biased;
            result = poll_fn(|cx| self.poll_deliveries(cx, deliveries, limit)) => match result {
                Ok(()) => return Ok(()),
                Err(end) => explain(&wire, &channel, end).await,
            },
            error = wire.ended(&channel) => error,
        };
        self.failure = Some(error.clone());
        Err(error)
    }

    async fn settle(&mut self, tag: u64, multiple: bool, settle: Settle) -> Result<(), ClientError> {
        self.settler.settle(&self.wire, tag, multiple, settle).await
    }

    async fn close(self: Box<Self>) {
        // The broker cancels the subscriptions of a channel that closes, and requeues what is unsettled.
        self.wire.close_channel(&self.channel).await;
    }
}

/// Sends acks without waiting for each to reach the socket: lapin answers only then, and a wait for each would cost
/// more than the ack. A failure shows at one of the next calls, and at the latest in `receive`.
pub(super) struct Settler {
    channel: Arc<Channel>,
    unwritten: VecDeque<Pin<Box<dyn Future<Output = ::lapin::Result<()>> + Send>>>,
}

/// Most settlements that may wait for the socket.
const UNWRITTEN_MAX: usize = 256;

impl Settler {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        Self { channel, unwritten: VecDeque::new() }
    }

    pub(super) async fn settle(
        &mut self,
        wire: &Wire,
        tag: u64,
        multiple: bool,
        settle: Settle,
    ) -> Result<(), ClientError> {
        let mut written = self.command(tag, multiple, settle);
        // The first poll queues the frame.
        match written.as_mut().now_or_never() {
            None => self.unwritten.push_back(written),
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(wire.explain(&self.channel, &error).await),
        }
        loop {
            let full = self.unwritten.len() > UNWRITTEN_MAX;
            let Some(oldest) = self.unwritten.front_mut() else { break };
            let result =
                if full { Some(poll_fn(|cx| oldest.as_mut().poll(cx)).await) } else { oldest.as_mut().now_or_never() };
            match result {
                None => break,
                Some(Ok(())) => drop(self.unwritten.pop_front()),
                Some(Err(error)) => return Err(wire.explain(&self.channel, &error).await),
            }
        }
        Ok(())
    }

    /// One message is given back with `basic.reject`, many with `basic.nack`, the only method for many. They differ
    /// from RabbitMQ 4.3 on: a requeue by `basic.nack` no longer counts toward a quorum queue's delivery limit.
    fn command(
        &self,
        tag: u64,
        multiple: bool,
        settle: Settle,
    ) -> Pin<Box<dyn Future<Output = ::lapin::Result<()>> + Send>> {
        let channel = Arc::clone(&self.channel);
        let requeue = settle == Settle::Requeue;
        Box::pin(async move {
            match settle {
                Settle::Ack => channel.basic_ack(tag, BasicAckOptions { multiple }).await,
                Settle::Requeue | Settle::Reject if multiple => {
                    channel.basic_nack(tag, BasicNackOptions { multiple, requeue }).await
                }
                Settle::Requeue | Settle::Reject => channel.basic_reject(tag, BasicRejectOptions { requeue }).await,
            }
        })
    }
}
