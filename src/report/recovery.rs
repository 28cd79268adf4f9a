//! What faults cost and what repetitions ask of a consumer, as the page and the terminal say it.

use super::figure::{Figure, shown, shown_or_dash};
use crate::record::{DuplicateGap, FaultCost, FaultRow};

/// What a consumer that knows repetitions by their ids has to remember, as a sentence. Lengths are rounded up.
pub(super) fn keep_ids(gap: &DuplicateGap) -> String {
    let (time_us, messages) = (gap.time_us.longest_at_most, gap.messages.longest_at_most);
    format!(
        "To know every repetition that {} delivered, keep ids for at least {} or {} messages.",
        gap.queue,
        rounded_up(time_us),
        shown(messages, "messages"),
    )
}

/// Microseconds in seconds to a tenth, or in milliseconds where it is less than one of them; never less than it is.
fn rounded_up(us: u64) -> String {
    match us {
        0..1_000_000 => format!("{} ms", us.div_ceil(1000)),
        us => {
            let tenths = us.div_ceil(100_000);
            format!("{}.{} s", shown(tenths / 10, "messages"), tenths % 10)
        }
    }
}

/// One line of a fault's card: what it is, and how much.
pub(super) type CardLine = (&'static str, String);

/// What a fault cost and how it was recovered from; nothing of one that did not happen. The first lost connection counts
/// from when breaking it began, all other times from when mending began.
pub(super) fn card(row: &FaultRow) -> Vec<CardLine> {
    let Some(cost) = &row.cost else { return Vec::new() };
    let us = |us: Option<u64>| shown_or_dash(us, "us");
    let messages = |count: u64| shown(count, "messages");
    let maybe = |count: Option<u64>| shown_or_dash(count.map(Figure::from), "messages");
    let before = |per_s: Option<u64>| shown_or_dash(per_s.map(Figure::from), "per_s");
    vec![
        ("connection lost after", us(cost.detected_after_us)),
        ("whole again after", us(row.healed_us.zip(row.undone_us).map(|(healed, undone)| healed - undone.min(healed)))),
        ("first confirm after", us(cost.first_confirm_after_us)),
        ("first delivery after", us(cost.first_delivery_after_us)),
        ("rate back after", rate_back(cost)),
        ("confirms before", before(cost.confirmed_before_per_s)),
        ("drained after", drained(cost)),
        ("consumed before", before(cost.consumed_before_per_s)),
        ("backlog, at most", messages(cost.backlog_peak)),
        ("backlog before", maybe(cost.backlog_before)),
        ("at risk: not answered", maybe(cost.at_risk_unanswered)),
        ("at risk: not acknowledged", maybe(cost.at_risk_unacknowledged)),
        ("lost", maybe(cost.lost)),
        ("duplicates", messages(cost.duplicates)),
        ("possibly lost", maybe(cost.possibly_lost)),
        ("connections lost", shown(cost.disconnects, "times")),
    ]
}

/// When the rate was back, or why that is not known.
pub(super) fn rate_back(cost: &FaultCost) -> String {
    match cost.rate_restored_after_us {
        Some(us) => shown(us, "us"),
        None if cost.observed_until_us.is_none() => "–".to_owned(),
        None if cost.had_steady_rate() => "not in the load".to_owned(),
        None => "was not steady".to_owned(),
    }
}

/// When the backlog was as it had been, or why that is not known.
pub(super) fn drained(cost: &FaultCost) -> String {
    match cost.backlog_drained_after_us {
        Some(us) => shown(us, "us"),
        None if cost.backlog_before.is_some() => "not by the end".to_owned(),
        None => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::GapLength;

    #[test]
    fn what_is_to_be_kept_is_never_too_little() {
        for (us, text) in [
            (0, "0 ms"),
            (1, "1 ms"),
            (999_000, "999 ms"),
            (1_000_000, "1.0 s"),
            (47_000_001, "47.1 s"),
            (3_600_000_000, "3,600.0 s"),
        ] {
            assert_eq!(rounded_up(us), text);
        }
        let length = |longest_at_most| GapLength { longest_at_most, ..GapLength::default() };
        let (time_us, messages) = (length(46_950_000), length(120_000));
        let gap = DuplicateGap { queue: "q".to_owned(), count: 1, time_us, messages };
        assert!(keep_ids(&gap).ends_with("keep ids for at least 47.0 s or 120,000 messages."), "{}", keep_ids(&gap));
    }

    #[test]
    fn a_card_says_why_a_figure_is_missing() {
        let observed = FaultCost { observed_until_us: Some(1), ..FaultCost::default() };
        let steady = FaultCost { confirmed_before_per_s: Some(100), ..observed.clone() };
        assert_eq!(rate_back(&steady), "not in the load");
        assert_eq!(rate_back(&observed), "was not steady");
        assert_eq!(rate_back(&FaultCost::default()), "–", "a record that says nothing of it");
        assert_eq!(rate_back(&FaultCost { rate_restored_after_us: Some(1500), ..steady }), "1.500 ms");
        assert_eq!(drained(&FaultCost { backlog_before: Some(3), ..FaultCost::default() }), "not by the end");
        assert!(card(&FaultRow::default()).is_empty(), "what did not happen cost nothing");
    }
}
