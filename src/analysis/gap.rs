//! How far apart first and repeated deliveries were, and whether a consumer that keeps the ids of messages for a while
//! would have known every repetition.

use super::counts;
use super::expectation::Outcome;
use super::phrase::{micros, things};
use crate::plan::expect::{Comparison, GAP_TIME};
use crate::record::{DuplicateGap, Record, Verdict};

/// How long a consumer keeps the ids that it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// For so many microseconds after each was recorded.
    ForUs(u64),
    /// Those of the last so many deliveries.
    Last(u64),
}

/// Whether keeping ids so long is enough for repetitions that were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Every repetition came while its id was kept.
    Enough,
    /// At least one repetition came when its id had been forgotten; as long as the id was recorded when the message was
    /// delivered, and not much later.
    Short,
    /// The bounds of the longest gap do not tell.
    Unclear,
}

/// Whether a consumer of the gap's queue that keeps ids like this would have known every repetition of this run. What
/// another run will bring it cannot say.
pub fn coverage(gap: &DuplicateGap, kept: Kept) -> Coverage {
    let (kept, length) = match kept {
        Kept::ForUs(us) => (us, gap.time_us),
        Kept::Last(messages) => (messages, gap.messages),
    };
    if gap.count == 0 || kept >= length.longest_at_most {
        Coverage::Enough
    } else if kept < length.longest_at_least {
        Coverage::Short
    } else {
        Coverage::Unclear
    }
}

/// The bounds of the longest gap, of one queue or of all: in microseconds, or in deliveries. None where nothing repeated.
pub(super) fn longest(record: &Record, name: &str, queue: Option<&str>) -> Option<(u64, u64)> {
    let of_stream =
        |gap: &DuplicateGap, queue: &str| counts::books_of(record, queue).iter().any(|of| of.queue == gap.queue);
    let gaps = record.duplicate_gaps.iter();
    let gaps =
        gaps.filter(|gap| gap.count > 0 && queue.is_none_or(|queue| gap.queue == queue || of_stream(gap, queue)));
    gaps.map(|gap| if name == GAP_TIME { gap.time_us } else { gap.messages })
        .map(|length| (length.longest_at_least, length.longest_at_most))
        .reduce(|all, one| (all.0.max(one.0), all.1.max(one.1)))
}

/// Judges the longest gap.
pub(super) fn judged(record: &Record, name: &str, queue: Option<&str>, comparison: Comparison, bound: f64) -> Outcome {
    let Some((at_least, at_most)) = longest(record, name, queue) else {
        return Outcome::unknown("no message was delivered twice, so that there is no gap");
    };
    let verdict = match [at_least, at_most].map(|length| comparison.holds(length as f64, bound)) {
        // What lies between two lengths that are both other than the bound may be the bound itself.
        [held, same]
            if held == same
                && !(matches!(comparison, Comparison::Equal | Comparison::NotEqual) && at_least < at_most) =>
        {
            if held {
                Verdict::Pass
            } else {
                Verdict::Fail
            }
        }
        _ => Verdict::Inconclusive,
    };
    let shown = |length: u64| if name == GAP_TIME { micros(length as f64) } else { things(length, "delivery") };
    let outcome = Outcome::new(Some(at_most as f64), verdict);
    if at_least == at_most { outcome } else { outcome.noted(format!("it was at least {}", shown(at_least))) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{GapLength, fixture};

    fn length(longest_at_least: u64, longest_at_most: u64) -> GapLength {
        GapLength { longest_at_least, longest_at_most, ..GapLength::default() }
    }

    fn record(gaps: &[(&str, GapLength, GapLength)]) -> Record {
        let gap = |(queue, time_us, messages): &(&str, GapLength, GapLength)| DuplicateGap {
            queue: (*queue).to_owned(),
            count: 3,
            time_us: *time_us,
            messages: *messages,
        };
        Record { duplicate_gaps: gaps.iter().map(gap).collect(), ..fixture::record() }
    }

    #[test]
    fn the_longest_of_all_queues_or_of_one() {
        let gaps = [("orders.billing", length(10, 12), length(3, 3)), ("orders.audit", length(11, 11), length(4, 9))];
        let record = record(&gaps);
        assert_eq!(longest(&record, GAP_TIME, None), Some((11, 12)));
        assert_eq!(longest(&record, GAP_TIME, Some("orders.audit")), Some((11, 11)));
        assert_eq!(longest(&record, "duplicate_gap_messages", None), Some((4, 9)));
        assert_eq!(longest(&record, GAP_TIME, Some("returns.in")), None);
    }

    #[test]
    fn a_bound_between_the_bounds_is_not_judged() {
        let record = record(&[("orders.billing", length(40, 50), length(1, 1))]);
        let verdict = |comparison, bound| judged(&record, GAP_TIME, None, comparison, bound).verdict;
        for (comparison, bound, expected) in [
            (Comparison::AtMost, 50.0, Verdict::Pass),
            (Comparison::AtMost, 45.0, Verdict::Inconclusive),
            (Comparison::AtMost, 39.0, Verdict::Fail),
            (Comparison::AtLeast, 40.0, Verdict::Pass),
            (Comparison::AtLeast, 51.0, Verdict::Fail),
            (Comparison::Equal, 45.0, Verdict::Inconclusive),
            (Comparison::NotEqual, 45.0, Verdict::Inconclusive),
        ] {
            assert_eq!(verdict(comparison, bound), expected, "{} {bound}", comparison.symbol());
        }
        let nothing = Record { duplicate_gaps: Vec::new(), ..record.clone() };
        assert_eq!(judged(&nothing, GAP_TIME, None, Comparison::AtMost, 1e9).verdict, Verdict::Inconclusive);
    }

    proptest! {
        #[test]
        fn a_window_is_enough_where_no_repetition_can_be_longer(at_least in 0u64..100, more in 0u64..100, kept in 0u64..250) {
            let gap = DuplicateGap {
                count: 1,
                time_us: length(at_least, at_least + more),
                messages: length(at_least, at_least + more),
                ..DuplicateGap::default()
            };
            for kept_ids in [Kept::ForUs(kept), Kept::Last(kept)] {
                let coverage = coverage(&gap, kept_ids);
                for exact in at_least..=at_least + more {
                    prop_assert!(coverage != Coverage::Enough || kept >= exact);
                    prop_assert!(coverage != Coverage::Short || kept < exact);
                }
                let is_unclear = kept >= at_least && kept < at_least + more;
                prop_assert_eq!(coverage == Coverage::Unclear, is_unclear);
            }
            prop_assert_eq!(coverage(&DuplicateGap { count: 0, ..gap }, Kept::Last(0)), Coverage::Enough);
        }
    }
}
