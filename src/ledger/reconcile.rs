//! The reconciliation: what was published against what arrived, copy by copy. Pure.

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use super::account::{Account, Cause, PublisherAccount, QueueAccount, ViolationClass};
use super::book::Book;
use super::chunk::{Chunk, Copy};
use super::lane::CHUNK;
use super::offences::{Offence, Offences};
use super::standings::Standing;
use super::{Destination, Ledger, Rule, lock};
use crate::stamp::Stamp;

/// What the broker says that its queues removed by rule without dead-lettering it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovalEvidence {
    /// Messages removed, by rule and kind of queue (`classic`, `quorum`, `stream`).
    Counted(BTreeMap<(Rule, String), u64>),
    /// The broker's counters could not be read: the rule is believed, and the account says so.
    Unknown,
}

/// What the plan foretells of single messages.
pub trait Foretold {
    /// Messages that `publisher` should have sent; none in a closed loop without a limit.
    fn planned(&self, publisher: u16) -> Option<u64>;
    /// When a message should have been sent, in microseconds on the run's clock; none in a closed loop.
    fn intended_us(&self, publisher: u16, sequence: u64) -> Option<u64>;
    /// A publisher as people call it, such as `checkout/0`.
    fn publisher_name(&self, publisher: u16) -> String;
}

/// What the reconciliation is given beside the books.
pub struct Evidence<'a> {
    /// What the plan foretells.
    pub foretold: &'a dyn Foretold,
    /// What the broker removed.
    pub removed: RemovalEvidence,
    /// Whether every queue was read to its end. If not, what is missing may still be there, and nothing is called lost.
    pub audited: bool,
}

/// What became of a copy.
#[derive(Clone, Copy)]
enum Fate {
    /// It is accounted for; its publish may never have been answered.
    Accounted { answered: bool },
    /// It is not where the topology routes it.
    Missing { confirmed: bool },
    /// It is not where the topology routes it, and the broker has refused its message: here or elsewhere.
    Refused,
    /// It came to its destination by a dead-letter exchange, and was not accounted for there.
    Stranded,
}

/// Copies that are missing: confirmed, not answered, and refused.
type MissingCounts = [u64; 3];
/// Places in [`MissingCounts`].
const CONFIRMED: usize = 0;
const UNANSWERED: usize = 1;
const REFUSED: usize = 2;

/// Copies of one destination that are missing, or those of them that were removed.
#[derive(Debug, Clone, Copy, Default)]
struct Gone {
    /// Those that consumers rejected for good.
    rejected: MissingCounts,
    others: MissingCounts,
}

impl Gone {
    fn of(&self, class: usize) -> u64 {
        self.rejected[class] + self.others[class]
    }

    fn among(&mut self, is_rejected: bool) -> &mut MissingCounts {
        if is_rejected { &mut self.rejected } else { &mut self.others }
    }

    fn add(&mut self, more: Self) {
        for class in [CONFIRMED, UNANSWERED, REFUSED] {
            self.rejected[class] += more.rejected[class];
            self.others[class] += more.others[class];
        }
    }

    /// Moves up to `most` of these to `removed`, of those that were not rejected only `with_others`; how many.
    fn take(&mut self, most: u64, with_others: bool, removed: &mut Self) -> u64 {
        let mut left = most;
        for class in [CONFIRMED, UNANSWERED, REFUSED] {
            for is_rejected in [false, true].into_iter().filter(|is_rejected| *is_rejected || with_others) {
                let here = &mut self.among(is_rejected)[class];
                let taken = (*here).min(left);
                *here -= taken;
                removed.among(is_rejected)[class] += taken;
                left -= taken;
            }
        }
        most - left
    }
}

/// The first sequence of each publisher that arrived at a destination whose reader may have skipped what came before.
type Heads = Vec<Option<Vec<Option<u64>>>>;

