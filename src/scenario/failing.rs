//! `[[consumer]] fail`: what consumers do wrong, on purpose.

use serde::{Deserialize, Serialize};

use super::fault::Pick;
use crate::units::Span;

/// One rule by which messages fail. Of several that are for a message, each takes its share of all; they add up to 1 at
/// the most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailRule {
    /// Share of the messages, above 0 and up to 1; which ones is drawn from the seed. Default 1.
    pub rate: Option<f64>,
    /// Only messages with such a routing key: a pattern of a topic exchange, `*` for one word and `#` for any number.
    pub routing_key: Option<String>,
    /// Only these messages, counted for each publisher.
    pub pick: Option<Pick>,
    /// Whether they work in the end. Default `transient`.
    pub kind: Option<FailKind>,
    /// How often a transient failure fails before the message works. Default 1.
    pub times: Option<u32>,
    /// How much longer a slow message takes than others.
    pub takes: Option<Span>,
    /// What is done with a message that failed. Default `requeue`.
    pub then: Option<FailThen>,
}

/// Whether a message that fails works in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailKind {
    /// After it has failed so many `times`.
    Transient,
    /// Never: it is poison.
    Permanent,
    /// At the first attempt, which takes long.
    Slow,
}

/// What is done with a message that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailThen {
    /// `basic.nack` with requeue: it goes back to its queue. From RabbitMQ 4.3 on that does not count toward a quorum
    /// queue's delivery limit.
    Requeue,
    /// `basic.reject` with requeue, which counts toward the delivery limit in all releases.
    RejectRequeue,
    /// `basic.reject` without requeue: it is dead-lettered, or dropped where there is no dead-letter exchange.
    Reject,
    /// The same by `basic.nack`.
    Nack,
    /// It takes its consumer with it: the process dies, all of its connections end, and it is there again at once.
    Crash,
    /// It is tried again as the queue's `[[retry]]` says, and rejected once that has no further attempt.
    Retry,
}

impl FailThen {
    /// Whether the message goes back to its queue.
    pub fn requeues(self) -> bool {
        matches!(self, Self::Requeue | Self::RejectRequeue | Self::Crash)
    }
}

/// A rule, or a list of them.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum OneOrMany {
    One(FailRule),
    Many(Vec<FailRule>),
}

pub(super) fn one_or_many<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<FailRule>>, D::Error> {
    struct Either;
    impl<'de> serde::de::Visitor<'de> for Either {
        type Value = Vec<FailRule>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a rule such as { rate = 0.01, kind = \"transient\", then = \"requeue\" }, or a list of them")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, rule: A) -> Result<Vec<FailRule>, A::Error> {
            FailRule::deserialize(serde::de::value::MapAccessDeserializer::new(rule)).map(|rule| vec![rule])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Vec<FailRule>, A::Error> {
            Deserialize::deserialize(serde::de::value::SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(Either).map(Some)
}
