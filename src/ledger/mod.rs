//! What happened to every message, exactly; no sampling, ever.
//!
//! May use `units` and `stamp` only; no clock, no network. The journal (hot path, bounded memory) takes what publishers
//! and subscribers saw; the reconciliation is a pure function of it.

pub mod account;

pub use account::{Account, Cause, PublisherAccount, QueueAccount, Violation, ViolationClass};
