//! Without a disturbance nothing changes, whatever is said and however it is cut; and what is no AMQP is let through.

use proptest::prelude::*;

use super::bed::*;
use crate::amqp::PROTOCOL_HEADER;
use crate::proxy::conversation::Conversation;
use crate::proxy::disturbance::{FrameAction, FrameClass, Picks, What};

/// What one side says next, on a channel.
#[derive(Debug, Clone)]
enum Line {
    Content { body: Vec<u8>, piece: usize },
    Settle { tag: u64, multiple: bool },
    Heartbeat,
    Select,
    Close,
}

fn lines() -> impl Strategy<Value = Vec<(bool, u16, Line)>> {
    let content = (prop::collection::vec(any::<u8>(), 0..60), 1usize..40);
    let line = prop_oneof![
        4 => content.prop_map(|(body, piece)| Line::Content { body, piece }),
        3 => (0u64..20, any::<bool>()).prop_map(|(tag, multiple)| Line::Settle { tag, multiple }),
        1 => Just(Line::Heartbeat),
        1 => Just(Line::Select),
        1 => Just(Line::Close),
    ];
    prop::collection::vec((any::<bool>(), 1u16..4, line), 0..40)
}

/// Both sides' bytes.
fn written(lines: &[(bool, u16, Line)]) -> [Vec<u8>; 2] {
    let mut said = [PROTOCOL_HEADER.to_vec(), Vec::new()];
    let mut tags = [0; 4];
    for (by_client, number, line) in lines {
        let bytes = match line {
            Line::Content { body, piece } if *by_client => publish_on(*number, body, *piece),
            Line::Content { body, piece } => {
                tags[usize::from(*number)] += 1;
                deliver_on(*number, "c", tags[usize::from(*number)], body, *piece)
            }
            Line::Settle { tag, multiple } => ack_on(*number, *tag, *multiple),
            Line::Heartbeat => heartbeat(),
            Line::Select => select_on(*number),
            Line::Close if *by_client => close(),
            Line::Close => close_ok(),
        };
        said[usize::from(!by_client)].extend(bytes);
    }
    said
}

/// Says both sides' bytes in pieces of these sizes, in turn.
fn passed(talk: &mut Conversation, said: &[Vec<u8>; 2], cuts: &[usize]) -> [Vec<u8>; 2] {
    let (mut heard, mut at) = ([Vec::new(), Vec::new()], [0, 0]);
    // A broker does not speak first.
    let mut cuts = [8].iter().chain(cuts.iter().cycle());
    let now = std::time::Instant::now();
    while at[0] < said[0].len() || at[1] < said[1].len() {
        for (way, n) in [(ToBroker, 0), (ToClient, 1)] {
            let to = (at[n] + cuts.next().unwrap()).min(said[n].len());
            talk.buffer(way).extend_from_slice(&said[n][at[n]..to]);
            talk.hear(way, now);
            at[n] = to;
            heard[n].extend(talk.take_out(way).concat());
        }
    }
    heard
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(lines in lines(), cuts in prop::collection::vec(1usize..200, 1..20)) {
        let said = written(&lines);
        prop_assert_eq!(passed(&mut Conversation::new(1), &said, &cuts), said);
    }

    #[test]
    fn bytes_that_are_no_amqp_pass(
        mut said: [Vec<u8>; 2],
        cuts in prop::collection::vec(1usize..200, 1..20),
        good in 0usize..9,
    ) {
        // As if a frame went wrong somewhere, or a client spoke TLS.
        said[0].splice(0..0, PROTOCOL_HEADER[..good].iter().copied());
        let mut talk = Conversation::new(1);
        let mut heard = passed(&mut talk, &said, &cuts);
        for (way, n) in [(ToBroker, 0), (ToClient, 1)] {
            talk.finish(way);
            heard[n].extend(talk.take_out(way).concat());
        }
        prop_assert_eq!(heard, said);
    }
}

#[test]
fn frames_that_pass_leave_in_one_piece() {
    let mut bed = Bed::new();
    let said: Vec<u8> = (0..100).flat_map(|_| publish(b"body")).collect();
    bed.talk.buffer(ToBroker).extend_from_slice(&said);
    bed.talk.hear(ToBroker, bed.now);
    let out = bed.talk.take_out(ToBroker);
    assert_eq!((out.len(), out[0].len()), (1, said.len()));
}

#[test]
fn what_is_cut_off_goes_out_with_the_end() {
    let mut bed = Bed::new();
    let whole = publish(b"body");
    let half = &whole[..10];
    assert_eq!(bed.bytes(ToBroker, half), b"");
    bed.talk.finish(ToBroker);
    assert_eq!(bed.out(ToBroker), half);
}

#[test]
fn after_the_goodbye_all_passes() {
    let mut bed = Bed::new();
    bed.begin(What::Frames { class: FrameClass::Publishes, action: FrameAction::Hold, picks: Picks::ALL });
    assert_eq!(bed.say(ToBroker, &publish(b"held")), []);
    assert!(bed.talk.holds());
    // A message that was begun is not torn by it.
    let torn = publish_on(2, b"body", 2);
    assert_eq!(bed.bytes(ToBroker, &torn[..torn.len() - 10]), b"");
    let mut heard = bed.bytes(ToBroker, &close_connection());
    assert!(!bed.talk.holds(), "what was held is gone");
    heard.extend(bed.bytes(ToBroker, &publish(b"late")));
    let expected = [&torn[..torn.len() - 10], &close_connection(), &publish(b"late")].concat();
    assert_eq!(heard, expected);
}
