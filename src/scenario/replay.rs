//! `[[replay]]`: past messages that are published once more.

use serde::{Deserialize, Serialize};

use crate::units::{Rate, Span};

/// One `[[replay]]`, in the order in which they are written, after the queues were emptied and dead letters sent back.
///
/// A message is published again as it was, with its stamp, as a further attempt, and with the headers `x-replayed` (true) and
/// `x-original-timestamp` (when it was to be sent first).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Fleet whose messages they are.
    pub producer: String,
    /// Only those that were to be sent from then on, on the run's clock. Default: from the first.
    pub from: Option<Span>,
    /// Only those that were to be sent before then. Default: to the last.
    pub to: Option<Span>,
    /// Most messages per second. Default: as fast as they are confirmed.
    pub rate: Option<Rate>,
    /// Whether they keep their ids. Default `keep`.
    pub ids: Option<ReplayIds>,
}

/// Which ids a message has that is published once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayIds {
    /// Those that it had.
    Keep,
    /// New ones: `{{uuid}}` is another one, and no idempotent consumer knows it.
    New,
}
