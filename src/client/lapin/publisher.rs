//! A channel that publishes.
//!
//! Publishes are pipelined: all of a batch is queued before the first is waited for. lapin hands a returned message out
//! with the confirm that happens to come next, not with its own, so returns are matched by their stamp.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::lapin::message::BasicReturnMessage;
use ::lapin::options::BasicPublishOptions;
use ::lapin::types::ShortString;
use ::lapin::{Channel, Confirmation, PublisherConfirm};
use async_trait::async_trait;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Interval, interval};

use super::super::convert::short;
use super::super::{ClientError, Outbox, Outcome, Outgoing, PublisherLink, PublisherSetup, Settlement};
use super::convert;
use super::ending::Ending;
use super::wire::Wire;

/// How often to look for returned messages where no confirm brings them.
const RETURNS_EVERY: Duration = Duration::from_millis(10);

/// A publish that lapin has queued and not yet written.
type HandOver = Pin<Box<dyn Future<Output = ::lapin::Result<PublisherConfirm>> + Send>>;

/// See [`PublisherLink`].
pub(super) struct Publisher {
    wire: Arc<Wire>,
    channel: Arc<Channel>,
    exchange: ShortString,
    persistent: bool,
    mandatory: bool,
    confirms: bool,
    /// Queued, in the order of their delivery tags.
    queued: VecDeque<(u64, HandOver)>,
    /// Written, and waiting for their confirm.
    awaited: FuturesUnordered<Awaited>,
    /// Confirmed, and waiting to be told whether they were returned before (see [`Publisher::poll_settled`]).
    answered: VecDeque<(u64, Outcome)>,
    /// Returned, and waiting for the confirm that follows.
    returned: HashMap<u64, VecDeque<Outcome>>,
    /// lapin's error, found beside settlements that had to be told first.
    error: Option<::lapin::Error>,
    ending: Ending,
    /// When to look for returned messages next, where no confirm brings them.
    look: Interval,
}

impl Publisher {
    pub(super) fn new(wire: Arc<Wire>, channel: Channel, exchange: ShortString, setup: &PublisherSetup) -> Self {
        let channel = Arc::new(channel);
        Self {
            ending: Ending::new(&wire, &channel),
            look: interval(RETURNS_EVERY),
            wire,
            channel,
            exchange,
            persistent: setup.persistent,
            mandatory: setup.mandatory,
            confirms: setup.confirms,
            queued: VecDeque::new(),
            awaited: FuturesUnordered::new(),
            answered: VecDeque::new(),
            returned: HashMap::new(),
            error: None,
        }
    }

    /// What lapin queues at its first poll: polled in the order of the batch, the delivery tags follow that order.
    fn hand_over(&self, message: &Outgoing, body: &[u8]) -> Result<HandOver, ClientError> {
        let routing_key = short(&message.routing_key, "routing key")?;
        let body = body.to_vec();
        let properties = convert::properties(&message.properties, self.persistent)?;
        let options = BasicPublishOptions { mandatory: self.mandatory, immediate: false };
        let (channel, exchange) = (Arc::clone(&self.channel), self.exchange.clone());
        Ok(Box::pin(async move { channel.basic_publish(exchange, routing_key, options, &body, properties).await }))
    }

    fn written(&mut self, token: u64, confirm: PublisherConfirm) {
        if self.confirms {
            self.awaited.push(Awaited { token, confirm });
        } else {
            // Without confirms it is resolved already; taken here, it is not kept for lapin's own bookkeeping.
            let _ = confirm.now_or_never();
        }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<::lapin::Result<()>> {
        while let Some((token, hand_over)) = self.queued.front_mut() {
            let token = *token;
            let Poll::Ready(result) = hand_over.as_mut().poll(cx) else { return Poll::Pending };
            self.queued.pop_front();
            match result {
                Ok(confirm) => self.written(token, confirm),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Moves what the broker has confirmed to `answered`, and the first error to `error`.
    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some((token, answer))) = self.awaited.poll_next_unpin(cx) {
            let (outcome, returned) = match answer {
                Ok(Confirmation::Ack(returned)) => (Outcome::Confirmed, returned),
                Ok(Confirmation::Nack(returned)) => (Outcome::Nacked, returned),
                Ok(Confirmation::NotRequested) => continue,
                Err(error) => {
                    self.error.get_or_insert(error);
                    continue;
                }
            };
            if let Some(message) = returned {
                self.note_return(Some(token), &message);
            }
            self.answered.push_back((token, outcome));
        }
    }

    /// Keeps a return for its message's confirm. `beside` is the confirm that lapin handed it out with: the best guess
    /// where the message carries no stamp.
    fn note_return(&mut self, beside: Option<u64>, message: &BasicReturnMessage) {
        let token = convert::stamped_sequence(&message.delivery.properties, &message.delivery.data).or(beside);
        let Some(token) = token else { return };
        let outcome = Outcome::Returned { code: message.reply_code, reason: message.reply_text.to_string() };
        self.returned.entry(token).or_default().push_back(outcome);
    }

    /// Appends what is settled; ready as soon as something is.
    ///
    /// One ack frame may settle many messages, and lapin resolves their confirms one after the other while this runs.
    /// So that no message is called confirmed while its return is about to be handed out with a confirm later in the
    /// same frame, only those are told that were answered before lapin finished the frame: asking it for pending
    /// confirms waits for the lock that it holds meanwhile.
    fn poll_settled(&mut self, cx: &mut Context<'_>, settled: &mut Vec<Settlement>) -> Poll<::lapin::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_written(cx) {
            self.error.get_or_insert(error);
        }
        self.poll_answers(cx);
        let told = self.answered.len();
        if self.mandatory && told > 0 {
            self.drain_returns();
            self.poll_answers(cx);
        }
        for (token, outcome) in self.answered.drain(..told) {
            let outcome = take_return(&mut self.returned, token).unwrap_or(outcome);
            settled.push(Settlement { token, outcome });
        }
        if told > 0 {
            return Poll::Ready(Ok(()));
        }
        match self.error.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        }
    }

