//! The reconciliation: what was published against what arrived, copy by copy. Pure.

use std::collections::BTreeMap;

use super::account::{Account, Cause, PublisherAccount, QueueAccount, Violation, ViolationClass};
use super::book::{Book, Chunk, Copy, Standing};
use super::lane::CHUNK;
use super::offences::{Offence, Offences};
use super::{Ledger, lock};
use crate::stamp::Stamp;

/// What the broker says that its queues removed by rule without dead-lettering it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovalEvidence {
    /// Messages removed, by kind of queue (`classic`, `quorum`, `stream`).
    Counted(BTreeMap<String, u64>),
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

/// A copy that is not accounted for.
struct Missing {
    publisher: u16,
    sequence: u64,
    confirmed: bool,
}

impl Ledger {
    /// Reconciles the books. Call it once nothing is written any more.
    pub fn account(&self, evidence: &Evidence<'_>) -> Account {
        let mut queues: Vec<QueueAccount> = self.tallies.iter().map(|tally| lock(tally).clone()).collect();
        let mut publishers = Vec::with_capacity(self.books.len());
        let mut missing: Vec<Vec<Missing>> = queues.iter().map(|_| Vec::new()).collect();
        let mut unroutable = Vec::new();
        for (number, book) in self.books.iter().enumerate() {
            let (publisher, book) = (number as u16, lock(book));
            publishers.push(book.account(evidence.foretold.planned(publisher)));
            self.reconcile_book(publisher, &book, &mut queues, &mut missing, &mut unroutable);
        }
        let mut offences = std::mem::take(&mut *lock(&self.offences));
        let mut budget = match &evidence.removed {
            RemovalEvidence::Counted(by_kind) => Some(by_kind.clone()),
            RemovalEvidence::Unknown => None,
        };
        for (destination, missing) in missing.into_iter().enumerate() {
            let queue = &mut queues[destination];
            if evidence.audited {
                self.explain(destination, missing, queue, budget.as_mut(), &mut offences);
            } else {
                queue.unaccounted += missing.iter().filter(|missing| missing.confirmed).count() as u64;
            }
        }
        let [mut confirmed, mut unconfirmed] = [0, 0];
        for missing in unroutable {
            let class = if missing.confirmed { ViolationClass::Lost } else { ViolationClass::PossiblyLost };
            *(if missing.confirmed { &mut confirmed } else { &mut unconfirmed }) += 1;
            offences.push(self.offence(class, Some(Cause::Unroutable), None, &missing));
        }
        Account {
            violations: self.violations(&offences, evidence.foretold, &publishers),
            violations_total: offences.total(),
            publishers,
            queues,
            unroutable: confirmed,
            unroutable_unconfirmed: unconfirmed,
        }
    }

    fn reconcile_book(
        &self,
        publisher: u16,
        book: &Book,
        queues: &mut [QueueAccount],
        missing: &mut [Vec<Missing>],
        unroutable: &mut Vec<Missing>,
    ) {
        for (first, chunk) in book.chunks() {
            let end = book.next.min(first + CHUNK as u64);
            for sequence in first..end {
                let at = (sequence - first) as usize;
                let route = self.routes.destinations(publisher, sequence);
                let standing = chunk.standing(at);
                // Nacked and returned messages are not the broker's to keep.
                let owed = !matches!(standing, Standing::Nacked | Standing::Returned);
                let confirmed = standing == Standing::Confirmed;
                if route.is_empty() && owed && !seen_elsewhere(chunk, at) {
                    unroutable.push(Missing { publisher, sequence, confirmed });
                }
                for (place, destination) in route.iter().enumerate() {
                    let queue = &mut queues[*destination as usize];
                    if chunk.lane(place).is_some_and(|lane| lane.is_closed(at)) {
                        queue.routed += 1;
                        let no_answer = matches!(standing, Standing::Unconfirmed | Standing::Pending);
                        queue.recovered += u64::from(no_answer);
                    } else if owed {
                        queue.routed += u64::from(confirmed);
                        missing[*destination as usize].push(Missing { publisher, sequence, confirmed });
                    }
                }
            }
            self.reconcile_elsewhere(publisher, first, chunk, missing);
        }
    }

