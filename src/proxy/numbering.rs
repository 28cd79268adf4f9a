//! The numbers of messages on one channel, as their origin and as their receiver count them. Pure; uses no room.
//!
//! The origin of deliveries is the broker, that of publishes the client; the receiver settles by its own count. Both
//! counts are the same until a message is left out, added or late; only from then on is there a map. What is settled is
//! forgotten, so that memory grows with what is unsettled only.

use std::collections::BTreeMap;

/// Numbers in spans, each first → last.
#[derive(Debug, Default)]
struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// Adds a number above all others.
    fn push(&mut self, number: u64) {
        match self.0.last_entry() {
            Some(mut span) if span.get() + 1 == number => *span.get_mut() = number,
            _ => drop(self.0.insert(number, number)),
        }
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some((&first, &last)) = self.0.range(..=number).next_back().filter(|(_, last)| **last >= number) else {
            return false;
        };
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
        true
    }

    /// Removes all up to `number`, itself included.
    fn remove_to(&mut self, number: u64) -> impl Iterator<Item = u64> {
        let above = match number.checked_add(1) {
            Some(next) => self.0.split_off(&next),
            None => BTreeMap::new(),
        };
        let mut removed = std::mem::replace(&mut self.0, above);
        if let Some(mut span) = removed.last_entry().filter(|span| *span.get() > number) {
            self.0.insert(number + 1, *span.get());
            *span.get_mut() = number;
        }
        removed.into_iter().flat_map(|(first, last)| first..=last)
    }

    fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(first, _)| *first)
    }
}

/// What a settlement meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The origin's numbers, rising.
    pub origins: Vec<u64>,
    /// Whether it meant anything at all: the receiver may settle what was forged, which the origin does not know.
    pub is_known: bool,
}

/// The numbers of one channel's messages in one direction.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    origin_last: u64,
    receiver_last: u64,
    /// Unsettled, and the same to both.
    same: Spans,
    /// Unsettled by the receiver: its number → the origin's; none where it was forged.
    to_origin: BTreeMap<u64, Option<u64>>,
    /// Unsettled towards the origin: its number → the receiver's; none where the receiver does not have it, or has
    /// settled it and the origin was not told.
    to_receiver: BTreeMap<u64, Option<u64>>,
    has_parted: bool,
}

impl Numbering {
    /// The number of the origin's next message, where the origin does not say it.
    pub fn next(&self) -> u64 {
        self.origin_last + 1
    }

    /// The receiver's number of the last message that it was handed.
    pub fn receiver_last(&self) -> u64 {
        self.receiver_last
    }

    /// Whether both count alike: settlements need no translation.
    pub fn is_same(&self) -> bool {
        !self.has_parted
    }

    /// The receiver is handed the origin's message; the receiver's number of it. `settles`: whether it will be settled.
    pub fn pass(&mut self, origin: u64, settles: bool) -> u64 {
        self.origin_last = self.origin_last.max(origin);
        // A gap that the origin makes itself is the receiver's too.
        if self.is_same() && origin > self.receiver_last {
            self.receiver_last = origin;
            if settles {
                self.same.push(origin);
            }
            return origin;
        }
        self.has_parted = true;
        self.receiver_last += 1;
        if settles {
            self.to_origin.insert(self.receiver_last, Some(origin));
            self.to_receiver.insert(origin, Some(self.receiver_last));
        }
        self.receiver_last
    }

    /// The receiver is not handed the origin's message, or not yet. `settles`: whether the origin is to see it settled,
    /// by [`Self::tell`]; until then no settlement of many covers it.
    pub fn withhold(&mut self, origin: u64, settles: bool) {
        self.origin_last = self.origin_last.max(origin);
        self.has_parted = true;
        if settles {
            self.to_receiver.insert(origin, None);
        }
    }

    /// The receiver is handed a message that the origin does not know; the receiver's number of it.
    pub fn forge(&mut self, settles: bool) -> u64 {
        self.has_parted = true;
        self.receiver_last += 1;
        if settles {
            self.to_origin.insert(self.receiver_last, None);
        }
        self.receiver_last
    }

    /// The receiver settled while both count alike.
    pub fn settle_same(&mut self, number: u64, multiple: bool) {
        match (number, multiple) {
            (0, true) => self.same = Spans::default(),
            (_, true) => drop(self.same.remove_to(number)),
            (_, false) => drop(self.same.remove(number)),
        }
    }

    /// The receiver settles `number`, or all up to it; 0 stands for all there are. What it settles counts as settled
    /// towards the origin only when that is told.
    pub fn take(&mut self, number: u64, multiple: bool) -> Taken {
        self.has_parted = true;
        let (mut origins, is_known) = if multiple {
            let to = if number == 0 { u64::MAX } else { number };
            self.take_to(to)
        } else if self.same.remove(number) {
            (vec![number], true)
        } else {
            let found = self.to_origin.remove(&number);
            (found.flatten().into_iter().collect(), found.is_some())
        };
        origins.sort_unstable();
        for origin in &origins {
            self.to_receiver.insert(*origin, None);
        }
        Taken { origins, is_known }
    }

    fn take_to(&mut self, to: u64) -> (Vec<u64>, bool) {
        let mut origins: Vec<u64> = self.same.remove_to(to).collect();
        let above = match to.checked_add(1) {
            Some(next) => self.to_origin.split_off(&next),
            None => BTreeMap::new(),
        };
        let mapped = std::mem::replace(&mut self.to_origin, above);
        let is_known = !origins.is_empty() || !mapped.is_empty();
        origins.extend(mapped.into_values().flatten());
        (origins, is_known)
    }

    /// The origin is told that `origins` (rising, and withheld or taken before) are settled: the settlements to send
    /// it, each a number and whether it settles all up to it.
    ///
    /// A settlement of many is made only of a number that is unsettled itself: RabbitMQ refuses any other.
    pub fn tell(&mut self, origins: &[u64]) -> Vec<(u64, bool)> {
        let known: Vec<u64> =
            origins.iter().copied().filter(|origin| self.to_receiver.remove(origin).is_some()).collect();
        let unsettled =
            self.same.first().into_iter().chain(self.to_receiver.first_key_value().map(|(key, _)| *key)).min();
        let below = unsettled.map_or(known.len(), |first| known.partition_point(|origin| *origin < first));
        let many = below.checked_sub(1).map(|last| (known[last], below > 1));
        let told = many.into_iter().chain(known[below..].iter().map(|origin| (*origin, false))).collect();
        self.rejoin();
        told
    }

    /// Both count alike again where neither is ahead and nothing is left that they call differently.
    fn rejoin(&mut self) {
        let is_empty = self.to_origin.is_empty() && self.to_receiver.is_empty();
        if is_empty && self.origin_last == self.receiver_last {
            self.has_parted = false;
        }
    }

    /// Whether the receiver settled all that it was handed up to its number `receiver`.
    pub fn is_settled_to(&self, receiver: u64) -> bool {
        self.same.first().is_none_or(|first| first > receiver) && self.to_origin.range(..=receiver).next().is_none()
    }

    /// All that is unsettled goes back to where it came from (`basic.recover`).
    pub fn forget(&mut self) {
        self.same = Spans::default();
        self.to_origin.clear();
        self.to_receiver.clear();
        self.rejoin();
    }

    /// Entries that are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.same.0.len() + self.to_origin.len() + self.to_receiver.len()
    }
}
