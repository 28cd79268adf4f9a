//! A subscriber that publishes a message for each one that it works off, before it settles that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Done, SubscriberTask};
use crate::client::{ClientError, Delivery, Ids, Outbox, Outcome, PublisherLink, PublisherSetup};
use crate::fleet::message::MessageMaker;
use crate::fleet::meters::{ProducerMeters, add};
use crate::fleet::slot::{Leaving, Slot};
use crate::fleet::{Shared, Stage, backoff, next_attempt, reached};
use crate::latency::Sample;
use crate::ledger::chain::Caused;
use crate::ledger::incidents::IncidentKind;
use crate::ledger::{Arrival, Settled};
use crate::plan::{Moment, Publisher};
use crate::stamp::{Reading, Stamp};

/// How long a confirm may take where the plan says nothing.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// One fleet's messages that a subscriber publishes.
pub struct Follower {
    /// The fleet, by its number in the plan.
    fleet: usize,
    messages: Arc<MessageMaker>,
    /// The publisher that the subscriber is in that fleet.
    me: Publisher,
    meters: Arc<ProducerMeters>,
    /// A connection that no subscriber shares: a broker that blocks publishers would block its acks too.
    slot: Arc<Slot>,
    link: Option<Box<dyn PublisherLink>>,
    /// The connection that the link is on.
    generation: u64,
    /// Why that is of no use any more.
    failed: Option<ClientError>,
    next: u64,
    batch: Outbox,
}

/// Why a message does not go.
enum Unsent {
    /// It is time to leave.
    Leaving,
    /// The subscriber's member has died, or its own link is of no use.
    Ended(ClientError),
    /// The channel or the connection that it was to go on failed.
    Failed(ClientError),
}

impl Follower {
    /// What `me` publishes of the fleet at `fleet` in the plan, on the connection of `slot`.
    pub fn new(
        fleet: usize,
        messages: &Arc<MessageMaker>,
        me: Publisher,
        meters: &Arc<ProducerMeters>,
        slot: Arc<Slot>,
    ) -> Self {
        Self {
            fleet,
            messages: Arc::clone(messages),
            me,
            meters: Arc::clone(meters),
            slot,
            link: None,
            generation: 0,
            failed: None,
            next: 0,
            batch: Outbox::default(),
        }
    }

    fn setup(&self) -> PublisherSetup {
        let fleet = &self.messages.fleet;
        PublisherSetup {
            exchange: fleet.exchange.clone(),
            confirms: true,
            mandatory: fleet.mandatory,
            persistent: fleet.persistent,
        }
    }

    /// Hands the message over, and waits for the broker's answer.
    async fn attempt(&mut self, shared: &Shared, stamp: &Stamp, ids: Option<&Ids>) -> Result<Outcome, ClientError> {
        self.batch.clear();
        let moment = Moment { unix_us: shared.clock.unix_us(stamp.intended_us), ids: 0 };
        self.messages.make_caused(&self.me, stamp, &moment, ids, &mut self.batch);
        let within = self.messages.fleet.confirm.map_or(CONFIRM_WITHIN, |it| Duration::from_micros(it.timeout_us));
        let lost = || ClientError::ConnectionLost { reason: "there is no channel to publish on".to_owned() };
        let link = self.link.as_mut().ok_or_else(lost)?;
        let told = link.publish_answered(&mut self.batch, within).await?;
        told.into_iter().next().map(|settlement| settlement.outcome).ok_or_else(lost)
    }

    /// What the broker said, or that it said nothing, goes into the ledger and the histograms. Whether it has it.
    fn note(&self, shared: &Shared, stamp: &Stamp, cause: Caused, outcome: Option<&Outcome>) -> bool {
        let counters = &self.meters.counters;
        let (settled, counter) = match outcome {
            Some(Outcome::Confirmed) => (Settled::Confirmed, Some(&counters.confirmed)),
            Some(Outcome::Nacked) => (Settled::Nacked, Some(&counters.nacked)),
            Some(Outcome::Returned { .. }) => (Settled::Returned, Some(&counters.returned)),
            None => (Settled::Unconfirmed, None),
        };
        shared.ledger.settled(self.me.id, [(stamp.sequence, settled)]);
        counter.into_iter().for_each(|counter| add(counter, 1));
        let is_there = settled == Settled::Confirmed;
        if is_there {
            shared.chain.confirmed(self.fleet, cause);
            let (now_us, measured) = (shared.now_us(), shared.is_measured(stamp.intended_us));
            let since = |us: u64| [Sample { us: now_us.saturating_sub(us), measured }].into_iter();
            self.meters.confirm.record(since(stamp.intended_us));
            self.meters.confirm_from_send.record(since(stamp.intended_us + stamp.lag_us));
        }
        is_there
    }
}

