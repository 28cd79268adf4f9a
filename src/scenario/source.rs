//! The text of a scenario and where each key stands in it, so that whatever is found later points at the line.
//!
//! Passwords in URLs are replaced before the text is kept: it goes into the record and onto the terminal.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Place};
use super::key::KeyPath;
use super::problem::{Part, Problem};

const COMMAND_LINE: &str = "command line";
const FLAG: &str = "--set ";

/// Where a scenario came from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path of the file, as it was given.
    pub path: PathBuf,
    /// The text with every `--set` applied. Environment variables are not filled in and passwords in URLs are
    /// replaced by `***`, so that it can go into a record.
    pub text: String,
    /// Every `path=value` that was set, in order; passwords in URLs replaced.
    pub sets: Vec<String>,
    /// The text as it stands in the file, but for passwords.
    written: Arc<str>,
    spans: BTreeMap<KeyPath, Spans>,
    overrides: Vec<Override>,
    /// Values that came from the environment, with the names of the variables.
    filled: BTreeMap<KeyPath, Vec<String>>,
}

/// Where an entry stands, in bytes.
#[derive(Debug, Clone)]
struct Spans {
    key: Option<Range<usize>>,
    value: Range<usize>,
}

/// A value that came from `--set`.
#[derive(Debug, Clone)]
struct Override {
    key: KeyPath,
    text: Arc<str>,
    path: Range<usize>,
    value: Range<usize>,
}

impl Source {
    /// Of the file at `path`, which holds `written`.
    pub(super) fn new(path: &Path, written: &str) -> Self {
        let written: Arc<str> = redact(written).into();
        let mut spans = BTreeMap::new();
        let (table, _) = DeTable::parse_recoverable(&written);
        index_table(&KeyPath::default(), table.get_ref(), &mut spans);
        Self {
            path: path.to_owned(),
            text: written.to_string(),
            sets: Vec::new(),
            written,
            spans,
            overrides: Vec::new(),
            filled: BTreeMap::new(),
        }
    }

    /// Notes that `set` gave each of `keys` its value; `value_start` is where in it the value begins.
    pub(super) fn add_set(&mut self, set: &str, value_start: usize, keys: Vec<KeyPath>, text: &str) {
        let (path, value) = set.split_at(value_start);
        let value = redact(value);
        let shown = format!("{path}{value}");
        let text_of_set: Arc<str> = format!("{FLAG}{shown}").into();
        let path_length = path.trim_end_matches(['=', ' ']).len();
        self.overrides.extend(keys.into_iter().map(|key| Override {
            key,
            text: Arc::clone(&text_of_set),
            path: FLAG.len()..FLAG.len() + path_length,
            value: FLAG.len() + value_start..text_of_set.len(),
        }));
        self.sets.push(shown);
        self.text = redact(text);
    }

    /// Notes which values came from the environment.
    pub(super) fn add_filled(&mut self, filled: BTreeMap<KeyPath, Vec<String>>) {
        self.filled = filled;
    }

    /// The path of the file as text.
    pub(super) fn file(&self) -> String {
        self.path.display().to_string()
    }

    /// A diagnostic about the entry at `key`, a path such as `producer[0].confirm.window` or
    /// `expect."end_to_end.p99"`; where there is no such entry, it points at the nearest one that would hold it.
    pub fn diagnose(&self, key: &str, message: &str, help: Option<&str>) -> Diagnostic {
        self.report(Problem {
            key: KeyPath::read(key),
            part: Part::Value,
            message: message.to_owned(),
            help: help.map(str::to_owned),
            notes: Vec::new(),
            related: Vec::new(),
        })
    }

    /// A diagnostic about `problem`.
    pub(super) fn report(&self, problem: Problem) -> Diagnostic {
        let (place, on_command_line) = self.locate(&problem.key, problem.part);
        // Only what is written can be pointed at, and only in the same text.
        let written =
            |key: &KeyPath| self.spans.contains_key(key) && !self.overrides.iter().any(|set| set.key.holds(key));
        let related = problem.related.iter().filter(|(key, _)| written(key) && !on_command_line);
        let related = related.map(|(key, label)| (self.locate(key, Part::Value).0.span, label.clone())).collect();
        let mut notes = problem.notes;
        notes.extend(self.origin_note(&problem.key, on_command_line));
        Diagnostic {
            message: problem.message,
            help: problem.help,
            notes,
            file: self.file(),
            place: Some(place),
            related,
            on_command_line,
        }
    }

