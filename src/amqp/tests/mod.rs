//! The codec against its oracle `amq-protocol`, against mutations, and against each error that it can give.
//!
//! `convert`, `oracle` and `samples` are the fuzz target's too.

mod agreement;
mod convert;
mod errors;
mod limits;
mod oracle;
mod recorded;
mod samples;
mod strategies;
