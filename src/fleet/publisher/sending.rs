//! What is due, put together and counted.

use std::sync::atomic::Ordering;

use super::super::flights::{Flight, Retry};
use super::super::meters::add;
use super::super::next_attempt;
use super::PublisherTask;
use crate::latency::Sample;
use crate::plan::{Moment, Schedule};
use crate::stamp::Stamp;

/// Most messages that are handed to the client at once.
const BATCH: usize = 256;
/// Most bytes of bodies that are handed to the client at once; a body that is larger goes alone.
const BATCH_BYTES: usize = 1 << 20;

impl PublisherTask {
    /// Puts what is due and fits the window into the batch; when the next message is due, where one is to be waited for.
    pub(super) fn fill(&mut self) -> Option<u64> {
        let now_us = self.shared.now_us();
        let window = self.fleet.confirm.map_or(usize::MAX, |confirm| confirm.window as usize);
        let window_room = window.saturating_sub(self.flights.len());
        let room = window_room.min(BATCH);
        while self.batch.len() < room
            && self.batch.body_bytes() < BATCH_BYTES
            && self.again.front().is_some_and(|retry| retry.not_before_us <= now_us)
            && let Some(Retry { flight, .. }) = self.again.pop_front()
        {
            self.shared.ledger.published_again(self.me.id, flight.sequence);
            let flight = Flight { sent_us: now_us, attempt: next_attempt(flight.attempt), ..flight };
            self.compose(&flight);
            self.flights.add(flight);
        }
        if self.fleet.backoff.is_some()
            && let Some(Retry { not_before_us, .. }) = self.again.front()
        {
            // An outbox keeps its order: what is behind the one that waits goes after it, and is late by its plan.
            self.pace.hold(now_us);
            return Some(*not_before_us).filter(|at_us| *at_us > now_us);
        }
        let mut next_due_us = None;
        let first_new = self.batch.len();
        self.due.clear();
        let largest = self.fleet.size.largest() as usize;
        let room = room.min(first_new + (BATCH_BYTES / largest.max(1)).max(1));
        let mut ends = false;
        while !self.finished {
            let Some(intended_us) = self.due_us(self.next + self.due.len() as u64, now_us) else {
                ends = true;
                break;
            };
            if intended_us > now_us {
                next_due_us = Some(intended_us);
                break;
            }
            if first_new + self.due.len() >= room {
                break;
            }
            self.due.push(intended_us);
        }
        self.send_new(now_us);
        // Who dies on the way to the last one sends the rest when it lives again.
        if ends && self.doomed.is_none() {
            self.finish();
        }
        // A full batch is ours to hurry; only a full window is the broker's.
        let more_is_due = !self.finished && next_due_us.is_none();
        if more_is_due && self.batch.len() >= window_room {
            self.pace.hold(now_us)
        } else {
            self.pace.release(now_us)
        }
        next_due_us
    }

    /// When message `sequence` should go; none: never.
    fn due_us(&self, sequence: u64, now_us: u64) -> Option<u64> {
        let end_us = self.shared.load.end_us();
        match &self.fleet.rate {
            Some(profile) => {
                let turn = (u64::from(self.me.place), self.fleet.publishers.len() as u64);
                let schedule = Schedule::new(
                    profile,
                    self.shared.load.warmup_us,
                    turn,
                    self.me.start_us,
                    end_us,
                    self.me.messages,
                );
                // What was due before the end and was held up until then stays unsent; what merely woke late may go.
                let grace_us = if self.pace.is_held() { 0 } else { self.shared.load.max_lag_us };
                schedule.due_us(sequence).filter(|_| end_us.is_none_or(|end| now_us < end.saturating_add(grace_us)))
            }
            None => {
                let over =
                    self.me.messages.is_some_and(|limit| sequence >= limit) || end_us.is_some_and(|end| now_us >= end);
                (!over).then_some(now_us.max(self.me.start_us))
            }
        }
    }

    fn send_new(&mut self, now_us: u64) {
        if self.due.is_empty() {
            return;
        }
        self.cut_due_at_death();
        let due = std::mem::take(&mut self.due);
        let confirms = self.fleet.confirm.is_some();
        self.shared.ledger.published(self.me.id, due.len(), confirms);
        for intended_us in &due {
            let flight = Flight { sequence: self.next, attempt: 0, intended_us: *intended_us, sent_us: now_us };
            self.compose(&flight);
            if confirms {
                self.flights.add(flight);
            }
            self.next += 1;
        }
        self.measure_sends(&due, now_us);
        self.due = due;
    }

    fn measure_sends(&self, due: &[u64], now_us: u64) {
        add(&self.meters.counters.published, due.len() as u64);
        let in_load = due.iter().filter(|intended| self.shared.is_measured(**intended)).count();
        add(&self.meters.load_sends, in_load as u64);
        if self.fleet.rate.is_none() {
            return;
        }
        let lag = |intended: &u64| Sample {
            us: now_us.saturating_sub(*intended),
            measured: self.shared.is_measured(*intended),
        };
        let own = |intended: &u64| Sample { us: self.pace.own_lag_us(*intended, now_us), ..lag(intended) };
        self.meters.schedule_lag.record(due.iter().map(lag));
        self.meters.own_lag.record(due.iter().map(own));
        self.meters.counters.lag_max_us.fetch_max(due.iter().map(|i| lag(i).us).max().unwrap_or(0), Ordering::Relaxed);
        let measured = due.iter().map(own).filter(|sample| sample.measured);
        add(&self.meters.paced_sends, measured.clone().count() as u64);
        let late = measured.filter(|sample| sample.us > self.shared.load.max_lag_us).count();
        add(&self.meters.late_sends, late as u64);
    }

    fn compose(&mut self, flight: &Flight) {
        let stamp = Stamp {
            run: self.shared.run,
            publisher: self.me.id,
            attempt: flight.attempt,
            sequence: flight.sequence,
            intended_us: flight.intended_us,
            lag_us: flight.sent_us.saturating_sub(flight.intended_us),
        };
        let moment = Moment { unix_us: self.shared.clock.unix_us(flight.intended_us), ids: 0 };
        self.messages.make(&self.me, &stamp, &moment, &mut self.batch);
    }
}