    /// A diagnostic about the stretch `span` of the file.
    pub(super) fn report_span(&self, span: Range<usize>, message: String, help: Option<String>) -> Diagnostic {
        let span = self.one_line(span);
        let place = Place { origin: self.file(), text: Arc::clone(&self.written), span, label: String::new() };
        Diagnostic { place: Some(place), ..Diagnostic::about_file(&self.file(), message, help) }
    }

    /// A diagnostic about a `--set` that leads nowhere.
    pub(super) fn report_set(set: &str, message: String, help: String) -> Diagnostic {
        let text: Arc<str> = format!("{FLAG}{}", redact(set)).into();
        let path_end = text.find('=').unwrap_or(text.len());
        let span = FLAG.len()..path_end.max(FLAG.len());
        let place = Place { origin: COMMAND_LINE.into(), text, span, label: String::new() };
        Diagnostic {
            place: Some(place),
            on_command_line: true,
            ..Diagnostic::about_file(COMMAND_LINE, redact(&message), Some(redact(&help)))
        }
    }

    /// Where `span` of the text as it was read stands in the text as it is shown.
    pub(super) fn position(&self, read: &str, span: Range<usize>) -> Range<usize> {
        if read == &*self.written {
            return span;
        }
        // Passwords are shorter now, so that what stands behind them has moved.
        let moved = |at: usize| redact(read.get(..at).unwrap_or(read)).len();
        moved(span.start)..moved(span.end)
    }

    /// The nearest key before `at` in the file that is written like the one at `at`.
    pub(super) fn earlier_key(&self, at: Range<usize>) -> Option<Range<usize>> {
        let word = self.written.get(at.clone())?;
        let keys = self.spans.values().filter_map(|spans| spans.key.clone());
        let same = keys.filter(|key| key.end <= at.start && self.written.get(key.clone()) == Some(word));
        // Of two tables the parser keeps the later, so that the earlier is no entry of its own.
        let header = || {
            let start = self.written.get(..at.start)?.rfind(&format!("[{word}]"))? + 1;
            Some(start..start + word.len())
        };
        same.max_by_key(|key| key.start).or_else(header)
    }

    fn origin_note(&self, key: &KeyPath, on_command_line: bool) -> Option<String> {
        if let Some((_, names)) = self.filled.iter().find(|(filled, _)| filled.holds(key)) {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            return Some(format!("the value comes from the environment: {}", names.join(", ")));
        }
        on_command_line.then(|| format!("the value was set on the command line, over {}", self.file()))
    }

    fn locate(&self, key: &KeyPath, part: Part) -> (Place, bool) {
        let label = key.to_string();
        let set = |found: &Override| {
            let span = if part == Part::Key { found.path.clone() } else { found.value.clone() };
            let place =
                Place { origin: COMMAND_LINE.into(), text: Arc::clone(&found.text), span, label: label.clone() };
            (place, true)
        };
        if let Some(found) = self.overrides.iter().rev().find(|set| set.key.holds(key)) {
            return set(found);
        }
        let mut at = Some(key.clone());
        while let Some(path) = at {
            if let Some(spans) = self.spans.get(&path) {
                let wants_key = part == Part::Key && path == *key;
                let span = spans.key.clone().filter(|_| wants_key).unwrap_or_else(|| spans.value.clone());
                return (self.place(span, label), false);
            }
            // Tables that only `--set` brought into being.
            let below = self.overrides.iter().rev().find(|set| !path.0.is_empty() && path.holds(&set.key));
            if let Some(found) = below {
                return set(found);
            }
            at = path.parent();
        }
        let first = self.spans.values().map(|spans| spans.key.clone().unwrap_or_else(|| spans.value.clone()));
        (self.place(first.min_by_key(|span| span.start).unwrap_or(0..0), label), false)
    }

    fn place(&self, span: Range<usize>, label: String) -> Place {
        Place { origin: self.file(), text: Arc::clone(&self.written), span: self.one_line(span), label }
    }

    /// `span` up to the end of its first line, and inside of the text.
    fn one_line(&self, span: Range<usize>) -> Range<usize> {
        let text = &self.written;
        let start = boundary(text, span.start);
        let end = boundary(text, span.end.max(start));
        let line = text.get(start..end).and_then(|part| part.find(['\r', '\n']));
        start..line.map_or(end, |newline| start + newline)
    }
}

/// The last start of a character that is not behind `at`.
fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn index_table(path: &KeyPath, table: &DeTable<'_>, spans: &mut BTreeMap<KeyPath, Spans>) {
    for (key, value) in table.iter() {
        index_value(path.key(key.get_ref()), Some(key.span()), value, spans);
    }
}

