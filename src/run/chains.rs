//! What led to what, and with which ids, as it goes into the record.

use crate::fleet::Shared;
use crate::ledger::chain::{Caused, IdFault};
use crate::plan::Plan;
use crate::record::{Account, ChainRow, ChainsReport, Violation, ViolationClass};

use super::routes::PlanDestinations;

/// Most messages that are followed by too few or too many, and that are listed as violations.
const LISTED: usize = 10_000;

/// What led to what; each message that offends is added to the `account`. None where the plan has none that do.
pub(super) fn report(
    plan: &Plan,
    shared: &Shared,
    destinations: &PlanDestinations,
    account: &mut Account,
) -> Option<ChainsReport> {
    shared.tracer.as_ref()?;
    let name_of = |destination: u32| {
        destinations.destinations.get(destination as usize).map(|about| std::sync::Arc::from(about.name.as_str()))
    };
    let blank = |class: ViolationClass, history: String| Violation {
        class,
        cause: None,
        queue: None,
        publisher: None,
        sequence: None,
        attempt: None,
        intended_us: None,
        observed_us: None,
        history: history.into(),
    };
    let mut listed = Vec::new();
    let (mut offending, fleet_name) = (0u64, |fleet: usize| plan.producers.get(fleet).map_or("?", |it| &it.name));
    let accounts = shared.chain.account(|fleet, Caused { publisher, sequence, destination }, confirmed| {
        offending += 1;
        if listed.len() >= LISTED {
            return;
        }
        let by = plan.publisher_name(publisher);
        let (class, history) = match confirmed {
            0 => {
                let history = format!("published by {by}; worked off, and no message of {} follows", fleet_name(fleet));
                (ViolationClass::FollowUpMissing, history)
            }
            several => {
                let history = format!("published by {by}; {several} messages of {} follow", fleet_name(fleet));
                (ViolationClass::FollowUpRepeated, history)
            }
        };
        let queue = name_of(destination);
        let (publisher, sequence) = (Some(publisher), Some(sequence));
        listed.push(Violation { queue, publisher, sequence, ..blank(class, history) });
    });
    let (ids, wrong) = shared.chain.ids();
    let with_wrong_ids = wrong.into_iter().map(|wrong| {
        let class = match wrong.fault {
            IdFault::Missing => ViolationClass::IdMissing,
            IdFault::Crossed => ViolationClass::IdCrossed,
        };
        let history = format!("published by {}; {}", plan.publisher_name(wrong.stamp.publisher), wrong.about);
        Violation {
            queue: name_of(wrong.destination),
            publisher: Some(wrong.stamp.publisher),
            sequence: Some(wrong.stamp.sequence),
            attempt: Some(wrong.stamp.attempt),
            intended_us: Some(wrong.stamp.intended_us),
            observed_us: Some(wrong.observed_us),
            ..blank(class, history)
        }
    });
    // One that lacks an id and has another of somebody else is one message.
    account.violations_total += offending + ids.wrong;
    account.violations.extend(listed.into_iter().chain(with_wrong_ids));
    let followers =
        plan.producers.iter().enumerate().filter_map(|(number, fleet)| Some((number, fleet, fleet.follows?)));
    let rows = followers.map(|(number, fleet, leader)| {
        let counted = accounts.get(&number).copied().unwrap_or_default();
        ChainRow {
            producer: fleet.name.clone(),
            consumer: plan.consumers.get(leader).map_or_else(String::new, |leader| leader.name.clone()),
            worked_off: counted.worked_off,
            confirmed: counted.confirmed,
            missing: counted.missing,
            repeated: counted.repeated,
        }
    });
    Some(ChainsReport {
        rows: rows.collect(),
        ids_checked: ids.checked,
        ids_missing: ids.missing,
        ids_crossed: ids.crossed,
        ids_unchecked: ids.unchecked,
        unwritten: shared.chain.unwritten(),
    })
}
