//! Declares, verifies and deletes exchanges, queues and bindings on a broker.
//!
//! May use `plan`, `broker`, `client` and `endpoint`.
//!
//! On a broker that somebody else uses too, nothing of theirs may be counted, consumed or deleted by a run. So what
//! exists already is used only where the run cannot tell it from what it would have declared: a queue with the same
//! properties, no message in it and nobody consuming from it; an exchange with the same properties. [`Declared`] says
//! what was new, and [`delete`] deletes only that. A queue that holds messages, has consumers or has other properties
//! is refused. A stream that exists is always refused: consuming does not empty it, and the broker's count of what is in
//! it lags by seconds.
//!
//! Exclusive queues belong to their one subscriber's connection, which declares them: they are passed over here.

mod error;

use std::collections::BTreeSet;

use ::lapin::Channel;
use ::lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};

use crate::client::ClientError;
use crate::client::lapin::{Wire, bind, declare_exchange, declare_queue, short};
use crate::endpoint::Endpoint;
use crate::plan::{BindingPlan, ExchangePlan, QueueKind, QueuePlan, TopologyPlan};

pub use error::{Item, TopologyError};

/// AMQP reply codes.
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;

/// How long the goodbye to the broker may take.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(5);

/// What [`declare`] made, as against what it found: what [`delete`] deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Exchanges that were not there before, in the order of their declaration.
    pub exchanges: Vec<String>,
    /// Queues that were not there before, in the order of their declaration.
    pub queues: Vec<String>,
    /// Exchanges and queues that were there already, just as the plan wants them. They keep the bindings that the plan
    /// adds, since the broker does not say which were there before; most go with the other end, which is deleted.
    pub found: Vec<Item>,
}

/// Declares all that the plan names: exchanges, queues, bindings between exchanges, bindings to queues. What is new is
/// noted in `declared` before it is asked for, so that it can be deleted after an error too, or where nobody waits for the
/// answer any more.
///
/// # Errors
///
/// The first item that cannot be had; those before it stay.
pub async fn declare(endpoint: &Endpoint, plan: &TopologyPlan, declared: &mut Declared) -> Result<(), TopologyError> {
    let mut session = Session::open(endpoint).await?;
    for exchange in plan.exchanges.iter().filter(|exchange| !exchange.name.is_empty()) {
        let item = Item::Exchange(exchange.name.clone());
        let exists = session.exchange(exchange, true).await?;
        if exists {
            declared.found.push(item);
        } else {
            declared.exchanges.push(exchange.name.clone());
        }
        session.exchange(exchange, false).await?;
    }
    for queue in plan.queues.iter().filter(|queue| !queue.exclusive) {
        let exists = session.queue(queue, true).await?;
        if let Some(found) = exists {
            unused(queue, found, true)?;
        }
        if exists.is_some() {
            declared.found.push(Item::Queue(queue.name.clone()));
        } else {
            declared.queues.push(queue.name.clone());
        }
        session.queue(queue, false).await?;
    }
    for binding in bindings_in_order(plan) {
        session.bind(binding).await?;
    }
    session.close().await;
    Ok(())
}

/// Checks that all exchanges and queues of the plan exist and that no queue holds a message or has a consumer.
///
/// # Errors
///
/// The first item that is missing or in use.
pub async fn verify(endpoint: &Endpoint, plan: &TopologyPlan) -> Result<(), TopologyError> {
    let mut session = Session::open(endpoint).await?;
    let missing = |item| TopologyError::Missing { item, reason: "the broker does not know it".to_owned() };
    for exchange in plan.exchanges.iter().filter(|exchange| !exchange.name.is_empty()) {
        if !session.exchange(exchange, true).await? {
            return Err(missing(Item::Exchange(exchange.name.clone())));
        }
    }
    for queue in plan.queues.iter().filter(|queue| !queue.exclusive) {
        match session.queue(queue, true).await? {
            Some(found) => unused(queue, found, false)?,
            None => return Err(missing(Item::Queue(queue.name.clone()))),
        }
    }
    session.close().await;
    Ok(())
}

