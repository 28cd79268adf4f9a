//! `idempotency` of a `[[consumer]]`: where it keeps the ids that it has seen, and in which order it uses them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// How a fleet keeps the effect of a message from being applied twice. Every fleet that has this applies an effect for each
/// message, and the run reads from the store itself how often each was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// Where the ids of messages are kept.
    pub store: Store,
    /// How long an id is kept; a message that comes again later is applied again. Default: to the end of the run.
    pub window: Option<Span>,
    /// In which order a consumer looks up, applies and records. Default `one-transaction` where the store has transactions,
    /// else `check-then-act`.
    pub discipline: Option<Discipline>,
    /// `sqlite` only: the file. What is made in it is removed after the run. Default: a temporary file.
    pub path: Option<String>,
    /// `postgres` only: URL of a server that is already there, such as `postgres://user:${PASSWORD}@host/database`.
    /// Default: the machine's PostgreSQL as a private child process, else one in a container.
    pub url: Option<String>,
}

/// Where the ids of messages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// Nowhere: every delivery is applied.
    None,
    /// In the memory of each member, which does not know what another has seen and forgets with a crash.
    Memory,
    /// In a SQLite file, beside the effects.
    Sqlite,
    /// In PostgreSQL, beside the effects.
    Postgres,
}

impl Store {
    /// Whether ids and effects can be committed together.
    pub fn has_transactions(self) -> bool {
        matches!(self, Self::Sqlite | Self::Postgres)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// In which order a consumer looks up, applies and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Discipline {
    /// The id and the effect are committed together, or neither is.
    OneTransaction,
    /// Look up, apply, record: three steps, and what comes between them is applied twice.
    CheckThenAct,
}

impl fmt::Display for Discipline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneTransaction => "one-transaction",
            Self::CheckThenAct => "check-then-act",
        })
    }
}
