//! One connection's conversation: bytes in from either side and the rules that are at work, bytes out to either side,
//! and whether the connection is to be cut. Uses `amqp`. Pure: no socket, no clock.
//!
//! Only whole frames go out, so that a frame of the proxy's own never lands inside of another. What cannot be read as
//! AMQP passes as it is, and so does all that follows it, in both directions; and all after one side said that it
//! closes the connection.

mod delivering;
mod judging;
mod publishing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;

use super::channel::Channel;
use super::content::{Content, Kind};
use super::disturbance::{FrameAction, FrameClass, WAYS, Way, What};
use super::held::{Held, Settle, Thing, until};
use super::rule::{Hit, Rule, Rules};
use super::stream::Stream;
use crate::amqp::{AMQPClass, PROTOCOL_HEADER, put_heartbeat};

/// A frame that says that it is larger is not waited for: no peer negotiates such.
const FRAME_BYTES_MAX: u32 = 64 << 20;
/// Bytes that are held back of one stream before no more of it is read.
const HELD_BYTES_MAX: usize = 64 << 20;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    /// The client did not say yet.
    Unknown,
    Amqp,
    /// Bytes that are not read, or no more.
    Bytes,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// It passes with another delivery tag.
    Retag {
        tag_at: usize,
        tag: u64,
    },
    /// It goes no further.
    Take,
    /// It is part of a message that is judged once it is whole.
    Gather,
}

/// The conversation of one connection.
#[derive(Debug)]
pub(super) struct Conversation {
    seed: u64,
    speech: Speech,
    rules: Arc<Rules>,
    streams: [Stream; 2],
    channels: FxHashMap<u16, Channel>,
    held: VecDeque<Held>,
    held_bytes: [usize; 2],
    /// When the first of what is held is due.
    due: Option<Instant>,
    /// Deliveries that wait to change places with the next.
    swapped: usize,
    /// Rules have changed since what is held was looked at.
    is_stale: bool,
    /// The connection is to be reset.
    is_cut: bool,
    /// A method's payload, while it is judged.
    method: Vec<u8>,
}

