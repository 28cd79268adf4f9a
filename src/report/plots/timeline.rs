//! The run's clock as an axis, with phases and faults behind it, and rows thinned to what a plot can show.

use std::collections::BTreeMap;

use super::chart::{Band, BandKind};
use super::ticks::{self, Axis};
use crate::record::{Interval, Phase, Record};

/// More points than this on one line are not seen apart.
const POINTS_MAX: u64 = 400;

/// What all plots over time share.
pub(super) struct Timeline {
    pub(super) axis: Axis,
    pub(super) bands: Vec<Band>,
    /// Rows that begin in the same step are one point.
    step_us: u64,
}

impl Timeline {
    pub(super) fn of(record: &Record) -> Self {
        let intervals = record.intervals.iter().map(|i| i.start_us.saturating_add(i.length_us));
        let phases = record.phases.iter().map(|facts| facts.end_us.try_into().unwrap_or(0));
        let end_us = intervals.chain(phases).max().unwrap_or(0);
        Self {
            axis: ticks::clock(end_us as f64 / 1e6),
            bands: bands(record, end_us as f64 / 1e6),
            step_us: end_us.div_ceil(POINTS_MAX).div_ceil(1_000_000).max(1).saturating_mul(1_000_000),
        }
    }

    /// What stands behind the name of a vertical axis where points are more than a second apart.
    pub(super) fn thinned(&self, how: &str) -> String {
        match self.step_us / 1_000_000 {
            1 => String::new(),
            seconds => format!(", {how} of {seconds} s"),
        }
    }

    /// Rows of the same step together, by the step's number.
    pub(super) fn steps<'a>(&self, rows: impl Iterator<Item = &'a Interval>) -> BTreeMap<u64, Vec<&'a Interval>> {
        let mut steps: BTreeMap<u64, Vec<&Interval>> = BTreeMap::new();
        rows.for_each(|row| steps.entry(row.start_us / self.step_us).or_default().push(row));
        steps
    }

    /// The number of the step in which something at `at_us` falls; none: before the clock began.
    pub(super) fn step_of(&self, at_us: i64) -> Option<u64> {
        u64::try_from(at_us).ok().map(|at_us| at_us / self.step_us)
    }

    /// Start and end of a step, in microseconds.
    pub(super) fn span_us(&self, step: u64) -> (u64, u64) {
        let start = step.saturating_mul(self.step_us);
        (start, start.saturating_add(self.step_us))
    }

    /// Where the points of a step are drawn, in seconds.
    pub(super) fn middle_s(&self, step: u64) -> f64 {
        let (start, end) = self.span_us(step);
        ((start as f64 + end as f64) / 2e6).min(self.axis.to)
    }

    /// Points that follow each other without a gap, as lines.
    pub(super) fn lines(&self, points: impl Iterator<Item = (u64, f64)>) -> Vec<Vec<(f64, f64)>> {
        let mut lines: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut next = None;
        for (step, value) in points.filter(|(_, value)| value.is_finite()) {
            let point = (self.middle_s(step), value);
            match lines.last_mut() {
                Some(line) if next == Some(step) => line.push(point),
                _ => lines.push(vec![point]),
            }
            next = step.checked_add(1);
        }
        lines
    }
}

fn bands(record: &Record, end_s: f64) -> Vec<Band> {
    let is_shown = |phase: Phase| match phase {
        // One of no length is over within moments, and no part of the picture.
        Phase::Warmup => record.plan.load.warmup_us > 0,
        Phase::Heal | Phase::Drain | Phase::Redrive | Phase::Audit => true,
        Phase::Broker | Phase::Topology | Phase::Load => false,
    };
    let phases = record.phases.iter().filter(|facts| is_shown(facts.phase) && facts.end_us > 0);
    let phases = phases.map(|facts| Band {
        from: (facts.start_us as f64 / 1e6).clamp(0.0, end_s),
        to: (facts.end_us as f64 / 1e6).clamp(0.0, end_s),
        label: facts.phase.to_string(),
        kind: BandKind::Phase,
    });
    let faults = record.faults.iter().filter_map(|fault| {
        let from = fault.started_us? as f64 / 1e6;
        // What was never healed lasts to the end.
        let to = fault.healed_us.map_or(end_s, |healed| healed as f64 / 1e6);
        Some(Band {
            from: from.clamp(0.0, end_s),
            to: to.clamp(0.0, end_s),
            label: fault.kind.clone(),
            kind: BandKind::Fault,
        })
    });
    faults.chain(phases).filter(|band| band.from <= band.to).collect()
}
