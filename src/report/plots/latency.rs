//! Latency over time and as a distribution: from the intended send, and beside it from the actual one.

use super::chart::{Chart, Look, PALETTE, Series};
use super::ticks;
use super::timeline::Timeline;
use super::{LATENCY_OVER_TIME, LATENCY_PERCENTILES};
use crate::record::{Interval, LatencyPoint, LatencySummary, Record};
use crate::report::summary::ALL_FLEETS;
use crate::report::{OutputError, series};

/// End-to-end latency over time; of several fleets or seconds at one point, the highest.
pub(in crate::report) fn latency_over_time(record: &Record) -> Result<String, OutputError> {
    let timeline = Timeline::of(record);
    let fleets = series::consumers(record);
    let rows = record.intervals.iter().filter(|interval| fleets.contains(&interval.fleet.as_str()));
    let steps = timeline.steps(rows);
    let mut shown = Vec::new();
    let mut values = Vec::new();
    type Statistic = (&'static str, fn(&LatencyPoint) -> u64);
    let statistics: [Statistic; 3] = [("p50", |p| p.p50_us), ("p99", |p| p.p99_us), ("max", |p| p.max_us)];
    for ((name, statistic), colour) in statistics.into_iter().zip(PALETTE) {
        let mut add = |from: &str, look, latency: fn(&Interval) -> Option<LatencyPoint>| {
            let points: Vec<(u64, u64)> = steps
                .iter()
                .filter_map(|(step, rows)| {
                    let samples = rows.iter().filter_map(|row| latency(row)).filter(|point| point.count > 0);
                    samples.map(|point| statistic(&point)).max().map(|us| (*step, us))
                })
                .collect();
            values.extend(points.iter().map(|(_, us)| *us));
            let lines = timeline.lines(points.into_iter().map(|(step, us)| (step, ticks::log_us(us))));
            shown.push(Series { label: Some(format!("{name} from {from} send")), colour, look, lines });
        };
        add("intended", Look::Solid, |row| row.latency);
        add("actual", Look::Dashed, |row| row.latency_from_send);
    }
    shown.retain(|series| !series.lines.is_empty());
    let of_fleets = if fleets.len() > 1 { ", highest fleet" } else { "" };
    let name = format!("latency (log scale{of_fleets}{})", timeline.thinned("highest"));
    let chart = Chart {
        file: LATENCY_OVER_TIME,
        title: "End-to-end latency over time".to_owned(),
        x: timeline.axis,
        y: ticks::log_time(&name, values.into_iter()),
        bands: timeline.bands,
        series: shown,
        bars: Vec::new(),
        keys: Vec::new(),
        if_empty: "No message was consumed: no latency to show.".to_owned(),
    };
    chart.draw()
}

/// Latency by percentile over the measured load, all fleets together.
pub(in crate::report) fn latency_percentiles(record: &Record) -> Result<String, OutputError> {
    let metrics = [
        ("end_to_end", "end to end, from intended send", PALETTE[0], Look::Solid),
        ("end_to_end_from_send", "end to end, from actual send", PALETTE[0], Look::Dashed),
        ("confirm", "confirm, from intended send", PALETTE[1], Look::Solid),
        ("confirm_from_send", "confirm, from actual send", PALETTE[1], Look::Dashed),
    ];
    let mut shown = Vec::new();
    let mut values = Vec::new();
    for (metric, label, colour, look) in metrics {
        let named = |fleet: &str| record.latency.iter().find(|s| s.metric == metric && s.fleet == fleet && s.count > 0);
        let Some(summary) = named(ALL_FLEETS) else { continue };
        values.extend(summary.percentiles.iter().map(|point| point.value_us));
        let line = distribution(summary);
        let lines = if line.is_empty() { Vec::new() } else { vec![line] };
        shown.push(Series { label: Some(label.to_owned()), colour, look, lines });
    }
    shown.retain(|series| !series.lines.is_empty());
    let end = shown.iter().flat_map(|series| series.lines.iter().flatten()).map(|(x, _)| *x).fold(2.0, f64::max);
    let chart = Chart {
        file: LATENCY_PERCENTILES,
        title: "Latency by percentile, measured load, all fleets".to_owned(),
        x: ticks::percentiles("percentile of the messages (log scale of the share above it)", end),
        y: ticks::log_time("latency (log scale)", values.into_iter()),
        bands: Vec::new(),
        series: shown,
        bars: Vec::new(),
        keys: Vec::new(),
        if_empty: "No message was confirmed or consumed in the measured load: no latency to show.".to_owned(),
    };
    chart.draw()
}

/// The distribution as a line. Its maximum has no place on the axis; it stands where one message of all would.
fn distribution(summary: &LatencySummary) -> Vec<(f64, f64)> {
    let one_of_all = (summary.count.max(10) as f64).log10().min(12.0);
    let points = summary.percentiles.iter().filter(|point| point.percentile.is_finite()).map(|point| {
        let x = if point.percentile >= 100.0 { one_of_all } else { ticks::nines(point.percentile).min(one_of_all) };
        (x, ticks::log_us(point.value_us))
    });
    points.collect()
}
