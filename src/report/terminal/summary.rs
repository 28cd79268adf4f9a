//! The answers at the end of a run: verdict, correctness, speed, soundness, and where the record is.

use std::path::Path;

use super::Screen;
use crate::record::{Judgement, Record};
use crate::report::figure::{Figure, seconds, shown, shown_or_dash};
use crate::report::recovery::{card, keep_ids};
use crate::report::summary::{self, Row};
use crate::report::words::{incomplete, printable};

/// Queues and faults that are listed; the tables hold the rest.
const LISTED_MAX: usize = 4;
/// Columns from which on two figures stand side by side, and a latency's statistics on one line.
const WIDE: usize = 72;

/// The summary of the record in `folder`, laid out for `screen`.
pub fn render(record: &Record, folder: &Path, screen: Screen) -> String {
    let rows = summary::rows(record);
    let mut text = String::new();
    verdict(&mut text, record, screen);
    section(&mut text, screen, "Lost, repeated or misplaced", &correct(&rows));
    if !record.stores.is_empty() {
        section(&mut text, screen, "Effects, as their stores tell", &effects(&rows));
    }
    if record.fates.is_some() {
        section(&mut text, screen, "Fates of messages that fail", &fates(&rows));
    }
    if record.chains.is_some() {
        section(&mut text, screen, "Messages that lead to others", &chains(&rows));
    }
    section(&mut text, screen, "Speed over the measured load", &fast(&rows));
    latency(&mut text, &rows, screen);
    section(&mut text, screen, "Soundness of the measurement", &sound(&rows));
    repetitions(&mut text, record, screen);
    faults(&mut text, record, screen);
    record.verdict.iter().for_each(|judgement| checks(&mut text, judgement, screen));
    let (folder, page) = (folder.display(), folder.join("report.html"));
    text.push_str(&format!("\n{}\n  {folder}\n  {}\n", screen.heading("Record"), page.display()));
    text
}

fn verdict(text: &mut String, record: &Record, screen: Screen) {
    let judgement = record.verdict.as_ref();
    let word = judgement.map_or("not judged", |judgement| judgement.verdict.word()).to_uppercase();
    let marked = screen.marked(&word, judgement.map(|judgement| judgement.verdict));
    text.push_str(&format!("{marked}  {}\n", printable(&record.plan.name)));
    let reasons = judgement.map_or(&[][..], |judgement| &judgement.reasons);
    for reason in incomplete(&record.completeness).iter().chain(reasons) {
        for line in wrapped(&printable(reason), screen.width.saturating_sub(2)) {
            text.push_str(&format!("  {line}\n"));
        }
    }
}

/// `text` in lines of at most `width` columns, where its words allow it.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

type Line = (String, String);

fn correct(rows: &[Row]) -> Vec<Line> {
    [
        ("lost", "lost"),
        ("duplicates", "duplicates"),
        ("possibly_lost", "possibly lost"),
        ("republished", "  sent again"),
        ("recovered", "recovered"),
        ("redelivered", "  flagged redelivered"),
        ("phantom", "phantom"),
        ("unflagged", "  not flagged"),
        ("corrupt", "corrupt"),
        ("misordered", "misordered"),
        ("dead_lettered", "dead-lettered"),
        ("removed_by_rule", "removed by rule"),
        ("left_in_queue", "left in a queue"),
        ("confirmed", "confirmed"),
        ("consumed", "copies consumed"),
    ]
    .map(|(metric, label)| line(rows, metric, label, "messages"))
    .into()
}

fn effects(rows: &[Row]) -> Vec<Line> {
    [
        ("effects_applied", "applied"),
        ("effects_repeated", "  more than once"),
        ("effects_missing", "never applied"),
        ("effects_unknown", "of unknown messages"),
    ]
    .map(|(metric, label)| line(rows, metric, label, "messages"))
    .into()
}

fn fates(rows: &[Row]) -> Vec<Line> {
    let facts = [
        ("fates_foretold", "foretold", "messages"),
        ("attempts", "attempts", "messages"),
        ("fates_differing", "other than foretold", "messages"),
        ("attempts_max", "  most at one message", "messages"),
        ("fates_unexplained", "  unexplained", "messages"),
        ("retry_late.p99", "tried again too late, p99", "us"),
    ];
    lines(rows, &facts)
}

fn chains(rows: &[Row]) -> Vec<Line> {
    [
        ("follow_ups_missing", "led to none"),
        ("ids_missing", "came without an id"),
        ("follow_ups_repeated", "led to more than one"),
        ("ids_crossed", "came with another's"),
    ]
    .map(|(metric, label)| line(rows, metric, label, "messages"))
    .into()
}

fn fast(rows: &[Row]) -> Vec<Line> {
    let rates =
        ["published", "confirmed", "consumed"].map(|step| line(rows, &format!("throughput.{step}"), step, "per_s"));
    rates.into_iter().chain([line(rows, "backlog.max", "largest backlog", "messages")]).collect()
}

fn sound(rows: &[Row]) -> Vec<Line> {
    let facts = [
        ("generator.load_planned", "sends planned", "messages"),
        ("generator.load_sends", "sends made", "messages"),
        ("generator.late_sends", "sends late by itself", "messages"),
        ("generator.own_lag_p99", "own lag, p99", "us"),
        ("generator_cpu.mean", "generator's CPU", "cores"),
        ("broker_cpu.mean", "broker's CPU", "cores"),
        ("generator.overflow", "events dropped", "events"),
        ("disconnects", "connections lost", "times"),
    ];
    lines(rows, &facts)
}

