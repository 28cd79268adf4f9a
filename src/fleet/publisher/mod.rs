//! One publisher: sends what is due, watches for answers, and sends again what its fleet's plan says.

mod answers;
mod dying;
mod sending;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use self::answers::Answers;
use super::alarm::Alarm;
use super::changes::Changes;
use super::cost::CostMeter;
use super::flights::{Flights, Retry};
use super::lives::{Death, Lives, Member};
use super::message::MessageMaker;
use super::meters::{ProducerMeters, add};
use super::pace::Pace;
use super::slot::{Held, Leaving, Slot};
use super::{Shared, Stage, backoff, reached};
use crate::client::{ClientError, Outbox, PublisherLink, PublisherSetup};
use crate::ledger::Settled;
use crate::ledger::incidents::IncidentKind;
use crate::plan::{Again, ProducerFleet, Publisher};

/// A hand-over that takes longer was held up by the socket.
const HELD_AFTER_US: u64 = 5_000;
/// A publisher wakes to send at most this often, in microseconds: each time costs the processor as much as several
/// messages do.
const WAKE_EVERY_US: u64 = 200;

/// One publisher's task.
pub struct PublisherTask {
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
    slot: Arc<Slot>,
    fleet: Arc<ProducerFleet>,
    me: Publisher,
    meters: Arc<ProducerMeters>,
    messages: Arc<MessageMaker>,
    next: u64,
    flights: Flights,
    /// To be sent again, in order.
    again: VecDeque<Retry>,
    pace: Pace,
    cost: CostMeter,
    /// The broker was last found to take nothing at this time, in microseconds on the run's clock.
    blocked_until_us: u64,
    /// On its way to the client; used again and again, as those below.
    batch: Outbox,
    /// When the new messages of a batch should go, in microseconds on the run's clock.
    due: Vec<u64>,
    answers: Answers,
    member: Member,
    /// It dies once its last message is with the broker.
    doomed: Option<Death>,
    waits: Option<Waits>,
    /// No further message will be sent for the first time.
    finished: bool,
    /// No answer is waited for either.
    resting: bool,
    /// Its first channel is open.
    ready: bool,
}

/// What a publisher waits for beside answers. Of thousands that have nothing to do, none wakes.
struct Waits {
    alarm: Alarm,
    changes: Changes<Stage>,
    /// The oldest message on its way may be too late when this goes off.
    late: Pin<Box<Sleep>>,
    /// `late` is set.
    is_late_set: bool,
    /// When it last woke to send, in microseconds on the run's clock.
    woke_us: u64,
}

/// Why a link is left.
enum Left {
    /// All is sent and answered, or it is time to leave.
    Done,
    /// It failed.
    Failed(ClientError),
}

impl PublisherTask {
    /// A publisher of the fleet that `messages` are of.
    pub fn new(
        shared: &Arc<Shared>,
        slot: Arc<Slot>,
        messages: &Arc<MessageMaker>,
        me: Publisher,
        meters: Arc<ProducerMeters>,
        lives: &Arc<Lives>,
    ) -> Self {
        shared.publishers_busy.fetch_add(1, Ordering::AcqRel);
        shared.publishers_sending.fetch_add(1, Ordering::AcqRel);
        Self {
            stage: shared.stage.clone(),
            shared: Arc::clone(shared),
            slot,
            fleet: Arc::clone(&messages.fleet),
            messages: Arc::clone(messages),
            member: lives.member(me.member),
            doomed: None,
            me,
            meters,
            next: 0,
            flights: Flights::default(),
            again: VecDeque::new(),
            pace: Pace::default(),
            cost: CostMeter::default(),
            blocked_until_us: 0,
            batch: Outbox::default(),
            due: Vec::new(),
            answers: Answers::default(),
            waits: None,
            finished: false,
            resting: false,
            ready: false,
        }
    }

