//! What happened to every message, exactly; no sampling, ever.
//!
//! May use `units` and `stamp` only; no clock, no network. The [`Ledger`] is the journal: publishers and subscribers write
//! to it in batches, from any thread. Its memory is bounded, for messages in chunks of 4096: one byte for each message
//! until its whole chunk is answered, then four for each that ended otherwise than most; three eighths of a byte for each
//! copy until all copies of the chunk are consumed, then a thirty-second. A batch allocates nothing but the
//! next chunk and what stays of one that is done.
//! [`Ledger::account`] reconciles it, a pure function of what was written.

pub mod account;
mod arriving;
mod book;
pub mod chain;
mod chunk;
mod copies;
pub mod effects;
pub mod fates;
pub mod gap;
mod history;
pub mod incidents;
mod lane;
mod offences;
mod order;
mod reconcile;
mod span;
mod standings;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use account::{Account, Cause, PublisherAccount, QueueAccount, Violation, ViolationClass};
pub use order::Order;
pub use reconcile::{Evidence, Foretold, RemovalEvidence};

use crate::stamp::{Reading, Stamp};
use book::Book;
use chunk::Copy;
use fates::DeathEntry;
use gap::{Gaps, Marks};
use offences::{Offence, Offences};
use standings::Standing;
use tally::{Tally, Tallying};

/// Where copies of a message end up: a queue, or one reader of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destination {
    /// Name of the queue; for a stream `QUEUE#READER`.
    pub name: String,
    /// Rules of the topology by which it may remove messages that nobody consumed, without a trace.
    pub rules: Vec<Rule>,
    /// Kind of queue, as the broker's counters name it: `classic`, `quorum` or `stream`.
    pub kind: &'static str,
    /// A reader that may begin after a publisher's first messages.
    pub may_skip_head: bool,
    /// Destination, by number, whose consumers publish what they fail to this one, to be tried again.
    pub waits_for: Option<u32>,
    /// Rules of the queues that its dead letters come to and that may remove them there, each with the kind of queue: what
    /// was dead-lettered and then removed leaves no trace at all.
    pub beyond: Vec<(Rule, &'static str)>,
}

impl Destination {
    /// Its own rules, each with the kind of queue.
    pub fn own_rules(&self) -> impl Iterator<Item = (Rule, &'static str)> {
        self.rules.iter().map(|rule| (*rule, self.kind))
    }

    /// All rules that may account for a copy that is missing, its own first.
    fn all_rules(&self) -> impl Iterator<Item = (Rule, &'static str)> {
        self.own_rules().chain(self.beyond.iter().copied())
    }
}

/// A rule by which a queue removes messages and leaves no trace of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Its consumers reject messages without requeue. They count it, and so does the broker.
    Rejected,
    /// A time to live. The broker counts it.
    Expiry,
    /// A length limit that drops the oldest. The broker counts it.
    Length,
    /// A limit on deliveries, which consumers that give messages back may reach. The broker counts it.
    DeliveryLimit,
    /// A stream's retention, which nobody counts.
    Retention,
}

/// Which destinations each message is foretold to reach.
pub trait Routes: Send + Sync {
    /// Numbers of the destinations of message `sequence` of `publisher`, in ascending order.
    fn destinations(&self, publisher: u16, sequence: u64) -> &[u32];
}

/// How a publish ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The broker acked.
    Confirmed,
    /// The broker nacked.
    Nacked,
    /// Unroutable and returned.
    Returned,
    /// The connection or the time ran out before an answer.
    Unconfirmed,
}

/// A message that a subscriber (or the audit) received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Where, by number.
    pub destination: u32,
    /// What its stamp says.
    pub reading: Reading,
    /// The broker's redelivered flag.
    pub redelivered: bool,
    /// Its consumer asked for it, by failing the delivery before.
    pub retried: bool,
    /// When, in microseconds on the run's clock.
    pub observed_us: u64,
    /// The entries of its `x-death`, the newest first: queues that it was dead-lettered from.
    pub deaths: Option<Arc<[DeathEntry]>>,
}

impl Arrival {
    /// The entries of its `x-death`, the newest first.
    pub fn deaths(&self) -> &[DeathEntry] {
        self.deaths.as_deref().unwrap_or_default()
    }
}

/// Why a message left a queue whose consumer published it to where it waits to be tried again; no `x-death` says so.
const RETRIED: &str = "retried";
/// Why a message left a queue that it was taken out of to be sent back.
const REDRIVEN: &str = "redriven";

