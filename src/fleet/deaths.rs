//! Dead letters as they are found, by where they came from and why.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

use super::Shared;
use crate::client::{Death, Deliveries};
use crate::latency::{HIGHEST_US, LOWEST_US, histogram};
use crate::stamp::Reading;

/// Where a dead letter came from, where it was found, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeathKind {
    /// Queue that it left.
    pub from: String,
    /// Number of the queue that it was found in.
    pub found_in: usize,
    /// `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: String,
}

/// Dead letters of one kind.
#[derive(Debug, Clone)]
pub struct DeathCount {
    /// How many were found.
    pub count: u64,
    /// From the intended send to the dead-lettering at the latest, in microseconds: the broker stamps the whole second
    /// that it happened in, so that it is known to within a second, or to the delivery where that came sooner.
    pub times: Histogram<u64>,
}

/// All dead letters of a run.
#[derive(Debug, Default)]
pub struct Deaths(Mutex<BTreeMap<DeathKind, DeathCount>>);

impl Deaths {
    /// Counts the dead letters among deliveries: of each its reading, and whether it came there for the first time.
    pub fn note(&self, deliveries: &Deliveries, arrived: impl Iterator<Item = (Reading, bool)>, shared: &Shared) {
        if deliveries.iter().all(|(delivery, _)| delivery.deaths.is_empty()) {
            return;
        }
        let arrived = deliveries.iter().zip(arrived).filter_map(|((delivery, _), (reading, is_first))| {
            let Reading::Ours(stamp) = reading else { return None };
            Some((delivery.queue, delivery.deaths.first()?, shared.clock.unix_us(stamp.intended_us), is_first))
        });
        self.count(arrived, shared.clock.unix_us(shared.clock.now_us()));
    }

    /// Counts dead letters that were delivered at `observed_us`: of each the queue that it was found in, when it was to be
    /// sent, and whether it came there for the first time. All times since 1970.
    fn count<'a>(&self, arrived: impl Iterator<Item = (usize, &'a Death, u64, bool)>, observed_us: u64) {
        let mut deaths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another attempt at a dead letter is no other dead letter.
        for (found_in, death, intended_us, _) in arrived.filter(|(_, _, _, is_first)| *is_first) {
            let kind = DeathKind { from: death.queue.clone(), found_in, reason: death.reason.clone() };
            let counted = deaths.entry(kind).or_insert_with(|| DeathCount { count: 0, times: histogram() });
            counted.count += 1;
            if let Some(seconds) = death.unix_seconds {
                let took_us = died_by_us(seconds, observed_us).saturating_sub(intended_us);
                counted.times.saturating_record(took_us.clamp(LOWEST_US, HIGHEST_US));
            }
        }
    }

    /// What was counted.
    pub fn counted(&self) -> BTreeMap<DeathKind, DeathCount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The latest time at which a message can have died that the broker stamped with `seconds`, cut off, and that was
/// delivered at `observed_us`; all since 1970.
fn died_by_us(seconds: u64, observed_us: u64) -> u64 {
    seconds.saturating_add(1).saturating_mul(1_000_000).min(observed_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_that_is_tried_again_is_counted_once() {
        let death = |queue: &str| Death {
            queue: queue.to_owned(),
            reason: "rejected".to_owned(),
            count: 1,
            unix_seconds: Some(10),
        };
        let (one, other) = (death("a"), death("b"));
        let deaths = Deaths::default();
        let arrived = [(3, &one, 9_000_000, true), (3, &other, 0, true), (3, &one, 9_000_000, false)];
        deaths.count(arrived.into_iter(), 60_000_000);
        deaths.count([(3, &one, 9_000_000, false), (4, &one, 8_000_000, true)].into_iter(), 60_000_000);
        let counted = deaths.counted();
        let of = |from: &str, found_in| {
            let kind = DeathKind { from: from.to_owned(), found_in, reason: "rejected".to_owned() };
            counted.get(&kind).map(|counted| (counted.count, counted.times.len()))
        };
        assert_eq!([of("a", 3), of("b", 3), of("a", 4)], [Some((1, 1)); 3]);
        assert_eq!(counted.len(), 3);
    }

    #[test]
    fn a_death_is_no_earlier_than_its_second_allows_and_no_later_than_its_delivery() {
        // Sent at 10.2 s, dead at 10.7 s: the stamp says 10 s, which is before the send.
        assert_eq!(died_by_us(10, 10_701_000), 10_701_000);
        assert_eq!(died_by_us(10, 60_000_000), 11_000_000, "found late: some time within its second");
        assert_eq!(died_by_us(11, 10_701_000), 10_701_000, "the broker's clock is ahead");
    }
}
