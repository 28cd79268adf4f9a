//! Whether everything that was to be broken was broken, and is whole again, and dead letters were sent back: a run without
//! its faults proves nothing.

use super::phrase::{count, things};
use super::{Finding, Weight};
use crate::record::{Completeness, FaultRow, Record, RedriveRow, ReplayRow};

pub(super) fn findings(record: &Record) -> Vec<Finding> {
    let of_rows = record.faults.iter().filter_map(|row| of_row(record, row));
    let is_missing = |id: &u32| record.faults.iter().all(|row| row.id != *id);
    let missing = record.plan.faults.iter().filter(|fault| is_missing(&fault.id));
    let missing =
        missing.map(|fault| format!("fault {} (`{}`) was planned, and nothing is told of it", fault.id, fault.kind));
    let redrives = record.redrives.iter().filter_map(|row| of_redrive(record, row));
    let replays = record.replays.iter().filter_map(|row| of_replay(record, row));
    of_rows
        .chain(missing)
        .chain(redrives)
        .chain(replays)
        .map(|sentence| Finding::new(Weight::Invalid, sentence))
        .collect()
}

fn of_redrive(record: &Record, row: &RedriveRow) -> Option<String> {
    let broken_off = format!("sending back what was in {} was broken off", row.queue);
    let nothing = format!("there was nothing in {} to be sent back", row.queue);
    of_sending_again(record, row.redriven, row.error.as_deref(), (broken_off, nothing))
}

fn of_replay(record: &Record, row: &ReplayRow) -> Option<String> {
    let broken_off = format!("the replay of {} was broken off", row.producer);
    let nothing = format!("{} had sent nothing that was to be replayed", row.producer);
    of_sending_again(record, row.replayed, row.error.as_deref(), (broken_off, nothing))
}

/// What is wrong with sending `count` messages again, in the words for each: it was broken off, or there was nothing to send.
fn of_sending_again(
    record: &Record,
    count: u64,
    error: Option<&str>,
    (broken_off, nothing): (String, String),
) -> Option<String> {
    match error {
        Some(error) => Some(format!("{broken_off}: {error}")),
        None => (count == 0 && record.completeness != Completeness::Interrupted).then_some(nothing),
    }
}

fn of_row(record: &Record, row: &FaultRow) -> Option<String> {
    let fault = format!("fault {} (`{}`, {})", row.id, row.kind, row.detail);
    let because = row.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    if row.started_us.is_none() {
        // Who ends a run early ends it before its last faults.
        let was_cut_short = record.completeness == Completeness::Interrupted;
        return (!was_cut_short).then(|| format!("{fault} was planned and did not happen{because}"));
    }
    if row.healed_us.is_none() {
        return Some(format!("{fault} could not be healed{because}"));
    }
    let planned = record.plan.faults.iter().find(|planned| planned.id == row.id)?;
    let least = planned.least_done();
    (row.done < least && record.completeness != Completeness::Interrupted).then(|| match row.done {
        0 => format!("{fault} met nothing that it could act on"),
        done => format!("{fault} acted {} of {}", count(done), things(least, "time")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::judge;
    use crate::plan::{Broken, FaultKind, FaultPlan, Picks, Trigger};
    use crate::plan::{Disturbance, FrameAction, FrameClass};
    use crate::record::{Verdict, fixture};

    fn planned(id: u32, broken: Broken) -> FaultPlan {
        let kind = if broken == Broken::Node { FaultKind::NodeKill } else { FaultKind::DropConfirms };
        FaultPlan { id, kind, trigger: Trigger::AtUs(1), lasting_us: None, broken }
    }

    fn drops(times: Option<u64>) -> Broken {
        let picks = Picks { first: 1, every: 1, times };
        Broken::Network {
            fleets: vec!["checkout".to_owned(), "returns".to_owned()],
            share: 1.0,
            disturbance: Disturbance::Frames { class: FrameClass::Confirms, action: FrameAction::Drop, picks },
        }
    }

    fn told(change: impl FnOnce(&mut Record)) -> Vec<String> {
        let mut record = fixture::record();
        record.plan.faults = vec![planned(1, Broken::Node)];
        change(&mut record);
        findings(&record).into_iter().map(|finding| finding.sentence).collect()
    }

    #[test]
    fn a_fault_that_happened_and_is_healed_is_no_finding() {
        assert!(told(|_| {}).is_empty());
    }

    #[test]
    fn a_redrive_that_moved_nothing_or_broke_off_makes_a_run_invalid() {
        let row = |redriven, error: Option<&str>| RedriveRow {
            queue: "orders.dead".to_owned(),
            redriven,
            error: error.map(str::to_owned),
            ..RedriveRow::default()
        };
        let of = |row: RedriveRow| told(|record| record.redrives = vec![row]);
        assert!(of(row(3, None)).is_empty());
        assert_eq!(of(row(0, None)), ["there was nothing in orders.dead to be sent back"]);
        assert_eq!(of(row(3, Some("gone"))), ["sending back what was in orders.dead was broken off: gone"]);
        let replay = |replayed, error: Option<&str>| {
            let (producer, error) = ("checkout".to_owned(), error.map(str::to_owned));
            told(|record| record.replays = vec![ReplayRow { producer, replayed, error, ..ReplayRow::default() }])
        };
        assert!(replay(3, None).is_empty());
        assert_eq!(replay(0, None), ["checkout had sent nothing that was to be replayed"]);
        assert_eq!(replay(3, Some("gone")), ["the replay of checkout was broken off: gone"]);
    }

    #[test]
    fn what_did_not_happen_or_was_not_healed_makes_a_run_invalid() {
        let none = told(|record| record.faults.clear());
        assert_eq!(none, ["fault 1 (`node-kill`) was planned, and nothing is told of it"]);
        let missed = |record: &mut Record| {
            record.faults[0].started_us = None;
            record.faults[0].error = Some("the load ended before".to_owned());
        };
        let name = "fault 1 (`node-pause`, the broker)";
        assert_eq!(told(missed), [format!("{name} was planned and did not happen: the load ended before")]);
        let mut record = fixture::record();
        missed(&mut record);
        assert_eq!(judge(&record).verdict, Verdict::Invalid);
        assert_eq!(told(|record| record.faults[0].healed_us = None), [format!("{name} could not be healed")]);
    }

    #[test]
    fn an_interrupted_run_need_not_reach_its_faults_but_has_to_heal_them() {
        let interrupted = |record: &mut Record| record.completeness = Completeness::Interrupted;
        let missed = told(|record| {
            interrupted(record);
            record.faults[0].started_us = None;
        });
        assert!(missed.is_empty(), "{missed:?}");
        let unhealed = told(|record| {
            interrupted(record);
            record.faults[0].healed_us = None;
        });
        assert_eq!(unhealed.len(), 1);
    }

    #[test]
    fn a_fault_has_to_act_in_each_fleet_as_often_as_it_was_told() {
        let done = |times, done| {
            told(|record| {
                record.plan.faults[0].broken = drops(times);
                record.faults[0].done = done;
            })
        };
        let name = "fault 1 (`node-pause`, the broker)";
        assert_eq!(done(None, 0), [format!("{name} met nothing that it could act on")]);
        assert!(done(None, 1).is_empty());
        assert_eq!(done(Some(3), 5), [format!("{name} acted 5 of 6 times")]);
        assert!(done(Some(3), 6).is_empty());
    }
}
