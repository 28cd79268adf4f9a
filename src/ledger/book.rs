//! One publisher's book: what became of each of its messages, in chunks that shrink once all is settled.

use std::collections::{BTreeMap, HashMap};

use super::account::{Cause, PublisherAccount};
use super::lane::{CHUNK, Lane};

/// Where a message's publish stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Standing {
    Unpublished = 0,
    Pending = 1,
    Confirmed = 2,
    Nacked = 3,
    Returned = 4,
    Unconfirmed = 5,
    Sent = 6,
}

const STANDINGS: [Standing; 7] = [
    Standing::Unpublished,
    Standing::Pending,
    Standing::Confirmed,
    Standing::Nacked,
    Standing::Returned,
    Standing::Unconfirmed,
    Standing::Sent,
];

#[derive(Debug)]
enum Standings {
    Each(Box<[u8; CHUNK]>),
    /// All of them alike, and none will change.
    All(Standing),
}

#[derive(Debug)]
pub(super) struct Chunk {
    standings: Standings,
    /// Messages of the chunk that are confirmed; a full chunk of them shrinks.
    confirmed: u16,
    published: u16,
    /// The copy at the n-th destination of its route, for each n.
    lanes: Vec<Lane>,
    /// Copies that are expected in each lane.
    expected: Vec<u16>,
    /// Copies at destinations outside the message's route: dead letters, and strays.
    elsewhere: BTreeMap<u32, Lane>,
}

impl Chunk {
    fn new() -> Self {
        Self {
            standings: Standings::Each(Box::new([0; CHUNK])),
            confirmed: 0,
            published: 0,
            lanes: Vec::new(),
            expected: Vec::new(),
            elsewhere: BTreeMap::new(),
        }
    }

    pub(super) fn standing(&self, at: usize) -> Standing {
        match &self.standings {
            Standings::Each(each) => STANDINGS[usize::from(each[at])],
            Standings::All(standing) => *standing,
        }
    }

    pub(super) fn lane(&self, place: usize) -> Option<&Lane> {
        self.lanes.get(place)
    }

    pub(super) fn elsewhere(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.elsewhere.iter().map(|(destination, lane)| (*destination, lane))
    }

    fn compact(&mut self) {
        if usize::from(self.confirmed) == CHUNK && matches!(self.standings, Standings::Each(_)) {
            self.standings = Standings::All(Standing::Confirmed);
        }
        if usize::from(self.published) == CHUNK {
            for (lane, expected) in self.lanes.iter_mut().zip(&self.expected) {
                lane.compact(*expected);
            }
        }
    }
}

/// Deliveries of a message that was sent more than once: which attempt was seen where.
#[derive(Debug, Default)]
struct Resent {
    seen: Vec<(u32, u8)>,
}

/// Where a copy is: at a place of its message's route, or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    /// The n-th destination of the route.
    Routed(usize),
    /// A destination that the route does not name.
    Elsewhere(u32),
}

/// A publisher's messages, by sequence.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Sequences below this were published.
    pub(super) next: u64,
    chunks: Vec<Chunk>,
    counts: [u64; 7],
    resends: u64,
    resent: HashMap<u64, Resent>,
}

fn place(sequence: u64) -> (usize, usize) {
    ((sequence / CHUNK as u64) as usize, (sequence % CHUNK as u64) as usize)
}

impl Book {
    /// A message goes out for the first time; `copies` is how many destinations its route has.
    pub(super) fn publish(&mut self, copies: usize, confirms: bool) {
        let (chunk, at) = place(self.next);
        self.next += 1;
        if chunk == self.chunks.len() {
            self.chunks.push(Chunk::new());
        }
        let chunk = &mut self.chunks[chunk];
        if chunk.lanes.len() < copies {
            chunk.lanes.resize(copies, Lane::Untouched);
            chunk.expected.resize(copies, 0);
        }
        chunk.expected[..copies].iter_mut().for_each(|expected| *expected += 1);
        chunk.published += 1;
        let standing = if confirms { Standing::Pending } else { Standing::Sent };
        if let Standings::Each(each) = &mut chunk.standings {
            each[at] = standing as u8;
        }
        self.counts[standing as usize] += 1;
    }

    /// A message goes out again; `route` is its destinations.
    pub(super) fn publish_again(&mut self, sequence: u64, route: &[u32]) {
        self.resends += 1;
        if !self.resent.contains_key(&sequence) {
            // What was delivered before now was the first attempt.
            let (chunk, at) = place(sequence);
            let delivered = |n: usize| self.chunks[chunk].lane(n).is_some_and(|lane| lane.is_delivered(at));
            let seen = route.iter().enumerate().filter(|(n, _)| delivered(*n)).map(|(_, to)| (*to, 0)).collect();
            self.resent.insert(sequence, Resent { seen });
        }
        self.stand(sequence, Standing::Pending);
    }

