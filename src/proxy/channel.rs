//! What is known of one channel: where its two streams are, the numbers of its messages, who acks by itself. Uses
//! `amqp`. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use rustc_hash::FxHashSet;

use super::content::{Content, Kind};
use super::disturbance::Way;
use super::held::Parcel;
use super::numbering::Numbering;
use super::rule::Rule;
use crate::amqp::{CodecError, ContentState};
use crate::stamp::Stamp;

/// Where one stream of a channel is.
#[derive(Debug, Default)]
pub(super) struct Flow {
    state: ContentState,
    /// The message that is being collected, instead of being passed on frame by frame.
    gathered: Option<Content>,
}

impl Flow {
    /// A method with content came; `gather` where the message is to be judged as a whole.
    pub fn begin(&mut self, gather: Option<Kind>) -> Result<(), CodecError> {
        self.state.begin()?;
        self.gathered = gather.map(Content::new);
        Ok(())
    }

    /// A method without content came.
    pub fn method(&self) -> Result<(), CodecError> {
        self.state.method()
    }

    /// A content header came; true where the message is whole.
    pub fn header(&mut self, body_size: u64) -> Result<bool, CodecError> {
        self.state.header(body_size)
    }

    /// A piece of a body came; true where the message is whole.
    pub fn body(&mut self, bytes: usize) -> Result<bool, CodecError> {
        self.state.body(bytes)
    }

    pub fn is_gathering(&self) -> bool {
        self.gathered.is_some()
    }

    /// Whether a message is passing: no other frame of the channel may come between.
    pub fn is_passing(&self) -> bool {
        !self.state.is_idle() && self.gathered.is_none()
    }

    /// Adds a frame to the message that is being collected; the message where it is whole.
    pub fn gather(&mut self, frame: BytesMut) -> Option<Content> {
        self.gathered.as_mut()?.push(frame);
        if self.state.is_idle() { self.gathered.take() } else { None }
    }

    /// What was collected so far: it will not be judged.
    pub fn give_back(&mut self) -> Option<Content> {
        self.gathered.take()
    }
}

/// A message whose settlement cuts the connection.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    /// Number of the publish, or tag of the delivery.
    pub number: u64,
    /// By which rule.
    pub rule: Arc<Rule>,
    /// The stamp that it has.
    pub stamp: Option<Stamp>,
}

/// One channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// One side said that it closes: nothing is disturbed any more.
    pub is_closing: bool,
    flows: [Flow; 2],
    /// Publishes, since the client asked for confirms.
    pub publishes: Option<Numbering>,
    /// Deliveries.
    pub deliveries: Numbering,
    /// Tags of consumers whose deliveries are not settled.
    pub auto_ack: FxHashSet<Vec<u8>>,
    /// Whether those whose subscription is not answered yet ack by themselves.
    pub subscribing: VecDeque<bool>,
    /// Whether those who asked for one message ack by themselves.
    pub getting: VecDeque<bool>,
    /// Publishes that are to be confirmed though the broker never saw them: their numbers, and up to which of the
    /// broker's numbers all has to be settled before.
    pub owed: VecDeque<(u64, u64)>,
    /// Publishes whose confirm cuts the connection.
    pub confirm_cuts: Vec<Mark>,
    /// Deliveries whose settlement cuts the connection.
    pub ack_cuts: Vec<Mark>,
    /// A delivery that waits to change places with the next.
    pub swapped: Option<(Parcel, Arc<Rule>)>,
}

impl Channel {
    pub fn flow(&mut self, way: Way) -> &mut Flow {
        &mut self.flows[way as usize]
    }

    /// Publishes that are confirmed next, though the broker never saw them.
    pub fn ripe(&mut self) -> Vec<u64> {
        let Some(publishes) = &self.publishes else { return Vec::new() };
        let mut ripe = Vec::new();
        while let Some(&(number, after)) = self.owed.front() {
            if !publishes.is_settled_to(after) {
                break;
            }
            ripe.push(number);
            self.owed.pop_front();
        }
        ripe
    }
}

/// Takes out the marks of what was settled; the first of them whose rule is still at work.
pub(super) fn cut_by(marks: &mut Vec<Mark>, settled: &[u64]) -> Option<Mark> {
    let is_settled = |mark: &Mark| settled.binary_search(&mark.number).is_ok();
    let hit = marks.iter().find(|mark| !mark.rule.has_ended() && is_settled(mark)).cloned();
    marks.retain(|mark| !mark.rule.has_ended() && !is_settled(mark));
    hit
}
