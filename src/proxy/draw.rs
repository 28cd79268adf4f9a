//! Random choices of the proxy, as functions of seed and number. Uses no room.
//!
//! The same hash as a plan's draws: the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
//! number generators", OOPSLA 2014). A proxy has no plan, only a seed, and lanes of its own.

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

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn bits(seed: u64, lane: Lane, number: u64) -> u64 {
    let lane_seed = mix(seed.wrapping_add((lane as u64).wrapping_mul(GOLDEN)));
    mix(lane_seed.wrapping_add(number.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// A number from 0 up to, but not including, 1.
pub(super) fn unit(seed: u64, lane: Lane, number: u64) -> f64 {
    (bits(seed, lane, number) >> 11) as f64 / (1u64 << 53) as f64
}

/// A whole number from 0 up to, but not including, `limit`; 0 where the limit is 0.
pub(super) fn below(seed: u64, lane: Lane, number: u64, limit: u64) -> u64 {
    ((u128::from(bits(seed, lane, number)) * u128::from(limit)) >> 64) as u64
}
