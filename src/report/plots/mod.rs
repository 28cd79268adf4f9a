//! Plots as SVG: a plot says what is shown ([`chart::Chart`]), the chart draws it.
//!
//! Text stays text, in whatever sans-serif font the reader has. A record without data gives a plot that says so.

mod backlog;
mod chart;
mod dead_letters;
mod latency;
mod throughput;
mod ticks;
mod timeline;

pub(super) use backlog::backlog;
pub(super) use dead_letters::dead_letters;
pub(super) use latency::{latency_over_time, latency_percentiles};
pub(super) use throughput::throughput;

pub(super) const THROUGHPUT: &str = "plots/throughput.svg";
pub(super) const LATENCY_OVER_TIME: &str = "plots/latency_over_time.svg";
pub(super) const LATENCY_PERCENTILES: &str = "plots/latency_percentiles.svg";
pub(super) const BACKLOG: &str = "plots/backlog.svg";
pub(super) const DEAD_LETTERS: &str = "plots/dead_letters.svg";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, fixture};
    use crate::report::{OutputError, figure};

    type Plot = fn(&Record) -> Result<String, OutputError>;
    const PLOTS: [(&str, Plot); 5] = [
        (THROUGHPUT, throughput),
        (LATENCY_OVER_TIME, latency_over_time),
        (LATENCY_PERCENTILES, latency_percentiles),
        (BACKLOG, backlog),
        (DEAD_LETTERS, dead_letters),
    ];

    #[test]
    fn plots_of_the_fixture() {
        let record = fixture::record();
        for (file, plot) in PLOTS {
            insta::assert_snapshot!(file.replace("plots/", ""), plot(&record).expect("drawn"));
        }
    }

    #[test]
    fn a_record_without_data_gives_plots_that_say_so() {
        for (file, plot) in PLOTS {
            let svg = plot(&fixture::empty()).expect("drawn");
            assert!(svg.contains("No "), "{file}: {svg}");
        }
    }

    /// Sets every figure of the record that a plot reads.
    fn filled(count: u64, real: f64) -> Record {
        let mut record = fixture::record();
        for interval in &mut record.intervals {
            (interval.published, interval.confirmed, interval.consumed) = (count, count, count);
            interval.latency = interval.latency.map(|_| crate::record::LatencyPoint {
                count,
                p50_us: count,
                p99_us: count,
                max_us: count,
            });
            interval.latency_from_send = interval.latency;
        }
        for summary in &mut record.latency {
            (summary.count, summary.mean_us) = (count, real);
            summary.percentiles.iter_mut().for_each(|point| (point.value_us, point.percentile) = (count, real));
        }
        record.queue_samples.iter_mut().for_each(|sample| (sample.ready, sample.unacked) = (count, count));
        record.dead_letters.iter_mut().for_each(|row| (row.actual, row.expected) = (count, Some(count)));
        record
    }

    #[test]
    fn no_figure_makes_a_plot_fail() {
        for record in [
            filled(0, 0.0),
            filled(1, f64::NAN),
            filled(u64::MAX, f64::INFINITY),
            filled(7, f64::NEG_INFINITY),
            filled(u64::MAX / 3, 100.0),
        ] {
            for (file, plot) in PLOTS {
                let svg = plot(&record).expect(file);
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{file}");
            }
        }
    }

    #[test]
    fn one_second_is_enough() {
        let mut record = fixture::record();
        record.intervals.truncate(4);
        record.queue_samples.truncate(1);
        record.phases.clear();
        for (file, plot) in PLOTS {
            assert!(plot(&record).expect(file).ends_with("</svg>\n"), "{file}");
        }
    }

    #[test]
    fn times_of_any_length_are_drawn() {
        for end_us in [0, 1, u64::MAX] {
            let mut record = fixture::record();
            record.intervals.truncate(2);
            record.intervals[1].start_us = end_us;
            record.intervals[1].length_us = end_us;
            for (file, plot) in PLOTS {
                plot(&record).expect(file);
            }
        }
    }

    #[test]
    fn a_long_run_makes_no_longer_plot() {
        let mut record = fixture::record();
        let minute = record.intervals.clone();
        for round in 1..200 {
            record.intervals.extend(minute.iter().cloned().map(|mut interval| {
                interval.start_us += round * 67_000_000;
                interval
            }));
        }
        let svg = throughput(&record).expect("drawn");
        assert!(svg.len() < 150_000, "{} bytes", svg.len());
    }

    #[test]
    fn many_queues_and_fleets_stay_legible() {
        let mut record = fixture::record();
        let samples = record.queue_samples.clone();
        let fleets = record.plan.producers.clone();
        let intervals = record.intervals.clone();
        for copy in 1..4 {
            record.queue_samples.extend(samples.iter().cloned().map(|mut sample| {
                sample.queue = format!("{}.{copy}", sample.queue);
                sample
            }));
            record.plan.producers.extend(fleets.iter().cloned().map(|mut fleet| {
                fleet.name = format!("{}.{copy}", fleet.name);
                fleet
            }));
            record.intervals.extend(intervals.iter().filter(|i| i.published > 0).cloned().map(|mut interval| {
                interval.fleet = format!("{}.{copy}", interval.fleet);
                interval
            }));
        }
        let (queues, rates) = (backlog(&record).expect("drawn"), throughput(&record).expect("drawn"));
        assert!(queues.contains("12 other queues"), "eight of twenty have a line of their own");
        assert!(rates.contains("all producers published") && rates.contains("all consumers consumed"));
    }

    #[test]
    fn names_are_text_and_nothing_else() {
        let mut record = fixture::record();
        let hostile = "<script>alert(1)</script>&\"'\u{1}";
        record.intervals.iter_mut().for_each(|interval| interval.fleet = hostile.to_owned());
        record.plan.producers.iter_mut().for_each(|fleet| fleet.name = hostile.to_owned());
        record.plan.consumers.clear();
        record.queue_samples.iter_mut().for_each(|sample| sample.queue = hostile.to_owned());
        record.dead_letters.iter_mut().for_each(|row| row.queue = hostile.to_owned());
        record.faults[0].kind = hostile.to_owned();
        for (file, plot) in PLOTS {
            let svg = plot(&record).expect(file);
            assert!(!svg.contains("<script") && !svg.contains('\u{1}'), "{file}");
        }
        assert!(throughput(&record).expect("drawn").contains("&lt;script"));
    }

    #[test]
    fn counts_on_bars_are_those_of_the_tables() {
        let svg = dead_letters(&fixture::record()).expect("drawn");
        for row in fixture::record().dead_letters {
            assert!(svg.contains(&figure::shown(row.actual, "messages")), "{}", row.actual);
        }
    }
}
