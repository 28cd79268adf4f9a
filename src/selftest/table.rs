//! The table of planned and found, as text. Uses `plan`. Pure.

use super::case::client_name;
use super::compare::Row;
use crate::plan::ClientKind;

/// Columns of what was done, and of what was planned and found.
const WIDTHS: [usize; 2] = [29, 20];

/// The heading of a client's rows.
pub fn heading(client: ClientKind) -> String {
    let cells = ["planned", "found", "named", "verdict"];
    line([client_name(client), cells[0], cells[1], cells[2], cells[3], ""])
}

fn line([title, planned, found, named, verdict, word]: [&str; 6]) -> String {
    let [wide, middle] = WIDTHS;
    let text = format!("{title:<wide$}{planned:<middle$}{found:<middle$}{named:<10}{verdict:<14}{word}");
    text.trim_end().to_owned()
}

/// A case's lines: what was planned and found, and below it where they differ.
pub fn lines(row: &Row) -> String {
    let named = row.named.map_or_else(|| "–".to_owned(), |(found, planned)| format!("{found}/{planned}"));
    let word = if row.is_exact() { "exact" } else { "DIFFERS" };
    let mut lines = Vec::new();
    for (place, (planned, found)) in row.planned.iter().zip(&row.found).enumerate() {
        lines.push(if place == 0 {
            line([row.title, planned, found, &named, row.verdict.word(), word])
        } else {
            line(["", planned, found, "", "", ""])
        });
    }
    lines.extend(row.differences.iter().map(|difference| format!("    {difference}")));
    lines.extend(row.record.iter().filter(|_| !row.is_exact()).map(|path| format!("    record: {}", path.display())));
    lines.join("\n")
}

/// The last line.
pub fn conclusion(rows: &[Row]) -> String {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|row| !row.is_exact())
        .map(|row| format!("{} ({})", row.case, client_name(row.client)))
        .collect();
    match wrong.len() {
        0 => format!("exact: what was planned was found in all {} cases", rows.len()),
        _ => format!("differs: {} of {} cases: {}", wrong.len(), rows.len(), wrong.join(", ")),
    }
}
