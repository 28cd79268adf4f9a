//! A stretch of one publisher's messages: where each stands, and what became of its copies.

use std::collections::BTreeMap;
use std::ops::Range;

use super::lane::{CHUNK, Lane};
use super::standings::{Standing, Standings};

/// Where a copy is: at a place of its message's route, or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    /// The n-th destination of the route.
    Routed(usize),
    /// A destination that the route does not name.
    Elsewhere(u32),
}

/// The copies at one place of the messages' routes.
#[derive(Debug, Default)]
struct Track {
    lane: Lane,
    /// Messages whose route has this place.
    expected: u16,
}

/// [`CHUNK`] messages in a row.
#[derive(Debug)]
pub(super) struct Chunk {
    standings: Standings,
    /// Its last message is published: what is expected of it will not grow.
    is_full: bool,
    /// The copies at the first destination of their routes, and at each further one: most routes have one only.
    first: Track,
    further: Vec<Track>,
    /// Copies at destinations outside the message's route: dead letters, and strays.
    elsewhere: BTreeMap<u32, Lane>,
    /// Messages that went out more than once, in order.
    resent: Vec<Resent>,
}

/// Which attempts of a message that went out more than once were seen, and where.
#[derive(Debug)]
struct Resent {
    at: u16,
    seen: Vec<(u32, u8)>,
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self {
            standings: Standings::new(),
            is_full: false,
            first: Track::default(),
            further: Vec::new(),
            elsewhere: BTreeMap::new(),
            resent: Vec::new(),
        }
    }

    /// The next messages go out for the first time, each with so many `copies`.
    pub(super) fn publish(&mut self, at: Range<usize>, standing: Standing, copies: impl Iterator<Item = usize>) {
        for copies in copies.filter(|copies| *copies > 0) {
            self.first.expected += 1;
            if self.further.len() < copies - 1 {
                self.further.resize_with(copies - 1, Track::default);
            }
            self.further[..copies - 1].iter_mut().for_each(|track| track.expected += 1);
        }
        self.is_full = at.end == CHUNK;
        self.standings.publish(at, standing);
        if self.is_full {
            let tracks = std::iter::once(&mut self.first).chain(&mut self.further);
            tracks.for_each(|track| track.lane.compact(track.expected));
        }
    }

    /// A message goes out again; `route` is its destinations.
    pub(super) fn resend(&mut self, at: usize, route: &[u32]) {
        let Err(place) = self.find_resent(at) else { return };
        // What was delivered before now was the first attempt.
        let delivered = |n: usize| self.lane(Copy::Routed(n)).is_some_and(|lane| lane.is_delivered(at));
        let seen = route.iter().enumerate().filter(|(n, _)| delivered(*n)).map(|(_, to)| (*to, 0)).collect();
        self.resent.insert(place, Resent { at: at as u16, seen });
    }

    fn find_resent(&self, at: usize) -> Result<usize, usize> {
        self.resent.binary_search_by_key(&at, |resent| usize::from(resent.at))
    }

    /// Notes an attempt of a message; whether that went out more than once and this attempt is seen for the first time.
    #[inline]
    pub(super) fn is_new_attempt(&mut self, at: usize, seen: (u32, u8)) -> bool {
        let Ok(place) = self.find_resent(at) else { return false };
        let known = &mut self.resent[place].seen;
        let is_new = !known.contains(&seen);
        if is_new {
            known.push(seen);
        }
        is_new
    }

    #[inline]
    pub(super) fn standing(&self, at: usize) -> Standing {
        self.standings.get(at)
    }

    /// Changes where a message stands; returns where it stood.
    #[inline]
    pub(super) fn stand(&mut self, at: usize, to: Standing) -> Standing {
        self.standings.set(at, to)
    }

    /// Notes a delivery at `now_us`; true where the copy was delivered before, none where no message has such a copy.
    #[inline]
    pub(super) fn deliver(&mut self, at: usize, copy: Copy, now_us: u64) -> Option<bool> {
        self.change(copy, |lane| lane.deliver(at, now_us))
    }

    /// Notes that a copy is accounted for; true where it was before, none where no message has such a copy.
    #[inline]
    pub(super) fn close(&mut self, at: usize, copy: Copy) -> Option<bool> {
        self.change(copy, |lane| lane.close(at))
    }

    #[inline]
    fn change(&mut self, copy: Copy, change: impl FnOnce(&mut Lane) -> bool) -> Option<bool> {
        match copy {
            Copy::Routed(place) => {
                let track = if place == 0 { &mut self.first } else { self.further.get_mut(place - 1)? };
                let before = change(&mut track.lane);
                if self.is_full {
                    track.lane.compact(track.expected);
                }
                Some(before)
            }
            Copy::Elsewhere(destination) => Some(change(self.elsewhere.entry(destination).or_default())),
        }
    }

    /// The copies where `copy` is, if any message has such a copy.
    #[inline]
    pub(super) fn lane(&self, copy: Copy) -> Option<&Lane> {
        match copy {
            Copy::Routed(0) => Some(&self.first.lane),
            Copy::Routed(place) => self.further.get(place - 1).map(|track| &track.lane),
            Copy::Elsewhere(destination) => self.elsewhere.get(&destination),
        }
    }

    /// Copies at destinations outside the messages' routes.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.elsewhere.iter().map(|(destination, lane)| (*destination, lane))
    }

    /// Every message is confirmed and has a destination, and every copy is accounted for: nothing is missing.
    pub(super) fn is_settled(&self) -> bool {
        let is_done = |track: &Track| matches!(track.lane, Lane::Done(_));
        let everywhere = usize::from(self.first.expected) == CHUNK && is_done(&self.first);
        everywhere && self.further.iter().all(is_done) && self.elsewhere.is_empty() && self.standings.is_all_confirmed()
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let lanes = std::iter::once(&self.first).chain(&self.further).map(|track| &track.lane);
        let lanes = lanes.chain(self.elsewhere.values());
        let tracks = self.further.capacity() * size_of::<Track>();
        let seen = |resent: &Resent| size_of::<Resent>() + resent.seen.capacity() * size_of::<(u32, u8)>();
        let resent = self.resent.iter().map(seen).sum::<usize>();
        size_of::<Self>() + self.standings.heap_bytes() + tracks + lanes.map(Lane::heap_bytes).sum::<usize>() + resent
    }
}
