//! What is declared on the broker, patterns expanded and arguments in the broker's own words.

use serde::{Deserialize, Serialize};

use super::{Arguments, ExchangeKind, QueueKind};

/// Exchanges, queues and bindings, in the order of their declaration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopologyPlan {
    /// Exchanges.
    pub exchanges: Vec<ExchangePlan>,
    /// Queues. A queue's place in this list is its number everywhere else in the plan and in the ledger.
    pub queues: Vec<QueuePlan>,
    /// Bindings, to queues and to exchanges.
    pub bindings: Vec<BindingPlan>,
}

/// One exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExchangePlan {
    /// Name.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Survives a restart.
    pub durable: bool,
    /// Deleted with its last binding.
    pub auto_delete: bool,
    /// Takes messages from exchanges only.
    pub internal: bool,
    /// Exchange for what this one cannot route.
    pub alternate: Option<String>,
    /// All arguments, `alternate-exchange` among them.
    pub arguments: Arguments,
}

impl ExchangePlan {
    /// A durable exchange without arguments.
    pub fn new(name: &str, kind: ExchangeKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            alternate: None,
            arguments: Arguments::new(),
        }
    }
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueuePlan {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: QueueKind,
    /// Survives a restart.
    pub durable: bool,
    /// Belongs to one connection: its one subscriber's, which declares it.
    pub exclusive: bool,
    /// Deleted with its last consumer.
    pub auto_delete: bool,
    /// All arguments in the broker's words, `x-queue-type` among them.
    pub arguments: Arguments,
    /// Exchange and key (where set) of its dead letters.
    pub dead_letter: Option<(String, Option<String>)>,
    /// Rules by which this queue may remove a message: `ttl`, `length`, `delivery-limit`, `expires`, `retention`.
    pub removal_rules: Vec<RemovalRule>,
}

impl QueuePlan {
    /// A durable queue without arguments and rules.
    pub fn new(name: &str, kind: QueueKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: Arguments::new(),
            dead_letter: None,
            removal_rules: Vec::new(),
        }
    }
}

/// A rule of the topology by which a queue may remove a message that nobody consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemovalRule {
    /// `x-message-ttl`, or an `expiration` of messages routed here.
    Ttl,
    /// `x-max-length` or `x-max-length-bytes` with the overflow drop-head.
    Length,
    /// `x-delivery-limit`.
    DeliveryLimit,
    /// `x-expires` or auto-delete: the queue itself goes.
    Expires,
    /// `x-max-age` or a length limit of a stream.
    Retention,
}

/// One binding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BindingPlan {
    /// Exchange that messages come from.
    pub source: String,
    /// Queue or exchange that they go to.
    pub destination: String,
    /// Whether the destination is an exchange.
    pub to_exchange: bool,
    /// Routing key or pattern.
    pub key: String,
    /// Headers to compare.
    pub arguments: Arguments,
}
