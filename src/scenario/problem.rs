//! What the checks find, by key path; the source turns it into diagnostics.

use super::key::KeyPath;

/// Which part of an entry is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The key itself.
    Key,
    /// What is written after it.
    Value,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub key: KeyPath,
    pub part: Part,
    pub message: String,
    pub help: Option<String>,
    pub notes: Vec<String>,
    /// Other entries that have to do with it, each with what.
    pub related: Vec<(KeyPath, String)>,
}

impl Problem {
    /// Says what would be right.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Adds something worth knowing.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }

    /// Points at another entry, too.
    pub fn see(&mut self, key: impl AsRef<str>, label: impl Into<String>) -> &mut Self {
        self.related.push((KeyPath::read(key.as_ref()), label.into()));
        self
    }
}

/// All that was found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Something is wrong with the value of `key`, a path such as `producer[0].rate`.
    pub fn at(&mut self, key: impl AsRef<str>, message: impl Into<String>) -> &mut Problem {
        self.push(KeyPath::read(key.as_ref()), Part::Value, message.into())
    }

    /// Something is wrong with the value at `key`.
    pub fn value(&mut self, key: &KeyPath, message: impl Into<String>) -> &mut Problem {
        self.push(key.clone(), Part::Value, message.into())
    }

    /// The key itself is wrong.
    pub fn key(&mut self, key: &KeyPath, message: impl Into<String>) -> &mut Problem {
        self.push(key.clone(), Part::Key, message.into())
    }

    fn push(&mut self, key: KeyPath, part: Part, message: String) -> &mut Problem {
        let place = self.0.len();
        self.0.push(Problem { key, part, message, help: None, notes: Vec::new(), related: Vec::new() });
        &mut self.0[place]
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_inner(self) -> Vec<Problem> {
        self.0
    }
}
