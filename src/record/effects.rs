//! What became of the store of a queue's consumers. Its counts are in the queue's account.

use serde::{Deserialize, Serialize};

/// The store that the consumers of one queue kept their ids in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRow {
    /// Fleet.
    pub fleet: String,
    /// Queue.
    pub queue: String,
    /// `none`, `memory`, `sqlite` or `postgres`.
    pub store: String,
    /// `one-transaction` or `check-then-act`; of no meaning without a store.
    pub discipline: String,
    /// How long an id was kept, in microseconds; none: to the end of the run.
    pub window_us: Option<u64>,
    /// Why its effects could not be read after the run; none: they were.
    pub error: Option<String>,
}
