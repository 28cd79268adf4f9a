//! Random choices as functions: the same seed, lane and number always draw the same.
//!
//! A generator with a state would have to be replayed from the start to learn what message 7,000,000 was. These draws
//! hash their arguments instead, with the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
//! pseudorandom number generators", OOPSLA 2014), so that any part of a plan can be judged on its own.

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
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 random bits.
pub fn bits(seed: u64, lane: Lane, number: u64) -> u64 {
    let lane_seed = mix(seed.wrapping_add((lane as u64).wrapping_mul(GOLDEN)));
    mix(lane_seed.wrapping_add(number.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// A number from 0 up to, but not including, 1.
pub fn unit(seed: u64, lane: Lane, number: u64) -> f64 {
    (bits(seed, lane, number) >> 11) as f64 / (1u64 << 53) as f64
}

/// A whole number from 0 up to, but not including, `limit`; 0 where the limit is 0.
pub fn below(seed: u64, lane: Lane, number: u64, limit: u64) -> u64 {
    // Multiply and shift: biased by less than limit / 2^64.
    ((u128::from(bits(seed, lane, number)) * u128::from(limit)) >> 64) as u64
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn stays_below(seed: u64, number: u64, limit in 1u64..) {
            prop_assert!(below(seed, Lane::Size, number, limit) < limit);
        }
    }
}
