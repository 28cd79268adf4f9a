//! Dead letters by queue and reason, what was expected beside what came.

use super::DEAD_LETTERS;
use super::chart::{Bar, Chart, OTHERS, PALETTE, shortened};
use super::ticks::{self, Axis};
use crate::record::{DeadLetterRow, Record};
use crate::report::OutputError;
use crate::report::figure;

/// Rows that fit the plot; the smallest are summed.
const ROWS_MAX: usize = 10;

struct Row {
    label: String,
    expected: Option<u64>,
    actual: u64,
}

/// Dead letters by queue and reason.
pub(in crate::report) fn dead_letters(record: &Record) -> Result<String, OutputError> {
    let rows = rows(&record.dead_letters);
    let most = rows.iter().map(|row| row.actual.max(row.expected.unwrap_or(0))).max().unwrap_or(0);
    let has_expected = rows.iter().any(|row| row.expected.is_some());
    let mut keys = vec![(PALETTE[0], "dead-lettered".to_owned())];
    if has_expected {
        keys.push((OTHERS, "expected".to_owned()));
    }
    let title = "Dead letters by queue and reason".to_owned();
    let count = rows.len() as f64;
    let chart = Chart {
        file: DEAD_LETTERS,
        title,
        x: ticks::linear("messages", most as f64),
        y: Axis {
            name: String::new(),
            from: 0.0,
            to: count.max(1.0),
            ticks: rows.iter().enumerate().map(|(place, row)| (middle(place, count), row.label.clone())).collect(),
        },
        bands: Vec::new(),
        series: Vec::new(),
        keys: if rows.is_empty() { Vec::new() } else { keys },
        bars: rows.iter().enumerate().flat_map(|(place, row)| bars(middle(place, count), row)).collect(),
        if_empty: "No dead letters.".to_owned(),
    };
    chart.draw()
}

/// The first row is at the top.
fn middle(place: usize, count: f64) -> f64 {
    count - place as f64 - 0.5
}

fn bars(middle: f64, row: &Row) -> Vec<Bar> {
    let bar = |from_y: f64, to_y: f64, count: u64, colour| Bar {
        from_y: middle + from_y,
        to_y: middle + to_y,
        length: count as f64,
        colour,
        text: figure::shown(count, "messages"),
    };
    match row.expected {
        Some(expected) => vec![bar(0.0, 0.32, row.actual, PALETTE[0]), bar(-0.32, 0.0, expected, OTHERS)],
        None => vec![bar(-0.16, 0.16, row.actual, PALETTE[0])],
    }
}

fn rows(dead_letters: &[DeadLetterRow]) -> Vec<Row> {
    let mut rows: Vec<Row> = dead_letters
        .iter()
        .map(|row| Row {
            label: format!("{}: {}", shortened(&row.queue), shortened(&row.reason)),
            expected: row.expected,
            actual: row.actual,
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.actual));
    if rows.len() > ROWS_MAX {
        let rest = rows.split_off(ROWS_MAX - 1);
        let actual = rest.iter().fold(0u64, |sum, row| sum.saturating_add(row.actual));
        rows.push(Row { label: format!("{} others", rest.len()), expected: None, actual });
    }
    rows
}