impl Ledger {
    /// Reconciles the books. Call it once nothing is written any more.
    pub fn account(&self, evidence: &Evidence<'_>) -> Account {
        let mut queues: Vec<QueueAccount> = self.tallies.iter().map(|tally| lock(tally).account.clone()).collect();
        let heads = self.heads(evidence.audited);
        let (missing, nowhere) = self.count(&heads, &mut queues);
        let stranded: Vec<_> = self.redriven_and_missing();
        for (_, _, to) in &stranded {
            let queue = &mut queues[*to as usize];
            *(if evidence.audited { &mut queue.lost } else { &mut queue.unaccounted }) += 1;
        }
        let mut removed = vec![Gone::default(); queues.len()];
        if evidence.audited {
            self.skip_heads(&heads, &mut queues);
            removed = self.explain(&missing, &mut queues, &evidence.removed);
        } else {
            queues.iter_mut().zip(&missing).for_each(|(queue, counts)| queue.unaccounted += counts.of(CONFIRMED));
        }
        let mut offences = std::mem::take(&mut *lock(&self.offences));
        for (publisher, sequence, to) in stranded.into_iter().filter(|_| evidence.audited) {
            let stamp = Stamp { run: self.run, publisher, attempt: 0, sequence, intended_us: 0, lag_us: 0 };
            let (class, destination, stamp) = (ViolationClass::Lost, Some(to), Some(stamp));
            offences.push(Offence { class, cause: None, destination, stamp, observed_us: None });
        }
        let gone = |queue: &QueueAccount| queue.lost + queue.possibly_lost;
        if queues.iter().map(gone).chain(nowhere).any(|count| count > 0) {
            self.name_missing(evidence.audited, &heads, removed, &mut offences);
        }
        let publishers: Vec<PublisherAccount> =
            self.numbered_books().map(|(publisher, book)| book.account(evidence.foretold.planned(publisher))).collect();
        Account {
            violations: self.violations(&offences, evidence.foretold, &publishers),
            violations_total: offences.total(),
            publishers,
            queues,
            unroutable: nowhere[CONFIRMED],
            unroutable_unconfirmed: nowhere[UNANSWERED],
        }
    }

    /// The books by publisher, one open at a time.
    pub(super) fn numbered_books(&self) -> impl Iterator<Item = (u16, MutexGuard<'_, Book>)> {
        self.books.iter().enumerate().map(|(publisher, book)| (publisher as u16, lock(book)))
    }

    /// Tells `visit` of each copy, by publisher and sequence: its destination, none where its message is routed nowhere,
    /// its fate, and whether it is missing and consumers have rejected it. Copies that nobody owes are left out; so are, with `missing_only`, chunks in which none is missing.
    fn visit(&self, missing_only: bool, visit: &mut impl FnMut(u16, u64, Option<u32>, (Fate, bool))) {
        for (publisher, book) in self.numbered_books() {
            let mut tell = |sequence: u64, destination: Option<u32>, fate: Fate| {
                let is_missing = !matches!(fate, Fate::Accounted { .. });
                let is_rejected = is_missing && destination.is_some_and(|to| book.is_rejected(to, sequence));
                visit(publisher, sequence, destination, (fate, is_rejected));
            };
            for (first, chunk) in book.chunks().filter(|(_, chunk)| !missing_only || !chunk.is_settled()) {
                for sequence in first..book.next.min(first + CHUNK as u64) {
                    let fates = Fates { chunk, at: (sequence - first) as usize };
                    let route = self.routes.destinations(publisher, sequence);
                    fates.each(route, &mut |destination, fate| tell(sequence, destination, fate));
                }
                for (destination, lane) in chunk.elsewhere() {
                    for at in (0..CHUNK).filter(|at| lane.is_delivered(*at) && !lane.is_closed(*at)) {
                        tell(first + at as u64, Some(destination), Fate::Stranded);
                    }
                }
            }
        }
    }

