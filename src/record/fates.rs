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
