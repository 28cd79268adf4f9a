//! The fates of messages that consumers fail, or that were dead-lettered: attempts, ends and what `x-death` says there.
//!
//! Uses `stamp`. The journal remembers such messages only, each as long as the run lasts; whoever never failed and never
//! died has the fate that everybody has. [`Fates::compare`] holds it against what was foretold, message by message, and is
//! a pure function of both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::stamp::Stamp;

/// Most messages whose fate is written down; beyond them it is counted only that there were more.
const JOURNEYS_MAX: usize = 2_000_000;

/// An entry of `x-death`: a queue that a message left, why and how often.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeathEntry {
    /// Destination that it left, by number.
    pub from: u32,
    /// `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: Arc<str>,
    /// How often.
    pub count: u64,
}

/// Where a copy ended, and the entries of its `x-death` there, in order.
pub type Ending = (u32, Vec<DeathEntry>);

/// What became of a message, or is to become of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Journey {
    /// Attempts at it, by destination; only where it is to fail.
    pub tries: BTreeMap<u32, u64>,
    /// Where copies of it ended: consumed or left there.
    pub ends: BTreeSet<Ending>,
}

impl Journey {
    /// Without the ends of copies that just worked, or were left, where nothing failed and nothing had died: nobody writes
    /// those down.
    fn traced(&self) -> Self {
        let is_traced = |(destination, deaths): &&Ending| !deaths.is_empty() || self.tries.contains_key(destination);
        Self { tries: self.tries.clone(), ends: self.ends.iter().filter(is_traced).cloned().collect() }
    }
}

/// A journey as far as it was seen, and what happened on the way.
#[derive(Debug, Clone, Default)]
struct Seen {
    journey: Journey,
    /// The broker delivered it again though its consumer had not asked for that.
    redelivered: bool,
    /// Its producer sent it again.
    republished: bool,
    /// It was left where it was to be worked off, or to wait.
    unfinished: bool,
}

/// What is foretold of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foretelling {
    /// This.
    Journey(Journey),
    /// It fails for ever there: how often nobody can say.
    Endless(u32),
}

/// Why a message's fate is not the one that was foretold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// A copy did not come to its end: it was never seen again.
    Lost,
    /// The broker delivered it again though nobody had asked for that: what its consumer had done with it was lost on the
    /// way, or its connection.
    Redelivered,
    /// Its producer sent it again, so that it went its way more than once.
    Republished,
    /// It was still on its way when the run ended.
    Unfinished,
    /// None of these.
    Unexplained,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Redelivered => "redelivered",
            Self::Republished => "republished",
            Self::Unfinished => "unfinished",
            Self::Unexplained => "unexplained",
        })
    }
}

/// Fates, foretold and seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FatesAccount {
    /// Messages whose fate was foretold, those that just work left out.
    pub foretold: u64,
    /// Of these, those whose attempts, ends and `x-death` entries were as foretold.
    pub as_foretold: u64,
    /// Of these, those that fail for ever: their attempts have no limit.
    pub endless: u64,
    /// Messages whose fate was another one, by why; those that should have just worked among them.
    pub differing: BTreeMap<Difference, u64>,
    /// Attempts at messages that were to fail, those that worked in the end included.
    pub attempts: u64,
    /// Most attempts at one message in one queue.
    pub attempts_max: u64,
    /// Messages whose fate could not be foretold: it depends on time, or on other messages.
    pub unforeseeable: u64,
    /// Messages whose fate was not written down: there were too many.
    pub unwritten: u64,
}

impl FatesAccount {
    /// Messages whose fate was another one than foretold.
    pub fn differing_total(&self) -> u64 {
        self.differing.values().sum()
    }

    /// Of these, those for which nothing that was seen accounts.
    pub fn unexplained(&self) -> u64 {
        self.differing.get(&Difference::Unexplained).copied().unwrap_or(0)
    }
}

/// A message whose fate is not the one that was foretold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// Its publisher, by number.
    pub publisher: u16,
    /// Its sequence there.
    pub sequence: u64,
    /// Why.
    pub difference: Difference,
    /// What was foretold; none: that it works at once.
    pub foretold: Option<Foretelling>,
    /// What was seen.
    pub seen: Journey,
}

/// The journal of fates.
#[derive(Debug, Default)]
pub struct Fates(Mutex<Journal>);

#[derive(Debug, Default)]
struct Journal {
    seen: FxHashMap<(u16, u64), Seen>,
    unwritten: u64,
}

impl Fates {
    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt at a message that is to fail.
    pub fn tried(&self, stamp: &Stamp, destination: u32) {
        self.lock().note(stamp, |seen| *seen.journey.tries.entry(destination).or_default() += 1);
    }

