//! Messages that lead to others: which message each one follows, and whether what leads to others did, once.
//!
//! Uses `stamp`. A consumer that publishes in turn says so before it hands the message over ([`Chain::publishes`]), when the
//! broker has confirmed it ([`Chain::confirmed`]), and when it has settled the one that caused it ([`Chain::settled`]).
//! Messages are remembered as long as the run lasts, up to a limit; beyond it is counted of how many nothing is known.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use crate::stamp::Stamp;

/// Most messages that are remembered: of so many what they follow, and of so many what follows them.
const REMEMBERED_MAX: usize = 4_000_000;
/// Most messages with wrong ids that are listed.
const LISTED_MAX: usize = 10_000;

/// A message that a consumer took out of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caused {
    /// Its publisher, by number.
    pub publisher: u16,
    /// Its sequence there.
    pub sequence: u64,
    /// The destination that it was taken from.
    pub destination: u32,
}

/// What is wrong with an id of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdFault {
    /// It has none.
    Missing,
    /// It is another message's, or nobody's.
    Crossed,
}

/// A message that came with wrong ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongIds {
    /// Its stamp.
    pub stamp: Stamp,
    /// Where it came to.
    pub destination: u32,
    /// When, in microseconds on the run's clock.
    pub observed_us: u64,
    /// The worst that is wrong.
    pub fault: IdFault,
    /// What is wrong, as a part of a sentence.
    pub about: String,
}

/// What a message follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing: it is the first of its chain.
    Nothing,
    /// This one.
    Message(Caused),
    /// One that could not be remembered.
    Forgotten,
}

/// What became of messages that lead to those of one fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FollowUps {
    /// Messages that were worked off.
    pub worked_off: u64,
    /// Of these, those that no confirmed message follows.
    pub missing: u64,
    /// Messages that more than one confirmed message follows, worked off or not.
    pub repeated: u64,
    /// Confirmed messages that follow others.
    pub confirmed: u64,
}

/// Ids, as deliveries had them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ids {
    /// Deliveries whose ids were looked at.
    pub checked: u64,
    /// Of these, those that lacked one.
    pub missing: u64,
    /// Of these, those that had another one than they should have.
    pub crossed: u64,
    /// Those of which either is true.
    pub wrong: u64,
    /// Further deliveries, whose ids could not be looked at: it is not remembered what they follow.
    pub unchecked: u64,
}

/// What is known of a message that leads to others, by the fleet of those.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    confirmed: u32,
    is_settled: bool,
}

/// The journal of what leads to what.
#[derive(Debug)]
pub struct Chain(Mutex<Journal>);

#[derive(Debug, Default)]
struct Journal {
    /// Most of `causes`, and most of `known`.
    remembered_max: usize,
    caused: usize,
    /// What each message follows, by publisher and then by sequence.
    causes: FxHashMap<u16, Vec<Caused>>,
    /// By the fleet that follows, and what it follows.
    known: FxHashMap<(usize, Caused), Known>,
    unwritten: u64,
    ids: Ids,
    wrong: Vec<WrongIds>,
}

impl Default for Chain {
    fn default() -> Self {
        Self::with_room(REMEMBERED_MAX)
    }
}

