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
    /// Its subscriber asks for the ids of messages.
    wants_ids: bool,
}

impl Inbox {
    pub(super) fn new(queues: &[QueueSubscription], wants_ids: bool) -> Self {
        let queues = queues.iter().map(|queue| (queue.number, queue.name.clone())).collect();
        Self { queues, ready: Deliveries::default(), taken: 0, asked: None, empty: false, wants_ids }
    }

    /// Whether its subscriber asks for the ids of messages.
    pub(super) fn wants_ids(&self) -> bool {
        self.wants_ids
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
        let delivery = Delivery { queue, tag, redelivered, stamp: None, deaths: Box::default(), ids: None, body: 0..0 };
        // All that is here belongs to messages before it, also where the link takes them before its header comes.
        Arriving::Delivery { delivery, from: self.ready.body_bytes() }
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
        waiting > 0 && (waiting >= FULL_MESSAGES || self.ready.body_bytes_from(self.taken) >= FULL_BYTES)
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
        // Each message is moved up at most once for each that is taken, and what is taken is never more than what waits.
        if 2 * self.taken >= self.ready.len() {
            let forgotten = self.ready.forget(self.taken, arriving.as_deref().and_then(Arriving::from));
            self.taken = 0;
            if let Some(Arriving::Delivery { from, .. }) = arriving {
                *from -= forgotten;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::channel::{Channel, Role};
    use super::*;
    use crate::amqp::{AMQPClass, first_frame, put_body, put_header, put_method};

    const CHANNEL: u16 = 1;
    const FRAME_MAX: u32 = 512;

    fn delivery(tag: u64, body: &[u8]) -> Vec<u8> {
        let deliver = amq_protocol::protocol::basic::Deliver {
            consumer_tag: "0".into(),
            delivery_tag: tag,
            redelivered: false,
            exchange: "".into(),
            routing_key: "q".into(),
        };
        let deliver = AMQPClass::Basic(amq_protocol::protocol::basic::AMQPMethod::Deliver(deliver));
        let mut out = Vec::new();
        put_method(&mut out, CHANNEL, &deliver).unwrap();
        put_header(&mut out, CHANNEL, body.len() as u64, &[0, 0]);
        put_body(&mut out, CHANNEL, body, FRAME_MAX);
        out
    }

    /// Hands a channel the frames of messages with bodies of these sizes; `takes` says after which frames a link takes,
    /// and how many at the most. What the link got, in order.
    fn pass_through(sizes: &[usize], takes: &[Option<usize>]) -> Vec<(u64, Vec<u8>)> {
        let queues = [QueueSubscription { number: 0, name: "q".to_owned(), offset: None }];
        let mut channel = Channel::new(CHANNEL, Role::Subscriber(Inbox::new(&queues, false)));
        let (mut got, mut batch, mut out) = (Vec::new(), Deliveries::default(), Vec::new());
        let mut take = |channel: &mut Channel, limit: usize| {
            batch.clear();
            let any = channel.take_arrived(&mut batch, limit);
            assert!(batch.len() <= limit && any != batch.is_empty());
            got.extend(batch.iter().map(|(delivery, body)| (delivery.tag, body.to_vec())));
            any
        };
        let mut takes = takes.iter().cycle();
        for (place, size) in sizes.iter().enumerate() {
            let bytes = delivery(place as u64 + 1, &vec![place as u8; *size]);
            let mut from = 0;
            while let Some(frame) = first_frame(&bytes[from..], FRAME_MAX).unwrap() {
                from += frame.wire_len();
                channel.take_in(&frame, &mut out).unwrap();
                if let Some(Some(limit)) = takes.next() {
                    take(&mut channel, *limit);
                }
            }
        }
        while take(&mut channel, 3) {}
        got
    }

    fn whole(sizes: &[usize]) -> Vec<(u64, Vec<u8>)> {
        sizes.iter().enumerate().map(|(place, size)| (place as u64 + 1, vec![place as u8; *size])).collect()
    }

    #[test]
    fn a_link_may_take_between_a_message_and_its_header() {
        let sizes = [700, 40, 0, 1_000];
        // Frames: method, header, bodies. A take after the second message's method finds the first one only.
        let after = |frame: usize| (0..14).map(|n| (n == frame).then_some(9)).collect::<Vec<_>>();
        for frame in 0..14 {
            assert_eq!(pass_through(&sizes, &after(frame)), whole(&sizes), "taken after frame {frame}");
        }
    }

    #[test]
    fn what_is_taken_takes_no_room() {
        let queues = [QueueSubscription { number: 0, name: "q".to_owned(), offset: None }];
        let mut channel = Channel::new(CHANNEL, Role::Subscriber(Inbox::new(&queues, false)));
        let (mut batch, mut out) = (Deliveries::default(), Vec::new());
        let mut tag = 0;
        let mut arrive = |channel: &mut Channel, count: u64| {
            for _ in 0..count {
                tag += 1;
                let bytes = delivery(tag, &[7; 64]);
                let mut from = 0;
                while let Some(frame) = first_frame(&bytes[from..], FRAME_MAX).unwrap() {
                    from += frame.wire_len();
                    channel.take_in(&frame, &mut out).unwrap();
                }
            }
        };
        arrive(&mut channel, 100);
        // A link that keeps up and never finds nothing: as many come as are taken.
        for _ in 0..2_000 {
            batch.clear();
            channel.take_arrived(&mut batch, 10);
            arrive(&mut channel, 10);
        }
        let inbox = channel.subscriber().unwrap();
        assert!(inbox.ready.len() <= 210 && inbox.ready.body_bytes() <= 210 * 64, "{} messages", inbox.ready.len());
        assert!(!inbox.is_full());
    }

    proptest! {
        #[test]
        fn whatever_a_link_takes_and_when_it_gets_each_message_whole(
            sizes in proptest::collection::vec(0usize..1_500, 1..60),
            takes in proptest::collection::vec(proptest::option::of(1usize..12), 1..20),
        ) {
            prop_assert_eq!(pass_through(&sizes, &takes), whole(&sizes));
        }
    }
}
