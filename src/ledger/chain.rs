//! Messages that lead to others: which message each one follows, and whether what leads to others did, once.
//!
//! Uses `stamp`. A consumer that publishes in turn says so before it hands the message over ([`Chain::publishes`]), when the
//! broker has confirmed it ([`Chain::confirmed`]), and when it has settled the one that caused it ([`Chain::settled`]). Each
//! message that was worked off by such a consumer is remembered, as long as the run lasts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use crate::stamp::Stamp;

/// Most messages that are remembered; beyond them it is counted only that there were more.
const CAUSES_MAX: usize = 4_000_000;
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
}

/// What is known of a message that leads to others, by the fleet of those.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    confirmed: u32,
    is_settled: bool,
}

/// The journal of what leads to what.
#[derive(Debug, Default)]
pub struct Chain(Mutex<Journal>);

#[derive(Debug, Default)]
struct Journal {
    /// What each message follows, by publisher and then by sequence.
    causes: FxHashMap<u16, Vec<Caused>>,
    /// By the fleet that follows, and what it follows.
    known: FxHashMap<(usize, Caused), Known>,
    unwritten: u64,
    ids: Ids,
    wrong: Vec<WrongIds>,
}

impl Chain {
    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message of `publisher` follows `cause`.
    pub fn publishes(&self, publisher: u16, cause: Caused) {
        self.lock().causes.entry(publisher).or_default().push(cause);
    }

    /// The broker has a message of the fleet at `fleet` in the plan that follows `cause`.
    pub fn confirmed(&self, fleet: usize, cause: Caused) {
        self.lock().note(fleet, cause, |known| known.confirmed += 1);
    }

    /// A message that leads to one of the fleet at `fleet` in the plan is worked off.
    pub fn settled(&self, fleet: usize, cause: Caused) {
        self.lock().note(fleet, cause, |known| known.is_settled = true);
    }

    /// What message `sequence` of `publisher` follows; none: nothing.
    pub fn cause(&self, publisher: u16, sequence: u64) -> Option<Caused> {
        let journal = self.lock();
        journal.causes.get(&publisher)?.get(usize::try_from(sequence).ok()?).copied()
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

    /// Messages that could not be remembered.
    pub fn unwritten(&self) -> u64 {
        self.lock().unwritten
    }
}

impl Journal {
    fn note(&mut self, fleet: usize, cause: Caused, change: impl FnOnce(&mut Known)) {
        if self.known.len() >= CAUSES_MAX && !self.known.contains_key(&(fleet, cause)) {
            self.unwritten += 1;
            return;
        }
        change(self.known.entry((fleet, cause)).or_default());
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
        assert_eq!((chain.cause(9, 2), chain.cause(9, 3), chain.cause(0, 0)), (Some(cause(2)), None, None));
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
        let (ids, listed) = chain.ids();
        assert_eq!(ids, Ids { checked: 3, missing: 2, crossed: 1, wrong: 2 });
        assert_eq!(listed.iter().map(|it| it.fault).collect::<Vec<_>>(), [IdFault::Missing, IdFault::Crossed]);
    }
}
