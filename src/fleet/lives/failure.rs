//! What happens to members of a fleet, and at which of their messages. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Step;
use crate::plan::{MemberFailure, Strike};
use crate::stamp::Stamp;

/// A failure that goes on.
pub(super) struct Failure {
    /// Number of the fault.
    pub(super) id: u32,
    pub(super) members: BTreeSet<u32>,
    pub(super) what: MemberFailure,
    /// Messages that came to the point in question, each once.
    seen: u64,
    /// Picked messages at which another failure came first: it has the next one in their place.
    pending: u64,
    /// Members that it has come to, dead or not yet.
    struck: BTreeSet<u32>,
}

/// Most messages at which a failure has happened that are told.
const MESSAGES_MAX: usize = 10_000;

/// What has happened by one failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Happened {
    /// How often.
    pub(super) done: u64,
    /// Publisher and sequence of the messages at which it did, in that order.
    pub(super) messages: Vec<(u16, u64)>,
}

/// The failures of a fleet's members.
#[derive(Default)]
pub(super) struct Failures {
    /// Those that go on: who waits for one message only is asked first, who takes any last.
    pub(super) going_on: Vec<Failure>,
    /// What has happened, by the number of the fault, whether it goes on or not.
    happened: BTreeMap<u32, Happened>,
}

/// What a failure does to a member at one or several messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blow {
    /// Number of the fault.
    pub(super) fault: u32,
    /// Publisher and sequence of the messages that it was meant for, at least one.
    pub(super) messages: Vec<(u16, u64)>,
    /// How long the member stays away.
    pub(super) away: Duration,
}

impl Failures {
    pub(super) fn begin(&mut self, id: u32, members: &[u32], what: &MemberFailure) {
        let members = members.iter().copied().collect();
        let (struck, what) = (BTreeSet::new(), what.clone());
        let failure = Failure { id, members, what, seen: 0, pending: 0, struck };
        let place = self.going_on.partition_point(|other| other.rank() <= failure.rank());
        self.going_on.insert(place, failure);
    }

    pub(super) fn end(&mut self, id: u32) -> Option<Failure> {
        let place = self.going_on.iter().position(|failure| failure.id == id)?;
        Some(self.going_on.remove(place))
    }

    pub(super) fn happened(&self, id: u32) -> Happened {
        self.happened.get(&id).cloned().unwrap_or_default()
    }

    pub(super) fn any_strikes(&self) -> bool {
        self.going_on.iter().any(|failure| failure.what.strike().is_some())
    }

    /// Whether member `number` is struck at this step by one of these messages, each with whether it comes there for the
    /// first time. One failure strikes, however often it is meant to; the others have another message.
    pub(super) fn strike<'a>(
        &mut self,
        number: u32,
        step: Step,
        messages: impl Iterator<Item = (&'a Stamp, bool)>,
    ) -> Option<Blow> {
        let mut struck: Option<Blow> = None;
        for message in messages {
            for failure in &mut self.going_on {
                let is_free = struck.as_ref().is_none_or(|blow| blow.fault == failure.id);
                let Some(away) = failure.strikes(number, step, message, is_free) else { continue };
                let blow = struck.get_or_insert_with(|| Blow { fault: failure.id, messages: Vec::new(), away });
                blow.messages.push((message.0.publisher, message.0.sequence));
            }
        }
        struck
    }

    /// It happens now. Whether it still goes on.
    pub(super) fn happens(&mut self, blow: &Blow) -> bool {
        let happened = self.happened.entry(blow.fault).or_default();
        happened.done += blow.messages.len() as u64;
        let room = MESSAGES_MAX.saturating_sub(happened.messages.len());
        happened.messages.extend(blow.messages.iter().take(room));
        self.going_on.iter().any(|failure| failure.id == blow.fault)
    }

    /// Member `number` stands still now.
    pub(super) fn stands_still(&mut self, number: u32) {
        let stalls = self.going_on.iter_mut().filter(|failure| failure.what == MemberFailure::Stall);
        for failure in stalls.filter(|failure| failure.members.contains(&number)) {
            self.happened.entry(failure.id).or_default().done += u64::from(failure.struck.insert(number));
        }
    }
}

impl Failure {
    fn rank(&self) -> u8 {
        match self.what.strike() {
            Some(Strike::Message { .. }) => 0,
            Some(Strike::Picked(_)) => 1,
            Some(Strike::Next) => 2,
            None => 3,
        }
    }

    /// Whether it comes to member `number` at a message, and how long that stays away then; `is_free` where no other
    /// failure has come to it there.
    fn strikes(
        &mut self,
        number: u32,
        step: Step,
        (stamp, is_first): (&Stamp, bool),
        is_free: bool,
    ) -> Option<Duration> {
        let (at, away_us) = match (&self.what, step) {
            (MemberFailure::ConsumerCrash { point, at, away_us }, Step::Consumer(here)) if *point == here => {
                (at, *away_us)
            }
            (MemberFailure::ProducerCrash { at, away_us }, Step::Published) => (at, *away_us),
            _ => return None,
        };
        if !self.members.contains(&number) {
            return None;
        }
        let is_now = match at {
            Strike::Next => is_first && is_free && !self.struck.contains(&number),
            Strike::Picked(picks) if is_first => {
                self.seen += 1;
                self.pending += u64::from(picks.holds(self.seen));
                is_free && self.pending > 0
            }
            Strike::Picked(_) => false,
            // Should it have been lost on the way there, it is this message when it comes again.
            Strike::Message { publisher, sequence, .. } => {
                is_free && self.struck.is_empty() && (stamp.publisher, stamp.sequence) == (*publisher, *sequence)
            }
        };
        is_now.then(|| {
            self.struck.insert(number);
            self.pending = self.pending.saturating_sub(1);
            Duration::from_micros(away_us)
        })
    }
}
