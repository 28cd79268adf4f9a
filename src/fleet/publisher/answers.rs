//! What the broker said of messages, counted and written down.

use super::super::flights::Retry;
use super::super::meters::add;
use super::PublisherTask;
use crate::client::{Outcome, Settlement};
use crate::latency::Sample;
use crate::ledger::Settled;
use crate::plan::Again;

/// Answers on their way to the ledger and the histograms; the lists are used again and again.
#[derive(Default)]
pub(super) struct Answers {
    told: Vec<Settlement>,
    outcomes: Vec<(u64, Settled)>,
    from_intended: Vec<Sample>,
    from_send: Vec<Sample>,
}

impl Answers {
    /// Where the client puts what it knows.
    pub(super) fn told(&mut self) -> &mut Vec<Settlement> {
        &mut self.told
    }
}

impl PublisherTask {
    /// Counts the answers that the client has told.
    pub(super) fn settle(&mut self) {
        if self.answers.told.is_empty() {
            return;
        }
        if self.is_dying() {
            self.answers.told.clear();
            return;
        }
        let now_us = self.shared.now_us();
        let Answers { told, outcomes, from_intended, from_send } = &mut self.answers;
        let (mut confirmed, mut nacked, mut returned) = (0, 0, 0);
        for Settlement { token, outcome } in told.drain(..) {
            let flight = self.flights.answered(token);
            match (outcome, flight) {
                (Outcome::Returned { .. }, _) => {
                    returned += 1;
                    outcomes.push((token, Settled::Returned));
                }
                // An answer to a message that nobody waits for any more changes nothing.
                (_, None) => {}
                (Outcome::Confirmed, Some(flight)) => {
                    confirmed += 1;
                    outcomes.push((token, Settled::Confirmed));
                    let measured = self.shared.is_measured(flight.intended_us);
                    let since = |us: u64| Sample { us: now_us.saturating_sub(us), measured };
                    from_intended.push(since(flight.intended_us));
                    from_send.push(since(flight.sent_us));
                }
                (Outcome::Nacked, Some(flight)) => {
                    nacked += 1;
                    outcomes.push((token, Settled::Nacked));
                    if self.fleet.on_nacked == Again::Republish {
                        self.again.push_back(Retry::after(flight, self.fleet.backoff, now_us));
                    }
                }
            }
        }
        let counters = &self.meters.counters;
        add(&counters.confirmed, confirmed);
        add(&counters.nacked, nacked);
        add(&counters.returned, returned);
        self.shared.ledger.settled(self.me.id, outcomes.drain(..));
        self.meters.confirm.record(from_intended.drain(..));
        self.meters.confirm_from_send.record(from_send.drain(..));
    }
}
