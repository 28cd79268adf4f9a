//! Divisions of whole numbers whose parts sum up exactly.

/// What the one in `place` of `parts` gets when `total` things are dealt out in turn.
pub(super) fn in_turn(total: u64, place: u64, parts: u64) -> u64 {
    total / parts + u64::from(place < total % parts)
}

/// `total` in proportion to `weights`, which are not negative and not all 0.
pub(super) fn in_proportion(total: u64, weights: &[f64]) -> Vec<u64> {
    let whole: f64 = weights.iter().sum();
    let mut summed = 0.0;
    let mut given = 0;
    let last = weights.len().saturating_sub(1);
    weights
        .iter()
        .enumerate()
        .map(|(place, weight)| {
            summed += weight;
            // Each part ends where the running sum says, rounded, so that no rounding adds up.
            let end = if place == last { total } else { ((total as f64 * (summed / whole)).round() as u64).min(total) };
            let part = end.saturating_sub(given);
            given = given.max(end);
            part
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_follow_the_weights() {
        assert_eq!(in_proportion(1000, &[3.0, 1.0]), [750, 250]);
        assert_eq!(in_proportion(10, &[1.0, 1.0, 1.0]), [3, 4, 3]);
        assert_eq!((0..3).map(|place| in_turn(10, place, 3)).collect::<Vec<_>>(), [4, 3, 3]);
    }

    proptest! {
        #[test]
        fn proportions_sum_up(total: u64, weights in prop::collection::vec(1e-3f64..1e9, 1..20)) {
            let parts = in_proportion(total, &weights);
            prop_assert_eq!(parts.iter().map(|&part| u128::from(part)).sum::<u128>(), u128::from(total));
        }

        #[test]
        fn a_part_is_near_its_share(total in 0u64..1_000_000_000, weights in prop::collection::vec(1e-3f64..1e9, 1..20)) {
            let whole: f64 = weights.iter().sum();
            for (part, weight) in in_proportion(total, &weights).into_iter().zip(&weights) {
                prop_assert!((part as f64 - total as f64 * weight / whole).abs() <= 1.01, "{part} of {total}");
            }
        }

        #[test]
        fn turns_sum_up_as_the_schedule_deals_them(total in 0u64..5000, parts in 1u64..70) {
            let dealt: Vec<_> = (0..parts).map(|place| in_turn(total, place, parts)).collect();
            prop_assert_eq!(dealt.iter().sum::<u64>(), total);
            for (place, count) in dealt.into_iter().enumerate() {
                prop_assert_eq!(count, (0..total).filter(|k| k % parts == place as u64).count() as u64);
            }
        }
    }
}
