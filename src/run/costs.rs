//! What faults cost: looks at the fleets' meters while a fault lasts and for a while after it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fleets::Fleets;
use super::recovery::{Look, Looks};
use crate::fleet::{ConsumerMeters, ProducerMeters, Shared};
use crate::plan::Plan;
use crate::record::{Account, FaultCost, FaultRow, IncidentKind, ViolationClass};

/// Times of first confirms and deliveries are as exact as this.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Running counts of all fleets together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) published: u64,
    pub(super) confirmed: u64,
    pub(super) delivered: u64,
    consumed: u64,
    republished: u64,
    redelivered: u64,
    unflagged: u64,
    disconnects: u64,
}

/// Watches faults.
pub(super) struct Costs {
    shared: Arc<Shared>,
    /// Whether any fleet has confirms.
    has_confirms: bool,
    producers: Vec<Arc<ProducerMeters>>,
    consumers: Vec<Arc<ConsumerMeters>>,
    windows: Mutex<Vec<Window>>,
    looks: Mutex<Looks>,
}

/// The window of one fault.
#[derive(Debug, Default)]
struct Window {
    id: u32,
    started_us: u64,
    at_start: Counts,
    /// When mending began, and what was counted then.
    undone: Option<(u64, Counts)>,
    healed_us: Option<u64>,
    is_closed: bool,
    cost: FaultCost,
}

impl Costs {
    pub(super) fn new(shared: &Arc<Shared>, plan: &Plan, fleets: &Fleets) -> Self {
        Self {
            shared: Arc::clone(shared),
            has_confirms: plan.producers.iter().any(|fleet| fleet.confirm.is_some()),
            producers: fleets.producers.iter().map(|(_, meters)| Arc::clone(meters)).collect(),
            consumers: fleets.consumers.iter().map(|(_, meters, _)| Arc::clone(meters)).collect(),
            windows: Mutex::default(),
            looks: Mutex::default(),
        }
    }

    /// The counts as they are now.
    pub(super) fn counts(&self) -> Counts {
        let mut counts =
            Counts { disconnects: self.shared.incidents.count(IncidentKind::Disconnected), ..Counts::default() };
        for meters in &self.producers {
            counts.published += meters.counters.published.load(Ordering::Relaxed);
            counts.confirmed += meters.counters.confirmed.load(Ordering::Relaxed);
        }
        for meters in &self.consumers {
            counts.delivered += meters.counters.delivered.load(Ordering::Relaxed);
            counts.consumed += meters.counters.consumed.load(Ordering::Relaxed);
            let [republished, redelivered, unflagged] = meters.counters.repeated.each_ref();
            counts.republished += republished.load(Ordering::Relaxed);
            counts.redelivered += redelivered.load(Ordering::Relaxed);
            counts.unflagged += unflagged.load(Ordering::Relaxed);
        }
        counts
    }

    fn windows(&self) -> MutexGuard<'_, Vec<Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault begins.
    pub(super) fn begin(&self, id: u32, started_us: u64) {
        let at_start = self.counts();
        let unacknowledged: i64 =
            self.consumers.iter().map(|meters| meters.counters.unsettled.load(Ordering::Acquire)).sum();
        let cost = FaultCost {
            at_risk_unanswered: Some(self.shared.ledger.pending()),
            at_risk_unacknowledged: Some(u64::try_from(unacknowledged).unwrap_or(0)),
            ..FaultCost::default()
        };
        self.windows().push(Window { id, started_us, at_start, cost, ..Window::default() });
    }

    /// It could not be begun after all.
    pub(super) fn forget(&self, id: u32) {
        self.windows().retain(|window| window.id != id);
    }

    /// Mending it begins.
    pub(super) fn undo(&self, id: u32, undone_us: u64) {
        let counts = self.counts();
        let mut windows = self.windows();
        if let Some(window) = windows.iter_mut().find(|window| window.id == id) {
            window.undone = Some((undone_us, counts));
        }
    }

    /// It is whole again.
    pub(super) fn heal(&self, id: u32, healed_us: u64) {
        if let Some(window) = self.windows().iter_mut().find(|window| window.id == id) {
            window.healed_us = Some(healed_us);
        }
    }

    /// Looks for ever.
    pub(super) async fn watch(&self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        let now_us = self.shared.clock.now_us();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut windows = self.windows();
        let is_due = looks.is_due(now_us);
        if !is_due && windows.iter().all(|window| window.is_closed) {
            return;
        }
        let counts = self.counts();
        for window in windows.iter_mut().filter(|window| !window.is_closed) {
            window.look(now_us, &counts);
        }
        if is_due {
            let answered = if self.has_confirms { counts.confirmed } else { counts.published };
            let (at_us, consumed, backlog) = (now_us, counts.consumed, self.shared.ledger.backlog());
            looks.push(Look { at_us, answered, consumed, backlog });
        }
    }

