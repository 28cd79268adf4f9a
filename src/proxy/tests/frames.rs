//! Disturbances of single frames, and cuts between a message and its answer.

use std::time::Duration;

use super::bed::*;
use crate::proxy::disturbance::{FrameAction, FrameClass, Picks, What};

fn frames(class: FrameClass, action: FrameAction, picks: Picks) -> What {
    What::Frames { class, action, picks }
}

#[test]
fn a_dropped_confirm_is_not_made_up_for_by_a_later_one() {
    let mut bed = Bed::confirming();
    let rule = bed.begin(frames(FrameClass::Confirms, FrameAction::Drop, Picks::only(2)));
    for body in 1..=5 {
        assert_eq!(bed.say(ToBroker, &publish(&[body])), [Heard::Publish(vec![body])]);
    }
    assert_eq!(bed.say(ToClient, &ack(1, false)), [Heard::Ack(1, false)]);
    assert_eq!(bed.say(ToClient, &ack(2, false)), []);
    assert_eq!(rule.done(), 1);
    bed.end(&rule);
    assert_eq!(bed.say(ToClient, &ack(5, true)), [3, 4, 5].map(|tag| Heard::Ack(tag, false)));
}

#[test]
fn confirms_of_many_count_as_one() {
    let mut bed = Bed::confirming();
    let rule = bed.begin(frames(FrameClass::Confirms, FrameAction::Drop, Picks { first: 1, every: 2, times: 1 }));
    (0..6).for_each(|_| drop(bed.say(ToBroker, &publish(b""))));
    assert_eq!(bed.say(ToClient, &ack(3, true)), []);
    assert_eq!(bed.say(ToClient, &nack(5, true)), [4, 5].map(|tag| Heard::Nack(tag, false)));
    assert_eq!(bed.say(ToClient, &ack(6, true)), [Heard::Ack(6, false)]);
    assert_eq!(rule.done(), 1);
}

#[test]
fn held_confirms_come_in_order_when_it_ends() {
    let mut bed = Bed::confirming();
    (0..4).for_each(|_| drop(bed.say(ToBroker, &publish(b""))));
    let rule = bed.begin(frames(FrameClass::Confirms, FrameAction::Hold, Picks { first: 1, every: 1, times: 2 }));
    assert_eq!(bed.say(ToClient, &ack(1, false)), []);
    assert_eq!(bed.say(ToClient, &nack(2, false)), []);
    assert_eq!(bed.say(ToClient, &returned(b"r")), [Heard::Other], "what is not of the class passes");
    assert_eq!(bed.say(ToClient, &ack(4, true)), [Heard::Ack(3, false), Heard::Ack(4, false)], "not picked");
    assert!(bed.talk.holds());
    bed.end(&rule);
    assert_eq!(bed.hear(ToClient), [Heard::Ack(1, false), Heard::Nack(2, false)]);
    assert!(!bed.talk.holds());
    assert_eq!(rule.done(), 2);
}

#[test]
fn a_delayed_confirm_comes_in_its_time() {
    let mut bed = Bed::confirming();
    let delay = Duration::from_secs(3);
    let rule = bed.begin(frames(FrameClass::Confirms, FrameAction::Delay(delay), Picks::only(1)));
    (0..2).for_each(|_| drop(bed.say(ToBroker, &publish(b""))));
    assert_eq!(bed.say(ToClient, &ack(1, false)), []);
    assert_eq!(bed.talk.due(), Some(bed.now + delay));
    assert_eq!(bed.say(ToClient, &ack(2, false)), [Heard::Ack(2, false)]);
    bed.pass_time(delay - Duration::from_nanos(1));
    assert_eq!(bed.hear(ToClient), []);
    bed.pass_time(Duration::from_nanos(1));
    assert_eq!(bed.hear(ToClient), [Heard::Ack(1, false)]);
    assert_eq!((bed.talk.due(), rule.done()), (None, 1));
}

