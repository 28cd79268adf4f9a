//! Markdown: tables, and figures in them.

use super::stats::Spread;

/// A table; every row has a cell for each column.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(header.len()));
    [line(&header), rule].into_iter().chain(rows.iter().map(|row| line(row))).collect()
}

/// `18,116`.
pub fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let places = digits.len();
    let mut grouped = String::with_capacity(places + places / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (places - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `2.81`.
pub fn decimal(value: f64) -> String {
    format!("{value:.2}")
}

/// `18,116 (17,020–19,311)`; a dash where nothing was measured.
pub fn spread(values: &[f64], figure: fn(f64) -> String) -> String {
    match Spread::of(values) {
        Some(of) if of.count == 1 => figure(of.median),
        Some(of) => format!("{} ({}–{})", figure(of.median), figure(of.min), figure(of.max)),
        None => "–".to_owned(),
    }
}
