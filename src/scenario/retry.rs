//! `[[retry]]`: how messages that consumers fail are tried again, and the exchanges and queues that this stands for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::topology::{Binding, DeadLetter, DeadLetterStrategy, ExchangeKind, Overflow};
use super::{Exchange, Queue, Scenario};
use crate::units::Span;

/// One `[[retry]]`: how the messages of one queue are tried again that its consumers fail with `then = "retry"`.
///
/// It stands for ordinary exchanges and queues, which `lurcher check --plan` shows: `QUEUE.dlx` and a dead-letter queue for
/// what failed at last, unless the queue has a dead-letter exchange of its own; for a ladder `QUEUE.retry` and a queue
/// `QUEUE.wait.N` for each step, whose messages expire back into the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Name of the queue.
    pub queue: String,
    /// Where a message waits before it is tried again.
    pub kind: RetryKind,
    /// How long it waits before each further attempt, in order; what fails after the last is rejected.
    pub delays: Option<Vec<Span>>,
    /// The same, growing by a factor.
    pub backoff: Option<Backoff>,
    /// Share of a delay, from 0 to 1, that is drawn for each message: with 0.2 it waits for 80 % to 100 % of it. Default 0.
    pub jitter: Option<f64>,
    /// How often a message may come back (`delivery-limit`).
    pub limit: Option<u32>,
    /// Queue for what failed at last. Default `QUEUE.dead`.
    pub dead_letter_queue: Option<String>,
    /// Whether a dead letter may be lost on its way; `at-least-once` needs quorum queues. Default `at-most-once`.
    pub strategy: Option<DeadLetterStrategy>,
}

/// Where a message waits before it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetryKind {
    /// In a queue for each step: its consumer publishes it there, with the number of the step in the header
    /// `x-retry-count`, and acks it; it expires back into its queue.
    Ladder,
    /// In an exchange of the plugin `rabbitmq_delayed_message_exchange`, which has to be among `broker.plugins`: its
    /// consumer publishes it there, with the delay in the header `x-delay` and the number of the step in `x-retry-count`,
    /// and acks it. What is still there when the run ends nobody can read: it is lost.
    DelayedExchange,
    /// In its consumer, which takes nothing else meanwhile.
    InConsumer,
    /// Nowhere: it goes back to its quorum queue at once (`then = "reject-requeue"`), up to `limit` times.
    DeliveryLimit,
}

/// Delays that grow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The first delay.
    pub first: Span,
    /// What each is times the one before. Default 2.
    pub factor: Option<f64>,
    /// How many there are.
    pub steps: u32,
    /// Longest. Default: no limit.
    pub max: Option<Span>,
}

impl Retry {
    /// The delays before each further attempt, in order.
    pub fn all_delays(&self) -> Vec<Span> {
        match (&self.delays, self.backoff) {
            (Some(delays), _) => delays.clone(),
            (None, Some(backoff)) => backoff.delays(),
            (None, None) => Vec::new(),
        }
    }

    /// The exchange that its consumers publish to.
    pub fn exchange(&self) -> String {
        format!("{}.retry", self.queue)
    }

    /// The queue of step `number`, from 0.
    pub fn wait(&self, number: usize) -> String {
        format!("{}.wait.{}", self.queue, number + 1)
    }

    /// The routing key of step `number`, from 0.
    pub fn key(number: usize) -> String {
        format!("wait.{}", number + 1)
    }

    fn dead_letter_exchange(&self) -> String {
        format!("{}.dlx", self.queue)
    }

    fn dead(&self) -> String {
        self.dead_letter_queue.clone().unwrap_or_else(|| format!("{}.dead", self.queue))
    }

    /// Names of the exchanges and of the queues that it stands for, where its queue is `of`.
    pub fn stands_for(&self, of: &Queue) -> (Vec<String>, Vec<String>) {
        let (mut exchanges, mut queues) = (Vec::new(), Vec::new());
        if of.dead_letter.is_none() {
            exchanges.push(self.dead_letter_exchange());
            queues.push(self.dead());
        }
        if matches!(self.kind, RetryKind::Ladder | RetryKind::DelayedExchange) {
            exchanges.push(self.exchange());
        }
        if self.kind == RetryKind::Ladder {
            queues.extend((0..self.all_delays().len()).map(|number| self.wait(number)));
        }
        (exchanges, queues)
    }
}

impl Backoff {
    fn delays(self) -> Vec<Span> {
        let factor = self.factor.unwrap_or(2.0);
        let delay = |step: u32| {
            let us = self.first.as_us() as f64 * factor.powi(step as i32);
            let span = Span::from_us(us.round() as u64);
            self.max.map_or(span, |max| span.min(max))
        };
        (0..self.steps).map(delay).collect()
    }
}

