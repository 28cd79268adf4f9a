//! What was planned held against what a record says: a pure function of both. Uses `plan`, `record`, `analysis`, `units`
//! and `report`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::case::Case;
use super::prediction::{Named, OFFENCES, Prediction};
use crate::analysis;
use crate::plan::{ClientKind, Metric, Statistic};
use crate::record::{Record, Verdict};
use crate::report::figure::shown;
use crate::units::Percentile;

/// Most messages that one difference names.
const NAMED_MAX: usize = 5;

/// One case: what was planned, what was found, and where the two differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Client of its fleets.
    pub client: ClientKind,
    /// Which case, by name.
    pub case: &'static str,
    /// What was done.
    pub title: &'static str,
    /// What was planned, a line for each thing.
    pub planned: Vec<String>,
    /// The same things as they were found.
    pub found: Vec<String>,
    /// Messages that the list of violations names as it should, and how many it should; none where that is not told.
    pub named: Option<(usize, usize)>,
    /// The verdict that was found.
    pub verdict: Verdict,
    /// Where planned and found differ; nothing where all is exact.
    pub differences: Vec<String>,
    /// Where its record is, where that is kept.
    pub record: Option<PathBuf>,
}

impl Row {
    /// Whether all that was found is what was planned.
    pub fn is_exact(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Holds `prediction` against `record`, which has been judged.
pub fn compare(case: &Case, client: ClientKind, prediction: &Prediction, record: &Record) -> Row {
    let mut row = Row {
        client,
        case: case.name,
        title: case.title,
        planned: Vec::new(),
        found: Vec::new(),
        named: None,
        verdict: Verdict::Invalid,
        differences: prediction.undone.clone(),
        record: None,
    };
    counts(&mut row, prediction, record);
    named(&mut row, prediction, record);
    median(&mut row, prediction, record);
    judged(&mut row, prediction, record);
    if row.planned.is_empty() {
        row.planned.push("nothing".to_owned());
        row.found.push("nothing".to_owned());
    }
    row
}

impl Row {
    fn line(&mut self, planned: String, found: String) {
        self.planned.push(planned);
        self.found.push(found);
    }
}

fn counts(row: &mut Row, prediction: &Prediction, record: &Record) {
    for (word, planned) in &prediction.counts {
        let metric = Metric::Count { word: (*word).to_owned(), queue: None, reason: None };
        // Counts of a run of the self-test are far below where an f64 stops being exact.
        let found = analysis::measured(record, &metric).map(|number| number as u64);
        let said = |number: u64| format!("{} {word}", shown(number, "messages"));
        let is_told = found != Some(*planned) || (*planned > 0 && OFFENCES.contains(word));
        if is_told {
            row.line(said(*planned), found.map_or_else(|| format!("no {word}"), said));
        }
        if found != Some(*planned) {
            let found = found.map_or_else(|| "nothing".to_owned(), |number| shown(number, "messages"));
            row.differences.push(format!("{word}: planned {}, found {found}", shown(*planned, "messages")));
        }
    }
}

/// The list of violations, each as often as it is there, less those of `other`.
fn beyond(these: &[Named], other: &[Named]) -> Vec<Named> {
    let mut left: BTreeMap<Named, usize> = BTreeMap::new();
    other.iter().for_each(|named| *left.entry(*named).or_default() += 1);
    let is_beyond = |named: &&Named| match left.get_mut(*named).filter(|count| **count > 0) {
        Some(count) => {
            *count -= 1;
            false
        }
        None => true,
    };
    these.iter().filter(is_beyond).copied().collect()
}

fn named(row: &mut Row, prediction: &Prediction, record: &Record) {
    let Some(planned) = &prediction.named else { return };
    let listed = record.account.violations.iter();
    let found: Vec<Named> = listed.map(|it| (it.class, it.publisher, it.sequence)).collect();
    let (missing, strange) = (beyond(planned, &found), beyond(&found, planned));
    row.named = Some((planned.len() - missing.len(), planned.len()));
    for (what, messages) in [("hit and not listed", missing), ("listed and not hit", strange)] {
        if !messages.is_empty() {
            row.differences.push(format!("{what}: {}", list(&messages)));
        }
    }
    if record.account.violations_total != found.len() as u64 {
        row.differences.push(format!(
            "violations: {} counted, {} listed",
            record.account.violations_total,
            found.len()
        ));
    }
}

/// "lost 0/127, lost 0/131 and 3 more": publisher and sequence.
fn list(messages: &[Named]) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let said = |(class, publisher, sequence): &Named| {
        let class = format!("{class:?}").to_lowercase();
        format!("{class} {}/{}", number(publisher.map(u64::from)), number(*sequence))
    };
    let text = messages.iter().take(NAMED_MAX).map(said).collect::<Vec<_>>().join(", ");
    match messages.len().saturating_sub(NAMED_MAX) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

fn median(row: &mut Row, prediction: &Prediction, record: &Record) {
    let Some((band, percentile)) = prediction.median.zip(Percentile::new(50.0)) else { return };
    let statistic = Statistic::Percentile(percentile);
    let metric = Metric::Latency { name: "end_to_end".to_owned(), fleet: None, statistic };
    let found = analysis::measured(record, &metric);
    let said = found.map_or_else(|| "no p50".to_owned(), |us| format!("p50 {:.1} ms", us / 1e3));
    let planned = format!("p50 {} ± {} ms", band.at_us / 1_000, band.off_us / 1_000);
    if !found.is_some_and(|us| band.holds(us)) {
        row.differences.push(format!("end_to_end: planned {planned}, found {said}"));
    }
    row.line(planned, said);
}

fn judged(row: &mut Row, prediction: &Prediction, record: &Record) {
    let Some(judgement) = &record.verdict else {
        row.differences.push("the run was not judged".to_owned());
        return;
    };
    row.verdict = judgement.verdict;
    if judgement.verdict != prediction.verdict {
        let (planned, found) = (prediction.verdict.word(), judgement.verdict.word());
        let reasons = judgement.reasons.join("; ");
        row.differences.push(format!("verdict: planned {planned}, found {found}: {reasons}"));
    }
    let failing = judgement.checks.iter().filter(|check| check.verdict == Verdict::Fail);
    let failing: BTreeSet<&str> = failing.map(|check| check.metric.as_str()).collect();
    if failing != prediction.failing {
        let said = |words: Vec<&str>| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
        let planned = said(prediction.failing.iter().copied().collect());
        row.differences
            .push(format!("failed expectations: planned {planned}, found {}", said(failing.into_iter().collect())));
    }
    if let Some(reason) = prediction.reason {
        let is_said = judgement.reasons.iter().any(|said| said.contains(reason));
        if !is_said {
            row.differences.push(format!("no reason says `{reason}`: {}", judgement.reasons.join("; ")));
        }
        row.line(reason.to_owned(), if is_said { reason.to_owned() } else { "another reason".to_owned() });
    }
}
