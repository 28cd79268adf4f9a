//! One connection of lapin's: opened, watched, closed, and its errors put in the port's words.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ::lapin::options::BasicQosOptions;
use ::lapin::protocol::AMQPError;
use ::lapin::types::LongString;
use ::lapin::{Channel, Connection, ConnectionProperties, ConnectionStatus, ErrorKind, Event};
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout, timeout_at};

use super::super::{ClientError, Notice};
use super::dial::{self, CONNECT_TIMEOUT, Cutter};
use super::{GOODBYE_TIMEOUT, REQUEST_TIMEOUT};
use crate::endpoint::{Credentials, Endpoint};

/// `connection.close` with this code means a clean end.
const REPLY_SUCCESS: u16 = 200;

/// How often a link that waits looks at its channel, in case no event tells of its end.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a link waits to be told why its channel closed.
const REASON_TIMEOUT: Duration = Duration::from_secs(2);

/// Most notices that are kept; a broker that blocks and unblocks more often than anyone asks is not one.
const NOTICES_MAX: usize = 1_024;

/// One open connection.
pub(crate) struct Wire {
    connection: Connection,
    events: Arc<Events>,
    /// Taken when the wire is dropped.
    end: Option<End>,
}

/// What has to be stopped when a connection ends.
struct End {
    cutter: Cutter,
    watcher: AbortHandle,
}

impl Drop for End {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

/// What the connection said of itself.
struct Events {
    /// Why the connection ended.
    lost: OnceLock<String>,
    /// The newest reply with which the broker closed a channel.
    closed_channel: Mutex<Option<(u16, String)>>,
    notices: Mutex<VecDeque<(Instant, Notice)>>,
    /// The broker takes no publishes.
    blocked: AtomicBool,
    changed: watch::Sender<()>,
}

impl Wire {
    /// Dials, says hello, and begins to watch.
    pub(crate) async fn open(endpoint: &Endpoint, name: &str) -> Result<Self, ClientError> {
        let deadline = tokio::time::Instant::now() + CONNECT_TIMEOUT;
        let too_late = |_| ClientError::Connect {
            endpoint: endpoint.to_string(),
            reason: format!("no answer within {CONNECT_TIMEOUT:?}"),
        };
        let runtime = async_rs::TokioRuntime::tokio_current();
        let (stream, cutter) = timeout_at(deadline, dial::dial(endpoint, &runtime)).await.map_err(too_late)??;
        let slot = Mutex::new(Some(stream));
        let hand_over = async move |_, _| {
            held(&slot).take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected).into())
        };
        let properties = ConnectionProperties::default()
            .with_connection_name(LongString::from(name))
            .with_client_property("product".into(), LongString::from(env!("CARGO_PKG_NAME")))
            .with_client_property("version".into(), LongString::from(env!("CARGO_PKG_VERSION")));
        let hello = Connection::connector(dial::uri(endpoint), runtime, hand_over, properties);
        let connection =
            timeout_at(deadline, hello).await.map_err(too_late)?.map_err(|error| refusal(endpoint, &error))?;

