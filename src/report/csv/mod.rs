//! Tables for programs. Columns carry their unit in the name; what was not measured is empty; lists are UTF-8 with one
//! header line, as RFC 4180 says. `violations.csv` is part of the record and written with it.

mod ledger;
mod samples;

use super::OutputError;
use super::figure::{plain, plain_or_empty};
use super::summary;
use crate::record::{FaultCost, FaultRow, Interval, LatencyPoint, Record};

pub(super) use ledger::ledger;
pub(super) use samples::{broker, incidents, queues};

pub(super) const SUMMARY: &str = "summary.csv";
pub(super) const INTERVALS: &str = "intervals.csv";
pub(super) const LATENCY: &str = "latency.csv";
pub(super) const LEDGER: &str = "ledger.csv";
pub(super) const DEAD_LETTERS: &str = "dead_letters.csv";
pub(super) const FATES: &str = "fates.csv";
pub(super) const FAULTS: &str = "faults.csv";
pub(super) const INCIDENTS: &str = "incidents.csv";
pub(super) const QUEUES: &str = "queues.csv";
pub(super) const BROKER: &str = "broker.csv";

/// A table with a cell for each of its columns.
fn table<const COLUMNS: usize>(
    file: &'static str,
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> Result<String, OutputError> {
    let failed = |source| OutputError::Table { file, source };
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(failed)?;
    for row in rows {
        writer.write_record(row).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
    // Every cell was a `String`: nothing is replaced here.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Metric, unit, value, expectation, verdict.
pub(super) fn summary(record: &Record) -> Result<String, OutputError> {
    let rows = summary::rows(record).into_iter().map(|row| {
        [
            row.metric,
            row.unit,
            plain_or_empty(row.value),
            row.expectation.unwrap_or_default(),
            row.verdict.map_or("", |verdict| verdict.word()).to_owned(),
        ]
    });
    table(SUMMARY, ["metric", "unit", "value", "expectation", "verdict"], rows)
}

/// One row per second and fleet.
pub(super) fn intervals(record: &Record) -> Result<String, OutputError> {
    let header = [
        "start_us",
        "length_us",
        "phase",
        "fleet",
        "published",
        "confirmed",
        "nacked",
        "returned",
        "delivered",
        "consumed",
        "duplicates",
        "requeued",
        "rejected",
        "published_per_s",
        "confirmed_per_s",
        "consumed_per_s",
        "latency_count",
        "latency_p50_us",
        "latency_p99_us",
        "latency_max_us",
        "latency_from_send_count",
        "latency_from_send_p50_us",
        "latency_from_send_p99_us",
        "latency_from_send_max_us",
        "lag_max_us",
        "backlog",
        "generator_cpu_cores",
        "generator_memory_bytes",
        "broker_cpu_cores",
    ];
    table(INTERVALS, header, record.intervals.iter().map(interval))
}

fn interval(row: &Interval) -> [String; 29] {
    let per_s = |count: u64| if row.length_us == 0 { f64::NAN } else { count as f64 / (row.length_us as f64 / 1e6) };
    let [count, p50, p99, max] = point(row.latency);
    let [send_count, send_p50, send_p99, send_max] = point(row.latency_from_send);
    [
        plain(row.start_us),
        plain(row.length_us),
        row.phase.clone(),
        row.fleet.clone(),
        plain(row.published),
        plain(row.confirmed),
        plain(row.nacked),
        plain(row.returned),
        plain(row.delivered),
        plain(row.consumed),
        plain(row.duplicates),
        plain(row.requeued),
        plain(row.rejected),
        plain(per_s(row.published)),
        plain(per_s(row.confirmed)),
        plain(per_s(row.consumed)),
        count,
        p50,
        p99,
        max,
        send_count,
        send_p50,
        send_p99,
        send_max,
        plain_or_empty(row.lag_max_us),
        plain_or_empty(row.backlog),
        plain(row.generator_cpu_cores),
        plain(row.generator_memory_bytes),
        plain_or_empty(row.broker_cpu_cores),
    ]
}

fn point(point: Option<LatencyPoint>) -> [String; 4] {
    match point {
        Some(point) => [point.count, point.p50_us, point.p99_us, point.max_us].map(plain),
        None => Default::default(),
    }
}

/// Percentile distribution per metric and fleet. A percentile is a name here, written with as many digits as it has.
pub(super) fn latency(record: &Record) -> Result<String, OutputError> {
    let rows = record.latency.iter().flat_map(|summary| {
        summary.percentiles.iter().map(|point| {
            [
                summary.metric.clone(),
                summary.fleet.clone(),
                point.percentile.to_string(),
                plain(point.value_us),
                plain(point.count),
            ]
        })
    });
    table(LATENCY, ["metric", "fleet", "percentile", "value_us", "samples_at_or_below"], rows)
}

/// Dead letters by queue and reason.
pub(super) fn dead_letters(record: &Record) -> Result<String, OutputError> {
    let header = [
        "queue",
        "dead_letter_queue",
        "reason",
        "expected",
        "actual",
        "time_to_dead_letter_p50_us",
        "time_to_dead_letter_max_us",
    ];
    let rows = record.dead_letters.iter().map(|row| {
        [
            row.queue.clone(),
            row.dead_letter_queue.clone(),
            row.reason.clone(),
            plain_or_empty(row.expected),
            plain(row.actual),
            plain_or_empty(row.time_to_dead_letter_p50_us),
            plain_or_empty(row.time_to_dead_letter_max_us),
        ]
    });
    table(DEAD_LETTERS, header, rows)
}

/// What became of messages that were to fail, or that died where nobody takes them, and how often.
pub(super) fn fates(record: &Record) -> Result<String, OutputError> {
    let rows = record.fates.iter().flat_map(|fates| &fates.rows).map(|row| {
        [row.outcome.clone(), plain(row.messages), row.foretold.clone(), row.seen.clone(), row.first.clone()]
    });
    table(FATES, ["outcome", "messages", "foretold", "seen", "first"], rows)
}

/// The messages that a fault acted on, with a blank between two.
fn messages(row: &FaultRow) -> String {
    let named = row.messages.iter().map(|message| format!("{}:{}", message.publisher, message.sequence));
    named.collect::<Vec<_>>().join(" ")
}

/// Each fault, and what was seen in its window.
pub(super) fn faults(record: &Record) -> Result<String, OutputError> {
    let header = [
        "id",
        "kind",
        "detail",
        "planned_us",
        "started_us",
        "broken_us",
        "undone_us",
        "healed_us",
        "done",
        "messages",
        "error",
        "window_until_us",
        "time_to_detect_us",
        "first_confirm_after_us",
        "first_delivery_after_us",
        "rate_restored_after_us",
        "confirmed_before_per_s",
        "consumed_before_per_s",
        "backlog_before",
        "backlog_peak",
        "backlog_drained_after_us",
        "observed_until_us",
        "at_risk_unanswered",
        "at_risk_unacknowledged",
        "published",
        "confirmed",
        "consumed",
        "lost",
        "possibly_lost",
        "duplicates",
        "republished",
        "redelivered",
        "unflagged",
        "disconnects",
    ];
    let rows = record.faults.iter().map(|row| {
        let cost = row.cost.as_ref();
        let count = |of: fn(&FaultCost) -> u64| plain_or_empty(cost.map(of));
        let maybe = |of: fn(&FaultCost) -> Option<u64>| plain_or_empty(cost.and_then(of));
        [
            plain(u64::from(row.id)),
            row.kind.clone(),
            row.detail.clone(),
            plain_or_empty(row.planned_us),
            plain_or_empty(row.started_us),
            plain_or_empty(row.broken_us),
            plain_or_empty(row.undone_us),
            plain_or_empty(row.healed_us),
            plain(row.done),
            messages(row),
            row.error.clone().unwrap_or_default(),
            count(|cost| cost.until_us),
            maybe(|cost| cost.detected_after_us),
            maybe(|cost| cost.first_confirm_after_us),
            maybe(|cost| cost.first_delivery_after_us),
            maybe(|cost| cost.rate_restored_after_us),
            maybe(|cost| cost.confirmed_before_per_s),
            maybe(|cost| cost.consumed_before_per_s),
            maybe(|cost| cost.backlog_before),
            count(|cost| cost.backlog_peak),
            maybe(|cost| cost.backlog_drained_after_us),
            maybe(|cost| cost.observed_until_us),
            maybe(|cost| cost.at_risk_unanswered),
            maybe(|cost| cost.at_risk_unacknowledged),
            count(|cost| cost.published),
            count(|cost| cost.confirmed),
            count(|cost| cost.consumed),
            maybe(|cost| cost.lost),
            maybe(|cost| cost.possibly_lost),
            count(|cost| cost.duplicates),
            maybe(|cost| cost.republished),
            maybe(|cost| cost.redelivered),
            maybe(|cost| cost.unflagged),
            count(|cost| cost.disconnects),
        ]
    });
    table(FAULTS, header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::fixture;

    #[test]
    fn tables_of_the_fixture() {
        let record = fixture::record();
        for (file, text) in [
            (SUMMARY, summary(&record)),
            (LATENCY, latency(&record)),
            (LEDGER, ledger(&record)),
            (DEAD_LETTERS, dead_letters(&record)),
            (FATES, fates(&record)),
            (FAULTS, faults(&record)),
            (INCIDENTS, incidents(&record)),
        ] {
            insta::assert_snapshot!(file, text.expect("a table"));
        }
    }

    #[test]
    fn long_tables_of_the_fixture() {
        // Seconds around the stall; the rest is alike.
        let mut record = fixture::record();
        record.intervals.retain(|interval| (30_000_000..34_000_000).contains(&interval.start_us));
        record.queue_samples.retain(|sample| (30_000_000..35_000_000).contains(&sample.at_us));
        record.broker_samples.retain(|sample| (30_000_000..35_000_000).contains(&sample.at_us));
        for (file, text) in [(INTERVALS, intervals(&record)), (QUEUES, queues(&record)), (BROKER, broker(&record))] {
            insta::assert_snapshot!(file, text.expect("a table"));
        }
    }

    #[test]
    fn a_run_in_which_nothing_happened_has_headers() {
        let record = fixture::empty();
        for text in [intervals, latency, dead_letters, faults, incidents, queues, broker].map(|render| render(&record))
        {
            assert_eq!(text.expect("a table").lines().count(), 1);
        }
    }
}