    /// Closes all windows and writes what was seen in each into its fault's row; what all fleets did over the run.
    pub(super) fn close(&self, rows: &mut [FaultRow]) -> Looks {
        self.look();
        let windows = self.windows();
        for row in rows {
            row.cost = windows.iter().find(|window| window.id == row.id).map(|window| window.cost.clone());
        }
        std::mem::take(&mut self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Window {
    fn look(&mut self, now_us: u64, now: &Counts) {
        let (cost, start) = (&mut self.cost, &self.at_start);
        cost.until_us = now_us;
        cost.published = now.published - start.published;
        cost.confirmed = now.confirmed - start.confirmed;
        cost.consumed = now.consumed - start.consumed;
        let causes =
            [now.republished - start.republished, now.redelivered - start.redelivered, now.unflagged - start.unflagged];
        [cost.republished, cost.redelivered, cost.unflagged] = causes.map(Some);
        cost.duplicates = causes.iter().sum();
        cost.disconnects = now.disconnects - start.disconnects;
        if cost.disconnects > 0 {
            cost.detected_after_us.get_or_insert(now_us.saturating_sub(self.started_us));
        }
        if let Some((undone_us, undone)) = &self.undone {
            let since_us = now_us.saturating_sub(*undone_us);
            if now.confirmed > undone.confirmed {
                cost.first_confirm_after_us.get_or_insert(since_us);
            }
            if now.delivered > undone.delivered {
                cost.first_delivery_after_us.get_or_insert(since_us);
            }
        }
        self.is_closed = self.healed_us.is_some_and(|healed_us| now_us >= healed_us + FaultCost::AFTERMATH_US);
    }
}

/// Writes into each row the losses that it may answer for: each is the first fault's that it can have met.
pub(super) fn attribute(rows: &mut [FaultRow], account: &Account, lost: u64, possibly_lost: u64) {
    let of_class = |class: ViolationClass| account.violations.iter().filter(move |offence| offence.class == class);
    let mut order: Vec<usize> = (0..rows.len()).filter(|place| rows[*place].cost.is_some()).collect();
    order.sort_by_key(|place| rows[*place].cost.as_ref().map(|cost| cost.until_us));
    for (class, total) in [(ViolationClass::Lost, lost), (ViolationClass::PossiblyLost, possibly_lost)] {
        let due: Vec<u64> = of_class(class).filter_map(|offence| offence.intended_us).collect();
        if due.len() as u64 != total {
            continue;
        }
        let mut from_us = 0;
        for place in &order {
            let Some(cost) = &mut rows[*place].cost else { continue };
            let count = due.iter().filter(|due_us| (from_us..cost.until_us).contains(*due_us)).count() as u64;
            from_us = cost.until_us.max(from_us);
            match class {
                ViolationClass::Lost => cost.lost = Some(count),
                _ => cost.possibly_lost = Some(count),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::Violation;

    fn counts(confirmed: u64, delivered: u64, disconnects: u64) -> Counts {
        Counts { published: confirmed, confirmed, delivered, consumed: delivered, disconnects, ..Counts::default() }
    }

    #[test]
    fn a_window_sees_what_comes_after_its_start_and_ends_after_the_heal() {
        let mut window = Window { id: 1, started_us: 1_000, at_start: counts(10, 9, 2), ..Window::default() };
        window.look(2_000, &counts(10, 9, 2));
        assert_eq!(window.cost.detected_after_us, None);
        window.look(3_000, &Counts { republished: 4, redelivered: 2, unflagged: 1, ..counts(12, 9, 3) });
        let cost = &window.cost;
        assert_eq!(cost.duplicates, 7);
        assert_eq!([cost.republished, cost.redelivered, cost.unflagged], [4, 2, 1].map(Some));
        assert_eq!(
            (window.cost.detected_after_us, window.cost.confirmed, window.cost.disconnects),
            (Some(2_000), 2, 1)
        );
        assert_eq!(window.cost.first_confirm_after_us, None, "it was not mended yet");
        window.undone = Some((3_000, counts(12, 9, 3)));
        window.look(4_000, &counts(13, 9, 3));
        window.look(5_000, &counts(14, 10, 3));
        window.healed_us = Some(4_500);
        window.look(5_000, &counts(14, 10, 3));
        assert!(!window.is_closed);
        let cost = &window.cost;
        assert_eq!((cost.first_confirm_after_us, cost.first_delivery_after_us), (Some(1_000), Some(2_000)));
        window.look(4_500 + FaultCost::AFTERMATH_US, &counts(20, 20, 3));
        assert!(window.is_closed);
        assert_eq!(window.cost.until_us, 4_500 + FaultCost::AFTERMATH_US);
    }

    fn row(id: u32, until_us: u64) -> FaultRow {
        FaultRow { id, cost: Some(FaultCost { until_us, ..FaultCost::default() }), ..FaultRow::default() }
    }

    fn lost(intended_us: Option<u64>) -> Violation {
        Violation {
            class: ViolationClass::Lost,
            cause: None,
            queue: None,
            publisher: Some(0),
            sequence: Some(0),
            attempt: None,
            intended_us,
            observed_us: None,
            history: Arc::from(""),
        }
    }

    #[test]
    fn a_loss_is_the_first_faults_that_it_can_have_met() {
        let mut rows = [row(1, 2_000), row(2, 1_000), FaultRow::default()];
        let violations = [500, 999, 1_000, 1_999, 2_000].map(|at| lost(Some(at))).into();
        let account = Account { violations, ..Account::default() };
        attribute(&mut rows, &account, 5, 0);
        let of = |row: &FaultRow| row.cost.as_ref().and_then(|cost| cost.lost);
        assert_eq!([of(&rows[0]), of(&rows[1]), of(&rows[2])], [Some(2), Some(2), None]);
        assert_eq!(rows[0].cost.as_ref().and_then(|cost| cost.possibly_lost), Some(0));
    }

    #[test]
    fn where_not_every_loss_is_listed_with_its_time_none_is_attributed() {
        for (violations, total) in [(vec![lost(Some(1))], 2), (vec![lost(Some(1)), lost(None)], 2)] {
            let mut rows = [row(1, 2_000)];
            attribute(&mut rows, &Account { violations, ..Account::default() }, total, 0);
            assert_eq!(rows[0].cost.as_ref().and_then(|cost| cost.lost), None);
        }
    }
}