    /// Counts what is routed and recovered into `queues`; returns what is missing at each destination, and what is routed
    /// nowhere.
    fn count(&self, heads: &Heads, queues: &mut [QueueAccount]) -> (Vec<Gone>, MissingCounts) {
        let (mut missing, mut nowhere) = (vec![Gone::default(); queues.len()], MissingCounts::default());
        self.visit(false, &mut |publisher, sequence, destination, (fate, is_rejected)| {
            let Some(to) = destination.map(|to| to as usize) else {
                nowhere[if matches!(fate, Fate::Missing { confirmed: true }) { CONFIRMED } else { UNANSWERED }] += 1;
                return;
            };
            let (queue, missing) = (&mut queues[to], missing[to].among(is_rejected));
            match fate {
                Fate::Accounted { answered } => {
                    queue.routed += 1;
                    queue.recovered += u64::from(!answered);
                }
                // What came before a stream's reader is not in its books.
                Fate::Missing { .. } | Fate::Refused if is_skipped(heads, to, publisher, sequence) => {}
                Fate::Stranded if is_skipped(heads, to, publisher, sequence) => queue.routed -= 1,
                Fate::Missing { confirmed } => {
                    queue.routed += u64::from(confirmed);
                    missing[if confirmed { CONFIRMED } else { UNANSWERED }] += 1;
                }
                Fate::Refused => missing[REFUSED] += 1,
                Fate::Stranded => missing[CONFIRMED] += 1,
            }
        });
        (missing, nowhere)
    }

    /// Sorts what is missing into its classes: held back by the broker, removed by a rule as far as the broker's own counters
    /// bear it out, else lost. Returns how many of each destination were held back or removed.
    fn explain(&self, missing: &[Gone], queues: &mut [QueueAccount], evidence: &RemovalEvidence) -> Vec<Gone> {
        let mut budget = match evidence {
            RemovalEvidence::Counted(counted) => Some(counted.clone()),
            RemovalEvidence::Unknown => None,
        };
        let (mut missing, mut kept) = (missing.to_vec(), vec![Gone::default(); queues.len()]);
        for (to, queue) in queues.iter_mut().enumerate() {
            let held = lock(&self.tallies[to]).held;
            queue.left_in_queue += missing[to].take(held, true, &mut kept[to]);
            queue.routed += kept[to].of(UNANSWERED) + kept[to].of(REFUSED);
        }
        let mut removed = vec![Gone::default(); queues.len()];
        // Those with a single rule first: what they do not use is left for those that have a choice.
        let rules = |to: &usize| self.destinations[*to].all_rules().count();
        let mut turn: Vec<usize> = (0..queues.len()).filter(|to| rules(to) > 0).collect();
        turn.sort_by_key(rules);
        for to in turn {
            removed[to] = take_from(budget.as_mut(), &self.destinations[to], missing[to], &mut queues[to]);
        }
        for ((queue, removed), missing) in queues.iter_mut().zip(&removed).zip(&missing) {
            let unconfirmed = removed.of(UNANSWERED) + removed.of(REFUSED);
            queue.removed_by_rule += removed.of(CONFIRMED) + unconfirmed;
            // What was not confirmed but fell to a rule did reach the queue: it belongs on both sides of its books.
            queue.routed += unconfirmed;
            queue.lost += missing.of(CONFIRMED) - removed.of(CONFIRMED);
            queue.possibly_lost += missing.of(UNANSWERED) - removed.of(UNANSWERED);
        }
        self.share_losses(&missing, queues);
        removed.iter_mut().zip(kept).for_each(|(removed, kept)| removed.add(kept));
        removed
    }

