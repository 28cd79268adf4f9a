//! What the terminal shows: live figures while a run goes on ([`Listener`]), and its answers at the end.
//!
//! Rendering is a pure function of record and screen; nothing here prints by itself.

mod live;
mod summary;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

pub use live::Listener;
pub use summary::render;

use super::words;
use crate::record::{Completeness, Judgement, Record, Totals, Verdict};

/// Columns of a terminal that does not tell.
const WIDTH_UNKNOWN: usize = 80;
/// Nothing is laid out for fewer columns, or for more.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=120;

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Whether colours are wanted.
    pub colour: bool,
}

impl Screen {
    /// What standard output can show: colours only on a terminal, and not with `NO_COLOR` (<https://no-color.org>).
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let told = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        let width = told.filter(|columns| *columns > 0).unwrap_or(WIDTH_UNKNOWN);
        Self { width: width.clamp(*WIDTHS.start(), *WIDTHS.end()), colour: is_terminal && wanted }
    }

    /// `text` in the colour of `verdict`.
    fn marked(self, text: &str, verdict: Option<Verdict>) -> String {
        let code = match verdict {
            Some(Verdict::Pass) => "1;32",
            Some(Verdict::Fail) => "1;31",
            Some(Verdict::Inconclusive) => "1;33",
            Some(Verdict::Invalid) => "1;35",
            None => "1",
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn heading(self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// How much is said at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// The answers.
    #[default]
    Full,
    /// The verdict, on one line.
    Quiet,
    /// One JSON object, on one line.
    Json,
}

/// Says on `out` what came of the record in `folder`.
///
/// # Errors
/// Where `out` refuses.
pub fn conclude(record: &Record, folder: &Path, manner: Manner, screen: Screen, out: &mut dyn Write) -> io::Result<()> {
    let text = match manner {
        Manner::Full => render(record, folder, screen),
        Manner::Quiet => verdict_line(record, screen) + "\n",
        Manner::Json => json(record, folder)? + "\n",
    };
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The verdict and its first reason, on one line.
pub fn verdict_line(record: &Record, screen: Screen) -> String {
    let verdict = record.verdict.as_ref();
    let word = verdict.map_or("not judged", |judgement| judgement.verdict.word());
    let reasons = verdict.map_or(&[][..], |judgement| &judgement.reasons);
    let reason = words::incomplete(&record.completeness).or_else(|| reasons.first().cloned());
    let reason = reason.map(|reason| format!(": {}", words::printable(&reason))).unwrap_or_default();
    let marked = screen.marked(word, verdict.map(|judgement| judgement.verdict));
    format!("{marked} {}{reason}", words::printable(&record.plan.name))
}

#[derive(Serialize)]
struct Conclusion<'a> {
    schema_version: u32,
    scenario: &'a str,
    id: &'a str,
    completeness: &'a Completeness,
    #[serde(flatten)]
    verdict: Option<&'a Judgement>,
    totals: &'a Totals,
    record: String,
}

/// Judgement and totals as `run.json` has them, and the path of the record, as one JSON object on one line.
///
/// # Errors
/// Where a figure cannot be written as JSON.
pub fn json(record: &Record, folder: &Path) -> io::Result<String> {
    let conclusion = Conclusion {
        schema_version: record.schema_version,
        scenario: &record.plan.name,
        id: &record.id,
        completeness: &record.completeness,
        verdict: record.verdict.as_ref(),
        totals: &record.totals,
        record: folder.display().to_string(),
    };
    Ok(serde_json::to_string(&conclusion)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::fixture;

    const FOLDER: &str = "reports/orders-under-stall/20261121T051719Z-k3v9";
    const PLAIN: Screen = Screen { width: 80, colour: false };

    #[test]
    fn the_summary_at_several_widths() {
        for width in [40, 80, 120] {
            let text = render(&fixture::record(), Path::new(FOLDER), Screen { width, colour: false });
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            // The path of the record is not cut: it is there to be copied.
            assert!(longest <= width.max(4 + FOLDER.len() + "/report.html".len()), "{longest} columns:\n{text}");
            insta::assert_snapshot!(format!("summary_{width}"), text);
        }
        insta::assert_snapshot!("summary_empty", render(&fixture::empty(), Path::new(FOLDER), PLAIN));
    }

    #[test]
    fn colours_change_no_letter() {
        let plain = render(&fixture::record(), Path::new(FOLDER), PLAIN);
        let coloured = render(&fixture::record(), Path::new(FOLDER), Screen { colour: true, ..PLAIN });
        assert!(coloured.contains("\u{1b}[1;31m"));
        let mut letters = coloured;
        while let Some(start) = letters.find('\u{1b}') {
            let end = start + letters[start..].find('m').expect("the end of a colour");
            letters.replace_range(start..=end, "");
        }
        assert_eq!(letters, plain);
    }

    #[test]
    fn quiet_is_one_line() {
        let mut out = Vec::new();
        conclude(&fixture::record(), Path::new(FOLDER), Manner::Quiet, PLAIN, &mut out).expect("written");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "fail orders-under-stall: 37 of 142,974 confirmed copies were lost, all of them from orders.billing.\n"
        );
        assert_eq!(
            verdict_line(&fixture::empty(), PLAIN),
            "not judged orders-under-stall: The run could not go on: the broker died at the start."
        );
    }

    #[test]
    fn json_is_one_object_with_the_records_own_words() {
        let mut out = Vec::new();
        conclude(&fixture::record(), Path::new(FOLDER), Manner::Json, PLAIN, &mut out).expect("written");
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        let said: serde_json::Value = serde_json::from_slice(&out).expect("one JSON object");
        let run = serde_json::to_value(fixture::record()).expect("json");
        for key in ["schema_version", "id", "verdict", "totals", "completeness"] {
            assert_eq!(said[key], run[key], "{key}");
        }
        assert_eq!(said["record"], FOLDER);
    }

    #[test]
    fn names_do_not_move_the_cursor() {
        let mut record = fixture::record();
        record.plan.name = "a\u{1b}[2Jb".to_owned();
        record.verdict.as_mut().expect("judged").reasons = vec!["\u{1b}]0;title\u{7}".to_owned()];
        record.verdict.as_mut().expect("judged").checks[0].metric = "\u{1b}[1A".to_owned();
        assert!(!render(&record, Path::new(FOLDER), PLAIN).contains('\u{1b}'));
        assert!(!verdict_line(&record, PLAIN).contains('\u{1b}'));
    }
}
