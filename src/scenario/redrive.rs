//! `[[redrive]]`: dead letters that are sent back to where they came from, once the cause of their failing is mended.

use serde::{Deserialize, Serialize};

use crate::units::Rate;

/// One `[[redrive]]`, in the order in which they are written, after the queues were emptied: from then on no consumer fails
/// anything any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// Queue of the dead letters.
    pub queue: String,
    /// Only those that died for this reason last: `rejected`, `expired`, `maxlen` or `delivery_limit`. Default: all.
    pub reason: Option<String>,
    /// Most messages per second. Default: as fast as they are confirmed.
    pub rate: Option<Rate>,
    /// Exchange that they are published to. Default: straight to the queue that they left last.
    pub exchange: Option<String>,
    /// Routing key for that exchange.
    pub routing_key: Option<String>,
}
