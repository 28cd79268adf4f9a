//! HdrHistogram recorders and the interval log.
//!
//! May use `units` only. Values are whole microseconds from 1 µs to 1 h with 3 significant digits; what is longer is
//! counted as 1 h and reported as clipped, never dropped.

mod log;

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;

pub use log::IntervalLog;

/// Shortest time that is told apart, in microseconds.
pub const LOWEST_US: u64 = 1;
/// Longest time that is told apart, in microseconds: one hour.
pub const HIGHEST_US: u64 = 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// An empty histogram over the whole range.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants that HdrHistogram accepts, which a test checks.
    Histogram::new_with_bounds(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
        .unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// One latency of one fleet: the current interval, and the measured load as a whole.
///
/// Recording takes one histogram, of the current interval, and allocates nothing but the warm-up's on its first sample.
/// The measured load is added up interval by interval.
#[derive(Default)]
pub struct Recorder {
    current: Mutex<Current>,
    /// The measured load up to the current interval. Locked before `current` where both are.
    past: Mutex<Distribution>,
}

#[derive(Default)]
struct Current {
    interval: IntervalHistograms,
    clipped: u64,
}

/// A histogram over the whole range that takes its memory with its first sample.
#[derive(Debug, Clone, Default)]
pub struct Distribution(Option<Histogram<u64>>);

impl Distribution {
    /// Adds a sample; what is out of the range counts as its end.
    pub fn record(&mut self, us: u64) {
        self.0.get_or_insert_with(histogram).saturating_record(us.clamp(LOWEST_US, HIGHEST_US));
    }

    /// Adds all samples of `other`.
    fn add(&mut self, other: &Self) {
        if let Some(other) = other.filled() {
            // Histograms of the same bounds always add up.
            let _ = self.0.get_or_insert_with(histogram).add(other);
        }
    }

    /// The histogram, where there is a sample in it.
    pub fn filled(&self) -> Option<&Histogram<u64>> {
        self.0.as_ref().filter(|histogram| !histogram.is_empty())
    }

    /// Drops the samples and keeps the memory.
    fn clear(&mut self) {
        if let Some(histogram) = self.0.as_mut().filter(|histogram| !histogram.is_empty()) {
            histogram.reset();
        }
    }
}

/// What one interval recorded, by whether it belongs to the measured load.
#[derive(Debug, Clone, Default)]
pub struct IntervalHistograms {
    /// Samples of the measured load. Over all intervals they add up to [`Recorder::measured`].
    pub measured: Distribution,
    /// Samples of the warm-up.
    pub warmup: Distribution,
}

impl IntervalHistograms {
    /// All samples of the interval; none where there are none.
    pub fn all(&self) -> Option<Cow<'_, Histogram<u64>>> {
        match (self.measured.filled(), self.warmup.filled()) {
            (Some(measured), Some(warmup)) => {
                let mut all = measured.clone();
                // Histograms of the same bounds always add up.
                let _ = all.add(warmup);
                Some(Cow::Owned(all))
            }
            (measured, warmup) => measured.or(warmup).map(Cow::Borrowed),
        }
    }
}

/// A sample in microseconds, and whether it belongs to the measured load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Length of time, in microseconds.
    pub us: u64,
    /// Whether the message was intended for the measured load rather than the warm-up.
    pub measured: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Records a batch of samples.
    pub fn record(&self, samples: impl IntoIterator<Item = Sample>) {
        let mut current = lock(&self.current);
        let Current { interval, clipped } = &mut *current;
        for Sample { us, measured } in samples {
            *clipped += u64::from(us > HIGHEST_US);
            let of = if measured { &mut interval.measured } else { &mut interval.warmup };
            of.record(us.clamp(LOWEST_US, HIGHEST_US));
        }
    }

    /// Puts what was recorded since the last call into `taken`, whose memory the new interval goes on with; whoever
    /// records waits for no more than that exchange.
    pub fn take_interval(&self, taken: &mut IntervalHistograms) {
        taken.measured.clear();
        taken.warmup.clear();
        let mut past = lock(&self.past);
        std::mem::swap(&mut lock(&self.current).interval, taken);
        past.add(&taken.measured);
    }

    /// The measured load as a whole.
    pub fn measured(&self) -> Histogram<u64> {
        let mut measured = Distribution::default();
        let past = lock(&self.past);
        measured.add(&past);
        measured.add(&lock(&self.current).interval.measured);
        measured.0.unwrap_or_else(histogram)
    }

    /// Samples longer than an hour.
    pub fn clipped(&self) -> u64 {
        lock(&self.current).clipped
    }
}

