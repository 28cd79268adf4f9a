//! Random choices of a plan, as functions of seed, lane and number ([`crate::units::draw`]), so that any part of a plan can be
//! judged on its own.

use crate::units::draw;

/// What is drawn; draws of different lanes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Lane {
    /// The seed of a publisher.
    Publisher = 1,
    /// The seed of a subscriber.
    Subscriber = 2,
    /// A random start.
    Start = 3,
    /// A message's route.
    Route = 4,
    /// A message's size.
    Size = 5,
    /// A message's body.
    Body = 6,
    /// The simulated work of a delivery.
    Work = 7,
    /// A `{{uuid}}`.
    Uuid = 8,
    /// Jitter of a reconnect.
    Backoff = 9,
    /// When a fault at a random time begins.
    Fault = 10,
    /// What a proxy draws.
    Proxy = 11,
    /// Which messages a consumer fails.
    Fail = 12,
    /// Which members of a fleet a fault is for.
    Members = 13,
    /// How long a message waits before it is tried again.
    Retry = 14,
}

/// 64 random bits.
pub fn bits(seed: u64, lane: Lane, number: u64) -> u64 {
    draw::bits(seed, lane as u64, number)
}

/// A number from 0 up to, but not including, 1.
pub fn unit(seed: u64, lane: Lane, number: u64) -> f64 {
    draw::unit(seed, lane as u64, number)
}

/// A whole number from 0 up to, but not including, `limit`; 0 where the limit is 0.
pub fn below(seed: u64, lane: Lane, number: u64, limit: u64) -> u64 {
    draw::below(seed, lane as u64, number, limit)
}

/// The place of the choice that `unit` (from 0 to 1) falls on.
pub fn weighted(unit: f64, weights: impl Iterator<Item = f64> + Clone) -> usize {
    let total: f64 = weights.clone().sum();
    let mut left = unit * total;
    let mut last = 0;
    for (place, weight) in weights.enumerate() {
        if weight <= 0.0 {
            continue;
        }
        last = place;
        if left < weight {
            return place;
        }
        left -= weight;
    }
    last
}

/// The element whose turn it is; none of an empty list.
pub fn in_turn<T: Copy>(list: &[T], number: u64) -> Option<T> {
    (!list.is_empty()).then(|| list[(number % list.len() as u64) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_fixed_for_ever() {
        // A change here changes every plan: records of the same scenario and seed would no longer compare.
        assert_eq!(bits(42, Lane::Route, 0), 3_676_294_358_273_406_211);
        assert_eq!(bits(42, Lane::Size, 1_000_000), 1_791_792_904_754_555_678);
    }

    #[test]
    fn weights_are_kept() {
        let drawn = (0..100_000).map(|n| weighted(unit(7, Lane::Route, n), [8.0, 0.0, 2.0].into_iter()));
        let mut counts = [0; 3];
        drawn.for_each(|place| counts[place] += 1);
        assert_eq!(counts[1], 0);
        assert!((79_000..81_000).contains(&counts[0]), "{counts:?}");
    }
}
