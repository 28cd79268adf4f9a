//! A connection as the port knows it: opens channels, asks questions, says goodbye.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue};
use amq_protocol::types::FieldTable;
use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::super::convert::{consume_arguments, short, table};
use super::super::{ClientError, Connection, Notice, PublisherLink, PublisherSetup, SubscriberLink, SubscriberSetup};
use super::channel::Role;
use super::confirms::Confirms;
use super::inbox::Inbox;
use super::line::{Handle, REPLY_SUCCESS};
use super::poller::Poller;
use super::publisher::Publisher;
use super::subscriber::Subscriber;
use super::{GOODBYE_TIMEOUT, REQUEST_TIMEOUT};
use crate::amqp::put_method;
use crate::plan::{BindingPlan, PrefetchScope, QueuePlan};

/// An open channel. Dropped, it is closed without waiting for the broker's answer.
pub(super) struct OpenChannel {
    pub(super) line: Arc<Handle>,
    pub(super) id: u16,
}

impl OpenChannel {
    /// Opens a channel for `role`.
    async fn open(line: &Arc<Handle>, role: Role) -> Result<Self, ClientError> {
        let id = line.lock().add_channel(role)?;
        let opened = Self { line: Arc::clone(line), id };
        let open = AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {}));
        opened.ask(&open, "open a channel").await?;
        Ok(opened)
    }

    /// Asks the broker something and waits for the answer.
    async fn ask(&self, question: &AMQPClass, what: &str) -> Result<AMQPClass, ClientError> {
        {
            let mut inner = self.line.lock();
            let frame_max = inner.frame_max as usize;
            let (channel, out) = inner.usable(self.id)?;
            let unfit = |reason: String| ClientError::Unfit { what: format!("request to {what}"), reason };
            let from = out.len();
            put_method(out, self.id, question).map_err(|error| unfit(error.to_string()))?;
            let bytes = out.len() - from;
            if bytes > frame_max {
                out.truncate(from);
                return Err(unfit(format!("{bytes} bytes, and the broker takes {frame_max} in a frame")));
            }
            channel.ask(question);
            inner.flush();
        }
        let answer = poll_fn(|cx| {
            let mut inner = self.line.lock();
            match inner.usable(self.id) {
                Err(error) => Poll::Ready(Err(error)),
                Ok((channel, _)) => match channel.take_reply() {
                    Some(reply) => Poll::Ready(Ok(reply)),
                    None => {
                        channel.wait(cx);
                        Poll::Pending
                    }
                },
            }
        });
        let late = |_| ClientError::TimedOut { what: what.to_owned(), after: REQUEST_TIMEOUT };
        timeout(REQUEST_TIMEOUT, answer).await.map_err(late)?
    }

    /// Waits until the broker has taken what was sent on the channel before. A prefetch for consumers to come, of which
    /// there are none, changes nothing, and the broker answers it in turn.
    pub(super) async fn flush(&self) -> Result<(), ClientError> {
        let qos = basic::Qos { prefetch_count: 0, global: false };
        self.ask(&AMQPClass::Basic(basic::AMQPMethod::Qos(qos)), "hear whether all has arrived").await.map(drop)
    }

    /// Puts our goodbye on its way, where the broker still has something to say.
    fn say_goodbye(&self) {
        let mut inner = self.line.lock();
        let Some((channel, out)) = inner.channel_and_out(self.id) else { return };
        let was_full = channel.is_full();
        let is_over = channel.is_over();
        if channel.begin_closing() && !is_over {
            let close =
                channel::Close { reply_code: REPLY_SUCCESS, reply_text: "OK".into(), class_id: 0, method_id: 0 };
            // A frame of constants always fits.
            let _ = put_method(out, self.id, &AMQPClass::Channel(channel::AMQPMethod::Close(close)));
        }
        inner.full -= usize::from(was_full);
        inner.call_driver();
    }

    /// Closes the channel with a goodbye.
    pub(super) async fn close(self) {
        self.say_goodbye();
        let gone = poll_fn(|cx| {
            let mut inner = self.line.lock();
            let has_ended = inner.ended().is_some();
            match inner.channel(self.id) {
                Some(channel) if !channel.is_over() && !has_ended => {
                    channel.wait(cx);
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        });
        // A goodbye that is not answered changes nothing: the channel is given up either way.
        let _ = timeout(GOODBYE_TIMEOUT, gone).await;
    }
}

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.say_goodbye();
        let mut inner = self.line.lock();
        let Some(channel) = inner.channel(self.id) else { return };
        channel.release();
        // One that has just said goodbye keeps its number until the broker has answered.
        if channel.is_free() {
            inner.remove_channel(self.id);
        }
    }
}

/// One connection. Its links keep it open after it is dropped, until they are dropped too.
pub(super) struct WireConnection {
    line: Arc<Handle>,
    /// The channel for passive declares; opened when first needed, and again after a 404 closed it.
    questions: Mutex<Option<OpenChannel>>,
}

impl WireConnection {
    pub(super) fn new(line: Arc<Handle>) -> Self {
        Self { line, questions: Mutex::new(None) }
    }
}

