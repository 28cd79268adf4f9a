//! Each expectation of the plan against the record.

use super::phrase::{things, value, zero_of};
use super::{Finding, Weight, counts, depth, effects, gap, is_audited, is_complete, latency, series};
use crate::plan::expect::{Comparison, Depth, GAP_TIME, Guarantee};
use crate::plan::{Expectation, Metric, Statistic};
use crate::record::{ChainsReport, Check, Record, Verdict};

/// How one expectation went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) value: Option<f64>,
    pub(super) verdict: Verdict,
    pub(super) notes: Vec<String>,
}

impl Outcome {
    pub(super) fn new(value: Option<f64>, verdict: Verdict) -> Self {
        Self { value, verdict, notes: Vec::new() }
    }

    /// Nothing was measured.
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self::new(None, Verdict::Inconclusive).noted(why)
    }

    /// The measured value against its bound.
    pub(super) fn compared(value: f64, comparison: Comparison, bound: f64) -> Self {
        let verdict = if comparison.holds(value, bound) { Verdict::Pass } else { Verdict::Fail };
        Self::new(Some(value), verdict)
    }

    pub(super) fn noted(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// Judges one expectation.
pub(super) fn check(record: &Record, expectation: &Expectation) -> Check {
    let (metric, unit, text, outcome) = match expectation {
        Expectation::Bound { metric, comparison, bound, text } => {
            let outcome = settled(record, metric, (*comparison, *bound), bounded(record, metric, *comparison, *bound));
            (metric.to_string(), unit(metric), text.clone(), outcome)
        }
        Expectation::Guarantee(guarantee) => {
            let (text, outcome) = match guarantee {
                Guarantee::AtMostOnce => ("at-most-once", at_most_once(record)),
                Guarantee::AtLeastOnce => ("at-least-once", at_least_once(record)),
                Guarantee::EffectivelyOnce => ("effectively-once", effects::effectively_once(record)),
            };
            ("guarantee".to_owned(), "messages", text.to_owned(), outcome)
        }
        Expectation::Ordered => ("ordered".to_owned(), "messages", "true".to_owned(), ordered(record)),
    };
    let note = (!outcome.notes.is_empty()).then(|| outcome.notes.join("; "));
    Check { metric, unit: unit.to_owned(), value: outcome.value, expectation: text, verdict: outcome.verdict, note }
}

/// What a check that did not hold adds to the reasons.
pub(super) fn finding(record: &Record, check: &Check) -> Option<Finding> {
    let note = check.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
    let Check { metric, expectation, .. } = check;
    let measured = check.value.map_or("has no value".to_owned(), |number| format!("is {}", value(number, &check.unit)));
    match check.verdict {
        Verdict::Fail => {
            let sentence = match metric.as_str() {
                "guarantee" => format!("the guarantee {expectation} does not hold{note}"),
                "ordered" => format!("messages were not in order{note}"),
                _ => format!("`{metric}` {measured}, expected {expectation}{note}"),
            };
            Some(Finding::new(Weight::Fail, sentence))
        }
        // That a run did not come to its end is said once, not for each expectation.
        Verdict::Inconclusive if is_complete(record) => {
            let sentence = match metric.as_str() {
                "guarantee" => format!("the guarantee {expectation} cannot be judged{note}"),
                "ordered" => format!("the order of messages cannot be judged{note}"),
                _ => format!("`{metric}` {measured} and cannot be judged against {expectation}{note}"),
            };
            Some(Finding::new(Weight::Inconclusive, sentence))
        }
        _ => None,
    }
}

fn unit(metric: &Metric) -> &'static str {
    match metric {
        Metric::Count { word, .. } if matches!(word.as_str(), "disconnects" | "blocked") => "",
        Metric::Count { .. } => "messages",
        Metric::Latency { statistic: Statistic::Count, .. } => "",
        Metric::Latency { .. } => "us",
        Metric::Throughput { .. } => "per_s",
        Metric::Gauge { name, .. } => series::gauge_unit(name),
        Metric::Gap { name, .. } if name == GAP_TIME => "us",
        Metric::Depth { depth: Depth::Above(_) | Depth::Growing, .. } => "us",
        Metric::Depth { .. } => "messages",
        Metric::Gap { .. } => "messages",
    }
}

