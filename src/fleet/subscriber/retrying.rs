//! A subscriber that tries messages again: it waits with them, or publishes them to where they wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::SubscriberTask;
use crate::client::{
    ClientError, Delivery, MoreProperties, Outbox, Outcome, Properties, PublisherLink, PublisherSetup, Settle,
    SubscriberLink,
};
use crate::fleet::failing::Wait;
use crate::fleet::slot::{Leaving, Slot};
use crate::fleet::{Stage, reached};
use crate::ledger::Arrival;
use crate::plan::{Arguments, RetryPlan};
use crate::stamp::Reading;

/// The header that says how often a message was tried again.
const COUNT_HEADER: &str = "x-retry-count";
/// The header that says to a delayed exchange for how many milliseconds to hold a message.
const DELAY_HEADER: &str = "x-delay";
/// How long a confirm of such a publish may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// What becomes of a message that waits.
pub(super) enum Waited {
    /// It has waited in its consumer, and is tried again now.
    Here,
    /// It waits elsewhere, and is settled.
    Elsewhere,
    /// It is time to leave.
    Leaving,
}

/// Where a subscriber publishes messages to that it failed: channels on a connection that no subscriber shares, because a
/// broker that blocks publishers would block its acks too.
pub struct Outlet {
    slot: Arc<Slot>,
    /// By exchange.
    links: BTreeMap<String, Box<dyn PublisherLink>>,
    /// The connection that they are on.
    generation: u64,
    /// Why that is of no use any more.
    failed: Option<ClientError>,
    batch: Outbox,
}

/// Why a message was not published.
enum Unpublished {
    Failed(ClientError),
    Leaving,
}

impl From<ClientError> for Unpublished {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

impl Outlet {
    /// On the connection of `slot`.
    pub fn new(slot: Arc<Slot>) -> Self {
        Self { slot, links: BTreeMap::new(), generation: 0, failed: None, batch: Outbox::default() }
    }

    /// Publishes a message to where it waits, and waits for the confirm.
    async fn publish(
        &mut self,
        (delivery, body): (&Delivery, &[u8]),
        (retry, wait, sequence): (&RetryPlan, Wait, u64),
        stage: &mut watch::Receiver<Stage>,
    ) -> Result<(), Unpublished> {
        let Some(step) = retry.steps.get(wait.number) else { return Ok(()) };
        let lost = self.failed.take();
        let lost = lost.as_ref().map(|error| (self.generation, error));
        let held = self.slot.get(lost, stage).await.map_err(|Leaving| Unpublished::Leaving)?;
        if held.generation != self.generation {
            self.links.clear();
            self.generation = held.generation;
        }
        let link = match self.links.get_mut(&retry.exchange) {
            Some(link) => link,
            None => {
                let setup = PublisherSetup {
                    exchange: retry.exchange.clone(),
                    confirms: true,
                    // A delayed exchange routes later, and has all returned that is mandatory.
                    mandatory: !retry.is_delayed,
                    persistent: true,
                };
                let link = held.connection.open_publisher(&setup).await?;
                self.links.entry(retry.exchange.clone()).or_insert(link)
            }
        };
        let key: Arc<str> = step.key.as_str().into();
        let mut headers = Arguments::from([(COUNT_HEADER.to_owned(), (wait.number as u64 + 1).into())]);
        let delay_ms = wait.delay_us.div_ceil(1_000).max(1);
        if retry.is_delayed {
            headers.insert(DELAY_HEADER.to_owned(), delay_ms.into());
        }
        // The queue's own time to live is the longest; with jitter a message may wait for less.
        let expiration_ms = (retry.jitter > 0.0 && !retry.is_delayed).then_some(delay_ms);
        let mut more = MoreProperties { headers, expiration_ms, ..MoreProperties::default() };
        delivery.ids.iter().for_each(|ids| ids.keep(&mut more));
        let more = Some(Arc::new(more));
        self.batch.clear();
        // A message that comes back is known by its stamp.
        self.batch.push(sequence, key, |to| {
            to.extend_from_slice(body);
            Properties { priority: None, stamp: delivery.stamp, more }
        });
        let mut told = link.publish_answered(&mut self.batch, CONFIRM_WITHIN).await?;
        match told.pop().map(|settlement| settlement.outcome) {
            Some(Outcome::Confirmed) => Ok(()),
            Some(Outcome::Nacked) => Err(refused("nacked it").into()),
            Some(Outcome::Returned { code, reason }) => Err(refused(&format!("returned it: {code} {reason}")).into()),
            None => Err(refused("said nothing").into()),
        }
    }
}

fn refused(what: &str) -> ClientError {
    ClientError::ConnectionLost {
        reason: format!("a message that is to be tried again was published, and the broker {what}"),
    }
}

impl SubscriberTask {
    /// Has a message wait before it is tried again. One that cannot be published goes back to its queue.
    ///
    /// # Errors
    /// The link of the subscriber is known to have failed.
    pub(super) async fn wait(
        &mut self,
        link: &mut dyn SubscriberLink,
        (delivery, body): (&Delivery, &[u8]),
        arrival: &Arrival,
        wait: Wait,
    ) -> Result<Waited, ClientError> {
        let Some(failing) = self.failing.clone() else { return Ok(Waited::Here) };
        let (Some(retry), Reading::Ours(stamp)) = (failing.retry(delivery.queue), &arrival.reading) else {
            return Ok(Waited::Here);
        };
        let Some(outlet) = self.outlet.as_mut().filter(|_| retry.is_published()) else {
            let begun_us = self.shared.now_us();
            tokio::select! {
                () = sleep(Duration::from_micros(wait.delay_us)) => {}
                () = reached(&mut self.stage, Stage::Leave) => return Ok(Waited::Leaving),
            }
            self.blocked.note(begun_us, self.shared.now_us());
            failing.waited(stamp, delivery.queue, wait);
            // The attempt that follows is made at the same delivery.
            let away = failing.takes_again(stamp, delivery.queue, self.shared.now_us());
            let us = away.map_or_else(|| self.shared.now_us().saturating_sub(begun_us), |away| away.us);
            if self.shared.is_measured(stamp.intended_us) {
                self.meters.retries.note(us, Some(wait.delay_us));
            }
            return Ok(Waited::Here);
        };
        let published =
            timeout(CONFIRM_WITHIN, outlet.publish((delivery, body), (retry, wait, stamp.sequence), &mut self.stage))
                .await;
        let late =
            ClientError::TimedOut { what: "a message that is to be tried again".to_owned(), after: CONFIRM_WITHIN };
        match published.unwrap_or(Err(Unpublished::Failed(late))) {
            Ok(()) => {
                failing.waited(stamp, delivery.queue, wait);
                self.refuse(link, delivery, arrival, Settle::Ack)?;
                Ok(Waited::Elsewhere)
            }
            Err(Unpublished::Leaving) => Ok(Waited::Leaving),
            Err(Unpublished::Failed(error)) => {
                outlet.failed = Some(error);
                outlet.links.clear();
                self.refuse(link, delivery, arrival, Settle::Nack { requeue: true })?;
                Ok(Waited::Elsewhere)
            }
        }
    }
}
