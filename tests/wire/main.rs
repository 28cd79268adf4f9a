//! The wire client over a broker in memory: what it allocates, and what it makes of a peer that does not keep to AMQP.

// Helpers of tests are not tests to clippy: what it allows in those is allowed here for all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../looped/mod.rs"]
mod looped;

mod allocations;
mod bad_manners;
mod limits;
