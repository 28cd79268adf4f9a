//! How a run recovers from faults, read from what all fleets together had done at each moment. Pure.

use crate::record::{FaultCost, FaultRow};

/// Two looks are at least so far apart, in microseconds.
const EVERY_US: u64 = 50_000;
/// Most looks that are kept: over an hour. Where there are more, every other one is dropped, and they come half as often.
const LIMIT: usize = 80_000;
/// What a rate is measured over, in microseconds.
const SPAN_US: u64 = 1_000_000;
/// Spans before a fault that are looked at: so many, or fewer as long as they are steady.
const SPANS_BEFORE: std::ops::RangeInclusive<u64> = 2..=5;
/// Below this many a second a single message is too much of a rate.
const LEAST_PER_S: f64 = 20.0;

/// What all fleets together had done by one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// On the run's clock, in microseconds.
    pub(super) at_us: u64,
    /// Messages confirmed; where confirms are off, sent.
    pub(super) answered: u64,
    /// Copies consumed.
    pub(super) consumed: u64,
    /// Copies published and not yet consumed.
    pub(super) backlog: u64,
}

/// Looks in order of time.
#[derive(Debug, Clone)]
pub(super) struct Looks {
    taken: Vec<Look>,
    every_us: u64,
    limit: usize,
}

impl Default for Looks {
    fn default() -> Self {
        Self { taken: Vec::new(), every_us: EVERY_US, limit: LIMIT }
    }
}

/// What is read of looks for one fault.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Recovery {
    answered_per_s: Option<f64>,
    consumed_per_s: Option<f64>,
    restored_us: Option<u64>,
    backlog_before: Option<u64>,
    backlog_peak: u64,
    drained_us: Option<u64>,
}

/// When a fault did what, on the run's clock, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Times {
    started: u64,
    undone: u64,
    /// Where its window ends.
    until: u64,
    load_end: u64,
}

/// A count of a look.
type Count = fn(&Look) -> u64;

impl Looks {
    /// Whether it is time for another look.
    pub(super) fn is_due(&self, at_us: u64) -> bool {
        self.taken.last().is_none_or(|last| at_us >= last.at_us + self.every_us)
    }

    /// Takes a look that is due.
    pub(super) fn push(&mut self, look: Look) {
        if self.taken.len() == self.limit {
            let mut keeps = false;
            self.taken.retain(|_| {
                keeps = !keeps;
                keeps
            });
            self.every_us *= 2;
        }
        self.taken.push(look);
    }

    fn from(&self, at_us: u64) -> &[Look] {
        &self.taken[self.taken.partition_point(|look| look.at_us < at_us)..]
    }

    /// What had been counted by `at_us`, taken to grow evenly between two looks; none before the first and after the last.
    fn at(&self, count: Count, at_us: u64) -> Option<f64> {
        let next = self.taken.partition_point(|look| look.at_us < at_us);
        let after = self.taken.get(next)?;
        if after.at_us == at_us {
            return Some(count(after) as f64);
        }
        let before = &self.taken[next.checked_sub(1)?];
        let share = (at_us - before.at_us) as f64 / (after.at_us - before.at_us) as f64;
        Some(count(before) as f64 + (count(after) - count(before)) as f64 * share)
    }

    /// Messages in the span that begins at `from_us`.
    fn in_span(&self, count: Count, from_us: u64) -> Option<f64> {
        Some(self.at(count, from_us + SPAN_US)? - self.at(count, from_us)?)
    }

    /// The rate before `at_us`, where it was steady.
    fn steady_before(&self, count: Count, at_us: u64) -> Option<f64> {
        SPANS_BEFORE.rev().find_map(|spans| {
            let span = |number| self.in_span(count, at_us.checked_sub(number * SPAN_US)?);
            let counts: Vec<f64> = (1..=spans).map(span).collect::<Option<_>>()?;
            let mean = counts.iter().sum::<f64>() / spans as f64;
            let least = counts.iter().copied().fold(f64::INFINITY, f64::min);
            (mean >= LEAST_PER_S && least >= FaultCost::RESTORED_SHARE * mean).then_some(mean)
        })
    }