    /// Copies that arrived somewhere by a dead-letter exchange and were not accounted for there.
    fn reconcile_elsewhere(&self, publisher: u16, first: u64, chunk: &Chunk, missing: &mut [Vec<Missing>]) {
        for (destination, lane) in chunk.elsewhere() {
            for at in (0..CHUNK).filter(|at| lane.is_delivered(*at) && !lane.is_closed(*at)) {
                let sequence = first + at as u64;
                missing[destination as usize].push(Missing { publisher, sequence, confirmed: true });
            }
        }
    }

    /// Sorts what is missing at one destination into its classes: removed by a rule as far as the broker's own counters
    /// (`budget`, by kind of queue; none: they could not be read) bear it out, else lost.
    fn explain(
        &self,
        destination: usize,
        mut missing: Vec<Missing>,
        queue: &mut QueueAccount,
        budget: Option<&mut BTreeMap<String, u64>>,
        offences: &mut Offences,
    ) {
        let about = &self.destinations[destination];
        if about.may_skip_head {
            let first = self.first_arrivals(destination);
            // What the audit found before a reader's first message was never left for that reader.
            let skipped = self.found_before(destination, &first);
            queue.left_in_queue -= skipped;
            queue.removed_by_rule += skipped;
            missing.retain(|missing| {
                let skipped = first[usize::from(missing.publisher)].is_some_and(|first| missing.sequence < first);
                queue.removed_by_rule += u64::from(skipped && missing.confirmed);
                !skipped
            });
        }
        let mut removed = [0u64; 2];
        if about.removes {
            let confirmed = missing.iter().filter(|missing| missing.confirmed).count() as u64;
            let counts = [confirmed, missing.len() as u64 - confirmed];
            removed = take_from(budget, about.kind, counts, &mut queue.removed_unverified);
            queue.removed_by_rule += removed[0] + removed[1];
            // What was not confirmed but fell to a rule did reach the queue: it belongs on both sides of its books.
            queue.routed += removed[1];
        }
        for missing in missing {
            // Which of several missing messages a rule removed cannot be told; rules take the oldest first.
            let left = &mut removed[usize::from(!missing.confirmed)];
            if *left > 0 {
                *left -= 1;
                continue;
            }
            let (class, count) = if missing.confirmed {
                (ViolationClass::Lost, &mut queue.lost)
            } else {
                (ViolationClass::PossiblyLost, &mut queue.possibly_lost)
            };
            *count += 1;
            offences.push(self.offence(class, None, Some(destination as u32), &missing));
        }
    }

    /// The first sequence of each publisher that arrived at `destination`. The reader of a stream takes all that comes
    /// after its first message, so that what is missing before it was never offered.
    fn first_arrivals(&self, destination: usize) -> Vec<Option<u64>> {
        let first = |(publisher, book): (usize, &std::sync::Mutex<Book>)| {
            let (publisher, book) = (publisher as u16, lock(book));
            let copy = |sequence| self.copy_at(destination, publisher, sequence);
            (0..book.next).find(|sequence| copy(*sequence).is_some_and(|copy| book.is_delivered(*sequence, copy)))
        };
        self.books.iter().enumerate().map(first).collect()
    }

    /// Copies at `destination` that the audit found and that come before the first delivered one of their publisher.
    fn found_before(&self, destination: usize, first: &[Option<u64>]) -> u64 {
        let found = |(publisher, first): (usize, &Option<u64>)| {
            let (publisher, book) = (publisher as u16, lock(&self.books[publisher]));
            let copy = |sequence| self.copy_at(destination, publisher, sequence);
            let before = 0..first.unwrap_or(0);
            before.filter(|sequence| copy(*sequence).is_some_and(|copy| book.is_closed(*sequence, copy))).count() as u64
        };
        first.iter().enumerate().map(found).sum()
    }

    fn copy_at(&self, destination: usize, publisher: u16, sequence: u64) -> Option<Copy> {
        let route = self.routes.destinations(publisher, sequence);
        route.iter().position(|to| *to as usize == destination).map(Copy::Routed)
    }

    fn offence(
        &self,
        class: ViolationClass,
        cause: Option<Cause>,
        destination: Option<u32>,
        missing: &Missing,
    ) -> Offence {
        let stamp = Stamp {
            run: self.run,
            publisher: missing.publisher,
            attempt: 0,
            sequence: missing.sequence,
            intended_us: 0,
            lag_us: 0,
        };
        Offence { class, cause, destination, stamp: Some(stamp), observed_us: None }
    }

