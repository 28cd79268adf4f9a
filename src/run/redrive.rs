//! Dead letters are taken out of their queue and sent back to where they came from.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::audit::subscription;
use super::fleets::client;
use super::routes::PlanDestinations;
use crate::client::{
    ClientError, Connection, Deliveries, MoreProperties, Outbox, Outcome, Properties, PublisherLink, PublisherSetup,
    Settle, SubscriberSetup,
};
use crate::endpoint::Endpoint;
use crate::fleet::{Shared, arrival};
use crate::ledger::Arrival;
use crate::plan::{ClientKind, Plan, PrefetchScope, RedrivePlan};
use crate::record::RedriveRow;
use crate::stamp::{Reading, STAMP_LEN, Stamp};

/// Nothing comes for this long: the queue is read to its end.
const IDLE: Duration = Duration::from_millis(500);
/// Messages that are published together, and acked once all of them are confirmed.
const BATCH: usize = 100;
/// How long their confirms may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);

/// Sends dead letters back.
pub(super) struct Redriver<'a> {
    pub(super) plan: &'a Plan,
    pub(super) endpoint: &'a Endpoint,
    pub(super) shared: &'a Shared,
    pub(super) destinations: &'a PlanDestinations,
}

impl Redriver<'_> {
    /// Carries out one redrive. What it does not take stays where it is.
    pub(super) async fn carry_out(&self, redrive: &RedrivePlan) -> RedriveRow {
        let mut row = RedriveRow {
            queue: self.plan.topology.queues[redrive.queue].name.clone(),
            started_us: self.shared.clock.now_us(),
            ..RedriveRow::default()
        };
        row.error = self.redrive(redrive, &mut row).await.err().map(|error| error.to_string());
        row.ended_us = self.shared.clock.now_us();
        row
    }

    async fn redrive(&self, redrive: &RedrivePlan, row: &mut RedriveRow) -> Result<(), ClientError> {
        let client = client(ClientKind::Lapin);
        // A broker that takes no publishes must not keep acks waiting: one connection for each way.
        let taking = client.connect(self.endpoint, "lurcher redrive").await?;
        let giving = client.connect(self.endpoint, "lurcher redrive, publishing").await?;
        let outcome = self.between(redrive, (&*taking, &*giving), row).await;
        // What was not acked goes back.
        taking.close(Duration::from_secs(2)).await;
        giving.close(Duration::from_secs(2)).await;
        outcome
    }

    async fn between(
        &self,
        redrive: &RedrivePlan,
        (taking, giving): (&dyn Connection, &dyn Connection),
        row: &mut RedriveRow,
    ) -> Result<(), ClientError> {
        let setup = SubscriberSetup {
            queues: vec![subscription(self.plan, redrive.queue)],
            // What stays is held until all has been looked at: else it would come again and again.
            prefetch: 0,
            prefetch_scope: PrefetchScope::Consumer,
            auto_ack: false,
            poll: None,
            priority: 0,
            ids: self.plan.has_chains(),
        };
        let mut from = taking.open_subscriber(&setup).await?;
        let exchange = redrive.to.as_ref().map_or("", |(exchange, _)| exchange);
        let setup = PublisherSetup { exchange: exchange.to_owned(), confirms: true, mandatory: true, persistent: true };
        let mut to = giving.open_publisher(&setup).await?;
        let mut deliveries = Deliveries::default();
        let begun = Instant::now();
        loop {
            match tokio::time::timeout(IDLE, from.receive(&mut deliveries, BATCH)).await {
                Err(_) => break,
                Ok(received) => received?,
            }
            let (mut batch, mut taken, mut found) = (Outbox::default(), Vec::new(), Vec::new());
            for (delivery, body) in deliveries.iter() {
                let arrival = self.arrival((delivery, body));
                let last = delivery.deaths.first();
                let is_meant = last.is_some_and(|last| redrive.reason.as_ref().is_none_or(|it| *it == last.reason));
                // What stays the audit finds.
                found.push((arrival.reading, is_meant));
                let (Some(last), true) = (last, is_meant) else {
                    row.left += 1;
                    continue;
                };
                let key = redrive.to.as_ref().map_or(last.queue.as_str(), |(_, key)| key);
                self.shared.ledger.redriven(&arrival, arrival.deaths().first().map(|last| last.from));
                let (stamp, body) = stamped_again(&arrival, delivery.stamp, body);
                // A message that comes back is known by its stamp.
                let token = match arrival.reading {
                    Reading::Ours(stamp) => stamp.sequence,
                    _ => delivery.tag,
                };
                let more = delivery.ids.as_ref().map(|ids| {
                    let mut more = MoreProperties::default();
                    ids.keep(&mut more);
                    Arc::new(more)
                });
                batch.push(token, key.into(), |to| {
                    to.extend_from_slice(&body);
                    Properties { stamp, more, ..Properties::default() }
                });
                taken.push(delivery.tag);
            }
            self.shared.deaths.note(&deliveries, found.into_iter(), self.shared);
            publish(&mut *to, batch).await?;
            for tag in &taken {
                from.settle_in_time(*tag, false, Settle::Ack).await?;
            }
            row.redriven += taken.len() as u64;
            deliveries.clear();
            pause(begun, row.redriven, redrive.per_s).await;
        }
        from.close().await;
        to.close().await;
        Ok(())
    }

    fn arrival(&self, delivery: (&crate::client::Delivery, &[u8])) -> Arrival {
        arrival(self.destinations, u32::MAX, delivery, self.shared.run, self.shared.clock.now_us())
    }
}

/// Waits until `count` messages since `begun` are no more than `per_s` allows.
pub(super) async fn pause(begun: Instant, count: u64, per_s: Option<f64>) {
    if let Some(per_s) = per_s {
        tokio::time::sleep_until(begun + Duration::from_secs_f64(count as f64 / per_s)).await;
    }
}

/// Publishes, and waits until all of it is confirmed.
pub(super) async fn publish(to: &mut dyn PublisherLink, mut batch: Outbox) -> Result<(), ClientError> {
    let told = to.publish_answered(&mut batch, CONFIRM_WITHIN).await?;
    match told.iter().find(|settlement| settlement.outcome != Outcome::Confirmed) {
        None => Ok(()),
        Some(refused) => {
            let reason = format!("a message that was sent again was refused: {:?}", refused.outcome);
            Err(ClientError::ConnectionLost { reason })
        }
    }
}

/// A message's stamp in a header, where it has it there, and its body, both as those of a further attempt.
fn stamped_again(
    arrival: &Arrival,
    header: Option<[u8; STAMP_LEN]>,
    body: &[u8],
) -> (Option<[u8; STAMP_LEN]>, Vec<u8>) {
    let Reading::Ours(stamp) = arrival.reading else { return (header, body.to_vec()) };
    let again = Stamp { attempt: stamp.attempt.saturating_add(1), ..stamp };
    match header {
        Some(_) => (Some(again.encode(body)), body.to_vec()),
        None => {
            let rest = body.get(STAMP_LEN..).unwrap_or_default();
            (None, [&again.encode(rest)[..], rest].concat())
        }
    }
}