/// A line for each of metric, label and unit.
fn lines(rows: &[Row], facts: &[(&str, &str, &str)]) -> Vec<Line> {
    facts.iter().map(|(metric, label, unit)| line(rows, metric, label, unit)).collect()
}

fn line(rows: &[Row], metric: &str, label: &str, unit: &str) -> Line {
    (label.to_owned(), shown_or_dash(summary::value(rows, metric), unit))
}

fn section(text: &mut String, screen: Screen, heading: &str, lines: &[Line]) {
    text.push_str(&format!("\n{}\n", screen.heading(heading)));
    let columns = if screen.width >= WIDE { 2 } else { 1 };
    // Two columns stop at a comfortable reading width; the rest of a wide screen stays empty.
    let width = screen.width.min(88) / columns - 2;
    for pair in lines.chunks(columns) {
        let cells = pair.iter().map(|(label, value)| {
            let room = (width - 2).saturating_sub(label.chars().count());
            format!("  {label}{value:>room$}")
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
}

const STATISTICS: [&str; 4] = ["p50", "p99", "p99.9", "max"];

fn latency(text: &mut String, rows: &[Row], screen: Screen) {
    for (heading, metric) in [("End-to-end latency", "end_to_end"), ("Confirm latency", "confirm")] {
        let from = [("from intended send", metric.to_owned()), ("from actual send", format!("{metric}_from_send"))];
        let value =
            |metric: &str, statistic: &str| shown_or_dash(summary::value(rows, &format!("{metric}.{statistic}")), "us");
        if screen.width < WIDE {
            let lines = from.iter().flat_map(|(label, metric)| {
                STATISTICS.map(|statistic| {
                    (format!("{statistic} {}", label.trim_end_matches(" send")), value(metric, statistic))
                })
            });
            section(text, screen, heading, &lines.collect::<Vec<_>>());
            continue;
        }
        text.push_str(&format!("\n{}", screen.heading(&format!("{heading:<22}"))));
        text.push_str(&STATISTICS.map(|statistic| format!("{statistic:>14}")).concat());
        text.push('\n');
        for (label, metric) in &from {
            text.push_str(&format!("  {label:<20}"));
            text.push_str(&STATISTICS.map(|statistic| format!("{:>14}", value(metric, statistic))).concat());
            text.push('\n');
        }
    }
}

/// What a consumer has to remember to know repetitions, one sentence for each queue that had any.
fn repetitions(text: &mut String, record: &Record, screen: Screen) {
    let gaps = &record.duplicate_gaps;
    if gaps.is_empty() {
        return;
    }
    text.push_str(&format!("\n{}\n", screen.heading("Repetitions")));
    for gap in gaps.iter().take(LISTED_MAX) {
        for line in wrapped(&printable(&keep_ids(gap)), screen.width.saturating_sub(2)) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    and_more(text, gaps.len(), "queues, in summary.csv");
}

/// Says that not all are listed.
fn and_more(text: &mut String, all: usize, what: &str) {
    if all > LISTED_MAX {
        text.push_str(&format!("  and {} more {what}\n", all - LISTED_MAX));
    }
}

/// A card for each fault that happened.
fn faults(text: &mut String, record: &Record, screen: Screen) {
    let happened = || record.faults.iter().filter(|row| row.cost.is_some());
    for row in happened().take(LISTED_MAX) {
        let at =
            row.started_us.map_or(String::new(), |us| format!(" at {}", seconds(us.try_into().unwrap_or(i64::MAX))));
        let lines: Vec<Line> = card(row).into_iter().map(|(label, value)| (label.to_owned(), value)).collect();
        let heading = printable(&format!("Fault {}: {} ({}){at}", row.id, row.kind, row.detail));
        section(text, screen, &wrapped(&heading, screen.width).join("\n"), &lines);
    }
    and_more(text, happened().count(), "faults, in faults.csv");
}

fn checks(text: &mut String, judgement: &Judgement, screen: Screen) {
    if judgement.checks.is_empty() {
        return;
    }
    text.push_str(&format!("\n{}\n", screen.heading("Expectations")));
    for check in &judgement.checks {
        // Padded before it is coloured: colours have no width.
        let word = screen.marked(&format!("{:<12}", check.verdict.word()), Some(check.verdict));
        let measured = check.value.map(|value| shown(Figure::of(value, &check.unit), &check.unit));
        let measured = measured.map(|value| format!(", measured {value}")).unwrap_or_default();
        let note = check.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        let said = printable(&format!("{} {}{measured}{note}", check.metric, check.expectation));
        let mut lines = wrapped(&said, screen.width.saturating_sub(16)).into_iter();
        text.push_str(&format!("  {word}  {}\n", lines.next().unwrap_or_default()));
        lines.for_each(|line| text.push_str(&format!("{:16}{line}\n", "")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn wrapping_keeps_the_words(text in "[a-z ]{0,200}", width in 30usize..80) {
            let lines = wrapped(&text, width);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(words(&lines.join(" ")), words(&text));
            for line in &lines {
                prop_assert!(line.len() <= width || !line.contains(' '));
            }
        }
    }
}
