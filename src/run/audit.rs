//! The end of the books: waits until the queues are empty, then reads what is left in them, message by message.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fleets::{Fleets, client};
use super::routes::PlanDestinations;
use crate::broker::{Broker, QueueDepth};
use crate::client::{ClientError, Connection, Deliveries, QueueSubscription, Settle, SubscriberSetup};
use crate::endpoint::Endpoint;
use crate::fleet::{Shared, arrival};
use crate::ledger::Arrival;
use crate::plan::topology::RemovalRule;
use crate::plan::{ClientKind, Plan, PrefetchScope, QueueKind, QueuePlan, StreamOffset};
use crate::stamp::Reading;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So many looks in a row have to find nothing before a queue counts as empty.
const QUIET_LOOKS: u32 = 5;
/// Nothing arrives for this long: the queue is read to its end, or the broker holds something back.
const IDLE: Duration = Duration::from_millis(500);
/// So often a queue that still says it holds messages is read again.
const READINGS: u32 = 20;
const BATCH: usize = 1024;
/// The broker counts anew each five seconds.
const COUNTED_WITHIN: Duration = Duration::from_secs(6);

/// Looks at queues over a connection of its own.
pub(super) struct Auditor<'a> {
    pub(super) plan: &'a Plan,
    pub(super) endpoint: &'a Endpoint,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) destinations: &'a PlanDestinations,
}

