//! A channel that consumes by subscription, and how a consuming channel settles.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ::lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use ::lapin::{Channel, Consumer};
use async_trait::async_trait;
use futures_util::StreamExt;

use super::super::{ClientError, Deliveries, Settle, SubscriberLink};
use super::convert;
use super::ending::Ending;
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
    /// The ids of messages are asked for.
    wants_ids: bool,
    /// Deliveries by tag that wait for one of a lower tag, which sits in another queue's buffer. Callers settle
    /// `multiple` up to a tag, so they must not see a tag before all lower ones.
    early: BTreeMap<u64, (usize, ::lapin::message::Delivery)>,
    next_tag: u64,
    settler: Settler,
    /// The end, found behind deliveries that had to be handed over first.
    end: Option<End>,
    ending: Ending,
}

/// How a subscription ended.
enum End {
    Failed(::lapin::Error),
    Cancelled { queue: String },
}

impl Subscriber {
    pub(super) fn new(
        wire: Arc<Wire>,
        channel: Channel,
        (subscriptions, wants_ids): (Vec<Subscription>, bool),
    ) -> Self {
        let channel = Arc::new(channel);
        Self {
            ending: Ending::new(&wire, &channel),
            wire,
            settler: Settler::new(Arc::clone(&channel)),
            channel,
            subscriptions,
            wants_ids,
            early: BTreeMap::new(),
            next_tag: 1,
            end: None,
        }
    }

    fn poll_deliveries(
        &mut self,
        cx: &mut Context<'_>,
        deliveries: &mut Deliveries,
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

    fn poll_subscriptions(&mut self, cx: &mut Context<'_>, deliveries: &mut Deliveries, limit: usize) {
        let wants_ids = self.wants_ids;
        if let [subscription] = self.subscriptions.as_mut_slice() {
            let number = subscription.number;
            self.end = poll_one(cx, subscription, limit, |delivery| {
                convert::hand_over((number, wants_ids), &delivery, deliveries)
            });
            return;
        }
        for subscription in &mut self.subscriptions {
            let number = subscription.number;
            let ended = poll_one(cx, subscription, usize::MAX, |delivery| {
                self.early.insert(delivery.delivery_tag, (number, delivery));
            });
            self.end = self.end.take().or(ended);
        }
    }

    /// Moves up to `limit` deliveries out in the order of their tags. At the channel's end a gap is never filled.
    fn release(&mut self, deliveries: &mut Deliveries, limit: usize, over_gaps: bool) {
        let (mut room, wants_ids) = (limit, self.wants_ids);
        while room > 0
            && let Some(first) = self.early.first_entry()
            && (over_gaps || *first.key() == self.next_tag)
        {
            let (number, delivery) = first.remove();
            self.next_tag = delivery.delivery_tag + 1;
            convert::hand_over((number, wants_ids), &delivery, deliveries);
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
    mut take: impl FnMut(::lapin::message::Delivery),
) -> Option<End> {
    for _ in 0..limit {
        match subscription.consumer.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(delivery))) => take(delivery),
            Poll::Ready(Some(Err(error))) => return Some(End::Failed(error)),
            Poll::Ready(None) => return Some(End::Cancelled { queue: subscription.name.clone() }),
            Poll::Pending => break,
        }
    }
    None
}

#[async_trait]
impl SubscriberLink for Subscriber {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        deliveries: &mut Deliveries,
        limit: usize,
    ) -> Poll<Result<(), ClientError>> {
        if self.ending.is_open() {
            match self.poll_deliveries(cx, deliveries, limit) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(end)) => {
                    let (wire, channel) = (Arc::clone(&self.wire), Arc::clone(&self.channel));
                    self.ending.explained_by(async move { explain(&wire, &channel, end).await });
                }
                Poll::Pending => {}
            }
        }
        self.settler.poll_written(cx, &mut self.ending);
        self.ending.poll(cx).map(Err)
    }

    fn settle(&mut self, tag: u64, multiple: bool, settle: Settle) -> Result<(), ClientError> {
        self.settler.settle(&mut self.ending, tag, multiple, settle)
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        self.settler.poll_room(cx, &mut self.ending)
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        self.wire.flush(&self.channel).await
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

    /// Queues a settlement.
    pub(super) fn settle(
        &mut self,
        ending: &mut Ending,
        tag: u64,
        multiple: bool,
        settle: Settle,
    ) -> Result<(), ClientError> {
        let mut unwoken = Context::from_waker(Waker::noop());
        if !ending.is_open()
            && let Poll::Ready(error) = ending.poll(&mut unwoken)
        {
            return Err(error);
        }
        let mut written = self.command(tag, multiple, settle);
        // The first poll queues the frame.
        match written.as_mut().poll(&mut unwoken) {
            Poll::Pending => self.unwritten.push_back(written),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => ending.failed(error),
        }
        Ok(())
    }

    /// Forgets what is written, and looks at the rest when woken.
    pub(super) fn poll_written(&mut self, cx: &mut Context<'_>, ending: &mut Ending) {
        while let Some(oldest) = self.unwritten.front_mut()
            && let Poll::Ready(result) = oldest.as_mut().poll(cx)
        {
            self.unwritten.pop_front();
            if let Err(error) = result {
                ending.failed(error);
            }
        }
    }

    /// Waits where too many wait for the socket.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>, ending: &mut Ending) -> Poll<Result<(), ClientError>> {
        self.poll_written(cx, ending);
        if !ending.is_open() {
            return ending.poll(cx).map(Err);
        }
        if self.unwritten.len() > UNWRITTEN_MAX { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

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
                Settle::Nack { requeue } => channel.basic_nack(tag, BasicNackOptions { multiple, requeue }).await,
            }
        })
    }
}
