//! Disturbances at work: their counters, whom they hit, and those that one connection is subject to. Uses `stamp`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::disturbance::{Disturbance, FrameClass, Picks, What};
use super::draw::{self, Lane};
use crate::stamp::Stamp;

/// Most messages that a rule remembers; what it did is counted beyond it.
const HITS_MAX: usize = 10_000;

/// A message that a disturbance acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The stamp that it had.
    pub had: Stamp,
    /// The stamp that it went on with, or that of what was made of it: another one where it was changed or invented.
    pub became: Stamp,
}

impl Hit {
    /// Of a message that kept its stamp; none where it has none.
    pub(super) fn unchanged(stamp: Option<Stamp>) -> Option<Self> {
        stamp.map(|stamp| Self { had: stamp, became: stamp })
    }
}

/// A disturbance that was begun. Shared by all connections, so that events are counted over all of them.
#[derive(Debug)]
pub(super) struct Rule {
    pub id: u64,
    pub disturbance: Disturbance,
    events: AtomicU64,
    done: AtomicU64,
    hits: Mutex<Vec<Hit>>,
    ended: AtomicBool,
}

impl Rule {
    pub fn new(id: u64, disturbance: Disturbance) -> Self {
        Self {
            id,
            disturbance,
            events: AtomicU64::new(0),
            done: AtomicU64::new(0),
            hits: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    pub fn what(&self) -> &What {
        &self.disturbance.what
    }

    /// Whether it is for the connection of this number.
    pub fn covers(&self, seed: u64, connection: u64) -> bool {
        draw::unit(seed, Lane::Share, connection) < self.disturbance.share
    }

    /// An event came: its number where it is picked.
    pub fn pick(&self) -> Option<u64> {
        let picks = self.picks().filter(|_| !self.has_ended())?;
        let number = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        picks.include(number).then_some(number)
    }

    fn picks(&self) -> Option<Picks> {
        match *self.what() {
            What::Frames { picks, .. }
            | What::CutBeforeConfirm { picks }
            | What::CutBeforeAck { picks }
            | What::LoseConfirmed { picks }
            | What::LoseDelivered { picks }
            | What::Duplicate { picks, .. }
            | What::Corrupt { picks }
            | What::Swap { picks }
            | What::Invent { picks } => Some(picks),
            _ => None,
        }
    }

    /// It did what it is for, once more.
    pub fn acted(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// The same, and to which message, where that has a stamp.
    pub fn acted_on(&self, hit: Option<Hit>) {
        self.acted();
        // A panic while it was locked cannot leave it half changed: each change is one call.
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = hits.len() < HITS_MAX;
        hits.extend(hit.filter(|_| has_room));
    }

    pub fn hits(&self) -> Vec<Hit> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Frames of which class it looks at.
    fn class(&self) -> Option<FrameClass> {
        match self.what() {
            What::Frames { class, .. } => Some(*class),
            What::CutBeforeConfirm { .. } | What::LoseConfirmed { .. } => Some(FrameClass::Publishes),
            What::CutBeforeAck { .. }
            | What::LoseDelivered { .. }
            | What::Duplicate { .. }
            | What::Corrupt { .. }
            | What::Swap { .. }
            | What::Invent { .. } => Some(FrameClass::Deliveries),
            _ => None,
        }
    }
}

/// The rules that one connection is subject to, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Rules {
    list: Vec<Arc<Rule>>,
    /// A bit for each class of frames that a rule looks at.
    classes: u8,
}

impl Rules {
    pub fn new(list: Vec<Arc<Rule>>) -> Self {
        let bits = list.iter().filter_map(|rule| rule.class()).map(|class| 1 << class as u8);
        let classes = bits.fold(0, |all, bit: u8| all | bit);
        Self { list, classes }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.list.iter()
    }

    /// Whether any looks at frames of this class.
    pub fn look_at(&self, class: FrameClass) -> bool {
        self.classes & 1 << class as u8 != 0
    }

    /// The rules that look at frames of this class.
    pub fn of(&self, class: FrameClass) -> impl Iterator<Item = &Arc<Rule>> {
        self.list.iter().filter(move |rule| rule.class() == Some(class))
    }

    pub fn contains(&self, id: u64) -> bool {
        self.list.iter().any(|rule| rule.id == id)
    }
}