    /// Publishes until all is sent and answered, or until it is time to leave.
    pub async fn run(mut self) {
        // Of the connection that failed nothing is kept: one that hangs would stay open beside the new one.
        let mut failed: Option<(u64, ClientError)> = None;
        let mut failures = 0;
        loop {
            let connection_lost = failed.as_ref().filter(|(_, error)| !error.is_channel_only());
            let lost = connection_lost.map(|(generation, error)| (*generation, error));
            if self.member.revive(&mut self.stage).await.is_err() {
                break;
            }
            let Ok(held) = self.slot.get(lost, &mut self.stage.clone()).await else { break };
            let sequence_before = self.next;
            match self.on_connection(&held).await {
                Left::Done => break,
                Left::Failed(error) => {
                    self.member.has_channel(false);
                    if !self.finished {
                        // What falls due until there is another link cannot go, and is late by no doing of ours.
                        let now_us = self.shared.now_us();
                        if self.member.has_died() { self.pace.stop(now_us) } else { self.pace.hold(now_us) }
                    }
                    self.give_up_flights();
                    if error.is_final() {
                        self.shared.give_up(&self.fleet.name, &error);
                        break;
                    }
                    if error.is_channel_only() {
                        self.slot.journal(IncidentKind::ChannelClosed, error.to_string());
                    }
                    failures = if self.next > sequence_before { 0 } else { failures + 1 };
                    if self.pause(failures).await.is_err() {
                        break;
                    }
                    failed = Some((held.generation, error));
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
        let opened = tokio::select! {
            biased;
            opened = held.connection.open_publisher(&setup) => opened,
            () = reached(&mut self.stage, Stage::Leave) => return Left::Done,
        };
        let mut link = match opened {
            Ok(link) => link,
            Err(error) => return Left::Failed(error),
        };
        if !std::mem::replace(&mut self.ready, true) {
            self.shared.publishers_ready.fetch_add(1, Ordering::AcqRel);
        }
        self.member.has_channel(true);
        reached(&mut self.stage, Stage::Load).await;
        let left = self.on_link(&mut *link, held).await;
        self.slot.journal_notices(&*held.connection);
        if let Left::Done = left {
            link.close().await;
        }
        left
    }

    async fn on_link(&mut self, link: &mut dyn PublisherLink, held: &Held) -> Left {
        loop {
            match self.shared.stage() {
                Stage::Leave => return Left::Done,
                Stage::Drain => self.finish(),
                Stage::Ready | Stage::Load => {}
            }
            self.cost.begin();
            let due_us = self.fill();
            let messages = self.batch.len();
            let outcome = match self.batch.is_empty() {
                false => match self.hand_over(link, held).await {
                    // Answers that are there already open the window again, at no wait.
                    Ok(()) => link.settlements(self.answers.told()).now_or_never().unwrap_or(Ok(())),
                    Err(error) => Err(error),
                },
                true if self.is_done() => return Left::Done,
                true => self.wait(link, due_us).await,
            };
            if let Some(error) = self.die(link, outcome.is_ok()).await {
                return Left::Failed(error);
            }
            self.settle();
            self.cost.end(messages, &self.meters.cost);
            if let Err(error) = outcome.and_then(|()| self.check_timeout(held)) {
                // What the broker said before is told all the same.
                let _ = link.settlements(self.answers.told()).now_or_never();
                self.settle();
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

    async fn hand_over(&mut self, link: &mut dyn PublisherLink, held: &Held) -> Result<(), ClientError> {
        let begun_us = self.shared.now_us();
        // What the socket takes at once needs no clock beside it.
        let at_once = poll_fn(|cx| Poll::Ready(link.poll_publish(cx, &mut self.batch))).await;
        let handed = match at_once {
            Poll::Ready(handed) => handed,
            Poll::Pending => self.wait_for_room(link, held).await,
        };
        let now_us = self.shared.now_us();
        if now_us.saturating_sub(begun_us) > HELD_AFTER_US {
            self.pace.hold(begun_us);
            self.pace.release(now_us);
        }
        add(&self.meters.held_us, self.pace.take_held_us());
        self.batch.clear();
        handed
    }

    /// Waits until the client has taken the batch. Answers are counted meanwhile, each at its own time.
    async fn wait_for_room(&mut self, link: &mut dyn PublisherLink, held: &Held) -> Result<(), ClientError> {
        enum Woken {
            Answered(Result<(), ClientError>),
            Handed(Result<(), ClientError>),
        }
        self.cost.waited();
        let limit = self.answer_limit();
        let mut late = Instant::now() + limit;
        loop {
            let woken = poll_fn(|cx| match link.poll_settlements(cx, self.answers.told()) {
                Poll::Ready(answered) => Poll::Ready(Woken::Answered(answered)),
                Poll::Pending => link.poll_publish(cx, &mut self.batch).map(Woken::Handed),
            });
            tokio::select! {
                biased;
                woken = woken => match woken {
                    Woken::Answered(answered) => {
                        self.settle();
                        answered?;
                    }
                    Woken::Handed(handed) => return handed,
                },
                // Whoever leaves does not wait for a socket that takes nothing.
                () = reached(&mut self.stage, Stage::Leave) => return Ok(()),
                () = sleep_until(late) => {
                    // A broker that says that it takes nothing is late with nothing, nor in the time after it.
                    late = held.connection.last_blocked().map_or(late, |at| late.max(Instant::from_std(at) + limit));
                    if Instant::now() >= late {
                        return Err(ClientError::TimedOut { what: "a publish".to_owned(), after: limit });
                    }
                }
            }
        }
    }

    /// How long an answer may take: the confirm timeout, or a minute where there are no confirms.
    fn answer_limit(&self) -> Duration {
        self.fleet.confirm.map_or(Duration::from_secs(60), |confirm| Duration::from_micros(confirm.timeout_us))
    }

    /// Waits for an answer, for the next message to fall due, or until an answer is too late.
    async fn wait(&mut self, link: &mut dyn PublisherLink, due_us: Option<u64>) -> Result<(), ClientError> {
        self.cost.waited();
        let now_us = self.shared.now_us();
        let late_us = self.late_us();
        let waits = self.waits.get_or_insert_with(|| Waits::new(&self.stage));
        if let Some(due_us) = due_us {
            waits.wake_at(due_us, now_us);
        }
        if let Some(late_us) = late_us {
            waits.look_at(late_us, now_us);
        }
        let told = self.answers.told();
        let answered = poll_fn(|cx| match link.poll_settlements(cx, told) {
            Poll::Ready(answers) => Poll::Ready(answers),
            Poll::Pending => waits.poll(cx, due_us.is_some()).map(Ok),
        });
        answered.await?;
        if due_us.is_some() {
            waits.woke_us = self.shared.now_us();
        }
        Ok(())
    }

    /// When the oldest message on its way is too late, as far as is known; a broker that takes nothing is late with
    /// nothing, nor in the time after it.
    fn late_us(&self) -> Option<u64> {
        let oldest_us = self.flights.oldest_us()?.max(self.blocked_until_us);
        self.fleet.confirm.map(|confirm| oldest_us.saturating_add(confirm.timeout_us))
    }

    /// An answer that takes too long: the connection hangs, whatever the socket says.
    fn check_timeout(&mut self, held: &Held) -> Result<(), ClientError> {
        let Some(confirm) = self.fleet.confirm else { return Ok(()) };
        let now_us = self.shared.now_us();
        let is_late = |task: &Self| task.late_us().is_some_and(|late_us| late_us <= now_us);
        if !is_late(self) {
            return Ok(());
        }
        if let Some(at) = held.connection.last_blocked() {
            self.blocked_until_us = u64::try_from(self.shared.clock.signed_us(at)).unwrap_or(0);
            if !is_late(self) {
                return Ok(());
            }
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
            let now_us = self.shared.now_us();
            for flight in flights.into_iter().rev() {
                self.again.push_front(Retry::after(flight, self.fleet.backoff, now_us));
            }
        }
    }

    /// No further message is sent for the first time.
    fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            // Nothing is due any more that could be held up.
            self.pace.release(self.shared.now_us());
            add(&self.meters.held_us, self.pace.take_held_us());
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

impl Waits {
    fn new(stage: &watch::Receiver<Stage>) -> Self {
        let late = Box::pin(sleep_until(Instant::now()));
        Self { alarm: Alarm::new(), changes: Changes::of(stage), late, is_late_set: false, woke_us: 0 }
    }

    /// Sets the alarm for what is due. Sends that fall due close together go together.
    fn wake_at(&mut self, due_us: u64, now_us: u64) {
        let wake_us = due_us.max(self.woke_us.saturating_add(WAKE_EVERY_US));
        self.alarm.set(Duration::from_micros(wake_us.saturating_sub(now_us)));
    }

    /// Has a message looked at that may be late at `late_us`. What is set goes off before it: messages that come after
    /// it are late after it.
    fn look_at(&mut self, late_us: u64, now_us: u64) {
        if !std::mem::replace(&mut self.is_late_set, true) {
            self.late.as_mut().reset(Instant::now() + Duration::from_micros(late_us.saturating_sub(now_us)));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, due: bool) -> Poll<()> {
        let late = self.is_late_set && self.late.as_mut().poll(cx).is_ready();
        self.is_late_set &= !late;
        let rings = due && self.alarm.poll(cx).is_ready();
        let changed = self.changes.poll(cx).is_ready();
        if late || rings || changed { Poll::Ready(()) } else { Poll::Pending }
    }
}
