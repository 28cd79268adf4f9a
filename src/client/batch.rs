//! Messages in batches, their bodies side by side in one buffer: a batch that is used again allocates nothing.

use std::ops::Range;
use std::sync::Arc;

use super::{Death, Ids, Properties};
use crate::stamp::STAMP_LEN;

/// Messages on their way out, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: Vec<Outgoing>,
    bodies: Vec<u8>,
}

/// One message on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// What settlements will call it; the sequence of its publisher.
    pub token: u64,
    /// Routing key.
    pub routing_key: Arc<str>,
    /// Properties.
    pub properties: Properties,
    body: Range<usize>,
}

impl Outbox {
    /// Adds a message whose body `write` appends to what it is given. What `write` returns are its properties, which may
    /// depend on the body, as the stamp in a header does.
    pub fn push(&mut self, token: u64, routing_key: Arc<str>, write: impl FnOnce(&mut Vec<u8>) -> Properties) {
        let from = self.bodies.len();
        let properties = write(&mut self.bodies);
        let body = from.min(self.bodies.len())..self.bodies.len();
        self.messages.push(Outgoing { token, routing_key, properties, body });
    }

    /// The messages and their bodies.
    pub fn iter(&self) -> impl Iterator<Item = (&Outgoing, &[u8])> {
        self.messages.iter().map(|message| (message, &self.bodies[message.body.clone()]))
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of all bodies.
    pub fn body_bytes(&self) -> usize {
        self.bodies.len()
    }

    /// Empties it; what it has allocated stays, unless that is out of the ordinary.
    pub fn clear(&mut self) {
        self.messages.clear();
        clear_bodies(&mut self.bodies);
    }
}

/// Messages on their way in, in the order of their tags.
#[derive(Debug, Default)]
pub struct Deliveries {
    messages: Vec<Delivery>,
    bodies: Vec<u8>,
}

/// One message on its way in.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Queue that it came from, by number.
    pub queue: usize,
    /// Delivery tag: rises by one for each delivery of the channel, from 1.
    pub tag: u64,
    /// The broker's redelivered flag.
    pub redelivered: bool,
    /// The stamp header's value, where there is one.
    pub stamp: Option<[u8; STAMP_LEN]>,
    /// The entries of `x-death`, the newest first; none where it never was dead-lettered.
    pub deaths: Box<[Death]>,
    /// Its ids, where the subscriber asked for them.
    pub ids: Option<Box<Ids>>,
    /// Where its body is among all; set by [`Deliveries::push`].
    pub(super) body: Range<usize>,
}

#[cfg(test)]
impl Delivery {
    /// One with these ids, and nothing else.
    pub fn bare(ids: Option<Ids>) -> Self {
        let (deaths, ids) = (Box::default(), ids.map(Box::new));
        Self { queue: 0, tag: 1, redelivered: false, stamp: None, deaths, ids, body: 0..0 }
    }
}

impl Deliveries {
    /// Adds a message with its body.
    pub(super) fn push(&mut self, delivery: Delivery, body: &[u8]) {
        let from = self.bodies.len();
        self.bodies.extend_from_slice(body);
        self.messages.push(Delivery { body: from..self.bodies.len(), ..delivery });
    }

    /// The buffer of bodies, for a body that comes in parts; [`Self::close`] ends it.
    pub(super) fn bodies(&mut self) -> &mut Vec<u8> {
        &mut self.bodies
    }

    /// Adds a message whose body is all that was appended to [`Self::bodies`] from `from` on.
    pub(super) fn close(&mut self, delivery: Delivery, from: usize) {
        self.messages.push(Delivery { body: from..self.bodies.len(), ..delivery });
    }

    /// Forgets the first `count` messages and their bodies. `arriving` is where the body of a message begins that is not
    /// added yet. By how many bytes what is left has moved up.
    pub(super) fn forget(&mut self, count: usize, arriving: Option<usize>) -> usize {
        self.messages.drain(..count);
        let first = self.messages.first().map(|message| message.body.start);
        let bytes = first.or(arriving).unwrap_or(self.bodies.len()).min(self.bodies.len());
        self.bodies.drain(..bytes);
        self.bodies.shrink_to(KEPT_BYTES);
        for message in &mut self.messages {
            message.body = message.body.start - bytes..message.body.end - bytes;
        }
        bytes
    }

    /// Bytes of all bodies from the message at `place` on, and of what comes behind the last message.
    pub(super) fn body_bytes_from(&self, place: usize) -> usize {
        self.bodies.len() - self.messages.get(place).map_or(self.bodies.len(), |message| message.body.start)
    }

    /// Bytes of all bodies.
    pub fn body_bytes(&self) -> usize {
        self.bodies.len()
    }

    /// The messages and their bodies.
    pub fn iter(&self) -> impl Iterator<Item = (&Delivery, &[u8])> {
        self.messages.iter().map(|message| (message, &self.bodies[message.body.clone()]))
    }

    /// The last message.
    pub fn last(&self) -> Option<&Delivery> {
        self.messages.last()
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Empties it; what it has allocated stays, unless that is out of the ordinary.
    pub fn clear(&mut self) {
        self.messages.clear();
        clear_bodies(&mut self.bodies);
    }
}

/// A buffer that once held huge bodies does not keep their memory.
const KEPT_BYTES: usize = 4 << 20;

fn clear_bodies(bodies: &mut Vec<u8>) {
    bodies.clear();
    bodies.shrink_to(KEPT_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_stay_with_their_messages() {
        let mut outbox = Outbox::default();
        for (token, body) in [(0, "a"), (1, ""), (2, "bc")] {
            outbox.push(token, Arc::from("k"), |bodies| {
                bodies.extend_from_slice(body.as_bytes());
                Properties::default()
            });
        }
        let found: Vec<_> = outbox.iter().map(|(message, body)| (message.token, body)).collect();
        assert_eq!(found, [(0, b"a".as_slice()), (1, b""), (2, b"bc")]);
        assert_eq!((outbox.len(), outbox.body_bytes()), (3, 3));
        outbox.clear();
        assert!(outbox.is_empty() && outbox.body_bytes() == 0);
    }

    #[test]
    fn a_huge_body_s_memory_is_given_back() {
        let mut deliveries = Deliveries::default();
        deliveries.bodies().resize(2 * KEPT_BYTES, 0);
        deliveries.clear();
        assert!(deliveries.bodies.capacity() <= 2 * KEPT_BYTES && deliveries.bodies.capacity() >= KEPT_BYTES);
        assert!(deliveries.bodies.capacity() < 2 * KEPT_BYTES);
    }
}
