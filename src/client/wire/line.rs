//! What the links of a connection share: its socket, what waits to be written, and its channels.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use amq_protocol::protocol::{AMQPClass, connection};
use tokio::io::AsyncWrite;

use super::super::blocking::Blocking;
use super::super::{ClientError, Notice};
use super::channel::{Channel, Role};
use super::dial::Socket;
use super::driver::Driver;
use super::handshake::Greeted;
use crate::amqp::{CodecError, put_method};

/// Where so many bytes wait for the socket, links wait too.
const HIGH_BYTES: usize = 1 << 20;
/// What the buffer keeps of its memory once it is empty.
const KEPT_BYTES: usize = 1 << 20;
/// Most notices that are kept; a broker that blocks and unblocks more often than anyone asks is not one.
const NOTICES_MAX: usize = 1_024;
/// Most answers that wait to be written; a broker that asks on and takes none of them is not one.
const ANSWERS_MAX: usize = 1_024;
/// `connection.close` and `channel.close` with this code mean a clean end.
pub(super) const REPLY_SUCCESS: u16 = 200;
/// `connection.close` with this code means that the other side does not speak AMQP.
const FRAME_ERROR: u16 = 501;

/// One connection.
pub(super) struct Line(Mutex<Inner>);

/// Holds a connection open: when the last of its links and its [`super::WireConnection`] let go, it is cut.
pub(super) struct Handle(pub(super) Arc<Line>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().end(ClientError::ConnectionLost { reason: "nobody uses it any more".to_owned() });
    }
}

impl std::ops::Deref for Handle {
    type Target = Line;

    fn deref(&self) -> &Line {
        &self.0
    }
}

/// The state of a connection.
pub(super) struct Inner {
    /// None once the connection has ended.
    socket: Option<Box<dyn Socket>>,
    /// Wakes the driver.
    pub(super) driver: Option<Waker>,
    /// The driver knows that there is something for it to do.
    pub(super) driver_called: bool,
    /// What waits to be written, from `written` on.
    pub(super) out: Vec<u8>,
    written: usize,
    /// All is written, and TLS may still hold some of it back.
    unflushed: bool,
    /// Why nothing more can be written; what the broker said before is still to be read.
    broken: Option<String>,
    /// Answers to the broker's questions in `out`.
    answers: usize,
    /// Something was written since the driver last looked: no heartbeat is needed.
    pub(super) wrote: bool,
    /// By number, from 1.
    channels: Vec<Option<Box<Channel>>>,
    channel_max: u16,
    pub(super) frame_max: u32,
    /// Why the connection ended.
    ended: Option<ClientError>,
    /// Wait for room in `out`, or for the end.
    waiting: Vec<Waker>,
    notices: VecDeque<(Instant, Notice)>,
    blocking: Blocking,
    /// Channels whose links have to take something before more is read.
    pub(super) full: usize,
}

impl Line {
    /// A connection on which the hello is said, and what drives it.
    pub(super) fn open(greeted: Greeted) -> (Arc<Self>, Driver) {
        let Greeted { socket, read_ahead, channel_max, frame_max, heartbeat } = greeted;
        let line = Arc::new(Self(Mutex::new(Inner {
            socket: Some(socket),
            driver: None,
            driver_called: true,
            out: Vec::new(),
            written: 0,
            unflushed: false,
            broken: None,
            answers: 0,
            wrote: false,
            channels: Vec::new(),
            channel_max,
            frame_max,
            ended: None,
            waiting: Vec::new(),
            notices: VecDeque::new(),
            blocking: Blocking::default(),
            full: 0,
        })));
        let driver = Driver::new(Arc::clone(&line), read_ahead, frame_max, heartbeat);
        (line, driver)
    }

    /// A lock whose holder panicked: that ends the connection and the run, and what was read until then still counts.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the connection has ended.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| {
            let mut inner = self.lock();
            if inner.ended.is_some() {
                return Poll::Ready(());
            }
            inner.wait(cx);
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    /// Why the connection ended, if it did.
    pub(super) fn ended(&self) -> Option<&ClientError> {
        self.ended.as_ref()
    }

    pub(super) fn socket(&mut self) -> Option<Pin<&mut Box<dyn Socket>>> {
        self.socket.as_mut().map(Pin::new)
    }

    /// Ends the connection, for all that use it. The first reason is the cause; those after it are its consequences.
    pub(super) fn end(&mut self, error: ClientError) {
        if self.ended.is_some() {
            return;
        }
        self.socket = None;
        self.out = Vec::new();
        self.written = 0;
        for channel in self.channels.iter_mut().flatten() {
            channel.end(error.clone());
        }
        self.ended = Some(error);
        self.wake_waiting();
        self.call_driver();
    }

    /// The other side does not keep to the protocol: it is told so, if it listens, and cut.
    pub(super) fn refuse(&mut self, error: CodecError) {
        let close =
            connection::Close { reply_code: FRAME_ERROR, reply_text: "FRAME_ERROR".into(), class_id: 0, method_id: 0 };
        let close = AMQPClass::Connection(connection::AMQPMethod::Close(close));
        if put_method(&mut self.out, 0, &close).is_ok() {
            self.flush();
        }
        self.end(ClientError::Protocol { error });
    }

