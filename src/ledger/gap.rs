//! How far apart the first and the repeated deliveries of a message were, in time and in messages: what a consumer that
//! recognises repetitions by their ids has to remember.
//!
//! When each message was delivered first would take more memory than all the rest of the ledger. What is kept instead is
//! when the earliest and the latest of 64 messages in a row were ([`Span`]; of 256 once their chunk is done), and how many
//! deliveries the destination had had at a bounded number of times ([`Marks`]). Both give bounds, never a guess.

use hdrhistogram::Histogram;

use super::span::Span;
use crate::stamp::Stamp;

/// Most marks of all destinations together: 16 MiB.
const MARKS_TOTAL: usize = 1 << 20;
/// Most and fewest marks of one destination.
const MARKS: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 16;
/// Marks are at least so far apart, in microseconds.
const MARK_EVERY_US: u64 = 1000;
/// Percentiles are exact to 1 %.
const SIGNIFICANT_DIGITS: u8 = 2;

/// A number that is known to lie between two others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// It is no smaller.
    pub at_least: u64,
    /// It is no larger.
    pub at_most: u64,
}

/// Gaps of one kind: the longest, and how they are distributed.
#[derive(Debug, Clone, Default)]
pub struct Stretch {
    longest: Bounds,
    /// Of the upper bounds; none before the first gap.
    distribution: Option<Histogram<u64>>,
}

impl Stretch {
    fn note(&mut self, bounds: Bounds) {
        self.longest.at_least = self.longest.at_least.max(bounds.at_least);
        self.longest.at_most = self.longest.at_most.max(bounds.at_most);
        if self.distribution.is_none() {
            self.distribution = Histogram::new(SIGNIFICANT_DIGITS).ok();
        }
        if let Some(distribution) = &mut self.distribution {
            // It grows to hold any value; one that saturates would not grow.
            let _ = distribution.record(bounds.at_most);
        }
    }

    /// The longest lies between these: the bounds are exact.
    pub fn longest(&self) -> Bounds {
        self.longest
    }

    /// How what each is at most is distributed; none where there is none.
    pub fn distribution(&self) -> Option<&Histogram<u64>> {
        self.distribution.as_ref()
    }
}

/// The gaps between first and repeated deliveries at one destination, one for each repeated delivery.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    /// Repeated deliveries.
    pub count: u64,
    /// Time between the two, in microseconds.
    pub time_us: Stretch,
    /// Deliveries to the destination after the first one, up to and with the repeated one: whoever keeps the ids of so
    /// many messages still has it.
    pub messages: Stretch,
}

impl Gaps {
    /// A message of `stamp` is delivered again at `now_us`, as number `number` of its destination; its first delivery
    /// lies within `first`.
    pub(super) fn note(&mut self, marks: &Marks, first: Span, stamp: &Stamp, now_us: u64, number: u64) {
        // Nothing is delivered before it is sent; when an earlier attempt was sent its last one does not tell.
        let sent_us = stamp.intended_us.saturating_add(if stamp.attempt == 0 { stamp.lag_us } else { 0 });
        let (earliest_us, latest_us) = (first.earliest_us().max(sent_us).min(now_us), first.latest_us().min(now_us));
        let time_us =
            Bounds { at_least: (now_us - latest_us).min(now_us - earliest_us), at_most: now_us - earliest_us };
        let at_most = number.saturating_sub(marks.before(earliest_us) + 1).max(1);
        let at_least = marks.after(latest_us).map_or(1, |count| number.saturating_sub(count).max(1));
        self.count += 1;
        self.time_us.note(time_us);
        self.messages.note(Bounds { at_least: at_least.min(at_most), at_most });
    }
}

/// How many deliveries a destination had had at some times, in order of time. Where there are too many, every other one
/// is dropped, and further ones come half as often: what is left is as true as before.
#[derive(Debug)]
pub(super) struct Marks {
    marks: Vec<(u64, u64)>,
    limit: usize,
    every_us: u64,
    next_us: u64,
}

impl Marks {
    /// None yet, for one of so many destinations.
    pub(super) fn new(destinations: usize) -> Self {
        let limit = (MARKS_TOTAL / destinations.max(1)).clamp(*MARKS.start(), *MARKS.end());
        // Memory that is never written to is none: nothing is taken until it is needed, and nothing is moved then.
        Self { marks: Vec::with_capacity(limit), limit, every_us: MARK_EVERY_US, next_us: 0 }
    }

