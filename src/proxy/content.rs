//! A whole message as it stands in a stream: its method, header and body frames, and what can be changed in them. Uses
//! `amqp` and `stamp`. Pure.

use bytes::{Bytes, BytesMut};

use super::draw::{self, Lane};
use crate::amqp::{FrameKind, first_frame};
use crate::stamp::{MAX_SEQUENCE, Reading, STAMP_LEN, Stamp};

/// Bytes of a frame before its payload.
const HEAD_LEN: usize = 7;
/// Bytes of a method's number.
const METHOD_LEN: usize = 4;
/// Bytes that say which run a stamped message is of: without them it would be a stranger, not a corrupt message.
const RUN_LEN: usize = 4;

/// What kind of message it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// On its way to the broker.
    Publish,
    /// On its way to a consumer.
    Deliver(Numbered),
    /// The answer to a `basic.get`.
    GetOk(Numbered),
}

/// What a message with a delivery tag says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbered {
    /// Delivery tag that the broker gave it.
    pub tag: u64,
    /// Whether it is to be settled.
    pub settles: bool,
    /// Where the tag stands in the method's frame; the redelivered flag follows it.
    pub tag_at: usize,
}

impl Numbered {
    pub fn of_delivery(tag: u64, consumer_tag: &[u8], settles: bool) -> Self {
        Self { tag, settles, tag_at: HEAD_LEN + METHOD_LEN + 1 + consumer_tag.len() }
    }

    pub fn of_get(tag: u64, settles: bool) -> Self {
        Self { tag, settles, tag_at: HEAD_LEN + METHOD_LEN }
    }
}

/// Writes a delivery tag into a method's frame.
pub(super) fn put_tag(frame: &mut [u8], tag_at: usize, tag: u64) {
    if let Some(place) = frame.get_mut(tag_at..tag_at + 8) {
        place.copy_from_slice(&tag.to_be_bytes());
    }
}

/// A message, its frames one after the other.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub kind: Kind,
    frames: BytesMut,
}

impl Content {
    pub fn new(kind: Kind) -> Self {
        Self { kind, frames: BytesMut::new() }
    }

    /// Adds its next frame.
    pub fn push(&mut self, frame: BytesMut) {
        if self.frames.is_empty() {
            self.frames = frame;
        } else {
            self.frames.extend_from_slice(&frame);
        }
    }

    /// Bytes of all its frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    pub fn into_bytes(self) -> Bytes {
        self.frames.freeze()
    }

    /// What it says of its delivery tag, where it has one.
    pub fn numbered(&self) -> Option<Numbered> {
        match self.kind {
            Kind::Deliver(numbered) | Kind::GetOk(numbered) => Some(numbered),
            Kind::Publish => None,
        }
    }

    /// Gives it another delivery tag.
    pub fn set_tag(&mut self, tag: u64) {
        if let Some(numbered) = self.numbered() {
            put_tag(&mut self.frames, numbered.tag_at, tag);
        }
    }

    /// Sets or clears its redelivered flag.
    pub fn set_redelivered(&mut self, redelivered: bool) {
        let at = self.numbered().map(|numbered| numbered.tag_at + 8);
        if let Some(flag) = at.and_then(|at| self.frames.get_mut(at)) {
            *flag = u8::from(redelivered);
        }
    }

    /// Where the pieces of its body stand.
    fn pieces(&self) -> Vec<std::ops::Range<usize>> {
        let (mut at, mut pieces) = (0, Vec::new());
        while let Ok(Some(frame)) = first_frame(&self.frames[at..], 0) {
            if frame.kind == FrameKind::Body {
                pieces.push(at + HEAD_LEN..at + HEAD_LEN + frame.payload.len());
            }
            at += frame.wire_len();
        }
        pieces
    }

    fn body(&self) -> Vec<u8> {
        let pieces = self.pieces();
        let mut body = Vec::with_capacity(pieces.iter().map(ExactSizeIterator::len).sum());
        pieces.into_iter().for_each(|piece| body.extend_from_slice(&self.frames[piece]));
        body
    }

    /// Overwrites the first bytes of its body.
    fn put_body(&mut self, mut bytes: &[u8]) {
        for piece in self.pieces() {
            let (now, later) = bytes.split_at(bytes.len().min(piece.len()));
            self.frames[piece.start..piece.start + now.len()].copy_from_slice(now);
            bytes = later;
        }
    }

    /// Whether there is a body at all.
    pub fn has_body(&self) -> bool {
        self.pieces().iter().any(|piece| !piece.is_empty())
    }

    /// The stamp that its body begins with.
    fn stamp_of(body: &[u8]) -> Option<Stamp> {
        let run = u32::from_be_bytes(*body.first_chunk()?);
        match Stamp::read_body(body, run) {
            Reading::Ours(stamp) => Some(stamp),
            Reading::Corrupt(_) | Reading::Foreign => None,
        }
    }

    /// The stamp that its body begins with; of a changed one what it says now.
    pub fn stamp(&self) -> Option<Stamp> {
        let body = self.body();
        let run = u32::from_be_bytes(*body.first_chunk()?);
        match Stamp::read_body(&body, run) {
            Reading::Ours(stamp) | Reading::Corrupt(stamp) => Some(stamp),
            Reading::Foreign => None,
        }
    }

    /// Flips one bit of its body, drawn from seed and number.
    pub fn corrupt(&mut self, seed: u64, number: u64) {
        let mut body = self.body();
        let first = if Self::stamp_of(&body).is_some() { RUN_LEN } else { 0 };
        let bits = (body.len().saturating_sub(first) * 8) as u64;
        let bit = draw::below(seed, Lane::Bit, number, bits) as usize;
        if let Some(byte) = body.get_mut(first + bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        self.put_body(&body);
    }

    /// A copy that was never sent: its stamp has the sequence that is `number` below the largest there is. None where
    /// the body does not begin with a stamp.
    pub fn invented(&self, number: u64) -> Option<Self> {
        let body = self.body();
        let stamp = Stamp { sequence: MAX_SEQUENCE.saturating_sub(number), ..Self::stamp_of(&body)? };
        let mut copy = self.clone();
        copy.put_body(&stamp.encode(body.get(STAMP_LEN..).unwrap_or_default()));
        copy.set_redelivered(false);
        Some(copy)
    }

    /// Whether its body begins with a stamp.
    pub fn is_stamped(&self) -> bool {
        Self::stamp_of(&self.body()).is_some()
    }
}
