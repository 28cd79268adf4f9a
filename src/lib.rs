//! lurcher loads a message broker, breaks it on purpose, and accounts for every single message.
//!
//! Data flows one way, and `record` is the only door between doing and judging:
//! scenario → plan → run (broker, topology, fleet, faults) → ledger and latency → record → analysis → report.
//! What each room may use is written in CONTRIBUTING.md and held by `tests/house.rs`.

pub mod amqp;
pub mod analysis;
pub mod broker;
pub mod cli;
pub mod client;
pub mod endpoint;
mod engine;
pub mod faults;
pub mod fleet;
pub mod idempotency;
pub mod latency;
pub mod ledger;
pub mod plan;
pub mod proxy;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod selftest;
pub mod stamp;
pub mod topology;
pub mod units;
