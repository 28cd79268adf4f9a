//! The effects of a subscriber's deliveries: handed to the store of their queue, ack batch by ack batch, and acked only
//! once all of a batch is committed.
//!
//! Simulated work is done between the look-up and the effect, where a consumer that has one does it.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::SubscriberTask;
use crate::fleet::{Shared, Stage, backoff, reached};
use crate::idempotency::{EffectId, Next, Session, Step};
use crate::ledger::incidents::IncidentKind;
use crate::stamp::Reading;

/// A store that fails for so long is gone for good: the run ends.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// What a subscriber holds of the stores of its queues.
pub(super) struct Effects {
    /// By destination of the ledger.
    sessions: Vec<(u32, Session)>,
    ids: Vec<EffectId>,
}

/// It is time to leave, and what was in hand is not committed: it is not to be acked.
pub(super) struct NotCommitted;

impl Effects {
    pub(super) fn new(sessions: Vec<(u32, Session)>) -> Self {
        Self { sessions, ids: Vec::new() }
    }
}

impl SubscriberTask {
    /// Applies and records what is to be acked, for as long as it takes.
    pub(super) async fn commit(&mut self) -> Result<(), NotCommitted> {
        let Some(mut effects) = self.effects.take() else { return Ok(()) };
        let mut outcome = Ok(());
        for (destination, session) in &mut effects.sessions {
            effects.ids.clear();
            // What carries no stamp of this run, or another's body, is no message that an effect is owed for.
            effects.ids.extend(self.to_ack.iter().filter(|(to, _)| to == destination).filter_map(|(_, reading)| {
                match reading {
                    Reading::Ours(stamp) => Some(EffectId { publisher: stamp.publisher, sequence: stamp.sequence }),
                    _ => None,
                }
            }));
            if outcome.is_ok() && !effects.ids.is_empty() {
                outcome = self.apply(session, &effects.ids).await;
            }
        }
        self.effects = Some(effects);
        if outcome.is_err() {
            self.to_ack.clear();
        }
        outcome
    }

    /// Hands a batch to the store until it is through, or it is time to leave.
    async fn apply(&mut self, session: &mut Session, ids: &[EffectId]) -> Result<(), NotCommitted> {
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            let error = match self.attempt(session, ids).await {
                Ok(true) => break,
                Ok(false) => return Err(NotCommitted),
                Err(error) => error,
            };
            self.slot.journal(IncidentKind::StoreFailed, error.to_string());
            failures += 1;
            if begun.elapsed() > GIVE_UP_AFTER {
                self.give_up(&error).await;
                return Err(NotCommitted);
            }
            tokio::select! {
                () = tokio::time::sleep(backoff::wait(self.me.seed, failures)) => {}
                () = reached(&mut self.stage, Stage::Leave) => return Err(NotCommitted),
            }
        }
        if failures > 0 {
            self.slot.journal(IncidentKind::StoreRecovered, format!("after {} attempts", failures + 1));
        }
        Ok(())
    }

    /// One attempt; whether the batch is through, or it is time to leave.
    async fn attempt(
        &mut self,
        session: &mut Session,
        ids: &[EffectId],
    ) -> Result<bool, crate::idempotency::StoreError> {
        let now_us = self.shared.now_us();
        // Lent to the hook, which is called again and again.
        let (worker, stage) = (Mutex::new(&mut self.worker), &self.stage);
        let (worker, deliveries) = (&worker, ids.len());
        let hook = move |step| async move {
            if step != Step::BeforeEffect {
                return Next::GoOn;
            }
            let mut worker = worker.lock().await;
            let Some(worker) = worker.as_mut() else { return Next::GoOn };
            let mut stage = stage.clone();
            for _ in 0..deliveries {
                tokio::select! {
                    biased;
                    () = worker.work() => {}
                    () = reached(&mut stage, Stage::Leave) => return Next::Die,
                }
            }
            Next::GoOn
        };
        Ok(session.handle_with(ids, now_us, hook).await?.is_some())
    }

    /// The run cannot go on without the store. This member waits for its end, and takes nothing more.
    async fn give_up(&mut self, error: &crate::idempotency::StoreError) {
        let Shared { trouble, .. } = &*self.shared;
        let reason = format!("{}: the store of its effects has failed for {GIVE_UP_AFTER:?}: {error}", self.fleet.name);
        let _ = trouble.set(reason);
        reached(&mut self.stage, Stage::Leave).await;
    }
}
