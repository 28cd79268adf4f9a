//! Messages lost, doubled, changed, swapped and invented: each exactly as often as asked, and both sides none the
//! wiser.

use super::bed::*;
use crate::proxy::disturbance::{FrameAction, FrameClass, Picks, What};
use crate::stamp::{MAX_SEQUENCE, Reading, Stamp};

const EVERY_THIRD_TWICE: Picks = Picks { first: 2, every: 3, times: 2 };

fn bodies(heard: &[Heard]) -> Vec<u64> {
    let body = |heard: &Heard| match heard {
        Heard::Deliver { body, .. } | Heard::Publish(body) | Heard::GetOk { body, .. } => Some(u64::from(body[0])),
        _ => None,
    };
    heard.iter().filter_map(body).collect()
}

#[test]
fn a_lost_publish_is_confirmed_in_its_turn() {
    let mut bed = Bed::confirming();
    let rule = bed.begin(What::LoseConfirmed { picks: EVERY_THIRD_TWICE });
    let heard: Vec<_> = (1..=9).flat_map(|body| bed.say(ToBroker, &publish_on(1, &[body; 7], 3))).collect();
    assert_eq!(bodies(&heard), [1, 3, 4, 6, 7, 8, 9]);
    assert_eq!(rule.done(), 2);
    assert_eq!(bed.hear(ToClient), [], "1 is not confirmed yet");
    // The broker's 1 and 2 are the client's 1 and 3.
    assert_eq!(bed.say(ToClient, &ack(1, false)), [Heard::Ack(2, true)], "and 2 with it");
    assert_eq!(bed.say(ToClient, &ack(2, false)), [Heard::Ack(3, false)]);
    assert_eq!(bed.say(ToClient, &ack(4, true)), [Heard::Ack(6, true)], "4 and 6, and 5 in its turn");
}

#[test]
fn a_lost_publish_waits_for_all_before_it() {
    let mut bed = Bed::confirming();
    bed.say(ToBroker, &publish(&[1]));
    bed.say(ToBroker, &publish(&[2]));
    bed.begin(What::LoseConfirmed { picks: Picks::only(1) });
    assert_eq!(bed.say(ToBroker, &publish(&[3])), []);
    assert_eq!(bed.say(ToClient, &nack(2, false)), [Heard::Nack(2, false)]);
    assert_eq!(bed.say(ToClient, &ack(1, false)), [Heard::Ack(3, true)]);
    bed.begin(What::LoseConfirmed { picks: Picks::only(1) });
    assert_eq!(bed.say(ToBroker, &publish(&[4])), []);
    assert_eq!(bed.hear(ToClient), [Heard::Ack(4, false)], "nothing is before it");
}

#[test]
fn without_confirms_no_confirmed_publish_is_lost() {
    let mut bed = Bed::new();
    let rule = bed.begin(What::LoseConfirmed { picks: Picks::ALL });
    assert_eq!(bed.say(ToBroker, &publish(&[1])).len(), 1);
    assert_eq!(rule.done(), 0);
}

#[test]
fn a_lost_delivery_is_acked_to_the_broker() {
    let mut bed = Bed::new();
    let rule = bed.begin(What::LoseDelivered { picks: EVERY_THIRD_TWICE });
    let heard: Vec<_> = (1..=9).flat_map(|tag| bed.say(ToClient, &deliver(tag, &[tag as u8]))).collect();
    assert_eq!(bodies(&heard), [1, 3, 4, 6, 7, 8, 9]);
    assert_eq!(heard[1], delivered(2, &[3]), "tags have no gap");
    assert_eq!(bed.hear(ToBroker), [Heard::Ack(2, false), Heard::Ack(5, false)]);
    assert_eq!(bed.say(ToBroker, &ack(7, true)), [Heard::Ack(9, true)]);
    assert_eq!(rule.done(), 2);
}