impl Auditor<'_> {
    async fn connect(&self) -> Result<Box<dyn Connection>, ClientError> {
        client(ClientKind::Lapin).connect(self.endpoint, "lurcher audit").await
    }

    /// Queues that ought to get empty by themselves: those with consumers, and those whose messages expire in time.
    fn emptying(&self) -> Vec<usize> {
        let queues = &self.plan.topology.queues;
        let expires_in_time = |number: &usize| {
            let ttl_ms = queues[*number].arguments.get("x-message-ttl").and_then(serde_json::Value::as_u64);
            let rules = &queues[*number].removal_rules;
            // An expiration of single messages is as short as a scenario of this length makes sense of.
            rules.contains(&RemovalRule::Ttl)
                && ttl_ms.is_none_or(|ms| ms.saturating_mul(1000) <= self.plan.load.drain_us)
        };
        let consumed = |number: &usize| self.plan.consumers.iter().any(|fleet| fleet.queues.contains(number));
        let empties =
            |number: &usize| queues[*number].kind != QueueKind::Stream && (consumed(number) || expires_in_time(number));
        (0..queues.len()).filter(|number| empties(number) && !queues[*number].exclusive).collect()
    }

    /// Waits until all answers are in and all queues that ought to get empty are, or the drain time is over.
    pub(super) async fn drain(&self, fleets: &Fleets) {
        let over = tokio::time::sleep(Duration::from_micros(self.plan.load.drain_us));
        tokio::select! {
            () = self.drained(fleets) => {}
            () = over => {}
        }
    }

    async fn drained(&self, fleets: &Fleets) {
        let mut connection = None;
        // What a delayed exchange holds shows in no queue.
        let held = self.plan.retries.iter().filter(|retry| retry.is_delayed).flat_map(|retry| &retry.steps);
        let longest_held = Duration::from_micros(held.map(|step| step.delay_us).max().unwrap_or(0));
        let quiet_looks = QUIET_LOOKS + longest_held.div_duration_f64(LOOK_EVERY).ceil() as u32;
        let (mut quiet, mut before) = (0, 0);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let running = self.shared.ledger.running();
            let still = self.shared.publishers_busy.load(Ordering::Acquire) == 0
                && fleets.unsettled() == 0
                && running.consumed == before;
            before = running.consumed;
            if !still || !self.all_empty(&mut connection, fleets).await {
                quiet = 0;
                continue;
            }
            quiet += 1;
            // All copies are accounted for, or nothing has moved for a while.
            if quiet >= quiet_looks || running.backlog == 0 {
                return;
            }
        }
    }

    async fn all_empty(&self, connection: &mut Option<Box<dyn Connection>>, fleets: &Fleets) -> bool {
        if connection.is_none() {
            *connection = self.connect().await.ok();
        }
        let Some(open) = connection else { return false };
        for number in self.emptying() {
            match open.ready(&self.plan.topology.queues[number].name).await {
                Ok(None | Some(0)) => {}
                Ok(Some(_)) => return false,
                Err(_) => {
                    *connection = None;
                    return false;
                }
            }
        }
        for (slot, queues) in fleets.exclusive() {
            let Some(open) = slot.current().await else { continue };
            for number in queues {
                if !matches!(open.ready(&self.plan.topology.queues[*number].name).await, Ok(None | Some(0))) {
                    return false;
                }
            }
        }
        true
    }

    /// Notes what is in queues and cannot be read, as the broker counts it: what a consumer has and does not settle, be it
    /// somebody else's or one that only the broker still knows, and dead letters that are kept until somebody takes them.
    pub(super) async fn note_held(&self, broker: &Broker) {
        let Some(management) = broker.management().filter(|_| self.shared.ledger.backlog() > 0) else { return };
        let queues = &self.plan.topology.queues;
        let held = |depths: &[QueueDepth]| -> Vec<(usize, u64)> {
            let depth = |name: &str| depths.iter().find(|depth| depth.name == name);
            let held = |queue: &QueuePlan| depth(&queue.name).map(|depth| depth.messages.saturating_sub(depth.ready));
            // A stream keeps what everybody has read.
            let queues = queues.iter().enumerate().filter(|(_, queue)| queue.kind != QueueKind::Stream);
            queues.filter_map(|(number, queue)| Some((number, held(queue)?))).filter(|(_, held)| *held > 0).collect()
        };
        let keeps = |queue: &QueuePlan| {
            queue.arguments.get("x-dead-letter-strategy").is_some_and(|strategy| strategy == "at-least-once")
        };
        let seen = management.queues().await.is_ok_and(|depths| !held(&depths).is_empty());
        if !seen && !queues.iter().any(keeps) {
            return;
        }
        // Our own consumers have left a moment ago, which may not be counted yet.
        tokio::time::sleep(COUNTED_WITHIN).await;
        let Ok(depths) = management.queues().await else { return };
        for (number, held) in held(&depths) {
            self.shared.ledger.held(self.destinations.by_queue[number][0], held);
        }
    }

    /// Reads what is left in all queues and journals it; true where every queue was read to its end.
    ///
    /// # Errors
    /// The broker could not be reached, or the connection was lost.
    pub(super) async fn read_all(&self, fleets: &Fleets) -> Result<bool, ClientError> {
        let queues = &self.plan.topology.queues;
        let connection = self.connect().await?;
        let (streams, others): (Vec<usize>, Vec<usize>) = (0..queues.len())
            .filter(|number| !queues[*number].exclusive)
            .partition(|number| queues[*number].kind == QueueKind::Stream);
        let mut complete = self.read_to_end(&*connection, &others).await?;
        for stream in streams {
            self.read(&*connection, &[stream]).await?;
        }
        for (slot, exclusive) in fleets.exclusive() {
            if let Some(connection) = slot.current().await {
                complete &= self.read_to_end(&*connection, exclusive).await?;
            }
        }
        connection.close(Duration::from_secs(2)).await;
        Ok(complete)
    }

    async fn read_to_end(&self, connection: &dyn Connection, queues: &[usize]) -> Result<bool, ClientError> {
        for _ in 0..READINGS {
            let mut holding = Vec::new();
            for number in queues {
                if connection.ready(&self.plan.topology.queues[*number].name).await?.unwrap_or(0) > 0 {
                    holding.push(*number);
                }
            }
            if holding.is_empty() {
                return Ok(true);
            }
            self.read(connection, &holding).await?;
        }
        Ok(false)
    }

    /// Reads queues until nothing comes any more.
    async fn read(&self, connection: &dyn Connection, numbers: &[usize]) -> Result<(), ClientError> {
        let setup = SubscriberSetup {
            queues: numbers.iter().map(|number| subscription(self.plan, *number)).collect(),
            prefetch: 2 * BATCH as u16,
            prefetch_scope: PrefetchScope::Consumer,
            auto_ack: false,
            poll: None,
            priority: 0,
            ids: false,
        };
        let mut link = connection.open_subscriber(&setup).await?;
        let mut deliveries = Deliveries::default();
        loop {
            match tokio::time::timeout(IDLE, link.receive(&mut deliveries, BATCH)).await {
                Err(_) => break,
                Ok(received) => received?,
            }
            let last = deliveries.last().map(|delivery| delivery.tag);
            self.journal(&mut deliveries);
            if let Some(tag) = last {
                link.settle_in_time(tag, true, Settle::Ack).await?;
            }
        }
        link.close().await;
        Ok(())
    }

    fn journal(&self, deliveries: &mut Deliveries) {
        let shared = self.shared;
        let observed_us = shared.clock.now_us();
        let mut found = Vec::with_capacity(deliveries.len());
        let mut readings = Vec::with_capacity(deliveries.len());
        for (delivery, body) in deliveries.iter() {
            let here = &self.destinations.by_queue[delivery.queue];
            let first = arrival(self.destinations, u32::MAX, (delivery, body), shared.run, observed_us);
            // What a consumer had before is no other dead letter.
            readings.push((first.reading, !shared.ledger.has_delivered(&first)));
            // What a stream holds its readers have seen, strangers included; only what they have not is left for them.
            let read_by_many = self.plan.topology.queues[delivery.queue].kind == QueueKind::Stream
                && shared.ledger.destinations()[here[0] as usize].name.contains('#');
            if read_by_many && !matches!(first.reading, Reading::Ours(_)) {
                continue;
            }
            found.extend(here.iter().map(|destination| Arrival { destination: *destination, ..first.clone() }));
        }
        shared.ledger.found(&found);
        for arrival in &found {
            if let Reading::Ours(stamp) = &arrival.reading {
                let queue = self.destinations.by_queue.iter().position(|all| all.contains(&arrival.destination));
                let on_its_way = queue.is_some_and(|queue| self.plan.is_on_the_way(queue));
                shared.fates.found(stamp, arrival.destination, arrival.deaths(), on_its_way);
            }
        }
        shared.deaths.note(deliveries, readings.into_iter(), shared);
        deliveries.clear();
    }
}

/// A queue of the plan, to be read from its beginning.
pub(super) fn subscription(plan: &Plan, number: usize) -> QueueSubscription {
    let queue = &plan.topology.queues[number];
    let offset = (queue.kind == QueueKind::Stream).then_some(StreamOffset::First);
    QueueSubscription { number, name: queue.name.clone(), offset }
}
