//! How failed messages of a queue are tried again, dead letters sent back and past messages sent once more: resolved from
//! `[[retry]]`, `[[redrive]]` and `[[replay]]`.

use serde::{Deserialize, Serialize};

use super::draw::{self, Lane};

/// How consumers try messages of one queue again, with `then = "retry"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPlan {
    /// Number of the queue.
    pub queue: usize,
    /// Where its random choices come from.
    pub seed: u64,
    /// Share of a delay that is drawn for each message.
    pub jitter: f64,
    /// The exchange holds what is published to it, for as long as the message's header `x-delay` says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_delayed: bool,
    /// Exchange that a failed message is published to; nothing is published where it waits in the consumer.
    pub exchange: String,
    /// One for each further attempt, in order; what fails after the last is rejected.
    pub steps: Vec<RetryStep>,
}

/// Dead letters that are sent back once the queues were emptied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedrivePlan {
    /// Number of the queue that they are in.
    pub queue: usize,
    /// Only those that died for this reason last; none: all.
    pub reason: Option<String>,
    /// Most messages per second; none: as fast as they are confirmed.
    pub per_s: Option<f64>,
    /// Exchange and routing key that they are published with; none: straight to the queue that they left last.
    pub to: Option<(String, String)>,
}

/// Past messages that are published once more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayPlan {
    /// Place of their fleet among the producers.
    pub producer: usize,
    /// Those that were to be sent from then on, in microseconds on the run's clock; none: from the first.
    pub from_us: Option<u64>,
    /// Those that were to be sent before then; none: to the last.
    pub to_us: Option<u64>,
    /// Most messages per second; none: as fast as they are confirmed.
    pub per_s: Option<f64>,
    /// They have new ids, so that nobody knows them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_ids: bool,
}

/// One further attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryStep {
    /// How long it waits before, in microseconds, at the most.
    pub delay_us: u64,
    /// Routing key that it is published with.
    pub key: String,
    /// Number of the queue that it waits in; none: in its consumer, or in the exchange.
    pub queue: Option<usize>,
}

impl RetryPlan {
    /// Whether what waits is published to where it does.
    pub fn is_published(&self) -> bool {
        self.is_delayed || self.steps.iter().any(|step| step.queue.is_some())
    }

    /// Whether what waits does so in its consumer.
    pub fn waits_in_consumer(&self) -> bool {
        !self.steps.is_empty() && !self.is_published()
    }

    /// How long message `sequence` of a publisher waits before the further attempt `number`, counted from 0, in
    /// microseconds; none where there is no such attempt.
    pub fn delay_us(&self, number: usize, publisher: u16, sequence: u64) -> Option<u64> {
        let delay_us = self.steps.get(number)?.delay_us;
        if self.jitter <= 0.0 {
            return Some(delay_us);
        }
        let of_publisher = draw::bits(self.seed, Lane::Retry, u64::from(publisher));
        let drawn = draw::unit(draw::bits(of_publisher, Lane::Retry, number as u64), Lane::Retry, sequence);
        Some((delay_us as f64 * (1.0 - self.jitter * drawn)).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_its_share_off_and_is_the_same_each_time() {
        let step = RetryStep { delay_us: 1_000_000, key: "wait.1".to_owned(), queue: Some(1) };
        let plan = RetryPlan {
            queue: 0,
            seed: 3,
            jitter: 0.2,
            is_delayed: false,
            exchange: "q.retry".to_owned(),
            steps: vec![step],
        };
        let delays: Vec<_> = (0..1_000).filter_map(|sequence| plan.delay_us(0, 0, sequence)).collect();
        assert!(delays.iter().all(|us| (800_000..=1_000_000).contains(us)) && delays.iter().any(|us| *us < 850_000));
        assert_eq!(delays, (0..1_000).filter_map(|sequence| plan.delay_us(0, 0, sequence)).collect::<Vec<_>>());
        assert_eq!(plan.delay_us(1, 0, 0), None, "there is no second step");
        assert_eq!(RetryPlan { jitter: 0.0, ..plan }.delay_us(0, 0, 7), Some(1_000_000));
    }
}
