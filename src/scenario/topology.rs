//! `[[exchange]]` and `[[queue]]`: what is declared on the broker before the load.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// An argument, a header or another free value of AMQP.
pub type Arguments = BTreeMap<String, toml::Value>;

/// One `[[exchange]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Name of the exchange.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Survives a restart of the broker. Default true.
    pub durable: Option<bool>,
    /// Deleted when its last binding goes. Default false.
    pub auto_delete: Option<bool>,
    /// Takes messages from other exchanges only. Default false.
    pub internal: Option<bool>,
    /// Exchange that takes what this one cannot route.
    pub alternate: Option<String>,
    /// Bindings from other exchanges to this one.
    #[serde(default)]
    pub bind: Vec<Binding>,
    /// Any other argument, by its name on the wire.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub arguments: Arguments,
}

impl Exchange {
    /// An exchange of which nothing else is said.
    pub(super) fn named(name: &str, kind: ExchangeKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            durable: None,
            auto_delete: None,
            internal: None,
            alternate: None,
            bind: Vec::new(),
            arguments: Arguments::new(),
        }
    }
}

/// How an exchange routes (AMQP 0-9-1, section 3.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeKind {
    /// To the queues bound with exactly the routing key.
    Direct,
    /// To the queues whose pattern matches the routing key's words.
    Topic,
    /// To every bound queue.
    Fanout,
    /// To the queues whose headers match the message's.
    Headers,
    /// As `direct`, after as many milliseconds as the message's header `x-delay` says. Of the plugin
    /// `rabbitmq_delayed_message_exchange`, which does not come with RabbitMQ.
    Delayed,
}

/// One `[[queue]]`. A name such as `orders.{1..100}` declares a hundred; `{}` in its other texts is the same number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Name of the queue, or a pattern such as `orders.{1..100}`.
    pub name: String,
    /// Type of the queue. Default `classic`.
    pub kind: Option<QueueKind>,
    /// Survives a restart of the broker. Default true.
    pub durable: Option<bool>,
    /// Belongs to one connection and goes with it: its one consumer's. Default false.
    pub exclusive: Option<bool>,
    /// Deleted when its last consumer goes. Default false.
    pub auto_delete: Option<bool>,
    /// How long a message may wait (`x-message-ttl`).
    pub message_ttl: Option<Span>,
    /// How long the queue may stay unused (`x-expires`).
    pub expires: Option<Span>,
    /// Most messages that may wait (`x-max-length`).
    pub max_length: Option<u64>,
    /// Most bytes that may wait (`x-max-length-bytes`).
    pub max_length_bytes: Option<ByteSize>,
    /// What happens to the message too many. Default `drop-head`, the broker's own.
    pub overflow: Option<Overflow>,
    /// Number of priorities of a classic queue (`x-max-priority`), 1 to 255.
    pub max_priority: Option<u8>,
    /// Where rejected, expired and dropped messages go.
    pub dead_letter: Option<DeadLetter>,
    /// Deliveries of one message before a quorum queue drops or dead-letters it (`x-delivery-limit`).
    pub delivery_limit: Option<u32>,
    /// Only one consumer at a time gets messages (`x-single-active-consumer`). Default false.
    pub single_active_consumer: Option<bool>,
    /// Oldest segments that a stream may keep, such as `7D` or `1h` (`x-max-age`).
    pub max_age: Option<String>,
    /// Bindings from exchanges to this queue.
    #[serde(default)]
    pub bind: Vec<Binding>,
    /// Any other argument, by its name on the wire.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub arguments: Arguments,
}

impl Queue {
    /// A queue of which nothing else is said.
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// Type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// On one node.
    Classic,
    /// Replicated by Raft.
    Quorum,
    /// A log that consumers read without emptying it.
    Stream,
}

/// What happens to the message too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The oldest message goes.
    DropHead,
    /// The new message is nacked.
    RejectPublish,
    /// The new message is nacked and dead-lettered (classic queues).
    RejectPublishDlx,
}

/// Where rejected, expired and dropped messages go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// Exchange; `""` is the default exchange.
    pub exchange: String,
    /// Routing key. Default: the message's own.
    pub key: Option<String>,
    /// How surely they get there (quorum queues). Default `at-most-once`, the broker's own.
    pub strategy: Option<DeadLetterStrategy>,
}

/// How surely dead letters get where they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeadLetterStrategy {
    /// May be lost on the way.
    AtMostOnce,
    /// Kept in the source queue until the target confirmed; needs `overflow = "reject-publish"`.
    AtLeastOnce,
}

/// One binding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Exchange that messages come from.
    pub exchange: String,
    /// Routing key, or the pattern of a topic exchange. Default `""`.
    pub key: Option<String>,
    /// Headers that a headers exchange compares, `x-match` (`all`, `any`, …) among them.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub headers: Arguments,
}
