//! One publisher: sends what is due, watches for answers, and sends again what its fleet's plan says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::flights::{Flight, Flights};
use super::message::MessageMaker;
use super::meters::{ProducerMeters, add};
use super::pace::Pace;
use super::slot::{Held, Leaving, Slot};
use super::{Shared, Stage, backoff, reached};
use crate::client::{ClientError, Outcome, Outgoing, PublisherLink, PublisherSetup, Settlement};
use crate::latency::Sample;
use crate::ledger::Settled;
use crate::ledger::incidents::IncidentKind;
use crate::plan::{Again, FieldError, Moment, ProducerFleet, Publisher, Schedule};
use crate::stamp::Stamp;

/// Most messages that are handed to the client at once.
const BATCH: usize = 256;
/// A hand-over that takes longer was held up by the socket.
const HELD_AFTER_US: u64 = 5_000;
/// How often a waiting publisher looks at its oldest flight and its connection.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One publisher's task.
pub struct PublisherTask {
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
    slot: Arc<Slot>,
    fleet: Arc<ProducerFleet>,
    me: Publisher,
    meters: Arc<ProducerMeters>,
    messages: MessageMaker,
    next: u64,
    flights: Flights,
    /// To be sent again, in order.
    again: VecDeque<Flight>,
    pace: Pace,
    /// No further message will be sent for the first time.
    finished: bool,
    /// No answer is waited for either.
    resting: bool,
    /// Its first channel is open.
    ready: bool,
}

/// Why a link is left.
enum Left {
    /// All is sent and answered, or it is time to leave.
    Done,
    /// It failed.
    Failed(ClientError),
}

impl PublisherTask {
    /// # Errors
    /// A property's text has a field that is unknown; the plan refuses these first.
    pub fn new(
        shared: &Arc<Shared>,
        slot: Arc<Slot>,
        fleet: &Arc<ProducerFleet>,
        me: Publisher,
        meters: Arc<ProducerMeters>,
    ) -> Result<Self, FieldError> {
        shared.publishers_busy.fetch_add(1, Ordering::AcqRel);
        shared.publishers_sending.fetch_add(1, Ordering::AcqRel);
        Ok(Self {
            stage: shared.stage.clone(),
            shared: Arc::clone(shared),
            slot,
            messages: MessageMaker::new(fleet)?,
            fleet: Arc::clone(fleet),
            me,
            meters,
            next: 0,
            flights: Flights::default(),
            again: VecDeque::new(),
            pace: Pace::default(),
            finished: false,
            resting: false,
            ready: false,
        })
    }

    /// Publishes until all is sent and answered, or until it is time to leave.
    pub async fn run(mut self) {
        let mut failed: Option<(Held, ClientError)> = None;
        let mut failures = 0;
        loop {
            let connection_lost = failed.as_ref().filter(|(_, error)| !error.is_channel_only());
            let lost = connection_lost.map(|(held, error)| (held.generation, error));
            let Ok(held) = self.slot.get(lost, &mut self.stage.clone()).await else { break };
            let sequence_before = self.next;
            match self.on_connection(&held).await {
                Left::Done => break,
                Left::Failed(error) => {
                    self.give_up_flights();
                    if error.is_channel_only() {
                        self.slot.journal(IncidentKind::ChannelClosed, error.to_string());
                    }
                    failures = if self.next > sequence_before { 0 } else { failures + 1 };
                    if self.pause(failures).await.is_err() {
                        break;
                    }
                    failed = Some((held, error));
                }
            }
        }
        self.leave();
    }

    /// Waits before a channel that keeps failing is opened again.
    async fn pause(&mut self, failures: u64) -> Result<(), Leaving> {
        if failures == 0 {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(backoff::wait(self.me.seed, failures)) => Ok(()),
            () = reached(&mut self.stage, Stage::Leave) => Err(Leaving),
        }
    }

    async fn on_connection(&mut self, held: &Held) -> Left {
        let setup = PublisherSetup {
            exchange: self.fleet.exchange.clone(),
            confirms: self.fleet.confirm.is_some(),
            mandatory: self.fleet.mandatory,
            persistent: self.fleet.persistent,
        };
        let mut link = match held.connection.open_publisher(&setup).await {
            Ok(link) => link,
            Err(error) => return Left::Failed(error),
        };
        if !std::mem::replace(&mut self.ready, true) {
            self.shared.publishers_ready.fetch_add(1, Ordering::AcqRel);
        }
        reached(&mut self.stage, Stage::Load).await;
        let left = self.on_link(&mut *link, held).await;
        self.slot.journal_notices(&*held.connection);
        if let Left::Done = left {
            link.close().await;
        }
        left
    }

