//! The harness sabotaged on purpose: runs whose ledger, latencies and verdict are known beforehand, because a proxy
//! between them and the broker does harm that it counts. What was planned is held against what was found.
//!
//! May use `units`, `scenario`, `plan`, `stamp`, `endpoint`, `broker`, `proxy`, `run`, `record`, `analysis` and `report`.
//! What is done ([`Case`]), what must be found ([`Prediction`]) and how the two compare ([`compare`]) are pure; only the
//! stage knows a broker. Each case is a run like any other: a scenario's text, its plan, a record read back from disk.

mod case;
mod compare;
mod error;
mod prediction;
mod sabotage;
mod stage;
pub mod table;
#[cfg(test)]
mod tests;

pub use case::{CASES, Case};
pub use compare::{Row, compare};
pub use error::SelftestError;
pub use prediction::{Band, Named, Prediction};
pub use sabotage::{Order, Sabotage};
pub use stage::{Ended, Event, Options, run};
