//! Effects of idempotent consumers: what their store says was applied, against the copies that they owe an effect for.
//!
//! A consumer owes exactly one effect for each copy that came to its queue, but for those that left for a dead-letter
//! exchange, were removed by a rule or are still there: that is for those that it consumed, and those that are lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::account::{Account, Texts, Violation, ViolationClass};
use super::book::Book;
use super::chunk::{Chunk, Copy};
use super::lane::CHUNK;
use super::offences::LISTED_PER_CLASS;
use super::standings::Standing;
use super::{Foretold, Ledger};

/// What the store of one queue's consumers says was applied. Counts of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectsAccount {
    /// Applied, once or more often.
    pub applied: u64,
    /// Of these, applied more than once.
    pub repeated: u64,
    /// Owed, and never applied: consumed or lost.
    pub missing: u64,
    /// Applied, though no such message was ever sent in this run or came to this queue.
    pub unknown: u64,
}

/// How often an effect was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Not at all.
    Never,
    /// As it should be.
    Once,
    /// More than once; how often, where the store's audit kept it.
    Again(Option<u32>),
}

/// What a store says.
pub trait Applied {
    /// How often the effect of message `sequence` of `publisher` was applied.
    fn times(&self, publisher: u16, sequence: u64) -> Times;
    /// Messages with an effect, at or after `sequence`, of `publisher`; and how many these are.
    fn beyond(&self, publisher: u16, sequence: u64) -> Beyond<'_>;
    /// Publishers of messages with an effect.
    fn publishers(&self) -> Vec<u16>;
}

/// Sequences of one publisher, in order, and how many there are.
pub struct Beyond<'a> {
    /// All of them.
    pub count: u64,
    /// Each of them.
    pub sequences: Box<dyn Iterator<Item = u64> + 'a>,
}

/// What can be wrong with an effect.
const CLASSES: [ViolationClass; 3] =
    [ViolationClass::EffectRepeated, ViolationClass::EffectMissing, ViolationClass::EffectUnknown];

/// An effect that is not as it should be.
struct Wrong {
    class: ViolationClass,
    publisher: u16,
    sequence: u64,
    times: Option<u32>,
}

/// What is found at one destination.
struct Finder<'a> {
    applied: &'a dyn Applied,
    counts: EffectsAccount,
    /// Copies that are missing and were removed by a rule; which of those that are missing cannot be told, and rules take
    /// the oldest first.
    removed: u64,
    wrong: Vec<Wrong>,
    /// How many more may be listed, by class: all destinations together have one limit.
    unlisted: BTreeMap<ViolationClass, usize>,
}

impl Ledger {
    /// The same ledger, which remembers of these destinations what their consumers owe no effect for.
    #[must_use]
    pub fn with_effects(mut self, destinations: impl IntoIterator<Item = u32>) -> Self {
        for destination in destinations {
            if let Some(has_effects) = self.has_effects.get_mut(destination as usize) {
                *has_effects = true;
            }
        }
        self
    }

    /// Nobody owes an effect for this copy, where there are effects at all.
    pub(super) fn excuse(&self, book: &mut Book, destination: u32, sequence: u64) {
        if self.has_effects.get(destination as usize).copied().unwrap_or(false) {
            book.excuse(destination, sequence);
        }
    }

