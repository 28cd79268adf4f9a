//! What each discipline promises, and where the common one breaks it: crashes, races, repetitions.

use std::time::Duration;

use tokio::sync::oneshot;

use super::*;

const STEPS: [Step; 3] = [Step::BeforeEffect, Step::AfterEffect, Step::AfterRecord];

/// A member dies at a step of a batch, which is then delivered again, as the broker does without an ack.
async fn crashed_at(step: Step, kind: &StoreKind, discipline: Discipline) -> (Vec<Handled>, Vec<(EffectId, u32)>) {
    let effects = open(kind, discipline).await;
    let mut session = effects.session(0).await.unwrap();
    session.handle_until(&batch(0..3), 1, step).await.unwrap();
    let handled = session.handle(&batch(0..3), 2).await.unwrap().to_vec();
    let found = counts(&effects.audit().await.unwrap());
    drop(session);
    effects.close().await.unwrap();
    (handled, found)
}

#[tokio::test]
async fn in_one_transaction_a_crash_anywhere_before_the_ack_applies_once() {
    for kind in databases().await {
        for step in STEPS {
            let (handled, found) = crashed_at(step, &kind, Discipline::OneTransaction).await;
            assert_eq!(found, each(0..3, 1), "{} {step:?}", kind.name());
            let committed = step == Step::AfterRecord;
            assert_eq!(handled, [if committed { Handled::Repeated } else { Handled::Applied }; 3], "{step:?}");
        }
    }
}

#[tokio::test]
async fn check_then_act_applies_twice_after_a_crash_between_effect_and_record() {
    for kind in databases().await {
        for (step, times) in STEPS.into_iter().zip([1, 2, 1]) {
            let (_, found) = crashed_at(step, &kind, Discipline::CheckThenAct).await;
            assert_eq!(found, each(0..3, times), "{} {step:?}", kind.name());
        }
    }
}

#[tokio::test]
async fn a_memory_forgets_in_a_crash_what_the_world_does_not() {
    for (kind, expected) in [(StoreKind::Memory, [1, 2, 2]), (StoreKind::None, [1, 2, 2])] {
        for (step, times) in STEPS.into_iter().zip(expected) {
            let (handled, found) = crashed_at(step, &kind, Discipline::CheckThenAct).await;
            assert_eq!(found, each(0..3, times), "{} {step:?}", kind.name());
            assert_eq!(handled, [Handled::Applied; 3], "{} {step:?}", kind.name());
        }
    }
}

