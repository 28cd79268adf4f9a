//! The record's rows, sorted by what they are about: fleets, the measured load, samples of one moment.

use std::collections::BTreeMap;

use crate::record::{Interval, Phase, Record};

/// Whether `interval` is one of the measured load.
pub(super) fn in_load(interval: &Interval) -> bool {
    interval.phase == Phase::Load.to_string()
}

/// Start and end of the measured load on the run's clock, in microseconds; none: it never began.
pub(super) fn load_us(record: &Record) -> Option<(i64, i64)> {
    record.phases.iter().find(|facts| facts.phase == Phase::Load).map(|facts| (facts.start_us, facts.end_us))
}

/// Names of the fleets that publish, in the plan's order.
pub(super) fn producers(record: &Record) -> Vec<&str> {
    record.plan.producers.iter().map(|fleet| fleet.name.as_str()).collect()
}

/// Names of the fleets that consume, in the plan's order.
pub(super) fn consumers(record: &Record) -> Vec<&str> {
    record.plan.consumers.iter().map(|fleet| fleet.name.as_str()).collect()
}

/// Messages ready in all queues together, by time in microseconds on the run's clock.
pub(super) fn backlog(record: &Record) -> BTreeMap<i64, u64> {
    let mut ready = BTreeMap::new();
    for sample in &record.queue_samples {
        *ready.entry(sample.at_us).or_insert(0) += sample.ready;
    }
    ready
}
