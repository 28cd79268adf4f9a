//! Fleets resolved to their publishers and subscribers, and what each message will be.

use serde::{Deserialize, Serialize};

use super::failing::{FailLasts, FailThen};
use super::{
    Again, Arguments, BodyPlan, ClientKind, Discipline, FailPlan, PrefetchScope, RateProfile, RetryPlan, Store,
    StreamOffset, draw,
};

/// A fleet of producers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProducerFleet {
    /// Name.
    pub name: String,
    /// Client that speaks to the broker.
    pub client: ClientKind,
    /// Exchange to publish to; `""` is the default exchange.
    pub exchange: String,
    /// Where messages may go; each message takes one of them.
    pub routes: Vec<Route>,
    /// Whether routes are drawn by weight; else they are taken in turn.
    pub routes_drawn: bool,
    /// Offered load of the fleet over time; none: closed loop.
    pub rate: Option<RateProfile>,
    /// Sizes of the body with weights, or the range.
    pub size: SizePlan,
    /// What a body holds.
    pub body: BodyPlan,
    /// Delivery mode 2.
    pub persistent: bool,
    /// Have unroutable messages returned.
    pub mandatory: bool,
    /// Confirms; none: off.
    pub confirm: Option<ConfirmPlan>,
    /// What to do with an unconfirmed message.
    pub on_unconfirmed: Again,
    /// What to do with a nacked message.
    pub on_nacked: Again,
    /// How long to wait before a message is published again; none: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffPlan>,
    /// Properties of the messages.
    pub properties: PropertiesPlan,
    /// Fleet of consumers, by number, that publish one of these for each message that they work off; none: the fleet has
    /// members of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<usize>,
    /// Channels that publish, each with a sequence of its own.
    pub publishers: Vec<Publisher>,
}

/// Where a message may go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Routing key.
    pub key: String,
    /// Weight among the routes.
    pub weight: f64,
    /// Headers beside the fleet's own.
    pub headers: Arguments,
    /// Queues that the topology routes it to, by number, ascending; foretold by [`super::routing`].
    pub queues: Vec<usize>,
}

/// Publisher confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmPlan {
    /// Most unconfirmed messages of one publisher.
    pub window: u32,
    /// How long to wait for a confirm.
    pub timeout_us: u64,
}

/// How long an outbox waits before it publishes a message again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BackoffPlan {
    /// Before the second attempt, in microseconds.
    pub first_us: u64,
    /// What each wait is times the one before.
    pub factor: f64,
    /// The longest, in microseconds.
    pub max_us: u64,
}

impl BackoffPlan {
    /// How long to wait once attempt `attempt`, from 0, has failed, in microseconds.
    pub fn after(&self, attempt: u8) -> u64 {
        let us = self.first_us as f64 * self.factor.powi(i32::from(attempt));
        // What is larger than any number of microseconds is the longest.
        (us.round() as u64).min(self.max_us)
    }
}

/// Size of a body in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizePlan {
    /// The same for each message.
    Fixed(u32),
    /// Each size in the range as likely as the other, both ends included.
    Range {
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
    },
    /// Sizes with weights.
    Choice(Vec<(u32, f64)>),
    /// As long as the filled-in template.
    Template,
}

impl SizePlan {
    /// The largest body that it may ask for, in bytes; 0 where a template decides.
    pub fn largest(&self) -> u32 {
        match self {
            Self::Fixed(size) | Self::Range { max: size, .. } => *size,
            Self::Choice(sizes) => sizes.iter().map(|(size, _)| *size).max().unwrap_or(0),
            Self::Template => 0,
        }
    }
}

/// Properties of the messages; `{{…}}` fields in texts are filled in for each message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PropertiesPlan {
    /// Priorities, taken in turn; empty: none.
    pub priority: Vec<u8>,
    /// `expiration`, in whole milliseconds.
    pub expiration_ms: Option<u64>,
    /// `content-type`.
    pub content_type: Option<String>,
    /// `content-encoding`.
    pub content_encoding: Option<String>,
    /// `message-id`.
    pub message_id: Option<String>,
    /// `correlation-id`.
    pub correlation_id: Option<String>,
    /// `reply-to`.
    pub reply_to: Option<String>,
    /// `type`.
    pub kind: Option<String>,
    /// `app-id`.
    pub app_id: Option<String>,
    /// Headers.
    pub headers: Arguments,
}

/// One channel that publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    /// Its number among all publishers of the plan; the stamp carries it.
    pub id: u16,
    /// Member of the fleet that it belongs to.
    pub member: u32,
    /// Connection, counted over the fleet; publishers with the same number share it.
    pub connection: u32,
    /// Place among the fleet's publishers: of the fleet's schedule it takes every n-th send.
    pub place: u32,
    /// Where its own random choices come from.
    pub seed: u64,
    /// Its first send is not before this time on the run's clock.
    pub start_us: u64,
    /// Most messages it sends; none: no limit but the load's.
    pub messages: Option<u64>,
}

/// What message `seq` of a publisher is, as far as the plan decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Place of its route in the fleet's list.
    pub route: usize,
    /// Size of the body in bytes; 0 for a template.
    pub size: u32,
    /// Priority.
    pub priority: Option<u8>,
}