fn bounded(record: &Record, metric: &Metric, comparison: Comparison, bound: f64) -> Outcome {
    match metric {
        Metric::Count { word, queue, reason } => {
            counted(record, (word, queue.as_deref(), reason.as_deref()), comparison, bound)
        }
        Metric::Latency { name, fleet, statistic } => {
            latency::judged(record, (name, fleet.as_deref()), *statistic, comparison, bound)
        }
        Metric::Throughput { name, fleet } => match series::throughput(record, name, fleet.as_deref()) {
            Some(per_second) => Outcome::compared(per_second, comparison, bound),
            None => Outcome::unknown("no interval of the measured load holds it"),
        },
        Metric::Gauge { name, statistic } => match series::gauge(record, name, *statistic) {
            Some(value) => Outcome::compared(value, comparison, bound),
            None => Outcome::unknown("it was not sampled during the measured load"),
        },
        Metric::Depth { depth, queue } => match depth::measured(record, *depth, queue) {
            Some(value) => Outcome::compared(value, comparison, bound),
            None => Outcome::unknown(format!("`{queue}` was not sampled")),
        },
        Metric::Gap { name, queue } => gap::judged(record, name, queue.as_deref(), comparison, bound),
    }
}

fn counted(
    record: &Record,
    (word, queue, reason): (&str, Option<&str>, Option<&str>),
    comparison: Comparison,
    bound: f64,
) -> Outcome {
    let Some(number) = counts::measured(record, word, queue, reason) else {
        if effects::is_one(word) {
            return Outcome::unknown("no store said how often an effect was applied");
        }
        let queue = queue.unwrap_or("any");
        return Outcome::unknown(format!("there are no books of `{word}` for queue `{queue}`"));
    };
    let mut outcome = Outcome::compared(number as f64, comparison, bound);
    if number == 0 && reason.is_none() {
        match counts::basis(record, word, queue) {
            Some(0) if outcome.verdict == Verdict::Pass => {
                outcome.verdict = Verdict::Inconclusive;
                outcome = outcome.noted("0 of 0: there was nothing that it could have happened to");
            }
            Some(number) if number > 0 => outcome = outcome.noted(zero_of(number)),
            _ => {}
        }
    }
    if let Some(fates) = record.fates.as_ref().filter(|_| word.starts_with("fates_")) {
        let unknown = fates.account.unforeseeable.saturating_add(fates.account.unwritten);
        if unknown > 0 && outcome.verdict == Verdict::Pass {
            outcome.verdict = Verdict::Inconclusive;
            outcome = outcome.noted(format!("{} more whose fate could not be foretold", things(unknown, "message")));
        }
    }
    if let Some(note) = record.chains.as_ref().and_then(|chains| forgotten(chains, word))
        && outcome.verdict == Verdict::Pass
    {
        outcome.verdict = Verdict::Inconclusive;
        outcome = outcome.noted(note);
    }
    // More of them do not mend a bound that is exceeded.
    let is_final = outcome.verdict == Verdict::Fail && exceeds(number as f64, comparison, bound);
    if effects::is_one(word) && effects::has_unread(record, queue) && !is_final {
        outcome.verdict = Verdict::Inconclusive;
        outcome = outcome.noted("not every store could be read");
    }
    match (word, queue) {
        ("lost", Some(queue)) if reason.is_none() => {
            let outcome = shared_loss(record, queue, outcome, comparison, bound);
            doubted_loss(record, Some(queue), outcome, number, comparison, bound)
        }
        ("lost", _) => doubted_loss(record, queue, outcome, number, comparison, bound),
        _ => outcome,
    }
}

/// What a count of messages that led to others leaves out, since there were more than are remembered.
fn forgotten(chains: &ChainsReport, word: &str) -> Option<String> {
    let (unknown, what) = match word {
        "follow_ups_missing" | "follow_ups_repeated" => (chains.unwritten, "what they led to"),
        "ids_missing" | "ids_crossed" => (chains.ids_unchecked, "what they follow"),
        _ => return None,
    };
    (unknown > 0).then(|| format!("of {} more it was not remembered {what}", things(unknown, "message")))
}

/// Which of several queues lost what the broker's counters do not explain is not always known. Where it decides, a bound
/// on one of them cannot be judged.
fn shared_loss(record: &Record, queue: &str, mut outcome: Outcome, comparison: Comparison, bound: f64) -> Outcome {
    let among = counts::books_of(record, queue).iter().map(|books| books.lost_among_several).max().unwrap_or(0);
    if among > 0 && comparison.holds(0.0, bound) != comparison.holds(among as f64, bound) {
        outcome.verdict = Verdict::Inconclusive;
        return outcome.noted(format!(
            "{} lost among queues whose removals the broker counts together: any of them may be this queue's",
            things(among, "copy"),
        ));
    }
    outcome
}

/// `lost` counts what was confirmed; what is missing without a confirm may be lost as well. Where that would break the
/// bound and no expectation speaks of it, a bound on `lost` proves nothing.
fn doubted_loss(
    record: &Record,
    queue: Option<&str>,
    mut outcome: Outcome,
    lost: u128,
    comparison: Comparison,
    bound: f64,
) -> Outcome {
    let possibly = counts::measured(record, "possibly_lost", queue, None).unwrap_or(0);
    let is_spoken_of = record.plan.expect.iter().any(|expectation| {
        matches!(expectation, Expectation::Bound { metric: Metric::Count { word, .. }, .. } if word == "possibly_lost")
    });
    let worst = lost.saturating_add(possibly) as f64;
    if outcome.verdict == Verdict::Pass && possibly > 0 && !is_spoken_of && !comparison.holds(worst, bound) {
        outcome.verdict = Verdict::Inconclusive;
        return outcome.noted(format!(
            "{} more never confirmed and missing; an expectation on `possibly_lost` would say how many may be",
            things(possibly, "copy"),
        ));
    }
    outcome
}