/// What the ledger makes of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The first delivery of this copy.
    First,
    /// A repeated delivery.
    Repeated(Cause),
    /// A repeated delivery that its consumer asked for: another attempt, and no duplicate.
    Retried,
    /// Not a message of this run.
    Phantom,
    /// Its checksum does not match.
    Corrupt,
}

/// Running counts, for live figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Running {
    /// Messages published.
    pub published: u64,
    /// Copies foretold for the messages published.
    pub routed: u64,
    /// Copies consumed.
    pub consumed: u64,
    /// Copies dead-lettered, as far as they were seen.
    pub dead_lettered: u64,
    /// See [`Ledger::backlog`].
    pub backlog: u64,
    /// Repeated deliveries.
    pub duplicates: u64,
    /// Messages that wait for the broker's answer.
    pub pending: u64,
}

/// The journal of a run.
pub struct Ledger {
    run: u32,
    destinations: Vec<Destination>,
    routes: Arc<dyn Routes>,
    books: Vec<Mutex<Book>>,
    tallies: Vec<Mutex<Tally>>,
    /// Copies foretold for the messages published so far, all destinations together.
    routed: AtomicU64,
    offences: Mutex<Offences>,
    /// Destinations whose consumers owe effects.
    has_effects: Vec<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere ends the run; what was written until then still counts.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// An empty ledger for the run `run`, with `publishers` publishers.
    pub fn new(run: u32, publishers: usize, destinations: Vec<Destination>, routes: Arc<dyn Routes>) -> Self {
        let tally = |destination: &Destination| {
            let account = QueueAccount { queue: destination.name.clone(), ..QueueAccount::default() };
            Mutex::new(Tally {
                account,
                marks: Marks::new(destinations.len()),
                gaps: Gaps::default(),
                rejected_for_good: 0,
                held: 0,
            })
        };
        Self {
            run,
            tallies: destinations.iter().map(tally).collect(),
            has_effects: vec![false; destinations.len()],
            destinations,
            routes,
            books: (0..publishers).map(|_| Mutex::default()).collect(),
            routed: AtomicU64::new(0),
            offences: Mutex::default(),
        }
    }

