//! Messages that have arrived on a channel and wait for its link.

use super::super::{Deliveries, Delivery, QueueSubscription};
use super::arriving::Arriving;
use crate::amqp::{CodecError, Deliver, GetOk};

/// So many bytes of messages may wait before the connection reads no more.
const FULL_BYTES: usize = 8 << 20;
/// So many messages may.
const FULL_MESSAGES: usize = 1 << 16;

/// See the module's own words.
pub(super) struct Inbox {
    /// Number and name of each queue; its place is its consumer tag.
    queues: Vec<(usize, String)>,
    ready: Deliveries,
    /// So many at the front of `ready` are taken already.
    taken: usize,
    /// Place of the queue that was asked with `basic.get`, and not answered yet.
    asked: Option<usize>,
    /// The queue that was asked is empty.
    empty: bool,
}

impl Inbox {
    pub(super) fn new(queues: &[QueueSubscription]) -> Self {
        let queues = queues.iter().map(|queue| (queue.number, queue.name.clone())).collect();
        Self { queues, ready: Deliveries::default(), taken: 0, asked: None, empty: false }
    }

    /// The consumer tag of the queue at `place`.
    pub(super) fn tag(place: usize) -> String {
        place.to_string()
    }

    fn place_of(&self, consumer_tag: &[u8]) -> Result<usize, CodecError> {
        const UNKNOWN: CodecError = CodecError::Unexpected { what: "a message for a consumer that is not there" };
        // Most channels have one queue: its tag is "0".
        let digit = |place: usize, digit: &u8| match digit {
            b'0'..=b'9' => place.checked_mul(10)?.checked_add(usize::from(digit - b'0')),
            _ => None,
        };
        let place = consumer_tag.iter().try_fold(0, digit).ok_or(UNKNOWN)?;
        if place < self.queues.len() && !consumer_tag.is_empty() { Ok(place) } else { Err(UNKNOWN) }
    }

    /// Name of the queue that a consumer tag means.
    pub(super) fn name_of(&self, consumer_tag: &[u8]) -> Result<&str, CodecError> {
        self.place_of(consumer_tag).map(|place| self.queues[place].1.as_str())
    }

    fn arriving(&self, place: usize, tag: u64, redelivered: bool) -> Arriving {
        let queue = self.queues[place].0;
        let delivery = Delivery { queue, tag, redelivered, stamp: None, death: None, body: 0..0 };
        Arriving::Delivery { delivery, from: 0 }
    }

    /// A message is pushed.
    pub(super) fn delivered(&self, deliver: &Deliver<'_>) -> Result<Arriving, CodecError> {
        let place = self.place_of(deliver.consumer_tag)?;
        Ok(self.arriving(place, deliver.tag, deliver.redelivered))
    }

    /// A question was sent to the queue at `place`.
    pub(super) fn ask(&mut self, place: usize) {
        self.asked = Some(place);
        self.empty = false;
    }

    /// Whether an answer is due.
    pub(super) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// The answer was that the queue is empty; told once.
    pub(super) fn take_empty(&mut self) -> bool {
        std::mem::take(&mut self.empty)
    }

    /// A message answers a question.
    pub(super) fn got(&mut self, got: &GetOk<'_>) -> Result<Arriving, CodecError> {
        let place = self.answered()?;
        Ok(self.arriving(place, got.tag, got.redelivered))
    }

    /// The queue that was asked is empty.
    pub(super) fn got_nothing(&mut self) -> Result<(), CodecError> {
        self.answered()?;
        self.empty = true;
        Ok(())
    }

    fn answered(&mut self) -> Result<usize, CodecError> {
        self.asked.take().ok_or(CodecError::Unexpected { what: "an answer to a question that nobody asked" })
    }

    /// Where the body of the message that is arriving goes.
    pub(super) fn bodies(&mut self) -> &mut Vec<u8> {
        self.ready.bodies()
    }

    /// A message is there as a whole; its body began at `from`.
    pub(super) fn close(&mut self, delivery: Delivery, from: usize) {
        self.ready.close(delivery, from);
    }

    /// Whether its link has to take something before more is read. A body that is still coming in does not count.
    pub(super) fn is_full(&self) -> bool {
        let waiting = self.ready.len() - self.taken;
        waiting > 0 && (waiting >= FULL_MESSAGES || self.ready.body_bytes() >= FULL_BYTES)
    }

    /// Whether there is something to take.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.len() == self.taken
    }

    /// Moves up to `limit` messages out, in order. `arriving` is the message that is coming in, part of whose body may
    /// be here.
    pub(super) fn take(&mut self, to: &mut Deliveries, limit: usize, arriving: Option<&mut Arriving>) {
        let waiting = self.ready.len() - self.taken;
        if to.is_empty() && self.taken == 0 && waiting <= limit {
            std::mem::swap(to, &mut self.ready);
            self.ready.clear();
            if let Some(Arriving::Delivery { from, .. }) = arriving {
                // Its pieces stay here.
                let from_here = (*from).min(to.body_bytes());
                self.ready.bodies().extend(to.bodies().drain(from_here..));
                *from = 0;
            }
            return;
        }
        for (delivery, body) in self.ready.iter().skip(self.taken).take(limit) {
            to.push(delivery.clone(), body);
        }
        self.taken += waiting.min(limit);
        if self.is_empty() {
            self.taken = 0;
            let kept = match arriving {
                Some(Arriving::Delivery { from, .. }) => std::mem::take(from),
                _ => self.ready.body_bytes(),
            };
            self.ready.keep_from(kept);
        }
    }
}
