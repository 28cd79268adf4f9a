//! One subscriber: receives, journals, works, settles.

mod arriving;
mod blocked;
mod crashing;
mod effects;
mod failing;
mod following;
mod retrying;
mod waiting;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

pub use self::arriving::arrival;
use self::blocked::Blocked;
use self::failing::Worked;
pub use self::following::Follower;
pub use self::retrying::Outlet;
use self::retrying::Waited;
use self::waiting::{Waits, Woken};
use super::failing::Failing;
use super::lives::{Lives, Member};
use super::meters::{ConsumerMeters, add};
use super::slot::Slot;
use super::work::Worker;
use super::{Shared, Stage, backoff, reached};
use crate::client::{ClientError, Deliveries, Delivery, QueueSubscription, Settle, SubscriberLink, SubscriberSetup};
use crate::idempotency::Session;
use crate::latency::Sample;
use crate::ledger::incidents::IncidentKind;
use crate::ledger::{Arrival, Order, Seen};
use crate::plan::{AckPlan, ConsumerFleet, CrashPoint, Subscriber};
use crate::stamp::{Reading, Stamp};

/// Most deliveries that are taken at once.
const BATCH: usize = 256;
/// Where each takes its time, the next is taken in hand when that is over: until then it waits, and is seen to.
const BATCH_AT_WORK: usize = 1;

/// Which destination of the ledger a subscriber's deliveries belong to.
pub trait Destinations: Send + Sync {
    /// The destination of what `subscriber` receives from queue number `queue`.
    fn of(&self, subscriber: u32, queue: usize) -> u32;
    /// The destination that is the queue called `name`, where the plan knows it.
    fn named(&self, name: &str) -> Option<u32>;
}

/// Where a subscriber lives, and what its fleet has in common.
pub struct Seat {
    /// Its connection.
    pub slot: Arc<Slot>,
    /// The members of its fleet.
    pub lives: Arc<Lives>,
    /// What its fleet fails on purpose; none: nothing.
    pub failing: Option<Arc<Failing>>,
    /// Where it publishes what is to be tried again; none: nowhere.
    pub outlet: Option<Outlet>,
    /// What it publishes for each message that it works off.
    pub followers: Vec<Follower>,
}

/// One subscriber's task.
pub struct SubscriberTask {
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
    slot: Arc<Slot>,
    fleet: Arc<ConsumerFleet>,
    me: Subscriber,
    meters: Arc<ConsumerMeters>,
    destinations: Arc<dyn Destinations>,
    member: Member,
    /// What its fleet fails on purpose.
    failing: Option<Arc<Failing>>,
    /// When messages that it fails held it up.
    blocked: Blocked,
    outlet: Option<Outlet>,
    followers: Vec<Follower>,
    setup: SubscriberSetup,
    order: Order,
    worker: Option<Worker>,
    /// Where its fleet has effects: to be committed before anything is acked.
    effects: Option<effects::Effects>,
    /// Worked off and not yet acked, oldest first.
    to_ack: Vec<Done>,
    last_tag: u64,
    /// Acked and not yet written down.
    acked: Vec<Done>,
    /// Received and not settled.
    unsettled: i64,
    batch: Batch,
}

/// A delivery that is worked off.
struct Done {
    /// Destination of the ledger that it came from.
    destination: u32,
    reading: Reading,
    /// Nobody has worked its message off before, as far as is known.
    is_first: bool,
}

/// What is taken at once, and what it means; the lists are used again and again.
#[derive(Default)]
struct Batch {
    deliveries: Deliveries,
    arrivals: Vec<Arrival>,
    seen: Vec<Seen>,
}

impl SubscriberTask {
    /// A subscriber that consumes from the queues called `queue_names`, in the order of the plan's numbers.
    pub fn new(
        shared: &Arc<Shared>,
        seat: Seat,
        fleet: &Arc<ConsumerFleet>,
        me: Subscriber,
        meters: Arc<ConsumerMeters>,
        destinations: Arc<dyn Destinations>,
        queue: impl Fn(usize) -> QueueSubscription,
    ) -> Self {
        let setup = SubscriberSetup {
            queues: me.queues.iter().map(|number| queue(*number)).collect(),
            prefetch: fleet.prefetch,
            prefetch_scope: fleet.prefetch_scope,
            auto_ack: fleet.ack == AckPlan::Auto,
            poll: fleet.poll_us.map(Duration::from_micros),
            priority: fleet.priority,
            ids: shared.tracer.is_some(),
        };
        Self {
            stage: shared.stage.clone(),
            shared: Arc::clone(shared),
            slot: seat.slot,
            worker: fleet.work.map(|work| Worker::new(work, me.seed)),
            effects: None,
            fleet: Arc::clone(fleet),
            member: seat.lives.member(me.member),
            failing: seat.failing,
            blocked: Blocked::default(),
            outlet: seat.outlet,
            followers: seat.followers,
            me,
            meters,
            destinations,
            setup,
            order: Order::default(),
            to_ack: Vec::new(),
            last_tag: 0,
            acked: Vec::new(),
            unsettled: 0,
            batch: Batch::default(),
        }
    }

