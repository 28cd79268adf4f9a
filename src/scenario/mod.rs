//! The scenario as its writer wrote it: serde types that refuse unknown keys, checks that read across them,
//! and diagnostics that point at the line.
//!
//! May use `units` only. No default is filled in here: what was left out stays `None`, and `plan` resolves it.

pub mod broker;
mod check;
pub mod consumer;
mod diagnostic;
pub mod either;
mod environment;
pub mod failing;
pub mod fault;
pub mod idempotency;
mod key;
pub mod load;
mod loader;
pub mod pattern;
mod problem;
pub mod producer;
pub mod redrive;
pub mod replay;
pub mod retry;
mod schema;
mod set;
mod shape;
mod source;
mod suggest;
mod syntax;
pub mod topology;

use serde::{Deserialize, Serialize};

pub use broker::Broker;
pub use consumer::Consumer;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use fault::Fault;
pub use load::{Expectations, Load};
pub use loader::{Loaded, load};
pub use producer::Producer;
pub use redrive::Redrive;
pub use replay::Replay;
pub use retry::Retry;
pub use schema::json_schema;
pub use source::Source;
pub use topology::{Exchange, Queue};

/// The version of the scenario format that this build reads and writes.
pub const SCHEMA: u32 = 1;

/// One scenario file: what to run and what must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Version of the scenario format; always 1.
    pub schema: u32,
    /// Name of the scenario; the folder of its records is called after it.
    pub name: String,
    /// What the scenario proves, in one sentence.
    pub description: Option<String>,
    /// Where every random choice of the plan comes from. Default 0.
    pub seed: Option<u64>,
    /// Where the broker comes from. Default: a container, else a local process.
    pub broker: Option<Broker>,
    /// Exchanges to declare.
    #[serde(default, rename = "exchange")]
    pub exchanges: Vec<Exchange>,
    /// Queues to declare, each with its bindings.
    #[serde(default, rename = "queue")]
    pub queues: Vec<Queue>,
    /// How messages are tried again that consumers fail, by queue.
    #[serde(default, rename = "retry")]
    pub retries: Vec<Retry>,
    /// Dead letters that are sent back after the load, once the cause of their failing is mended.
    #[serde(default, rename = "redrive")]
    pub redrives: Vec<Redrive>,
    /// Past messages that are published once more, after that.
    #[serde(default, rename = "replay")]
    pub replays: Vec<Replay>,
    /// Fleets of producers.
    #[serde(default, rename = "producer")]
    pub producers: Vec<Producer>,
    /// Fleets of consumers.
    #[serde(default, rename = "consumer")]
    pub consumers: Vec<Consumer>,
    /// What is broken on purpose.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
    /// How long, or how many messages.
    pub load: Option<Load>,
    /// What must hold for the verdict `pass`.
    #[schemars(with = "Option<std::collections::BTreeMap<String, serde_json::Value>>")]
    pub expect: Option<Expectations>,
}
