//! Breaks what the plan says when it says so, and mends it.

use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch as channel};

use super::Run;
use super::breaking::{Active, Breakers};
use super::costs::{Costs, LOOK_EVERY};
use crate::faults::Turn;
use crate::plan::{Broken, FaultPlan, Trigger};
use crate::record::progress::Progress;
use crate::record::{FaultMessage, FaultRow};

/// How long breaking something may take.
const BEGIN_WITHIN: Duration = Duration::from_secs(60);

/// Carries out the faults of one run.
pub(super) struct Conductor<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) breakers: &'a Breakers<'a>,
    pub(super) costs: &'a Costs,
    pub(super) progress: mpsc::Sender<Progress>,
    /// Has a permit for each fault that is to begin before the first message and has.
    pub(super) begun_first: Semaphore,
}

/// Whether it begins before there is a message: what counts messages from the very start misses none. It takes no time.
fn is_first(fault: &FaultPlan) -> bool {
    fault.trigger.at_us() == Some(0) && matches!(fault.broken, Broken::Members { .. } | Broken::Network { .. })
}

impl Conductor<'_> {
    /// Carries out all faults. Once `heal` turns true nothing more is broken, and what is broken is mended; a row for
    /// each fault, whatever became of it.
    pub(super) async fn carry_out(&self, heal: channel::Receiver<bool>) -> Vec<FaultRow> {
        let faults = self.run.plan.faults.iter().map(|fault| self.carry_out_one(fault, heal.clone()));
        futures_util::future::join_all(faults).await
    }

    /// Waits until what is to begin before the first message has, or has failed to.
    pub(super) async fn ready(&self) {
        let first = self.run.plan.faults.iter().filter(|fault| is_first(fault)).count();
        // It is never closed.
        let _ = self.begun_first.acquire_many(u32::try_from(first).unwrap_or(u32::MAX)).await;
    }

    async fn carry_out_one(&self, fault: &FaultPlan, mut heal: channel::Receiver<bool>) -> FaultRow {
        let mut row = FaultRow {
            id: fault.id,
            kind: fault.kind.to_string(),
            detail: fault.detail(),
            planned_us: fault.trigger.at_us(),
            ..FaultRow::default()
        };
        let turn = tokio::select! {
            biased;
            () = is_over(&mut heal) => None,
            turn = self.due(fault) => Some(turn),
        };
        let Some(turn) = turn else {
            row.error = Some(self.not_reached(fault));
            return row;
        };
        let started_us = self.run.shared.clock.now_us();
        self.costs.begin(fault.id, started_us);
        self.note(format!("fault {}: {} ({})", row.id, row.kind, row.detail));
        let begun = tokio::time::timeout(BEGIN_WITHIN, self.breakers.begin(fault, turn)).await;
        if is_first(fault) {
            self.begun_first.add_permits(1);
        }
        let failed = match begun {
            Ok(Ok(active)) => {
                row.started_us = Some(started_us);
                row.broken_us = Some(self.run.shared.clock.now_us());
                self.last(fault, &active, &mut heal).await;
                self.mend(active, &mut row).await;
                return row;
            }
            Ok(Err(error)) => error,
            Err(_) => format!("it took longer than {BEGIN_WITHIN:?}"),
        };
        self.costs.forget(fault.id);
        self.note(format!("fault {}: {failed}", row.id));
        row.error = Some(failed);
        row
    }

    /// Waits until a fault is due, and nothing stands in its way.
    async fn due(&self, fault: &FaultPlan) -> Turn<'_> {
        let clock = &self.run.shared.clock;
        if let Some(at_us) = fault.trigger.at_us() {
            tokio::time::sleep_until(tokio::time::Instant::from_std(clock.instant(at_us))).await;
        } else {
            while !self.is_reached(fault.trigger) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        self.breakers.turn(fault).await
    }

    fn is_reached(&self, trigger: Trigger) -> bool {
        let counts = self.costs.counts();
        match trigger {
            Trigger::AtUs(at_us) => self.run.shared.clock.now_us() >= at_us,
            Trigger::Published(count) => counts.published >= count,
            Trigger::Confirmed(count) => counts.confirmed >= count,
            Trigger::Delivered(count) => counts.delivered >= count,
        }
    }

    fn not_reached(&self, fault: &FaultPlan) -> String {
        let counts = self.costs.counts();
        match fault.trigger {
            Trigger::AtUs(_) => "the load ended before".to_owned(),
            Trigger::Published(count) => format!("{} of {count} messages were published", counts.published),
            Trigger::Confirmed(count) => format!("{} of {count} messages were confirmed", counts.confirmed),
            Trigger::Delivered(count) => format!("{} of {count} messages were delivered", counts.delivered),
        }
    }

    /// Lets a fault last as long as it should, at most until the load is over.
    async fn last(&self, fault: &FaultPlan, active: &Active<'_>, heal: &mut channel::Receiver<bool>) {
        if fault.kind.is_instant() {
            return;
        }
        let over = async {
            match fault.lasting_us {
                Some(lasting_us) => tokio::time::sleep(Duration::from_micros(lasting_us)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = is_over(heal) => {}
            () = over => {}
            () = active.spent() => {}
        }
    }

    async fn mend(&self, mut active: Active<'_>, row: &mut FaultRow) {
        let clock = &self.run.shared.clock;
        let undone_us = clock.now_us();
        row.undone_us = Some(undone_us);
        self.costs.undo(row.id, undone_us);
        let begun = Instant::now();
        match active.heal().await {
            Ok(()) => {
                let healed_us = clock.now_us();
                row.healed_us = Some(healed_us);
                self.costs.heal(row.id, healed_us);
                self.note(format!("fault {}: healed after {:.1} s", row.id, begun.elapsed().as_secs_f64()));
            }
            Err(error) => {
                self.note(format!("fault {}: could not be healed: {error}", row.id));
                row.error = Some(error);
            }
        }
        row.done = active.done();
        let named =
            |(publisher, sequence)| FaultMessage { publisher: self.run.plan.publisher_name(publisher), sequence };
        row.messages = active.messages().into_iter().take(FaultRow::MESSAGES_MAX).map(named).collect();
    }

    fn note(&self, note: String) {
        // A listener that is slow misses a line; nothing depends on it.
        let _ = self.progress.try_send(Progress::Note(note));
    }
}

/// Returns when the load is over.
async fn is_over(heal: &mut channel::Receiver<bool>) {
    // A sender that is gone will never say so; then it is over too.
    let _ = heal.wait_for(|over| *over).await;
}
