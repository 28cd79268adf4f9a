//! What must be found in a record, known before the run; and which messages, known from the proxy after it. Uses
//! `proxy`, `record` and `stamp`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::sabotage::{Order, Sabotage};
use crate::proxy::Hit;
use crate::record::{Verdict, ViolationClass};

/// Words of the ledger for what should not happen: 0 where nothing was done.
pub(super) const OFFENCES: [&str; 16] = [
    "lost",
    "possibly_lost",
    "recovered",
    "republished",
    "redelivered",
    "unflagged",
    "phantom",
    "corrupt",
    "misordered",
    "nacked",
    "returned",
    "unconfirmed",
    "dead_lettered",
    "removed_by_rule",
    "left_in_queue",
    "disconnects",
];

/// A message that the list of violations names: its class, its publisher and its sequence.
pub type Named = (ViolationClass, Option<u16>, Option<u64>);

/// A latency that may be so much off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// What it should be, in microseconds.
    pub at_us: u64,
    /// How much it may be off, in microseconds.
    pub off_us: u64,
}

impl Band {
    /// Whether `us` is near enough.
    pub fn holds(self, us: f64) -> bool {
        (us - self.at_us as f64).abs() <= self.off_us as f64
    }
}

/// What must be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// Words of the ledger, and their numbers, exactly.
    pub counts: BTreeMap<&'static str, u64>,
    /// The messages that the list of violations names, each as often as here; none where that is not told.
    pub named: Option<Vec<Named>>,
    /// The verdict's word.
    pub verdict: Verdict,
    /// Expectations that fail, by metric.
    pub failing: BTreeSet<&'static str>,
    /// What one of the verdict's reasons says.
    pub reason: Option<&'static str>,
    /// The median end to end, from the intended send.
    pub median: Option<Band>,
    /// What the proxy did not do as often as it was told to.
    pub undone: Vec<String>,
}

impl Prediction {
    /// A verdict, and no offence.
    pub fn of_verdict(verdict: Verdict, failing: &[&'static str]) -> Self {
        Self {
            counts: OFFENCES.map(|word| (word, 0)).into(),
            named: None,
            verdict,
            failing: failing.iter().copied().collect(),
            reason: None,
            median: None,
            undone: Vec::new(),
        }
    }

    /// What `orders` make of a run of so many messages.
    pub fn of_orders(orders: &[Order], messages: u64) -> Self {
        let mut prediction = Self::of_verdict(Verdict::Pass, &[]);
        prediction.named = Some(Vec::new());
        for Order { sabotage, picks } in orders {
            prediction.verdict = Verdict::Fail;
            for (word, failing) in offences(*sabotage) {
                *prediction.counts.entry(word).or_default() += picks.times;
                prediction.failing.extend(failing);
            }
        }
        let lost = prediction.counts.get("lost").copied().unwrap_or(0);
        prediction.counts.extend([("published", messages), ("confirmed", messages), ("consumed", messages - lost)]);
        prediction
    }

    /// The proxy did what it was told for `order` so often, to these messages.
    pub fn hit(&mut self, order: &Order, done: u64, hits: &[Hit]) {
        let told = order.picks.times;
        if done != told || hits.len() as u64 != told {
            let sabotage = order.sabotage;
            self.undone.push(format!(
                "the proxy acted {done} times, on {} messages, and not {told}: {sabotage:?}",
                hits.len()
            ));
        }
        let named = hits.iter().flat_map(|hit| named(order.sabotage, hit));
        self.named.get_or_insert_default().extend(named);
    }
}

/// The words that a kind of harm counts under, each with the expectations that it breaks.
fn offences(sabotage: Sabotage) -> Vec<(&'static str, &'static [&'static str])> {
    const LOST: (&str, &[&str]) = ("lost", &["lost", "guarantee"]);
    match sabotage {
        Sabotage::LoseConfirmed | Sabotage::LoseDelivered => vec![LOST],
        Sabotage::Duplicate => vec![("unflagged", &["unflagged"])],
        Sabotage::DuplicateFlagged => vec![("redelivered", &["redelivered"])],
        // A message that came corrupt did not come as itself.
        Sabotage::Corrupt => vec![("corrupt", &["corrupt"]), LOST],
        Sabotage::Invent => vec![("phantom", &["phantom"])],
        Sabotage::Swap => vec![("misordered", &["ordered"])],
    }
}

/// What a message that was hit is listed as.
fn named(sabotage: Sabotage, Hit { had, became }: &Hit) -> Vec<Named> {
    let entry = |class, stamp: &crate::stamp::Stamp| (class, Some(stamp.publisher), Some(stamp.sequence));
    match sabotage {
        Sabotage::LoseConfirmed | Sabotage::LoseDelivered => vec![entry(ViolationClass::Lost, had)],
        Sabotage::Duplicate | Sabotage::DuplicateFlagged => vec![entry(ViolationClass::Duplicate, had)],
        // Listed as what it says it is, which may be another message, or none.
        Sabotage::Corrupt => vec![entry(ViolationClass::Corrupt, became), entry(ViolationClass::Lost, had)],
        Sabotage::Invent => vec![entry(ViolationClass::Phantom, became)],
        Sabotage::Swap => vec![entry(ViolationClass::Misordered, had)],
    }
}