    /// A new channel's number.
    pub(super) fn add_channel(&mut self, role: Role) -> Result<u16, ClientError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let free = self.channels.iter().position(Option::is_none).unwrap_or(self.channels.len());
        let id = u16::try_from(free + 1).ok().filter(|id| *id <= self.channel_max);
        let id = id.ok_or_else(|| ClientError::Unfit {
            what: "channel".to_owned(),
            reason: format!("the broker allows {} on a connection", self.channel_max),
        })?;
        if free == self.channels.len() {
            self.channels.push(None);
        }
        self.channels[free] = Some(Box::new(Channel::new(id, role)));
        Ok(id)
    }

    /// An open channel, or one whose link has not let go of it yet.
    pub(super) fn channel(&mut self, id: u16) -> Option<&mut Channel> {
        self.channels.get_mut(usize::from(id).checked_sub(1)?)?.as_deref_mut()
    }

    /// A channel beside the buffer that its answers go to.
    pub(super) fn channel_and_out(&mut self, id: u16) -> Option<(&mut Channel, &mut Vec<u8>)> {
        let channel = self.channels.get_mut(usize::from(id).checked_sub(1)?)?.as_deref_mut()?;
        Some((channel, &mut self.out))
    }

    /// A channel beside the buffer that its frames go to, where both can still be used.
    ///
    /// # Errors
    /// Why they cannot.
    pub(super) fn usable(&mut self, id: u16) -> Result<(&mut Channel, &mut Vec<u8>), ClientError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let place = usize::from(id).wrapping_sub(1);
        match self.channels.get_mut(place).and_then(Option::as_deref_mut) {
            Some(channel) => match channel.ended() {
                Some(error) => Err(error.clone()),
                None => Ok((channel, &mut self.out)),
            },
            None => Err(ClientError::ConnectionLost { reason: "the channel is gone".to_owned() }),
        }
    }

    /// The number is free again: both sides have let go of the channel.
    pub(super) fn remove_channel(&mut self, id: u16) {
        if let Some(place) = usize::from(id).checked_sub(1)
            && let Some(slot) = self.channels.get_mut(place)
        {
            *slot = None;
        }
    }

    /// The broker takes no publishes any more, or takes them again.
    ///
    /// # Errors
    /// It said so too often for anyone to hear.
    pub(super) fn notice(&mut self, notice: Notice) -> Result<(), CodecError> {
        if self.notices.len() == NOTICES_MAX {
            return Err(CodecError::Unexpected { what: "more blocking and unblocking than anyone asks for" });
        }
        let now = Instant::now();
        self.blocking.note(&notice, now);
        self.notices.push_back((now, notice));
        Ok(())
    }

    pub(super) fn take_notices(&mut self) -> Vec<(Instant, Notice)> {
        self.notices.drain(..).collect()
    }

    pub(super) fn last_blocked(&self) -> Option<Instant> {
        self.blocking.last(Instant::now())
    }

    /// Counts an answer that was put into the buffer.
    ///
    /// # Errors
    /// The broker asks on and takes none of the answers.
    pub(super) fn answered(&mut self) -> Result<(), CodecError> {
        self.answers += 1;
        if self.answers > ANSWERS_MAX {
            return Err(CodecError::Unexpected { what: "questions on and on, and nobody who takes the answers" });
        }
        Ok(())
    }

    /// Why nothing more can be written, once all that can be read was read.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Has the driver write what waits, read on, or see the end.
    pub(super) fn call_driver(&mut self) {
        if std::mem::replace(&mut self.driver_called, true) {
            return;
        }
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    /// Writes what waits, as far as the socket takes it; the driver goes on with the rest.
    pub(super) fn flush(&mut self) {
        let Some(driver) = self.driver.clone() else { return self.call_driver() };
        self.write(&mut Context::from_waker(&driver));
    }

    /// Writes what waits, as far as the socket takes it. `cx` must be the driver's.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) {
        if self.broken.is_none()
            && let Poll::Ready(Err(error)) = self.poll_flush(cx)
        {
            // The broker may have said why it takes no more: the driver reads that first.
            self.broken = Some(error.to_string());
            self.call_driver();
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(mut socket) = self.socket.as_mut().map(Pin::new) else { return Poll::Ready(Ok(())) };
        if self.out.is_empty() && !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.out.len() {
            match socket.as_mut().poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    self.written += bytes;
                    self.wrote = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.make_room();
                    return Poll::Pending;
                }
            }
        }
        let flushed = AsyncWrite::poll_flush(socket, cx);
        self.unflushed = flushed.is_pending();
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
        self.written = 0;
        self.answers = 0;
        self.wake_waiting();
        flushed
    }

    /// Forgets what is written where much of it is, and lets links go on where little waits.
    fn make_room(&mut self) {
        if self.written >= HIGH_BYTES {
            self.out.drain(..self.written);
            self.written = 0;
        }
        if self.is_roomy() {
            self.wake_waiting();
        }
    }

    /// Whether links may put more into the buffer.
    pub(super) fn is_roomy(&self) -> bool {
        self.out.len() - self.written < HIGH_BYTES
    }

    /// Wakes the caller when there is room, or at the end.
    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }

    fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}
