//! Disturbances at work: their counters, which messages they hit, and those that one connection is subject to. Uses
//! `stamp`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rangemap::RangeInclusiveSet;
use rustc_hash::FxHashMap;

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

/// How messages of a publisher pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// All of them, in their order: one that was never seen was lost before it came here, and counts as well.
    Whole,
    /// Any of them, in any order.
    Any,
}

/// The messages that a rule has counted.
#[derive(Debug, Default)]
struct Passed {
    /// Their sequences, by publisher.
    seen: FxHashMap<u16, RangeInclusiveSet<u64>>,
    /// The highest of each publisher, where all pass.
    highest: FxHashMap<u16, u64>,
    /// Picked, and not acted on yet.
    turns: u64,
}

impl Passed {
    /// How many messages have passed with it for the first time.
    fn new_ones(&mut self, stamp: &Stamp, order: Order) -> u64 {
        if order == Order::Any {
            return u64::from(self.is_new(stamp));
        }
        let before = self.highest.entry(stamp.publisher).or_insert_with(|| stamp.sequence.wrapping_sub(1));
        // The sequence before the first is -1.
        let new = (stamp.sequence.wrapping_sub(*before) as i64).max(0) as u64;
        if new > 0 {
            *before = stamp.sequence;
        }
        new
    }

    /// Whether it was not seen before.
    fn is_new(&mut self, stamp: &Stamp) -> bool {
        let seen = self.seen.entry(stamp.publisher).or_default();
        let is_new = !seen.contains(&stamp.sequence);
        if is_new {
            seen.insert(stamp.sequence..=stamp.sequence);
        }
        is_new
    }
}

/// A panic while it was locked cannot leave it half changed: each change is one assignment or call.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disturbance that was begun. Shared by all connections, so that events are counted over all of them.
#[derive(Debug)]
pub(super) struct Rule {
    pub id: u64,
    pub disturbance: Disturbance,
    events: AtomicU64,
    done: AtomicU64,
    passed: Mutex<Passed>,
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
            passed: Mutex::default(),
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

    /// A message came: whether it is picked. It is counted once, however often it comes, so that the same one is picked
    /// whatever is sent again between; without a stamp each time. A turn that falls to one where nothing can be done now,
    /// which is not `free`, goes to the next.
    pub fn pick_message(&self, stamp: Option<&Stamp>, order: Order, is_free: bool) -> bool {
        let mut passed = locked(&self.passed);
        let new = stamp.map_or(1, |stamp| passed.new_ones(stamp, order));
        passed.turns += (0..new).filter(|_| self.pick().is_some()).count() as u64;
        let takes_turn = is_free && passed.turns > 0 && !self.has_ended();
        passed.turns -= u64::from(takes_turn);
        takes_turn
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
        let mut hits = locked(&self.hits);
        let has_room = hits.len() < HITS_MAX;
        hits.extend(hit.filter(|_| has_room));
    }

    pub fn hits(&self) -> Vec<Hit> {
        locked(&self.hits).clone()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(publisher: u16, sequence: u64) -> Stamp {
        Stamp { run: 1, publisher, attempt: 0, sequence, intended_us: 0, lag_us: 0 }
    }

    fn rule(first: u64, every: u64, times: u64) -> Rule {
        Rule::new(1, Disturbance::of_all(What::CutBeforeConfirm { picks: Picks { first, every, times } }))
    }

    #[test]
    fn a_message_counts_once_however_often_it_comes() {
        let rule = rule(3, 3, 2);
        let came = [(0, 0), (0, 1), (0, 1), (0, 0), (1, 1), (0, 2), (1, 1), (0, 7), (0, 5), (0, 6)];
        let picked: Vec<_> = came
            .iter()
            .filter(|(from, number)| rule.pick_message(Some(&stamp(*from, *number)), Order::Any, true))
            .collect();
        assert_eq!(picked, [&(1, 1), &(0, 5)]);
        // Nobody knows what comes again without a stamp.
        let rule = self::rule(2, 2, 2);
        assert_eq!([0; 5].map(|_| rule.pick_message(None, Order::Any, true)), [false, true, false, true, false]);
    }

    #[test]
    fn a_message_that_was_lost_on_its_way_counts_where_all_pass() {
        let rule = rule(3, 3, 3);
        let pick = |from, sequence| rule.pick_message(Some(&stamp(from, sequence)), Order::Whole, true);
        assert_eq!([0, 1, 0, 2, 1].map(|sequence| pick(0, sequence)), [false, false, false, true, false]);
        // The fourth to the sixth were lost: the turn of the sixth falls to the seventh, which is not the sixth for that.
        assert_eq!([6, 7, 8].map(|sequence| pick(0, sequence)), [true, false, true]);
    }

    #[test]
    fn a_turn_that_cannot_be_taken_goes_to_the_next() {
        let rule = rule(1, 1, 2);
        let pick = |sequence, is_free| rule.pick_message(Some(&stamp(0, sequence)), Order::Any, is_free);
        assert!(!pick(0, false) && !pick(1, false), "both turns fall to messages that are not free");
        assert_eq!([pick(1, true), pick(2, true), pick(3, true)], [true, true, false]);
    }
}
