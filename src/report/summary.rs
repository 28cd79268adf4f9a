//! The figures that a reader may want of a record, each once: the source of `summary.csv`, the page and the terminal.
//!
//! Names are those of [`crate::plan::Metric`] where there is one. Where the judgement has measured a metric, its value
//! is the one shown, so that a verdict and its figure never disagree. Definitions of what is computed here:
//!
//! - throughput: messages of the intervals that began in the measured load, by the load's length;
//! - gauges: of the samples taken during the measured load, the largest, the mean, and the last (`end`).

use super::figure::Figure;
use super::series;
use crate::analysis;
use crate::plan::Metric;
use crate::plan::expect::{GAP_TIME, GAPS, LATENCIES, THROUGHPUTS};
use crate::record::{Check, DuplicateGap, GapLength, Interval, LatencySummary, Record, Totals, Verdict};

/// One figure, with what was expected of it. A metric with two expectations has two rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What is measured.
    pub metric: String,
    /// `messages`, `samples`, `times`, `events`, `us`, `per_s`, `cores`, `bytes`, `percent` or none.
    pub unit: String,
    /// What was measured; none: there was no sample.
    pub value: Option<Figure>,
    /// The expectation as it was written.
    pub expectation: Option<String>,
    /// How that went.
    pub verdict: Option<Verdict>,
}

/// Fleet's name of the distribution over all fleets.
pub const ALL_FLEETS: &str = "all";

/// Statistics shown of each latency.
pub const STATISTICS: [(&str, f64); 5] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// Every figure of `record`, most asked for first.
pub fn rows(record: &Record) -> Vec<Row> {
    let mut rows = Vec::new();
    let measured = totals(&record.totals)
        .into_iter()
        .map(|(word, count)| (word.to_owned(), unit(word), Some(count.into())))
        .chain(where_there_are(&record.totals))
        .chain(throughputs(record))
        .chain(latencies(record))
        .chain(gauges(record))
        .chain(gaps(record))
        .chain(generator(record));
    let checks = record.verdict.as_ref().map_or(&[][..], |judgement| &judgement.checks);
    for (metric, unit, value) in measured {
        let mut judged = checks.iter().filter(|check| check.metric == metric).peekable();
        if judged.peek().is_none() {
            rows.push(Row { metric, unit: unit.to_owned(), value, expectation: None, verdict: None });
            continue;
        }
        rows.extend(judged.map(|check| of_check(check, unit)));
    }
    // Expectations of one queue, of another percentile, or of a guarantee have no row yet.
    let others = checks.iter().filter(|check| !rows.iter().any(|row: &Row| row.metric == check.metric));
    let others: Vec<Row> = others.map(|check| of_check(check, &check.unit)).collect();
    rows.extend(others);
    rows
}

fn unit(word: &str) -> &'static str {
    match word {
        "disconnects" | "blocked" => "times",
        _ => "messages",
    }
}

fn of_check(check: &Check, unit: &str) -> Row {
    Row {
        metric: check.metric.clone(),
        unit: unit.to_owned(),
        value: check.value.map(|value| Figure::of(value, unit)),
        expectation: Some(check.expectation.clone()),
        verdict: Some(check.verdict),
    }
}

/// The first row of `metric` among `rows`.
pub fn value(rows: &[Row], metric: &str) -> Option<Figure> {
    rows.iter().find(|row| row.metric == metric).and_then(|row| row.value)
}

