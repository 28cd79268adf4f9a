//! Messages that wait for the broker's answer, in the order in which they were sent.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::plan::BackoffPlan;

/// A message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) sequence: u64,
    pub(super) attempt: u8,
    /// When it should have been sent first, in microseconds on the run's clock.
    pub(super) intended_us: u64,
    /// When this attempt was sent.
    pub(super) sent_us: u64,
}

/// A message that is to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retry {
    pub(super) flight: Flight,
    /// Not before then, in microseconds on the run's clock.
    pub(super) not_before_us: u64,
}

impl Retry {
    /// Another attempt at a message that was known to have failed at `now_us`.
    pub(super) fn after(flight: Flight, backoff: Option<BackoffPlan>, now_us: u64) -> Self {
        let wait_us = backoff.map_or(0, |backoff| backoff.after(flight.attempt));
        Self { flight, not_before_us: now_us + wait_us }
    }
}

/// The confirm window of one publisher.
#[derive(Debug, Default)]
pub(super) struct Flights {
    by_sequence: FxHashMap<u64, Flight>,
    /// Oldest first; those answered since are skipped when they come to the front.
    by_age: VecDeque<(u64, u8)>,
}

impl Flights {
    pub(super) fn len(&self) -> usize {
        self.by_sequence.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_sequence.is_empty()
    }

    pub(super) fn add(&mut self, flight: Flight) {
        self.by_sequence.insert(flight.sequence, flight);
        self.by_age.push_back((flight.sequence, flight.attempt));
    }

    pub(super) fn answered(&mut self, sequence: u64) -> Option<Flight> {
        let flight = self.by_sequence.remove(&sequence);
        self.forget_answered();
        flight
    }

    /// Those that were answered are skipped at once, so that their list is no longer than the window and its gaps.
    fn forget_answered(&mut self) {
        while let Some((sequence, attempt)) = self.by_age.front()
            && self.by_sequence.get(sequence).is_none_or(|flight| flight.attempt != *attempt)
        {
            self.by_age.pop_front();
        }
    }

    /// When the oldest was sent.
    pub(super) fn oldest_us(&self) -> Option<u64> {
        let (sequence, _) = self.by_age.front()?;
        self.by_sequence.get(sequence).map(|flight| flight.sent_us)
    }

    /// Gives up all of them, in the order of their sequences.
    pub(super) fn give_up(&mut self) -> Vec<Flight> {
        self.by_age.clear();
        let mut flights: Vec<_> = self.by_sequence.drain().map(|(_, flight)| flight).collect();
        flights.sort_unstable_by_key(|flight| flight.sequence);
        flights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(sequence: u64, sent_us: u64) -> Flight {
        Flight { sequence, attempt: 0, intended_us: 0, sent_us }
    }

    #[test]
    fn the_oldest_is_the_one_that_waits_longest() {
        let mut flights = Flights::default();
        [flight(0, 10), flight(1, 20), flight(2, 30)].into_iter().for_each(|flight| flights.add(flight));
        assert_eq!(flights.oldest_us(), Some(10));
        flights.answered(0);
        flights.answered(2);
        assert_eq!((flights.oldest_us(), flights.len()), (Some(20), 1));
        // Sent again: its age is that of the new attempt.
        flights.answered(1);
        flights.add(Flight { attempt: 1, ..flight(1, 50) });
        assert_eq!(flights.oldest_us(), Some(50));
        assert_eq!(flights.give_up().len(), 1);
        assert!(flights.is_empty() && flights.oldest_us().is_none());
    }
}
