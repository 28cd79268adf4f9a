//! A broker and a client that keep strict books, and a proxy between them that disturbs at random: neither ever sees
//! what AMQP forbids, and what is missing, doubled or invented is what the disturbances say that they did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::bed::*;
use crate::proxy::disturbance::{FrameAction, FrameClass, Picks, What};
use crate::proxy::rule::Rule;
use crate::stamp::{Reading, Stamp};

#[derive(Debug, Clone)]
enum Step {
    Deliver,
    Publish,
    Settle { at: prop::sample::Index, multiple: bool, reject: bool },
    Confirm { at: prop::sample::Index, multiple: bool, nack: bool },
    Begin(What),
    End(prop::sample::Index),
    Wait,
}

fn what() -> impl Strategy<Value = What> {
    let picks = (1u64..5, 1u64..4, 1u64..6).prop_map(|(first, every, times)| Picks { first, every, times });
    let delay = FrameAction::Delay(Duration::from_millis(15));
    (picks, any::<bool>(), 0..13).prop_map(move |(picks, flagged, kind)| match kind {
        0 => What::LoseConfirmed { picks },
        1 => What::LoseDelivered { picks },
        2 => What::Duplicate { picks, flagged },
        3 => What::Swap { picks },
        4 => What::Invent { picks },
        5 => What::Frames { class: FrameClass::Publishes, action: FrameAction::Drop, picks },
        6 => What::Frames { class: FrameClass::Publishes, action: FrameAction::Hold, picks },
        7 => What::Frames { class: FrameClass::Publishes, action: delay, picks },
        8 => What::Frames { class: FrameClass::Confirms, action: FrameAction::Hold, picks },
        9 => What::Frames { class: FrameClass::Confirms, action: delay, picks },
        10 => What::Frames { class: FrameClass::Deliveries, action: FrameAction::Drop, picks },
        11 => What::Frames { class: FrameClass::Deliveries, action: FrameAction::Hold, picks },
        _ => What::Frames { class: FrameClass::Acks, action: FrameAction::Hold, picks },
    })
}

fn step() -> impl Strategy<Value = Step> {
    let settle = (any::<prop::sample::Index>(), any::<bool>(), prop::bool::weighted(0.2));
    prop_oneof![
        6 => Just(Step::Deliver),
        6 => Just(Step::Publish),
        5 => settle.clone().prop_map(|(at, multiple, reject)| Step::Settle { at, multiple, reject }),
        5 => settle.prop_map(|(at, multiple, nack)| Step::Confirm { at, multiple, nack }),
        2 => what().prop_map(Step::Begin),
        1 => any::<prop::sample::Index>().prop_map(Step::End),
        1 => Just(Step::Wait),
    ]
}

/// Books of one side: what is unsettled by number, and what was settled, by message.
#[derive(Default)]
struct Books {
    last: u64,
    open: BTreeMap<u64, u64>,
    settled: Vec<u64>,
}

impl Books {
    fn add(&mut self, message: u64) -> u64 {
        self.last += 1;
        self.open.insert(self.last, message);
        self.last
    }

    /// As strict as RabbitMQ: also a settlement of many names a number that is unsettled.
    fn settle(&mut self, number: u64, multiple: bool) {
        assert!(self.open.contains_key(&number), "{number} is not unsettled: {:?}", self.open);
        let is_meant = |it: &u64| *it == number || multiple && *it < number;
        let meant: Vec<u64> = self.open.keys().copied().filter(is_meant).collect();
        self.settled.extend(meant.into_iter().filter_map(|number| self.open.remove(&number)));
    }
}

struct World {
    bed: Bed,
    rules: Vec<Arc<Rule>>,
    /// Deliveries by the broker's tags, and by the client's.
    sent: Books,
    got: Books,
    /// Publishes by the client's numbers, and by the broker's.
    published: Books,
    received: Books,
    /// How often the client got each delivery; invented ones apart.
    handed: BTreeMap<u64, u64>,
    invented: u64,
}

impl World {
    fn new() -> Self {
        let books = Books::default;
        Self {
            bed: Bed::confirming(),
            rules: vec![],
            sent: books(),
            got: books(),
            published: books(),
            received: books(),
            handed: BTreeMap::new(),
            invented: 0,
        }
    }

    fn say(&mut self, way: Way, bytes: &[u8]) {
        let heard = self.bed.say(way, bytes);
        self.hear(way, heard);
        let other = if way == ToBroker { ToClient } else { ToBroker };
        let heard = self.bed.hear(other);
        self.hear(other, heard);
    }

