//! Latencies against their bounds, with the messages that never arrived counted as infinitely late.
//!
//! A latency exists only for what arrived. Were the rest left out, a broker that drops every slow message would have
//! the best percentiles of all. So a percentile is taken over measured and unmeasured messages together: with `n` of
//! the one and `u` of the other, the percentile `p` of all is the percentile `p · (n + u) / n` of the measured ones,
//! and where that is beyond 100 it is infinite. (In the terms of survival analysis: the missing are right-censored.)

use std::collections::{BTreeMap, BTreeSet};

use super::counts::planned_queue;
use super::expectation::Outcome;
use super::phrase::{count, micros, things};
use crate::plan::expect::Comparison;
use crate::plan::{Plan, ProducerFleet, QueueKind, Statistic};
use crate::record::{LatencySummary, PercentilePoint, Phase, Record, Verdict};
use crate::units::Percentile;

/// Fleet of the summaries over all fleets.
const ALL: &str = "all";
/// Samples that must lie beyond a percentile on average, so that it is not one message's story.
const BEYOND: f64 = 10.0;
/// Largest value that the histograms hold, less their resolution of three digits, in microseconds.
const CLIPPED_US: f64 = 3_596_000_000.0;
const ROUNDING: f64 = 1e-9;

/// The distribution of the latency `name`, of one fleet or of all together.
pub(super) fn summary<'a>(record: &'a Record, name: &str, fleet: Option<&str>) -> Option<&'a LatencySummary> {
    let wanted = fleet.unwrap_or(ALL);
    record.latency.iter().find(|summary| summary.metric == name && summary.fleet == wanted)
}

/// The statistic of what was measured; of a percentile that is not listed the next listed one above.
pub(super) fn value(summary: &LatencySummary, statistic: Statistic) -> Option<f64> {
    match statistic {
        Statistic::Percentile(percentile) => {
            bracket(summary, percentile.percent()).map(|(_, high)| high.value_us as f64)
        }
        Statistic::Mean => (summary.count > 0).then_some(summary.mean_us),
        Statistic::Count => Some(summary.count as f64),
        Statistic::End => None,
    }
}

/// Judges a statistic of the latency `name`.
pub(super) fn judged(
    record: &Record,
    (name, fleet): (&str, Option<&str>),
    statistic: Statistic,
    comparison: Comparison,
    bound: f64,
) -> Outcome {
    let Some(summary) = summary(record, name, fleet) else {
        return Outcome::unknown("there is no such latency in the record");
    };
    let unmeasured = Unmeasured::of(record, name, fleet);
    let outcome = match statistic {
        Statistic::Count => return Outcome::compared(summary.count as f64, comparison, bound),
        Statistic::Percentile(percentile) => {
            let outcome = percentile_judged(summary, &unmeasured, percentile, comparison, bound);
            let spared = || percentile_judged(summary, &unmeasured.without_left(), percentile, comparison, bound);
            spare_left(record, &unmeasured, bound, outcome, spared)
        }
        Statistic::Mean => mean_judged(summary, &unmeasured, comparison, bound),
        Statistic::End => return Outcome::unknown("a latency has no end"),
    };
    let outcome = clipped(record, statistic, comparison, outcome);
    match unmeasured.ruled_out {
        0 => outcome,
        copies => {
            outcome.noted(format!("{} removed by a rule or dead-lettered and left out of it", things(copies, "copy")))
        }
    }
}

