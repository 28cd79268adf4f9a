//! A subscriber that fails messages on purpose.

use super::SubscriberTask;
use crate::client::{ClientError, Deliveries, Delivery, Settle, SubscriberLink};
use crate::fleet::failing::{Attempt, Wait};
use crate::fleet::meters::add;
use crate::latency::Sample;
use crate::ledger::{Arrival, Cause, Seen};
use crate::plan::failing::FailThen;
use crate::stamp::{Reading, Stamp};

/// What becomes of a message in the hands of its consumer.
pub(super) enum Worked {
    /// It is worked off, where it is, for the first time.
    Done {
        /// For the first time.
        is_first: bool,
    },
    /// It failed and is settled.
    Failed,
    /// It failed, and waits before it is tried again.
    Waits(Wait),
    /// It is worked off, after so many microseconds.
    Slow(u64),
    /// It failed, and took its consumer with it.
    Crashed,
}

impl SubscriberTask {
    /// Notes which deliveries of a batch the consumer has asked for by failing the ones before.
    pub(super) fn note_retries(&self, deliveries: &Deliveries, arrivals: &mut [Arrival]) {
        let Some(failing) = &self.failing else { return };
        for ((delivery, _), arrival) in deliveries.iter().zip(arrivals) {
            let Reading::Ours(stamp) = &arrival.reading else { continue };
            let Some(away) = failing.takes_again(stamp, delivery.queue, arrival.observed_us) else { continue };
            arrival.retried = true;
            if self.shared.is_measured(stamp.intended_us) {
                self.meters.retries.note(away.us, away.planned_us);
            }
        }
    }

    /// Notes which messages of a batch came for the first time, and which came again though nobody asked for them.
    pub(super) fn note_first(&self, deliveries: &Deliveries, arrivals: &[Arrival], seen: &[Seen]) {
        let Some(failing) = &self.failing else { return };
        for (((delivery, _), arrival), seen) in deliveries.iter().zip(arrivals).zip(seen) {
            let Reading::Ours(stamp) = &arrival.reading else { continue };
            let Some(then) = failing.then(stamp, delivery.queue) else {
                if *seen == Seen::First && failing.holds_up() {
                    self.note_held_up(stamp, arrival.observed_us);
                }
                continue;
            };
            if *seen == Seen::First {
                failing.meet(stamp, delivery.queue);
            }
            let is_as_before = failing.comes_as_before(stamp, delivery.queue, arrival.deaths.as_ref());
            match seen {
                Seen::Repeated(Cause::Republished) => self.shared.fates.republished(stamp),
                Seen::Repeated(_) => self.shared.fates.redelivered(stamp),
                // It has never left its queue, though it should have.
                Seen::Retried if arrival.redelivered && is_as_before && !then.requeues() => {
                    self.shared.fates.redelivered(stamp);
                }
                Seen::First | Seen::Retried | Seen::Phantom | Seen::Corrupt => {}
            }
        }
    }

    /// How long a message that is not to fail waited behind those that are, since it was sent.
    fn note_held_up(&self, stamp: &Stamp, observed_us: u64) {
        let us = self.blocked.between(stamp.intended_us + stamp.lag_us, observed_us);
        let measured = self.shared.is_measured(stamp.intended_us);
        self.meters.head_of_line.record(std::iter::once(Sample { us, measured }));
    }

    /// Settles a message as failed, where the plan says that this attempt fails. Tags below it are settled or wait for an
    /// ack of their own: an ack of many that follows finds this one settled.
    ///
    /// # Errors
    /// The link is known to have failed.
    pub(super) fn works(
        &mut self,
        link: &mut dyn SubscriberLink,
        delivery: &Delivery,
        arrival: &Arrival,
        seen: Seen,
    ) -> Result<Worked, ClientError> {
        let done = Worked::Done { is_first: seen == Seen::First };
        let Reading::Ours(stamp) = &arrival.reading else { return Ok(done) };
        let Some(failing) = &self.failing else {
            self.end_dead_letter(stamp, arrival);
            return Ok(done);
        };
        let then = match failing.attempt(stamp, delivery.queue, self.shared.now_us()) {
            None => {
                self.end_dead_letter(stamp, arrival);
                return Ok(done);
            }
            Some(attempt) => {
                if let Attempt::Slow(us) = attempt {
                    self.end_dead_letter(stamp, arrival);
                    return Ok(Worked::Slow(us));
                }
                self.shared.fates.tried(stamp, arrival.destination);
                match attempt {
                    Attempt::Works { is_first } => {
                        self.shared.fates.ended(stamp, arrival.destination, arrival.deaths());
                        return Ok(Worked::Done { is_first });
                    }
                    Attempt::Waits(wait) => return Ok(Worked::Waits(wait)),
                    Attempt::Fails(FailThen::Crash) => {
                        self.shared.ledger.refused(arrival.destination, &arrival.reading, true);
                        add(&self.meters.counters.requeued, 1);
                        return Ok(Worked::Crashed);
                    }
                    Attempt::Slow(us) => return Ok(Worked::Slow(us)),
                    Attempt::Fails(then) => then,
                }
            }
        };
        let settle = match then {
            FailThen::Requeue | FailThen::Crash => Settle::Nack { requeue: true },
            FailThen::RejectRequeue => Settle::Requeue,
            FailThen::Reject | FailThen::Retry => Settle::Reject,
            FailThen::Nack => Settle::Nack { requeue: false },
        };
        self.refuse(link, delivery, arrival, settle)?;
        Ok(Worked::Failed)
    }

    /// A message that is not to fail here, and that was dead-lettered before, has come to its end.
    fn end_dead_letter(&self, stamp: &Stamp, arrival: &Arrival) {
        if arrival.deaths.is_some() {
            self.shared.fates.ended(stamp, arrival.destination, arrival.deaths());
        }
    }

    /// Settles a message as failed.
    pub(super) fn refuse(
        &mut self,
        link: &mut dyn SubscriberLink,
        delivery: &Delivery,
        arrival: &Arrival,
        settle: Settle,
    ) -> Result<(), ClientError> {
        // An ack of a message that its consumer has published anew gives it back too, by another way.
        let comes_again = matches!(settle, Settle::Ack | Settle::Requeue | Settle::Nack { requeue: true });
        link.settle(delivery.tag, false, settle)?;
        self.shared.ledger.refused(arrival.destination, &arrival.reading, comes_again);
        let counters = &self.meters.counters;
        add(if comes_again { &counters.requeued } else { &counters.rejected }, 1);
        self.hold(-1);
        Ok(())
    }
}