    /// The same, which applies an effect for each message: by a session for each destination of the ledger. `beside` are
    /// sessions of its member that nothing is handed to by this task, and that its death ends like its own.
    #[must_use]
    pub fn with_effects(mut self, sessions: Vec<(u32, Session)>, beside: Vec<Session>) -> Self {
        self.effects = (!sessions.is_empty()).then(|| effects::Effects::new(sessions, beside));
        self
    }

    /// Consumes until it is time to leave. `ready` is told once the first subscription stands or failed for good.
    pub async fn run(mut self, ready: tokio::sync::oneshot::Sender<Result<(), ClientError>>) {
        let mut ready = Some(ready);
        if self.me.start_us > 0 {
            // It joins later: nobody waits for it.
            let _ = ready.take().map(|ready| ready.send(Ok(())));
            if self.sleep_until_start().await.is_err() {
                return;
            }
        }
        // Of the connection that failed nothing is kept: one that hangs would stay open beside the new one.
        let mut failed: Option<(u64, ClientError)> = None;
        let mut failures = 0;
        loop {
            let connection_lost = failed.as_ref().filter(|(_, error)| !error.is_channel_only());
            let lost = connection_lost.map(|(generation, error)| (*generation, error));
            // Here, and not where it failed: its member may have died since.
            self.forget_where_dead();
            self.forget_followers_where_dead();
            if self.member.revive(&mut self.stage).await.is_err() {
                break;
            }
            let Ok(held) = self.slot.get(lost, &mut self.stage.clone()).await else { break };
            let link = tokio::select! {
                biased;
                link = held.connection.open_subscriber(&self.setup) => link,
                () = reached(&mut self.stage, Stage::Leave) => break,
            };
            let outcome = match link {
                Ok(link) => {
                    let _ = ready.take().map(|ready| ready.send(Ok(())));
                    failures = 0;
                    self.member.has_channel(true);
                    self.on_link(link).await
                }
                Err(error) => match ready.take() {
                    // Before the load a subscription that fails is no fault to live with.
                    Some(ready) => return drop(ready.send(Err(error))),
                    None => Err(error),
                },
            };
            self.slot.journal_notices(&*held.connection);
            let Err(error) = outcome else { break };
            self.member.has_channel(false);
            // What was worked off but not acked comes again: it was not consumed.
            self.forget_unacked();
            if error.is_final() {
                self.shared.give_up(&self.fleet.name, &error);
                break;
            }
            match &error {
                ClientError::ChannelClosed { .. } => self.slot.journal(IncidentKind::ChannelClosed, error.to_string()),
                ClientError::Cancelled { .. } => self.slot.journal(IncidentKind::Cancelled, error.to_string()),
                _ => {}
            }
            failures += 1;
            // Who died is there again as soon as it may be.
            let pause = if self.member.has_died() { Duration::ZERO } else { backoff::wait(self.me.seed, failures) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = reached(&mut self.stage, Stage::Leave) => break,
            }
            failed = Some((held.generation, error));
        }
        self.forget_unacked();
    }

    async fn sleep_until_start(&mut self) -> Result<(), ()> {
        reached(&mut self.stage, Stage::Load).await;
        let start = tokio::time::Instant::from_std(self.shared.clock.instant(self.me.start_us));
        tokio::select! {
            () = tokio::time::sleep_until(start) => Ok(()),
            () = reached(&mut self.stage, Stage::Leave) => Err(()),
        }
    }

