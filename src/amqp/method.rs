//! Methods, in place: those of the hot paths here, the rest through `rare`.

use super::reader::Reader;
use super::{AMQPClass, CLASS_BASIC, CodecError, rare};

pub(super) const PUBLISH: u16 = 40;
pub(super) const RETURN: u16 = 50;
pub(super) const DELIVER: u16 = 60;
pub(super) const GET: u16 = 70;
pub(super) const GET_OK: u16 = 71;
pub(super) const GET_EMPTY: u16 = 72;
pub(super) const ACK: u16 = 80;
pub(super) const REJECT: u16 = 90;
pub(super) const NACK: u16 = 120;

/// A method frame's payload. Names and texts are the peer's bytes, which need not be UTF-8.
#[derive(Debug, Clone, PartialEq)]
pub enum Method<'a> {
    /// `basic.publish`; carries content.
    Publish(Publish<'a>),
    /// `basic.deliver`; carries content.
    Deliver(Deliver<'a>),
    /// `basic.get-ok`; carries content.
    GetOk(GetOk<'a>),
    /// `basic.get-empty`.
    GetEmpty,
    /// `basic.return`; carries content.
    Return(Return<'a>),
    /// `basic.ack`, a confirm among them.
    Ack {
        /// Delivery tag, or number of a publish.
        tag: u64,
        /// Whether all up to it are meant.
        multiple: bool,
    },
    /// `basic.nack`, a refused publish among them.
    Nack {
        /// Delivery tag, or number of a publish.
        tag: u64,
        /// Whether all up to it are meant.
        multiple: bool,
        /// Whether the messages go back to their queue.
        requeue: bool,
    },
    /// `basic.reject`.
    Reject {
        /// Delivery tag.
        tag: u64,
        /// Whether the message goes back to its queue.
        requeue: bool,
    },
    /// Any other method.
    Other(Box<AMQPClass>),
}

/// `basic.publish`: a message on its way to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Exchange; empty for the default one.
    pub exchange: &'a [u8],
    /// Routing key.
    pub routing_key: &'a [u8],
    /// Whether it comes back where no queue takes it.
    pub mandatory: bool,
    /// Whether it comes back where no consumer takes it at once; RabbitMQ refuses it.
    pub immediate: bool,
}

/// `basic.deliver`: a message on its way to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// Consumer that it is for.
    pub consumer_tag: &'a [u8],
    /// Delivery tag, to settle it by.
    pub tag: u64,
    /// Whether the broker may have delivered it before.
    pub redelivered: bool,
    /// Exchange that it was published to.
    pub exchange: &'a [u8],
    /// Routing key.
    pub routing_key: &'a [u8],
}

/// `basic.get-ok`: a message that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetOk<'a> {
    /// Delivery tag, to settle it by.
    pub tag: u64,
    /// Whether the broker may have delivered it before.
    pub redelivered: bool,
    /// Exchange that it was published to.
    pub exchange: &'a [u8],
    /// Routing key.
    pub routing_key: &'a [u8],
    /// Messages that are still in the queue.
    pub message_count: u32,
}

/// `basic.return`: a message that the broker could not route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Return<'a> {
    /// AMQP reply code, such as 312 for no route.
    pub code: u16,
    /// Why, in words.
    pub reason: &'a [u8],
    /// Exchange that it was published to.
    pub exchange: &'a [u8],
    /// Routing key.
    pub routing_key: &'a [u8],
}

/// Class and method of a method frame's payload; none where it is too short to tell.
pub fn method_id(payload: &[u8]) -> Option<(u16, u16)> {
    let &[c1, c0, m1, m0] = payload.first_chunk()?;
    Some((u16::from_be_bytes([c1, c0]), u16::from_be_bytes([m1, m0])))
}

