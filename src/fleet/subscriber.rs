//! One subscriber: receives, journals, works, settles.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::meters::{ConsumerMeters, add};
use super::slot::{Held, Slot};
use super::work::Worker;
use super::{Shared, Stage, backoff, reached};
use crate::client::{ClientError, Delivery, QueueSubscription, Settle, SubscriberLink, SubscriberSetup};
use crate::latency::Sample;
use crate::ledger::incidents::IncidentKind;
use crate::ledger::{Arrival, Order, Seen};
use crate::plan::{AckPlan, ConsumerFleet, Subscriber};
use crate::stamp::{Reading, STAMP_LEN, Stamp};

/// Most deliveries that are taken at once.
const BATCH: usize = 256;
/// An ack batch that does not fill is sent after this long.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// Which destination of the ledger a subscriber's deliveries belong to.
pub trait Destinations: Send + Sync {
    /// The destination of what `subscriber` receives from queue number `queue`.
    fn of(&self, subscriber: u32, queue: usize) -> u32;
    /// The destination that is the queue called `name`, where the plan knows it.
    fn named(&self, name: &str) -> Option<u32>;
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
    setup: SubscriberSetup,
    order: Order,
    worker: Option<Worker>,
    /// Worked off and not yet acked, oldest first.
    to_ack: Vec<(u32, Reading)>,
    last_tag: u64,
    /// Received and not settled.
    unsettled: i64,
}