    /// The run whose stamps count.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Destinations, by number.
    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    fn book(&self, publisher: u16) -> Option<MutexGuard<'_, Book>> {
        self.books.get(usize::from(publisher)).map(lock)
    }

    /// `count` further messages of `publisher` go out for the first time, its next sequences in order. Call it before
    /// they are handed to the client, so that none can arrive unknown.
    pub fn published(&self, publisher: u16, count: usize, confirms: bool) {
        let Some(mut book) = self.book(publisher) else { return };
        let mut copies = 0;
        book.publish(count, confirms, |sequence| {
            let route = self.routes.destinations(publisher, sequence);
            copies += route.len() as u64;
            route.len()
        });
        self.routed.fetch_add(copies, Ordering::Relaxed);
    }

    /// A message of `publisher` goes out again.
    pub fn published_again(&self, publisher: u16, sequence: u64) {
        if let Some(mut book) = self.book(publisher) {
            book.publish_again(sequence, self.routes.destinations(publisher, sequence));
        }
    }

    /// The broker answered, or will not any more.
    pub fn settled(&self, publisher: u16, settled: impl IntoIterator<Item = (u64, Settled)>) {
        let Some(mut book) = self.book(publisher) else { return };
        for (sequence, outcome) in settled {
            book.settle(
                sequence,
                match outcome {
                    Settled::Confirmed => Standing::Confirmed,
                    Settled::Nacked => Standing::Nacked,
                    Settled::Returned => Standing::Returned,
                    Settled::Unconfirmed => Standing::Unconfirmed,
                },
            );
        }
    }

    /// Messages were delivered to the subscriber of `order`; `seen` gets what the ledger makes of each.
    pub fn delivered(&self, order: &mut Order, arrivals: &[Arrival], seen: &mut Vec<Seen>) {
        let mut tally = Tallying::new(self);
        let mut books = OpenBook::new(self);
        for arrival in arrivals {
            let made = match self.arrive(&mut books, arrival, true) {
                Seen::Repeated(Cause::Redelivered | Cause::Unflagged) if arrival.retried => Seen::Retried,
                Seen::Repeated(_) if self.is_redriven(&mut books, arrival) => Seen::Retried,
                made => made,
            };
            let counts = tally.of(arrival.destination);
            counts.delivered += 1;
            counts.redelivered_flag += u64::from(arrival.redelivered);
            let of_batch = counts.delivered;
            tally.latest_us = tally.latest_us.max(arrival.observed_us);
            match (made, arrival.reading) {
                (Seen::First, Reading::Ours(stamp)) if order.is_overtaken(arrival.destination, &stamp) => {
                    self.tally(arrival.destination, |queue| queue.misordered += 1);
                    self.offend(ViolationClass::Misordered, None, arrival);
                }
                (Seen::Repeated(cause), Reading::Ours(stamp)) => {
                    self.repeat(&mut books, (arrival, &stamp), cause, of_batch);
                }
                (Seen::Retried, _) => self.tally(arrival.destination, |queue| queue.retried += 1),
                _ => {}
            }
            seen.push(made);
        }
    }

    /// A message was delivered again, as number `of_batch` of its destination in a batch that is not handed in yet.
    #[cold]
    fn repeat(&self, books: &mut OpenBook<'_>, (arrival, stamp): (&Arrival, &Stamp), cause: Cause, of_batch: u64) {
        let copy = self.copy(arrival.destination, stamp);
        let first = books.of(stamp.publisher).and_then(|book| book.first_delivered(stamp.sequence, copy));
        if let Some(tally) = self.tallies.get(arrival.destination as usize) {
            let Tally { account, marks, gaps, .. } = &mut *lock(tally);
            match cause {
                Cause::Republished => account.republished += 1,
                Cause::Redelivered => account.redelivered += 1,
                _ => account.unflagged += 1,
            }
            if let Some(first) = first {
                gaps.note(marks, first, stamp, arrival.observed_us, account.delivered + of_batch);
            }
        }
        self.offend(ViolationClass::Duplicate, Some(cause), arrival);
    }

    /// How far apart first and repeated deliveries were, by destination. Warm-up and drain are in it; the audit is no
    /// consumer, and is not.
    pub fn gaps(&self) -> impl Iterator<Item = (&Destination, Gaps)> {
        self.destinations.iter().zip(self.tallies.iter().map(|tally| lock(tally).gaps.clone()))
    }

    /// Consumers settled messages as done. How many copies that consumed which were not consumed before.
    pub fn consumed(&self, messages: impl IntoIterator<Item = (u32, Reading)>) -> u64 {
        let mut tally = Tallying::new(self);
        let mut books = OpenBook::new(self);
        let mut consumed = 0;
        for (destination, reading) in messages {
            let is_new = u64::from(self.is_closed_now(&mut books, destination, &reading));
            let counts = tally.of(destination);
            counts.acknowledged += 1;
            counts.consumed += is_new;
            consumed += is_new;
        }
        consumed
    }

    /// A consumer failed a delivery, and gave it back to its queue or had it leave.
    pub fn refused(&self, destination: u32, reading: &Reading, requeued: bool) {
        let about = self.destinations.get(destination as usize).filter(|_| !requeued);
        // With a dead-letter exchange it turns up where that leads.
        if about.is_some_and(|about| about.rules.contains(&Rule::Rejected))
            && let Reading::Ours(stamp) = reading
            && let Some(mut book) = self.book(stamp.publisher)
            && book.reject(destination, stamp.sequence)
            && let Some(tally) = self.tallies.get(destination as usize)
        {
            lock(tally).rejected_for_good += 1;
        }
        self.tally(destination, |queue| *(if requeued { &mut queue.requeued } else { &mut queue.rejected }) += 1);
    }

    /// So many copies are in a queue where nobody can read them: a consumer has them and does not settle them, or the broker
    /// keeps them as dead letters until somebody takes them.
    pub fn held(&self, destination: u32, count: u64) {
        if let Some(tally) = self.tallies.get(destination as usize) {
            lock(tally).held = count;
        }
    }

    /// Whether the broker may have taken a message: it was sent, and neither nacked nor returned.
    pub fn was_taken(&self, publisher: u16, sequence: u64) -> bool {
        let standing = self.book(publisher).map(|book| book.standing(sequence));
        !matches!(standing, None | Some(Standing::Unpublished | Standing::Nacked | Standing::Returned))
    }

    /// Whether a message was delivered where `arrival` says, which may not be written down yet.
    pub fn has_delivered(&self, arrival: &Arrival) -> bool {
        let Reading::Ours(stamp) = arrival.reading else { return false };
        let copy = self.copy(arrival.destination, &stamp);
        self.book(stamp.publisher).is_some_and(|book| book.is_delivered(stamp.sequence, copy))
    }

    /// The audit found messages in a queue after the drain.
    pub fn found(&self, arrivals: &[Arrival]) {
        let mut books = OpenBook::new(self);
        for arrival in arrivals {
            self.arrive(&mut books, arrival, false);
            if self.is_closed_now(&mut books, arrival.destination, &arrival.reading) {
                self.tally(arrival.destination, |queue| queue.left_in_queue += 1);
                if let Reading::Ours(stamp) = arrival.reading
                    && let Some(book) = books.of(stamp.publisher)
                {
                    self.excuse(book, arrival.destination, stamp.sequence);
                }
            }
        }
    }

    /// Accounts for a copy; whether it was not accounted for before.
    #[inline]
    fn is_closed_now(&self, books: &mut OpenBook<'_>, destination: u32, reading: &Reading) -> bool {
        let Reading::Ours(stamp) = reading else { return false };
        let copy = self.copy(destination, stamp);
        let Some(book) = books.of(stamp.publisher).filter(|book| stamp.sequence < book.next) else { return false };
        !book.close(stamp.sequence, copy) || book.close_redriven(destination, stamp.sequence)
    }

    #[inline]
    fn copy(&self, destination: u32, stamp: &Stamp) -> Copy {
        let route = self.routes.destinations(stamp.publisher, stamp.sequence);
        route.iter().position(|to| *to == destination).map_or(Copy::Elsewhere(destination), Copy::Routed)
    }

    #[cold]
    fn offend(&self, class: ViolationClass, cause: Option<Cause>, arrival: &Arrival) {
        lock(&self.offences).push(Offence {
            class,
            cause,
            destination: Some(arrival.destination),
            stamp: match arrival.reading {
                Reading::Ours(stamp) | Reading::Corrupt(stamp) => Some(stamp),
                Reading::Foreign => None,
            },
            observed_us: Some(arrival.observed_us),
        });
    }

    /// Counts so far. Cheap enough to be asked twice a second.
    pub fn running(&self) -> Running {
        let mut running = Running { routed: self.routed.load(Ordering::Relaxed), ..Running::default() };
        for book in &self.books {
            let book = lock(book);
            running.published += book.next;
            running.pending += book.pending();
        }
        for tally in &self.tallies {
            let account = &lock(tally).account;
            running.consumed += account.consumed;
            running.dead_lettered += account.dead_lettered_total();
            running.duplicates += account.republished + account.redelivered + account.unflagged;
        }
        running.backlog = self.backlog();
        running
    }

    /// Copies published and neither consumed, dead-lettered nor rejected for good so far. What the broker removes or
    /// refuses by itself is not known before the end, and stays in it. Takes no publisher's lock.
    pub fn backlog(&self) -> u64 {
        let (mut came, mut gone) = (self.routed.load(Ordering::Relaxed), 0);
        for tally in &self.tallies {
            let Tally { account, rejected_for_good, .. } = &*lock(tally);
            // A dead letter is a copy of the queue that it came to, as is what strayed there.
            came += account.routed + account.misrouted;
            gone += account.consumed + account.dead_lettered_total() + rejected_for_good;
        }
        came.saturating_sub(gone)
    }

    /// Messages that wait for the broker's answer. Takes each publisher's lock.
    pub fn pending(&self) -> u64 {
        self.books.iter().map(|book| lock(book).pending()).sum()
    }

    /// Messages of `publisher` that were published.
    pub fn published_by(&self, publisher: u16) -> u64 {
        self.book(publisher).map_or(0, |book| book.next)
    }
}

/// The book of the publisher that a batch is at; batches come mostly from one publisher at a time.
struct OpenBook<'a> {
    ledger: &'a Ledger,
    held: Option<(u16, MutexGuard<'a, Book>)>,
}

impl<'a> OpenBook<'a> {
    fn new(ledger: &'a Ledger) -> Self {
        Self { ledger, held: None }
    }

    #[inline]
    fn of(&mut self, publisher: u16) -> Option<&mut Book> {
        if self.held.as_ref().is_none_or(|(held, _)| *held != publisher) {
            // Let go first: two books are never held at once, so that no order of locks matters.
            self.held = None;
            self.held = self.ledger.book(publisher).map(|book| (publisher, book));
        }
        self.held.as_mut().map(|(_, book)| &mut **book)
    }
}
