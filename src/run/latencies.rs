//! Latencies of a run, by metric and fleet.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::evidence::Evidence;
use crate::latency::{Recorder, at_percentile, histogram, listed_percentiles};
use crate::plan::{Expectation, Metric};
use crate::record::{LatencySummary, PercentilePoint, thousandths};

impl Evidence<'_> {
    pub(super) fn latencies(&self) -> Vec<LatencySummary> {
        let mut by_metric: BTreeMap<&str, Vec<(&str, &Recorder)>> = BTreeMap::new();
        for (fleet, meters) in &self.fleets.producers {
            by_metric.entry("confirm").or_default().push((fleet, &meters.confirm));
            by_metric.entry("confirm_from_send").or_default().push((fleet, &meters.confirm_from_send));
            by_metric.entry("schedule_lag").or_default().push((fleet, &meters.schedule_lag));
        }
        for (fleet, meters, _) in &self.fleets.consumers {
            by_metric.entry("head_of_line").or_default().push((fleet, &meters.head_of_line));
            by_metric.entry("end_to_end").or_default().push((fleet, &meters.end_to_end));
            by_metric.entry("end_to_end_from_send").or_default().push((fleet, &meters.end_to_end_from_send));
        }
        let named = self.named_percentiles();
        let mut summaries = Vec::new();
        for (metric, fleets) in by_metric {
            let mut all = histogram();
            for (fleet, recorder) in fleets {
                let measured = recorder.measured();
                let _ = all.add(&measured);
                summaries.push(summary(metric, fleet, &measured, &named));
            }
            summaries.push(summary(metric, "all", &all, &named));
        }
        let mut to_dead_letter = histogram();
        for counted in self.run.shared.deaths.counted().values() {
            let _ = to_dead_letter.add(&counted.times);
        }
        summaries.push(summary("time_to_dead_letter", "all", &to_dead_letter, &named));
        let (mut all_delays, mut all_late) = (histogram(), histogram());
        for (fleet, meters, _) in &self.fleets.consumers {
            let (delays, late) = meters.retries.delays();
            for (metric, of, all) in [("retry_delay", delays, &mut all_delays), ("retry_late", late, &mut all_late)] {
                let Some(of) = of.filled() else { continue };
                let _ = all.add(of);
                summaries.push(summary(metric, fleet, of, &named));
            }
        }
        summaries.push(summary("retry_delay", "all", &all_delays, &named));
        summaries.push(summary("retry_late", "all", &all_late, &named));
        summaries.retain(|summary| summary.count > 0);
        summaries
    }

    /// Percentiles that expectations name, so that each is listed exactly.
    fn named_percentiles(&self) -> Vec<f64> {
        let named = self.run.plan.expect.iter().filter_map(|expectation| match expectation {
            Expectation::Bound {
                metric: Metric::Latency { statistic: crate::plan::Statistic::Percentile(percentile), .. },
                ..
            } => Some(percentile.percent()),
            _ => None,
        });
        named.collect()
    }
}

fn summary(metric: &str, fleet: &str, histogram: &Histogram<u64>, named: &[f64]) -> LatencySummary {
    let mut percentiles: Vec<f64> = listed_percentiles().chain(named.iter().copied()).collect();
    percentiles.sort_by(f64::total_cmp);
    percentiles.dedup();
    let point = |percentile: f64| {
        let (value_us, count) = at_percentile(histogram, percentile);
        PercentilePoint { percentile, value_us, count }
    };
    LatencySummary {
        metric: metric.to_owned(),
        fleet: fleet.to_owned(),
        count: histogram.len(),
        mean_us: thousandths(histogram.mean()),
        stdev_us: thousandths(histogram.stdev()),
        percentiles: percentiles.into_iter().map(point).collect(),
    }
}
