//! What each arrival says: whose it is, whether it belongs where it came to, and where it was before. Uses `stamp`.

use super::account::{Cause, ViolationClass};
use super::book::Book;
use super::chunk::Copy;
use super::fates::DeathEntry;
use super::{Arrival, Ledger, OpenBook, REDRIVEN, RETRIED, Seen};
use crate::stamp::{Reading, Stamp};

impl Ledger {
    /// What every arrival has in common: whose it is, whether it belongs here, and what it says of where it was before.
    #[inline]
    pub(super) fn arrive(&self, books: &mut OpenBook<'_>, arrival: &Arrival, delivery: bool) -> Seen {
        let stamp = match arrival.reading {
            Reading::Ours(stamp) => stamp,
            Reading::Corrupt(_) => {
                self.tally(arrival.destination, |queue| queue.corrupt += 1);
                self.offend(ViolationClass::Corrupt, None, arrival);
                return Seen::Corrupt;
            }
            Reading::Foreign => return self.phantom(Cause::NoStamp, arrival),
        };
        let known = books.of(stamp.publisher).filter(|book| stamp.sequence < book.next);
        let Some(book) = known else { return self.phantom(Cause::NeverSent, arrival) };
        let copy = self.copy(arrival.destination, &stamp);
        if arrival.deaths.is_some() || matches!(copy, Copy::Elsewhere(_)) {
            self.trace(book, arrival, &stamp, copy);
        }
        if !delivery {
            return Seen::First;
        }
        let Arrival { destination, redelivered, observed_us, .. } = *arrival;
        let repeated = book.deliver(stamp.sequence, (copy, destination), stamp.attempt, redelivered, observed_us);
        repeated.map_or(Seen::First, Seen::Repeated)
    }

    /// Whether it is a copy that was sent back to where it had left, and is not accounted for since.
    #[cold]
    pub(super) fn is_redriven(&self, books: &mut OpenBook<'_>, arrival: &Arrival) -> bool {
        let Reading::Ours(stamp) = arrival.reading else { return false };
        books.of(stamp.publisher).is_some_and(|book| book.is_redriven(arrival.destination, stamp.sequence))
    }

    /// A message is about to be taken out of the queue that it was found in, as `arrival` says, and to be sent `back` to
    /// one that it had left; none: to where nobody knows it. Call it before it is sent, so that it cannot arrive unknown.
    pub fn redriven(&self, arrival: &Arrival, back: Option<u32>) {
        let Reading::Ours(stamp) = arrival.reading else { return };
        let mut books = OpenBook::new(self);
        self.arrive(&mut books, arrival, false);
        let Some(book) = books.of(stamp.publisher).filter(|book| stamp.sequence < book.next) else { return };
        let here = self.copy(arrival.destination, &stamp);
        if !book.close(stamp.sequence, here) || book.close_redriven(arrival.destination, stamp.sequence) {
            self.excuse(book, arrival.destination, stamp.sequence);
            self.tally(arrival.destination, |queue| {
                *queue.dead_lettered.entry(REDRIVEN.to_owned()).or_default() += 1;
            });
        }
        let route = self.routes.destinations(stamp.publisher, stamp.sequence);
        if let Some(back) = back
            && book.redrive(back, stamp.sequence, route)
        {
            self.tally(back, |queue| queue.routed += 1);
        }
    }

    /// Message `sequence` of `publisher` is about to be published once more, long after it was sent first. Call it before it
    /// is, so that it cannot arrive unknown.
    pub fn replayed(&self, publisher: u16, sequence: u64) {
        let route = self.routes.destinations(publisher, sequence);
        for destination in route {
            let is_new = self.book(publisher).is_some_and(|mut book| book.redrive(*destination, sequence, route));
            if is_new {
                self.tally(*destination, |queue| queue.routed += 1);
            }
        }
    }

    #[cold]
    fn phantom(&self, cause: Cause, arrival: &Arrival) -> Seen {
        self.tally(arrival.destination, |queue| queue.phantom += 1);
        self.offend(ViolationClass::Phantom, Some(cause), arrival);
        Seen::Phantom
    }

    /// Notes how a copy came where its message's route does not lead: by a dead letter exchange, or astray.
    fn trace(&self, book: &mut Book, arrival: &Arrival, stamp: &Stamp, copy: Copy) {
        let known = book.is_delivered(stamp.sequence, copy) || book.is_closed(stamp.sequence, copy);
        let is_new_here = !known && matches!(copy, Copy::Elsewhere(_));
        let waits_for = self.destinations.get(arrival.destination as usize).and_then(|about| about.waits_for);
        let retried = waits_for.filter(|_| arrival.deaths.is_none());
        let retried = retried.map(|from| DeathEntry { from, reason: RETRIED.into(), count: 1 });
        // It is back where it has left before: it has not left there for good.
        let left = arrival.deaths().iter().chain(&retried).filter(|death| death.from != arrival.destination);
        for death in left {
            let left = self.copy(death.from, stamp);
            // Nobody takes messages where they wait to be tried again: that it was there is known from where it came next.
            let passed = matches!(left, Copy::Elsewhere(_)) && !book.is_delivered(stamp.sequence, left);
            if !book.close(stamp.sequence, left) || book.close_redriven(death.from, stamp.sequence) {
                self.excuse(book, death.from, stamp.sequence);
                self.tally(death.from, |queue| {
                    queue.routed += u64::from(passed);
                    match queue.dead_lettered.get_mut(&*death.reason) {
                        Some(count) => *count += 1,
                        None => drop(queue.dead_lettered.insert(death.reason.to_string(), 1)),
                    }
                });
            }
        }
        if arrival.deaths.is_some() || retried.is_some() {
            if is_new_here {
                self.tally(arrival.destination, |queue| queue.routed += 1);
            }
        } else if is_new_here {
            self.tally(arrival.destination, |queue| queue.misrouted += 1);
            self.offend(ViolationClass::Misrouted, None, arrival);
        }
    }
}
