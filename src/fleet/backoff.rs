//! How long to wait before the next attempt to connect: exponential, with jitter from the plan's seed.

use std::time::Duration;

use crate::plan::draw;

const FIRST_MS: u64 = 50;
const LONGEST_MS: u64 = 5_000;

/// The wait before attempt `attempt` (from 0): a random time up to 50 ms, 100 ms, 200 ms … 5 s ("full jitter"), so
/// that the members of a fleet that were cut off together do not come back together.
pub(super) fn wait(seed: u64, attempt: u64) -> Duration {
    let longest = FIRST_MS.saturating_mul(1 << attempt.min(10)).min(LONGEST_MS);
    let jitter = draw::unit(seed, draw::Lane::Backoff, attempt);
    Duration::from_micros((longest as f64 * 1000.0 * (0.5 + jitter / 2.0)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_differs_by_seed() {
        let waits: Vec<_> = (0..20).map(|attempt| wait(1, attempt)).collect();
        assert!(waits[0] >= Duration::from_millis(25) && waits[0] <= Duration::from_millis(50));
        assert!(waits[4] > waits[0]);
        assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(LONGEST_MS)));
        assert_ne!(wait(1, 3), wait(2, 3));
    }
}
