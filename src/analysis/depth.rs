//! How many messages lay in a queue over time, as alert rules ask: the most, how long above a threshold, how long growing.
//!
//! All of it is read off samples, one each second, from the start of the load to the audit. What happens between
//! two samples is not seen.

use crate::plan::expect::Depth;
use crate::record::{Phase, Record};

/// A sample: when, in microseconds, and how many messages.
type Sample = (i64, u64);

/// What `depth` is of the queue `queue`: messages, or microseconds. None where it was not sampled.
pub(super) fn measured(record: &Record, depth: Depth, queue: &str) -> Option<f64> {
    let samples = samples(record, queue);
    let (last, most) = (samples.last()?.1, samples.iter().map(|(_, depth)| *depth).max()?);
    Some(match depth {
        Depth::Max => most as f64,
        Depth::End => last as f64,
        Depth::Above(threshold) => longest(&samples, |_, next| next > threshold) as f64,
        Depth::Growing => growing(&samples) as f64,
    })
}

fn samples(record: &Record, queue: &str) -> Vec<Sample> {
    let starts = record.phases.iter().filter(|facts| matches!(facts.phase, Phase::Warmup | Phase::Load));
    let start_us = starts.map(|facts| facts.start_us).min().unwrap_or(0);
    // The audit reads what is left: afterwards nothing is.
    let audits = record.phases.iter().filter(|facts| facts.phase == Phase::Audit);
    let end_us = audits.map(|facts| facts.start_us).min().unwrap_or(i64::MAX);
    let is_seen = |at_us: i64| (start_us..end_us).contains(&at_us);
    let of_queue = record.queue_samples.iter().filter(|sample| sample.queue == queue && is_seen(sample.at_us));
    let mut samples: Vec<Sample> = of_queue.map(|sample| (sample.at_us, sample.ready + sample.unacked)).collect();
    samples.sort_unstable();
    samples
}

/// The longest stretch of samples in a row that all `hold`, each beside the one before it, in microseconds.
fn longest(samples: &[Sample], holds: impl Fn(u64, u64) -> bool) -> u64 {
    let (mut longest, mut since) = (0, None);
    let mut before = samples.first().map_or(0, |(_, depth)| *depth);
    for (at_us, depth) in samples {
        if holds(before, *depth) {
            let since_us = *since.get_or_insert(*at_us);
            longest = longest.max(at_us - since_us);
        } else {
            since = None;
        }
        before = *depth;
    }
    u64::try_from(longest).unwrap_or(0)
}

/// The longest stretch over which it never fell, up to where it last grew, in microseconds.
fn growing(samples: &[Sample]) -> u64 {
    let mut longest = 0;
    let Some((mut since_us, mut before)) = samples.first().copied() else { return 0 };
    for (at_us, depth) in samples {
        if *depth < before || *depth == 0 {
            since_us = *at_us;
        } else if *depth > before {
            longest = longest.max(at_us - since_us);
        }
        before = *depth;
    }
    u64::try_from(longest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{QueueSample, fixture};

    const S: i64 = 1_000_000;

    fn of(depths: &[u64], depth: Depth) -> Option<f64> {
        let mut record = fixture::record();
        let sample = |(second, ready): (usize, &u64)| QueueSample {
            at_us: (second as i64 + 1) * S,
            queue: "dead".to_owned(),
            ready: *ready,
            unacked: 0,
        };
        record.queue_samples = depths.iter().enumerate().map(sample).collect();
        measured(&record, depth, "dead")
    }

    #[test]
    fn the_most_and_the_last_are_read_off_the_samples() {
        assert_eq!(of(&[], Depth::Max), None);
        assert_eq!((of(&[0, 7, 3], Depth::Max), of(&[0, 7, 3], Depth::End)), (Some(7.0), Some(3.0)));
    }

    #[test]
    fn a_threshold_is_exceeded_for_as_long_as_all_samples_in_a_row_are_above_it() {
        let above = |depths: &[u64]| of(depths, Depth::Above(5));
        assert_eq!(above(&[0, 5, 5, 0]), Some(0.0), "it is not above");
        assert_eq!(above(&[0, 6, 9, 6, 5, 6, 7]), Some(2e6));
        assert_eq!(above(&[6]), Some(0.0), "one look is no time");
    }

    #[test]
    fn growth_lasts_until_it_falls_and_counts_up_to_where_it_last_grew() {
        let growing = |depths: &[u64]| of(depths, Depth::Growing);
        assert_eq!(growing(&[0, 1, 2, 2, 3, 3, 3]), Some(4e6));
        assert_eq!(growing(&[9, 9, 9]), Some(0.0));
        assert_eq!(growing(&[0, 1, 2, 1, 2, 3, 4]), Some(3e6));
        assert_eq!(growing(&[5, 4, 3, 0]), Some(0.0));
    }
}