#[test]
fn a_dropped_publish_is_never_confirmed() {
    let mut bed = Bed::confirming();
    bed.begin(frames(FrameClass::Publishes, FrameAction::Drop, Picks::only(2)));
    let heard: Vec<_> = (1..=4).flat_map(|body| bed.say(ToBroker, &publish(&[body]))).collect();
    assert_eq!(heard, [1, 3, 4].map(|body| Heard::Publish(vec![body])));
    // The broker counts three.
    assert_eq!(bed.say(ToClient, &ack(2, true)), [Heard::Ack(1, false), Heard::Ack(3, false)]);
    assert_eq!(bed.say(ToClient, &ack(3, false)), [Heard::Ack(4, false)]);
}

#[test]
fn held_publishes_are_confirmed_under_their_own_numbers() {
    let mut bed = Bed::confirming();
    let rule = bed.begin(frames(FrameClass::Publishes, FrameAction::Hold, Picks { first: 1, every: 1, times: 2 }));
    let heard: Vec<_> = (1..=3).flat_map(|body| bed.say(ToBroker, &publish_on(1, &[body; 9], 2))).collect();
    assert_eq!(heard, [Heard::Publish(vec![3; 9])]);
    assert_eq!(bed.say(ToClient, &ack(1, false)), [Heard::Ack(3, false)]);
    bed.end(&rule);
    assert_eq!(bed.hear(ToBroker), [1, 2].map(|body| Heard::Publish(vec![body; 9])));
    assert_eq!(bed.say(ToClient, &ack(3, true)), [Heard::Ack(2, true)]);
}

#[test]
fn what_flows_on_comes_between_two_messages() {
    let mut bed = Bed::new();
    let rule = bed.begin(frames(FrameClass::Publishes, FrameAction::Hold, Picks::only(1)));
    bed.say(ToBroker, &publish(b"held"));
    let passing = publish_on(1, b"passing", 2);
    let (most, rest) = passing.split_at(passing.len() - 9);
    assert_eq!(bed.bytes(ToBroker, most), b"", "collected while a rule looks at publishes");
    bed.end(&rule);
    let heard: Vec<_> = bed.say(ToBroker, rest);
    assert_eq!(heard, [Heard::Publish(b"held".to_vec()), Heard::Publish(b"passing".to_vec())]);
}

#[test]
fn an_ack_of_the_proxy_waits_for_the_end_of_a_publish() {
    let mut bed = Bed::new();
    bed.begin(What::LoseDelivered { picks: Picks::ALL });
    let passing = publish_on(1, b"passing", 2);
    // All but its last frame.
    let (most, rest) = passing.split_at(passing.len() - 9);
    let mut heard = bed.bytes(ToBroker, most);
    assert_eq!(heard, most);
    assert_eq!(bed.say(ToClient, &deliver(1, b"lost")), []);
    assert_eq!(bed.out(ToBroker), b"", "not inside of the message");
    heard.extend(bed.bytes(ToBroker, rest));
    let heard: Vec<_> = parsed(&heard).into_iter().map(|(_, heard)| heard).collect();
    assert_eq!(heard, [Heard::Publish(b"passing".to_vec()), Heard::Ack(1, false)]);
}

#[test]
fn a_dropped_ack_is_not_made_up_for_by_a_later_one() {
    let mut bed = Bed::new();
    let rule = bed.begin(frames(FrameClass::Acks, FrameAction::Drop, Picks::only(1)));
    (1..=4).for_each(|tag| drop(bed.say(ToClient, &deliver(tag, b""))));
    assert_eq!(bed.say(ToBroker, &ack(2, false)), []);
    assert_eq!(bed.say(ToBroker, &ack(4, true)), [1, 3, 4].map(|tag| Heard::Ack(tag, false)));
    assert_eq!(rule.done(), 1);
}

