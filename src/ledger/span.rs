//! When a stretch of messages was delivered for the first time: the earliest and the latest of them, in four bytes each.

/// A tick is 2^6 microseconds: 32 bits of them last for three days, and a gap is not told apart by less.
const TICK_BITS: u32 = 6;

/// The first deliveries of a stretch of messages lie between these two times, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    earliest: u32,
    latest: u32,
}

impl Span {
    /// Nothing was delivered yet.
    pub(super) const NONE: Self = Self { earliest: u32::MAX, latest: 0 };

    /// Takes a first delivery in, which was observed at `at_us` on the run's clock.
    #[inline]
    pub(super) fn take_in(&mut self, at_us: u64) {
        let tick = u32::try_from(at_us >> TICK_BITS).unwrap_or(u32::MAX);
        self.earliest = self.earliest.min(tick);
        self.latest = self.latest.max(tick);
    }

    /// Both stretches together.
    pub(super) fn joined(self, other: Self) -> Self {
        Self { earliest: self.earliest.min(other.earliest), latest: self.latest.max(other.latest) }
    }

    /// None of them was delivered before this, in microseconds on the run's clock.
    pub(super) fn earliest_us(self) -> u64 {
        u64::from(self.earliest) << TICK_BITS
    }

    /// All of them were delivered by then, in microseconds on the run's clock.
    pub(super) fn latest_us(self) -> u64 {
        match self.latest {
            // Beyond three days it is not known any more.
            u32::MAX => u64::MAX,
            tick => (u64::from(tick) << TICK_BITS) + ((1 << TICK_BITS) - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_span_holds_all_that_it_took_in(
            times in prop::collection::vec(prop_oneof![0..10_000_000_000u64, any::<u64>()], 1..20),
            more in prop::collection::vec(0..10_000_000_000u64, 1..20),
        ) {
            let spanned = |times: &[u64]| times.iter().fold(Span::NONE, |mut span, at| {
                span.take_in(*at);
                span
            });
            let both = [times.clone(), more.clone()].concat();
            prop_assert_eq!(spanned(&times).joined(spanned(&more)), spanned(&both));
            let span = spanned(&both);
            let (least, most) = (*both.iter().min().unwrap(), *both.iter().max().unwrap());
            prop_assert!(span.earliest_us() <= least && span.latest_us() >= most);
            let tick = 1 << TICK_BITS;
            // What overflows is a bound all the same, but no close one.
            let is_told = |at: u64| at >> TICK_BITS < u64::from(u32::MAX);
            prop_assert!(!is_told(least) || least - span.earliest_us() < tick);
            prop_assert!(!is_told(most) || span.latest_us() - most < tick);
        }
    }
}
