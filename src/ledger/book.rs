//! One publisher's book: what became of each of its messages, in chunks that shrink once all is settled.

use super::account::{Cause, PublisherAccount};
use super::chunk::{Chunk, Copy};
use super::copies::Copies;
use super::lane::CHUNK;
use super::span::Span;
use super::standings::Standing;

/// A publisher's messages, by sequence.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Sequences below this were published.
    pub(super) next: u64,
    chunks: Vec<Chunk>,
    counts: [u64; Standing::COUNT],
    resends: u64,
    /// Copies that nobody owes an effect for; only of destinations with effects.
    excused: Copies,
    /// Copies that consumers rejected for good; only of destinations where that leaves no trace.
    rejected: Copies,
    /// Copies that were sent back to where they had left, and are not accounted for again.
    redriven: Copies,
}

#[inline]
fn place(sequence: u64) -> (usize, usize) {
    ((sequence / CHUNK as u64) as usize, (sequence % CHUNK as u64) as usize)
}

impl Book {
    /// `count` further messages go out for the first time; `copies` says how many destinations the route of each has.
    pub(super) fn publish(&mut self, count: usize, confirms: bool, mut copies: impl FnMut(u64) -> usize) {
        let standing = if confirms { Standing::Pending } else { Standing::Sent };
        let end = self.next + count as u64;
        while self.next < end {
            let (chunk, at) = place(self.next);
            if chunk == self.chunks.len() {
                self.chunks.push(Chunk::new());
            }
            let here = (CHUNK - at).min((end - self.next) as usize);
            let sequences = self.next..self.next + here as u64;
            self.chunks[chunk].publish(at..at + here, standing, sequences.map(&mut copies));
            self.next += here as u64;
        }
        self.counts[standing as usize] += count as u64;
    }

    /// A message goes out again; `route` is its destinations.
    pub(super) fn publish_again(&mut self, sequence: u64, route: &[u32]) {
        let (chunk, at) = place(sequence);
        let Some(chunk) = self.chunks.get_mut(chunk).filter(|_| sequence < self.next) else { return };
        self.resends += 1;
        chunk.resend(at, route);
        // What the broker confirmed once it answers for, sent again or not.
        if chunk.standing(at) != Standing::Confirmed {
            self.stand(sequence, Standing::Pending);
        }
    }

    /// The broker answered, or will not any more.
    #[inline]
    pub(super) fn settle(&mut self, sequence: u64, to: Standing) {
        use Standing::{Confirmed, Nacked, Pending, Returned, Sent, Unconfirmed, Unpublished};
        match (self.standing(sequence), to) {
            (Pending | Unconfirmed, to) => self.stand(sequence, to),
            // With confirms off a return is the only answer there is.
            (Sent, Returned) => self.stand(sequence, Returned),
            // A return stands, whatever the ack that follows it says; so does a first answer.
            (Confirmed | Nacked | Returned | Sent | Unpublished, _) => {}
        }
    }

    #[inline]
    fn stand(&mut self, sequence: u64, to: Standing) {
        let (chunk, at) = place(sequence);
        let from = self.chunks[chunk].stand(at, to);
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
    }

