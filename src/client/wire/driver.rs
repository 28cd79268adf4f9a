//! The task that drives a connection: reads, hands on, writes, keeps the heartbeat.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use amq_protocol::protocol::{AMQPClass, connection};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::super::{ClientError, Notice};
use super::line::{Inner, Line};
use crate::amqp::{CodecError, Frame, FrameKind, Method, first_frame, put_heartbeat, put_method};

/// Read at once, in bytes; more where a frame is larger.
const READ_BYTES: usize = 64 * 1024;
/// Reads in a row before others have their turn.
const READS: usize = 4;
/// Heartbeats are looked after so many times in the time that the sides have agreed on.
const LOOKS: u32 = 2;
/// The other side is gone where nothing came in so many looks: twice the agreed time.
const SILENT_LOOKS: u32 = 2 * LOOKS;

/// Drives one connection.
pub(super) struct Driver {
    line: Arc<Line>,
    buffer: Vec<u8>,
    /// So much of the buffer is read and not yet understood.
    filled: usize,
    frame_max: u32,
    heartbeat: Option<Heartbeat>,
}

struct Heartbeat {
    every: Duration,
    look: Interval,
    /// Looks in a row without a byte.
    silent: u32,
}

impl Driver {
    pub(super) fn new(line: Arc<Line>, read_ahead: Vec<u8>, frame_max: u32, heartbeat: u16) -> Self {
        let heartbeat = (heartbeat > 0).then(|| Heartbeat::new(Duration::from_secs(heartbeat.into())));
        let filled = read_ahead.len();
        let mut buffer = read_ahead;
        buffer.resize(filled.max(READ_BYTES), 0);
        Self { line, buffer, filled, frame_max, heartbeat }
    }

