//! Past messages are published once more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fleets::client;
use super::redrive::{pause, publish};
use crate::client::{ClientError, Connection, Outbox, PublisherSetup};
use crate::endpoint::Endpoint;
use crate::fleet::{ATTEMPT_REPLAYED, MessageMaker, Shared};
use crate::plan::{ClientKind, Moment, Plan, ProducerFleet, Publisher, ReplayPlan};
use crate::record::ReplayRow;
use crate::stamp::Stamp;

/// Messages that are published together.
const BATCH: usize = 100;
/// Header of a message that is published once more.
const REPLAYED_HEADER: &str = "x-replayed";
/// Header that says when it was to be sent first.
const ORIGINAL_HEADER: &str = "x-original-timestamp";

/// Publishes past messages once more.
pub(super) struct Replayer<'a> {
    pub(super) plan: &'a Plan,
    pub(super) endpoint: &'a Endpoint,
    pub(super) shared: &'a Shared,
}

impl Replayer<'_> {
    /// Carries out one replay.
    pub(super) async fn carry_out(&self, replay: &ReplayPlan) -> ReplayRow {
        let fleet = &self.plan.producers[replay.producer];
        let (producer, started_us) = (fleet.name.clone(), self.shared.clock.now_us());
        let mut row = ReplayRow { producer, started_us, ..ReplayRow::default() };
        row.error = self.replay(fleet, replay, &mut row.replayed).await.err().map(|error| error.to_string());
        row.ended_us = self.shared.clock.now_us();
        row
    }

    async fn replay(&self, fleet: &ProducerFleet, replay: &ReplayPlan, replayed: &mut u64) -> Result<(), ClientError> {
        let marked = Arc::new(marked(fleet));
        let defect = |error: crate::plan::FieldError| ClientError::Defect { reason: error.to_string() };
        let messages = MessageMaker::new(&marked).map_err(defect)?;
        let connection = client(ClientKind::Lapin).connect(self.endpoint, "lurcher replay").await?;
        let outcome = self.over(&*connection, (fleet, &messages), replay, replayed).await;
        connection.close(Duration::from_secs(2)).await;
        outcome
    }

    async fn over(
        &self,
        connection: &dyn Connection,
        (fleet, messages): (&ProducerFleet, &MessageMaker),
        replay: &ReplayPlan,
        replayed: &mut u64,
    ) -> Result<(), ClientError> {
        let setup = PublisherSetup {
            exchange: fleet.exchange.clone(),
            confirms: true,
            mandatory: false,
            persistent: fleet.persistent,
        };
        let mut link = connection.open_publisher(&setup).await?;
        let begun = Instant::now();
        for publisher in &fleet.publishers {
            let meant: Vec<(u64, u64)> = self.meant(fleet, publisher, replay).collect();
            for some in meant.chunks(BATCH) {
                let mut batch = Outbox::default();
                for (sequence, intended_us) in some {
                    self.shared.ledger.replayed(publisher.id, *sequence);
                    let stamp = Stamp {
                        run: self.shared.run,
                        publisher: publisher.id,
                        attempt: ATTEMPT_REPLAYED,
                        sequence: *sequence,
                        intended_us: *intended_us,
                        lag_us: 0,
                    };
                    let moment =
                        Moment { unix_us: self.shared.clock.unix_us(*intended_us), ids: u64::from(replay.new_ids) };
                    messages.make(publisher, &stamp, &moment, &mut batch);
                }
                publish(&mut *link, batch).await?;
                *replayed += some.len() as u64;
                pause(begun, *replayed, replay.per_s).await;
            }
        }
        link.close().await;
        Ok(())
    }

    /// Sequences of the messages that the broker took in the time in question, and when each was to be sent; without a rate
    /// that is not known, and told as 0.
    fn meant<'a>(
        &'a self,
        fleet: &'a ProducerFleet,
        publisher: &'a Publisher,
        replay: &'a ReplayPlan,
    ) -> impl Iterator<Item = (u64, u64)> + 'a {
        let schedule = self.plan.schedule(fleet, publisher);
        let ledger = &self.shared.ledger;
        let sent = (0..ledger.published_by(publisher.id)).filter(|sequence| ledger.was_taken(publisher.id, *sequence));
        let timed = sent.map(move |sequence| {
            (sequence, schedule.as_ref().and_then(|schedule| schedule.due_us(sequence)).unwrap_or(0))
        });
        let (from_us, to_us) = (replay.from_us.unwrap_or(0), replay.to_us.unwrap_or(u64::MAX));
        timed.filter(move |(_, at_us)| (from_us..to_us).contains(at_us))
    }
}

/// The fleet with the headers that mark its messages as replayed.
fn marked(fleet: &ProducerFleet) -> ProducerFleet {
    let mut marked = fleet.clone();
    marked.properties.headers.insert(REPLAYED_HEADER.to_owned(), true.into());
    marked.properties.headers.insert(ORIGINAL_HEADER.to_owned(), "{{now}}".into());
    marked
}