    async fn on_link(&mut self, link: &mut dyn PublisherLink, held: &Held) -> Left {
        let mut batch = Vec::with_capacity(BATCH);
        let mut settled = Vec::new();
        loop {
            match self.shared.stage() {
                Stage::Leave => return Left::Done,
                Stage::Drain => self.finish(),
                Stage::Ready | Stage::Load => {}
            }
            let due_us = self.fill(&mut batch);
            if !batch.is_empty() {
                if let Err(error) = self.hand_over(link, &mut batch).await {
                    return Left::Failed(error);
                }
                // Answers that are there already open the window again, at no wait.
                let known = futures_util::FutureExt::now_or_never(link.settlements(&mut settled));
                if let Some(Err(error)) = known {
                    self.settle(&mut settled);
                    return Left::Failed(error);
                }
                self.settle(&mut settled);
                continue;
            }
            if self.is_done() {
                return Left::Done;
            }
            if let Err(error) = self.wait(link, due_us, &mut settled).await {
                self.settle(&mut settled);
                return Left::Failed(error);
            }
            self.settle(&mut settled);
            self.slot.journal_notices(&*held.connection);
            if let Err(error) = self.check_timeout() {
                return Left::Failed(error);
            }
        }
    }

    /// Nothing is left to send or to wait for. With confirms off a return may still come: that is waited for only as
    /// long as others drain.
    fn is_done(&mut self) -> bool {
        if !self.finished || !self.flights.is_empty() || !self.again.is_empty() {
            return false;
        }
        self.rest();
        let returns_may_come = self.fleet.confirm.is_none() && self.fleet.mandatory;
        !returns_may_come
    }

