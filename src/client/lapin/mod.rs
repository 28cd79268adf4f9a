//! The lapin adapter: AMQP 0-9-1 through the crate `lapin`.
//!
//! May use what `client` may use. lapin runs one OS thread for each connection and reports a connection's end on one
//! queue of events; [`Wire`] owns both, so that the thread ends with its connection even where the broker no longer
//! answers, and every link learns of the end although it waits for nothing.
//!
//! What lapin cannot do, and callers should know: while a connection is blocked (`connection.blocked`) it writes
//! nothing at all, heartbeats and acks included; deliveries without acks and without a limit are buffered without one.

mod convert;
mod declare;
mod dial;
mod ending;
mod poller;
mod publisher;
mod subscriber;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::lapin::Channel;
use ::lapin::options::{BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions};
use ::lapin::types::FieldTable;
use async_trait::async_trait;
use tokio::sync::Mutex;

use self::poller::Poller;
use self::publisher::Publisher;
use self::subscriber::{Subscriber, Subscription};
use super::convert::consume_arguments;
use super::{
    Client, ClientError, Connection, Notice, PublisherLink, PublisherSetup, QueueSubscription, SubscriberLink,
    SubscriberSetup,
};
use crate::endpoint::Endpoint;
use crate::plan::{BindingPlan, PrefetchScope, QueuePlan};

pub(crate) use super::convert::short;
pub(crate) use declare::{bind, declare_exchange, declare_queue};
pub(crate) use wire::Wire;

/// How long one question to the broker (open a channel, declare a queue) may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a channel's goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Speaks AMQP 0-9-1 through lapin. Needs a tokio runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lapin;

#[async_trait]
impl Client for Lapin {
    async fn connect(&self, endpoint: &Endpoint, name: &str) -> Result<Box<dyn Connection>, ClientError> {
        let wire = Wire::open(endpoint, name).await?;
        Ok(Box::new(LapinConnection { wire: Arc::new(wire), questions: Mutex::new(None) }))
    }
}

/// One connection. Its links keep the wire open after it is dropped, until they are dropped too.
struct LapinConnection {
    wire: Arc<Wire>,
    /// The channel for passive declares; opened when first needed, and again after a 404 closed it.
    questions: Mutex<Option<Channel>>,
}

#[async_trait]
impl Connection for LapinConnection {
    async fn open_publisher(&self, setup: &PublisherSetup) -> Result<Box<dyn PublisherLink>, ClientError> {
        let exchange = short(&setup.exchange, "exchange name")?;
        let channel = self.wire.channel().await?;
        if setup.confirms {
            let select = channel.confirm_select(ConfirmSelectOptions::default());
            self.wire.ask(&channel, "turn on confirms", select).await?;
        }
        Ok(Box::new(Publisher::new(Arc::clone(&self.wire), channel, exchange, setup)))
    }

    async fn open_subscriber(&self, setup: &SubscriberSetup) -> Result<Box<dyn SubscriberLink>, ClientError> {
        let channel = self.wire.channel().await?;
        if let Some(pause) = setup.poll {
            return Ok(Box::new(Poller::new(Arc::clone(&self.wire), channel, setup, pause)?));
        }
        if setup.prefetch > 0 && !setup.auto_ack {
            let options = BasicQosOptions { global: setup.prefetch_scope == PrefetchScope::Channel };
            self.wire.ask(&channel, "set the prefetch", channel.basic_qos(setup.prefetch, options)).await?;
        }
        let mut subscriptions = Vec::with_capacity(setup.queues.len());
        for queue in &setup.queues {
            subscriptions.push(self.subscribe(&channel, setup, queue).await?);
        }
        Ok(Box::new(Subscriber::new(Arc::clone(&self.wire), channel, (subscriptions, setup.ids))))
    }

    async fn declare(&self, queue: &QueuePlan, bindings: &[BindingPlan]) -> Result<(), ClientError> {
        let channel = self.wire.channel().await?;
        let what = format!("declare queue `{}`", queue.name);
        self.wire.ask(&channel, &what, declare_queue(&channel, queue, false)?).await?;
        for binding in bindings {
            let what = format!("bind `{}` to `{}`", binding.destination, binding.source);
            self.wire.ask(&channel, &what, bind(&channel, binding)?).await?;
        }
        self.wire.close_channel(&channel).await;
        Ok(())
    }

    async fn ready(&self, queue: &str) -> Result<Option<u64>, ClientError> {
        let name = short(queue, "queue name")?;
        let mut questions = self.questions.lock().await;
        let channel = match questions.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => self.wire.channel().await?,
        };
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declare = channel.queue_declare(name, options, FieldTable::default());
        match self.wire.ask(&channel, &format!("look at queue `{queue}`"), declare).await {
            Ok(found) => {
                *questions = Some(channel);
                Ok(Some(u64::from(found.message_count())))
            }
            Err(ClientError::ChannelClosed { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take_notices(&self) -> Vec<(Instant, Notice)> {
        self.wire.take_notices()
    }

    fn last_blocked(&self) -> Option<Instant> {
        self.wire.last_blocked()
    }

    async fn close(&self, within: Duration) {
        self.wire.close(within).await;
    }

    fn cut(&self, reason: &str) {
        self.wire.cut(reason);
    }
}

impl LapinConnection {
    async fn subscribe(
        &self,
        channel: &Channel,
        setup: &SubscriberSetup,
        queue: &QueueSubscription,
    ) -> Result<Subscription, ClientError> {
        let options = BasicConsumeOptions { no_ack: setup.auto_ack, ..BasicConsumeOptions::default() };
        let arguments = consume_arguments(setup.priority, queue.offset.as_ref());
        let consume = channel.basic_consume(short(&queue.name, "queue name")?, short("", "tag")?, options, arguments);
        let consumer = self.wire.ask(channel, &format!("subscribe to queue `{}`", queue.name), consume).await?;
        Ok(Subscription { number: queue.number, name: queue.name.clone(), consumer })
    }
}