/// The ledger's words with their counts, in the order of a message's way.
pub fn totals(totals: &Totals) -> [(&'static str, u64); 29] {
    let Totals {
        planned,
        published,
        confirmed,
        nacked,
        returned,
        unconfirmed,
        sent,
        unsent,
        delivered,
        consumed,
        lost,
        possibly_lost,
        recovered,
        duplicates,
        republished,
        redelivered,
        unflagged,
        redelivered_flag,
        requeued,
        rejected,
        retried,
        phantom,
        corrupt,
        misordered,
        dead_lettered,
        removed_by_rule,
        left_in_queue,
        disconnects,
        blocked,
        ..
    } = *totals;
    [
        ("planned", planned),
        ("published", published),
        ("confirmed", confirmed),
        ("nacked", nacked),
        ("returned", returned),
        ("unconfirmed", unconfirmed),
        ("sent", sent),
        ("unsent", unsent),
        ("delivered", delivered),
        ("consumed", consumed),
        ("lost", lost),
        ("possibly_lost", possibly_lost),
        ("recovered", recovered),
        ("duplicates", duplicates),
        ("republished", republished),
        ("redelivered", redelivered),
        ("unflagged", unflagged),
        ("redelivered_flag", redelivered_flag),
        ("requeued", requeued),
        ("rejected", rejected),
        ("retried", retried),
        ("phantom", phantom),
        ("corrupt", corrupt),
        ("misordered", misordered),
        ("dead_lettered", dead_lettered),
        ("removed_by_rule", removed_by_rule),
        ("left_in_queue", left_in_queue),
        ("disconnects", disconnects),
        ("blocked", blocked),
    ]
}

/// What the stores of idempotent consumers say, what became of messages that were to fail, and what led to what; nothing
/// where there are none.
fn where_there_are(totals: &Totals) -> impl Iterator<Item = Measured> {
    let words = [
        ("effects_applied", totals.effects_applied),
        ("effects_repeated", totals.effects_repeated),
        ("effects_missing", totals.effects_missing),
        ("effects_unknown", totals.effects_unknown),
        ("fates_foretold", totals.fates_foretold),
        ("fates_differing", totals.fates_differing),
        ("fates_unexplained", totals.fates_unexplained),
        ("attempts", totals.attempts),
        ("attempts_max", totals.attempts_max),
        ("follow_ups_missing", totals.follow_ups_missing),
        ("follow_ups_repeated", totals.follow_ups_repeated),
        ("ids_missing", totals.ids_missing),
        ("ids_crossed", totals.ids_crossed),
    ];
    let counted = |(word, count): (&str, Option<u64>)| Some((word.to_owned(), "messages", Some(count?.into())));
    words.into_iter().filter_map(counted)
}

type Measured = (String, &'static str, Option<Figure>);

fn throughputs(record: &Record) -> Vec<Measured> {
    let fleets = series::producers(record).into_iter().chain(series::consumers(record)).map(Some);
    let mut measured = Vec::new();
    for fleet in std::iter::once(None).chain(fleets) {
        for step in THROUGHPUTS {
            let of_producers = matches!(step, "published" | "confirmed");
            let fits = fleet.is_none_or(|fleet| {
                let fleets = if of_producers { series::producers(record) } else { series::consumers(record) };
                fleets.contains(&fleet)
            });
            if fits {
                let name = fleet.map_or(format!("throughput.{step}"), |fleet| format!("throughput.{step}.{fleet}"));
                let metric = Metric::Throughput { name: step.to_owned(), fleet: fleet.map(str::to_owned) };
                measured.push((name, "per_s", analysis::measured(record, &metric).map(Figure::Real)));
            }
        }
    }
    measured
}

fn latencies(record: &Record) -> Vec<Measured> {
    let mut measured = Vec::new();
    for metric in LATENCIES {
        for summary in record.latency.iter().filter(|summary| summary.metric == metric) {
            let prefix = match summary.fleet.as_str() {
                ALL_FLEETS => metric.to_owned(),
                fleet => format!("{metric}.{fleet}"),
            };
            for (statistic, percentile) in STATISTICS {
                measured.push((
                    format!("{prefix}.{statistic}"),
                    "us",
                    at_percentile(summary, percentile).map(Figure::from),
                ));
            }
            let mean = (summary.count > 0).then_some(Figure::Real(summary.mean_us));
            measured.push((format!("{prefix}.mean"), "us", mean));
            measured.push((format!("{prefix}.count"), "samples", Some(summary.count.into())));
        }
    }
    measured
}

/// The value at `percentile` in microseconds: of the first point at or above it.
pub fn at_percentile(summary: &LatencySummary, percentile: f64) -> Option<u64> {
    if summary.count == 0 {
        return None;
    }
    summary.percentiles.iter().find(|point| point.percentile >= percentile).map(|point| point.value_us)
}

fn gauges(record: &Record) -> Vec<Measured> {
    let load = series::load_us(record);
    let within = |at_us: i64| load.is_some_and(|(start, end)| (start..end).contains(&at_us));
    let broker = || record.broker_samples.iter().filter(|sample| within(sample.at_us));
    // Each fleet's row repeats what the generator said of that second.
    let mut seconds: Vec<&Interval> = record.intervals.iter().filter(|i| series::in_load(i)).collect();
    seconds.sort_by_key(|interval| interval.start_us);
    seconds.dedup_by_key(|interval| interval.start_us);
    let whole = |values: Vec<u64>| values.into_iter().map(Figure::from).collect::<Vec<_>>();
    let real = |values: Vec<f64>| values.into_iter().map(Figure::Real).collect::<Vec<_>>();
    let backlog = series::backlog(record).into_iter().filter(|(at_us, _)| within(*at_us)).map(|(_, ready)| ready);
    [
        ("backlog", "messages", whole(backlog.collect())),
        ("broker_cpu", "cores", real(broker().filter_map(|sample| sample.cpu_cores).collect())),
        ("broker_memory", "bytes", whole(broker().filter_map(|sample| sample.memory_bytes).collect())),
        ("generator_cpu", "cores", real(seconds.iter().map(|second| second.generator_cpu_cores).collect())),
        ("generator_memory", "bytes", whole(seconds.iter().map(|second| second.generator_memory_bytes).collect())),
    ]
    .into_iter()
    .flat_map(|(name, unit, samples)| gauge(name, unit, &samples))
    .collect()
}

fn gauge(name: &str, unit: &'static str, samples: &[Figure]) -> [Measured; 3] {
    let max = samples.iter().copied().reduce(|max, next| if next.as_f64() > max.as_f64() { next } else { max });
    let sum: f64 = samples.iter().map(|sample| sample.as_f64()).sum();
    let mean = (!samples.is_empty()).then(|| Figure::Real(sum / samples.len() as f64));
    [("max", max), ("mean", mean), ("end", samples.last().copied())]
        .map(|(statistic, value)| (format!("{name}.{statistic}"), unit, value))
}

/// The longest gaps between first and repeated deliveries, at most; of all queues, then of each that had any.
fn gaps(record: &Record) -> Vec<Measured> {
    let lengths = |name: &str| -> &'static str { if name == GAP_TIME { "us" } else { "messages" } };
    let all = GAPS.map(|name| {
        let metric = Metric::Gap { name: name.to_owned(), queue: None };
        let longest = analysis::measured(record, &metric).map(|longest| Figure::of(longest, lengths(name)));
        (metric.to_string(), lengths(name), longest)
    });
    let of_length = |name: &str, queue: &str, length: GapLength| {
        let GapLength { longest_at_least, longest_at_most, p50, p90, p99 } = length;
        [("max", longest_at_most), ("max_at_least", longest_at_least), ("p50", p50), ("p90", p90), ("p99", p99)]
            .map(|(statistic, value)| (format!("{name}.{queue}.{statistic}"), lengths(name), Some(value.into())))
    };
    let of_queue = |gap: &DuplicateGap| {
        let [time, messages] = GAPS;
        of_length(time, &gap.queue, gap.time_us).into_iter().chain(of_length(messages, &gap.queue, gap.messages))
    };
    all.into_iter().chain(record.duplicate_gaps.iter().flat_map(of_queue)).collect()
}

fn generator(record: &Record) -> Vec<Measured> {
    let facts = &record.generator;
    let late_percent =
        (facts.paced_sends > 0).then(|| Figure::Real(facts.late_sends as f64 / facts.paced_sends as f64 * 100.0));
    [
        ("late_sends", "messages", Some(facts.late_sends.into())),
        ("late_sends_percent", "percent", late_percent),
        ("paced_sends", "messages", Some(facts.paced_sends.into())),
        ("own_lag_p99", "us", Some(facts.own_lag_p99_us.into())),
        ("held", "us", Some(facts.held_us.into())),
        ("message_cost", "us", facts.message_cost_us.map(Figure::Real)),
        ("cpu", "us", Some(facts.cpu_us.into())),
        ("load", "us", Some(facts.load_us.into())),
        ("load_sends", "messages", Some(facts.load_sends.into())),
        ("load_planned", "messages", facts.load_planned.map(Figure::from)),
        ("memory_peak", "bytes", Some(facts.memory_peak_bytes.into())),
        ("overflow", "events", Some(facts.overflow.into())),
        ("clock_step", "us", Some(facts.clock_step_us.into())),
        ("clipped", "samples", Some(facts.clipped.into())),
    ]
    .map(|(name, unit, value)| (format!("generator.{name}"), unit, value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::fixture;

    #[test]
    fn every_expectation_has_its_row() {
        let record = fixture::record();
        let rows = rows(&record);
        let judgement = record.verdict.expect("judged");
        for check in &judgement.checks {
            let row = rows.iter().find(|row| row.metric == check.metric).expect("a row");
            assert_eq!((row.expectation.as_ref(), row.verdict), (Some(&check.expectation), Some(check.verdict)));
        }
        assert_eq!(rows.iter().filter(|row| row.verdict.is_some()).count(), judgement.checks.len());
    }

    #[test]
    fn what_was_judged_is_what_was_measured() {
        // The fixture's judgement was written by hand; this program's own figures must agree with it.
        let judged = rows(&fixture::record());
        let own = rows(&crate::record::Record { verdict: None, ..fixture::record() });
        for metric in ["lost", "end_to_end.p99", "throughput.published", "corrupt"] {
            assert_eq!(value(&judged, metric).map(Figure::as_f64), value(&own, metric).map(Figure::as_f64), "{metric}");
        }
    }

    #[test]
    fn the_totals_are_those_of_the_ledger() {
        let record = fixture::record();
        let others: Vec<_> = where_there_are(&record.totals).collect();
        let words = totals(&Totals::default()).into_iter().map(|(word, _)| word);
        let mut words: Vec<&str> = words.chain(others.iter().map(|(word, ..)| word.as_str())).collect();
        let mut known = crate::plan::expect::COUNTS;
        words.sort_unstable();
        known.sort_unstable();
        assert_eq!(words, known);
        let json = serde_json::to_value(&record.totals).expect("json");
        for (word, count) in totals(&record.totals) {
            assert_eq!(json[word], count, "{word}");
        }
        for (word, _, count) in &others {
            assert_eq!(json[word.as_str()].as_u64().map(Figure::from), *count, "{word}");
        }
        assert_eq!(where_there_are(&Totals::default()).count(), 0, "a run without stores says nothing of effects");
    }

    #[test]
    fn no_sample_is_no_figure() {
        let rows = rows(&fixture::empty());
        for metric in ["throughput.consumed", "backlog.max", "broker_cpu.mean", "generator.late_sends_percent"] {
            assert!(rows.iter().any(|row| row.metric == metric), "{metric}");
            assert_eq!(value(&rows, metric), None, "{metric}");
        }
    }
}