impl<'a> Method<'a> {
    /// Reads a method frame's payload.
    ///
    /// # Errors
    ///
    /// [`CodecError::UnknownMethod`]; [`CodecError::Truncated`]; [`CodecError::Malformed`] where bytes follow its
    /// arguments, where a rare method holds text that is not UTF-8, or a table that is malformed.
    pub fn parse(payload: &'a [u8]) -> Result<Self, CodecError> {
        let (class, method) = method_id(payload).ok_or(CodecError::Truncated { what: "a method's number" })?;
        let arguments = payload.get(4..).unwrap_or_default();
        match (class, method) {
            (CLASS_BASIC, DELIVER) => read(arguments, "basic.deliver", deliver),
            (CLASS_BASIC, ACK) => read(arguments, "basic.ack", |from| {
                let (tag, bits) = settlement(from)?;
                Ok(Self::Ack { tag, multiple: bits & 1 != 0 })
            }),
            (CLASS_BASIC, NACK) => read(arguments, "basic.nack", |from| {
                let (tag, bits) = settlement(from)?;
                Ok(Self::Nack { tag, multiple: bits & 1 != 0, requeue: bits & 2 != 0 })
            }),
            (CLASS_BASIC, REJECT) => read(arguments, "basic.reject", |from| {
                let (tag, bits) = settlement(from)?;
                Ok(Self::Reject { tag, requeue: bits & 1 != 0 })
            }),
            (CLASS_BASIC, PUBLISH) => read(arguments, "basic.publish", publish),
            (CLASS_BASIC, RETURN) => read(arguments, "basic.return", returned),
            (CLASS_BASIC, GET_OK) => read(arguments, "basic.get-ok", get_ok),
            (CLASS_BASIC, GET_EMPTY) => read(arguments, "basic.get-empty", |from| {
                // Reserved, once a cluster's name.
                from.short_text()?;
                Ok(Self::GetEmpty)
            }),
            _ => rare::decode(payload, class, method).map(|class| Self::Other(Box::new(class))),
        }
    }

    /// Whether a content header and a body follow it.
    pub fn carries_content(&self) -> bool {
        matches!(self, Self::Publish(_) | Self::Deliver(_) | Self::GetOk(_) | Self::Return(_))
    }
}

/// What `reader` makes of the arguments, which it has to use up.
fn read<'a>(
    arguments: &'a [u8],
    what: &'static str,
    reader: impl FnOnce(&mut Reader<'a>) -> Result<Method<'a>, CodecError>,
) -> Result<Method<'a>, CodecError> {
    let mut from = Reader::new(arguments, what);
    let method = reader(&mut from)?;
    from.end("bytes after a method's arguments")?;
    Ok(method)
}

fn settlement(from: &mut Reader<'_>) -> Result<(u64, u8), CodecError> {
    Ok((from.u64()?, from.u8()?))
}

// Fields of a struct expression are read in the order in which they are written: that of the wire.

fn deliver<'a>(from: &mut Reader<'a>) -> Result<Method<'a>, CodecError> {
    Ok(Method::Deliver(Deliver {
        consumer_tag: from.short_text()?,
        tag: from.u64()?,
        redelivered: from.u8()? & 1 != 0,
        exchange: from.short_text()?,
        routing_key: from.short_text()?,
    }))
}

fn publish<'a>(from: &mut Reader<'a>) -> Result<Method<'a>, CodecError> {
    // Reserved, once an access ticket.
    from.u16()?;
    let (exchange, routing_key, bits) = (from.short_text()?, from.short_text()?, from.u8()?);
    Ok(Method::Publish(Publish { exchange, routing_key, mandatory: bits & 1 != 0, immediate: bits & 2 != 0 }))
}

fn returned<'a>(from: &mut Reader<'a>) -> Result<Method<'a>, CodecError> {
    Ok(Method::Return(Return {
        code: from.u16()?,
        reason: from.short_text()?,
        exchange: from.short_text()?,
        routing_key: from.short_text()?,
    }))
}

fn get_ok<'a>(from: &mut Reader<'a>) -> Result<Method<'a>, CodecError> {
    Ok(Method::GetOk(GetOk {
        tag: from.u64()?,
        redelivered: from.u8()? & 1 != 0,
        exchange: from.short_text()?,
        routing_key: from.short_text()?,
        message_count: from.u32()?,
    }))
}