fn percentile_judged(
    summary: &LatencySummary,
    unmeasured: &Unmeasured,
    percentile: Percentile,
    comparison: Comparison,
    bound: f64,
) -> Outcome {
    let p = percentile.percent();
    let (n, all) = (summary.count as f64, summary.count as f64 + unmeasured.total as f64);
    if all == 0.0 {
        return Outcome::unknown("no sample");
    }
    let measured = value(summary, Statistic::Percentile(percentile));
    let tail = p.min(100.0 - p) / 100.0;
    if tail > 0.0 && all * tail < BEYOND - 1e-6 {
        let needed = (BEYOND / tail - 1e-6).ceil() as u64;
        return Outcome::new(measured, Verdict::Inconclusive).noted(format!(
            "{percentile} needs {}, and there are {}",
            things(needed, "sample"),
            count(all as u64)
        ));
    }
    let corrected = if n > 0.0 { p * all / n } else { f64::INFINITY };
    if corrected > 100.0 + ROUNDING {
        let note = format!("{}, more than {percentile} leaves room for", unmeasured.sentence());
        return Outcome::new(measured, infinite(comparison)).noted(note);
    }
    let Some((low, high)) = bracket(summary, corrected) else { return Outcome::unknown("no sample") };
    let verdict = match [low, high].map(|point| comparison.holds(point.value_us as f64, bound)) {
        [true, true] => Verdict::Pass,
        [false, false] => Verdict::Fail,
        _ => Verdict::Inconclusive,
    };
    let mut outcome = Outcome::new(measured, verdict);
    if unmeasured.total > 0 && p > 0.0 {
        outcome = outcome.noted(unmeasured.sentence());
    }
    let is_listed = [low, high].iter().all(|point| (point.percentile - p).abs() <= ROUNDING);
    if is_listed { outcome } else { outcome.noted(format!("judged by {} of the measured ones", range(low, high))) }
}

/// "p99, 12 ms" or "p99 to p99.5, 12 ms to 14 ms".
fn range(low: PercentilePoint, high: PercentilePoint) -> String {
    let [from, to] =
        [low, high].map(|point| Percentile::new(point.percentile).map_or(String::new(), |p| p.to_string()));
    let [least, most] = [low, high].map(|point| micros(point.value_us as f64));
    if from == to { format!("{from}, {least}") } else { format!("{from} to {to}, {least} to {most}") }
}

/// What is left in a queue is certainly late only if it was waited for at least as long as the bound.
fn spare_left(
    record: &Record,
    unmeasured: &Unmeasured,
    bound: f64,
    outcome: Outcome,
    spared: impl FnOnce() -> Outcome,
) -> Outcome {
    let waited_us = waited_us(record);
    if outcome.verdict != Verdict::Fail || unmeasured.left == 0 || waited_us as f64 > bound {
        return outcome;
    }
    if spared().verdict == Verdict::Fail {
        return outcome;
    }
    Outcome::new(outcome.value, Verdict::Inconclusive).noted(format!(
        "{} left in a queue may still have been in time: the drain took no longer than {}",
        things(unmeasured.left, "copy"),
        micros(waited_us as f64),
    ))
}

/// From the end of the load to the end of the drain.
fn waited_us(record: &Record) -> u64 {
    let end_of = |phase| record.phases.iter().find(|facts| facts.phase == phase).map(|facts| facts.end_us);
    let waited = end_of(Phase::Drain).zip(end_of(Phase::Load)).map_or(0, |(drain, load)| drain.saturating_sub(load));
    u64::try_from(waited).unwrap_or(0)
}

/// What an infinite latency says of a bound. That it is "at least" something says nothing good of a broker.
fn infinite(comparison: Comparison) -> Verdict {
    match comparison {
        Comparison::Less | Comparison::AtMost | Comparison::Equal => Verdict::Fail,
        Comparison::NotEqual | Comparison::AtLeast | Comparison::More => Verdict::Inconclusive,
    }
}

/// The listed points that percentile `p` lies between; twice the same where it is listed itself.
fn bracket(summary: &LatencySummary, p: f64) -> Option<(PercentilePoint, PercentilePoint)> {
    if summary.count == 0 {
        return None;
    }
    let points = &summary.percentiles;
    let high = *points.iter().find(|point| point.percentile >= p - ROUNDING)?;
    let low = points.iter().rfind(|point| point.percentile <= p + ROUNDING).copied().unwrap_or(high);
    // Where as many samples as it takes are no larger than the lower value, the percentile is that value.
    let rank = p / 100.0 * summary.count as f64;
    Some(if low.count as f64 >= rank && low.count > 0 { (low, low) } else { (low, high) })
}

