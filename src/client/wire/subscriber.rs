//! A channel that consumes by subscription, and how a consuming channel settles.

use std::task::{Context, Poll};

use async_trait::async_trait;

use super::super::{ClientError, Deliveries, Settle, SubscriberLink};
use super::asking::OpenChannel;
use crate::amqp::{put_ack, put_nack, put_reject};

/// See [`SubscriberLink`].
pub(super) struct Subscriber {
    channel: OpenChannel,
}

impl Subscriber {
    pub(super) fn new(channel: OpenChannel) -> Self {
        Self { channel }
    }
}

#[async_trait]
impl SubscriberLink for Subscriber {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        deliveries: &mut Deliveries,
        limit: usize,
    ) -> Poll<Result<(), ClientError>> {
        poll_inbox(&self.channel, cx, deliveries, limit)
    }

    fn settle(&mut self, tag: u64, multiple: bool, settle: Settle) -> Result<(), ClientError> {
        put_settlement(&self.channel, tag, multiple, settle)
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        poll_room(&self.channel, cx)
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        self.channel.flush().await
    }

    async fn close(self: Box<Self>) {
        // The broker cancels the subscriptions of a channel that closes, and requeues what is unsettled.
        self.channel.close().await;
    }
}

/// Takes what has arrived; what came before a failure first.
pub(super) fn poll_inbox(
    open: &OpenChannel,
    cx: &mut Context<'_>,
    deliveries: &mut Deliveries,
    limit: usize,
) -> Poll<Result<(), ClientError>> {
    let mut inner = open.line.lock();
    let Some(channel) = inner.channel(open.id) else {
        return Poll::Ready(inner.usable(open.id).map(|_| ()));
    };
    let was_full = channel.is_full();
    if channel.take_arrived(deliveries, limit) {
        if was_full && !channel.is_full() {
            inner.full -= 1;
            // There is room again: read on.
            inner.call_driver();
        }
        return Poll::Ready(Ok(()));
    }
    if let Some(error) = channel.ended() {
        return Poll::Ready(Err(error.clone()));
    }
    channel.wait(cx);
    Poll::Pending
}

/// Puts a settlement into the connection's buffer; the driver writes all that there are when it has its turn, which is
/// when this task waits.
pub(super) fn put_settlement(open: &OpenChannel, tag: u64, multiple: bool, settle: Settle) -> Result<(), ClientError> {
    let mut inner = open.line.lock();
    let (_, out) = inner.usable(open.id)?;
    let requeue = settle == Settle::Requeue;
    match settle {
        Settle::Ack => put_ack(out, open.id, tag, multiple),
        Settle::Requeue | Settle::Reject if multiple => put_nack(out, open.id, tag, true, requeue),
        Settle::Requeue | Settle::Reject => put_reject(out, open.id, tag, requeue),
        Settle::Nack { requeue } => put_nack(out, open.id, tag, multiple, requeue),
    }
    inner.call_driver();
    Ok(())
}

/// Waits where too much waits for the socket.
pub(super) fn poll_room(open: &OpenChannel, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
    let mut inner = open.line.lock();
    if inner.is_roomy() {
        return Poll::Ready(inner.usable(open.id).map(|_| ()));
    }
    inner.wait(cx);
    Poll::Pending
}
