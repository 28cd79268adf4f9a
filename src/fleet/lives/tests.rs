//! Members who die, stand still and are whole again.

use super::*;
use crate::plan::{Picks, Strike};

fn stamp(publisher: u16, sequence: u64) -> Reading {
    Reading::Ours(Stamp { run: 1, publisher, attempt: 0, sequence, intended_us: 0, lag_us: 0 })
}

fn crash(at: Strike) -> MemberFailure {
    MemberFailure::ConsumerCrash { point: CrashPoint::AfterEffect, at, away_us: 7 }
}

/// A crash at the next message, after which the member is away for hours.
fn long() -> MemberFailure {
    MemberFailure::ConsumerCrash { point: CrashPoint::AfterEffect, at: Strike::Next, away_us: 1 << 40 }
}

fn picked(first: u64, every: u64, times: u64) -> MemberFailure {
    crash(Strike::Picked(Picks { first, every, times: Some(times) }))
}

/// Asks at a message, and has the member die of it at once; how long it is away.
fn strikes(member: &Member, step: Step, reading: &Reading) -> Option<Duration> {
    let death = member.strikes(step, std::iter::once((reading, true)))?;
    member.lives.fall(member.deaths, &death);
    Some(death.blow.away)
}

const HERE: Step = Step::Consumer(CrashPoint::AfterEffect);

#[test]
fn nobody_dies_unless_told_and_at_another_step_neither() {
    let lives = Lives::new("in", 2, true);
    let member = lives.member(0);
    assert_eq!(strikes(&member, HERE, &stamp(0, 0)), None);
    lives.begin(1, &[0], &crash(Strike::Next));
    assert_eq!(strikes(&member, Step::Consumer(CrashPoint::BeforeEffect), &stamp(0, 0)), None);
    assert_eq!(strikes(&member, Step::Published, &stamp(0, 0)), None);
    assert_eq!(strikes(&member, HERE, &Reading::Foreign), None);
    assert_eq!(strikes(&lives.member(1), HERE, &stamp(0, 0)), None, "it is for another member");
    assert_eq!(strikes(&member, HERE, &stamp(0, 0)), Some(Duration::from_micros(7)));
    assert_eq!(strikes(&member, HERE, &stamp(0, 1)), None, "once each");
    assert_eq!(lives.end(1), 1);
}

#[test]
fn picks_are_counted_over_the_members_together() {
    let lives = Lives::new("in", 2, true);
    let members = [lives.member(0), lives.member(1)];
    lives.begin(4, &[0, 1], &picked(3, 2, 2));
    let struck: Vec<u64> =
        (1..=10).filter(|n| strikes(&members[*n as usize % 2], HERE, &stamp(0, *n)).is_some()).collect();
    assert_eq!(struck, [3, 5]);
    assert_eq!((lives.done(4), lives.end(4), lives.end(4)), (2, 2, 2));
    assert_eq!(strikes(&members[0], HERE, &stamp(0, 11)), None, "it has ended");
}

#[test]
fn a_message_is_hit_once_whoever_has_it() {
    let lives = Lives::new("in", 2, true);
    let members = [lives.member(0), lives.member(1)];
    let name = "out/1".to_owned();
    lives.begin(1, &[0, 1], &crash(Strike::Message { publisher: 1, name, sequence: 5 }));
    assert_eq!(strikes(&members[1], HERE, &stamp(0, 5)), None);
    assert!(strikes(&members[1], HERE, &stamp(1, 5)).is_some());
    assert_eq!(strikes(&members[0], HERE, &stamp(1, 5)), None);
}

#[tokio::test]
async fn a_member_that_died_is_away_and_all_its_tasks_know() {
    let lives = Lives::new("in", 1, true);
    let (_stage, mut stage) = watch::channel(Stage::Load);
    let (mut first, mut second) = (lives.member(0), lives.member(0));
    assert!(!lives.are_whole(&[0]), "it has no channel yet");
    first.has_channel(true);
    second.has_channel(true);
    assert!(lives.are_whole(&[0]));
    lives.begin(1, &[0], &long());
    let death = first.strikes(HERE, std::iter::once((&stamp(0, 0), true))).unwrap();
    assert!(lives.done(1) == 0 && !lives.are_whole(&[0]), "it is about to die");
    assert!(first.die(death).await.to_string().contains("in/0 crashed on purpose"));
    assert!(lives.done(1) == 1 && first.has_died() && second.has_died() && !lives.are_whole(&[0]));
    {
        let mut back = std::pin::pin!(second.revive(&mut stage));
        assert!(futures_util::poll!(&mut back).is_pending());
        lives.end(1);
        assert_eq!(back.await, Ok(()));
    }
    assert!(first.has_died() && !second.has_died());
    assert!(!lives.are_whole(&[0]), "one of its tasks lives on as if nothing had happened");
    assert_eq!(first.revive(&mut stage).await, Ok(()));
    assert!(lives.are_whole(&[0]));
    second.has_channel(false);
    assert!(!lives.are_whole(&[0]));
    drop(second);
    assert!(lives.are_whole(&[0]), "a task that has ended is not missing");
}

#[tokio::test]
async fn who_dies_after_its_fault_is_over_is_not_away_and_counts() {
    let lives = Lives::new("in", 1, true);
    let (_stage, mut stage) = watch::channel(Stage::Load);
    let mut member = lives.member(0);
    member.has_channel(true);
    lives.begin(1, &[0], &long());
    let death = member.strikes(HERE, std::iter::once((&stamp(0, 0), true))).unwrap();
    assert_eq!(lives.end(1), 0, "it has not happened yet");
    assert!(!lives.are_whole(&[0]), "and nobody is healed before it has");
    member.die(death).await;
    assert_eq!(lives.done(1), 1);
    assert_eq!(member.revive(&mut stage).await, Ok(()), "nobody is left to call it back");
    assert!(lives.are_whole(&[0]));
}