    /// Puts what is due and fits the window into `batch`; when the next message is due, where one is to be waited for.
    fn fill(&mut self, batch: &mut Vec<Outgoing>) -> Option<u64> {
        let now_us = self.shared.now_us();
        let window = self.fleet.confirm.map_or(usize::MAX, |confirm| confirm.window as usize);
        let window_room = window.saturating_sub(self.flights.len());
        let room = window_room.min(BATCH);
        while batch.len() < room
            && let Some(flight) = self.again.pop_front()
        {
            self.shared.ledger.published_again(self.me.id, flight.sequence);
            let flight = Flight { sent_us: now_us, attempt: flight.attempt.saturating_add(1), ..flight };
            batch.push(self.compose(&flight));
            self.flights.add(flight);
        }
        let mut next_due_us = None;
        let first_new = batch.len();
        let mut due = Vec::new();
        while !self.finished {
            let Some(intended_us) = self.due_us(self.next + due.len() as u64, now_us) else {
                self.finish();
                break;
            };
            if intended_us > now_us {
                next_due_us = Some(intended_us);
                break;
            }
            if first_new + due.len() >= room {
                break;
            }
            due.push(intended_us);
        }
        self.send_new(&due, now_us, batch);
        // A full batch is ours to hurry; only a full window is the broker's.
        let more_is_due = !self.finished && next_due_us.is_none();
        if more_is_due && window_room <= BATCH {
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

    fn send_new(&mut self, due: &[u64], now_us: u64, batch: &mut Vec<Outgoing>) {
        if due.is_empty() {
            return;
        }
        let confirms = self.fleet.confirm.is_some();
        self.shared.ledger.published(self.me.id, due.len(), confirms);
        let begun = Instant::now();
        for intended_us in due {
            let flight = Flight { sequence: self.next, attempt: 0, intended_us: *intended_us, sent_us: now_us };
            batch.push(self.compose(&flight));
            if confirms {
                self.flights.add(flight);
            }
            self.next += 1;
        }
        add(&self.meters.making_ns, begun.elapsed().as_nanos() as u64);
        self.measure_sends(due, now_us);
    }

    fn measure_sends(&self, due: &[u64], now_us: u64) {
        add(&self.meters.counters.published, due.len() as u64);
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

    fn compose(&self, flight: &Flight) -> Outgoing {
        let stamp = Stamp {
            run: self.shared.run,
            publisher: self.me.id,
            attempt: flight.attempt,
            sequence: flight.sequence,
            intended_us: flight.intended_us,
            lag_us: flight.sent_us.saturating_sub(flight.intended_us),
        };
        let moment = Moment { unix_us: self.shared.clock.unix_us(flight.intended_us) };
        self.messages.make(&self.me, &stamp, &moment)
    }

    async fn hand_over(&mut self, link: &mut dyn PublisherLink, batch: &mut Vec<Outgoing>) -> Result<(), ClientError> {
        let begun_us = self.shared.now_us();
        let limit = self.answer_limit();
        let handed = tokio::select! {
            biased;
            handed = tokio::time::timeout(limit, link.publish(batch)) => handed,
            // Whoever leaves does not wait for a socket that takes nothing.
            () = reached(&mut self.stage, Stage::Leave) => return Ok(()),
        };
        let now_us = self.shared.now_us();
        if now_us.saturating_sub(begun_us) > HELD_AFTER_US {
            self.pace.hold(begun_us);
            self.pace.release(now_us);
        }
        add(&self.meters.held_us, self.pace.take_held_us());
        batch.clear();
        handed.unwrap_or_else(|_| Err(ClientError::TimedOut { what: "a publish".to_owned(), after: limit }))
    }

    /// How long an answer may take: the confirm timeout, or a minute where there are no confirms.
    fn answer_limit(&self) -> Duration {
        self.fleet.confirm.map_or(Duration::from_secs(60), |confirm| Duration::from_micros(confirm.timeout_us))
    }

    /// Waits for an answer, for the next message to fall due, or for a moment.
    async fn wait(
        &mut self,
        link: &mut dyn PublisherLink,
        due_us: Option<u64>,
        settled: &mut Vec<Settlement>,
    ) -> Result<(), ClientError> {
        let now_us = self.shared.now_us();
        let pause = due_us.map_or(LOOK_EVERY, |due| Duration::from_micros(due.saturating_sub(now_us)).min(LOOK_EVERY));
        let before = self.shared.stage();
        tokio::select! {
            answers = link.settlements(settled) => answers,
            () = tokio::time::sleep(pause) => Ok(()),
            _ = self.stage.wait_for(|now| *now != before) => Ok(()),
        }
    }

    fn settle(&mut self, settled: &mut Vec<Settlement>) {
        if settled.is_empty() {
            return;
        }
        let now_us = self.shared.now_us();
        let mut outcomes = Vec::with_capacity(settled.len());
        let (mut from_intended, mut from_send) = (Vec::new(), Vec::new());
        for Settlement { token, outcome } in settled.drain(..) {
            let flight = self.flights.answered(token);
            let counters = &self.meters.counters;
            match (outcome, flight) {
                (Outcome::Returned { .. }, _) => {
                    add(&counters.returned, 1);
                    outcomes.push((token, Settled::Returned));
                }
                // An answer to a message that nobody waits for any more changes nothing.
                (_, None) => {}
                (Outcome::Confirmed, Some(flight)) => {
                    add(&counters.confirmed, 1);
                    outcomes.push((token, Settled::Confirmed));
                    let measured = self.shared.is_measured(flight.intended_us);
                    let since = |us: u64| Sample { us: now_us.saturating_sub(us), measured };
                    from_intended.push(since(flight.intended_us));
                    from_send.push(since(flight.sent_us));
                }
                (Outcome::Nacked, Some(flight)) => {
                    add(&counters.nacked, 1);
                    outcomes.push((token, Settled::Nacked));
                    if self.fleet.on_nacked == Again::Republish {
                        self.again.push_back(flight);
                    }
                }
            }
        }
        self.shared.ledger.settled(self.me.id, outcomes);
        self.meters.confirm.record(from_intended);
        self.meters.confirm_from_send.record(from_send);
    }

    /// An answer that takes too long: the connection hangs, whatever the socket says.
    fn check_timeout(&mut self) -> Result<(), ClientError> {
        let Some(confirm) = self.fleet.confirm else { return Ok(()) };
        let Some(oldest_us) = self.flights.oldest_us() else { return Ok(()) };
        if self.shared.now_us().saturating_sub(oldest_us) < confirm.timeout_us {
            return Ok(());
        }
        let after = Duration::from_micros(confirm.timeout_us);
        let error = ClientError::TimedOut { what: format!("{} publishes", self.flights.len()), after };
        self.slot.journal(IncidentKind::ConfirmTimeout, error.to_string());
        Err(error)
    }

    /// What was in flight on a link that failed will not be answered any more.
    fn give_up_flights(&mut self) {
        let flights = self.flights.give_up();
        let unconfirmed = flights.iter().map(|flight| (flight.sequence, Settled::Unconfirmed));
        self.shared.ledger.settled(self.me.id, unconfirmed);
        if self.fleet.on_unconfirmed == Again::Republish {
            // Before what already waits to go again: sequences stay as close to their order as they can.
            flights.into_iter().rev().for_each(|flight| self.again.push_front(flight));
        }
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.shared.leave(&self.shared.publishers_sending);
        }
    }

    fn leave(&mut self) {
        self.finish();
        let unanswered = self.flights.give_up();
        self.shared.ledger.settled(self.me.id, unanswered.iter().map(|flight| (flight.sequence, Settled::Unconfirmed)));
        add(&self.meters.held_us, self.pace.take_held_us());
        self.rest();
    }

    /// Nobody has to wait for this publisher any more.
    fn rest(&mut self) {
        if !std::mem::replace(&mut self.resting, true) {
            self.shared.leave(&self.shared.publishers_busy);
        }
    }
}