impl SubscriberTask {
    /// Publishes what follows a message that is worked off, each until the broker has it or returns it. False where it is
    /// time to leave: then the message is not to be settled any more.
    ///
    /// # Errors
    /// The member has died.
    pub(super) async fn follow(&mut self, delivery: &Delivery, arrival: &Arrival) -> Result<bool, ClientError> {
        let Reading::Ours(stamp) = &arrival.reading else { return Ok(true) };
        let mut followers = std::mem::take(&mut self.followers);
        let mut outcome = Ok(true);
        for follower in &mut followers {
            outcome = match self.publish_until_there(follower, stamp, delivery, arrival.destination).await {
                Ok(()) => continue,
                Err(Unsent::Leaving) => Ok(false),
                Err(Unsent::Ended(error) | Unsent::Failed(error)) => Err(error),
            };
            break;
        }
        self.followers = followers;
        outcome
    }

    async fn publish_until_there(
        &mut self,
        follower: &mut Follower,
        leads: &Stamp,
        delivery: &Delivery,
        destination: u32,
    ) -> Result<(), Unsent> {
        let shared = Arc::clone(&self.shared);
        let cause = Caused { publisher: leads.publisher, sequence: leads.sequence, destination };
        let sequence = follower.next;
        follower.next += 1;
        shared.chain.publishes(follower.me.id, cause);
        shared.ledger.published(follower.me.id, 1, true);
        add(&follower.meters.counters.published, 1);
        let mut stamp = Stamp { publisher: follower.me.id, attempt: 0, sequence, ..*leads };
        let mut failures = 0;
        loop {
            // A message's latencies count from when the first of its chain was to be sent.
            stamp.lag_us = shared.now_us().saturating_sub(stamp.intended_us);
            let ids = delivery.ids.as_deref();
            let error = match self.attempt(follower, &stamp, ids).await {
                Ok(outcome) => {
                    let is_there = follower.note(&shared, &stamp, cause, Some(&outcome));
                    if is_there || outcome != Outcome::Nacked {
                        return Ok(());
                    }
                    None
                }
                Err(unsent) => {
                    follower.note(&shared, &stamp, cause, None);
                    match unsent {
                        Unsent::Failed(error) if error.is_final() => {
                            shared.give_up(&follower.messages.fleet.name, &error);
                            return Err(Unsent::Leaving);
                        }
                        Unsent::Failed(error) => Some(error),
                        unsent => return Err(unsent),
                    }
                }
            };
            if let Some(error) = error {
                if error.is_channel_only() {
                    follower.slot.journal(IncidentKind::ChannelClosed, error.to_string());
                }
                follower.link = None;
                follower.failed = Some(error);
            }
            tokio::select! {
                () = sleep(backoff::wait(follower.me.seed, failures)) => {}
                () = reached(&mut self.stage, Stage::Leave) => return Err(Unsent::Leaving),
            }
            failures += 1;
            stamp.attempt = next_attempt(stamp.attempt);
            shared.ledger.published_again(follower.me.id, sequence);
        }
    }

    /// One attempt, on a channel that is opened where there is none.
    async fn attempt(&mut self, follower: &mut Follower, stamp: &Stamp, ids: Option<&Ids>) -> Result<Outcome, Unsent> {
        if follower.link.is_none() {
            let failed = follower.failed.take();
            let lost = failed.as_ref().filter(|error| !error.is_channel_only());
            let lost = lost.map(|error| (follower.generation, error));
            let held = follower.slot.get(lost, &mut self.stage).await.map_err(|Leaving| Unsent::Leaving)?;
            follower.generation = held.generation;
            // Whoever is dead publishes nothing.
            self.live().await.map_err(Unsent::Ended)?;
            let setup = follower.setup();
            let opened = tokio::select! {
                biased;
                opened = held.connection.open_publisher(&setup) => opened,
                () = reached(&mut self.stage, Stage::Leave) => return Err(Unsent::Leaving),
            };
            follower.link = Some(opened.map_err(Unsent::Failed)?);
        }
        let shared = Arc::clone(&self.shared);
        let answered = tokio::select! {
            biased;
            answered = follower.attempt(&shared, stamp, ids) => answered,
            () = reached(&mut self.stage, Stage::Leave) => return Err(Unsent::Leaving),
        };
        match answered {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                self.live().await.map_err(Unsent::Ended)?;
                Err(Unsent::Failed(error))
            }
        }
    }

    /// What is settled leads to what was published for it.
    pub(super) fn note_followed(&self, done: &Done) {
        let Reading::Ours(stamp) = &done.reading else { return };
        let (publisher, sequence) = (stamp.publisher, stamp.sequence);
        let cause = Caused { publisher, sequence, destination: done.destination };
        self.followers.iter().for_each(|follower| self.shared.chain.settled(follower.fleet, cause));
    }

    /// Where its member has died, the connections that it publishes on were cut with it.
    pub(super) fn forget_followers_where_dead(&mut self) {
        if !self.member.has_died() {
            return;
        }
        for follower in self.followers.iter_mut().filter(|follower| follower.link.is_some()) {
            follower.link = None;
            follower.failed = Some(self.member.death());
        }
    }
}