/// Deletes what [`declare`] made, queues first, with whatever is in them. Goes on after an error and returns them all;
/// what is gone already is no error.
pub async fn delete(endpoint: &Endpoint, declared: &Declared) -> Vec<TopologyError> {
    let mut session = match Session::open(endpoint).await {
        Ok(session) => session,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    for queue in declared.queues.iter().rev() {
        errors.extend(session.delete_queue(queue).await.err());
    }
    for exchange in declared.exchanges.iter().rev() {
        errors.extend(session.delete_exchange(exchange).await.err());
    }
    session.close().await;
    errors
}

/// Messages that are ready in each queue of the plan, by the queue's number; none where a queue does not exist or is
/// another connection's own. Unacked messages are not among them; a stream's count lags by seconds.
///
/// # Errors
///
/// A broker that does not answer or refuses to tell.
pub async fn depths(endpoint: &Endpoint, plan: &TopologyPlan) -> Result<Vec<Option<u64>>, TopologyError> {
    let mut session = Session::open(endpoint).await?;
    let mut depths = Vec::with_capacity(plan.queues.len());
    for queue in &plan.queues {
        depths.push(match session.queue(queue, true).await {
            Ok(found) => found.map(|found| found.messages),
            Err(TopologyError::Failed { code: RESOURCE_LOCKED, .. }) => None,
            Err(error) => return Err(error),
        });
    }
    session.close().await;
    Ok(depths)
}

/// Bindings between exchanges first, so that a message published meanwhile takes the whole way or none.
fn bindings_in_order(plan: &TopologyPlan) -> impl Iterator<Item = &BindingPlan> {
    let exclusive: BTreeSet<&str> =
        plan.queues.iter().filter(|queue| queue.exclusive).map(|queue| queue.name.as_str()).collect();
    let (to_exchanges, to_queues): (Vec<_>, Vec<_>) = plan.bindings.iter().partition(|binding| binding.to_exchange);
    let to_queues = to_queues.into_iter().filter(move |binding| !exclusive.contains(binding.destination.as_str()));
    to_exchanges.into_iter().chain(to_queues)
}

/// What a queue holds.
#[derive(Debug, Clone, Copy)]
struct Found {
    messages: u64,
    consumers: u64,
}

fn unused(queue: &QueuePlan, found: Found, before: bool) -> Result<(), TopologyError> {
    let name = queue.name.clone();
    if before && queue.kind == QueueKind::Stream {
        return Err(TopologyError::StreamExists { queue: name });
    }
    if found.messages > 0 {
        return Err(TopologyError::NotEmpty { queue: name, messages: found.messages });
    }
    if found.consumers > 0 {
        return Err(TopologyError::InUse { queue: name, consumers: found.consumers });
    }
    Ok(())
}

/// A connection to declare on, and a channel that is opened again after each refusal.
struct Session {
    wire: Wire,
    channel: Option<Channel>,
}

impl Session {
    async fn open(endpoint: &Endpoint) -> Result<Self, TopologyError> {
        let wire = Wire::open(endpoint, "lurcher topology").await?;
        Ok(Self { wire, channel: None })
    }

    async fn channel(&mut self) -> Result<Channel, TopologyError> {
        match &self.channel {
            Some(channel) if channel.status().connected() => Ok(channel.clone()),
            _ => Ok(self.channel.insert(self.wire.channel().await?).clone()),
        }
    }

    /// Declares an exchange, or asks for it; whether it is there.
    async fn exchange(&mut self, exchange: &ExchangePlan, passive: bool) -> Result<bool, TopologyError> {
        let item = Item::Exchange(exchange.name.clone());
        let channel = self.channel().await?;
        let question = declare_exchange(&channel, exchange, passive)?;
        match self.wire.ask(&channel, &format!("declare {item}"), question).await {
            Ok(()) => Ok(true),
            Err(ClientError::ChannelClosed { code: NOT_FOUND, .. }) if passive => Ok(false),
            Err(error) => Err(TopologyError::of(item, error)),
        }
    }

    /// Declares a queue, or asks for it; what is in it.
    async fn queue(&mut self, queue: &QueuePlan, passive: bool) -> Result<Option<Found>, TopologyError> {
        let item = Item::Queue(queue.name.clone());
        let channel = self.channel().await?;
        let question = declare_queue(&channel, queue, passive)?;
        match self.wire.ask(&channel, &format!("declare {item}"), question).await {
            Ok(found) => Ok(Some(Found {
                messages: u64::from(found.message_count()),
                consumers: u64::from(found.consumer_count()),
            })),
            Err(ClientError::ChannelClosed { code: NOT_FOUND, .. }) if passive => Ok(None),
            Err(error) => Err(TopologyError::of(item, error)),
        }
    }

    async fn bind(&mut self, binding: &BindingPlan) -> Result<(), TopologyError> {
        let item = Item::Binding {
            source: binding.source.clone(),
            destination: binding.destination.clone(),
            key: binding.key.clone(),
        };
        let channel = self.channel().await?;
        let question = bind(&channel, binding)?;
        self.wire
            .ask(&channel, &format!("declare {item}"), question)
            .await
            .map_err(|error| TopologyError::of(item, error))
    }

    async fn delete_queue(&mut self, name: &str) -> Result<(), TopologyError> {
        let item = Item::Queue(name.to_owned());
        let channel = self.channel().await?;
        let question = channel.queue_delete(short(name, "queue name")?, QueueDeleteOptions::default());
        match self.wire.ask(&channel, &format!("delete {item}"), question).await {
            Ok(_) | Err(ClientError::ChannelClosed { code: NOT_FOUND, .. }) => Ok(()),
            Err(error) => Err(TopologyError::of(item, error)),
        }
    }

    async fn delete_exchange(&mut self, name: &str) -> Result<(), TopologyError> {
        let item = Item::Exchange(name.to_owned());
        let channel = self.channel().await?;
        let question = channel.exchange_delete(short(name, "exchange name")?, ExchangeDeleteOptions::default());
        match self.wire.ask(&channel, &format!("delete {item}"), question).await {
            Ok(()) | Err(ClientError::ChannelClosed { code: NOT_FOUND, .. }) => Ok(()),
            Err(error) => Err(TopologyError::of(item, error)),
        }
    }

    async fn close(self) {
        self.wire.close(GOODBYE).await;
    }
}