/// Two members have the same batch. When the first has looked it up, the second handles it; the first waits until the
/// second is through, or until `patience` ends. Says whether the second was, and how often the effects were applied.
async fn raced(kind: &StoreKind, discipline: Discipline, patience: Duration) -> (bool, Vec<(EffectId, u32)>) {
    let effects = open(kind, discipline).await;
    let (mut first, mut second) = (effects.session(1).await.unwrap(), effects.session(2).await.unwrap());
    let (reached, gate) = oneshot::channel();
    let (done, through) = oneshot::channel();
    let second = tokio::spawn(async move {
        gate.await.unwrap();
        second.handle(&batch(0..5), 1).await.unwrap();
        let _patience_ended = done.send(());
    });
    let mut meeting = Some((reached, through));
    let was_through = std::sync::Arc::new(std::sync::OnceLock::new());
    let hook = |step| {
        let meeting = if step == Step::BeforeEffect { meeting.take() } else { None };
        let was_through = std::sync::Arc::clone(&was_through);
        async move {
            if let Some((reached, through)) = meeting {
                reached.send(()).unwrap();
                was_through.set(tokio::time::timeout(patience, through).await.is_ok()).unwrap();
            }
            Next::GoOn
        }
    };
    let handled = first.handle_with(&batch(0..5), 1, hook).await.unwrap().unwrap();
    assert_eq!(handled, [Handled::Applied; 5]);
    second.await.unwrap();
    let found = counts(&effects.audit().await.unwrap());
    (*was_through.get().unwrap(), found)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_then_act_applies_twice_where_two_members_look_before_either_records() {
    for kind in [sqlite(), postgres().await, StoreKind::Memory] {
        let raced = raced(&kind, Discipline::CheckThenAct, Duration::from_secs(60)).await;
        assert_eq!(raced, (true, each(0..5, 2)), "{}", kind.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transaction_keeps_the_second_member_waiting() {
    for kind in databases().await {
        let raced = raced(&kind, Discipline::OneTransaction, Duration::from_millis(300)).await;
        assert_eq!(raced, (false, each(0..5, 1)), "{}", kind.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_transaction_many_members_with_the_same_ids_apply_each_once() {
    for kind in databases().await {
        let effects = open(&kind, Discipline::OneTransaction).await;
        let mut members = Vec::new();
        for member in 0..6u64 {
            let mut session = effects.session(member as usize).await.unwrap();
            members.push(tokio::spawn(async move {
                let mut applied = 0;
                for round in 0..10u64 {
                    // Windows that overlap, backwards for every other member: a store must not lock in that order.
                    let mut ids = batch(round * 10..round * 10 + 30);
                    if member % 2 == 1 {
                        ids.reverse();
                    }
                    let handled = session.handle(&ids, round).await.unwrap();
                    applied += handled.iter().filter(|handled| **handled == Handled::Applied).count();
                }
                applied
            }));
        }
        let mut applied = 0;
        for member in members {
            applied += member.await.unwrap();
        }
        assert_eq!(applied, 120, "{}", kind.name());
        assert_eq!(counts(&effects.audit().await.unwrap()), each(0..120, 1), "{}", kind.name());
    }
}

#[tokio::test]
async fn without_a_store_every_delivery_is_applied() {
    let effects = open(&StoreKind::None, Discipline::CheckThenAct).await;
    let mut session = effects.session(0).await.unwrap();
    assert_eq!(session.handle(&[id(1), id(1), id(2)], 0).await.unwrap(), [Handled::Applied; 3]);
    assert_eq!(session.handle(&[id(2)], 0).await.unwrap(), [Handled::Applied]);
    let audit = effects.audit().await.unwrap();
    assert_eq!(counts(&audit), [(id(1), 2), (id(2), 2)]);
    assert_eq!((audit.applications(), audit.applied_once(), audit.applied_again()), (4, 0, 2));
}

#[tokio::test]
async fn a_batch_that_holds_an_id_twice_applies_it_once() {
    for kind in [sqlite(), postgres().await, StoreKind::Memory] {
        let effects = open(&kind, Discipline::CheckThenAct).await;
        let mut session = effects.session(0).await.unwrap();
        let handled = session.handle(&[id(7), id(3), id(7)], 0).await.unwrap();
        assert_eq!(handled, [Handled::Applied, Handled::Applied, Handled::Repeated], "{}", kind.name());
        assert_eq!(session.handle(&[], 0).await.unwrap(), [], "{}", kind.name());
        assert_eq!(counts(&effects.audit().await.unwrap()), [(id(3), 1), (id(7), 1)], "{}", kind.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_nobody_waits_for_any_more_leaves_no_open_transaction() {
    for kind in databases().await {
        let effects = open(&kind, Discipline::OneTransaction).await;
        let mut session = effects.session(0).await.unwrap();
        let (reached, gate) = oneshot::channel();
        let mut reached = Some(reached);
        let hook = |step| {
            let reached = (step == Step::AfterEffect).then(|| reached.take()).flatten();
            async move {
                if let Some(reached) = reached {
                    reached.send(()).unwrap();
                    std::future::pending::<()>().await;
                }
                Next::GoOn
            }
        };
        let ids = [id(1)];
        tokio::select! {
            _ = session.handle_with(&ids, 0, hook) => panic!("the hook does not end"),
            given_up = gate => given_up.unwrap(),
        }
        assert_eq!(session.handle(&[id(2)], 0).await.unwrap(), [Handled::Applied], "{}", kind.name());
        assert_eq!(counts(&effects.audit().await.unwrap()), [(id(2), 1)], "{}: what was open is gone", kind.name());
        assert_eq!(session.handle(&[id(1)], 0).await.unwrap(), [Handled::Applied], "{}", kind.name());
    }
}

#[tokio::test]
async fn all_sessions_of_a_member_share_one_memory_and_lose_it_once() {
    let effects = open(&StoreKind::Memory, Discipline::CheckThenAct).await;
    let (mut first, mut second) = (effects.session(4).await.unwrap(), effects.session(4).await.unwrap());
    let mut stranger = effects.session(5).await.unwrap();
    assert_eq!(first.handle(&batch(0..2), 1).await.unwrap(), [Handled::Applied; 2]);
    assert_eq!(second.handle(&batch(0..2), 2).await.unwrap(), [Handled::Repeated; 2]);
    assert_eq!(stranger.handle(&batch(0..2), 3).await.unwrap(), [Handled::Applied; 2], "it has one of its own");
    first.crash();
    assert_eq!(first.handle(&batch(0..2), 4).await.unwrap(), [Handled::Applied; 2]);
    // It learns of the same death later, and its member has begun anew by then.
    second.cut();
    assert_eq!(second.handle(&batch(0..2), 5).await.unwrap(), [Handled::Repeated; 2]);
    assert_eq!(stranger.handle(&batch(0..2), 6).await.unwrap(), [Handled::Repeated; 2]);
    // What was under way when the member died is not remembered by the one that took its place.
    let hook = |step| {
        if step == Step::AfterEffect {
            first.crash();
        }
        std::future::ready(Next::GoOn)
    };
    second.handle_with(&batch(7..8), 7, hook).await.unwrap();
    assert_eq!(second.handle(&batch(7..8), 8).await.unwrap(), [Handled::Applied]);
}