#[test]
fn who_acks_by_itself_is_not_acked_for() {
    for named in [true, false] {
        let mut bed = Bed::new();
        bed.say(ToBroker, &consume(if named { "auto" } else { "" }, true));
        bed.say(ToBroker, &consume("by-hand", false));
        bed.say(ToClient, &[consume_ok("auto"), consume_ok("by-hand")].concat());
        bed.begin(What::LoseDelivered { picks: Picks::ALL });
        bed.say(ToClient, &deliver_on(1, "auto", 1, b"a", 9));
        assert_eq!(bed.hear(ToBroker), []);
        bed.say(ToClient, &deliver_on(1, "by-hand", 2, b"b", 9));
        assert_eq!(bed.hear(ToBroker), [Heard::Ack(2, false)]);
    }
}

#[test]
fn a_message_that_was_asked_for_is_lost_as_an_empty_queue() {
    let mut bed = Bed::new();
    bed.begin(What::LoseDelivered { picks: Picks { first: 1, every: 1, times: 2 } });
    let mut ask = |no_ack, tag| {
        bed.say(ToBroker, &get(no_ack));
        let heard = bed.say(ToClient, &get_ok(tag, b"it"));
        (heard, bed.hear(ToBroker))
    };
    assert_eq!(ask(true, 1), (vec![Heard::GetEmpty], vec![]));
    assert_eq!(ask(false, 2), (vec![Heard::GetEmpty], vec![Heard::Ack(2, false)]));
    assert_eq!(ask(false, 3), (vec![Heard::GetOk { tag: 1, body: b"it".to_vec() }], vec![]));
    assert_eq!(bed.say(ToBroker, &ack(1, false)), [Heard::Ack(3, false)]);
}

#[test]
fn a_double_is_settled_once() {
    for flagged in [true, false] {
        let mut bed = Bed::new();
        let rule = bed.begin(What::Duplicate { picks: EVERY_THIRD_TWICE, flagged });
        let heard: Vec<_> =
            (1..=6).flat_map(|tag| bed.say(ToClient, &deliver_on(1, "c", tag, &[tag as u8; 5], 2))).collect();
        assert_eq!(bodies(&heard), [1, 2, 2, 3, 4, 5, 5, 6]);
        assert_eq!(heard[1], delivered(2, &[2; 5]));
        assert_eq!(heard[2], Heard::Deliver { tag: 3, redelivered: flagged, body: vec![2; 5] });
        assert_eq!(rule.done(), 2);
        let told: Vec<_> = (1..=8).flat_map(|tag| bed.say(ToBroker, &ack(tag, false))).collect();
        assert_eq!(told, (1..=6).map(|tag| Heard::Ack(tag, false)).collect::<Vec<_>>());
    }
}

#[test]
fn settling_many_settles_the_originals_among_them() {
    let mut bed = Bed::new();
    bed.say(ToClient, &deliver(1, &[1]));
    bed.begin(What::Duplicate { picks: Picks::ALL, flagged: true });
    (2..=4).for_each(|tag| drop(bed.say(ToClient, &deliver(tag, &[tag as u8]))));
    // The client has 1, 2, 2, 3, 3, 4, 4.
    assert_eq!(bed.say(ToBroker, &nack(4, true)), [Heard::Nack(3, true)]);
    assert_eq!(bed.say(ToBroker, &ack(5, true)), [], "a copy only");
    assert_eq!(bed.say(ToBroker, &ack(0, true)), [Heard::Ack(4, false)]);
    assert_eq!(
        bed.say(ToBroker, &ack(7, false)),
        [Heard::Ack(u64::MAX, false)],
        "settled twice: the broker is to refuse"
    );
}

#[test]
fn a_corrupt_body_differs_by_one_bit_and_is_still_ours() {
    for seed in 0..50 {
        let body = stamped(seed, b"rest of the body");
        let mut bed = Bed::new();
        let rule = bed.begin(What::Corrupt { picks: Picks { first: seed + 1, every: 1, times: 1 } });
        for _ in 0..seed {
            bed.say(ToClient, &deliver(1, &body));
        }
        let heard = bed.say(ToClient, &deliver_on(1, "c", seed + 1, &body, 7));
        let [Heard::Deliver { body: changed, .. }] = &heard[..] else { panic!("{heard:?}") };
        let bits: u32 = changed.iter().zip(&body).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((changed.len(), bits), (body.len(), 1));
        assert!(matches!(Stamp::read_body(changed, 7), Reading::Corrupt(_)));
        assert_eq!(rule.done(), 1);
    }
}