    /// Drives until the connection ends.
    pub(super) async fn run(mut self) {
        let line = Arc::clone(&self.line);
        let _guard = Guard(Arc::clone(&line));
        poll_fn(|cx| {
            let mut inner = line.lock();
            match self.poll(cx, &mut inner) {
                Poll::Ready(error) => {
                    inner.end(error);
                    Poll::Ready(())
                }
                Poll::Pending if inner.ended().is_some() => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
    }

    /// Ready with the reason for which the connection ends.
    fn poll(&mut self, cx: &mut Context<'_>, inner: &mut Inner) -> Poll<ClientError> {
        inner.driver_called = false;
        match &mut inner.driver {
            Some(waker) => waker.clone_from(cx.waker()),
            None => inner.driver = Some(cx.waker().clone()),
        }
        inner.write(cx);
        if let Poll::Ready(Err(error)) = self.poll_read(cx, inner) {
            return Poll::Ready(ClientError::ConnectionLost { reason: error.to_string() });
        }
        if let Poll::Ready(error) = self.poll_heartbeat(cx, inner) {
            return Poll::Ready(error);
        }
        // What had to be answered.
        inner.write(cx);
        match inner.broken() {
            Some(reason) => Poll::Ready(ClientError::ConnectionLost { reason: reason.to_owned() }),
            None => Poll::Pending,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, inner: &mut Inner) -> Poll<std::io::Result<()>> {
        // What came with the hello's last answer, or before a link was full.
        self.understand(inner);
        for _ in 0..READS {
            if inner.full > 0 {
                // A link wakes us once it has taken something.
                return Poll::Pending;
            }
            let Some(socket) = inner.socket() else { return Poll::Pending };
            let mut read = ReadBuf::new(&mut self.buffer[self.filled..]);
            match AsyncRead::poll_read(socket, cx, &mut read) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    let reason = "the broker hung up without a word";
                    return Poll::Ready(Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, reason)));
                }
                Poll::Ready(Ok(())) => self.filled += read.filled().len(),
            }
            if let Some(heartbeat) = &mut self.heartbeat {
                heartbeat.silent = 0;
            }
            self.understand(inner);
        }
        // There may be more: others first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands on the whole frames in the buffer.
    fn understand(&mut self, inner: &mut Inner) {
        let mut from = 0;
        while inner.full == 0 && inner.ended().is_none() {
            let understood = match first_frame(&self.buffer[from..self.filled], self.frame_max) {
                Ok(Some(frame)) => {
                    from += frame.wire_len();
                    take_in(&frame, inner)
                }
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = understood {
                inner.refuse(error);
            }
        }
        self.buffer.copy_within(from..self.filled, 0);
        self.filled -= from;
        // A frame that is larger than the buffer; the limit on frames limits the buffer too.
        if self.filled == self.buffer.len() {
            let larger = (2 * self.buffer.len()).min(self.frame_max as usize).max(self.filled + READ_BYTES);
            self.buffer.resize(larger, 0);
        }
    }

    fn poll_heartbeat(&mut self, cx: &mut Context<'_>, inner: &mut Inner) -> Poll<ClientError> {
        let Some(heartbeat) = &mut self.heartbeat else { return Poll::Pending };
        while heartbeat.look.poll_tick(cx).is_ready() {
            if !std::mem::take(&mut inner.wrote) && inner.ended().is_none() {
                put_heartbeat(&mut inner.out);
            }
            // While we do not read, we cannot know.
            heartbeat.silent = if inner.full > 0 { 0 } else { heartbeat.silent + 1 };
            if heartbeat.silent > SILENT_LOOKS {
                let reason = format!("nothing came from the broker in {:?}, not even a heartbeat", 2 * heartbeat.every);
                return Poll::Ready(ClientError::ConnectionLost { reason });
            }
        }
        Poll::Pending
    }
}

/// Ends the connection where its driver does not come to its end: nobody waits for what will never come.
struct Guard(Arc<Line>);

impl Drop for Guard {
    fn drop(&mut self) {
        let error = if std::thread::panicking() {
            ClientError::Defect { reason: "the task that drives a connection panicked".to_owned() }
        } else {
            ClientError::ConnectionLost { reason: "its runtime has ended".to_owned() }
        };
        // An end that has come already stays the cause.
        self.0.lock().end(error);
    }
}

impl Heartbeat {
    fn new(every: Duration) -> Self {
        let mut look = interval(every / LOOKS);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { every, look, silent: 0 }
    }
}

/// Hands one frame to its channel, or to the connection.
fn take_in(frame: &Frame<'_>, inner: &mut Inner) -> Result<(), CodecError> {
    if frame.channel == 0 {
        return match frame.kind {
            FrameKind::Heartbeat => Ok(()),
            FrameKind::Method => connection_method(frame.payload, inner),
            FrameKind::Header | FrameKind::Body => Err(CodecError::Unexpected { what: "content on channel 0" }),
        };
    }
    let Some((channel, out)) = inner.channel_and_out(frame.channel) else {
        return Err(CodecError::Unexpected { what: "a frame of a channel that is not open" });
    };
    let was_full = channel.is_full();
    let out_bytes = out.len();
    let taken_in = channel.take_in(frame, out);
    let is_answered = out.len() > out_bytes;
    let (is_full, is_free) = (channel.is_full(), channel.is_free());
    inner.full += usize::from(is_full && !was_full);
    if is_free {
        inner.remove_channel(frame.channel);
    }
    taken_in?;
    if is_answered { inner.answered() } else { Ok(()) }
}

fn connection_method(payload: &[u8], inner: &mut Inner) -> Result<(), CodecError> {
    let Method::Other(method) = Method::parse(payload)? else {
        return Err(CodecError::Unexpected { what: "a message on channel 0" });
    };
    let AMQPClass::Connection(method) = *method else {
        return Err(CodecError::Unexpected { what: "a method of another class on channel 0" });
    };
    match method {
        connection::AMQPMethod::Close(close) => {
            let bye = connection::AMQPMethod::CloseOk(connection::CloseOk {});
            put_method(&mut inner.out, 0, &AMQPClass::Connection(bye))?;
            // Whether it takes our answer or not, its own words are why the connection ended.
            inner.flush();
            let reason = format!("{} {}", close.reply_code, close.reply_text);
            inner.end(ClientError::ConnectionLost { reason });
        }
        connection::AMQPMethod::CloseOk(_) => {
            inner.end(ClientError::ConnectionLost { reason: "closed by this client".to_owned() });
        }
        connection::AMQPMethod::Blocked(blocked) => {
            inner.notice(Notice::Blocked { reason: blocked.reason.to_string() })?;
        }
        connection::AMQPMethod::Unblocked(_) => inner.notice(Notice::Unblocked)?,
        // A new secret is a client's to send; from a broker it means nothing.
        connection::AMQPMethod::UpdateSecret(_) | connection::AMQPMethod::UpdateSecretOk(_) => {}
        _ => return Err(CodecError::Unexpected { what: "a part of the hello after it" }),
    }
    Ok(())
}
