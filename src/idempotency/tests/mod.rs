//! The stores against what they promise: memory, SQLite, and a real PostgreSQL that the tests share.

mod disciplines;
mod leftovers;
mod model;
mod refusals;
mod silence;
mod windows;

use std::sync::atomic::{AtomicU16, Ordering};

use tokio::sync::OnceCell;

use super::*;

const RUN: u32 = 0x1d3;

/// One server for all tests; it ends with their process.
static SERVER: OnceCell<Server> = OnceCell::const_new();

fn sqlite() -> StoreKind {
    StoreKind::Sqlite { path: None }
}

async fn postgres_url() -> Secret {
    SERVER.get_or_init(async || Server::start(None, "test", &|_| {}).await.unwrap()).await.url().clone()
}

async fn postgres() -> StoreKind {
    StoreKind::Postgres { url: Some(postgres_url().await) }
}

/// Stores with transactions.
async fn databases() -> [StoreKind; 2] {
    [sqlite(), postgres().await]
}

/// Options for a store that no other test has.
fn options(kind: StoreKind, discipline: Discipline) -> Options {
    static SCOPE: AtomicU16 = AtomicU16::new(0);
    Options { kind, discipline, window: None, run: RUN, scope: SCOPE.fetch_add(1, Ordering::Relaxed) }
}

async fn open(kind: &StoreKind, discipline: Discipline) -> Effects {
    Effects::open(&options(kind.clone(), discipline)).await.unwrap()
}

fn id(sequence: u64) -> EffectId {
    EffectId { publisher: 65_000, sequence }
}

fn batch(sequences: std::ops::Range<u64>) -> Vec<EffectId> {
    sequences.map(id).collect()
}

/// How often each effect was applied, of those that were.
fn counts(audit: &Audit) -> Vec<(EffectId, u32)> {
    let again: std::collections::BTreeMap<_, _> = audit.listed().collect();
    let applied = audit.applied();
    let ids = applied.publishers().flat_map(|publisher| {
        applied.present(publisher, 0..u64::MAX).flatten().map(move |sequence| EffectId { publisher, sequence })
    });
    ids.map(|id| (id, again.get(&id).copied().unwrap_or(1))).collect()
}

fn each(sequences: std::ops::Range<u64>, times: u32) -> Vec<(EffectId, u32)> {
    sequences.map(|sequence| (id(sequence), times)).collect()
}
