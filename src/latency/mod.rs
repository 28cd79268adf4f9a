//! HdrHistogram recorders and the interval log.
//!
//! May use `units` only. Values are whole microseconds from 1 µs to 1 h with 3 significant digits; what is longer is
//! counted as 1 h and reported as clipped, never dropped.

mod log;

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
pub struct Recorder(Mutex<Histograms>);

struct Histograms {
    interval: IntervalHistograms,
    measured: Histogram<u64>,
    clipped: u64,
}

/// What one interval recorded, by whether it belongs to the measured load.
#[derive(Debug, Clone)]
pub struct IntervalHistograms {
    /// Samples of the measured load. Over all intervals they add up to [`Recorder::measured`].
    pub measured: Histogram<u64>,
    /// Samples of the warm-up.
    pub warmup: Histogram<u64>,
}

impl IntervalHistograms {
    fn new() -> Self {
        Self { measured: histogram(), warmup: histogram() }
    }

    /// All samples of the interval.
    pub fn all(&self) -> Histogram<u64> {
        let mut all = self.measured.clone();
        // Histograms of the same bounds always add up.
        let _ = all.add(&self.warmup);
        all
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

impl Default for Recorder {
    fn default() -> Self {
        Self(Mutex::new(Histograms { interval: IntervalHistograms::new(), measured: histogram(), clipped: 0 }))
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Histograms> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a batch of samples.
    pub fn record(&self, samples: impl IntoIterator<Item = Sample>) {
        let mut histograms = self.lock();
        for Sample { us, measured } in samples {
            histograms.clipped += u64::from(us > HIGHEST_US);
            let us = us.clamp(LOWEST_US, HIGHEST_US);
            if measured {
                histograms.interval.measured.saturating_record(us);
                histograms.measured.saturating_record(us);
            } else {
                histograms.interval.warmup.saturating_record(us);
            }
        }
    }

    /// What was recorded since the last call, which begins a new interval.
    pub fn take_interval(&self) -> IntervalHistograms {
        let mut histograms = self.lock();
        let taken = histograms.interval.clone();
        histograms.interval.measured.reset();
        histograms.interval.warmup.reset();
        taken
    }

    /// The measured load as a whole.
    pub fn measured(&self) -> Histogram<u64> {
        self.lock().measured.clone()
    }

    /// Samples longer than an hour.
    pub fn clipped(&self) -> u64 {
        self.lock().clipped
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
    let rank = (percentile / 100.0 * samples + 0.5).floor().clamp(1.0, samples.max(1.0));
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

    #[test]
    fn a_warm_up_sample_is_in_its_interval_only() {
        let recorder = Recorder::default();
        recorder.record([Sample { us: 10, measured: false }, Sample { us: 20, measured: true }]);
        let interval = recorder.take_interval();
        assert_eq!((interval.all().len(), interval.measured.len(), recorder.measured().len()), (2, 1, 1));
        assert_eq!(recorder.take_interval().all().len(), 0);
        assert_eq!(recorder.measured().len(), 1);
    }

    #[test]
    fn what_is_out_of_range_is_kept_and_counted() {
        let recorder = Recorder::default();
        recorder.record([0, 1, HIGHEST_US, HIGHEST_US + 1, u64::MAX].map(|us| Sample { us, measured: true }));
        assert_eq!((recorder.measured().len(), recorder.clipped()), (5, 2));
    }

    proptest! {
        #[test]
        fn percentiles_are_within_three_digits(mut values in prop::collection::vec(1u64..HIGHEST_US, 1..500)) {
            let mut histogram = histogram();
            values.iter().for_each(|value| histogram.saturating_record(*value));
            values.sort_unstable();
            for percentile in listed_percentiles() {
                let rank = ((percentile / 100.0 * values.len() as f64 + 0.5) as usize).clamp(1, values.len());
                let (exact, (found, _)) = (values[rank - 1], at_percentile(&histogram, percentile));
                let off = exact.abs_diff(found) as f64 / exact as f64;
                prop_assert!(off <= 0.001, "p{}: {} instead of {}", percentile, found, exact);
            }
        }
    }
}