fn index_value(
    path: KeyPath,
    key: Option<Range<usize>>,
    value: &Spanned<DeValue<'_>>,
    spans: &mut BTreeMap<KeyPath, Spans>,
) {
    match value.get_ref() {
        DeValue::Table(table) => index_table(&path, table, spans),
        DeValue::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                index_value(path.index(index), None, element, spans);
            }
        }
        _ => {}
    }
    spans.insert(path, Spans { key, value: value.span() });
}

/// `text` with passwords replaced by `***`: those of URLs, but for one that is an environment variable, those among the
/// parameters of a URL, and those in lines of `rabbitmq.conf`. A URL is whatever stands behind `//`: a misspelt scheme must not show a password.
pub(super) fn redact(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
    let without_urls = replace_behind(text, "//", |after| after.find(ends).unwrap_or(after.len()), redact_userinfo);
    let assigned = |after: &str| after.find(['"', '\'', '\n', '\r']).unwrap_or(after.len());
    ["_pass", "_password", ".password", "?password", "&password"]
        .iter()
        .fold(without_urls, |text, key| replace_behind(&text, key, assigned, redact_assigned))
}

/// `text` with what stands behind each `mark`, up to where `end` says, changed by `change`.
fn replace_behind(text: &str, mark: &str, end: impl Fn(&str) -> usize, change: fn(&str) -> String) -> String {
    let mut changed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(mark) {
        let (before, after) = rest.split_at(start + mark.len());
        changed.push_str(before);
        let (part, following) = after.split_at(end(after));
        changed.push_str(&change(part));
        rest = following;
    }
    changed.push_str(rest);
    changed
}

fn redact_assigned(part: &str) -> String {
    match part.split_once('=') {
        Some((space, value)) if space.trim().is_empty() && !value.trim().is_empty() => format!("{space}= ***"),
        _ => part.to_owned(),
    }
}

fn redact_userinfo(url: &str) -> String {
    // The last `@`: a password that holds one unescaped is hidden whole.
    let Some((userinfo, host)) = url.rsplit_once('@') else { return url.to_owned() };
    // A `:` of `${NAME:-default}` does not end the user.
    let mut depth = 0u32;
    let colon = userinfo.char_indices().find(|(_, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        *c == ':' && depth == 0
    });
    let Some((colon, _)) = colon else { return url.to_owned() };
    let (user, password) = (&userinfo[..colon], &userinfo[colon + 1..]);
    let is_variable = password
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    if is_variable { url.to_owned() } else { format!("{user}:***@{host}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_replaced() {
        for (text, redacted) in [
            ("url = \"amqp://me:secret@host/v\"", "url = \"amqp://me:***@host/v\""),
            ("'amqps://me:a@b:c@host' 'http://x:y@z'", "'amqps://me:***@host' 'http://x:***@z'"),
            ("amqp://me:${PASSWORD}@host", "amqp://me:${PASSWORD}@host"),
            ("amqp://${USER:-me}:${PASSWORD}@host", "amqp://${USER:-me}:${PASSWORD}@host"),
            ("amqp://me:${PASSWORD:-secret}@host", "amqp://me:***@host"),
            ("amqp://me:${A}x${B}@host", "amqp://me:***@host"),
            ("ampq//me:secret@host", "ampq//me:***@host"),
            ("image = \"rabbitmq:4@sha256:ab\"", "image = \"rabbitmq:4@sha256:ab\""),
            ("['default_pass = secret word', \"x\"]", "['default_pass = ***', \"x\"]"),
            ("\"ssl_options.password=secret\"", "\"ssl_options.password= ***\""),
            ("\"a pass = one\"", "\"a pass = one\""),
            ("\"postgres://host/db?user=me&password=secret\"", "\"postgres://host/db?user=me&password= ***\""),
            ("amqp://host:5672/v", "amqp://host:5672/v"),
            ("amqp://me@host:5672", "amqp://me@host:5672"),
        ] {
            assert_eq!(redact(text), redacted);
        }
    }

    #[test]
    fn finds_the_nearest_entry() {
        let source =
            Source::new(Path::new("a.toml"), "schema = 1\n\n[[queue]]\nname = \"a\"\n[load]\nwarmup = \"1s\"\n");
        let line = |key| source.diagnose(key, "wrong", None).line_column();
        assert_eq!(line("queue[0].name"), Some((4, 8)));
        assert_eq!(line("queue[0].overflow"), Some((3, 1)));
        assert_eq!(line("queue[0].bind[3].key"), Some((3, 1)));
        assert_eq!(line("load.duration"), Some((5, 1)));
        assert_eq!(line("broker.image"), Some((1, 1)));
    }
}