#[test]
fn an_empty_body_cannot_be_corrupted() {
    let mut bed = Bed::new();
    let rule = bed.begin(What::Corrupt { picks: Picks::only(1) });
    assert_eq!(bed.say(ToClient, &deliver(1, b"")), [delivered(1, b"")]);
    assert_eq!(rule.done(), 0);
    assert_ne!(bed.say(ToClient, &deliver(2, b"x")), [delivered(2, b"x")]);
    assert_eq!(rule.done(), 1);
}

#[test]
fn two_deliveries_change_places() {
    let mut bed = Bed::new();
    let rule = bed.begin(What::Swap { picks: Picks { first: 2, every: 1, times: 2 } });
    let heard: Vec<_> = (1..=7).flat_map(|tag| bed.say(ToClient, &deliver(tag, &[tag as u8]))).collect();
    assert_eq!(bodies(&heard), [1, 3, 2, 5, 4, 6, 7]);
    assert_eq!((heard[1].clone(), heard[2].clone()), (delivered(2, &[3]), delivered(3, &[2])));
    assert_eq!(rule.done(), 2);
    assert_eq!(bed.say(ToBroker, &ack(2, true)), [Heard::Ack(1, false), Heard::Ack(3, false)], "2 is not among them");
    assert_eq!(bed.say(ToBroker, &ack(3, false)), [Heard::Ack(2, false)]);
    assert_eq!(bed.say(ToBroker, &ack(7, true)), [Heard::Ack(7, true)]);
}

#[test]
fn a_delivery_without_a_next_one_comes_when_it_ends() {
    let mut bed = Bed::new();
    let rule = bed.begin(What::Swap { picks: Picks::ALL });
    assert_eq!(bed.say(ToClient, &deliver(1, &[1])), []);
    // One of another channel is no next one.
    assert_eq!(bed.say(ToClient, &deliver_on(2, "c", 1, &[9], 9)), []);
    assert!(bed.talk.holds());
    bed.end(&rule);
    assert_eq!(bodies(&bed.hear(ToClient)).len(), 2);
    assert_eq!((rule.done(), bed.talk.holds()), (0, false));
}