    /// Where several queues had missing copies that one of the broker's counters may explain, and not all are explained,
    /// it cannot be told which of them lost the rest.
    fn share_losses(&self, missing: &[Gone], queues: &mut [QueueAccount]) {
        let mut sharing: BTreeMap<(Rule, &str), Vec<usize>> = BTreeMap::new();
        for (to, about) in self.destinations.iter().enumerate().filter(|(to, _)| missing[*to].of(CONFIRMED) > 0) {
            // What consumers rejected is known for each queue.
            let counted = about.all_rules().filter(|(rule, _)| !matches!(rule, Rule::Retention | Rule::Rejected));
            counted.for_each(|counter| sharing.entry(counter).or_default().push(to));
        }
        for sharers in sharing.into_values().filter(|sharers| sharers.len() > 1) {
            let lost: u64 = sharers.iter().map(|to| queues[*to].lost).sum();
            let removed: u64 = sharers.iter().map(|to| queues[*to].removed_by_rule).sum();
            if removed > 0 {
                sharers.iter().for_each(|to| queues[*to].lost_among_several = lost);
            }
        }
    }

    /// Names what is lost or possibly lost. The copies were counted before, so that none need be kept meanwhile: a run
    /// may end with as many missing as it sent.
    fn name_missing(&self, audited: bool, heads: &Heads, mut removed: Vec<Gone>, offences: &mut Offences) {
        let mut mixed = removed.clone();
        self.visit(true, &mut |publisher, sequence, destination, (fate, is_rejected)| {
            let confirmed = match fate {
                Fate::Accounted { .. } | Fate::Refused => return,
                Fate::Missing { confirmed } => confirmed,
                Fate::Stranded => true,
            };
            let mut cause = destination.is_none().then_some(Cause::Unroutable);
            if let Some(to) = destination.map(|to| to as usize) {
                if !audited || is_skipped(heads, to, publisher, sequence) {
                    return;
                }
                // Which of several missing messages a rule removed cannot be told; rules take the oldest first.
                let left = &mut removed[to].among(is_rejected)[if confirmed { CONFIRMED } else { UNANSWERED }];
                if *left > 0 {
                    *left -= 1;
                    return;
                }
                let is_mixed = mixed[to].among(is_rejected).iter().any(|removed| *removed > 0);
                cause = is_mixed.then_some(Cause::OneOfMany);
            }
            let class = if confirmed { ViolationClass::Lost } else { ViolationClass::PossiblyLost };
            let stamp = Stamp { run: self.run, publisher, attempt: 0, sequence, intended_us: 0, lag_us: 0 };
            offences.push(Offence { class, cause, destination, stamp: Some(stamp), observed_us: None });
        });
    }

    /// Copies that were sent back to where they had left, and never seen again: publisher, sequence and destination.
    fn redriven_and_missing(&self) -> Vec<(u16, u64, u32)> {
        let mut missing = Vec::new();
        for (publisher, book) in self.numbered_books() {
            missing.extend(book.redriven().map(|(to, sequence)| (publisher, sequence, to)));
        }
        missing
    }

    /// Where the readers of streams began; nothing where the queues were not read to their end.
    fn heads(&self, audited: bool) -> Heads {
        let head = |(number, about): (usize, &Destination)| {
            (audited && about.may_skip_head).then(|| self.first_arrivals(number))
        };
        self.destinations.iter().enumerate().map(head).collect()
    }

    /// What the audit found before a reader's first message was never left for that reader: it is not in its books.
    fn skip_heads(&self, heads: &Heads, queues: &mut [QueueAccount]) {
        for (destination, first) in heads.iter().enumerate() {
            let Some(first) = first else { continue };
            let skipped = self.found_before(destination, first);
            queues[destination].left_in_queue -= skipped;
            queues[destination].routed -= skipped;
        }
    }

    /// The first sequence of each publisher that arrived at `destination`. The reader of a stream takes all that comes
    /// after its first message, so that what is missing before it was never offered.
    fn first_arrivals(&self, destination: usize) -> Vec<Option<u64>> {
        let first = |(publisher, book): (u16, MutexGuard<'_, Book>)| {
            let copy = |sequence| self.copy_at(destination, publisher, sequence);
            (0..book.next).find(|sequence| copy(*sequence).is_some_and(|copy| book.is_delivered(*sequence, copy)))
        };
        self.numbered_books().map(first).collect()
    }

