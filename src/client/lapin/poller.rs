//! A channel that consumes by asking: `basic.get`, one queue after the other.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::lapin::Channel;
use ::lapin::message::BasicGetMessage;
use ::lapin::options::BasicGetOptions;
use ::lapin::types::ShortString;
use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::super::{ClientError, Delivery, Settle, SubscriberLink, SubscriberSetup};
use super::convert;
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
    /// How long to wait where all queues are empty.
    pause: Duration,
    /// Place in `queues` that is asked, or will be next.
    place: usize,
    asked: Option<Question>,
    /// Queues in a row that were empty.
    empty: usize,
    not_before: Option<Instant>,
    settler: Settler,
    failure: Option<ClientError>,
}

impl Poller {
    pub(super) fn new(
        wire: Arc<Wire>,
        channel: Channel,
        setup: &SubscriberSetup,
        pause: Duration,
    ) -> Result<Self, ClientError> {
        let channel = Arc::new(channel);
        let queues = setup.queues.iter().map(|queue| Ok((queue.number, convert::short(&queue.name, "queue name")?)));
        Ok(Self {
            wire,
            settler: Settler::new(Arc::clone(&channel)),
            channel,
            queues: queues.collect::<Result<_, ClientError>>()?,
            auto_ack: setup.auto_ack,
            pause,
            place: 0,
            asked: None,
            empty: 0,
            not_before: None,
            failure: None,
        })
    }

    fn ask(&self) -> Question {
        let (channel, options) = (Arc::clone(&self.channel), BasicGetOptions { no_ack: self.auto_ack });
        let name = self.queues.get(self.place).map(|(_, name)| name.clone()).unwrap_or_default();
        Box::pin(async move { channel.basic_get(name, options).await })
    }

    /// The next message. Everything that a cancelled call has begun is kept in `self`.
    async fn next(&mut self) -> ::lapin::Result<Delivery> {
        loop {
            if let Some(when) = self.not_before {
                sleep_until(when).await;
                self.not_before = None;
            }
            let question = match &mut self.asked {
                Some(question) => question,
                None => {
                    let question = self.ask();
                    self.asked.insert(question)
                }
            };
            let answer = poll_fn(|cx| question.as_mut().poll(cx)).await;
            self.asked = None;
            let number = self.queues.get(self.place).map_or(0, |(number, _)| *number);
            self.place = (self.place + 1) % self.queues.len().max(1);
            if let Some(message) = answer? {
                self.empty = 0;
                return Ok(convert::delivery(number, message.delivery));
            }
            self.empty += 1;
            if self.empty >= self.queues.len() {
                self.empty = 0;
                self.not_before = Some(Instant::now() + self.pause);
            }
        }
    }
}

#[async_trait]
impl SubscriberLink for Poller {
    /// One message at a time: to fetch more before handing over the first would hold it back.
    async fn receive(&mut self, deliveries: &mut Vec<Delivery>, limit: usize) -> Result<(), ClientError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if limit == 0 {
            return Ok(());
        }
        let (wire, channel) = (Arc::clone(&self.wire), Arc::clone(&self.channel));
        let error = tokio::select! {
            biased;
            message = self.next() => match message {
                Ok(delivery) => {
                    deliveries.push(delivery);
                    return Ok(());
                }
                Err(error) => wire.explain(&channel, &error).await,
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
        self.wire.close_channel(&self.channel).await;
    }
}
