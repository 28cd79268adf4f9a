//! What became of each fault, and what it cost.

use serde::{Deserialize, Serialize};

/// One fault: what was planned, what happened, and what it cost. Times are on the run's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRow {
    /// Its number in the plan, from 1.
    #[serde(default)]
    pub id: u32,
    /// What was broken.
    pub kind: String,
    /// Where, and how.
    #[serde(default)]
    pub detail: String,
    /// When it should have started; none where it waited for a count.
    pub planned_us: Option<u64>,
    /// When it started; none: it did not happen.
    pub started_us: Option<u64>,
    /// When mending it began.
    #[serde(default)]
    pub undone_us: Option<u64>,
    /// When it was seen to be whole again; none: it was not.
    pub healed_us: Option<u64>,
    /// How often it acted: connections, frames or messages, by its kind.
    #[serde(default)]
    pub done: u64,
    /// Why it did not happen, or could not be healed.
    #[serde(default)]
    pub error: Option<String>,
    /// What was seen from its start to the end of its window; none where it did not happen.
    #[serde(default)]
    pub cost: Option<FaultCost>,
}

/// What was seen in the window of a fault: from its start to [`FaultCost::AFTERMATH_US`] after it was healed, or to the
/// end of the drain. Windows of faults that follow each other closely overlap, and what is in both is counted in both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCost {
    /// Where the window ends.
    pub until_us: u64,
    /// From its start to the first connection that was lost.
    pub detected_after_us: Option<u64>,
    /// From the start of mending to the first confirm.
    pub first_confirm_after_us: Option<u64>,
    /// From the start of mending to the first delivery.
    pub first_delivery_after_us: Option<u64>,
    /// Most copies that were published and not yet consumed.
    pub backlog_peak: u64,
    /// Messages published for the first time.
    pub published: u64,
    /// Messages confirmed.
    pub confirmed: u64,
    /// Copies consumed.
    pub consumed: u64,
    /// Repeated deliveries.
    pub duplicates: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Copies lost that were due before the window's end, and after the end of the window before: the first fault that
    /// they can have met. None where not every loss is listed with its time.
    pub lost: Option<u64>,
    /// The same of copies that were never confirmed.
    pub possibly_lost: Option<u64>,
}

impl FaultCost {
    /// How long a window goes on after its fault was healed: what was in flight is sent and delivered again then.
    pub const AFTERMATH_US: u64 = 5_000_000;
}