fn at_most_once(record: &Record) -> Outcome {
    let totals = &record.totals;
    if totals.duplicates > 0 {
        return Outcome::new(Some(totals.duplicates as f64), Verdict::Fail).noted(format!(
            "{} ({} republished, {} redelivered, {} unflagged)",
            things(totals.duplicates, "duplicate"),
            totals.republished,
            totals.redelivered,
            totals.unflagged,
        ));
    }
    nothing_of(record, "duplicates")
}

pub(super) fn at_least_once(record: &Record) -> Outcome {
    let totals = &record.totals;
    let missing = u128::from(totals.lost) + u128::from(totals.possibly_lost);
    if missing == 0 {
        return nothing_of(record, "lost");
    }
    // Until the queues are read what is missing may still be there, and an interruption leaves confirms unanswered.
    let is_certain = is_complete(record) || (is_audited(record) && totals.lost > 0);
    let verdict = if is_certain { Verdict::Fail } else { Verdict::Inconclusive };
    let mut outcome = Outcome::new(Some(missing as f64), verdict);
    if totals.lost > 0 {
        outcome = outcome.noted(format!("{} confirmed by the broker and gone", things(totals.lost, "copy")));
    }
    if totals.possibly_lost > 0 {
        outcome = outcome.noted(format!(
            "{} never confirmed and missing: the producer was never told that they are safe",
            things(totals.possibly_lost, "copy"),
        ));
    }
    outcome
}

fn ordered(record: &Record) -> Outcome {
    let misordered = record.totals.misordered;
    if misordered > 0 {
        let note = format!("{} overtaken by a later message of the same publisher", things(misordered, "message"));
        return Outcome::new(Some(misordered as f64), Verdict::Fail).noted(note);
    }
    nothing_of(record, "misordered")
}

/// A guarantee of which no violation was seen: worth as much as there is evidence.
pub(super) fn nothing_of(record: &Record, word: &str) -> Outcome {
    match counts::basis(record, word, None).unwrap_or(0) {
        0 => Outcome::new(Some(0.0), Verdict::Inconclusive).noted("no message got far enough to break it"),
        _ if !is_complete(record) => Outcome::new(Some(0.0), Verdict::Inconclusive).noted(UNFINISHED),
        number => Outcome::new(Some(0.0), Verdict::Pass).noted(zero_of(number)),
    }
}

const UNFINISHED: &str = "the run did not come to its end";

/// Counts that only grow: what they exceed once they exceed for good.
const GROWING: [&str; 23] = [
    "published",
    "confirmed",
    "nacked",
    "returned",
    "sent",
    "delivered",
    "consumed",
    "duplicates",
    "republished",
    "redelivered",
    "unflagged",
    "redelivered_flag",
    "requeued",
    "rejected",
    "retried",
    "phantom",
    "corrupt",
    "misordered",
    "disconnects",
    "blocked",
    "effects_applied",
    "effects_repeated",
    "effects_unknown",
];

/// Whether a count that only grows has left its bound for good.
fn exceeds(value: f64, comparison: Comparison, bound: f64) -> bool {
    match comparison {
        Comparison::Less => value >= bound,
        Comparison::AtMost | Comparison::Equal => value > bound,
        _ => false,
    }
}

/// Takes back what a run that did not come to its end cannot know: all but bounds that are broken for good.
fn settled(record: &Record, metric: &Metric, (comparison, bound): (Comparison, f64), mut outcome: Outcome) -> Outcome {
    if is_complete(record) {
        return outcome;
    }
    let exceeds = outcome.value.is_some_and(|value| exceeds(value, comparison, bound));
    let is_largest =
        |statistic: &Statistic| matches!(statistic, Statistic::Percentile(percentile) if percentile.percent() == 100.0);
    let only_grows = match metric {
        Metric::Count { word, .. } if GROWING.contains(&word.as_str()) => true,
        Metric::Count { word, .. } => word == "lost" && is_audited(record),
        Metric::Latency { statistic, .. } | Metric::Gauge { statistic, .. } => is_largest(statistic),
        Metric::Gap { .. } => true,
        Metric::Depth { depth, .. } => *depth != Depth::End,
        Metric::Throughput { .. } => false,
    };
    if outcome.verdict == Verdict::Fail && exceeds && only_grows {
        return outcome;
    }
    outcome.verdict = Verdict::Inconclusive;
    outcome.noted(UNFINISHED)
}
