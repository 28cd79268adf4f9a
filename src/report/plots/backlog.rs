//! What waits in the queues, as the broker tells.

use std::collections::BTreeMap;

use super::BACKLOG;
use super::chart::{Chart, Look, OTHERS, PALETTE, Series};
use super::ticks;
use super::timeline::Timeline;
use crate::record::Record;
use crate::report::OutputError;

/// Queues with a line of their own; the others are summed.
const QUEUES_MAX: usize = 8;

/// Ready and unacknowledged messages of one queue, by step.
type Depths = BTreeMap<u64, (u64, u64)>;

/// Ready and unacknowledged messages over time, of the busiest queues.
pub(in crate::report) fn backlog(record: &Record) -> Result<String, OutputError> {
    let timeline = Timeline::of(record);
    let mut queues: BTreeMap<&str, Depths> = BTreeMap::new();
    for sample in &record.queue_samples {
        let Some(step) = timeline.step_of(sample.at_us) else { continue };
        let depth = queues.entry(&sample.queue).or_default().entry(step).or_default();
        *depth = (depth.0.max(sample.ready), depth.1.max(sample.unacked));
    }
    let mut queues: Vec<(String, Depths)> =
        queues.into_iter().map(|(name, depths)| (name.to_owned(), depths)).collect();
    // The busiest first; the sort is stable, so that queues alike stay in the order of their names.
    queues.sort_by_key(|(_, depths)| {
        std::cmp::Reverse(depths.values().map(|(ready, unacked)| *ready.max(unacked)).max())
    });
    let others = queues.split_off(queues.len().min(QUEUES_MAX));
    let count = others.len();
    let coloured = queues.into_iter().zip(PALETTE);
    let rest = (count > 0).then(|| ((format!("{count} other queues"), sum(others)), OTHERS));
    let mut shown = Vec::new();
    for ((name, depths), colour) in coloured.chain(rest) {
        let mut add = |label, look, of: fn(&(u64, u64)) -> u64| {
            let lines = timeline.lines(depths.iter().map(|(step, depth)| (*step, of(depth) as f64)));
            shown.push(Series { label, colour, look, lines });
        };
        add(Some(name), Look::Solid, |depth| depth.0);
        add(None, Look::Dashed, |depth| depth.1);
    }
    shown.retain(|series| !series.lines.is_empty());
    let most =
        shown.iter().flat_map(|series| series.lines.iter().flatten()).map(|(_, depth)| *depth).fold(0.0, f64::max);
    let name = format!("messages (solid ready, dashed unacked{})", timeline.thinned("most"));
    let chart = Chart {
        file: BACKLOG,
        title: "Backlog by queue, as the broker tells".to_owned(),
        x: timeline.axis,
        y: ticks::linear(&name, most),
        bands: timeline.bands,
        series: shown,
        bars: Vec::new(),
        keys: Vec::new(),
        if_empty: "No queue was sampled.".to_owned(),
    };
    chart.draw()
}

fn sum(queues: Vec<(String, Depths)>) -> Depths {
    let mut sum = Depths::new();
    for (step, (ready, unacked)) in queues.into_iter().flat_map(|(_, depths)| depths) {
        let depth = sum.entry(step).or_default();
        *depth = (depth.0.saturating_add(ready), depth.1.saturating_add(unacked));
    }
    sum
}