#[async_trait]
impl Connection for WireConnection {
    async fn open_publisher(&self, setup: &PublisherSetup) -> Result<Box<dyn PublisherLink>, ClientError> {
        short(&setup.exchange, "exchange name")?;
        let channel = OpenChannel::open(&self.line, Role::Publisher(Confirms::new(setup.confirms))).await?;
        if setup.confirms {
            let select = AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: false }));
            channel.ask(&select, "turn on confirms").await?;
        }
        Ok(Box::new(Publisher::new(channel, setup)))
    }

    async fn open_subscriber(&self, setup: &SubscriberSetup) -> Result<Box<dyn SubscriberLink>, ClientError> {
        for queue in &setup.queues {
            short(&queue.name, "queue name")?;
        }
        let channel = OpenChannel::open(&self.line, Role::Subscriber(Inbox::new(&setup.queues, setup.ids))).await?;
        if let Some(pause) = setup.poll {
            return Ok(Box::new(Poller::new(channel, setup, pause)));
        }
        if setup.prefetch > 0 && !setup.auto_ack {
            let global = setup.prefetch_scope == PrefetchScope::Channel;
            let qos = basic::Qos { prefetch_count: setup.prefetch, global };
            channel.ask(&AMQPClass::Basic(basic::AMQPMethod::Qos(qos)), "set the prefetch").await?;
        }
        for (place, queue) in setup.queues.iter().enumerate() {
            let consume = basic::Consume {
                queue: short(&queue.name, "queue name")?,
                consumer_tag: Inbox::tag(place).into(),
                no_local: false,
                no_ack: setup.auto_ack,
                exclusive: false,
                nowait: false,
                arguments: consume_arguments(setup.priority, queue.offset.as_ref()),
            };
            let consume = AMQPClass::Basic(basic::AMQPMethod::Consume(consume));
            channel.ask(&consume, &format!("subscribe to queue `{}`", queue.name)).await?;
        }
        Ok(Box::new(Subscriber::new(channel)))
    }

    async fn declare(&self, queue: &QueuePlan, bindings: &[BindingPlan]) -> Result<(), ClientError> {
        let channel = OpenChannel::open(&self.line, Role::Bare).await?;
        let declare = queue::Declare {
            queue: short(&queue.name, "queue name")?,
            passive: false,
            durable: queue.durable,
            exclusive: queue.exclusive,
            auto_delete: queue.auto_delete,
            nowait: false,
            arguments: table(&queue.arguments)?,
        };
        let declare = AMQPClass::Queue(queue::AMQPMethod::Declare(declare));
        channel.ask(&declare, &format!("declare queue `{}`", queue.name)).await?;
        for binding in bindings {
            let what = format!("bind `{}` to `{}`", binding.destination, binding.source);
            channel.ask(&bind(binding)?, &what).await?;
        }
        channel.close().await;
        Ok(())
    }

    async fn ready(&self, queue: &str) -> Result<Option<u64>, ClientError> {
        let name = short(queue, "queue name")?;
        let mut questions = self.questions.lock().await;
        let channel = match questions.take() {
            Some(channel) if channel.line.lock().usable(channel.id).is_ok() => channel,
            _ => OpenChannel::open(&self.line, Role::Bare).await?,
        };
        let declare = queue::Declare {
            queue: name,
            passive: true,
            durable: false,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        let declare = AMQPClass::Queue(queue::AMQPMethod::Declare(declare));
        let what = format!("look at queue `{queue}`");
        match channel.ask(&declare, &what).await {
            Ok(AMQPClass::Queue(queue::AMQPMethod::DeclareOk(found))) => {
                *questions = Some(channel);
                Ok(Some(u64::from(found.message_count)))
            }
            Ok(_) => Err(ClientError::Protocol {
                error: crate::amqp::CodecError::Unexpected { what: "an answer to another question" },
            }),
            Err(ClientError::ChannelClosed { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take_notices(&self) -> Vec<(Instant, Notice)> {
        self.line.lock().take_notices()
    }

    fn last_blocked(&self) -> Option<Instant> {
        self.line.lock().last_blocked()
    }

    async fn close(&self, within: Duration) {
        let close = connection::Close { reply_code: REPLY_SUCCESS, reply_text: "OK".into(), class_id: 0, method_id: 0 };
        {
            let mut inner = self.line.lock();
            if inner.ended().is_some() {
                return;
            }
            // A frame of constants always fits.
            let _ = put_method(&mut inner.out, 0, &AMQPClass::Connection(connection::AMQPMethod::Close(close)));
            inner.call_driver();
        }
        let _ = timeout(within, self.line.ended()).await;
        self.line.lock().end(ClientError::ConnectionLost { reason: "closed by this client".to_owned() });
    }

    fn cut(&self, reason: &str) {
        self.line.lock().end(ClientError::ConnectionLost { reason: reason.to_owned() });
    }
}

fn bind(binding: &BindingPlan) -> Result<AMQPClass, ClientError> {
    let destination = short(&binding.destination, "name of a binding's destination")?;
    let source = short(&binding.source, "name of a binding's source")?;
    let routing_key = short(&binding.key, "routing key")?;
    let arguments = table(&binding.arguments)?;
    Ok(if binding.to_exchange {
        let bind = exchange::Bind { destination, source, routing_key, nowait: false, arguments };
        AMQPClass::Exchange(exchange::AMQPMethod::Bind(bind))
    } else {
        let bind = queue::Bind { queue: destination, exchange: source, routing_key, nowait: false, arguments };
        AMQPClass::Queue(queue::AMQPMethod::Bind(bind))
    })
}