impl Conversation {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            speech: Speech::Unknown,
            rules: Arc::default(),
            streams: Default::default(),
            channels: FxHashMap::default(),
            held: VecDeque::new(),
            held_bytes: [0; 2],
            due: None,
            swapped: 0,
            is_stale: false,
            is_cut: false,
            method: Vec::new(),
        }
    }

    /// The rules from now on.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
        self.is_stale = true;
    }

    /// Where to put what comes; then [`Self::hear`] it.
    pub fn buffer(&mut self, way: Way) -> &mut BytesMut {
        self.streams[way as usize].buffer()
    }

    /// Judges what came.
    pub fn hear(&mut self, way: Way, now: Instant) {
        self.release(now);
        self.greet(way);
        let rules = Arc::clone(&self.rules);
        while self.speech == Speech::Amqp && !self.is_cut {
            match self.frame(way, &rules, now) {
                Ok(true) => self.settle_waiting(way),
                Ok(false) => break,
                Err(_) => self.give_up(),
            }
        }
        if self.speech == Speech::Bytes {
            self.streams.iter_mut().for_each(Stream::pass_all);
        }
        self.streams.iter_mut().for_each(Stream::cut);
    }

    /// What comes has ended: no more of it is waited for.
    pub fn finish(&mut self, way: Way) {
        self.forget_held(|held| held.way == way);
        let stream = &mut self.streams[way as usize];
        stream.pass_all();
        stream.cut();
    }

    /// Lets go what is due, and what is held by rules that have ended.
    pub fn release(&mut self, now: Instant) {
        if !self.is_stale && self.due.is_none_or(|due| due > now) {
            return;
        }
        self.is_stale = false;
        let (due, held): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.is_due(now));
        self.held = held;
        self.due = self.held.iter().filter_map(|held| held.until).min();
        for held in due {
            self.held_bytes[held.way as usize] -= held.thing.size();
            self.let_go(held);
        }
        self.give_up_swaps();
    }

    /// When [`Self::release`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Moves out what goes out.
    pub fn take_out(&mut self, way: Way) -> Vec<Bytes> {
        self.streams[way as usize].take_out()
    }

    /// Whether more may come: memory for what is held is bounded.
    pub fn accepts(&self, way: Way) -> bool {
        self.held_bytes[way as usize] < HELD_BYTES_MAX
    }

    /// Whether the connection is to be reset.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether something is held back.
    pub fn holds(&self) -> bool {
        !self.held.is_empty() || self.swapped > 0
    }

    /// The client's first bytes say whether it speaks AMQP 0-9-1; a broker that speaks first does not.
    fn greet(&mut self, way: Way) {
        if self.speech != Speech::Unknown {
            return;
        }
        let unread = self.streams[way as usize].unread();
        if way == Way::ToClient && !unread.is_empty() {
            self.speech = Speech::Bytes;
        } else if unread.starts_with(&PROTOCOL_HEADER) {
            self.speech = Speech::Amqp;
            self.streams[way as usize].pass(PROTOCOL_HEADER.len());
        } else if !PROTOCOL_HEADER.starts_with(unread) {
            self.speech = Speech::Bytes;
        }
    }

    /// Holds something back, or drops it, as `action` says.
    fn hold(&mut self, rule: &Arc<Rule>, action: FrameAction, way: Way, channel: u16, now: Instant, thing: Thing) {
        rule.acted_on(Hit::unchanged(thing.stamp()));
        let Some(until) = until(action, now) else { return };
        self.held_bytes[way as usize] += thing.size();
        self.due = self.due.into_iter().chain(until).min();
        self.held.push_back(Held { rule: Arc::clone(rule), until, way, channel, thing });
    }

    fn let_go(&mut self, held: Held) {
        match held.thing {
            Thing::Publish { content, number, cuts } => self.send(held.channel, content, number, cuts),
            Thing::Delivery(parcel) => self.hand_over(held.channel, *parcel),
            Thing::Settlement { settle, origins } => self.tell(held.way, held.channel, settle, &origins),
            Thing::Heartbeat => {
                let mut frame = Vec::new();
                put_heartbeat(&mut frame);
                self.emit(held.way, 0, frame.into());
            }
        }
    }

    fn forget_held(&mut self, is_gone: impl Fn(&Held) -> bool) {
        self.held.retain(|held| !is_gone(held));
        self.due = self.held.iter().filter_map(|held| held.until).min();
        for way in WAYS {
            let of_way = self.held.iter().filter(|held| held.way == way);
            self.held_bytes[way as usize] = of_way.map(|held| held.thing.size()).sum();
        }
    }

    /// Tells one side what the other has settled, in the numbers of who is told.
    fn tell(&mut self, way: Way, number: u16, settle: Settle, origins: &[u64]) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let numbering = match way {
            Way::ToBroker => Some(&mut channel.deliveries),
            Way::ToClient => channel.publishes.as_mut(),
        };
        let mut frames = Vec::new();
        for (tag, multiple) in numbering.map(|numbering| numbering.tell(origins)).unwrap_or_default() {
            settle.put(&mut frames, number, tag, multiple);
        }
        self.emit(way, number, frames.into());
    }

    /// Frames go out, in between two messages of their channel.
    fn emit(&mut self, way: Way, number: u16, frames: Bytes) {
        if frames.is_empty() {
            return;
        }
        let is_passing = self.channels.get_mut(&number).is_some_and(|channel| channel.flow(way).is_passing());
        let stream = &mut self.streams[way as usize];
        if is_passing {
            stream.wait(number, frames);
        } else {
            stream.emit(frames);
        }
    }

    fn settle_waiting(&mut self, way: Way) {
        let stream = &mut self.streams[way as usize];
        if stream.is_waiting() {
            let channels = &mut self.channels;
            stream.settle_waiting(|number| !channels.get_mut(&number).is_some_and(|it| it.flow(way).is_passing()));
        }
    }

    /// A channel is being closed: nothing is disturbed on it any more, and what is held for it is gone.
    fn closing(&mut self, number: u16) {
        self.forget_held(|held| held.channel == number);
        self.streams.iter_mut().for_each(|stream| stream.forget_waiting(Some(number)));
        let channel = self.channels.entry(number).or_default();
        channel.is_closing = true;
        channel.confirm_cuts.clear();
        channel.ack_cuts.clear();
        self.swapped -= usize::from(channel.swapped.take().is_some());
    }

    /// From here on bytes pass as they are. What was collected of messages goes first.
    fn give_up(&mut self) {
        self.speech = Speech::Bytes;
        self.forget_held(|_| true);
        self.swapped = 0;
        for (_, mut channel) in std::mem::take(&mut self.channels) {
            for way in WAYS {
                if let Some(content) = channel.flow(way).give_back() {
                    self.streams[way as usize].emit(content.into_bytes());
                }
            }
        }
        self.streams.iter_mut().for_each(|stream| stream.forget_waiting(None));
    }

    /// Whether the connection is about to be cut by this rule.
    fn is_doomed(&self, rule: &Rule) -> bool {
        let marks =
            |channel: &Channel| channel.confirm_cuts.iter().chain(&channel.ack_cuts).any(|it| it.rule.id == rule.id);
        self.channels.values().any(marks)
    }
}

/// The first rule that picks a frame of this class, and what it does to it.
fn picked(rules: &Rules, class: FrameClass) -> Option<(&Arc<Rule>, FrameAction)> {
    rules.of(class).find_map(|rule| match *rule.what() {
        What::Frames { action, .. } => rule.pick().map(|_| (rule, action)),
        _ => None,
    })
}
