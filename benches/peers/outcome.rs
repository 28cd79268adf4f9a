//! What all contenders have in common, what one run of one of them came to, and how that is read from a record of
//! lurcher's. Pure; `tests/bench_peers.rs` holds it to its word, and the scenarios to these numbers.

use lurcher::record::{Phase, Record};
use serde::{Deserialize, Serialize};

/// Most messages that wait for their confirm.
pub const CONFIRM_WINDOW: u64 = 192;
/// Most messages that wait for their ack.
pub const PREFETCH: u16 = 200;

/// One run of one contender. The same definitions for all of them:
///
/// - `elapsed_us` goes from the first publish to the last delivery;
/// - `cpu_us` is user and system time of the contender's process over that time, by its own reading of
///   `CLOCK_PROCESS_CPUTIME_ID`: neither its start, nor its connecting, nor its report. lurcher reads it once a second
///   and at each change of phase, so that up to a second of waiting after the last delivery is in its figure;
/// - `footprint` is of the process's whole life.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Messages published, confirmed, delivered and acked.
    pub consumed: u64,
    /// From the first publish to the last delivery, in microseconds.
    pub elapsed_us: u64,
    /// Processor time, in microseconds.
    pub cpu_us: u64,
    /// What the kernel says of the process.
    pub footprint: Footprint,
}

/// What the kernel says of a process, as last seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// The most that was resident (`VmHWM`), in bytes.
    pub memory_peak_bytes: u64,
    /// Times that one of its threads slept until something came (`voluntary_ctxt_switches`).
    pub sleeps: u64,
}

impl Footprint {
    /// Of two that were seen of one process the larger of each figure: neither ever falls, but that a thread that has ended
    /// takes its own with it.
    pub fn or_more(self, other: Self) -> Self {
        Self {
            memory_peak_bytes: self.memory_peak_bytes.max(other.memory_peak_bytes),
            sleeps: self.sleeps.max(other.sleeps),
        }
    }
}

impl Outcome {
    /// Messages consumed per second.
    pub fn per_s(&self) -> f64 {
        self.consumed as f64 * 1e6 / self.elapsed_us as f64
    }

    /// Processor time per message, in microseconds.
    pub fn cpu_us_per_message(&self) -> f64 {
        self.cpu_us as f64 / self.consumed as f64
    }

    /// Largest resident memory, in MiB.
    pub fn memory_peak_mib(&self) -> f64 {
        self.footprint.memory_peak_bytes as f64 / f64::from(1 << 20)
    }

    /// Messages consumed for each time that a thread slept until something came.
    pub fn messages_per_sleep(&self) -> f64 {
        self.consumed as f64 / self.footprint.sleeps.max(1) as f64
    }

    /// What a record of lurcher's says; the error says what it lacks.
    pub fn of_record(record: &Record) -> Result<Self, String> {
        let totals = &record.totals;
        let whole = totals.confirmed == totals.planned && totals.consumed == totals.planned && totals.duplicates == 0;
        if totals.planned == 0 || !whole {
            let text = serde_json::to_string(totals).unwrap_or_default();
            return Err(format!("not every message was confirmed and consumed once: {text}"));
        }
        let elapsed_us = record.generator.delivered_until_us.ok_or("the record knows no last delivery")?;
        Ok(Self {
            consumed: totals.consumed,
            elapsed_us,
            cpu_us: cpu_us_until(record, elapsed_us).ok_or("the record has no intervals of the load")?,
            footprint: Footprint { memory_peak_bytes: record.generator.memory_peak_bytes, sleeps: 0 },
        })
    }
}

/// Processor time of the process from the first publish to the end of the interval that holds `until_us`.
fn cpu_us_until(record: &Record, until_us: u64) -> Option<u64> {
    // Every fleet's row holds the figure of the whole process: one fleet's rows are all of it.
    let fleet = &record.intervals.first()?.fleet;
    let loaded = [Phase::Warmup, Phase::Load, Phase::Heal, Phase::Drain].map(|phase| phase.to_string());
    let counted = record.intervals.iter().filter(|interval| {
        interval.fleet == *fleet && loaded.contains(&interval.phase) && interval.start_us < until_us
    });
    Some(counted.map(|interval| interval.generator_cpu_cores * interval.length_us as f64).sum::<f64>().round() as u64)
}

/// Of the sends in the measured load, the share that was later than 1 ms, from an HdrHistogram interval log; none where
/// it holds no send.
pub fn later_than_1_ms(log: &[u8]) -> Result<Option<f64>, String> {
    use base64::Engine as _;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    let (mut sends, mut late) = (0, 0);
    for entry in IntervalLogIterator::new(log) {
        let LogEntry::Interval(interval) = entry.map_err(|error| format!("{error:?}"))? else { continue };
        if !interval.tag().is_some_and(|tag| tag.as_str().starts_with("schedule_lag.")) {
            continue;
        }
        let engine = base64::engine::general_purpose::STANDARD;
        let bytes = engine.decode(interval.encoded_histogram()).map_err(|error| error.to_string())?;
        let histogram: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| error.to_string())?;
        sends += histogram.len();
        late += histogram.count_between(1_001, u64::MAX);
    }
    Ok((sends > 0).then(|| late as f64 / sends as f64))
}
