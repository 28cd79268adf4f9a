//! A subscriber that fails messages on purpose.

use super::SubscriberTask;
use crate::client::{ClientError, Deliveries, Delivery, Settle, SubscriberLink};
use crate::fleet::failing::Attempt;
use crate::fleet::meters::add;
use crate::ledger::{Arrival, Seen};
use crate::plan::failing::FailThen;
use crate::stamp::Reading;

impl SubscriberTask {
    /// Notes which deliveries of a batch the consumer has asked for by failing the ones before.
    pub(super) fn note_retries(&self, deliveries: &Deliveries, arrivals: &mut [Arrival]) {
        let Some(failing) = &self.failing else { return };
        for ((delivery, _), arrival) in deliveries.iter().zip(arrivals) {
            if let Reading::Ours(stamp) = &arrival.reading {
                arrival.retried = failing.takes_again(stamp, delivery.queue);
            }
        }
    }

    /// Notes which messages of a batch came for the first time.
    pub(super) fn note_first(&self, deliveries: &Deliveries, arrivals: &[Arrival], seen: &[Seen]) {
        let Some(failing) = &self.failing else { return };
        for (((delivery, _), arrival), seen) in deliveries.iter().zip(arrivals).zip(seen) {
            if let (Reading::Ours(stamp), Seen::First) = (&arrival.reading, seen) {
                failing.meet(stamp, delivery.queue);
            }
        }
    }

    /// Settles a message as failed, where the plan says that this attempt fails; where it works, whether it does so for
    /// the first time. Tags below it are settled
    /// or wait for an ack of their own: an ack of many that follows finds this one settled.
    ///
    /// # Errors
    /// The link is known to have failed.
    pub(super) fn works(
        &mut self,
        link: &mut dyn SubscriberLink,
        delivery: &Delivery,
        arrival: &Arrival,
        seen: Seen,
    ) -> Result<Option<bool>, ClientError> {
        let is_first = Ok(Some(seen == Seen::First));
        let (Some(failing), Reading::Ours(stamp)) = (&self.failing, &arrival.reading) else { return is_first };
        let then = match failing.attempt(stamp, delivery.queue) {
            None => return is_first,
            Some(Attempt::Works { is_first }) => return Ok(Some(is_first)),
            Some(Attempt::Fails(then)) => then,
        };
        let settle = match then {
            FailThen::Requeue => Settle::Nack { requeue: true },
            FailThen::RejectRequeue => Settle::Requeue,
            FailThen::Reject => Settle::Reject,
            FailThen::Nack => Settle::Nack { requeue: false },
        };
        link.settle(delivery.tag, false, settle)?;
        self.shared.ledger.refused(arrival.destination, &arrival.reading, then.requeues());
        let counters = &self.meters.counters;
        add(if then.requeues() { &counters.requeued } else { &counters.rejected }, 1);
        self.hold(-1);
        Ok(None)
    }
}
