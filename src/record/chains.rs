//! Messages that led to others.

use serde::{Deserialize, Serialize};

/// Messages that led to others, and the ids that all of them came with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainsReport {
    /// One for each fleet whose messages follow others.
    pub rows: Vec<ChainRow>,
    /// Deliveries whose ids were looked at: message id, correlation id and causation id.
    pub ids_checked: u64,
    /// Of these, those that lacked one.
    pub ids_missing: u64,
    /// Of these, those that had one of another message, or one that is nobody's.
    pub ids_crossed: u64,
    /// Further deliveries, whose ids could not be looked at: it was not remembered what they follow.
    #[serde(default)]
    pub ids_unchecked: u64,
    /// Messages that were worked off, and of which it could not be remembered what follows them: there were too many.
    #[serde(default)]
    pub unwritten: u64,
}

/// The messages of one fleet that follow others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRow {
    /// The fleet whose messages they are.
    pub producer: String,
    /// The fleet of consumers that published them.
    pub consumer: String,
    /// Messages that those worked off.
    pub worked_off: u64,
    /// Messages that the broker confirmed, and that follow one.
    pub confirmed: u64,
    /// Messages that were worked off, and that none follows.
    pub missing: u64,
    /// Messages that more than one follows.
    pub repeated: u64,
}