fn mean_judged(summary: &LatencySummary, unmeasured: &Unmeasured, comparison: Comparison, bound: f64) -> Outcome {
    if summary.count == 0 {
        return Outcome::unknown("no sample");
    }
    let outcome = Outcome::compared(summary.mean_us, comparison, bound);
    if unmeasured.total == 0 {
        return outcome;
    }
    // The mean of the measured ones is the least that the mean of all can be.
    let is_certain = match comparison {
        Comparison::Less | Comparison::AtMost => outcome.verdict == Verdict::Fail,
        Comparison::AtLeast | Comparison::More => outcome.verdict == Verdict::Pass,
        Comparison::Equal | Comparison::NotEqual => false,
    };
    let verdict = if is_certain { outcome.verdict } else { Verdict::Inconclusive };
    Outcome::new(outcome.value, verdict).noted(format!("{}, which a mean cannot hold", unmeasured.sentence()))
}

/// Samples above an hour are counted as an hour: a value that they may have pulled down proves no upper bound.
fn clipped(record: &Record, statistic: Statistic, comparison: Comparison, mut outcome: Outcome) -> Outcome {
    let reaches = outcome.value.is_some_and(|us| statistic == Statistic::Mean || us >= CLIPPED_US);
    let is_upper = !matches!(comparison, Comparison::AtLeast | Comparison::More);
    if record.generator.clipped > 0 && reaches && is_upper && outcome.verdict == Verdict::Pass {
        outcome.verdict = Verdict::Inconclusive;
        return outcome.noted("it holds samples of more than an hour, counted as an hour");
    }
    outcome
}

/// Messages that should have had a latency and have none.
#[derive(Debug, Default)]
struct Unmeasured {
    total: u128,
    parts: Vec<(u128, &'static str)>,
    /// Of them, copies that were still in a queue at the end.
    left: u128,
    /// Copies that a rule of the topology took away: never meant to arrive, so not late.
    ruled_out: u128,
}

impl Unmeasured {
    fn of(record: &Record, name: &str, fleet: Option<&str>) -> Self {
        match name {
            "end_to_end" | "end_to_end_from_send" => Self::at_consumers(record, fleet),
            "confirm" | "confirm_from_send" => Self::at_producers(record, fleet, true),
            "schedule_lag" => Self::at_producers(record, fleet, false),
            "time_to_dead_letter" => Self::on_the_way_to_dead_letters(record),
            _ => Self::default(),
        }
    }

    fn add(&mut self, number: u128, what: &'static str) {
        if number > 0 {
            self.total += number;
            self.parts.push((number, what));
        }
    }

    fn without_left(&self) -> Self {
        Self { total: self.total - self.left, parts: Vec::new(), left: 0, ruled_out: self.ruled_out }
    }

    fn sentence(&self) -> String {
        let parts: Vec<_> = self.parts.iter().map(|(number, what)| format!("{} {what}", count(*number))).collect();
        format!("{} infinitely late ({})", things(self.total, "message"), parts.join(", "))
    }

    /// Copies that the fleet's queues should have handed over.
    fn at_consumers(record: &Record, fleet: Option<&str>) -> Self {
        let readers = Readers::of(&record.plan, fleet);
        let books = record.account.queues.iter().filter(|account| {
            planned_queue(&record.plan, account).is_some_and(|(number, _, reader)| readers.read(number, reader))
        });
        let mut unmeasured = Self::default();
        let (mut lost, mut possibly, mut left) = (0u128, 0u128, 0u128);
        for account in books {
            lost += u128::from(account.lost);
            possibly += u128::from(account.possibly_lost);
            left += u128::from(account.left_in_queue);
            let dead: u128 = account.dead_lettered.values().copied().map(u128::from).sum();
            unmeasured.ruled_out += dead + u128::from(account.removed_by_rule);
        }
        unmeasured.add(lost, "lost");
        unmeasured.add(possibly, "possibly lost");
        unmeasured.add(left, "left in a queue");
        unmeasured.left = left;
        let unsent = |fleet: &ProducerFleet| {
            let messages = sum_of(record, fleet, |publisher| publisher.unsent);
            // Where messages differ in their routes, which ones were not sent is known only on average.
            (messages as f64 * readers.copies_per_message(fleet)).ceil() as u128
        };
        unmeasured.add(record.plan.producers.iter().map(unsent).sum(), "never sent");
        unmeasured
    }

