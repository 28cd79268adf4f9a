//! Random choices of the proxy, as functions of seed, lane and number ([`crate::units::draw`]). A proxy has no plan, only a
//! seed, and lanes of its own.

use crate::units::draw;

/// What is drawn; draws of different lanes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Lane {
    /// Whether a connection is in a share.
    Share = 1,
    /// Jitter of a latency.
    Jitter = 2,
    /// The bit that is flipped in a body.
    Bit = 3,
}

/// A number from 0 up to, but not including, 1.
pub(super) fn unit(seed: u64, lane: Lane, number: u64) -> f64 {
    draw::unit(seed, lane as u64, number)
}

/// A whole number from 0 up to, but not including, `limit`; 0 where the limit is 0.
pub(super) fn below(seed: u64, lane: Lane, number: u64, limit: u64) -> u64 {
    draw::below(seed, lane as u64, number, limit)
}