    /// A copy ended: it was consumed, or was left there.
    pub fn ended(&self, stamp: &Stamp, destination: u32, deaths: &[DeathEntry]) {
        let mut deaths = deaths.to_vec();
        deaths.sort_unstable();
        self.lock().note(stamp, |seen| _ = seen.journey.ends.insert((destination, deaths)));
    }

    /// A copy that was left somewhere: written down only where there is something to say. `on_its_way` says that it was to
    /// be worked off there, or to wait there.
    pub fn found(&self, stamp: &Stamp, destination: u32, deaths: &[DeathEntry], on_its_way: bool) {
        let is_known = self.lock().seen.contains_key(&(stamp.publisher, stamp.sequence));
        if is_known || on_its_way || !deaths.is_empty() {
            self.ended(stamp, destination, deaths);
        }
        if on_its_way {
            self.lock().note(stamp, |seen| seen.unfinished = true);
        }
    }

    /// The broker delivered a message that is to fail again, and nobody had asked for it.
    pub fn redelivered(&self, stamp: &Stamp) {
        self.lock().note(stamp, |seen| seen.redelivered = true);
    }

    /// A message that is to fail came again because its producer sent it again.
    pub fn republished(&self, stamp: &Stamp) {
        self.lock().note(stamp, |seen| seen.republished = true);
    }

    /// Holds what was seen against what is `foretold`: of each message that was sent and has a fate of its own. Of those
    /// that differ, `differs` is told.
    pub fn compare(
        &self,
        foretold: impl Iterator<Item = ((u16, u64), Foretelling)>,
        mut differs: impl FnMut(Deviation),
    ) -> FatesAccount {
        let journal = self.lock();
        let mut account = FatesAccount { unwritten: journal.unwritten, ..FatesAccount::default() };
        let tries = || journal.seen.values().flat_map(|seen| seen.journey.tries.values().copied());
        (account.attempts, account.attempts_max) = (tries().sum(), tries().max().unwrap_or(0));
        let nothing = Seen::default();
        let mut known = rustc_hash::FxHashSet::default();
        let mut deviate = |account: &mut FatesAccount, of: (u16, u64), foretold: Option<Foretelling>, seen: &Seen| {
            let difference = difference(foretold.as_ref(), seen);
            *account.differing.entry(difference).or_default() += 1;
            let (publisher, sequence) = of;
            differs(Deviation { publisher, sequence, difference, foretold, seen: seen.journey.clone() });
        };
        for (message, foretold) in foretold {
            account.foretold += 1;
            known.insert(message);
            let seen = journal.seen.get(&message).unwrap_or(&nothing);
            match &foretold {
                Foretelling::Endless(_) => account.endless += 1,
                Foretelling::Journey(journey) if journey.traced() == seen.journey.traced() => account.as_foretold += 1,
                Foretelling::Journey(_) => deviate(&mut account, message, Some(foretold), seen),
            }
        }
        // Whoever has a journey and was to have none.
        let mut others: Vec<_> = journal.seen.iter().filter(|(message, _)| !known.contains(message)).collect();
        others.sort_unstable_by_key(|(message, _)| **message);
        for (message, seen) in others {
            deviate(&mut account, *message, None, seen);
        }
        account
    }
}

impl Journal {
    fn note(&mut self, stamp: &Stamp, change: impl FnOnce(&mut Seen)) {
        let message = (stamp.publisher, stamp.sequence);
        if self.seen.len() >= JOURNEYS_MAX && !self.seen.contains_key(&message) {
            self.unwritten += 1;
            return;
        }
        change(self.seen.entry(message).or_default());
    }
}