    /// Messages that the fleet should have sent, and where it asks for confirms those that no answer came to.
    fn at_producers(record: &Record, fleet: Option<&str>, confirms: bool) -> Self {
        let fleets = || {
            let wanted = move |producer: &&ProducerFleet| fleet.is_none_or(|name| producer.name == name);
            record.plan.producers.iter().filter(wanted).filter(|producer| !confirms || producer.confirm.is_some())
        };
        let mut unmeasured = Self::default();
        if confirms {
            unmeasured.add(fleets().map(|f| sum_of(record, f, |p| p.unconfirmed)).sum(), "never confirmed");
        }
        unmeasured.add(fleets().map(|f| sum_of(record, f, |p| p.unsent)).sum(), "never sent");
        unmeasured
    }

    fn on_the_way_to_dead_letters(record: &Record) -> Self {
        let missing = |row: &crate::record::DeadLetterRow| {
            row.expected.map_or(0, |expected| u128::from(expected.saturating_sub(row.actual)))
        };
        let mut unmeasured = Self::default();
        unmeasured.add(record.dead_letters.iter().map(missing).sum(), "expected and never dead-lettered");
        unmeasured
    }
}

fn sum_of(record: &Record, fleet: &ProducerFleet, of: fn(&crate::record::PublisherAccount) -> u64) -> u128 {
    let accounts = fleet.publishers.iter().filter_map(|p| record.account.publishers.get(usize::from(p.id)));
    accounts.map(|account| u128::from(of(account))).sum()
}

/// Who reads which queue.
struct Readers {
    /// Subscribers by queue number.
    by_queue: BTreeMap<usize, BTreeSet<u32>>,
    /// Queues that are streams: each of their readers has copies of its own.
    streams: BTreeSet<usize>,
}

impl Readers {
    fn of(plan: &Plan, fleet: Option<&str>) -> Self {
        let mut by_queue: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
        let fleets = plan.consumers.iter().filter(|consumer| fleet.is_none_or(|name| consumer.name == name));
        for subscriber in fleets.flat_map(|fleet| &fleet.subscribers) {
            for queue in &subscriber.queues {
                by_queue.entry(*queue).or_default().insert(subscriber.id);
            }
        }
        let queues = plan.topology.queues.iter().enumerate();
        let streams = queues.filter(|(_, queue)| queue.kind == QueueKind::Stream).map(|(number, _)| number).collect();
        Self { by_queue, streams }
    }

    /// Whether books of `queue`, and of one `reader` where it is a stream's, are these readers'.
    fn read(&self, queue: usize, reader: Option<u32>) -> bool {
        self.by_queue.get(&queue).is_some_and(|readers| reader.is_none_or(|reader| readers.contains(&reader)))
    }

    /// Copies of a message of `fleet` that these readers wait for, on average over its routes.
    fn copies_per_message(&self, fleet: &ProducerFleet) -> f64 {
        let copies = |queue: &usize| match self.by_queue.get(queue) {
            Some(readers) if self.streams.contains(queue) => readers.len(),
            Some(_) => 1,
            None => 0,
        };
        let weight = |route: &crate::plan::Route| if fleet.routes_drawn { route.weight } else { 1.0 };
        let all: f64 = fleet.routes.iter().map(weight).sum();
        let weighted: f64 = fleet
            .routes
            .iter()
            .map(|route| weight(route) * route.queues.iter().map(copies).sum::<usize>() as f64)
            .sum();
        if all > 0.0 { weighted / all } else { 0.0 }
    }
}