impl Chain {
    fn with_room(remembered_max: usize) -> Self {
        Self(Mutex::new(Journal { remembered_max, ..Journal::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message of `publisher` follows `cause`.
    pub fn publishes(&self, publisher: u16, cause: Caused) {
        let mut journal = self.lock();
        let journal = &mut *journal;
        // Known as one whose messages follow others, whether this one is remembered or not.
        let causes = journal.causes.entry(publisher).or_default();
        if journal.caused < journal.remembered_max {
            causes.push(cause);
            journal.caused += 1;
        }
    }

    /// The broker has a message of the fleet at `fleet` in the plan that follows `cause`.
    pub fn confirmed(&self, fleet: usize, cause: Caused) {
        // One that cannot be noted is counted when it is settled.
        self.lock().note(fleet, cause, |known| known.confirmed += 1);
    }

    /// A message that leads to one of the fleet at `fleet` in the plan is worked off.
    pub fn settled(&self, fleet: usize, cause: Caused) {
        let mut journal = self.lock();
        if !journal.note(fleet, cause, |known| known.is_settled = true) {
            journal.unwritten += 1;
        }
    }

    /// What message `sequence` of `publisher` follows.
    pub fn cause(&self, publisher: u16, sequence: u64) -> Cause {
        let journal = self.lock();
        let Some(causes) = journal.causes.get(&publisher) else { return Cause::Nothing };
        let cause = usize::try_from(sequence).ok().and_then(|sequence| causes.get(sequence));
        cause.map_or(Cause::Forgotten, |cause| Cause::Message(*cause))
    }

    /// The ids of a delivery were looked at, and this is wrong with them.
    pub fn looked_at(&self, missing: bool, crossed: bool, wrong: impl FnOnce() -> WrongIds) {
        let mut journal = self.lock();
        journal.ids.checked += 1;
        journal.ids.missing += u64::from(missing);
        journal.ids.crossed += u64::from(crossed);
        journal.ids.wrong += u64::from(missing || crossed);
        if (missing || crossed) && journal.wrong.len() < LISTED_MAX {
            let wrong = wrong();
            journal.wrong.push(wrong);
        }
    }

    /// The ids of a delivery could not be looked at.
    pub fn not_looked_at(&self) {
        self.lock().ids.unchecked += 1;
    }

    /// What the ids of deliveries were, and those that were wrong, as far as they are listed.
    pub fn ids(&self) -> (Ids, Vec<WrongIds>) {
        let journal = self.lock();
        (journal.ids, journal.wrong.clone())
    }

    /// What became of messages that lead to others, by the fleet of those; each that offends is told, in order: whether
    /// it is followed more than once, or not at all.
    pub fn account(&self, mut offends: impl FnMut(usize, Caused, u32)) -> BTreeMap<usize, FollowUps> {
        let journal = self.lock();
        let mut accounts: BTreeMap<usize, FollowUps> = BTreeMap::new();
        let mut offending = Vec::new();
        for ((fleet, cause), known) in &journal.known {
            let account = accounts.entry(*fleet).or_default();
            account.worked_off += u64::from(known.is_settled);
            account.confirmed += u64::from(known.confirmed);
            account.repeated += u64::from(known.confirmed > 1);
            let is_missing = known.is_settled && known.confirmed == 0;
            account.missing += u64::from(is_missing);
            if is_missing || known.confirmed > 1 {
                offending.push((*fleet, *cause, known.confirmed));
            }
        }
        offending.sort_unstable();
        offending.into_iter().for_each(|(fleet, cause, confirmed)| offends(fleet, cause, confirmed));
        accounts
    }

    /// Messages that were worked off, and of which it could not be remembered what follows them.
    pub fn unwritten(&self) -> u64 {
        self.lock().unwritten
    }
}

impl Journal {
    /// Whether there was room to note it.
    fn note(&mut self, fleet: usize, cause: Caused, change: impl FnOnce(&mut Known)) -> bool {
        let has_room = self.known.len() < self.remembered_max || self.known.contains_key(&(fleet, cause));
        if has_room {
            change(self.known.entry((fleet, cause)).or_default());
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(sequence: u64) -> Caused {
        Caused { publisher: 0, sequence, destination: 0 }
    }

    #[test]
    fn what_is_followed_once_offends_nobody() {
        let chain = Chain::default();
        for sequence in 0..3 {
            chain.publishes(9, cause(sequence));
            chain.confirmed(1, cause(sequence));
            chain.settled(1, cause(sequence));
        }
        let accounts = chain.account(|_, _, _| panic!("nothing is wrong"));
        let expected = FollowUps { worked_off: 3, confirmed: 3, ..FollowUps::default() };
        assert_eq!(accounts, BTreeMap::from([(1, expected)]));
        assert_eq!((chain.cause(9, 2), chain.cause(0, 0)), (Cause::Message(cause(2)), Cause::Nothing));
    }

    #[test]
    fn beyond_what_is_remembered_nothing_is_claimed() {
        let chain = Chain::with_room(2);
        for sequence in 0..5 {
            chain.publishes(9, cause(sequence));
            chain.confirmed(1, cause(sequence));
            chain.settled(1, cause(sequence));
        }
        // A publisher of which none is remembered is still no first of a chain.
        chain.publishes(8, cause(5));
        assert_eq!((chain.cause(9, 1), chain.cause(9, 2)), (Cause::Message(cause(1)), Cause::Forgotten));
        assert_eq!((chain.cause(8, 0), chain.cause(7, 0)), (Cause::Forgotten, Cause::Nothing));
        // What is known is still told, and each of the others is counted once.
        chain.confirmed(1, cause(0));
        let accounts = chain.account(|_, offending, confirmed| assert_eq!((offending, confirmed), (cause(0), 2)));
        assert_eq!(accounts[&1], FollowUps { worked_off: 2, missing: 0, repeated: 1, confirmed: 3 });
        assert_eq!(chain.unwritten(), 3);
    }

    #[test]
    fn what_is_followed_by_nothing_or_twice_is_told() {
        let chain = Chain::default();
        // Worked off, and nothing was published.
        chain.settled(1, cause(0));
        // Published, and its consumer died before it settled it: it comes again.
        (0..2).for_each(|_| chain.confirmed(1, cause(1)));
        chain.settled(1, cause(1));
        // Published once, and not settled yet.
        chain.confirmed(1, cause(2));
        let mut told = Vec::new();
        let accounts = chain.account(|fleet, cause, confirmed| told.push((fleet, cause.sequence, confirmed)));
        assert_eq!(accounts[&1], FollowUps { worked_off: 2, missing: 1, repeated: 1, confirmed: 3 });
        assert_eq!(told, [(1, 0, 0), (1, 1, 2)]);
    }

    #[test]
    fn one_message_may_lead_to_those_of_two_fleets() {
        let chain = Chain::default();
        chain.confirmed(1, cause(0));
        [1, 2].into_iter().for_each(|fleet| chain.settled(fleet, cause(0)));
        let accounts = chain.account(|_, _, _| {});
        assert_eq!((accounts[&1].missing, accounts[&2].missing), (0, 1));
    }

    #[test]
    fn ids_are_counted_and_listed() {
        let chain = Chain::default();
        let stamp = Stamp { run: 1, publisher: 0, attempt: 0, sequence: 0, intended_us: 0, lag_us: 0 };
        let wrong = |fault| WrongIds { stamp, destination: 0, observed_us: 5, fault, about: String::new() };
        chain.looked_at(false, false, || panic!("nothing is wrong"));
        chain.looked_at(true, false, || wrong(IdFault::Missing));
        chain.looked_at(true, true, || wrong(IdFault::Crossed));
        chain.not_looked_at();
        let (ids, listed) = chain.ids();
        assert_eq!(ids, Ids { checked: 3, missing: 2, crossed: 1, wrong: 2, unchecked: 1 });
        assert_eq!(listed.iter().map(|it| it.fault).collect::<Vec<_>>(), [IdFault::Missing, IdFault::Crossed]);
    }
}