    /// The first look from `from_us` on after which each of `rates` is back for as long as it has to be, before `end_us`. It
    /// is early by less than a second where what was held up comes all at once.
    fn restored(&self, rates: &[(Count, f64)], from_us: u64, end_us: u64) -> Option<u64> {
        if rates.is_empty() {
            return None;
        }
        let is_back = |at_us: u64| {
            (0..FaultCost::SUSTAINED_S).all(|number| {
                rates.iter().all(|(count, before)| {
                    let here = self.in_span(*count, at_us + number * SPAN_US);
                    here.is_some_and(|here| here >= FaultCost::RESTORED_SHARE * before)
                })
            })
        };
        let last_us = end_us.checked_sub(FaultCost::SUSTAINED_S * SPAN_US)?;
        // The moment itself first: where nothing was disturbed, no time has passed.
        let looks = self.from(from_us).iter().map(|look| look.at_us);
        std::iter::once(from_us).chain(looks).take_while(|at_us| *at_us <= last_us).find(|at_us| is_back(*at_us))
    }

    /// The first look with the largest backlog.
    fn most_between(&self, from_us: u64, until_us: u64) -> Option<&Look> {
        let looks = self.from(from_us).iter().take_while(|look| look.at_us <= until_us);
        looks.reduce(|most, look| if look.backlog > most.backlog { look } else { most })
    }

    /// Reads how a fault was recovered from; `gone` copies will never be consumed.
    fn recovery(&self, times: Times, gone: u64) -> Recovery {
        let (answered, consumed): (Count, Count) = (|look| look.answered, |look| look.consumed);
        let answered_per_s = self.steady_before(answered, times.started);
        let consumed_per_s = self.steady_before(consumed, times.started);
        let rates = [(answered, answered_per_s), (consumed, consumed_per_s)];
        let rates: Vec<(Count, f64)> = rates.into_iter().filter_map(|(count, rate)| Some((count, rate?))).collect();
        let restored_us = self.restored(&rates, times.undone, times.load_end);
        let before_us = times.started.saturating_sub(SPANS_BEFORE.end() * SPAN_US);
        let before = self.from(before_us).iter().take_while(|look| look.at_us <= times.started);
        let backlog_before = before.map(|look| look.backlog).max();
        let peak_until_us = times.until.max(restored_us.unwrap_or(0));
        let anchor = self.most_between(times.started, peak_until_us);
        let enough = backlog_before.map(|before| before.saturating_add(gone));
        let rose = anchor.zip(enough).is_some_and(|(most, enough)| most.backlog > enough);
        let drained_us = match (anchor, enough) {
            (Some(anchor), Some(enough)) if rose => {
                self.from(anchor.at_us).iter().find(|look| look.backlog <= enough).map(|look| look.at_us)
            }
            (Some(_), Some(_)) => Some(times.undone),
            _ => None,
        };
        // A rate that is back may still have a backlog grow for a while.
        let grown_until_us = if rose { drained_us.unwrap_or(u64::MAX) } else { peak_until_us };
        let peak = self.most_between(times.started, grown_until_us.max(peak_until_us));
        Recovery {
            answered_per_s,
            consumed_per_s,
            restored_us,
            backlog_before,
            backlog_peak: peak.map_or(0, |peak| peak.backlog),
            drained_us,
        }
    }

    /// Writes into each row how it was recovered from, once it is known what was lost: `gone` copies in all. The load
    /// ended at `load_end_us`. Copies that left the queues `unseen`, nobody knows when, leave no backlog to speak of.
    pub(super) fn write(&self, rows: &mut [FaultRow], load_end_us: u64, gone: u64, unseen: bool) {
        let end_us = self.taken.last().map_or(0, |look| look.at_us);
        for place in 0..rows.len() {
            let (least, most) = lost_near(rows, place, gone);
            let row = &mut rows[place];
            let (Some(started), Some(cost)) = (row.started_us, &mut row.cost) else { continue };
            let undone = row.undone_us.unwrap_or(end_us);
            let times = Times { started, undone, until: cost.until_us, load_end: load_end_us };
            let mut recovery = self.recovery(times, most);
            let is_sure = least == most || self.recovery(times, least).drained_us == recovery.drained_us;
            if unseen || !is_sure {
                (recovery.backlog_before, recovery.drained_us) = (None, None);
            }
            let after = |at_us: Option<u64>| at_us.map(|at_us| at_us.saturating_sub(undone));
            let whole = |per_s: Option<f64>| per_s.map(|per_s| per_s.round() as u64);
            cost.confirmed_before_per_s = whole(recovery.answered_per_s);
            cost.consumed_before_per_s = whole(recovery.consumed_per_s);
            cost.backlog_before = recovery.backlog_before;
            cost.backlog_peak = cost.backlog_peak.max(recovery.backlog_peak);
            if row.undone_us.is_some() {
                cost.rate_restored_after_us = after(recovery.restored_us);
                cost.backlog_drained_after_us = after(recovery.drained_us);
            }
            // A rate that was not steady is not waited for.
            let restored_us = recovery.restored_us.or(cost.had_steady_rate().then_some(load_end_us.min(end_us)));
            let drained_us = recovery.drained_us.or(Some(end_us));
            let known = [restored_us, drained_us].into_iter().flatten();
            cost.observed_until_us = Some(known.fold(cost.until_us, u64::max));
        }
    }
}