#[tokio::test]
async fn two_tasks_that_die_at_once_die_one_death_and_who_never_dies_keeps_nobody() {
    let lives = Lives::new("in", 1, true);
    let members = [lives.member(0), lives.member(0)];
    lives.begin(1, &[0], &picked(1, 1, 3));
    let at = |n: usize| members[n].strikes(HERE, std::iter::once((&stamp(0, n as u64), true))).unwrap();
    let deaths = [at(0), at(1)];
    for (member, death) in members.iter().zip(deaths) {
        member.die(death).await;
    }
    assert_eq!((lives.done(1), members[0].life().deaths.load(Ordering::Acquire)), (2, 1));
    assert_eq!(lives.struck(1), [(0, 0), (0, 1)]);
    drop(at(0));
    assert_eq!((lives.done(1), lock(&members[0].life().census).dying), (2, 0));
}

#[tokio::test]
async fn a_fault_that_ends_calls_back_those_only_whom_it_has_sent_away() {
    let lives = Lives::new("in", 1, true);
    let member = lives.member(0);
    lives.begin(1, &[0], &long());
    lives.begin(2, &[0], &picked(100, 1, 1));
    let death = member.strikes(HERE, std::iter::once((&stamp(0, 0), true))).unwrap();
    member.die(death).await;
    lives.end(2);
    assert!(member.state.borrow().is_away(Instant::now()));
    lives.end(1);
    assert!(!member.state.borrow().is_away(Instant::now()));
}

#[test]
fn picks_of_one_batch_are_one_blow_and_all_of_the_batch_is_counted() {
    let lives = Lives::new("in", 1, true);
    let member = lives.member(0);
    lives.begin(1, &[0], &picked(4, 4, 80));
    let stamps: Vec<Reading> = (0..30).map(|n| stamp(0, n)).collect();
    // Batches of ten: the 4th and 8th, the 12th, 16th and 20th, the 24th and 28th.
    let times = |batch: &[Reading], is_first: bool| {
        member.strikes(HERE, batch.iter().map(|reading| (reading, is_first))).map(|death| death.blow.messages.len())
    };
    let struck: Vec<_> = stamps.chunks(10).flat_map(|batch| [times(batch, true), times(batch, false)]).collect();
    assert_eq!(struck, [Some(2), None, Some(3), None, Some(2), None], "what comes again is not counted again");
}

#[test]
fn a_message_that_is_named_is_hit_when_it_comes_again_too() {
    let lives = Lives::new("in", 1, true);
    let member = lives.member(0);
    lives.begin(1, &[0], &crash(Strike::Message { publisher: 0, name: "out/0".to_owned(), sequence: 5 }));
    lives.begin(2, &[0], &crash(Strike::Next));
    let again = |n: u64| member.strikes(HERE, std::iter::once((&stamp(0, n), false))).map(|death| death.blow.fault);
    assert_eq!((again(4), again(5), again(5)), (None, Some(1), None));
}

#[test]
fn one_death_is_one_fault_s_and_the_others_have_the_next_message() {
    let lives = Lives::new("in", 1, true);
    let member = lives.member(0);
    lives.begin(1, &[0], &crash(Strike::Next));
    lives.begin(2, &[0], &picked(2, 1, 1));
    lives.begin(3, &[0], &crash(Strike::Message { publisher: 0, name: "out/0".to_owned(), sequence: 1 }));
    let batch: Vec<Reading> = (0..2).map(|n| stamp(0, n)).collect();
    let next = |batch: &[Reading]| {
        member
            .strikes(HERE, batch.iter().map(|reading| (reading, true)))
            .map(|death| (death.blow.fault, death.blow.messages.len()))
    };
    assert_eq!(next(&batch[..1]), Some((1, 1)));
    assert_eq!(next(&batch[1..]), Some((3, 1)), "no other message will do for it");
    assert_eq!(next(&[stamp(0, 2)]), Some((2, 1)));
    assert_eq!(next(&[stamp(0, 3)]), None);
}

#[tokio::test]
async fn who_stands_still_goes_on_when_all_stalls_are_over() {
    let lives = Lives::new("in", 2, true);
    let (stage, receiver) = watch::channel(Stage::Load);
    let mut member = lives.member(0);
    lives.begin(1, &[0, 1], &MemberFailure::Stall);
    lives.begin(2, &[0], &MemberFailure::Stall);
    assert!(member.is_stalled() && !lives.are_whole(&[0]));
    let mut here = receiver.clone();
    {
        let mut still = std::pin::pin!(member.stand_still(&mut here));
        assert!(futures_util::poll!(&mut still).is_pending());
        assert_eq!((lives.done(1), lives.done(2)), (1, 1), "member 1 did not get there");
        assert_eq!(lives.end(1), 1);
        assert!(futures_util::poll!(&mut still).is_pending());
        lives.end(2);
        still.await;
    }
    assert!(!member.is_stalled());
    lives.begin(3, &[0], &MemberFailure::Stall);
    stage.send(Stage::Leave).unwrap();
    member.stand_still(&mut receiver.clone()).await;
}

#[test]
fn a_fleet_without_a_plan_stands_still_for_nobody() {
    let lives = Lives::new("in", 1, false);
    assert!(!lives.member(0).is_stalled() && !lives.member(0).has_died());
}