    fn hear(&mut self, way: Way, heard: Vec<Heard>) {
        for heard in heard {
            match (way, heard) {
                (ToBroker, Heard::Publish(body)) => {
                    self.received.add(u64::from(body[0]) << 8 | u64::from(body[1]));
                }
                (ToBroker, Heard::Ack(tag, multiple) | Heard::Nack(tag, multiple)) => self.sent.settle(tag, multiple),
                (ToBroker, Heard::Reject(tag)) => self.sent.settle(tag, false),
                (ToClient, Heard::Ack(tag, multiple) | Heard::Nack(tag, multiple)) => {
                    self.published.settle(tag, multiple)
                }
                (ToClient, Heard::Deliver { tag, body, .. }) => self.receive(tag, &body),
                (_, other) => panic!("{other:?}"),
            }
        }
    }

    fn receive(&mut self, tag: u64, body: &[u8]) {
        let Reading::Ours(stamp) = Stamp::read_body(body, 7) else { panic!("{body:?}") };
        assert_eq!(self.got.add(stamp.sequence), tag, "tags rise by one");
        if self.sent.last < stamp.sequence {
            self.invented += 1;
        } else {
            *self.handed.entry(stamp.sequence).or_default() += 1;
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Deliver => {
                let message = self.sent.last + 1;
                let tag = self.sent.add(message);
                self.say(ToClient, &deliver_on(1, "c", tag, &stamped(message, b"rest"), 11));
            }
            Step::Publish => {
                let message = self.published.last + 1;
                self.published.add(message);
                self.say(ToBroker, &publish_on(1, &[(message >> 8) as u8, message as u8, 0, 0], 3));
            }
            Step::Settle { at, multiple, reject } if !self.got.open.is_empty() => {
                let tag = *self.got.open.keys().nth(at.index(self.got.open.len())).unwrap();
                self.got.settle(tag, multiple);
                self.say(ToBroker, &if reject { nack(tag, multiple) } else { ack(tag, multiple) });
            }
            Step::Confirm { at, multiple, nack: no } if !self.received.open.is_empty() => {
                let tag = *self.received.open.keys().nth(at.index(self.received.open.len())).unwrap();
                self.received.settle(tag, multiple);
                self.say(ToClient, &if no { nack(tag, multiple) } else { ack(tag, multiple) });
            }
            Step::Begin(what) => self.rules.push(self.bed.begin(what)),
            Step::End(at) if !self.rules.is_empty() => {
                let rule = Arc::clone(&self.rules[at.index(self.rules.len())]);
                self.bed.end(&rule);
                self.say(ToBroker, b"");
            }
            Step::Wait => {
                self.bed.pass_time(Duration::from_millis(10));
                self.say(ToBroker, b"");
            }
            Step::Settle { .. } | Step::Confirm { .. } | Step::End(_) => {}
        }
    }

    fn done(&self, is_it: impl Fn(&What) -> bool) -> u64 {
        self.rules.iter().filter(|rule| is_it(rule.what())).map(|rule| rule.done()).sum()
    }

    fn dropped(&self, wanted: FrameClass) -> u64 {
        self.done(|what| matches!(what, What::Frames { class, action: FrameAction::Drop, .. } if *class == wanted))
    }

    /// All disturbances end, and all that is unsettled is settled.
    fn finish(&mut self) {
        self.bed.end_all();
        self.say(ToBroker, b"");
        if let Some(tag) = self.got.open.last_key_value().map(|(tag, _)| *tag) {
            self.got.settle(tag, true);
            self.say(ToBroker, &ack(tag, true));
        }
        if let Some(tag) = self.received.open.last_key_value().map(|(tag, _)| *tag) {
            self.received.settle(tag, true);
            self.say(ToClient, &ack(tag, true));
        }
        assert!(!self.bed.talk.holds(), "nothing is held back");
    }

    fn check_deliveries(&self) {
        let lost = self.done(|what| matches!(what, What::LoseDelivered { .. }));
        let dropped = self.dropped(FrameClass::Deliveries);
        assert_eq!(self.handed.len() as u64, self.sent.last - lost - dropped, "handed over");
        let copies: u64 = self.handed.values().map(|times| times - 1).sum();
        assert_eq!(copies, self.done(|what| matches!(what, What::Duplicate { .. })), "doubled");
        assert_eq!(self.invented, self.done(|what| matches!(what, What::Invent { .. })), "invented");
        assert_eq!(self.sent.open.len() as u64, dropped, "unsettled at the broker");
    }

    fn check_publishes(&self) {
        let lost = self.done(|what| matches!(what, What::LoseConfirmed { .. }));
        let dropped = self.dropped(FrameClass::Publishes);
        assert_eq!(self.received.last, self.published.last - lost - dropped, "received");
        assert_eq!(self.published.open.len() as u64, dropped, "unconfirmed at the client");
        let mut received = self.received.settled.clone();
        received.sort_unstable();
        received.dedup();
        assert_eq!(received.len() as u64, self.received.last, "none twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn both_sides_keep_their_books(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.finish();
        world.check_deliveries();
        world.check_publishes();
    }
}