    /// Reconciles what a store says with the books of `destination`, into the `account` that was made of them.
    pub fn account_effects(
        &self,
        account: &mut Account,
        destination: u32,
        applied: &dyn Applied,
        foretold: &dyn Foretold,
    ) {
        let Some(lost) = account.queues.get(destination as usize).map(|queue| queue.lost) else { return };
        let removed = self.missing_at(destination).saturating_sub(lost);
        let unlisted = CLASSES.map(|class| {
            let listed = account.violations.iter().filter(|violation| violation.class == class).count();
            (class, LISTED_PER_CLASS.saturating_sub(listed))
        });
        let (counts, wrong) = (EffectsAccount::default(), Vec::new());
        let mut finder = Finder { applied, counts, removed, wrong, unlisted: unlisted.into() };
        for (publisher, book) in self.numbered_books() {
            for (first, chunk) in book.chunks() {
                for sequence in first..book.next.min(first + CHUNK as u64) {
                    let at = At { book: &book, chunk, copy: self.copy_of(destination, publisher, sequence) };
                    finder.copy(publisher, sequence, &at, destination);
                }
            }
            finder.never_sent(publisher, book.next);
        }
        let strangers = applied.publishers().into_iter().filter(|id| usize::from(*id) >= self.books.len());
        strangers.for_each(|publisher| finder.never_sent(publisher, 0));
        let EffectsAccount { repeated, missing, unknown, .. } = finder.counts;
        account.violations_total += repeated + missing + unknown;
        let mut listed = self.wrong_effects(destination, finder.wrong, foretold);
        account.violations.append(&mut listed);
        account.queues[destination as usize].effects = Some(finder.counts);
    }

    fn copy_of(&self, destination: u32, publisher: u16, sequence: u64) -> Copy {
        let route = self.routes.destinations(publisher, sequence);
        route.iter().position(|to| *to == destination).map_or(Copy::Elsewhere(destination), Copy::Routed)
    }

    /// Copies that were confirmed and are not accounted for at a destination.
    fn missing_at(&self, destination: u32) -> u64 {
        let mut missing = 0;
        for (publisher, book) in self.numbered_books() {
            for (first, chunk) in book.chunks().filter(|(_, chunk)| !chunk.is_settled()) {
                let is_missing = |sequence: &u64| {
                    let copy = self.copy_of(destination, publisher, *sequence);
                    is_missing(chunk, (sequence - first) as usize, copy)
                };
                missing += (first..book.next.min(first + CHUNK as u64)).filter(is_missing).count() as u64;
            }
        }
        missing
    }

    fn wrong_effects(&self, destination: u32, wrong: Vec<Wrong>, foretold: &dyn Foretold) -> Vec<Violation> {
        let mut texts = Texts::default();
        let queue = texts.keep(&self.destinations[destination as usize].name);
        let violation = |effect: Wrong| {
            let Wrong { class, publisher, sequence, times } = effect;
            let name = (usize::from(publisher) < self.books.len()).then(|| foretold.publisher_name(publisher));
            let published = self.publish_history(Some((publisher, sequence)), name.as_deref());
            let end = match (class, times) {
                (ViolationClass::EffectRepeated, Some(times)) => format!("its effect was applied {times} times"),
                (ViolationClass::EffectRepeated, None) => "its effect was applied more than once".to_owned(),
                (ViolationClass::EffectMissing, _) => "its effect was never applied".to_owned(),
                _ => "an effect was applied for it, though it never came here".to_owned(),
            };
            Violation {
                class,
                cause: None,
                queue: Some(std::sync::Arc::clone(&queue)),
                publisher: Some(publisher),
                sequence: Some(sequence),
                attempt: None,
                intended_us: foretold.intended_us(publisher, sequence),
                observed_us: None,
                history: texts.keep(&format!("{published}; {end}")),
            }
        };
        wrong.into_iter().map(violation).collect()
    }
}

/// One copy, and where to look it up.
struct At<'a> {
    book: &'a Book,
    chunk: &'a Chunk,
    copy: Copy,
}

fn is_missing(chunk: &Chunk, at: usize, copy: Copy) -> bool {
    let lane = chunk.lane(copy);
    if lane.is_some_and(|lane| lane.is_closed(at)) {
        return false;
    }
    match copy {
        Copy::Routed(_) => chunk.standing(at) == Standing::Confirmed,
        Copy::Elsewhere(_) => lane.is_some_and(|lane| lane.is_delivered(at)),
    }
}

