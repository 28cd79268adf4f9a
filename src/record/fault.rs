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
    /// When breaking it began; none: it did not happen.
    pub started_us: Option<u64>,
    /// When it was broken for certain: what did it had returned, and an alarm was seen. It happened between the two.
    #[serde(default)]
    pub broken_us: Option<u64>,
    /// When mending it began.
    #[serde(default)]
    pub undone_us: Option<u64>,
    /// When it was seen to be whole again; none: it was not.
    pub healed_us: Option<u64>,
    /// How often it acted: connections, frames or messages, by its kind.
    #[serde(default)]
    pub done: u64,
    /// The messages that it acted on, in that order: those at which a crash came, whose answer or settlement a cut
    /// swallowed, or that were dropped, delayed or held. Not more than [`FaultRow::MESSAGES_MAX`], none of other faults,
    /// none whose stamp is in a header where a proxy reads it.
    #[serde(default)]
    pub messages: Vec<FaultMessage>,
    /// Why it did not happen, or could not be healed.
    #[serde(default)]
    pub error: Option<String>,
    /// What was seen from its start to the end of its window; none where it did not happen.
    #[serde(default)]
    pub cost: Option<FaultCost>,
}

/// A message that a fault acted on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultMessage {
    /// Its publisher, `FLEET/PLACE`.
    pub publisher: String,
    /// Its number among the publisher's, from 0.
    pub sequence: u64,
}

impl FaultRow {
    /// Most messages of a fault that a record lists.
    pub const MESSAGES_MAX: usize = 1_000;
}

/// What was seen in the window of a fault: from its start to [`FaultCost::AFTERMATH_US`] after it was healed, or to the
/// end of the drain. Windows of faults that follow each other closely overlap, and what is in both is counted in both.
/// How long it took to recover is observed for longer: until rate and backlog are as they were, or the load or the drain
/// is over. Records of the first version know nothing of that, nor of what was at risk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCost {
    /// Where the window ends.
    pub until_us: u64,
    /// From when breaking it began to the first connection that was lost.
    pub detected_after_us: Option<u64>,
    /// From the start of mending to the first confirm.
    pub first_confirm_after_us: Option<u64>,
    /// From the start of mending to the first delivery.
    pub first_delivery_after_us: Option<u64>,
    /// Messages that waited for the broker's answer when breaking it began. With confirms off none does.
    #[serde(default)]
    pub at_risk_unanswered: Option<u64>,
    /// Deliveries that consumers held and had not acknowledged then.
    #[serde(default)]
    pub at_risk_unacknowledged: Option<u64>,
    /// Answers to publishes per second before it, as far as the rate was steady: no second under
    /// [`FaultCost::RESTORED_SHARE`] of the mean, over the last 5 to 2 of them. With confirms off, messages sent.
    #[serde(default)]
    pub confirmed_before_per_s: Option<u64>,
    /// The same of copies consumed.
    #[serde(default)]
    pub consumed_before_per_s: Option<u64>,
    /// From the start of mending to when each of these rates that was steady was back: the first moment after which the
    /// load had [`FaultCost::SUSTAINED_S`] seconds with at least [`FaultCost::RESTORED_SHARE`] of it in each. None where
    /// neither was steady, or one was not back before the load ended.
    #[serde(default)]
    pub rate_restored_after_us: Option<u64>,
    /// Most copies that were published and neither consumed, dead-lettered nor rejected yet, in the 5 s before it. None
    /// where copies left nobody knows when (removed by a time to live, a length or a delivery limit, or nacked), and where
    /// it depends on when copies were lost whether they were drained.
    #[serde(default)]
    pub backlog_before: Option<u64>,
    /// Most of them from its start to when it was drained, and at least to the end of its window.
    pub backlog_peak: u64,
    /// From the start of mending to when, after the peak up to the end of the window or to when the rate was back, no more
    /// were left than before: copies that this fault lost left out. 0 where there never were more. None where that did not come before the drain was over.
    #[serde(default)]
    pub backlog_drained_after_us: Option<u64>,
    /// How long recovery was observed: to when the last of these was known, and at least to the end of the window.
    #[serde(default)]
    pub observed_until_us: Option<u64>,
    /// Messages published for the first time.
    pub published: u64,
    /// Messages confirmed.
    pub confirmed: u64,
    /// Copies consumed.
    pub consumed: u64,
    /// Repeated deliveries: the three below together.
    pub duplicates: u64,
    /// Repeated deliveries because the producer sent again.
    #[serde(default)]
    pub republished: Option<u64>,
    /// Repeated deliveries that the broker flagged.
    #[serde(default)]
    pub redelivered: Option<u64>,
    /// Repeated deliveries that the broker did not flag.
    #[serde(default)]
    pub unflagged: Option<u64>,
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
    /// A rate is back where it is so much of what it was. It counts as steady before only where it keeps to this itself,
    /// so that its own scatter is never taken for harm.
    pub const RESTORED_SHARE: f64 = 0.9;
    /// So many seconds in a row, so that what was held up and comes all at once is not taken for a rate.
    pub const SUSTAINED_S: u64 = 3;

    /// Whether there was a steady rate before the fault that it could come back to.
    pub fn had_steady_rate(&self) -> bool {
        self.confirmed_before_per_s.is_some() || self.consumed_before_per_s.is_some()
    }
}
