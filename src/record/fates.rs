//! What became of messages that consumers fail or that die, against what was foretold.

use serde::{Deserialize, Serialize};

use crate::ledger::fates::FatesAccount;

/// Fates, foretold and seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FatesReport {
    /// Counts.
    #[serde(flatten)]
    pub account: FatesAccount,
    /// What was foretold, what came of it, and how often. Whoever just works is not among them.
    pub rows: Vec<FateRow>,
    /// Rows beyond those.
    #[serde(default)]
    pub rows_left_out: u64,
}

/// Messages with the same fate, foretold and seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateRow {
    /// What was foretold: attempts by queue, and where it ends with which entries of `x-death`.
    pub foretold: String,
    /// `as_foretold`, `endless`, or why it differs: `lost`, `redelivered`, `republished`, `unfinished`, `unexplained`.
    pub outcome: String,
    /// What was seen, where it differs.
    pub seen: String,
    /// How many messages.
    pub messages: u64,
    /// The first of them, as `FLEET/PLACE:SEQUENCE`.
    pub first: String,
}

/// Dead letters of one queue that were sent back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedriveRow {
    /// Queue that they were taken out of.
    pub queue: String,
    /// When it began, in microseconds on the run's clock.
    pub started_us: u64,
    /// When it ended.
    pub ended_us: u64,
    /// How many were sent back.
    pub redriven: u64,
    /// How many stayed: they died for another reason, or are no dead letters.
    pub left: u64,
    /// Why it was broken off.
    pub error: Option<String>,
}

/// Past messages of one fleet that were published once more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRow {
    /// Whose messages they are.
    pub producer: String,
    /// When it began, in microseconds on the run's clock.
    pub started_us: u64,
    /// When it ended.
    pub ended_us: u64,
    /// How many were published.
    pub replayed: u64,
    /// Why it was broken off.
    pub error: Option<String>,
}