        let events = Arc::new(Events::new());
        let watcher =
            tokio::spawn(watch_events(connection.events_listener(), connection.status().clone(), Arc::clone(&events)));
        let end = End { cutter, watcher: watcher.abort_handle() };
        // What happened before the listener stood is not told again.
        if !connection.status().connected() {
            events.lose("the broker closed it at once".to_owned());
        }
        Ok(Self { connection, events, end: Some(end) })
    }

    /// Opens a channel.
    pub(crate) async fn channel(&self) -> Result<Channel, ClientError> {
        match timeout(REQUEST_TIMEOUT, self.connection.create_channel()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(match self.events.lost.get() {
                Some(reason) => ClientError::ConnectionLost { reason: reason.clone() },
                None => ClientError::ConnectionLost { reason: told(&error) },
            }),
            Err(_) => Err(timed_out("open a channel")),
        }
    }

    /// Asks the broker something on a channel and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        channel: &Channel,
        what: &str,
        question: impl Future<Output = ::lapin::Result<T>>,
    ) -> Result<T, ClientError> {
        match timeout(REQUEST_TIMEOUT, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.explain(channel, &error).await),
            Err(_) => Err(timed_out(what)),
        }
    }

    /// Closes a channel with a goodbye, if it is still open.
    pub(crate) async fn close_channel(&self, channel: &Channel) {
        if channel.status().connected() {
            // A goodbye that fails or is not answered changes nothing: the channel is given up either way.
            let _ = timeout(GOODBYE_TIMEOUT, channel.close(REPLY_SUCCESS, "OK".into())).await;
        }
    }

    /// Closes the connection with a goodbye; cuts it where that takes longer than `within`.
    pub(crate) async fn close(&self, within: Duration) {
        self.events.lose("closed by this client".to_owned());
        let _ = timeout(within, self.connection.close(REPLY_SUCCESS, "OK".into())).await;
        if let Some(end) = &self.end {
            end.cutter.cut();
        }
    }

    /// Waits until the broker has taken what was sent on a channel before. A prefetch for consumers to come, of which
    /// there are none, changes nothing, and the broker answers it in turn.
    pub(super) async fn flush(&self, channel: &Channel) -> Result<(), ClientError> {
        let qos = channel.basic_qos(0, BasicQosOptions { global: false });
        self.ask(channel, "hear whether all has arrived", qos).await
    }

    /// Cuts the connection without a word.
    pub(super) fn cut(&self, reason: &str) {
        self.events.lose(reason.to_owned());
        if let Some(end) = &self.end {
            end.cutter.cut();
        }
    }

    /// What the connection said of itself since last asked.
    pub(crate) fn take_notices(&self) -> Vec<(Instant, Notice)> {
        held(&self.events.notices).drain(..).collect()
    }

    /// Whether the broker takes no publishes at present.
    pub(crate) fn is_blocked(&self) -> bool {
        self.events.blocked.load(Ordering::Acquire)
    }

    /// Why the connection ended, if it did.
    pub(super) fn lost(&self) -> Option<ClientError> {
        self.events.lost.get().map(|reason| ClientError::ConnectionLost { reason: reason.clone() })
    }

    /// Waits until the channel or its connection ends, and says why. Safe to cancel.
    pub(super) async fn ended(&self, channel: &Channel) -> ClientError {
        let mut changed = self.events.changed.subscribe();
        loop {
            if let Some(lost) = self.lost() {
                return lost;
            }
            if !channel.status().connected() {
                return self.why_closed().await;
            }
            // The sender lives as long as `self`: only the time can run out.
            let _ = timeout(LOOK_EVERY, changed.changed()).await;
        }
    }

    /// Puts lapin's error on a channel in the port's words.
    pub(super) async fn explain(&self, channel: &Channel, error: &::lapin::Error) -> ClientError {
        match error.kind() {
            ErrorKind::ProtocolError(reply) if error.is_amqp_soft_error() && self.connection.status().connected() => {
                ClientError::ChannelClosed { code: reply.get_id(), reason: reply.get_message().to_string() }
            }
            // lapin's word for "it ended before": the reason came, or comes, another way.
            ErrorKind::InvalidChannel(_) | ErrorKind::InvalidChannelState(..) if !channel.status().connected() => {
                self.ended(channel).await
            }
            _ => self.lost().unwrap_or_else(|| ClientError::ConnectionLost { reason: told(error) }),
        }
    }

    /// Why a channel closed that had nothing in flight which could carry the reason. lapin's event names no channel,
    /// so this is the newest one: two channels of one connection that fail at the same moment may get each other's.
    async fn why_closed(&self) -> ClientError {
        let mut changed = self.events.changed.subscribe();
        let deadline = tokio::time::Instant::now() + REASON_TIMEOUT;
        // The event follows the change of state by an instant; one that is older belongs to another channel.
        let _ = timeout(Duration::from_millis(50), changed.changed()).await;
        loop {
            if let Some(lost) = self.lost() {
                return lost;
            }
            if let Some((code, reason)) = held(&self.events.closed_channel).clone() {
                return ClientError::ChannelClosed { code, reason };
            }
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return ClientError::ChannelClosed { code: 0, reason: "no reason was given".to_owned() };
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some(end) = self.end.take() else { return };
        // lapin says goodbye as its connection is dropped and then waits for the answer without a limit.
        // Where there is no runtime any more, the goodbye cannot be sent either, and `end` is dropped here.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                sleep(GOODBYE_TIMEOUT).await;
                drop(end);
            });
        }
    }
}