    /// The broker answered, or will not any more.
    pub(super) fn settle(&mut self, sequence: u64, to: Standing) {
        use Standing::{Confirmed, Nacked, Pending, Returned, Sent, Unconfirmed};
        if sequence >= self.next {
            return;
        }
        let (chunk, at) = place(sequence);
        match (self.chunks[chunk].standing(at), to) {
            (Pending | Unconfirmed, to) => self.stand(sequence, to),
            // With confirms off a return is the only answer there is.
            (Sent, Returned) => self.stand(sequence, Returned),
            // A return stands, whatever the ack that follows it says; so does a first answer.
            (Confirmed | Nacked | Returned | Sent | Standing::Unpublished, _) => {}
        }
    }

    fn stand(&mut self, sequence: u64, to: Standing) {
        let (chunk, at) = place(sequence);
        let chunk = &mut self.chunks[chunk];
        let from = chunk.standing(at);
        let Standings::Each(each) = &mut chunk.standings else { return };
        each[at] = to as u8;
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
        chunk.confirmed += u16::from(to == Standing::Confirmed);
        chunk.confirmed -= u16::from(from == Standing::Confirmed);
        chunk.compact();
    }

    fn lane(&mut self, sequence: u64, copy: Copy) -> Option<(&mut Chunk, usize)> {
        let (chunk, at) = place(sequence);
        let chunk = self.chunks.get_mut(chunk)?;
        if let Copy::Elsewhere(destination) = copy {
            chunk.elsewhere.entry(destination).or_default();
        }
        Some((chunk, at))
    }

    /// Notes a delivery; the cause where it repeats an earlier one.
    pub(super) fn deliver(
        &mut self,
        sequence: u64,
        (copy, destination): (Copy, u32),
        attempt: u8,
        redelivered: bool,
    ) -> Option<Cause> {
        let (chunk, at) = self.lane(sequence, copy)?;
        let repeated = chunk.lane_mut(copy)?.deliver(at);
        chunk.compact();
        let new_attempt = self.resent.get_mut(&sequence).is_some_and(|resent| {
            let is_new = !resent.seen.contains(&(destination, attempt));
            if is_new {
                resent.seen.push((destination, attempt));
            }
            is_new
        });
        repeated.then_some(match (new_attempt, redelivered) {
            (true, _) => Cause::Republished,
            (false, true) => Cause::Redelivered,
            (false, false) => Cause::Unflagged,
        })
    }

    /// Notes that a copy is accounted for; true where it was before.
    pub(super) fn close(&mut self, sequence: u64, copy: Copy) -> bool {
        let Some((chunk, at)) = self.lane(sequence, copy) else { return true };
        let Some(lane) = chunk.lane_mut(copy) else { return true };
        let was_closed = lane.close(at);
        if !was_closed {
            chunk.compact();
        }
        was_closed
    }

    /// Whether the copy was delivered before.
    pub(super) fn is_delivered(&self, sequence: u64, copy: Copy) -> bool {
        let (chunk, at) = place(sequence);
        self.chunks.get(chunk).and_then(|chunk| chunk.lane_ref(copy)).is_some_and(|lane| lane.is_delivered(at))
    }

    /// Whether the copy is accounted for.
    pub(super) fn is_closed(&self, sequence: u64, copy: Copy) -> bool {
        let (chunk, at) = place(sequence);
        self.chunks.get(chunk).and_then(|chunk| chunk.lane_ref(copy)).is_some_and(|lane| lane.is_closed(at))
    }

    /// Where the publish of a message stands.
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

    /// Bytes that the chunks hold on the heap, without their small change.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| {
            let standings = if matches!(chunk.standings, Standings::Each(_)) { CHUNK } else { 0 };
            let lanes = chunk.lanes.iter().filter(|lane| lane.is_open()).count() * CHUNK / 4;
            size_of::<Chunk>() + standings + lanes + chunk.lanes.len() * size_of::<Lane>()
        };
        self.chunks.iter().map(chunk).sum()
    }
}

impl Chunk {
    fn lane_mut(&mut self, copy: Copy) -> Option<&mut Lane> {
        match copy {
            Copy::Routed(place) => self.lanes.get_mut(place),
            Copy::Elsewhere(destination) => self.elsewhere.get_mut(&destination),
        }
    }

    fn lane_ref(&self, copy: Copy) -> Option<&Lane> {
        match copy {
            Copy::Routed(place) => self.lanes.get(place),
            Copy::Elsewhere(destination) => self.elsewhere.get(&destination),
        }
    }
}
