//! Effects of idempotent consumers: whether every store was read, and whether each effect was applied exactly once.

use super::expectation::{Outcome, at_least_once, nothing_of};
use super::phrase::things;
use super::{Finding, Weight, is_complete};
use crate::plan::expect::EFFECT_COUNTS;
use crate::record::{Check, Record, StoreRow, Verdict};

/// Whether `word` counts effects.
pub(super) fn is_one(word: &str) -> bool {
    EFFECT_COUNTS.contains(&word)
}

/// Stores that should have been read after the run, and were not: by fleet and queue, and why where that is known.
fn unread(record: &Record) -> Vec<(&str, &str, Option<&str>)> {
    let mut unread = Vec::new();
    for fleet in record.plan.consumers.iter().filter(|fleet| fleet.idempotency.is_some()) {
        for queue in fleet.queues.iter().filter_map(|number| record.plan.topology.queues.get(*number)) {
            let is_of = |row: &&StoreRow| row.fleet == fleet.name && row.queue == queue.name;
            let error = record.stores.iter().find(is_of).and_then(|row| row.error.as_deref());
            let is_read =
                record.account.queues.iter().any(|books| books.queue == queue.name && books.effects.is_some());
            if error.is_some() || !is_read {
                unread.push((fleet.name.as_str(), queue.name.as_str(), error));
            }
        }
    }
    unread
}

/// Whether a store was not read that counts of `queue`, or of all queues, need.
pub(super) fn has_unread(record: &Record, queue: Option<&str>) -> bool {
    unread(record).iter().any(|(_, of, _)| queue.is_none_or(|queue| queue == *of))
}

pub(super) fn findings(record: &Record, checks: &[Check]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let unread = unread(record);
    if let Some((fleet, queue, error)) = unread.first() {
        let more = unread.len() - 1;
        let more = if more > 0 { format!(" (and {} more)", things(more as u64, "store")) } else { String::new() };
        let why = error.map(|error| format!(": {error}")).unwrap_or_default();
        findings.push(Finding::new(
            Weight::Inconclusive,
            format!(
                "the store of `{fleet}` for queue `{queue}`{more} was not read, so that its effects are not known{why}"
            ),
        ));
    }
    let told = |word: &str| {
        let is_about = |check: &Check| {
            check.metric.split('.').next() == Some(word)
                || (check.metric == "guarantee" && check.expectation == "effectively-once")
        };
        checks.iter().any(|check| check.verdict == Verdict::Fail && is_about(check))
    };
    let totals = &record.totals;
    let harm = [
        ("effects_repeated", totals.effects_repeated, "applied more than once"),
        ("effects_missing", totals.effects_missing, "never applied"),
        ("effects_unknown", totals.effects_unknown, "applied for messages that never came"),
    ];
    for (word, number, what) in harm {
        if let Some(number) = number.filter(|number| *number > 0 && !told(word)) {
            findings.push(Finding::new(Weight::Harm, format!("{} {what}", things(number, "effect"))));
        }
    }
    findings
}

/// Nothing lost, and each effect applied exactly once.
pub(super) fn effectively_once(record: &Record) -> Outcome {
    let wrong = [
        (record.totals.effects_repeated, "applied more than once"),
        (record.totals.effects_missing, "never applied"),
        (record.totals.effects_unknown, "applied for messages that never came"),
    ];
    let effects: u64 = wrong.iter().filter_map(|(number, _)| *number).fold(0, u64::saturating_add);
    let losses = at_least_once(record);
    if effects == 0 && losses.verdict != Verdict::Pass {
        return losses;
    }
    if effects == 0 {
        return match has_unread(record, None) {
            true => Outcome::unknown("not every store could be read"),
            false => nothing_of(record, "effects_repeated"),
        };
    }
    // What was applied twice stays so, whatever the rest of a run would have brought; what is missing may yet have come.
    let is_certain = is_complete(record) || effects > record.totals.effects_missing.unwrap_or(0);
    let verdict = if is_certain { Verdict::Fail } else { Verdict::Inconclusive };
    let mut outcome = Outcome::new(Some(effects as f64), verdict);
    for (number, what) in wrong {
        if let Some(number) = number.filter(|number| *number > 0) {
            outcome = outcome.noted(format!("{} {what}", things(number, "effect")));
        }
    }
    if losses.verdict == Verdict::Fail {
        outcome = losses.notes.into_iter().fold(outcome, Outcome::noted);
    }
    outcome
}
