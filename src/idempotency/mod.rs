//! The stores of idempotent consumers, and their audit: which effects were applied, how often, and which never.
//!
//! May use `units`, `endpoint` and `engine`. A consumer hands its deliveries to a [`Session`], which looks their ids up, applies
//! the effects of those that are new, and records them. An effect is a row in a business table, without uniqueness, so
//! that one that was applied twice shows. The audit reads those rows and believes nobody.
//!
//! | discipline | what happens | a crash between effect and ack | two members with the same id at once |
//! |---|---|---|---|
//! | [`Discipline::OneTransaction`] | record and effect are committed together | applied once | applied once |
//! | [`Discipline::CheckThenAct`] | look up, apply and commit, record and commit | may apply twice | may apply twice |
//!
//! Whatever is made here is removed by [`Effects::close`], else when the [`Effects`] are dropped. A killed run leaves
//! no child behind; the directory of its SQLite file goes with the next one that is made, the container of its server
//! with `lurcher doctor` or the next run that starts a broker. Only the tables of a killed
//! run in a file or on a server that the caller named stay: their names begin with `lurcher_`.

mod audit;
mod child;
mod container;
mod directory;
mod error;
mod ids;
mod memory;
mod postgres;
mod server;
mod session;
mod sqlite;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use audit::{Audit, LISTED_MAX};
pub use error::StoreError;
pub use ids::IdSet;
pub use server::{DEFAULT_IMAGE, Note, Server, Source};
pub use session::{Handled, Next, Session, Step};

use crate::endpoint::Secret;
use crate::units::Span;

/// Largest sequence that a store can hold: SQL's integers have a sign. A stamp's are smaller.
pub const MAX_SEQUENCE: u64 = i64::MAX as u64;

/// In the sequence of an id: the same message under another id, which no store takes for the first. A stamp's sequences
/// are smaller. What is applied counts as the effect of the same message.
pub const NEW_ID: u64 = 1 << 62;

/// What makes two deliveries the same: the message that its publisher stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId {
    /// Who sent the message.
    pub publisher: u16,
    /// Its number among the publisher's messages, at most [`MAX_SEQUENCE`].
    pub sequence: u64,
}

/// In which order a consumer looks up, applies and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// The id and the effect are committed together, or neither is. Stores with transactions only.
    OneTransaction,
    /// Look up, apply, record: three steps that anything can come between. Common, and wrong.
    CheckThenAct,
}

/// Where a consumer keeps the ids that it has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKind {
    /// Nowhere: every delivery is applied.
    None,
    /// In the member's own process, whose sessions all share it; lost when it crashes. The effects are outside of it, and survive.
    Memory,
    /// In a SQLite file, together with the effects.
    Sqlite {
        /// The file; none: one of our own, in a directory for temporary files.
        path: Option<PathBuf>,
    },
    /// In PostgreSQL, together with the effects.
    Postgres {
        /// Such as `postgres://user:password@host/database`; none: a server of our own, one for each store. Several
        /// stores share one by [`Server::start`] and its [`Server::url`].
        url: Option<Secret>,
    },
}

impl StoreKind {
    /// Its name in a scenario.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres { .. } => "postgres",
        }
    }

    /// Whether ids and effects can be committed together, which [`Discipline::OneTransaction`] asks for.
    pub fn has_transactions(&self) -> bool {
        matches!(self, Self::Sqlite { .. } | Self::Postgres { .. })
    }
}

/// What a store is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the ids are.
    pub kind: StoreKind,
    /// How consumers use them. [`Discipline::CheckThenAct`] for a store without transactions.
    pub discipline: Discipline,
    /// Ids that were recorded longer ago are forgotten; none: they are kept.
    pub window: Option<Span>,
    /// The run, as in its stamps; part of the tables' names.
    pub run: u32,
    /// Tells the stores of one run apart: each has effects of its own.
    pub scope: u16,
}

