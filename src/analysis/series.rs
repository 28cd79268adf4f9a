//! Figures that were taken each second: throughputs and gauges over the measured load.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{QueueKind, Statistic};
use crate::record::{BrokerSample, Interval, Phase, Record};

/// Messages per second over the measured load: counts over the time that its intervals cover. A fleet that was idle
/// for part of the load is not excused from it.
pub(super) fn throughput(record: &Record, step: &str, fleet: Option<&str>) -> Option<f64> {
    let mut spans: Vec<(u64, u64)> =
        load_intervals(record).map(|i| (i.start_us, i.start_us.saturating_add(i.length_us))).collect();
    let covered_us = covered(&mut spans);
    let mut rows =
        load_intervals(record).filter(|interval| fleet.is_none_or(|fleet| interval.fleet == fleet)).peekable();
    rows.peek()?;
    let messages: u128 = rows.map(|interval| u128::from(count_of(interval, step))).sum();
    (covered_us > 0).then(|| messages as f64 / (covered_us as f64 / 1e6))
}

fn load_intervals(record: &Record) -> impl Iterator<Item = &Interval> {
    let phase = Phase::Load.to_string();
    record.intervals.iter().filter(move |interval| interval.phase == phase)
}

fn count_of(interval: &Interval, step: &str) -> u64 {
    match step {
        "published" => interval.published,
        "confirmed" => interval.confirmed,
        "delivered" => interval.delivered,
        _ => interval.consumed,
    }
}

/// Length of the union of `spans`.
fn covered(spans: &mut [(u64, u64)]) -> u64 {
    spans.sort_unstable();
    let (mut total, mut until) = (0u64, 0u64);
    for &(start, end) in spans.iter() {
        total = total.saturating_add(end.saturating_sub(start.max(until)));
        until = until.max(end);
    }
    total
}

/// Unit of a gauge.
pub(super) fn gauge_unit(name: &str) -> &'static str {
    match name {
        "backlog" => "messages",
        "broker_cpu" | "generator_cpu" => "cores",
        _ => "bytes",
    }
}

/// A statistic of the gauge `name` over the measured load; none where it was not sampled.
pub(super) fn gauge(record: &Record, name: &str, statistic: Statistic) -> Option<f64> {
    let samples = match name {
        "backlog" => backlog(record),
        "broker_cpu" => broker(record, |sample| sample.cpu_cores),
        "broker_memory" => broker(record, |sample| sample.memory_bytes.map(|bytes| bytes as f64)),
        "generator_cpu" => generator(record, |interval| interval.generator_cpu_cores),
        _ => generator(record, |interval| interval.generator_memory_bytes as f64),
    };
    match statistic {
        Statistic::Mean if !samples.is_empty() => Some(samples.iter().sum::<f64>() / samples.len() as f64),
        Statistic::End => samples.last().copied(),
        Statistic::Percentile(_) => samples.into_iter().reduce(f64::max),
        Statistic::Mean | Statistic::Count => None,
    }
}

/// Messages that are ready in the queues that fleets consume; in all queues where none is consumed. Streams keep what
/// was read, so that their length is no backlog.
fn backlog(record: &Record) -> Vec<f64> {
    let subscribers = record.plan.consumers.iter().flat_map(|fleet| &fleet.subscribers);
    let consumed: BTreeSet<usize> = subscribers.flat_map(|subscriber| subscriber.queues.iter().copied()).collect();
    let queues = record.plan.topology.queues.iter().enumerate();
    let counted: BTreeSet<&str> = queues
        .filter(|(number, queue)| queue.kind != QueueKind::Stream && (consumed.is_empty() || consumed.contains(number)))
        .map(|(_, queue)| queue.name.as_str())
        .collect();
    let mut by_time: BTreeMap<i64, u128> = BTreeMap::new();
    for sample in &record.queue_samples {
        if in_load(record, sample.at_us) && counted.contains(sample.queue.as_str()) {
            *by_time.entry(sample.at_us).or_default() += u128::from(sample.ready);
        }
    }
    by_time.into_values().map(|ready| ready as f64).collect()
}

fn broker(record: &Record, figure: impl Fn(&BrokerSample) -> Option<f64>) -> Vec<f64> {
    let mut samples: Vec<_> = record
        .broker_samples
        .iter()
        .filter(|sample| in_load(record, sample.at_us))
        .filter_map(|sample| figure(sample).map(|value| (sample.at_us, value)))
        .collect();
    samples.sort_by_key(|(at_us, _)| *at_us);
    samples.into_iter().map(|(_, value)| value).collect()
}

/// One figure for each second: every fleet's row holds the same one, of the whole process.
fn generator(record: &Record, figure: impl Fn(&Interval) -> f64) -> Vec<f64> {
    let by_time: BTreeMap<u64, f64> =
        load_intervals(record).map(|interval| (interval.start_us, figure(interval))).collect();
    by_time.into_values().collect()
}

fn in_load(record: &Record, at_us: i64) -> bool {
    record.phases.iter().any(|facts| facts.phase == Phase::Load && (facts.start_us..=facts.end_us).contains(&at_us))
}