impl SubscriberTask {
    /// A subscriber that consumes from the queues called `queue_names`, in the order of the plan's numbers.
    pub fn new(
        shared: &Arc<Shared>,
        slot: Arc<Slot>,
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
        };
        Self {
            stage: shared.stage.clone(),
            shared: Arc::clone(shared),
            slot,
            worker: fleet.work.map(|work| Worker::new(work, me.seed)),
            fleet: Arc::clone(fleet),
            me,
            meters,
            destinations,
            setup,
            order: Order::default(),
            to_ack: Vec::new(),
            last_tag: 0,
            unsettled: 0,
        }
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
        let mut failed: Option<(Held, ClientError)> = None;
        let mut failures = 0;
        loop {
            let connection_lost = failed.as_ref().filter(|(_, error)| !error.is_channel_only());
            let lost = connection_lost.map(|(held, error)| (held.generation, error));
            let Ok(held) = self.slot.get(lost, &mut self.stage.clone()).await else { break };
            let link = held.connection.open_subscriber(&self.setup).await;
            let outcome = match link {
                Ok(link) => {
                    let _ = ready.take().map(|ready| ready.send(Ok(())));
                    failures = 0;
                    self.on_link(link, &held).await
                }
                Err(error) => match ready.take() {
                    // Before the load a subscription that fails is no fault to live with.
                    Some(ready) => return drop(ready.send(Err(error))),
                    None => Err(error),
                },
            };
            self.slot.journal_notices(&*held.connection);
            let Err(error) = outcome else { break };
            // What was worked off but not acked comes again: it was not consumed.
            self.forget_unacked();
            match &error {
                ClientError::ChannelClosed { .. } => self.slot.journal(IncidentKind::ChannelClosed, error.to_string()),
                ClientError::Cancelled { .. } => self.slot.journal(IncidentKind::Cancelled, error.to_string()),
                _ => {}
            }
            failures += 1;
            tokio::select! {
                () = tokio::time::sleep(backoff::wait(self.me.seed, failures)) => {}
                () = reached(&mut self.stage, Stage::Leave) => break,
            }
            failed = Some((held, error));
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

    async fn on_link(&mut self, mut link: Box<dyn SubscriberLink>, held: &Held) -> Result<(), ClientError> {
        let mut deliveries = Vec::with_capacity(BATCH);
        loop {
            let pause = if self.to_ack.is_empty() { Duration::from_secs(1) } else { FLUSH_AFTER };
            tokio::select! {
                biased;
                () = reached(&mut self.stage, Stage::Leave) => {
                    let flushed = self.flush(&mut *link).await;
                    link.close().await;
                    return flushed;
                }
                received = link.receive(&mut deliveries, BATCH) => received?,
                () = tokio::time::sleep(pause) => {
                    self.flush(&mut *link).await?;
                    self.slot.journal_notices(&*held.connection);
                }
            }
            if !deliveries.is_empty() && self.take(&mut *link, &mut deliveries).await?.is_leaving() {
                let flushed = self.flush(&mut *link).await;
                link.close().await;
                return flushed;
            }
        }
    }

    /// Journals a batch, works it off and settles it.
    async fn take(
        &mut self,
        link: &mut dyn SubscriberLink,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<Taken, ClientError> {
        let observed_us = self.shared.now_us();
        let arrivals: Vec<_> = deliveries.iter().map(|delivery| self.arrival(delivery, observed_us)).collect();
        let mut seen = Vec::with_capacity(arrivals.len());
        self.shared.ledger.delivered(&mut self.order, &arrivals, &mut seen);
        self.measure(&arrivals, &seen, deliveries);
        self.hold(deliveries.len() as i64);
        for (delivery, arrival) in deliveries.drain(..).zip(arrivals) {
            if let Some(worker) = &mut self.worker {
                tokio::select! {
                    biased;
                    () = worker.work() => {}
                    // A slow consumer does not work off its whole batch before it leaves.
                    () = reached(&mut self.stage, Stage::Leave) => {
                        return Ok(Taken::Leaving);
                    }
                }
            }
            self.last_tag = delivery.tag;
            self.to_ack.push((arrival.destination, arrival.reading));
            let batch = match self.fleet.ack {
                AckPlan::Auto => BATCH,
                AckPlan::Manual { batch } => batch as usize,
            };
            if self.to_ack.len() >= batch {
                self.flush(link).await?;
            }
        }
        if self.fleet.ack == AckPlan::Auto {
            self.flush(link).await?;
        }
        Ok(Taken::All)
    }

    fn arrival(&self, delivery: &Delivery, observed_us: u64) -> Arrival {
        arrival(&*self.destinations, self.me.id, delivery, self.shared.run, observed_us)
    }

    fn measure(&self, arrivals: &[Arrival], seen: &[Seen], deliveries: &[Delivery]) {
        let counters = &self.meters.counters;
        add(&counters.delivered, arrivals.len() as u64);
        let observed_us = arrivals.last().map_or(0, |arrival| arrival.observed_us);
        self.meters.delivered_until_us.fetch_max(observed_us, Ordering::Relaxed);
        add(&counters.duplicates, seen.iter().filter(|seen| matches!(seen, Seen::Repeated(_))).count() as u64);
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
        self.shared.deaths.note(deliveries, arrivals.iter().map(|arrival| arrival.reading), &self.shared);
    }

    /// Settles what is worked off.
    async fn flush(&mut self, link: &mut dyn SubscriberLink) -> Result<(), ClientError> {
        if self.to_ack.is_empty() {
            return Ok(());
        }
        if self.fleet.ack != AckPlan::Auto {
            link.settle(self.last_tag, self.to_ack.len() > 1, Settle::Ack).await?;
        }
        let count = self.to_ack.len();
        self.shared.ledger.consumed(self.to_ack.drain(..));
        add(&self.meters.counters.consumed, count as u64);
        self.hold(-(count as i64));
        Ok(())
    }

    /// Counts what was received and not settled, up or down.
    fn hold(&mut self, change: i64) {
        self.unsettled += change;
        self.meters.counters.unsettled.fetch_add(change, Ordering::AcqRel);
    }

    /// What was received on a channel that is gone will not be settled.
    fn forget_unacked(&mut self) {
        self.to_ack.clear();
        self.hold(-self.unsettled);
    }
}

/// Whether a batch was worked off.
enum Taken {
    All,
    Leaving,
}

impl Taken {
    fn is_leaving(&self) -> bool {
        matches!(self, Self::Leaving)
    }
}

/// What the ledger needs to know of a delivery.
pub fn arrival(
    destinations: &dyn Destinations,
    subscriber: u32,
    delivery: &Delivery,
    run: u32,
    observed_us: u64,
) -> Arrival {
    let reading = match &delivery.stamp {
        Some(stamp) => Stamp::read(stamp, &delivery.body, run),
        None if delivery.body.len() >= STAMP_LEN => Stamp::read_body(&delivery.body, run),
        None => Reading::Foreign,
    };
    let death = delivery.death.as_ref();
    Arrival {
        destination: destinations.of(subscriber, delivery.queue),
        reading,
        redelivered: delivery.redelivered,
        observed_us,
        dead_lettered: death
            .and_then(|death| destinations.named(&death.queue).map(|from| (from, Arc::from(death.reason.as_str())))),
    }
}
