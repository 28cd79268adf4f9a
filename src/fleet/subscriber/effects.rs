//! The effects of a subscriber's deliveries: handed to the store of their queue, ack batch by ack batch, and acked only
//! once all of a batch is committed.
//!
//! Simulated work is done between the look-up and the effect, where a consumer that has one does it. A member that
//! crashes on purpose does so at the steps of the store.

use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::SubscriberTask;
use crate::client::{ClientError, SubscriberLink};
use crate::fleet::lives::{Death, Member, Step as Point};
use crate::fleet::work::Worker;
use crate::fleet::{Stage, backoff, reached};
use crate::idempotency::{EffectId, Next, Session, Step, StoreError};
use crate::ledger::Arrival;
use crate::ledger::incidents::IncidentKind;
use crate::plan::{CrashPoint, Discipline};
use crate::stamp::Reading;

/// A store that fails for so long is gone for good: the run ends.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// A store may take so long for the last batch once it is time to leave: less than a member may take to leave.
const LAST_WITHIN: Duration = Duration::from_secs(5);

/// Ends when it has been time to leave for so long that no answer of a store is waited for any more.
async fn left_behind(mut stage: watch::Receiver<Stage>) {
    reached(&mut stage, Stage::Leave).await;
    tokio::time::sleep(LAST_WITHIN).await;
}

/// What a subscriber holds of the stores of its queues.
pub(super) struct Effects {
    /// By destination of the ledger.
    sessions: Vec<(u32, Session)>,
    /// What else of its member's memory goes when it dies.
    beside: Vec<Session>,
    ids: Vec<EffectId>,
    /// What came and is not committed yet, by destination, and whether it came for the first time; where the member may
    /// crash only.
    fresh: Vec<(u32, Reading, bool)>,
}

/// What a batch meets between the steps of a store.
struct Way<'a> {
    worker: &'a mut Option<Worker>,
    stage: watch::Receiver<Stage>,
    member: &'a Member,
    fresh: Vec<(Reading, bool)>,
    deliveries: usize,
    /// The step at which the effect stands, whatever comes after it: where a crash after the effect is.
    applied_at: Step,
    /// Points at which the plan was asked: once for each message, however often a store is tried.
    asked: Vec<CrashPoint>,
    /// The member dies.
    dies: Option<Death>,
}

impl Effects {
    pub(super) fn new(sessions: Vec<(u32, Session)>, beside: Vec<Session>) -> Self {
        Self { sessions, beside, ids: Vec::new(), fresh: Vec::new() }
    }
}

impl Way<'_> {
    async fn step(&mut self, step: Step) -> Next {
        if step == Step::BeforeEffect && (self.strikes(CrashPoint::BeforeEffect) || self.work().await.is_err()) {
            return Next::Die;
        }
        if step == self.applied_at && self.strikes(CrashPoint::AfterEffect) {
            return Next::Die;
        }
        Next::GoOn
    }

    fn strikes(&mut self, point: CrashPoint) -> bool {
        if !self.asked.contains(&point) {
            self.asked.push(point);
            let fresh = self.fresh.iter().map(|(reading, is_first)| (reading, *is_first));
            self.dies = self.member.strikes(Point::Consumer(point), fresh);
        }
        self.dies.is_some()
    }

    /// Works the whole batch off; an error where it is time to leave.
    async fn work(&mut self) -> Result<(), ()> {
        let Some(worker) = self.worker else { return Ok(()) };
        for _ in 0..self.deliveries {
            tokio::select! {
                biased;
                () = worker.work() => {}
                () = reached(&mut self.stage, Stage::Leave) => return Err(()),
            }
        }
        Ok(())
    }
}

impl SubscriberTask {
    /// A message was taken in hand whose effect is still to come.
    pub(super) async fn owe(&mut self, arrival: &Arrival, is_first: bool) -> Result<(), ClientError> {
        if !self.member.is_planned() {
            return Ok(());
        }
        self.live().await?;
        if let Some(effects) = &mut self.effects {
            effects.fresh.push((arrival.destination, arrival.reading, is_first));
        }
        Ok(())
    }

    /// Where its member has died, this task's connections to the stores are gone. It begins anew in any case.
    pub(super) fn forget_where_dead(&mut self) {
        let Some(effects) = &mut self.effects else { return };
        effects.fresh.clear();
        if self.member.has_died() {
            effects.sessions.iter_mut().for_each(|(_, session)| session.cut());
        }
    }