/// Why a journey is not the one that was foretold, by what was seen on the way.
fn difference(foretold: Option<&Foretelling>, seen: &Seen) -> Difference {
    if seen.republished {
        return Difference::Republished;
    }
    if seen.redelivered {
        return Difference::Redelivered;
    }
    if seen.unfinished {
        return Difference::Unfinished;
    }
    let journey = seen.journey.traced();
    let foretold = foretold.and_then(|foretold| match foretold {
        Foretelling::Journey(journey) => Some(journey.traced()),
        Foretelling::Endless(_) => None,
    });
    match foretold {
        Some(foretold) if journey.ends.len() < foretold.ends.len() => {
            // What was seen of it has to be the beginning of what was foretold.
            let is_part = |(destination, tries): (&u32, &u64)| {
                foretold.tries.get(destination).is_some_and(|foretold| tries <= foretold)
            };
            let is_beginning = journey.tries.iter().all(is_part) && journey.ends.is_subset(&foretold.ends);
            if is_beginning { Difference::Lost } else { Difference::Unexplained }
        }
        _ => Difference::Unexplained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sequence: u64) -> Stamp {
        Stamp { run: 1, publisher: 0, attempt: 0, sequence, intended_us: 0, lag_us: 0 }
    }

    fn dead(count: u64) -> Vec<DeathEntry> {
        vec![DeathEntry { from: 0, reason: "rejected".into(), count }]
    }

    /// Three attempts at destination 0, then a dead letter at 1.
    fn journey() -> Journey {
        Journey { tries: BTreeMap::from([(0, 3)]), ends: BTreeSet::from([(1, dead(1))]) }
    }

    fn compared(fates: &Fates, foretold: &[(u64, Foretelling)]) -> (FatesAccount, Vec<Deviation>) {
        let mut deviations = Vec::new();
        let foretold = foretold.iter().map(|(sequence, foretold)| ((0, *sequence), foretold.clone()));
        let account = fates.compare(foretold, |it| deviations.push(it));
        (account, deviations)
    }

    fn live(fates: &Fates, sequence: u64, tries: usize, end: Option<(u32, Vec<DeathEntry>)>) {
        (0..tries).for_each(|_| fates.tried(&stamp(sequence), 0));
        if let Some((destination, deaths)) = end {
            fates.ended(&stamp(sequence), destination, &deaths);
        }
    }

    #[test]
    fn a_fate_as_foretold_is_no_deviation() {
        let fates = Fates::default();
        live(&fates, 0, 3, Some((1, dead(1))));
        let (account, deviations) = compared(&fates, &[(0, Foretelling::Journey(journey()))]);
        assert_eq!((account.foretold, account.as_foretold, account.differing_total()), (1, 1, 0));
        assert_eq!((account.attempts, account.attempts_max, deviations.len()), (3, 3, 0));
    }

    #[test]
    fn a_copy_that_just_works_beside_one_that_fails_is_not_missed() {
        let fates = Fates::default();
        live(&fates, 0, 3, Some((1, dead(1))));
        let beside = Journey { ends: journey().ends.into_iter().chain([(7, Vec::new())]).collect(), ..journey() };
        assert_eq!(compared(&fates, &[(0, Foretelling::Journey(beside))]).0.as_foretold, 1);
    }

    #[test]
    fn each_difference_has_its_class() {
        type Lives<'a> = &'a dyn Fn(&Fates);
        let cases: [(Difference, Lives<'_>); 8] = [
            (Difference::Unexplained, &|fates| live(fates, 0, 2, Some((1, dead(1))))),
            (Difference::Unexplained, &|fates| live(fates, 0, 4, Some((1, dead(1))))),
            (Difference::Unexplained, &|fates| live(fates, 0, 3, Some((1, dead(2))))),
            (Difference::Unexplained, &|fates| live(fates, 0, 3, Some((2, dead(1))))),
            (Difference::Lost, &|fates| live(fates, 0, 2, None)),
            (Difference::Unfinished, &|fates| {
                live(fates, 0, 2, None);
                fates.found(&stamp(0), 9, &[], true);
            }),
            (Difference::Redelivered, &|fates| {
                live(fates, 0, 4, Some((1, dead(1))));
                fates.redelivered(&stamp(0));
            }),
            (Difference::Republished, &|fates| {
                live(fates, 0, 6, Some((1, dead(1))));
                fates.republished(&stamp(0));
            }),
        ];
        for (number, (difference, lives)) in cases.into_iter().enumerate() {
            let fates = Fates::default();
            lives(&fates);
            let (account, deviations) = compared(&fates, &[(0, Foretelling::Journey(journey()))]);
            assert_eq!(account.differing, BTreeMap::from([(difference, 1)]), "case {number}");
            assert_eq!((account.as_foretold, deviations[0].difference), (0, difference), "case {number}");
        }
    }

    #[test]
    fn what_should_have_just_worked_and_did_not_is_told() {
        let fates = Fates::default();
        fates.found(&stamp(4), 1, &[], false);
        assert_eq!(compared(&fates, &[]).0.differing_total(), 0, "nothing to say of it");
        fates.found(&stamp(5), 1, &dead(1), false);
        let (account, deviations) = compared(&fates, &[]);
        assert_eq!((account.unexplained(), deviations[0].sequence, &deviations[0].foretold), (1, 5, &None));
    }

    #[test]
    fn what_never_ends_is_named_and_not_compared() {
        let fates = Fates::default();
        live(&fates, 0, 500, None);
        let (account, _) = compared(&fates, &[(0, Foretelling::Endless(0))]);
        assert_eq!((account.endless, account.attempts_max, account.differing_total()), (1, 500, 0));
    }
}
