//! Diagnostics: what is wrong with a scenario, where, and what would be right; rendered the way rustc does.
//!
//! May use nothing of the house.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Where something is wrong: a stretch of a text that the reader wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The file, or `command line`.
    pub origin: String,
    /// The whole text of it.
    pub text: Arc<str>,
    /// The stretch, in bytes.
    pub span: Range<usize>,
    /// What stands beside the marks: the key path.
    pub label: String,
}

impl Place {
    /// Line and column, both from 1, the column in characters.
    fn line_column(&self) -> (usize, usize) {
        let before = self.text.get(..self.span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// One thing that is wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) notes: Vec<String>,
    /// The file, where there is no place in it to point at.
    pub(super) file: String,
    pub(super) place: Option<Place>,
    /// Further stretches of the same text, each with what it has to do with the matter.
    pub(super) related: Vec<(Range<usize>, String)>,
    /// Sorts those of the command line behind those of the file.
    pub(super) on_command_line: bool,
}

impl Diagnostic {
    /// One about the file as a whole.
    pub(super) fn about_file(file: &str, message: String, help: Option<String>) -> Self {
        Self {
            message,
            help,
            notes: Vec::new(),
            file: file.to_owned(),
            place: None,
            related: Vec::new(),
            on_command_line: false,
        }
    }

    /// What is wrong, one sentence without its place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Path of the key that is at fault; none where it is the file as a whole.
    pub fn key(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.label.as_str()).filter(|label| !label.is_empty())
    }

    /// What would be right.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Line and column in the file, both from 1; none where the fault is not at one place of the file.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.place.as_ref().filter(|_| !self.on_command_line).map(Place::line_column)
    }

    fn order(&self) -> (bool, usize, String) {
        (self.on_command_line, self.place.as_ref().map_or(0, |place| place.span.start), self.message.clone())
    }

    /// Plain text, or with the colours of a terminal.
    pub fn render(&self, color: bool) -> String {
        let title = Level::ERROR.primary_title(self.message.as_str());
        let mut group = match &self.place {
            Some(place) => title.element(self.snippet(place)),
            None => title.element(Origin::path(self.file.as_str())),
        };
        group = group.elements(self.help.iter().map(|help| Level::HELP.message(help.as_str())));
        group = group.elements(self.notes.iter().map(|note| Level::NOTE.message(note.as_str())));
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let report: &[Group<'_>] = &[group];
        renderer.render(report)
    }

    fn snippet<'a>(&'a self, place: &'a Place) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let primary = AnnotationKind::Primary.span(place.span.clone()).label(place.label.as_str());
        let related =
            self.related.iter().map(|(span, label)| AnnotationKind::Context.span(span.clone()).label(label.as_str()));
        Snippet::source(&*place.text).line_start(1).path(place.origin.as_str()).annotation(primary).annotations(related)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// All that is wrong with a scenario, in the order of its lines; never nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// Plain text, or with the colours of a terminal; without a newline at the end.
    pub fn render(&self, color: bool) -> String {
        let parts: Vec<String> = self.0.iter().map(|diagnostic| diagnostic.render(color)).collect();
        parts.join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_cached_key(Diagnostic::order);
        Self(diagnostics)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
