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
    /// How often it has happened.
    done: u64,
}

/// The failures of a fleet's members.
#[derive(Default)]
pub(super) struct Failures {
    /// Those that go on: who waits for one message only is asked first, who takes any last.
    pub(super) going_on: Vec<Failure>,
    /// How often those that are over have happened, by the number of the fault.
    over: BTreeMap<u32, u64>,
}

/// What a failure does to a member at one or several messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blow {
    /// Number of the fault.
    pub(super) fault: u32,
    /// How many messages it was meant for.
    pub(super) times: u64,
    /// How long the member stays away.
    pub(super) away: Duration,
}

impl Failures {
    pub(super) fn begin(&mut self, id: u32, members: &[u32], what: &MemberFailure) {
        let members = members.iter().copied().collect();
        let (struck, what) = (BTreeSet::new(), what.clone());
        let failure = Failure { id, members, what, seen: 0, pending: 0, struck, done: 0 };
        let place = self.going_on.partition_point(|other| other.rank() <= failure.rank());
        self.going_on.insert(place, failure);
    }

    pub(super) fn end(&mut self, id: u32) -> Option<Failure> {
        let place = self.going_on.iter().position(|failure| failure.id == id)?;
        let failure = self.going_on.remove(place);
        *self.over.entry(id).or_default() += failure.done;
        Some(failure)
    }

    pub(super) fn done(&self, id: u32) -> u64 {
        let going_on = self.going_on.iter().find(|failure| failure.id == id).map_or(0, |failure| failure.done);
        going_on + self.over.get(&id).copied().unwrap_or(0)
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
                let is_free = struck.is_none_or(|blow| blow.fault == failure.id);
                let Some(away) = failure.strikes(number, step, message, is_free) else { continue };
                struck.get_or_insert(Blow { fault: failure.id, times: 0, away }).times += 1;
            }
        }
        struck
    }

    /// It has happened. Whether it still goes on.
    pub(super) fn happened(&mut self, blow: Blow) -> bool {
        match self.going_on.iter_mut().find(|failure| failure.id == blow.fault) {
            Some(failure) => {
                failure.done += blow.times;
                true
            }
            None => {
                *self.over.entry(blow.fault).or_default() += blow.times;
                false
            }
        }
    }

    /// Member `number` stands still now.
    pub(super) fn stands_still(&mut self, number: u32) {
        let stalls = self.going_on.iter_mut().filter(|failure| failure.what == MemberFailure::Stall);
        for failure in stalls.filter(|failure| failure.members.contains(&number)) {
            failure.done += u64::from(failure.struck.insert(number));
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
