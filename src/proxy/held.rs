//! What is held back, and until when. Uses `amqp`. Pure.

use std::sync::Arc;
use std::time::Instant;

use super::content::{Content, Numbered};
use super::disturbance::{FrameAction, Way};
use super::rule::{Hit, Rule};
use crate::amqp::{put_ack, put_nack, put_reject};
use crate::stamp::Stamp;

/// How messages are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settle {
    Ack,
    Nack { requeue: bool },
    Reject { requeue: bool },
}

impl Settle {
    pub fn put(self, out: &mut Vec<u8>, channel: u16, tag: u64, multiple: bool) {
        match self {
            Self::Ack => put_ack(out, channel, tag, multiple),
            Self::Nack { requeue } => put_nack(out, channel, tag, multiple, requeue),
            Self::Reject { requeue } => put_reject(out, channel, tag, requeue),
        }
    }
}

/// A delivery, and what the rules made of it.
#[derive(Debug)]
pub(super) struct Parcel {
    pub content: Content,
    /// Tag that the broker gave it.
    pub tag: u64,
    pub settles: bool,
    /// Deliveries that come before it, and whose doing they are.
    pub invented: Vec<(Content, Arc<Rule>)>,
    /// Copies that come after it: whether flagged, and whose doing they are.
    pub copies: Vec<(bool, Arc<Rule>)>,
    /// Who flipped a bit of it, and what became of its stamp by it.
    pub corrupted: Vec<(Option<Hit>, Arc<Rule>)>,
    /// Whose cut its settlement is.
    pub cuts: Vec<Arc<Rule>>,
}

impl Parcel {
    pub fn new(content: Content, numbered: Numbered) -> Self {
        let Numbered { tag, settles, .. } = numbered;
        Self { content, tag, settles, invented: vec![], copies: vec![], corrupted: vec![], cuts: vec![] }
    }
}

/// What is held back.
#[derive(Debug)]
pub(super) enum Thing {
    /// A publish, with its number where the broker confirms, and whose cut its confirm is.
    Publish {
        content: Content,
        number: Option<u64>,
        cuts: Vec<Arc<Rule>>,
    },
    Delivery(Box<Parcel>),
    /// A settlement, in the numbers of who is to be told.
    Settlement {
        settle: Settle,
        origins: Vec<u64>,
    },
    Heartbeat,
}

impl Thing {
    /// The stamp of a message that has one.
    pub fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Publish { content, .. } => content.stamp(),
            Self::Delivery(parcel) => parcel.content.stamp(),
            Self::Settlement { .. } | Self::Heartbeat => None,
        }
    }

    /// Bytes that it keeps, about.
    pub fn size(&self) -> usize {
        match self {
            Self::Publish { content, .. } => content.len(),
            Self::Delivery(parcel) => parcel.content.len() * (1 + parcel.invented.len()),
            Self::Settlement { origins, .. } => origins.len() * size_of::<u64>(),
            Self::Heartbeat => 0,
        }
    }
}

/// Something that is held back.
#[derive(Debug)]
pub(super) struct Held {
    pub rule: Arc<Rule>,
    pub until: Option<Instant>,
    pub way: Way,
    pub channel: u16,
    pub thing: Thing,
}

impl Held {
    pub fn is_due(&self, now: Instant) -> bool {
        self.rule.has_ended() || self.until.is_some_and(|until| until <= now)
    }
}

/// Until when an action holds something back; outer none where it drops it, inner none where only its end heals it.
pub(super) fn until(action: FrameAction, now: Instant) -> Option<Option<Instant>> {
    match action {
        FrameAction::Drop => None,
        FrameAction::Delay(delay) => Some(now.checked_add(delay)),
        FrameAction::Hold => Some(None),
    }
}