#[test]
fn an_invented_delivery_is_a_phantom() {
    let mut bed = Bed::new();
    let rule = bed.begin(What::Invent { picks: EVERY_THIRD_TWICE });
    assert_eq!(bed.say(ToClient, &deliver(1, b"no stamp")).len(), 1);
    let say = |bed: &mut Bed, n: u64| bed.say(ToClient, &deliver_on(1, "c", n + 1, &stamped(n, b"rest"), 10));
    let heard: Vec<_> = (1..=6).flat_map(|n| say(&mut bed, n)).collect();
    let sequences: Vec<u64> = heard
        .iter()
        .map(|heard| match heard {
            Heard::Deliver { body, .. } => match Stamp::read_body(body, 7) {
                Reading::Ours(stamp) => stamp.sequence,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sequences, [1, MAX_SEQUENCE - 2, 2, 3, 4, MAX_SEQUENCE - 5, 5, 6]);
    assert_eq!(rule.done(), 2);
    // The client's 3 is the invented one, its 4 the broker's 3.
    assert_eq!(bed.say(ToBroker, &ack(3, false)), []);
    assert_eq!(bed.say(ToBroker, &ack(4, true)), [Heard::Ack(3, true)]);
}

#[test]
fn an_invented_delivery_is_not_flagged() {
    let mut bed = Bed::new();
    bed.begin(What::Invent { picks: Picks::ALL });
    let mut redelivered = deliver(1, &stamped(3, b""));
    // Type, channel, size, method, consumer tag `c`, delivery tag.
    redelivered[7 + 4 + 2 + 8] = 1;
    let heard = bed.say(ToClient, &redelivered);
    assert!(matches!(heard[0], Heard::Deliver { tag: 1, redelivered: false, .. }), "{heard:?}");
    assert!(matches!(heard[1], Heard::Deliver { tag: 2, redelivered: true, .. }), "{heard:?}");
}

#[test]
fn what_is_recovered_is_unsettled_no_more() {
    let mut bed = Bed::new();
    bed.begin(What::Duplicate { picks: Picks::only(1), flagged: true });
    (1..=2).for_each(|tag| drop(bed.say(ToClient, &deliver(tag, b"x"))));
    bed.say(ToClient, &recover_ok());
    assert_eq!(bed.say(ToClient, &deliver(3, b"x")), [delivered(4, b"x")]);
    assert_eq!(bed.say(ToBroker, &ack(4, true)), [Heard::Ack(3, false)]);
}

#[test]
fn disturbances_of_one_delivery_add_up() {
    let mut bed = Bed::new();
    let rules = [
        What::Invent { picks: Picks::only(1) },
        What::Duplicate { picks: Picks::only(1), flagged: true },
        What::Corrupt { picks: Picks::only(1) },
        What::Frames { class: FrameClass::Deliveries, action: FrameAction::Hold, picks: Picks::only(1) },
    ]
    .map(|what| bed.begin(what));
    assert_eq!(bed.say(ToClient, &deliver(1, &stamped(5, b""))), []);
    assert_eq!(rules.each_ref().map(|rule| rule.done()), [0, 0, 0, 1]);
    bed.end(&rules[3]);
    assert_eq!(bed.hear(ToClient).len(), 3);
    assert_eq!(rules.each_ref().map(|rule| rule.done()), [1, 1, 1, 1]);
    assert_eq!(bed.say(ToBroker, &ack(3, true)), [Heard::Ack(1, false)]);
}

#[test]
fn who_was_hit_is_remembered() {
    let mut bed = Bed::confirming();
    let lost = bed.begin(What::LoseConfirmed { picks: Picks::only(2) });
    (1..=3).for_each(|n| drop(bed.say(ToBroker, &publish(&stamped(n, b"rest")))));
    let picks = |first| Picks { first, every: 1, times: 1 };
    let rules = [
        What::LoseDelivered { picks: picks(1) },
        What::Duplicate { picks: picks(1), flagged: false },
        What::Corrupt { picks: picks(2) },
        What::Invent { picks: picks(3) },
        What::Swap { picks: picks(4) },
    ]
    .map(|what| bed.begin(what));
    (1..=7).for_each(|n| drop(bed.say(ToClient, &deliver(n, &stamped(n, b"rest")))));
    bed.say(ToClient, &deliver(8, b"no stamp"));
    let sequences = |rule: &crate::proxy::rule::Rule| -> Vec<(u64, u64)> {
        rule.hits().iter().map(|hit| (hit.had.sequence, hit.became.sequence)).collect()
    };
    assert_eq!(sequences(&lost), [(2, 2)]);
    assert_eq!([0, 1, 4].map(|which| sequences(&rules[which])), [[(1, 1)], [(2, 2)], [(5, 5)]]);
    // The corrupt one is no event for it: it has no stamp that could be counted from.
    assert_eq!(sequences(&rules[3]), [(5, MAX_SEQUENCE - 3)]);
    let corrupt = rules[2].hits();
    assert_eq!((corrupt.len(), corrupt[0].had.sequence, corrupt[0].had.run), (1, 3, corrupt[0].became.run));
    let all = bed.begin(What::LoseDelivered { picks: Picks::ALL });
    bed.say(ToClient, &deliver(9, b"no stamp"));
    assert_eq!((all.done(), all.hits().len()), (1, 0), "nobody that could be named");
}

#[test]
fn other_channels_may_come_between() {
    let mut bed = Bed::new();
    bed.begin(What::Duplicate { picks: Picks::only(1), flagged: true });
    let (one, two) = (deliver_on(1, "c", 1, &[1; 6], 2), deliver_on(2, "c", 1, &[2; 6], 2));
    // The method of one, then all of two, then the rest of one.
    let at = one.len() - (12 + 2 + 8) - 3 * (2 + 8);
    let heard = bed.bytes(ToClient, &[&one[..at], &two, &one[at..]].concat());
    let heard = parsed(&heard);
    let tags = heard.iter().map(|(number, heard)| (*number, heard.clone())).collect::<Vec<_>>();
    assert_eq!(tags.len(), 3);
    assert_eq!((&tags[0], &tags[2]), (&(2, delivered(1, &[2; 6])), &(1, delivered(1, &[1; 6]))));
}