/// Fewest and most copies that were lost since a fault began, and so were in the backlog after it and not in the one
/// before: those put down to it, and with them those of faults whose windows meet its own, which may have been lost
/// before or after. Where they are put down to none, any of `all` may be among them.
fn lost_near(rows: &[FaultRow], place: usize, all: u64) -> (u64, u64) {
    let window = |row: &FaultRow| Some((row.started_us?, row.cost.as_ref()?.until_us));
    let Some((from, until)) = window(&rows[place]) else { return (0, all) };
    let lost = |row: &FaultRow| row.cost.as_ref().and_then(|cost| Some(cost.lost? + cost.possibly_lost?));
    let meets = |row: &&FaultRow| window(row).is_some_and(|(start, end)| start <= until && end >= from);
    let near: Option<u64> = rows.iter().filter(meets).map(lost).sum();
    lost(&rows[place]).zip(near).unwrap_or((0, all))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Looks each 50 ms over stretches of so many seconds at so many messages sent and consumed a second.
    fn looks(stretches: &[(f64, f64, f64)]) -> Looks {
        let mut looks = Looks::default();
        let (mut at_us, mut sent, mut consumed) = (0u64, 0.0, 0.0);
        let look = |at_us, sent: f64, consumed: f64| {
            let (answered, consumed) = (sent.round() as u64, consumed.round() as u64);
            Look { at_us, answered, consumed, backlog: answered.saturating_sub(consumed) }
        };
        looks.push(look(0, 0.0, 0.0));
        for (seconds, sent_per_s, consumed_per_s) in stretches {
            for _ in 0..(seconds * 20.0) as u64 {
                at_us += EVERY_US;
                sent += sent_per_s / 20.0;
                consumed += consumed_per_s / 20.0;
                assert!(looks.is_due(at_us));
                looks.push(look(at_us, sent, consumed));
            }
        }
        looks
    }

    const S: u64 = 1_000_000;

    /// A fault from second 10 to second 12, with a window to second 20, in a load to second 40.
    fn times() -> Times {
        Times { started: 10 * S, undone: 12 * S, until: 20 * S, load_end: 40 * S }
    }

    #[test]
    fn a_rate_that_comes_back_and_a_backlog_that_drains() {
        // Four seconds of nothing consumed leave 4000, drained at 500 more a second.
        let looks = looks(&[(10.0, 1000.0, 1000.0), (4.0, 1000.0, 0.0), (8.0, 1000.0, 1500.0), (18.0, 1000.0, 1000.0)]);
        let recovery = looks.recovery(times(), 0);
        assert_eq!((recovery.answered_per_s, recovery.consumed_per_s), (Some(1000.0), Some(1000.0)));
        assert_eq!((recovery.backlog_before, recovery.backlog_peak), (Some(0), 4000));
        // Six tenths of a second at 1500 are nine tenths of what a whole one had.
        assert_eq!((recovery.restored_us, recovery.drained_us), (Some(13_600_000), Some(22 * S)));
    }

    #[test]
    fn nothing_disturbed_is_restored_at_once() {
        let recovery = looks(&[(40.0, 1000.0, 1000.0)]).recovery(times(), 0);
        assert_eq!((recovery.restored_us, recovery.drained_us), (Some(12 * S), Some(12 * S)));
    }

    #[test]
    fn a_burst_is_no_rate() {
        let quiet = |seconds| (seconds, 0.0, 0.0);
        let burst = (1.0, 5000.0, 5000.0);
        let looks = looks(&[(10.0, 1000.0, 1000.0), quiet(4.0), burst, quiet(3.0), (22.0, 950.0, 950.0)]);
        let restored_us = looks.recovery(times(), 0).restored_us;
        assert!(restored_us.is_some_and(|at_us| (17_900_000..=18_000_000).contains(&at_us)), "{restored_us:?}");
    }

    #[test]
    fn what_does_not_come_back_is_none() {
        let looks = looks(&[(10.0, 1000.0, 1000.0), (2.0, 0.0, 0.0), (28.0, 850.0, 800.0)]);
        let recovery = looks.recovery(times(), 0);
        assert_eq!((recovery.restored_us, recovery.drained_us), (None, None));
        let late = Times { load_end: 14 * S, ..times() };
        let whole = super::tests::looks(&[(10.0, 1000.0, 1000.0), (2.0, 0.0, 0.0), (28.0, 1000.0, 1000.0)]);
        assert_eq!(whole.recovery(late, 0).restored_us, None, "two seconds of the load are no evidence");
    }

    #[test]
    fn without_a_steady_rate_there_is_none_to_come_back() {
        let ramp: Vec<(f64, f64, f64)> = (1..40).map(|n| (1.0, f64::from(n).powi(3), 10.0)).collect();
        let recovery = looks(&ramp).recovery(times(), 0);
        assert_eq!((recovery.answered_per_s, recovery.consumed_per_s, recovery.restored_us), (None, None, None));
        let early = Times { started: S, ..times() };
        assert_eq!(looks(&[(40.0, 1000.0, 1000.0)]).recovery(early, 0).answered_per_s, None, "one second is no rate");
        let short = looks(&[(7.0, 1.0, 1.0), (33.0, 1000.0, 1000.0)]).recovery(times(), 0);
        assert_eq!(short.answered_per_s, Some(1000.0), "the last three seconds were steady");
    }

    #[test]
    fn copies_that_are_gone_are_no_backlog() {
        let lossy = [(10.0, 1000.0, 1000.0), (2.0, 1000.0, 0.0), (28.0, 1000.0, 1000.0)];
        assert_eq!(looks(&lossy).recovery(times(), 0).drained_us, None);
        assert_eq!(looks(&lossy).recovery(times(), 2000).drained_us, Some(12 * S));
    }

    #[test]
    fn rows_say_how_long_recovery_was_observed() {
        let row = |id, started_us, until_us| FaultRow {
            id,
            started_us: Some(started_us),
            undone_us: Some(started_us + 2 * S),
            cost: Some(FaultCost { until_us, lost: Some(0), possibly_lost: Some(0), ..FaultCost::default() }),
            ..FaultRow::default()
        };
        let mut rows = [row(1, 10 * S, 17 * S), FaultRow { id: 2, ..FaultRow::default() }, row(3, S, 8 * S)];
        let looks = looks(&[(10.0, 1000.0, 1000.0), (4.0, 1000.0, 0.0), (8.0, 1000.0, 1500.0), (18.0, 1000.0, 1000.0)]);
        looks.write(&mut rows, 40 * S, 0, false);
        let cost = rows[0].cost.as_ref().unwrap();
        assert_eq!((cost.rate_restored_after_us, cost.backlog_drained_after_us), (Some(1_600_000), Some(10 * S)));
        assert_eq!((cost.observed_until_us, cost.consumed_before_per_s), (Some(22 * S), Some(1000)));
        assert_eq!(rows[1].cost, None);
        let early = rows[2].cost.as_ref().unwrap();
        assert!(!early.had_steady_rate() && early.rate_restored_after_us.is_none());
        assert_eq!(early.observed_until_us, Some(8 * S), "what had no rate is not waited for");
    }

    #[test]
    fn losses_of_faults_that_meet_are_left_out_together() {
        let row = |started_us, until_us, lost| FaultRow {
            started_us: Some(started_us),
            cost: Some(FaultCost { until_us, lost, possibly_lost: Some(1), ..FaultCost::default() }),
            ..FaultRow::default()
        };
        let rows = [row(0, 10, Some(5)), row(8, 20, Some(0)), row(30, 40, Some(70)), row(50, 60, None)];
        let bounds = [0, 1, 2, 3].map(|place| lost_near(&rows, place, 90));
        assert_eq!(bounds, [(6, 7), (1, 7), (71, 71), (0, 90)]);
    }

    /// One fault that stalls consumers for two seconds, and what is written of its backlog where `lost` are put down to it
    /// and `gone` are lost in all.
    fn drained(rows: &mut [FaultRow], gone: u64, unseen: bool) -> (Option<u64>, Option<u64>) {
        let looks = looks(&[(10.0, 1000.0, 1000.0), (2.0, 1000.0, 0.0), (4.0, 1000.0, 1500.0), (24.0, 1000.0, 1000.0)]);
        looks.write(rows, 40 * S, gone, unseen);
        let cost = rows[0].cost.as_ref().unwrap();
        assert_eq!(cost.backlog_peak, 2000);
        (cost.backlog_before, cost.backlog_drained_after_us)
    }

    fn stall(lost: Option<u64>) -> FaultRow {
        FaultRow {
            started_us: Some(10 * S),
            undone_us: Some(12 * S),
            cost: Some(FaultCost { until_us: 20 * S, lost, possibly_lost: lost.map(|_| 0), ..FaultCost::default() }),
            ..FaultRow::default()
        }
    }

    #[test]
    fn where_it_depends_on_whose_the_losses_were_nothing_is_said() {
        assert_eq!(drained(&mut [stall(Some(0))], 900, false), (Some(0), Some(4 * S)), "they were others'");
        assert_eq!(drained(&mut [stall(Some(500))], 900, false), (Some(0), Some(3 * S)));
        assert_eq!(drained(&mut [stall(None)], 0, false), (Some(0), Some(4 * S)));
        assert_eq!(drained(&mut [stall(None)], 3000, false), (None, None), "all of them would be as good as drained");
        let before = FaultRow { started_us: Some(S), ..stall(Some(3000)) };
        assert_eq!(drained(&mut [stall(Some(0)), before.clone()], 3000, false), (None, None));
        let apart = FaultRow { cost: before.cost.clone().map(|cost| FaultCost { until_us: 9 * S, ..cost }), ..before };
        assert_eq!(drained(&mut [stall(Some(0)), apart], 3000, false), (Some(0), Some(4 * S)));
    }

    #[test]
    fn copies_that_left_unseen_leave_no_backlog_to_speak_of() {
        assert_eq!(drained(&mut [stall(Some(0))], 0, true), (None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_said_to_be_back_is_back(
            stretches in prop::collection::vec((1u8..6, 0u16..1500, 0u16..1500), 1..12),
            started in 0u64..20_000_000,
            lasted in 0u64..10_000_000,
            load_s in 1u64..40,
            gone in 0u64..500,
        ) {
            let stretches: Vec<_> = stretches
                .into_iter()
                .map(|(seconds, sent, consumed)| (f64::from(seconds), f64::from(sent), f64::from(consumed)))
                .collect();
            let looks = looks(&stretches);
            let undone = started + lasted;
            let times = Times { started, undone, until: undone + 5 * S, load_end: load_s * S };
            let recovery = looks.recovery(times, gone);
            let rates = [(recovery.answered_per_s, (|look| look.answered) as Count), (recovery.consumed_per_s, |look| look.consumed)];
            if let Some(restored_us) = recovery.restored_us {
                prop_assert!(restored_us >= undone && restored_us + 3 * S <= times.load_end);
                prop_assert!(rates.iter().any(|(before, _)| before.is_some()));
                for (before, count) in rates {
                    let now = looks.at(count, restored_us + 3 * S).unwrap() - looks.at(count, restored_us).unwrap();
                    prop_assert!(before.is_none_or(|before| now >= 3.0 * 0.9 * before - 1e-6));
                }
            }
            if let (Some(before), Some(drained_us)) = (recovery.backlog_before, recovery.drained_us) {
                let at = looks.from(drained_us).first().map_or(0, |look| look.backlog);
                prop_assert!(recovery.backlog_peak <= before + gone || at <= before + gone);
            }
        }

        #[test]
        fn thinned_looks_tell_the_same_counts(count in 1usize..400, at in 0u64..20_000_000) {
            let mut thinned = Looks { limit: 16, ..Looks::default() };
            for n in 0..count as u64 {
                let at_us = n * EVERY_US;
                if thinned.is_due(at_us) {
                    thinned.push(Look { at_us, answered: n * 50, ..Look::default() });
                }
            }
            prop_assert!(thinned.taken.len() <= 16);
            let told = thinned.at(|look| look.answered, at);
            let is_within = at <= thinned.taken.last().map_or(0, |look| look.at_us);
            prop_assert_eq!(told.is_some(), is_within);
            prop_assert!(told.is_none_or(|told| (told - at as f64 / 1000.0).abs() < 1e-6));
        }
    }
}
