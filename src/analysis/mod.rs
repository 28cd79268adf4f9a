//! The verdict: a pure function of a record.
//!
//! May use `units`, `plan` and `record`. No clock, no file, no network: whoever holds a record can judge it again and
//! comes to the same word. One module for each question:
//!
//! | module | question |
//! |---|---|
//! | `books` | do the books of publishers, queues and totals agree? |
//! | `generator` | did the generator offer the load that it was asked for? |
//! | `faults` | was everything broken that should have been, and is it whole again? |
//! | `effects` | was every store read, and each effect applied exactly once? |
//! | `evidence` | is there enough of it, and what harm must be told in any case? |
//! | `expectation` | does each expectation hold? By `counts`, `latency`, `series` and `gap` |

mod books;
mod counts;
mod depth;
mod effects;
mod evidence;
mod expectation;
mod faults;
mod gap;
mod generator;
mod latency;
mod phrase;
mod series;
#[cfg(test)]
mod tests;

pub use gap::{Coverage, Kept, coverage};

use crate::plan::Metric;
use crate::record::{Check, Completeness, Judgement, Record, Verdict};

/// Judges `record`: each expectation of its plan, and before that whether the measurement can be trusted at all.
///
/// The word is the worst that anything calls for, in the order `invalid`, `fail`, `inconclusive`, `pass`. A failure is
/// told in the reasons whatever the word: an invalid measurement does not undo a loss that was seen.
pub fn judge(record: &Record) -> Judgement {
    let checks: Vec<Check> =
        record.plan.expect.iter().map(|expectation| expectation::check(record, expectation)).collect();
    let mut findings = books::findings(record);
    findings.extend(generator::findings(record));
    findings.extend(faults::findings(record));
    findings.extend(effects::findings(record, &checks));
    findings.extend(evidence::findings(record, &checks));
    findings.extend(checks.iter().filter_map(|check| expectation::finding(record, check)));
    let verdict = findings.iter().map(|finding| finding.weight.verdict()).max().unwrap_or(Verdict::Pass);
    if verdict == Verdict::Pass {
        findings.push(Finding::new(Weight::Held, held(&checks)));
    }
    findings.sort_by_key(|finding| finding.weight);
    Judgement { verdict, reasons: findings.into_iter().map(|finding| finding.sentence).collect(), checks }
}

/// The number that `metric` is in `record`, in the metric's own unit: the one that a check of it shows. None where it was
/// not measured.
pub fn measured(record: &Record, metric: &Metric) -> Option<f64> {
    match metric {
        Metric::Count { word, queue, reason } => {
            counts::measured(record, word, queue.as_deref(), reason.as_deref()).map(|number| number as f64)
        }
        Metric::Latency { name, fleet, statistic } => {
            latency::summary(record, name, fleet.as_deref()).and_then(|summary| latency::value(summary, *statistic))
        }
        Metric::Throughput { name, fleet } => series::throughput(record, name, fleet.as_deref()),
        Metric::Gauge { name, statistic } => series::gauge(record, name, *statistic),
        Metric::Depth { depth, queue } => depth::measured(record, *depth, queue),
        Metric::Gap { name, queue } => gap::longest(record, name, queue.as_deref()).map(|(_, at_most)| at_most as f64),
    }
}

fn held(checks: &[Check]) -> String {
    match checks.len() {
        0 => "measured, and nothing was claimed: the scenario has no expectations".to_owned(),
        1 => "the one expectation held".to_owned(),
        n => format!("all {n} expectations held"),
    }
}

/// Something that the verdict rests on.
#[derive(Debug)]
struct Finding {
    weight: Weight,
    sentence: String,
}

impl Finding {
    fn new(weight: Weight, sentence: impl Into<String>) -> Self {
        Self { weight, sentence: sentence.into() }
    }
}

/// How much a finding weighs; in the order in which reasons are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// The measurement cannot be trusted.
    Invalid,
    /// An expectation did not hold.
    Fail,
    /// Harm that no expectation forbids: told before all doubts, but it decides nothing.
    Harm,
    /// Not enough evidence.
    Inconclusive,
    /// Everything held.
    Held,
    /// Worth knowing.
    Note,
}

impl Weight {
    fn verdict(self) -> Verdict {
        match self {
            Self::Invalid => Verdict::Invalid,
            Self::Fail => Verdict::Fail,
            Self::Inconclusive => Verdict::Inconclusive,
            Self::Harm | Self::Held | Self::Note => Verdict::Pass,
        }
    }
}

/// Whether the run came to its end.
fn is_complete(record: &Record) -> bool {
    record.completeness == Completeness::Complete
}

/// Whether the queues were read after the load, so that what is missing is known to be missing.
fn is_audited(record: &Record) -> bool {
    is_complete(record) || record.phases.iter().any(|facts| facts.phase == crate::record::Phase::Audit)
}