#[test]
fn a_tag_that_nobody_gave_is_for_the_broker_to_refuse() {
    let mut bed = Bed::new();
    let rule = bed.begin(frames(FrameClass::Acks, FrameAction::Drop, Picks::ALL));
    assert_eq!(bed.say(ToBroker, &ack(7, false)), [Heard::Ack(7, false)]);
    assert_eq!(rule.done(), 0);
}

#[test]
fn what_is_held_is_bounded() {
    let mut bed = Bed::new();
    let rule = bed.begin(frames(FrameClass::Publishes, FrameAction::Hold, Picks::ALL));
    let megabyte = publish_on(1, &vec![0; 1 << 20], 1 << 20);
    let held = (0..1_000).take_while(|_| {
        let accepts = bed.talk.accepts(ToBroker);
        bed.say(ToBroker, &megabyte);
        accepts
    });
    let held = held.count();
    assert!((10..200).contains(&held), "{held} MiB");
    assert!(bed.talk.accepts(ToClient));
    bed.end(&rule);
    assert!(bed.talk.accepts(ToBroker));
}

#[test]
fn a_dropped_delivery_stays_unsettled() {
    let mut bed = Bed::new();
    bed.begin(frames(FrameClass::Deliveries, FrameAction::Drop, Picks::only(2)));
    let heard: Vec<_> = (1..=4).flat_map(|tag| bed.say(ToClient, &deliver(tag, &[tag as u8]))).collect();
    assert_eq!(heard, [delivered(1, &[1]), delivered(2, &[3]), delivered(3, &[4])]);
    assert_eq!(bed.say(ToBroker, &ack(3, true)), [1, 3, 4].map(|tag| Heard::Ack(tag, false)));
}

#[test]
fn held_deliveries_come_under_later_tags() {
    let mut bed = Bed::new();
    let rule = bed.begin(frames(FrameClass::Deliveries, FrameAction::Hold, Picks::only(1)));
    assert_eq!(bed.say(ToClient, &deliver_on(1, "c", 1, b"first", 2)), []);
    assert_eq!(bed.say(ToClient, &deliver(2, b"second")), [delivered(1, b"second")]);
    bed.end(&rule);
    assert_eq!(bed.hear(ToClient), [delivered(2, b"first")]);
    assert_eq!(bed.say(ToClient, &deliver(3, b"third")), [delivered(3, b"third")]);
    assert_eq!(bed.say(ToBroker, &ack(2, false)), [Heard::Ack(1, false)]);
    assert_eq!(bed.say(ToBroker, &ack(0, true)), [Heard::Ack(3, true)]);
}

#[test]
fn heartbeats_are_dropped_in_both_directions() {
    let mut bed = Bed::new();
    let rule = bed.begin(frames(FrameClass::Heartbeats, FrameAction::Drop, Picks { first: 1, every: 1, times: 3 }));
    let heard: Vec<_> = [ToBroker, ToClient, ToClient, ToBroker]
        .into_iter()
        .flat_map(|way| {
            bed.say(way, &[heartbeat(), publish_on(1, b"", 1)].concat()).into_iter().map(move |it| (way, it))
        })
        .filter(|(_, heard)| *heard == Heard::Heartbeat)
        .collect();
    assert_eq!(heard, [(ToBroker, Heard::Heartbeat)]);
    assert_eq!(rule.done(), 3);
}

#[test]
fn a_cut_before_the_confirm_swallows_it() {
    let mut bed = Bed::confirming();
    let rule = bed.begin(What::CutBeforeConfirm { picks: Picks { first: 2, every: 1, times: 5 } });
    let heard: Vec<_> = (1..=4).flat_map(|body| bed.say(ToBroker, &publish(&[body]))).collect();
    assert_eq!(heard.len(), 4, "all are forwarded");
    assert_eq!(bed.say(ToClient, &ack(1, false)), [Heard::Ack(1, false)]);
    assert!(!bed.talk.is_cut());
    assert_eq!(bed.say(ToClient, &ack(4, false)), [Heard::Ack(4, false)], "only the first picked one cuts");
    assert_eq!((bed.talk.is_cut(), rule.done()), (false, 0));
    assert_eq!(bed.say(ToClient, &ack(3, true)), [], "it settles the second");
    assert_eq!((bed.talk.is_cut(), rule.done()), (true, 1));
    assert_eq!(bed.say(ToBroker, &publish(&[5])), [], "nothing passes any more");
}