    /// Notes a delivery at `now_us`; the cause where it repeats an earlier one.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        sequence: u64,
        (copy, destination): (Copy, u32),
        attempt: u8,
        redelivered: bool,
        now_us: u64,
    ) -> Option<Cause> {
        let (chunk, at) = place(sequence);
        let chunk = self.chunks.get_mut(chunk)?;
        let repeated = chunk.deliver(at, copy, now_us)?;
        let new_attempt = chunk.is_new_attempt(at, (destination, attempt));
        repeated.then_some(match (new_attempt, redelivered) {
            (true, _) => Cause::Republished,
            (false, true) => Cause::Redelivered,
            (false, false) => Cause::Unflagged,
        })
    }

    /// Notes that a copy is accounted for; true where it was before.
    #[inline]
    pub(super) fn close(&mut self, sequence: u64, copy: Copy) -> bool {
        let (chunk, at) = place(sequence);
        self.chunks.get_mut(chunk).and_then(|chunk| chunk.close(at, copy)).unwrap_or(true)
    }

    /// When the copy, and others near it, were delivered for the first time.
    pub(super) fn first_delivered(&self, sequence: u64, copy: Copy) -> Option<Span> {
        let (chunk, at) = place(sequence);
        self.chunks.get(chunk).and_then(|chunk| chunk.lane(copy)).map(|lane| lane.first_delivered(at))
    }

    /// Whether the copy was delivered before.
    pub(super) fn is_delivered(&self, sequence: u64, copy: Copy) -> bool {
        let (chunk, at) = place(sequence);
        self.chunks.get(chunk).and_then(|chunk| chunk.lane(copy)).is_some_and(|lane| lane.is_delivered(at))
    }

    /// Whether the copy is accounted for.
    pub(super) fn is_closed(&self, sequence: u64, copy: Copy) -> bool {
        let (chunk, at) = place(sequence);
        self.chunks.get(chunk).and_then(|chunk| chunk.lane(copy)).is_some_and(|lane| lane.is_closed(at))
    }

    /// Nobody owes an effect for this copy.
    pub(super) fn excuse(&mut self, destination: u32, sequence: u64) {
        let _is_new = self.excused.insert(destination, sequence);
    }

    /// Whether nobody owes an effect for this copy.
    pub(super) fn is_excused(&self, destination: u32, sequence: u64) -> bool {
        self.excused.contains(destination, sequence)
    }

    /// A consumer rejected a delivery of this copy for good; whether it is the first that was.
    pub(super) fn reject(&mut self, destination: u32, sequence: u64) -> bool {
        self.rejected.insert(destination, sequence)
    }

    /// Whether a consumer has rejected this copy for good.
    pub(super) fn is_rejected(&self, destination: u32, sequence: u64) -> bool {
        self.rejected.contains(destination, sequence)
    }

    /// A copy goes back to `destination`, which it had left; whether it is not on its way there already. `route` is the
    /// message's destinations. Its effect is owed again.
    pub(super) fn redrive(&mut self, destination: u32, sequence: u64, route: &[u32]) -> bool {
        let (chunk, at) = place(sequence);
        let Some(chunk) = self.chunks.get_mut(chunk).filter(|_| sequence < self.next) else { return false };
        chunk.resend(at, route);
        self.excused.remove(destination, sequence);
        self.redriven.insert(destination, sequence)
    }

    /// Whether a copy was sent back and is not accounted for since.
    pub(super) fn is_redriven(&self, destination: u32, sequence: u64) -> bool {
        self.redriven.contains(destination, sequence)
    }

    /// A copy that was sent back is accounted for; whether it was not before.
    #[cold]
    pub(super) fn close_redriven(&mut self, destination: u32, sequence: u64) -> bool {
        self.redriven.remove(destination, sequence)
    }

    /// Copies that were sent back and are not accounted for, as destination and sequence.
    pub(super) fn redriven(&self) -> impl Iterator<Item = (u32, u64)> {
        self.redriven.iter()
    }

    /// Where the publish of a message stands.
    #[inline]
    pub(super) fn standing(&self, sequence: u64) -> Standing {
        let (chunk, at) = place(sequence);
        self.chunks.get(chunk).map_or(Standing::Unpublished, |chunk| chunk.standing(at))
    }

    /// Chunks with the sequence that each begins with.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (u64, &Chunk)> {
        self.chunks.iter().enumerate().map(|(n, chunk)| ((n * CHUNK) as u64, chunk))
    }

    /// Messages whose publish still waits for an answer.
    pub(super) fn pending(&self) -> u64 {
        self.counts[Standing::Pending as usize]
    }

    /// Counts by outcome. What is still pending counts as unconfirmed: no answer came.
    pub(super) fn account(&self, planned: Option<u64>) -> PublisherAccount {
        let count = |standing: Standing| self.counts[standing as usize];
        let planned = planned.unwrap_or(self.next).max(self.next);
        PublisherAccount {
            planned,
            published: self.next,
            confirmed: count(Standing::Confirmed),
            nacked: count(Standing::Nacked),
            returned: count(Standing::Returned),
            unconfirmed: count(Standing::Unconfirmed) + count(Standing::Pending),
            sent: count(Standing::Sent),
            unsent: planned - self.next,
            resends: self.resends,
        }
    }

    /// Bytes that the chunks take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::bytes).sum()
    }
}