    /// Takes the returned messages that lapin keeps apart from confirms.
    fn drain_returns(&mut self) {
        for message in self.channel.wait_for_confirms().now_or_never().and_then(Result::ok).unwrap_or_default() {
            self.note_return(None, &message);
        }
    }

    /// Where nothing is confirmed, a return settles at once.
    fn settle_returns(&mut self, settled: &mut Vec<Settlement>) {
        self.drain_returns();
        for (token, outcomes) in self.returned.drain() {
            settled.extend(outcomes.into_iter().map(|outcome| Settlement { token, outcome }));
        }
    }

    fn poll_unconfirmed_returns(
        &mut self,
        cx: &mut Context<'_>,
        settled: &mut Vec<Settlement>,
    ) -> Poll<Result<(), ClientError>> {
        let before = settled.len();
        // What a publish that nobody waited for left behind still has to be written.
        if let Poll::Ready(Err(error)) = self.poll_written(cx) {
            self.fail(error);
        }
        while self.mandatory && self.look.poll_tick(cx).is_ready() {
            self.settle_returns(settled);
        }
        let ended = self.ending.poll(cx);
        if ended.is_ready() && self.mandatory {
            self.settle_returns(settled);
        }
        match ended {
            _ if settled.len() > before => Poll::Ready(Ok(())),
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Puts the link out of use. The confirms in flight know best why it ended.
    fn fail(&mut self, error: ::lapin::Error) {
        self.poll_answers(&mut Context::from_waker(Waker::noop()));
        self.ending.failed(self.error.take().unwrap_or(error));
    }
}

fn take_return(returned: &mut HashMap<u64, VecDeque<Outcome>>, token: u64) -> Option<Outcome> {
    if returned.is_empty() {
        return None;
    }
    let outcomes = returned.get_mut(&token)?;
    let outcome = outcomes.pop_front();
    if outcomes.is_empty() {
        returned.remove(&token);
    }
    outcome
}

#[async_trait]
impl PublisherLink for Publisher {
    fn poll_publish(&mut self, cx: &mut Context<'_>, batch: &mut Outbox) -> Poll<Result<(), ClientError>> {
        if !self.ending.is_open() {
            batch.clear();
            return self.ending.poll(cx).map(Err);
        }
        let mut unfit = None;
        for (message, body) in batch.iter() {
            match self.hand_over(message, body) {
                Ok(mut hand_over) => match hand_over.as_mut().poll(cx) {
                    Poll::Pending => self.queued.push_back((message.token, hand_over)),
                    Poll::Ready(Ok(confirm)) => self.written(message.token, confirm),
                    Poll::Ready(Err(error)) => {
                        self.fail(error);
                        break;
                    }
                },
                Err(error) => {
                    unfit = Some(error);
                    break;
                }
            }
        }
        batch.clear();
        if let Some(error) = unfit {
            return Poll::Ready(Err(error));
        }
        if let Poll::Ready(Err(error)) = self.poll_written(cx) {
            self.fail(error);
        }
        if !self.ending.is_open() {
            return self.ending.poll(cx).map(Err);
        }
        if self.queued.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_settlements(
        &mut self,
        cx: &mut Context<'_>,
        settled: &mut Vec<Settlement>,
    ) -> Poll<Result<(), ClientError>> {
        if !self.confirms {
            return self.poll_unconfirmed_returns(cx, settled);
        }
        // What was settled before a failure is still told.
        match self.poll_settled(cx, settled) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) if self.ending.is_open() => self.fail(error),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        self.ending.poll(cx).map(Err)
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        // lapin writes publishes after everything else: what comes after them must wait until they are written.
        let mut nothing = Outbox::default();
        poll_fn(|cx| self.poll_publish(cx, &mut nothing)).await?;
        self.wire.flush(&self.channel).await
    }

    async fn close(self: Box<Self>) {
        self.wire.close_channel(&self.channel).await;
    }
}

/// A confirm with the token of its message.
struct Awaited {
    token: u64,
    confirm: PublisherConfirm,
}

impl Future for Awaited {
    type Output = (u64, ::lapin::Result<Confirmation>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let token = self.token;
        Pin::new(&mut self.confirm).poll(cx).map(|answer| (token, answer))
    }
}