#[test]
fn a_cut_that_ended_does_not_happen() {
    let mut bed = Bed::confirming();
    let rule = bed.begin(What::CutBeforeConfirm { picks: Picks::ALL });
    bed.say(ToBroker, &publish(b""));
    bed.end(&rule);
    assert_eq!(bed.say(ToClient, &ack(1, false)), [Heard::Ack(1, false)]);
    assert_eq!((bed.talk.is_cut(), rule.done()), (false, 0));
}

#[test]
fn a_cut_before_the_ack_swallows_it() {
    for settlement in [ack(2, false), ack(3, true), ack(0, true), nack(2, false)] {
        let mut bed = Bed::new();
        let rule = bed.begin(What::CutBeforeAck { picks: Picks::only(2) });
        let heard: Vec<_> = (1..=3).flat_map(|tag| bed.say(ToClient, &deliver(tag, b""))).collect();
        assert_eq!(heard.len(), 3);
        assert_eq!(bed.say(ToBroker, &ack(1, false)), [Heard::Ack(1, false)]);
        assert_eq!(bed.say(ToBroker, &settlement), []);
        assert_eq!((bed.talk.is_cut(), rule.done()), (true, 1));
    }
}

#[test]
fn what_is_held_for_a_channel_goes_with_it() {
    let mut bed = Bed::confirming();
    let rule = bed.begin(frames(FrameClass::Confirms, FrameAction::Hold, Picks::ALL));
    bed.say(ToBroker, &publish(b""));
    assert_eq!(bed.say(ToClient, &ack(1, false)), []);
    assert!(bed.talk.holds());
    bed.say(ToBroker, &close());
    assert!(!bed.talk.holds());
    bed.say(ToClient, &close_ok());
    bed.say(ToBroker, &[open(), select()].concat());
    bed.end(&rule);
    assert_eq!(bed.hear(ToClient), []);
    // The new channel counts from one.
    assert_eq!(bed.say(ToBroker, &publish(b"new")).len(), 1);
    assert_eq!(bed.say(ToClient, &ack(1, false)), [Heard::Ack(1, false)]);
}

#[test]
fn nothing_is_disturbed_on_a_channel_that_closes() {
    let mut bed = Bed::confirming();
    let rule = bed.begin(What::LoseConfirmed { picks: Picks::ALL });
    bed.say(ToClient, &close());
    assert_eq!(bed.say(ToBroker, &publish(b"late")), [Heard::Publish(b"late".to_vec())]);
    assert_eq!(bed.hear(ToClient), []);
    assert_eq!(rule.done(), 0);
}

#[test]
fn events_are_counted_from_where_it_begins() {
    let mut bed = Bed::new();
    bed.say(ToBroker, &publish(b"before"));
    let drops = frames(FrameClass::Publishes, FrameAction::Drop, Picks { first: 2, every: 2, times: 2 });
    let (first, second) = (bed.begin(drops.clone()), bed.begin(drops));
    let heard: Vec<_> = (1..=12).flat_map(|body| bed.say(ToBroker, &publish(&[body]))).collect();
    // The first drops 2 and 4. To the second these are no events: it counts 1, 3, 5, 6 and drops 3 and 6.
    let expected = [1, 5, 7, 8, 9, 10, 11, 12].map(|body| Heard::Publish(vec![body]));
    assert_eq!(heard, expected);
    assert_eq!((first.done(), second.done()), (2, 2));
}