/// Percentiles at which a distribution is written down: each whole one, and the tail in ever finer steps.
pub fn listed_percentiles() -> impl Iterator<Item = f64> {
    (0..100).map(f64::from).chain([99.5, 99.9, 99.95, 99.99, 99.995, 99.999, 100.0])
}

/// The value at `percentile` (0 to 100) and the samples at or below it.
///
/// Of `n` samples in order it is number `percentile * n / 100`, rounded to the nearest, as HdrHistogram's own tools in
/// C and Python have it, so that they read the same percentiles out of `latency.hlog`.
pub fn at_percentile(histogram: &Histogram<u64>, percentile: f64) -> (u64, u64) {
    let samples = histogram.len() as f64;
    // In this order, as there: a quotient taken first is often not exact, and a rank that ends in a half would be missed.
    let rank = (percentile * samples / 100.0 + 0.5).floor().clamp(1.0, samples.max(1.0));
    let value = match percentile {
        0.0 => histogram.min(),
        100.0 => histogram.max(),
        // Half a rank below the one meant, so that no rounding can lead to the next.
        _ => histogram.value_at_quantile((rank - 0.5) / samples).min(histogram.max()),
    };
    (value, histogram.count_between(0, histogram.highest_equivalent(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(recorder: &Recorder) -> IntervalHistograms {
        let mut taken = IntervalHistograms::default();
        recorder.take_interval(&mut taken);
        taken
    }

    #[test]
    fn a_warm_up_sample_is_in_its_interval_only() {
        let recorder = Recorder::default();
        recorder.record([Sample { us: 10, measured: false }, Sample { us: 20, measured: true }]);
        let interval = taken(&recorder);
        let len = |distribution: &Distribution| distribution.filled().map_or(0, Histogram::len);
        assert_eq!((len(&interval.measured), len(&interval.warmup), recorder.measured().len()), (1, 1, 1));
        assert_eq!(interval.all().map(|all| all.len()), Some(2));
        assert!(taken(&recorder).all().is_none());
        assert_eq!(recorder.measured().len(), 1);
    }

    #[test]
    fn a_rank_that_ends_in_a_half_is_rounded_up() {
        // 70 % of 715 is 500.5, and 0.7 × 715 is a little less where numbers are binary.
        let mut histogram = histogram();
        (1..=715u64).for_each(|us| histogram.saturating_record(us));
        assert_eq!(at_percentile(&histogram, 70.0), (501, 501));
    }

    #[test]
    fn what_is_out_of_range_is_kept_and_counted() {
        let recorder = Recorder::default();
        recorder.record([0, 1, HIGHEST_US, HIGHEST_US + 1, u64::MAX].map(|us| Sample { us, measured: true }));
        assert_eq!((recorder.measured().len(), recorder.clipped()), (5, 2));
    }

    proptest! {
        #[test]
        fn intervals_add_up_to_the_measured_load(
            intervals in prop::collection::vec(prop::collection::vec((0..2 * HIGHEST_US, any::<bool>()), 0..20), 0..6),
        ) {
            // The memory of an interval is used again: nothing of an earlier one may stay in it.
            let (recorder, mut interval, mut whole) = (Recorder::default(), IntervalHistograms::default(), histogram());
            for samples in &intervals {
                let mut expected = IntervalHistograms::default();
                for (us, measured) in samples.iter().copied() {
                    recorder.record([Sample { us, measured }]);
                    let of = if measured { &mut expected.measured } else { &mut expected.warmup };
                    of.record(us.clamp(LOWEST_US, HIGHEST_US));
                    if measured {
                        whole.saturating_record(us.clamp(LOWEST_US, HIGHEST_US));
                    }
                    prop_assert_eq!(&recorder.measured(), &whole);
                }
                recorder.take_interval(&mut interval);
                prop_assert_eq!(interval.measured.filled(), expected.measured.filled());
                prop_assert_eq!(interval.warmup.filled(), expected.warmup.filled());
                let (measured, exact) = (recorder.measured(), &whole);
                prop_assert_eq!((measured.min(), measured.max(), measured.len()), (exact.min(), exact.max(), exact.len()));
            }
        }

        #[test]
        fn percentiles_are_within_three_digits(mut values in prop::collection::vec(1u64..HIGHEST_US, 1..500)) {
            let mut histogram = histogram();
            values.iter().for_each(|value| histogram.saturating_record(*value));
            values.sort_unstable();
            for percentile in listed_percentiles() {
                let rank = ((percentile * values.len() as f64 / 100.0 + 0.5) as usize).clamp(1, values.len());
                let (exact, (found, _)) = (values[rank - 1], at_percentile(&histogram, percentile));
                let off = exact.abs_diff(found) as f64 / exact as f64;
                prop_assert!(off <= 0.001, "p{}: {} instead of {}", percentile, found, exact);
            }
        }
    }
}