    /// `count` deliveries were written down, none of them observed after `at_us`.
    #[inline]
    pub(super) fn note(&mut self, at_us: u64, count: u64) {
        if at_us < self.next_us {
            return;
        }
        if self.marks.len() == self.limit {
            let mut keeps = false;
            self.marks.retain(|_| {
                keeps = !keeps;
                keeps
            });
            self.every_us *= 2;
        }
        self.marks.push((at_us, count));
        self.next_us = at_us + self.every_us;
    }

    /// At least so many deliveries came before `at_us`.
    fn before(&self, at_us: u64) -> u64 {
        let place = self.marks.partition_point(|(time_us, _)| *time_us < at_us);
        place.checked_sub(1).map_or(0, |last| self.marks[last].1)
    }

    /// At most so many deliveries had come by `at_us`, where that is known.
    fn after(&self, at_us: u64) -> Option<u64> {
        let place = self.marks.partition_point(|(time_us, _)| *time_us <= at_us);
        self.marks.get(place).map(|(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::{Arrival, Destination, Ledger, Order, Routes};
    use crate::stamp::Reading;

    /// Each message goes to both destinations, or to one in turn.
    struct ByPublisher;

    impl Routes for ByPublisher {
        fn destinations(&self, publisher: u16, sequence: u64) -> &[u32] {
            match (publisher, sequence % 2) {
                (0, _) => &[0, 1],
                (_, 0) => &[0],
                _ => &[1],
            }
        }
    }

    fn ledger(published: &[usize]) -> Ledger {
        let queue = |name: &str| Destination { name: name.to_owned(), kind: "classic", ..Destination::default() };
        let ledger = Ledger::new(1, published.len(), vec![queue("a"), queue("b")], Arc::new(ByPublisher));
        for (publisher, count) in (0..).zip(published) {
            ledger.published(publisher, *count, false);
        }
        ledger
    }

    /// Message `sequence` of `publisher` arrives at `now_us`, sent just then or long before.
    fn arrive(ledger: &Ledger, at: u32, (publisher, sequence): (u16, u64), intended_us: u64, now_us: u64) {
        let stamp = Stamp { run: 1, publisher, attempt: 0, sequence, intended_us, lag_us: 0 };
        let reading = Reading::Ours(stamp);
        let arrival =
            Arrival { destination: at, reading, redelivered: false, observed_us: now_us, deaths: None, retried: false };
        ledger.delivered(&mut Order::default(), &[arrival], &mut Vec::new());
        ledger.consumed([(at, reading)]);
    }

    fn gaps_of(ledger: &Ledger, destination: usize) -> Gaps {
        ledger.gaps().nth(destination).map(|(_, gaps)| gaps).unwrap_or_default()
    }

    #[test]
    fn a_message_sent_just_before_it_came_leaves_no_doubt() {
        let ledger = ledger(&[2]);
        arrive(&ledger, 0, (0, 0), 1_000_000, 1_000_010);
        arrive(&ledger, 0, (0, 1), 5_000_000, 5_000_010);
        arrive(&ledger, 0, (0, 0), 1_000_000, 48_000_010);
        let gaps = gaps_of(&ledger, 0);
        // The other message of its stretch came four seconds later: that bounds it from below only.
        assert_eq!(gaps.time_us.longest().at_most, 48_000_010 - 1_000_000);
        assert!(gaps.time_us.longest().at_least >= 43_000_010 - 64);
        assert_eq!((gaps.count, gaps.messages.longest()), (1, Bounds { at_least: 1, at_most: 2 }));
        assert_eq!(gaps_of(&ledger, 1).count, 0, "the other queue saw none");
        assert!(gaps_of(&ledger, 1).time_us.distribution().is_none());
    }

    #[test]
    fn what_is_found_by_the_audit_is_no_repetition() {
        let ledger = ledger(&[1]);
        arrive(&ledger, 0, (0, 0), 0, 10);
        let stamp = Stamp { run: 1, publisher: 0, attempt: 0, sequence: 0, intended_us: 0, lag_us: 0 };
        let (reading, observed_us) = (Reading::Ours(stamp), 20);
        ledger.found(&[Arrival {
            destination: 0,
            reading,
            redelivered: true,
            observed_us,
            deaths: None,
            retried: false,
        }]);
        assert_eq!(gaps_of(&ledger, 0).count, 0);
    }

    #[test]
    fn a_chunk_that_is_done_still_tells() {
        let ledger = ledger(&[10_000]);
        for sequence in 0..10_000 {
            // A backlog: all were sent long before they came.
            arrive(&ledger, 0, (0, sequence), 0, 1_000_000 + sequence * 100);
        }
        arrive(&ledger, 0, (0, 300), 0, 9_000_000);
        let gaps = gaps_of(&ledger, 0);
        let (exact_us, exact) = (9_000_000 - 1_030_000, 10_001 - 301);
        let (time_us, messages) = (gaps.time_us.longest(), gaps.messages.longest());
        assert!((time_us.at_least..=time_us.at_most).contains(&exact_us), "{time_us:?}");
        assert!((messages.at_least..=messages.at_most).contains(&exact), "{messages:?}");
        // 256 messages are one stretch, and marks are a millisecond apart: ten messages.
        assert!(time_us.at_most - time_us.at_least <= 256 * 100 + 64, "{time_us:?}");
        assert!(messages.at_most - messages.at_least <= 256 + 20, "{messages:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_longest_gap_lies_within_its_bounds(
            deliveries in prop::collection::vec((0u32..2, 0u16..2, 0u64..600, 0u64..5_000, 0u64..3_000), 1..800),
        ) {
            let ledger = ledger(&[600, 600]);
            let (mut now_us, mut numbers) = (10_000_000, [0u64; 2]);
            let mut firsts = BTreeMap::new();
            let mut longest = [(0u64, 0u64, 0u64); 2];
            for (at, publisher, sequence, pause_us, age_us) in deliveries {
                if !ByPublisher.destinations(publisher, sequence).contains(&at) {
                    continue;
                }
                now_us += pause_us;
                numbers[at as usize] += 1;
                let number = numbers[at as usize];
                let (first_us, first, intended_us) =
                    *firsts.entry((at, publisher, sequence)).or_insert((now_us, number, now_us - age_us));
                if first < number {
                    let (count, time_us, messages) = &mut longest[at as usize];
                    *count += 1;
                    *time_us = (*time_us).max(now_us - first_us);
                    *messages = (*messages).max(number - first);
                }
                arrive(&ledger, at, (publisher, sequence), intended_us, now_us);
            }
            for (at, (count, time_us, messages)) in longest.into_iter().enumerate() {
                let gaps = gaps_of(&ledger, at);
                prop_assert_eq!(gaps.count, count);
                let (times, numbers) = (gaps.time_us.longest(), gaps.messages.longest());
                prop_assert!(times.at_least <= time_us && time_us <= times.at_most, "{time_us} in {times:?}");
                prop_assert!(numbers.at_least <= messages && messages <= numbers.at_most, "{messages} in {numbers:?}");
                for stretch in [&gaps.time_us, &gaps.messages] {
                    let distribution = stretch.distribution();
                    prop_assert_eq!(distribution.map_or(0, |gaps| gaps.len()), count);
                    let (most, longest) = (distribution.map_or(0, |gaps| gaps.max()), stretch.longest().at_most);
                    prop_assert!(most >= longest && most - longest <= longest / 50 + 1, "{most} for {longest}");
                }
            }
        }

        #[test]
        fn marks_stay_true_and_few(
            batches in prop::collection::vec((0u64..4_000, 1u64..50), 1..400),
            asked in prop::collection::vec(0u64..1_000_000, 1..20),
        ) {
            let mut marks = Marks { limit: 16, ..Marks::new(1) };
            let (mut now_us, mut count, mut all) = (0, 0, vec![(0, 0)]);
            for (pause_us, more) in batches {
                now_us += pause_us;
                count += more;
                marks.note(now_us, count);
                all.push((now_us, count));
            }
            prop_assert!(marks.marks.len() <= 16);
            for at_us in asked {
                let before = all.iter().rev().find(|(time_us, _)| *time_us < at_us).map_or(0, |(_, count)| *count);
                let by = all.iter().rev().find(|(time_us, _)| *time_us <= at_us).map_or(0, |(_, count)| *count);
                prop_assert!(marks.before(at_us) <= before);
                prop_assert!(marks.after(at_us).is_none_or(|count| count >= by));
            }
        }
    }
}
