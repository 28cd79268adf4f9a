//! One channel: what arrives on it, for the link that owns it.

use std::task::{Context, Waker};

use amq_protocol::protocol::{AMQPClass, basic, channel};

use super::super::{ClientError, Deliveries, Outcome};
use super::arriving::Arriving;
use super::confirms::Confirms;
use super::inbox::Inbox;
use crate::amqp::{CodecError, ContentHeader, ContentState, Frame, FrameKind, Method, put_method};

/// A channel of an open connection.
pub(super) struct Channel {
    id: u16,
    role: Role,
    content: ContentState,
    /// The message whose frames are coming in.
    arriving: Option<Arriving>,
    /// Class and method of the answer that is waited for.
    asked: Option<(u16, u16)>,
    /// The broker's answer to a question.
    reply: Option<AMQPClass>,
    /// Frames of messages that the broker has asked to hold back (`channel.flow`); none where it has not.
    held: Option<Vec<u8>>,
    /// Why it is out of use.
    ended: Option<ClientError>,
    /// Our goodbye is sent; what still comes on it means nothing.
    closing: bool,
    /// The broker has said its last word on it.
    over: bool,
    /// Its link is gone.
    released: bool,
    waker: Option<Waker>,
}

/// What a channel is for.
pub(super) enum Role {
    /// Questions only.
    Bare,
    Publisher(Confirms),
    Subscriber(Inbox),
}

impl Channel {
    pub(super) fn new(id: u16, role: Role) -> Self {
        let content = ContentState::new();
        Self {
            id,
            role,
            content,
            arriving: None,
            asked: None,
            reply: None,
            held: None,
            ended: None,
            closing: false,
            over: false,
            released: false,
            waker: None,
        }
    }

    /// Why it is out of use, if it is.
    pub(super) fn ended(&self) -> Option<&ClientError> {
        self.ended.as_ref()
    }

    /// Puts it out of use. The first reason stays.
    pub(super) fn end(&mut self, error: ClientError) {
        self.ended.get_or_insert(error);
        self.wake();
    }

    pub(super) fn publisher(&mut self) -> Option<&mut Confirms> {
        match &mut self.role {
            Role::Publisher(confirms) => Some(confirms),
            Role::Bare | Role::Subscriber(_) => None,
        }
    }

    pub(super) fn subscriber(&mut self) -> Option<&mut Inbox> {
        match &mut self.role {
            Role::Subscriber(inbox) => Some(inbox),
            Role::Bare | Role::Publisher(_) => None,
        }
    }

    /// Whether its link has to take something before more is read.
    pub(super) fn is_full(&self) -> bool {
        matches!(&self.role, Role::Subscriber(inbox) if inbox.is_full())
    }

    /// Moves out up to `limit` messages that have arrived; false where none has.
    pub(super) fn take_arrived(&mut self, to: &mut Deliveries, limit: usize) -> bool {
        match &mut self.role {
            Role::Subscriber(inbox) if !inbox.is_empty() => {
                inbox.take(to, limit, self.arriving.as_mut());
                true
            }
            _ => false,
        }
    }

    /// A question is put: AMQP's answers are the methods after theirs.
    pub(super) fn ask(&mut self, question: &AMQPClass) {
        self.asked = Some((question.get_amqp_class_id(), question.get_amqp_method_id() + 1));
        self.reply = None;
    }

    /// What holds back frames of messages where the broker has asked for it.
    pub(super) fn held(&mut self) -> Option<&mut Vec<u8>> {
        self.held.as_mut()
    }

    pub(super) fn take_reply(&mut self) -> Option<AMQPClass> {
        self.reply.take()
    }

    /// Our goodbye is on its way: what still arrives is not for anyone. True where it was not before.
    pub(super) fn begin_closing(&mut self) -> bool {
        if std::mem::replace(&mut self.closing, true) {
            return false;
        }
        self.role = Role::Bare;
        self.arriving = self.arriving.take().map(|_| Arriving::Unwanted);
        true
    }

    /// Its link is gone, and with it whoever could take what has arrived.
    pub(super) fn release(&mut self) {
        self.released = true;
        self.role = Role::Bare;
    }

    /// Whether the broker has said its last word on it.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether its number can be used again: both sides have let go of it.
    pub(super) fn is_free(&self) -> bool {
        self.released && self.over
    }

    /// Wakes the caller at what comes next.
    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Takes a frame in. What it has to be answered with goes to `out`.
    ///
    /// # Errors
    /// The frame does not belong here: the connection is of no use any more.
    pub(super) fn take_in(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match frame.kind {
            FrameKind::Method => self.method(frame.payload, out),
            FrameKind::Header => self.header(frame.payload),
            FrameKind::Body => self.body(frame.payload),
            FrameKind::Heartbeat => Ok(()),
        }
    }