    async fn on_link(&mut self, mut link: Box<dyn SubscriberLink>) -> Result<(), ClientError> {
        let mut waits = Waits::new(&self.stage, &self.member);
        loop {
            if self.shared.stage() == Stage::Leave {
                let _cleared_where_not = self.commit(&mut *link).await;
                let flushed = self.ack(&mut *link);
                self.write_down();
                link.close().await;
                return flushed;
            }
            self.live().await?;
            let takes_time = self.worker.is_some() && self.effects.is_none() || !self.followers.is_empty();
            let one_by_one = takes_time || self.member.is_planned();
            let limit = match &self.effects {
                _ if one_by_one => BATCH_AT_WORK,
                Some(_) => self.ack_size().min(BATCH),
                None => BATCH,
            };
            let filling = !self.to_ack.is_empty();
            match waits.wait(&mut *link, &mut self.batch.deliveries, (limit, filling), &self.member).await? {
                Woken::Received => self.take(&mut *link).await?,
                Woken::Flush => {
                    let _cleared_where_not = self.commit(&mut *link).await?;
                    self.ack_and_live(&mut *link).await?;
                    self.write_down();
                }
                Woken::Changed => {}
            }
        }
    }

    /// Journals a batch, works it off and settles it.
    async fn take(&mut self, link: &mut dyn SubscriberLink) -> Result<(), ClientError> {
        let mut batch = std::mem::take(&mut self.batch);
        self.journal(&mut batch);
        self.hold(batch.arrivals.len() as i64);
        let size = self.ack_size();
        // A message pays for what faults of the fleet ask of it only where there are some.
        let is_planned = self.member.is_planned();
        for (((delivery, body), arrival), seen) in batch.deliveries.iter().zip(&batch.arrivals).zip(&batch.seen) {
            if is_planned {
                self.step(&mut *link, CrashPoint::BeforeEffect, arrival, *seen == Seen::First).await?;
            }
            if self.worker.is_some() && self.effects.is_none() {
                self.write_down();
                if self.work().await.is_err() {
                    // A slow consumer does not work off its whole batch before it leaves.
                    return Ok(());
                }
            }
            // What fails is not worked off; whether it is for the first time is asked of what is.
            let is_first = loop {
                match self.works(link, delivery, arrival, *seen)? {
                    Worked::Done { is_first } => break Some(is_first),
                    Worked::Failed => break None,
                    Worked::Slow(us) => {
                        let begun_us = self.shared.now_us();
                        let takes = sleep(Duration::from_micros(us));
                        tokio::select! {
                            () = takes => self.blocked.note(begun_us, self.shared.now_us()),
                            () = reached(&mut self.stage, Stage::Leave) => return Ok(()),
                        }
                        break Some(*seen == Seen::First);
                    }
                    Worked::Crashed => {
                        let death = self.member.kill();
                        return Err(self.die(link, death).await);
                    }
                    Worked::Waits(wait) => match self.wait(link, (delivery, body), arrival, wait).await? {
                        Waited::Here => {}
                        Waited::Elsewhere => break None,
                        Waited::Leaving => return Ok(()),
                    },
                }
            };
            let Some(is_first) = is_first else { continue };
            if !self.followers.is_empty() && !self.follow(delivery, arrival).await? {
                return Ok(());
            }
            if self.effects.is_some() {
                self.owe(arrival, is_first).await?;
            }
            if is_planned {
                self.step(&mut *link, CrashPoint::AfterEffect, arrival, is_first).await?;
            }
            self.last_tag = delivery.tag;
            self.to_ack.push(Done { destination: arrival.destination, reading: arrival.reading, is_first });
            if self.to_ack.len() >= size {
                if self.effects.is_some() && !self.commit(link).await? {
                    return Ok(());
                }
                match is_planned {
                    true => self.ack_and_live(link).await?,
                    false => self.ack(link)?,
                }
            }
        }
        if self.fleet.ack == AckPlan::Auto {
            self.ack_and_live(link).await?;
        }
        self.write_down();
        batch.deliveries.clear();
        self.batch = batch;
        if self.fleet.ack == AckPlan::Auto {
            // Nothing was settled. What has come before a connection ended is still to be taken: it will not come again.
            return Ok(());
        }
        poll_fn(|cx| link.poll_settled(cx)).await
    }

    /// Messages that are settled with one ack.
    fn ack_size(&self) -> usize {
        match self.fleet.ack {
            AckPlan::Auto => BATCH,
            AckPlan::Manual { batch } => batch as usize,
        }
    }