impl Scenario {
    /// With all that `[[retry]]` stands for written out; what cannot be, because names are missing, is left out.
    pub fn expanded(&self) -> Cow<'_, Self> {
        if self.retries.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut expanded = self.clone();
        for retry in &self.retries {
            expanded.write_out(retry);
        }
        Cow::Owned(expanded)
    }

    fn write_out(&mut self, retry: &Retry) {
        let Some(place) = self.queues.iter().position(|queue| queue.name == retry.queue) else { return };
        let of = &mut self.queues[place];
        let kind = of.kind;
        let reject_publish = retry.strategy.filter(|it| *it == DeadLetterStrategy::AtLeastOnce);
        let reject_publish = reject_publish.map(|_| Overflow::RejectPublish);
        let (mut exchanges, mut queues) = (Vec::new(), Vec::new());
        if of.dead_letter.is_none() {
            let exchange = retry.dead_letter_exchange();
            of.dead_letter = Some(DeadLetter {
                exchange: exchange.clone(),
                key: Some(retry.queue.clone()),
                strategy: retry.strategy,
            });
            of.overflow = of.overflow.or(reject_publish);
            exchanges.push(Exchange::named(&exchange, ExchangeKind::Direct));
            queues.push(Queue { kind, bind: vec![bound(&exchange, &retry.queue)], ..Queue::named(&retry.dead()) });
        }
        match retry.kind {
            RetryKind::Ladder => {
                let exchange = retry.exchange();
                exchanges.push(Exchange::named(&exchange, ExchangeKind::Direct));
                for (number, delay) in retry.all_delays().into_iter().enumerate() {
                    queues.push(Queue {
                        kind,
                        bind: vec![bound(&exchange, &Retry::key(number))],
                        message_ttl: Some(delay),
                        dead_letter: Some(DeadLetter {
                            exchange: String::new(),
                            key: Some(retry.queue.clone()),
                            strategy: retry.strategy,
                        }),
                        overflow: reject_publish,
                        ..Queue::named(&retry.wait(number))
                    });
                }
            }
            RetryKind::DelayedExchange => {
                let exchange = retry.exchange();
                exchanges.push(Exchange::named(&exchange, ExchangeKind::Delayed));
                self.queues[place].bind.push(bound(&exchange, &retry.queue));
            }
            RetryKind::DeliveryLimit => of_limit(&mut self.queues[place], retry.limit),
            RetryKind::InConsumer => {}
        }
        self.exchanges.extend(exchanges);
        self.queues.extend(queues);
    }
}

fn of_limit(queue: &mut Queue, limit: Option<u32>) {
    queue.delivery_limit = queue.delivery_limit.or(limit);
}

fn bound(exchange: &str, key: &str) -> Binding {
    Binding { exchange: exchange.to_owned(), key: Some(key.to_owned()), headers: Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Scenario {
        let text = format!("schema = 1\nname = \"r\"\n{text}\n[load]\nduration = \"1s\"\n");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_ladder_is_a_queue_for_each_step_and_one_for_the_dead() {
        let written = scenario(
            "[[queue]]\nname = \"orders\"\nkind = \"quorum\"\n\
             [[retry]]\nqueue = \"orders\"\nkind = \"ladder\"\ndelays = [\"1s\", \"5s\"]\nstrategy = \"at-least-once\"\n",
        );
        let expanded = written.expanded();
        let names: Vec<_> = expanded.queues.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(names, ["orders", "orders.dead", "orders.wait.1", "orders.wait.2"]);
        assert_eq!(
            expanded.exchanges.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
            ["orders.dlx", "orders.retry"]
        );
        let waits: Vec<_> = expanded.queues[2..].iter().map(|queue| queue.message_ttl).collect();
        assert_eq!(waits, [1, 5].map(|s| Some(Span::from_secs(s))));
        assert!(expanded.queues[2..].iter().all(|queue| queue.overflow == Some(Overflow::RejectPublish)));
        let (exchanges, queues) = written.retries[0].stands_for(&written.queues[0]);
        assert_eq!((exchanges.len(), queues.len()), (2, 3));
    }

    #[test]
    fn a_delayed_exchange_is_bound_to_its_queue() {
        let written = scenario(
            "[[queue]]\nname = \"orders\"\n[[retry]]\nqueue = \"orders\"\nkind = \"delayed-exchange\"\ndelays = [\"1s\"]\n",
        );
        let expanded = written.expanded();
        let kinds: Vec<_> = expanded.exchanges.iter().map(|it| (it.name.as_str(), it.kind)).collect();
        assert_eq!(kinds, [("orders.dlx", ExchangeKind::Direct), ("orders.retry", ExchangeKind::Delayed)]);
        assert_eq!(expanded.queues[0].bind, [bound("orders.retry", "orders")]);
        assert_eq!(expanded.queues.len(), 2, "nothing waits in a queue");
        let (exchanges, queues) = written.retries[0].stands_for(&written.queues[0]);
        assert_eq!((exchanges.len(), queues.len()), (2, 1));
    }

    #[test]
    fn a_queue_keeps_its_own_dead_letters() {
        let written = scenario(
            "[[exchange]]\nname = \"dlx\"\nkind = \"fanout\"\n\
             [[queue]]\nname = \"orders\"\nkind = \"quorum\"\ndead_letter = { exchange = \"dlx\" }\n\
             [[retry]]\nqueue = \"orders\"\nkind = \"delivery-limit\"\nlimit = 3\n",
        );
        let expanded = written.expanded();
        assert_eq!((expanded.queues.len(), expanded.exchanges.len()), (1, 1));
        assert_eq!(expanded.queues[0].delivery_limit, Some(3));
    }

    #[test]
    fn a_backoff_grows_up_to_its_limit() {
        let backoff = Backoff { first: Span::from_secs(1), factor: None, steps: 4, max: Some(Span::from_secs(5)) };
        assert_eq!(backoff.delays(), [1, 2, 4, 5].map(Span::from_secs));
        let slow = Backoff { factor: Some(1.5), steps: 2, max: None, ..backoff };
        assert_eq!(slow.delays(), [Span::from_secs(1), Span::from_us(1_500_000)]);
    }
}
