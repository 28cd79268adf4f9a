//! Dead letters as they are found, by where they came from and why.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

use super::Shared;
use crate::client::Delivery;
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
    /// From the intended send to the dead-lettering, in microseconds; the broker's stamp is in whole seconds.
    pub times: Histogram<u64>,
}

/// All dead letters of a run.
#[derive(Debug, Default)]
pub struct Deaths(Mutex<BTreeMap<DeathKind, DeathCount>>);

impl Deaths {
    /// Counts the dead letters among deliveries.
    pub fn note(&self, deliveries: &[Delivery], readings: impl Iterator<Item = Reading>, shared: &Shared) {
        if deliveries.iter().all(|delivery| delivery.death.is_none()) {
            return;
        }
        let mut deaths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (delivery, reading) in deliveries.iter().zip(readings) {
            let (Some(death), Reading::Ours(stamp)) = (&delivery.death, reading) else { continue };
            let kind = DeathKind { from: death.queue.clone(), found_in: delivery.queue, reason: death.reason.clone() };
            let counted = deaths.entry(kind).or_insert_with(|| DeathCount { count: 0, times: histogram() });
            counted.count += 1;
            if let Some(seconds) = death.unix_seconds {
                let died_us = seconds.saturating_mul(1_000_000);
                let took_us = died_us.saturating_sub(shared.clock.unix_us(stamp.intended_us));
                counted.times.saturating_record(took_us.clamp(LOWEST_US, HIGHEST_US));
            }
        }
    }

    /// What was counted.
    pub fn counted(&self) -> BTreeMap<DeathKind, DeathCount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