    /// Works one delivery off; an error where it is time to leave.
    async fn work(&mut self) -> Result<(), ()> {
        let Some(worker) = &mut self.worker else { return Ok(()) };
        tokio::select! {
            biased;
            () = worker.work() => Ok(()),
            () = reached(&mut self.stage, Stage::Leave) => Err(()),
        }
    }

    /// Writes a batch into the ledger and the histograms.
    fn journal(&mut self, batch: &mut Batch) {
        let Batch { deliveries, arrivals, seen } = batch;
        let observed_us = self.shared.now_us();
        arrivals.clear();
        arrivals.extend(deliveries.iter().map(|(delivery, body)| self.arrival(delivery, body, observed_us)));
        seen.clear();
        self.note_retries(deliveries, arrivals);
        self.shared.ledger.delivered(&mut self.order, arrivals, seen);
        self.note_first(deliveries, arrivals, seen);
        self.measure(arrivals, seen, deliveries);
        if let Some(tracer) = &self.shared.tracer {
            tracer.look(&self.shared.chain, &self.shared.clock, deliveries, arrivals);
        }
    }

    fn arrival(&self, delivery: &Delivery, body: &[u8], observed_us: u64) -> Arrival {
        arrival(&*self.destinations, self.me.id, (delivery, body), self.shared.run, observed_us)
    }

    fn measure(&self, arrivals: &[Arrival], seen: &[Seen], deliveries: &Deliveries) {
        let counters = &self.meters.counters;
        add(&counters.delivered, arrivals.len() as u64);
        let observed_us = arrivals.last().map_or(0, |arrival| arrival.observed_us);
        self.meters.delivered_until_us.fetch_max(observed_us, Ordering::Relaxed);
        let repeated = || seen.iter().filter(|seen| matches!(seen, Seen::Repeated(_)));
        add(&counters.duplicates, repeated().count() as u64);
        repeated().for_each(|seen| self.meters.note_repeated(*seen));
        // A repeated delivery has no latency of its own: its message has arrived.
        let first = arrivals.iter().zip(seen).filter(|(_, seen)| **seen == Seen::First);
        let stamps = first.filter_map(|(arrival, _)| match arrival.reading {
            Reading::Ours(stamp) => Some((stamp, arrival.observed_us)),
            _ => None,
        });
        let sample = |intended_us: u64, from_us: u64, observed_us: u64| Sample {
            us: observed_us.saturating_sub(from_us),
            measured: self.shared.is_measured(intended_us),
        };
        self.meters
            .end_to_end
            .record(stamps.clone().map(|(stamp, at)| sample(stamp.intended_us, stamp.intended_us, at)));
        let sent_us = |stamp: &Stamp| stamp.intended_us + stamp.lag_us;
        self.meters
            .end_to_end_from_send
            .record(stamps.map(|(stamp, at)| sample(stamp.intended_us, sent_us(&stamp), at)));
        let dead = arrivals.iter().zip(seen).map(|(arrival, seen)| (arrival.reading, *seen == Seen::First));
        self.shared.deaths.note(deliveries, dead, &self.shared);
    }

    /// Settles what is worked off.
    fn ack(&mut self, link: &mut dyn SubscriberLink) -> Result<(), ClientError> {
        if self.to_ack.is_empty() {
            return Ok(());
        }
        if self.fleet.ack != AckPlan::Auto {
            link.settle(self.last_tag, self.to_ack.len() > 1, Settle::Ack)?;
        }
        self.acked.append(&mut self.to_ack);
        Ok(())
    }

    /// Writes down what is settled: many at once cost less than each.
    fn write_down(&mut self) {
        let count = self.acked.len();
        if count == 0 {
            return;
        }
        if !self.followers.is_empty() {
            self.acked.iter().for_each(|done| self.note_followed(done));
        }
        let consumed = self.shared.ledger.consumed(self.acked.drain(..).map(|done| (done.destination, done.reading)));
        add(&self.meters.counters.consumed, consumed);
        self.hold(-(count as i64));
    }

    /// Counts what was received and not settled, up or down.
    fn hold(&mut self, change: i64) {
        self.unsettled += change;
        self.meters.counters.unsettled.fetch_add(change, Ordering::AcqRel);
    }

    /// What was received on a channel that is gone will not be settled.
    fn forget_unacked(&mut self) {
        self.write_down();
        self.to_ack.clear();
        self.hold(-self.unsettled);
    }
}
