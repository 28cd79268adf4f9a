//! Random choices as functions: the same seed, lane and number always draw the same.
//!
//! A generator with a state would have to be replayed from the start to learn what number 7,000,000 was. These draws hash
//! their arguments instead, with the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", OOPSLA 2014). Which lanes there are is for those who draw to say; draws of different ones are independent.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 random bits.
pub fn bits(seed: u64, lane: u64, number: u64) -> u64 {
    let lane_seed = mix(seed.wrapping_add(lane.wrapping_mul(GOLDEN)));
    mix(lane_seed.wrapping_add(number.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// A number from 0 up to, but not including, 1.
pub fn unit(seed: u64, lane: u64, number: u64) -> f64 {
    (bits(seed, lane, number) >> 11) as f64 / (1u64 << 53) as f64
}

/// A whole number from 0 up to, but not including, `limit`; 0 where the limit is 0.
pub fn below(seed: u64, lane: u64, number: u64, limit: u64) -> u64 {
    // Multiply and shift: biased by less than limit / 2^64.
    ((u128::from(bits(seed, lane, number)) * u128::from(limit)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn draws_are_fixed_for_ever() {
        // A change here changes every plan and what every proxy does: runs of the same seed would no longer compare.
        assert_eq!(bits(42, 4, 0), 3_676_294_358_273_406_211);
        assert_eq!(bits(42, 5, 1_000_000), 1_791_792_904_754_555_678);
    }

    proptest! {
        #[test]
        fn stays_below(seed: u64, lane: u64, number: u64, limit in 1u64..) {
            prop_assert!(below(seed, lane, number, limit) < limit);
            prop_assert!((0.0..1.0).contains(&unit(seed, lane, number)));
        }
    }
}