    /// Copies at `destination` that the audit found and that come before the first delivered one of their publisher.
    fn found_before(&self, destination: usize, first: &[Option<u64>]) -> u64 {
        let found = |((publisher, book), first): ((u16, MutexGuard<'_, Book>), &Option<u64>)| {
            let copy = |sequence| self.copy_at(destination, publisher, sequence);
            let before = 0..first.unwrap_or(0);
            before.filter(|sequence| copy(*sequence).is_some_and(|copy| book.is_closed(*sequence, copy))).count() as u64
        };
        self.numbered_books().zip(first).map(found).sum()
    }

    fn copy_at(&self, destination: usize, publisher: u16, sequence: u64) -> Option<Copy> {
        let route = self.routes.destinations(publisher, sequence);
        route.iter().position(|to| *to as usize == destination).map(Copy::Routed)
    }
}

/// The copies of one message.
struct Fates<'a> {
    chunk: &'a Chunk,
    at: usize,
}

impl Fates<'_> {
    /// Tells `visit` of each copy that the route names, or of none at all once.
    #[inline]
    fn each(&self, route: &[u32], visit: &mut impl FnMut(Option<u32>, Fate)) {
        let standing = self.chunk.standing(self.at);
        // Nacked and returned messages are not the broker's to keep.
        let owed = !matches!(standing, Standing::Nacked | Standing::Returned);
        let missing = Fate::Missing { confirmed: standing == Standing::Confirmed };
        let answered = !matches!(standing, Standing::Unconfirmed | Standing::Pending);
        if route.is_empty() && owed && !self.is_seen_elsewhere() {
            visit(None, missing);
        }
        for (place, destination) in route.iter().enumerate() {
            if self.chunk.lane(Copy::Routed(place)).is_some_and(|lane| lane.is_closed(self.at)) {
                visit(Some(*destination), Fate::Accounted { answered });
            } else if owed {
                visit(Some(*destination), missing);
            } else if standing == Standing::Nacked {
                // Another queue of its route may have refused it, and this one have taken it.
                visit(Some(*destination), Fate::Refused);
            }
        }
    }

    fn is_seen_elsewhere(&self) -> bool {
        self.chunk.elsewhere().any(|(_, lane)| lane.is_delivered(self.at) || lane.is_closed(self.at))
    }
}

/// Whether a message came before the first one that the reader of a destination took.
fn is_skipped(heads: &Heads, destination: usize, publisher: u16, sequence: u64) -> bool {
    let first = heads[destination].as_ref().and_then(|first| first[usize::from(publisher)]);
    first.is_some_and(|first| sequence < first)
}

/// How many of a destination's missing copies the `budget` explains, which is reduced by them.
fn take_from(
    mut budget: Option<&mut BTreeMap<(Rule, String), u64>>,
    about: &Destination,
    mut missing: Gone,
    queue: &mut QueueAccount,
) -> Gone {
    let mut removed = Gone::default();
    for (rule, kind) in about.all_rules() {
        let is_counted = budget.is_some() && rule != Rule::Retention;
        if !is_counted && rule != Rule::Rejected {
            // Nobody counts: the rule is believed, as far as the broker has taken a message at all.
            queue.removed_unverified += missing.of(CONFIRMED) + missing.of(UNANSWERED);
            (missing.rejected[REFUSED], missing.others[REFUSED]) = (0, 0);
            missing.take(u64::MAX, true, &mut removed);
            return removed;
        }
        let counter = budget.as_deref_mut().and_then(|budget| budget.get_mut(&(rule, kind.to_owned())));
        let by_broker = counter.as_deref().copied().unwrap_or(if is_counted { 0 } else { u64::MAX });
        // Which copies they have rejected consumers know, also where nobody else counts.
        let taken = missing.take(by_broker, rule != Rule::Rejected, &mut removed);
        if let Some(counter) = counter {
            *counter -= taken;
        }
    }
    removed
}