    /// What the member's process knew dies with it: said once for each death, by the task that dies, before another can
    /// begin anew.
    pub(super) fn crash_stores(&mut self) {
        let Some(effects) = &mut self.effects else { return };
        let sessions = effects.sessions.iter_mut().map(|(_, session)| session);
        sessions.chain(&mut effects.beside).for_each(Session::crash);
    }

    /// Applies and records what is to be acked, for as long as it takes. False where it is time to leave: then nothing is
    /// to be acked any more.
    ///
    /// # Errors
    /// The member has died.
    pub(super) async fn commit(&mut self, link: &mut dyn SubscriberLink) -> Result<bool, ClientError> {
        let Some(mut effects) = self.effects.take() else { return Ok(true) };
        let Effects { sessions, ids, fresh, .. } = &mut effects;
        let mut outcome = Ok(true);
        for (destination, session) in sessions {
            ids.clear();
            // What carries no stamp of this run, or another's body, is no message that an effect is owed for.
            let here = self.to_ack.iter().filter(|done| done.destination == *destination);
            ids.extend(here.filter_map(|done| match &done.reading {
                Reading::Ours(stamp) => Some(self.shared.effect_id(stamp)),
                _ => None,
            }));
            if !ids.is_empty() && matches!(outcome, Ok(true)) {
                let here = fresh.iter().filter(|(to, _, _)| to == destination);
                let fresh = here.map(|(_, reading, is_first)| (*reading, *is_first)).collect();
                outcome = self.apply(session, ids, fresh).await;
            }
        }
        fresh.clear();
        self.effects = Some(effects);
        if !matches!(outcome, Ok(true)) {
            self.to_ack.clear();
        }
        match outcome {
            Ok(committed) => Ok(committed),
            Err(death) => Err(self.die(link, death).await),
        }
    }

    /// Hands a batch to the store until it is through, or it is time to leave; an error where the member dies.
    async fn apply(
        &mut self,
        session: &mut Session,
        ids: &[EffectId],
        fresh: Vec<(Reading, bool)>,
    ) -> Result<bool, Death> {
        let (begun, now_us) = (Instant::now(), self.shared.now_us());
        let mut stage = self.stage.clone();
        let is_whole = |plan: &crate::plan::IdempotencyPlan| plan.discipline == Discipline::OneTransaction;
        let way = Way {
            worker: &mut self.worker,
            stage: self.stage.clone(),
            member: &self.member,
            fresh,
            deliveries: ids.len(),
            // Until the transaction is committed there is no effect.
            applied_at: match self.fleet.idempotency.as_ref().is_some_and(is_whole) {
                true => Step::AfterRecord,
                false => Step::AfterEffect,
            },
            asked: Vec::new(),
            dies: None,
        };
        // Lent to the hook, which is called again and again.
        let way = Mutex::new(way);
        let lent = &way;
        let mut failures = 0;
        loop {
            let hook = move |step| async move { lent.lock().await.step(step).await };
            let handled = tokio::select! {
                biased;
                handled = session.handle_with(ids, now_us, hook) => handled.map(|handled| handled.is_some()),
                () = left_behind(stage.clone()) => return Ok(false),
            };
            let error = match handled {
                Ok(true) => break,
                Ok(false) => return way.lock().await.dies.take().map_or(Ok(false), Err),
                Err(error) => error,
            };
            self.slot.journal(IncidentKind::StoreFailed, error.to_string());
            failures += 1;
            if begun.elapsed() > GIVE_UP_AFTER {
                self.give_up(&error).await;
                return Ok(false);
            }
            tokio::select! {
                () = tokio::time::sleep(backoff::wait(self.me.seed, failures)) => {}
                () = reached(&mut stage, Stage::Leave) => return Ok(false),
            }
        }
        if failures > 0 {
            self.slot.journal(IncidentKind::StoreRecovered, format!("after {} attempts", failures + 1));
        }
        Ok(true)
    }

    /// The run cannot go on without the store. This member waits for its end, and takes nothing more.
    async fn give_up(&mut self, error: &StoreError) {
        let reason = format!("{}: the store of its effects has failed for {GIVE_UP_AFTER:?}: {error}", self.fleet.name);
        let _ = self.shared.trouble.set(reason);
        reached(&mut self.stage, Stage::Leave).await;
    }
}