    fn method(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let method = Method::parse(payload)?;
        let carries_content = method.carries_content();
        if carries_content {
            self.content.begin()?;
        } else {
            self.content.method()?;
        }
        match (method, &mut self.role) {
            (Method::Other(method), _) => return self.rare(*method, out),
            (Method::Deliver(deliver), Role::Subscriber(inbox)) => self.arriving = Some(inbox.delivered(&deliver)?),
            (Method::GetOk(got), Role::Subscriber(inbox)) => self.arriving = Some(inbox.got(&got)?),
            (Method::GetEmpty, Role::Subscriber(inbox)) => {
                inbox.got_nothing()?;
                self.wake();
            }
            (Method::Return(returned), Role::Publisher(_)) => {
                let reason = String::from_utf8_lossy(returned.reason).into_owned();
                self.arriving = Some(Arriving::returned(Outcome::Returned { code: returned.code, reason }));
            }
            (Method::Ack { tag, multiple }, Role::Publisher(confirms)) => {
                confirms.settle(tag, multiple, &Outcome::Confirmed)?;
                self.wake();
            }
            (Method::Nack { tag, multiple, .. }, Role::Publisher(confirms)) => {
                confirms.settle(tag, multiple, &Outcome::Nacked)?;
                self.wake();
            }
            // The last messages and confirms of a channel that we have closed.
            (_, Role::Bare) if self.closing => self.arriving = carries_content.then_some(Arriving::Unwanted),
            _ => return Err(CodecError::Unexpected { what: "a message on a channel that did not ask for any" }),
        }
        Ok(())
    }

    fn rare(&mut self, method: AMQPClass, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match method {
            AMQPClass::Channel(channel::AMQPMethod::Close(close)) => {
                answer(out, self.id, channel::AMQPMethod::CloseOk(channel::CloseOk {}))?;
                let (code, reason) = (close.reply_code, close.reply_text.to_string());
                self.end(ClientError::ChannelClosed { code, reason });
                // Where both say goodbye at the same time, the broker answers ours as well.
                self.over = !self.closing;
            }
            AMQPClass::Channel(channel::AMQPMethod::CloseOk(_)) if self.closing => {
                self.end(ClientError::ConnectionLost { reason: "the channel is closed".to_owned() });
                self.over = true;
            }
            AMQPClass::Channel(channel::AMQPMethod::Flow(flow)) => {
                answer(out, self.id, channel::AMQPMethod::FlowOk(channel::FlowOk { active: flow.active }))?;
                if !flow.active {
                    self.held.get_or_insert_default();
                } else if let Some(held) = self.held.take() {
                    out.extend(held);
                    self.wake();
                }
            }
            AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel)) => {
                if let Role::Subscriber(inbox) = &mut self.role {
                    let queue = inbox.name_of(cancel.consumer_tag.as_str().as_bytes())?.to_owned();
                    self.end(ClientError::Cancelled { queue });
                }
            }
            reply if self.asked == Some((reply.get_amqp_class_id(), reply.get_amqp_method_id())) => {
                self.asked = None;
                self.reply = Some(reply);
                self.wake();
            }
            // The last answers on a channel that we have closed.
            _ if self.closing => {}
            _ => return Err(CodecError::Unexpected { what: "an answer to a question that nobody asked" }),
        }
        Ok(())
    }

    fn header(&mut self, payload: &[u8]) -> Result<(), CodecError> {
        let header = ContentHeader::parse(payload)?;
        let is_whole = self.content.header(header.body_size)?;
        if let Some(arriving) = &mut self.arriving {
            arriving.header(&header, &mut self.role)?;
        }
        if is_whole {
            self.arrived();
        }
        Ok(())
    }

    fn body(&mut self, payload: &[u8]) -> Result<(), CodecError> {
        let is_whole = self.content.body(payload.len())?;
        if let Some(arriving) = &mut self.arriving {
            arriving.body(payload, &mut self.role);
        }
        if is_whole {
            self.arrived();
        }
        Ok(())
    }

    /// A message is there as a whole.
    fn arrived(&mut self) {
        if let Some(arriving) = self.arriving.take() {
            arriving.end(&mut self.role);
            self.wake();
        }
    }
}

fn answer(out: &mut Vec<u8>, id: u16, method: channel::AMQPMethod) -> Result<(), CodecError> {
    put_method(out, id, &AMQPClass::Channel(method))
}