impl ProducerFleet {
    /// What message `seq` of `publisher` is.
    pub fn message(&self, publisher: &Publisher, seq: u64) -> Message {
        Message {
            route: self.route(publisher, seq),
            size: self.size.of(publisher.seed, seq),
            priority: draw::in_turn(&self.properties.priority, seq),
        }
    }

    /// The place in `routes` of message `seq` of `publisher`.
    pub fn route(&self, publisher: &Publisher, seq: u64) -> usize {
        if self.routes.len() == 1 {
            return 0;
        }
        if self.routes_drawn {
            let weights = self.routes.iter().map(|route| route.weight);
            return draw::weighted(draw::unit(publisher.seed, draw::Lane::Route, seq), weights);
        }
        // In turn over the whole fleet: its publishers begin at different routes.
        let count = self.routes.len() as u64;
        ((seq % count + u64::from(publisher.place) % count) % count) as usize
    }
}

impl SizePlan {
    fn of(&self, seed: u64, seq: u64) -> u32 {
        match self {
            Self::Fixed(size) => *size,
            Self::Range { min, max } => {
                let width = u64::from(max - min) + 1;
                min + draw::below(seed, draw::Lane::Size, seq, width) as u32
            }
            Self::Choice(sizes) => {
                let place =
                    draw::weighted(draw::unit(seed, draw::Lane::Size, seq), sizes.iter().map(|(_, weight)| *weight));
                sizes.get(place).map_or(0, |(size, _)| *size)
            }
            Self::Template => 0,
        }
    }
}

/// A fleet of consumers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsumerFleet {
    /// Name.
    pub name: String,
    /// Client that speaks to the broker.
    pub client: ClientKind,
    /// Queues that the fleet consumes from, by number.
    pub queues: Vec<usize>,
    /// Most messages that the broker sends ahead of their acks; 0: no limit.
    pub prefetch: u16,
    /// What the prefetch counts.
    pub prefetch_scope: PrefetchScope,
    /// How messages are settled.
    pub ack: AckPlan,
    /// `basic.get` this often where the queue is empty; none: subscribe.
    pub poll_us: Option<u64>,
    /// Simulated work.
    pub work: Option<WorkPlan>,
    /// What it fails on purpose; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail: Option<FailPlan>,
    /// `x-priority`.
    pub priority: i32,
    /// Where in a stream to begin.
    pub offset: StreamOffset,
    /// Effects, and how they are kept from being applied twice; none: no effects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<IdempotencyPlan>,
    /// Channels that consume.
    pub subscribers: Vec<Subscriber>,
}

impl ConsumerFleet {
    /// Whether a message may take its members with it.
    pub fn crashes(&self) -> bool {
        self.fail.iter().flat_map(|fail| &fail.rules).any(|rule| rule.then == FailThen::Crash)
    }

    /// Whether messages that it fails may keep a member from taking anything else: it waits with them, or they are slow.
    pub fn holds_up(&self, retries: &[RetryPlan]) -> bool {
        let waits = |retry: &RetryPlan| self.retries(retry.queue) && retry.waits_in_consumer();
        let rules = self.fail.iter().flat_map(|fail| &fail.rules);
        rules.into_iter().any(|rule| matches!(rule.lasts, FailLasts::Slow { .. })) || retries.iter().any(waits)
    }

    /// Whether it tries messages of this queue again as the queue's `[[retry]]` says.
    pub fn retries(&self, queue: usize) -> bool {
        let rules = self.fail.iter().flat_map(|fail| &fail.rules);
        self.queues.contains(&queue) && rules.into_iter().any(|rule| rule.then == FailThen::Retry)
    }
}

/// How the effects of a fleet are kept from being applied twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyPlan {
    /// Where the ids are kept.
    pub store: Store,
    /// In which order a consumer looks up, applies and records.
    pub discipline: Discipline,
    /// How long an id is kept; none: to the end of the run.
    pub window_us: Option<u64>,
    /// SQLite's file; none: a temporary one.
    pub path: Option<String>,
    /// URL of a PostgreSQL server that is already there, without its password and its parameters; none: one of our own.
    pub url: Option<String>,
}

/// How messages are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckPlan {
    /// By the broker, on sending.
    Auto,
    /// By the consumer, after its work.
    Manual {
        /// Messages settled with one ack.
        batch: u32,
    },
}

/// Simulated work for each message, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkPlan {
    /// The same for each message.
    Fixed {
        /// Length.
        us: u64,
    },
    /// Each length in the range as likely as the other.
    Uniform {
        /// Shortest.
        min_us: u64,
        /// Longest.
        max_us: u64,
    },
    /// Exponentially distributed.
    Exponential {
        /// Mean.
        mean_us: u64,
    },
    /// Log-normally distributed.
    LogNormal {
        /// Median.
        median_us: u64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
}

/// One channel that consumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// Its number among all subscribers of the plan.
    pub id: u32,
    /// Member of the fleet that it belongs to.
    pub member: u32,
    /// Connection, counted over the fleet; subscribers with the same number share it.
    pub connection: u32,
    /// Queues that it consumes from, by number.
    pub queues: Vec<usize>,
    /// Where its own random choices come from.
    pub seed: u64,
    /// When it subscribes on the run's clock; 0: before the load.
    pub start_us: u64,
}