/// One store with its effects: of all members of one kind of consumer.
#[derive(Debug)]
pub struct Effects {
    store: Store,
}

#[derive(Debug)]
enum Store {
    /// No store, or one in the memory of each member: the effects alone are shared.
    Memory(memory::World),
    Sqlite(sqlite::Store),
    Postgres(Box<postgres::Store>),
}

impl Effects {
    /// Makes the store, empty, and the server that it needs.
    ///
    /// # Errors
    /// Where the store and the discipline do not fit, or the store cannot be made or reached.
    pub async fn open(options: &Options) -> Result<Self, StoreError> {
        if options.discipline == Discipline::OneTransaction && !options.kind.has_transactions() {
            return Err(StoreError::NoTransaction { store: options.kind.name() });
        }
        let tables = Tables::of(options);
        let store = match &options.kind {
            StoreKind::None => Store::Memory(memory::World::new(None)),
            StoreKind::Memory => Store::Memory(memory::World::new(Some(tables.window_us))),
            StoreKind::Sqlite { path } => Store::Sqlite(sqlite::Store::open(path.clone(), tables).await?),
            StoreKind::Postgres { url } => {
                Store::Postgres(Box::new(postgres::Store::open(url.clone(), tables, options.run).await?))
            }
        };
        Ok(Self { store })
    }

    /// A session for a member: a connection of its own. The memory of a member is one, however many sessions it has.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn session(&self, member: usize) -> Result<Session, StoreError> {
        Ok(Session::new(match &self.store {
            Store::Memory(world) => session::Member::Memory(world.member(member)),
            Store::Sqlite(store) => session::Member::Sqlite(store.member(member).await?),
            Store::Postgres(store) => session::Member::Postgres(Box::new(store.member(member).await?)),
        }))
    }

    /// Reads all effects.
    ///
    /// # Errors
    /// Where the store cannot be read, or holds what lurcher did not write.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        match &self.store {
            Store::Memory(world) => Ok(world.audit()),
            Store::Sqlite(store) => store.audit().await,
            Store::Postgres(store) => store.audit().await,
        }
    }

    /// Removes all that was made for the store: tables, files, the server. Sessions are to end before.
    ///
    /// # Errors
    /// Where something stays.
    pub async fn close(self) -> Result<(), StoreError> {
        match self.store {
            Store::Memory(_) => Ok(()),
            Store::Sqlite(store) => store.close().await,
            Store::Postgres(store) => store.close().await,
        }
    }
}

/// The tables of one store, and how they are used.
#[derive(Debug, Clone)]
struct Tables {
    /// `(publisher, sequence, at_us)`, with a key.
    processed: String,
    /// `(publisher, sequence)`, without one.
    effects: String,
    discipline: Discipline,
    window_us: Option<u64>,
}

impl Tables {
    fn of(options: &Options) -> Self {
        let name = |table| format!("lurcher_{:08x}_{}_{table}", options.run, options.scope);
        Self {
            processed: name("processed"),
            effects: name("effects"),
            discipline: options.discipline,
            window_us: options.window.map(Span::as_us),
        }
    }
}

/// What was recorded before this time is forgotten. Where nothing is, every time is later.
fn cutoff_us(now_us: u64, window_us: Option<u64>) -> i64 {
    window_us.map_or(i64::MIN, |window| sql_integer(now_us.saturating_sub(window)))
}

fn sql_integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// So many forgotten ids are removed with a batch of a size: more than it brings, so that the store does not grow, and
/// few enough that no batch pays for the ones before it.
fn removed_max(batch: usize) -> usize {
    2 * batch + 16
}

/// A row of the effects, read back.
fn effect(publisher: i64, sequence: i64, place: &str) -> Result<EffectId, StoreError> {
    match (u16::try_from(publisher), u64::try_from(sequence)) {
        (Ok(publisher), Ok(sequence)) => Ok(EffectId { publisher, sequence }),
        _ => Err(StoreError::ForeignRow { place: place.to_owned(), publisher, sequence }),
    }
}
