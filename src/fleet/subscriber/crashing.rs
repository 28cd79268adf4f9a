//! A subscriber whose member dies at a message, or stands still.

use std::time::Duration;

use super::SubscriberTask;
use crate::client::{ClientError, SubscriberLink};
use crate::fleet::Step;
use crate::fleet::lives::Death;
use crate::ledger::Arrival;
use crate::plan::CrashPoint;

/// A broker that takes nothing does not keep a consumer alive.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

impl SubscriberTask {
    /// Stands still where the member does; fails where it has died.
    pub(super) async fn live(&mut self) -> Result<(), ClientError> {
        if self.member.is_stalled() {
            self.member.stand_still(&mut self.stage).await;
        }
        if self.member.has_died() { Err(self.member.death()) } else { Ok(()) }
    }

    /// A message has come to `point` on its way through the consumer: what the plan has in store for the member there
    /// happens. Everything that is not acked by then is gone from memory; what was acked before is with the broker. A
    /// message that `is_first` has not come there before.
    ///
    /// # Errors
    /// The member has died: nothing more is done with this link.
    pub(super) async fn step(
        &mut self,
        link: &mut dyn SubscriberLink,
        point: CrashPoint,
        arrival: &Arrival,
        is_first: bool,
    ) -> Result<(), ClientError> {
        // With effects it is the store's steps that count, batch by batch.
        if !self.member.is_planned() || self.effects.is_some() {
            return Ok(());
        }
        self.live().await?;
        match self.member.strikes(Step::Consumer(point), std::iter::once((&arrival.reading, is_first))) {
            Some(death) => Err(self.die(link, death).await),
            None => Ok(()),
        }
    }

    /// Settles what is worked off, and dies where the plan says so after an ack.
    pub(super) async fn ack_and_live(&mut self, link: &mut dyn SubscriberLink) -> Result<(), ClientError> {
        let acked_before = self.acked.len();
        self.ack(link)?;
        if !self.member.is_planned() {
            return Ok(());
        }
        // All of them are acked, wherever among them it dies.
        let acked = self.acked[acked_before..].iter().map(|done| (&done.reading, done.is_first));
        match self.member.strikes(Step::Consumer(CrashPoint::AfterAck), acked) {
            Some(death) => Err(self.die(link, death).await),
            None => Ok(()),
        }
    }

    pub(super) async fn die(&mut self, link: &mut dyn SubscriberLink, death: Death) -> ClientError {
        // Should that fail, the connection is gone or hangs: then it dies all the same.
        let _ = tokio::time::timeout(FLUSH_WITHIN, link.flush()).await;
        self.crash_stores();
        self.member.die(death).await
    }
}