impl Events {
    fn new() -> Self {
        Self {
            lost: OnceLock::new(),
            closed_channel: Mutex::default(),
            notices: Mutex::default(),
            blocked: AtomicBool::new(false),
            changed: watch::Sender::new(()),
        }
    }

    fn lose(&self, reason: String) {
        // The first reason is the cause; those after it are its consequences.
        let _ = self.lost.set(reason);
        self.changed.send_replace(());
    }

    fn notice(&self, notice: Notice) {
        self.blocked.store(matches!(notice, Notice::Blocked { .. }), Ordering::Release);
        let mut notices = held(&self.notices);
        if notices.len() < NOTICES_MAX {
            return notices.push_back((Instant::now(), notice));
        }
        drop(notices);
        self.lose("more blocking and unblocking than anyone asks for".to_owned());
    }

    fn channel_closed(&self, reply: &AMQPError) {
        *held(&self.closed_channel) = Some((reply.get_id(), reply.get_message().to_string()));
        self.changed.send_replace(());
    }
}

async fn watch_events(events: impl Stream<Item = Event>, status: ConnectionStatus, told_to: Arc<Events>) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(reason) => told_to.notice(Notice::Blocked { reason }),
            Event::ConnectionUnblocked => told_to.notice(Notice::Unblocked),
            Event::Error(error) => match error.kind() {
                ErrorKind::ProtocolError(reply) if status.connected() => told_to.channel_closed(reply),
                _ => told_to.lose(told(&error)),
            },
            _ => {}
        }
    }
}

/// The broker's code and words, where it was the broker that said no.
fn reply_of(error: &::lapin::Error) -> Option<(u16, String)> {
    match error.kind() {
        ErrorKind::ProtocolError(reply) => Some((reply.get_id(), reply.get_message().to_string())),
        _ => None,
    }
}

/// The broker's reply with its code, or the system's error.
fn told(error: &::lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(reply) => format!("{} {}", reply.get_id(), reply.get_message()),
        ErrorKind::IOError(error) | ErrorKind::RuntimeShutdownError(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// An error of the handshake: a broker that speaks has refused, a broker that does not is not there (yet).
fn refusal(endpoint: &Endpoint, error: &::lapin::Error) -> ClientError {
    const CONNECTION_FORCED: u16 = 320;
    const INTERNAL_ERROR: u16 = 541;
    let address = endpoint.to_string();
    match reply_of(error) {
        Some((code, reason)) if code != CONNECTION_FORCED && code != INTERNAL_ERROR => {
            ClientError::Refused { endpoint: address, reason: format!("{code} {reason}") }
        }
        // RabbitMQ says nothing to a client that asks for a mechanism which it does not have.
        None if endpoint.credentials == Credentials::External => ClientError::Connect {
            endpoint: address,
            reason: format!(
                "{}; a broker without SASL EXTERNAL (plugin rabbitmq_auth_mechanism_ssl) hangs up like this",
                told(error)
            ),
        },
        _ => ClientError::Connect { endpoint: address, reason: told(error) },
    }
}

fn timed_out(what: &str) -> ClientError {
    ClientError::TimedOut { what: what.to_owned(), after: REQUEST_TIMEOUT }
}

/// A lock whose holder panicked still holds valid values here: each is set whole.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