impl Finder<'_> {
    fn copy(&mut self, publisher: u16, sequence: u64, of: &At<'_>, destination: u32) {
        let at = (sequence % CHUNK as u64) as usize;
        let lane = of.chunk.lane(of.copy);
        let is_closed = lane.is_some_and(|lane| lane.is_closed(at));
        let is_here = matches!(of.copy, Copy::Routed(_)) || is_closed || lane.is_some_and(|lane| lane.is_delivered(at));
        let mut is_owed = is_closed && !of.book.is_excused(destination, sequence);
        if is_missing(of.chunk, at, of.copy) {
            is_owed = self.removed == 0;
            self.removed = self.removed.saturating_sub(1);
        }
        match self.applied.times(publisher, sequence) {
            Times::Never if is_owed => {
                self.counts.missing += 1;
                self.note(ViolationClass::EffectMissing, publisher, sequence, None);
            }
            Times::Never => {}
            _ if !is_here => {
                self.counts.unknown += 1;
                self.note(ViolationClass::EffectUnknown, publisher, sequence, None);
            }
            Times::Once => self.counts.applied += 1,
            Times::Again(times) => {
                self.counts.applied += 1;
                self.counts.repeated += 1;
                self.note(ViolationClass::EffectRepeated, publisher, sequence, times);
            }
        }
    }

    /// Messages of `publisher` from `sequence` on were never sent.
    fn never_sent(&mut self, publisher: u16, sequence: u64) {
        let Beyond { count, sequences } = self.applied.beyond(publisher, sequence);
        self.counts.unknown += count;
        for sequence in sequences.take(LISTED_PER_CLASS) {
            self.note(ViolationClass::EffectUnknown, publisher, sequence, None);
        }
    }

    fn note(&mut self, class: ViolationClass, publisher: u16, sequence: u64, times: Option<u32>) {
        if let Some(left) = self.unlisted.get_mut(&class).filter(|left| **left > 0) {
            *left -= 1;
            self.wrong.push(Wrong { class, publisher, sequence, times });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::fates::DeathEntry;
    use crate::ledger::{Arrival, Destination, Evidence, Order, RemovalEvidence, Routes, Rule, Settled};
    use crate::stamp::{Reading, Stamp};

    const RUN: u32 = 3;

    struct ToBoth;

    impl Routes for ToBoth {
        fn destinations(&self, _publisher: u16, sequence: u64) -> &[u32] {
            if sequence % 10 == 9 { &[1] } else { &[0, 1] }
        }
    }

    struct Plain;

    impl Foretold for Plain {
        fn planned(&self, _publisher: u16) -> Option<u64> {
            None
        }
        fn intended_us(&self, _publisher: u16, sequence: u64) -> Option<u64> {
            Some(sequence)
        }
        fn publisher_name(&self, publisher: u16) -> String {
            format!("fleet/{publisher}")
        }
    }

    #[derive(Default)]
    struct Rows(BTreeMap<(u16, u64), u32>);

    impl Applied for Rows {
        fn times(&self, publisher: u16, sequence: u64) -> Times {
            match self.0.get(&(publisher, sequence)) {
                None => Times::Never,
                Some(1) => Times::Once,
                Some(times) => Times::Again(Some(*times)),
            }
        }
        fn beyond(&self, publisher: u16, sequence: u64) -> Beyond<'_> {
            let range = move || self.0.range((publisher, sequence)..=(publisher, u64::MAX));
            Beyond { count: range().count() as u64, sequences: Box::new(range().map(|((_, sequence), _)| *sequence)) }
        }
        fn publishers(&self) -> Vec<u16> {
            self.0.keys().map(|(publisher, _)| *publisher).collect::<BTreeSet<_>>().into_iter().collect()
        }
    }

    /// `published` confirmed messages of one publisher to the queues `a` and `b` and, as dead letters, `dead`.
    fn ledger(published: u64, rules: &[Rule]) -> Ledger {
        let destination = |name: &str| Destination {
            name: name.to_owned(),
            rules: rules.to_vec(),
            kind: "classic",
            ..Destination::default()
        };
        let destinations = vec![destination("a"), destination("b"), destination("dead")];
        let ledger = Ledger::new(RUN, 1, destinations, Arc::new(ToBoth)).with_effects([0, 1, 2]);
        ledger.published(0, published as usize, true);
        ledger.settled(0, (0..published).map(|sequence| (sequence, Settled::Confirmed)));
        ledger
    }

    fn reading(sequence: u64) -> Reading {
        Reading::Ours(Stamp { run: RUN, publisher: 0, attempt: 0, sequence, intended_us: 0, lag_us: 0 })
    }

    fn arrival(destination: u32, sequence: u64) -> Arrival {
        let reading = reading(sequence);
        Arrival { destination, reading, redelivered: false, observed_us: 1, deaths: None, retried: false }
    }

    fn consume(ledger: &Ledger, destination: u32, sequences: impl Iterator<Item = u64>) {
        let sequences: Vec<u64> = sequences.collect();
        let arrivals: Vec<_> = sequences.iter().map(|sequence| arrival(destination, *sequence)).collect();
        ledger.delivered(&mut Order::default(), &arrivals, &mut Vec::new());
        ledger.consumed(sequences.into_iter().map(|sequence| (destination, reading(sequence))));
    }

    fn account(ledger: &Ledger, removed: RemovalEvidence, destination: u32, rows: &Rows) -> Account {
        let mut account = ledger.account(&Evidence { foretold: &Plain, removed, audited: true });
        account.violations.clear();
        account.violations_total = 0;
        ledger.account_effects(&mut account, destination, rows, &Plain);
        account
    }

    fn nothing_removed() -> RemovalEvidence {
        RemovalEvidence::Counted(BTreeMap::new())
    }

    #[test]
    fn once_again_never_and_unknown() {
        let ledger = ledger(20, &[]);
        consume(&ledger, 0, (0..18).filter(|sequence| sequence % 10 != 9));
        // 18 was lost; 9 and 19 are of the other queue; 25 was never sent; publisher 7 does not exist.
        let mut rows = Rows::default();
        (0..9).for_each(|sequence| _ = rows.0.insert((0, sequence), 1));
        rows.0.extend([((0, 3), 2), ((0, 9), 1), ((0, 25), 1), ((7, 0), 4)]);
        let account = account(&ledger, nothing_removed(), 0, &rows);
        let effects = account.queues[0].effects.unwrap();
        assert_eq!(effects, EffectsAccount { applied: 9, repeated: 1, missing: 9, unknown: 3 });
        assert_eq!((account.violations_total, account.violations.len()), (13, 13));
        let told = |class| {
            let of_class = account.violations.iter().filter(move |violation| violation.class == class);
            of_class.map(|violation| (violation.sequence.unwrap(), &*violation.history)).collect::<Vec<_>>()
        };
        let repeated = told(ViolationClass::EffectRepeated);
        assert_eq!(repeated, [(3, "published by fleet/0, confirmed; its effect was applied 2 times")]);
        let missing: Vec<u64> = told(ViolationClass::EffectMissing).iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(missing, [10, 11, 12, 13, 14, 15, 16, 17, 18]);
        let unknown = told(ViolationClass::EffectUnknown);
        assert_eq!(unknown.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [9, 25, 0]);
        assert!(unknown[2].1.starts_with("not published by this run; "), "{}", unknown[2].1);
        assert_eq!(account.queues[1].effects, None, "nobody asked of the other queue");
    }

    #[test]
    fn nobody_owes_what_is_left_or_went_elsewhere() {
        let ledger = ledger(9, &[]);
        consume(&ledger, 0, 0..4);
        ledger.found(&[arrival(0, 4), arrival(0, 5)]);
        let dead = Arrival {
            deaths: Some(Arc::new([DeathEntry { from: 0, reason: "rejected".into(), count: 1 }])),
            ..arrival(2, 6)
        };
        ledger.delivered(&mut Order::default(), &[dead], &mut Vec::new());
        ledger.consumed([(2, reading(6))]);
        let mut rows = Rows::default();
        (0..4).for_each(|sequence| _ = rows.0.insert((0, sequence), 1));
        let effects = |destination, rows: &Rows| {
            account(&ledger, nothing_removed(), destination, rows).queues[destination as usize].effects.unwrap()
        };
        // 7 and 8 are lost.
        assert_eq!(effects(0, &rows), EffectsAccount { applied: 4, missing: 2, ..Default::default() });
        // An effect whose ack was lost before the message went elsewhere is one all the same.
        rows.0.insert((0, 6), 2);
        assert_eq!(effects(0, &rows), EffectsAccount { applied: 5, repeated: 1, missing: 2, unknown: 0 });
        // The consumer of the dead letters owes an effect for the one that it got.
        assert_eq!(effects(2, &Rows::default()), EffectsAccount { missing: 1, ..Default::default() });
        let rows = Rows([((0, 6), 1), ((0, 5), 1)].into());
        assert_eq!(effects(2, &rows), EffectsAccount { applied: 1, unknown: 1, ..Default::default() });
    }

    #[test]
    fn nobody_owes_what_a_rule_removed() {
        let ledger = ledger(9, &[Rule::Expiry]);
        consume(&ledger, 0, 6..9);
        consume(&ledger, 1, 0..9);
        let removed = RemovalEvidence::Counted([((Rule::Expiry, "classic".to_owned()), 4)].into());
        let account = account(&ledger, removed, 0, &Rows([((0, 6), 1), ((0, 7), 1), ((0, 8), 1)].into()));
        assert_eq!((account.queues[0].removed_by_rule, account.queues[0].lost), (4, 2));
        assert_eq!(account.queues[0].effects.unwrap(), EffectsAccount { applied: 3, missing: 2, ..Default::default() });
    }

    #[test]
    fn all_destinations_together_are_listed_up_to_one_limit_and_counted_without_one() {
        let (sent, ledger) = (60_000u64, ledger(60_000, &[]));
        let mut account = ledger.account(&Evidence { foretold: &Plain, removed: nothing_removed(), audited: true });
        account.violations.clear();
        account.violations_total = 0;
        // Nothing was applied; then all was, for messages that never came there.
        for destination in [0, 1] {
            ledger.account_effects(&mut account, destination, &Rows::default(), &Plain);
        }
        let rows = Rows((0..sent).map(|sequence| ((0, sequence), 1)).collect());
        for _ in 0..2 {
            ledger.account_effects(&mut account, 2, &rows, &Plain);
        }
        let listed = |class| account.violations.iter().filter(|violation| violation.class == class).count();
        let classes = [ViolationClass::EffectMissing, ViolationClass::EffectUnknown];
        assert_eq!(classes.map(listed), [LISTED_PER_CLASS; 2]);
        assert_eq!(account.violations_total, sent * 9 / 10 + sent + 2 * sent);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_message_counts_once(
            published in 1u64..60,
            consumed in prop::collection::btree_set(0u64..60, 0..60),
            left in prop::collection::btree_set(0u64..60, 0..20),
            rows in prop::collection::btree_map((0u16..3, 0u64..80), 1u32..4, 0..60),
        ) {
            let ledger = ledger(published, &[]);
            let here = |sequence: &u64| *sequence < published && sequence % 10 != 9;
            let consumed: BTreeSet<u64> = consumed.into_iter().filter(here).collect();
            let left: BTreeSet<u64> = left.into_iter().filter(|s| here(s) && !consumed.contains(s)).collect();
            consume(&ledger, 0, consumed.iter().copied());
            ledger.found(&left.iter().map(|sequence| arrival(0, *sequence)).collect::<Vec<_>>());
            let rows = Rows(rows);
            let account = account(&ledger, nothing_removed(), 0, &rows);
            let mut expected = EffectsAccount::default();
            for ((publisher, sequence), times) in &rows.0 {
                if *publisher == 0 && here(sequence) {
                    expected.applied += 1;
                    expected.repeated += u64::from(*times > 1);
                } else {
                    expected.unknown += 1;
                }
            }
            let owed = (0..published).filter(here).filter(|sequence| !left.contains(sequence));
            expected.missing = owed.filter(|sequence| !rows.0.contains_key(&(0, *sequence))).count() as u64;
            prop_assert_eq!(account.queues[0].effects, Some(expected));
            prop_assert_eq!(account.violations.len() as u64, account.violations_total);
        }
    }
}