    fn violations(
        &self,
        offences: &Offences,
        foretold: &dyn Foretold,
        publishers: &[PublisherAccount],
    ) -> Vec<Violation> {
        offences.listed().map(|offence| self.violation(offence, foretold, publishers)).collect()
    }

    fn violation(&self, offence: &Offence, foretold: &dyn Foretold, publishers: &[PublisherAccount]) -> Violation {
        let gone = matches!(offence.class, ViolationClass::Lost | ViolationClass::PossiblyLost);
        let stamp = offence.stamp;
        let known = stamp.filter(|stamp| usize::from(stamp.publisher) < publishers.len());
        let intended_us = match stamp {
            Some(stamp) if gone => foretold.intended_us(stamp.publisher, stamp.sequence),
            stamp => stamp.map(|stamp| stamp.intended_us),
        };
        Violation {
            class: offence.class,
            cause: offence.cause,
            queue: offence.destination.map(|to| self.destinations[to as usize].name.clone()),
            publisher: stamp.map(|stamp| stamp.publisher),
            sequence: stamp.map(|stamp| stamp.sequence),
            attempt: stamp.filter(|_| !gone).map(|stamp| stamp.attempt),
            intended_us,
            observed_us: offence.observed_us,
            history: self.history(offence, known.map(|stamp| foretold.publisher_name(stamp.publisher))),
        }
    }

    /// What is known of an offending message, as a sentence.
    fn history(&self, offence: &Offence, publisher: Option<String>) -> String {
        let publish = match (offence.stamp, &publisher) {
            (Some(stamp), Some(name)) => {
                let standing = self.book(stamp.publisher).map(|book| book.standing(stamp.sequence));
                let outcome = match standing {
                    Some(Standing::Confirmed) => "confirmed",
                    Some(Standing::Nacked) => "nacked",
                    Some(Standing::Returned) => "returned",
                    Some(Standing::Sent) => "sent without confirms",
                    Some(Standing::Pending | Standing::Unconfirmed) => "never answered",
                    Some(Standing::Unpublished) | None => "never sent",
                };
                format!("published by {name}, {outcome}")
            }
            _ => "not published by this run".to_owned(),
        };
        let end = match (offence.class, offence.cause) {
            (ViolationClass::Lost | ViolationClass::PossiblyLost, Some(Cause::Unroutable)) => {
                "routed to no queue by the topology"
            }
            (ViolationClass::Lost | ViolationClass::PossiblyLost, _) => {
                "neither consumed, dead-lettered nor left in the queue"
            }
            (ViolationClass::Duplicate, Some(Cause::Republished)) => {
                "delivered again because the producer sent it again"
            }
            (ViolationClass::Duplicate, Some(Cause::Redelivered)) => "delivered again with the redelivered flag",
            (ViolationClass::Duplicate, _) => "delivered again without the redelivered flag",
            (ViolationClass::Phantom, Some(Cause::NoStamp)) => "it carries no stamp of this run",
            (ViolationClass::Phantom, _) => "its stamp names a message that was never sent",
            (ViolationClass::Corrupt, _) => "its checksum does not match what its stamp claims",
            (ViolationClass::Misordered, _) => "delivered after a later message of its publisher",
            (ViolationClass::Misrouted, _) => "the topology does not route it here",
        };
        format!("{publish}; {end}")
    }
}

fn seen_elsewhere(chunk: &Chunk, at: usize) -> bool {
    chunk.elsewhere().any(|(_, lane)| lane.is_delivered(at) || lane.is_closed(at))
}

/// How many of the `[confirmed, unconfirmed]` missing copies the `budget` explains, which is reduced by them.
fn take_from(
    budget: Option<&mut BTreeMap<String, u64>>,
    kind: &str,
    counts: [u64; 2],
    unverified: &mut u64,
) -> [u64; 2] {
    let Some(by_kind) = budget else {
        *unverified += counts[0] + counts[1];
        return counts;
    };
    let left = by_kind.entry(kind.to_owned()).or_default();
    counts.map(|count| {
        let taken = count.min(*left);
        *left -= taken;
        taken
    })
}
