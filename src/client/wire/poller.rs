//! A channel that consumes by asking: `basic.get`, one queue after the other.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, Sleep, sleep};

use super::super::{ClientError, Deliveries, Settle, SubscriberLink, SubscriberSetup};
use super::asking::OpenChannel;
use super::subscriber::{poll_inbox, poll_room, put_settlement};
use crate::amqp::put_get;

/// See [`SubscriberLink`].
pub(super) struct Poller {
    channel: OpenChannel,
    queues: Vec<String>,
    auto_ack: bool,
    /// How long to wait where all queues are empty.
    pause: Duration,
    /// Place in `queues` that will be asked next.
    place: usize,
    /// Queues in a row that were empty.
    empty: usize,
    rest: Pin<Box<Sleep>>,
    resting: bool,
}

impl Poller {
    pub(super) fn new(channel: OpenChannel, setup: &SubscriberSetup, pause: Duration) -> Self {
        Self {
            channel,
            queues: setup.queues.iter().map(|queue| queue.name.clone()).collect(),
            auto_ack: setup.auto_ack,
            pause,
            place: 0,
            empty: 0,
            rest: Box::pin(sleep(Duration::ZERO)),
            resting: false,
        }
    }

    /// Sees to it that a question is on its way, unless it is time to rest.
    fn poll_ask(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        loop {
            if self.resting {
                ready!(self.rest.as_mut().poll(cx));
                self.resting = false;
            }
            let mut inner = self.channel.line.lock();
            let (channel, out) = inner.usable(self.channel.id)?;
            let Some(inbox) = channel.subscriber() else { return Poll::Ready(Ok(())) };
            if inbox.take_empty() {
                self.empty += 1;
                if self.empty >= self.queues.len() {
                    self.empty = 0;
                    self.resting = true;
                    self.rest.as_mut().reset(Instant::now() + self.pause);
                    continue;
                }
            }
            if !inbox.is_asking() && inbox.is_empty() {
                let name = self.queues.get(self.place).map_or("", String::as_str);
                // The name's length was seen to before the channel was opened.
                let _ = put_get(out, self.channel.id, name, self.auto_ack);
                inbox.ask(self.place);
                self.place = (self.place + 1) % self.queues.len().max(1);
                inner.flush();
            }
            return Poll::Ready(Ok(()));
        }
    }
}

#[async_trait]
impl SubscriberLink for Poller {
    /// One message at a time: to fetch more before handing over the first would hold it back.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        deliveries: &mut Deliveries,
        limit: usize,
    ) -> Poll<Result<(), ClientError>> {
        if limit == 0 {
            return Poll::Ready(Ok(()));
        }
        let arrived = poll_inbox(&self.channel, cx, deliveries, limit);
        if arrived.is_ready() {
            self.empty = 0;
            return arrived;
        }
        match self.poll_ask(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
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
        self.channel.close().await;
    }
}
