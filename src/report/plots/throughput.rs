//! Messages per second by fleet: planned, published, confirmed and consumed.

use super::THROUGHPUT;
use super::chart::{Chart, INK, Look, PALETTE, Series};
use super::ticks;
use super::timeline::Timeline;
use crate::plan::{ProducerFleet, Schedule};
use crate::record::{Interval, Record};
use crate::report::{OutputError, series};

/// With more fleets than this, all producers are one line and all consumers another.
const FLEETS_MAX: usize = PALETTE.len();

/// Messages per second over time.
pub(in crate::report) fn throughput(record: &Record) -> Result<String, OutputError> {
    let timeline = Timeline::of(record);
    let (producers, consumers) = (series::producers(record), series::consumers(record));
    let together = producers.len() + consumers.len() > FLEETS_MAX;
    let group = |fleets: Vec<&str>, all: &str| -> Vec<(String, Vec<String>)> {
        let owned: Vec<String> = fleets.into_iter().map(str::to_owned).collect();
        if together { vec![(all.to_owned(), owned)] } else { owned.into_iter().map(|f| (f.clone(), vec![f])).collect() }
    };
    let (producers, consumers) = (group(producers, "all producers"), group(consumers, "all consumers"));
    let has_intervals = !record.intervals.is_empty();
    let mut shown = if has_intervals { planned(record, &timeline, together) } else { Vec::new() };
    let groups = producers.iter().map(|group| (group, true)).chain(consumers.iter().map(|group| (group, false)));
    for (((name, fleets), is_producer), colour) in groups.zip(PALETTE) {
        let mut add = |word: &str, look, count: fn(&Interval) -> u64| {
            let lines = timeline.lines(rates(record, &timeline, fleets, count).into_iter());
            shown.push(Series { label: Some(format!("{name} {word}")), colour, look, lines });
        };
        if is_producer {
            add("published", Look::Solid, |i| i.published);
            add("confirmed", Look::Dashed, |i| i.confirmed);
        } else {
            add("consumed", Look::Solid, |i| i.consumed);
        }
    }
    shown.retain(|series| !series.lines.is_empty());
    let points = shown.iter().flat_map(|series| series.lines.iter().flatten());
    let most = points.map(|(_, rate)| *rate).fold(0.0, f64::max);
    let name = format!("messages per second{}", timeline.thinned("mean"));
    let chart = Chart {
        file: THROUGHPUT,
        title: "Throughput by fleet".to_owned(),
        x: timeline.axis,
        y: ticks::linear(&name, most),
        bands: timeline.bands,
        series: shown,
        bars: Vec::new(),
        keys: Vec::new(),
        if_empty: "No message was sent or received.".to_owned(),
    };
    chart.draw()
}

/// Messages per second of `fleets` together, by step.
fn rates(record: &Record, timeline: &Timeline, fleets: &[String], count: fn(&Interval) -> u64) -> Vec<(u64, f64)> {
    let rows = record.intervals.iter().filter(|interval| fleets.contains(&interval.fleet));
    let steps = timeline.steps(rows).into_iter().map(|(step, rows)| {
        // Each fleet has its own row of the same second: the time is that of one of them.
        let first = rows.first().map_or("", |row| row.fleet.as_str());
        let length_us: f64 = rows.iter().filter(|row| row.fleet == first).map(|row| row.length_us as f64).sum();
        let messages: f64 = rows.iter().map(|row| count(row) as f64).sum();
        (step, messages / (length_us / 1e6))
    });
    steps.collect()
}

/// The offered load as the plan has it: one line for each fleet, or one for all together.
fn planned(record: &Record, timeline: &Timeline, together: bool) -> Vec<Series> {
    let rows = timeline.steps(record.intervals.iter());
    let of_fleet = |fleet: &ProducerFleet| -> Option<Vec<(u64, f64)>> {
        let profile = fleet.rate.as_ref()?;
        let messages: Option<Vec<u64>> = fleet.publishers.iter().map(|publisher| publisher.messages).collect();
        let limit = messages.map(|each| each.iter().sum());
        let load = &record.plan.load;
        let schedule = Schedule::new(profile, load.warmup_us, (0, 1), 0, load.end_us(), limit);
        let rates = rows.keys().map(|step| {
            let (start, end) = timeline.span_us(*step);
            let due = schedule.planned_before(end).saturating_sub(schedule.planned_before(start));
            (*step, due as f64 / ((end - start) as f64 / 1e6))
        });
        Some(rates.collect())
    };
    let mut fleets: Vec<Vec<(u64, f64)>> = record.plan.producers.iter().filter_map(of_fleet).collect();
    if together {
        let sum = fleets.into_iter().reduce(|mut sum, next| {
            sum.iter_mut().zip(next).for_each(|(sum, next)| sum.1 += next.1);
            sum
        });
        fleets = sum.into_iter().collect();
    }
    let lines = fleets.into_iter().map(|rates| timeline.lines(rates.into_iter())).collect::<Vec<_>>().concat();
    vec![Series { label: Some("planned".to_owned()), colour: INK, look: Look::Thin, lines }]
}
