//! A channel that consumes by asking: `basic.get`, one queue after the other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::lapin::Channel;
use ::lapin::message::BasicGetMessage;
use ::lapin::options::BasicGetOptions;
use ::lapin::types::ShortString;
use async_trait::async_trait;
use tokio::time::{Sleep, sleep};

use super::super::convert::short;
use super::super::{ClientError, Deliveries, Settle, SubscriberLink, SubscriberSetup};
use super::convert;
use super::ending::Ending;
use super::subscriber::Settler;
use super::wire::Wire;

/// A question that is on its way; dropped, it would lose the message that answers it.
type Question = Pin<Box<dyn Future<Output = ::lapin::Result<Option<BasicGetMessage>>> + Send>>;

/// See [`SubscriberLink`].
pub(super) struct Poller {
    wire: Arc<Wire>,
    channel: Arc<Channel>,
    /// Number and name of each queue.
    queues: Vec<(usize, ShortString)>,
    auto_ack: bool,
    /// The ids of messages are asked for.
    wants_ids: bool,
    /// How long to wait where all queues are empty.
    pause: Duration,
    /// Place in `queues` that is asked, or will be next.
    place: usize,
    asked: Option<Question>,
    /// Queues in a row that were empty.
    empty: usize,
    resting: Option<Pin<Box<Sleep>>>,
    settler: Settler,
    ending: Ending,
}

impl Poller {
    pub(super) fn new(
        wire: Arc<Wire>,
        channel: Channel,
        setup: &SubscriberSetup,
        pause: Duration,
    ) -> Result<Self, ClientError> {
        let channel = Arc::new(channel);
        let queues = setup.queues.iter().map(|queue| Ok((queue.number, short(&queue.name, "queue name")?)));
        Ok(Self {
            ending: Ending::new(&wire, &channel),
            wire,
            settler: Settler::new(Arc::clone(&channel)),
            channel,
            queues: queues.collect::<Result<_, ClientError>>()?,
            auto_ack: setup.auto_ack,
            wants_ids: setup.ids,
            pause,
            place: 0,
            asked: None,
            empty: 0,
            resting: None,
        })
    }

    fn ask(&self) -> Question {
        let (channel, options) = (Arc::clone(&self.channel), BasicGetOptions { no_ack: self.auto_ack });
        let name = self.queues.get(self.place).map(|(_, name)| name.clone()).unwrap_or_default();
        Box::pin(async move { channel.basic_get(name, options).await })
    }

    /// The next message, and the number of its queue.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<::lapin::Result<(usize, BasicGetMessage)>> {
        loop {
            if let Some(resting) = &mut self.resting {
                ready!(resting.as_mut().poll(cx));
                self.resting = None;
            }
            let question = match &mut self.asked {
                Some(question) => question,
                None => {
                    let question = self.ask();
                    self.asked.insert(question)
                }
            };
            let answer = ready!(question.as_mut().poll(cx));
            self.asked = None;
            let number = self.queues.get(self.place).map_or(0, |(number, _)| *number);
            self.place = (self.place + 1) % self.queues.len().max(1);
            if let Some(message) = answer? {
                self.empty = 0;
                return Poll::Ready(Ok((number, message)));
            }
            self.empty += 1;
            if self.empty >= self.queues.len() {
                self.empty = 0;
                self.resting = Some(Box::pin(sleep(self.pause)));
            }
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
        if limit == 0 && self.ending.is_open() {
            return Poll::Ready(Ok(()));
        }
        self.settler.poll_written(cx, &mut self.ending);
        if self.ending.is_open() {
            match self.poll_next(cx) {
                Poll::Ready(Ok((number, message))) => {
                    convert::hand_over((number, self.wants_ids), &message.delivery, deliveries);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => self.ending.failed(error),
                Poll::Pending => {}
            }
        }
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
        self.wire.close_channel(&self.channel).await;
    }
}
