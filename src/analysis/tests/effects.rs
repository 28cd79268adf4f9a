//! Effects: each way in which one can be wrong, and stores that nobody read.

use super::*;
use Verdict::{Fail, Inconclusive, Pass};

/// The one fleet has a store, which says that all is well; then `change`.
fn with_store(change: impl FnOnce(&mut Record)) -> impl FnOnce(&mut Record) {
    move |record| {
        record.plan.consumers[0].idempotency = Some(IdempotencyPlan {
            store: Store::Sqlite,
            discipline: Discipline::OneTransaction,
            window_us: None,
            path: None,
            url: None,
        });
        record.stores = vec![StoreRow {
            fleet: "billing".to_owned(),
            queue: "orders".to_owned(),
            store: "sqlite".to_owned(),
            discipline: "one-transaction".to_owned(),
            window_us: None,
            error: None,
        }];
        record.account.queues[0].effects = Some(EffectsAccount { applied: 12_000, ..EffectsAccount::default() });
        change(record);
    }
}

fn set(applied: u64, repeated: u64, missing: u64, unknown: u64) -> impl Fn(&mut Record) {
    move |record| record.account.queues[0].effects = Some(EffectsAccount { applied, repeated, missing, unknown })
}

fn effectively_once() -> Expectation {
    Expectation::Guarantee(Guarantee::EffectivelyOnce)
}

#[test]
fn effectively_once_holds_where_each_effect_was_applied_once() {
    let (verdict, check) = checked(effectively_once(), with_store(|_| ()));
    assert_eq!((verdict, check.value), (Pass, Some(0.0)));
    assert!(check.note.as_ref().is_some_and(|note| note.contains("12,000")), "{check:?}");
    // Duplicates are what it is for.
    let repeated = |record: &mut Record| record.account.queues[0].redelivered = 9;
    assert_eq!(checked(effectively_once(), with_store(repeated)).0, Pass);
}

#[test]
fn effectively_once_fails_for_each_way_in_which_an_effect_is_wrong() {
    for (effects, said) in [
        (set(12_000, 3, 0, 0), "3 effects applied more than once"),
        (set(11_999, 0, 1, 0), "1 effect never applied"),
        (set(12_000, 0, 0, 2), "2 effects applied for messages that never came"),
    ] {
        let (verdict, check) = checked(effectively_once(), with_store(effects));
        assert_eq!(verdict, Fail, "{said}");
        assert_eq!(check.note.as_deref(), Some(said));
    }
    let lose = |record: &mut Record| {
        not_consumed(record, 5).lost = 5;
        set(11_995, 0, 5, 0)(record);
    };
    let (verdict, check) = checked(effectively_once(), with_store(lose));
    assert_eq!(verdict, Fail);
    assert!(check.note.as_ref().is_some_and(|note| note.contains("confirmed by the broker and gone")), "{check:?}");
    let possibly = |record: &mut Record| record.account.queues[0].possibly_lost = 1;
    assert_eq!(checked(effectively_once(), with_store(possibly)).0, Fail);
}

#[test]
fn a_store_that_was_not_read_is_never_a_pass() {
    let unread = |record: &mut Record| {
        record.account.queues[0].effects = None;
        record.stores[0].error = Some("the disk is gone".to_owned());
    };
    let (verdict, check) = checked(effectively_once(), with_store(unread));
    assert_eq!((verdict, check.value), (Inconclusive, None));
    // Whatever the scenario expects, and where it expects nothing.
    for expect in [vec![bound("lost", Comparison::Equal, 0.0)], Vec::new()] {
        let judgement = judged(with_store(|record| {
            record.plan.expect = expect;
            unread(record);
        }));
        assert_eq!(judgement.verdict, Inconclusive);
        let reason = &judgement.reasons[0];
        assert!(reason.contains("store of `billing`") && reason.contains("the disk is gone"), "{reason}");
    }
    let (verdict, check) = checked(bound("effects_repeated", Comparison::Equal, 0.0), with_store(unread));
    assert_eq!((verdict, check.value), (Inconclusive, None));
    // Nor is a record whose store left no word at all.
    let forgotten = |record: &mut Record| {
        record.account.queues[0].effects = None;
        record.stores.clear();
    };
    assert_eq!(checked(bound("lost", Comparison::Equal, 0.0), with_store(forgotten)).0, Inconclusive);
}

#[test]
fn one_store_of_two_that_was_not_read_leaves_doubt() {
    let second = |record: &mut Record| {
        record.plan.topology.queues.push(QueuePlan::new("more", QueueKind::Quorum));
        record.account.queues.push(QueueAccount { queue: "more".to_owned(), ..QueueAccount::default() });
        record.plan.consumers[0].queues.push(1);
    };
    let expected = |metric: &str| checked(bound(metric, Comparison::Equal, 0.0), with_store(second)).1.verdict;
    assert_eq!(expected("effects_repeated"), Inconclusive);
    assert_eq!(expected("effects_repeated.orders"), Pass);
    assert_eq!(expected("effects_repeated.more"), Inconclusive);
    assert_eq!(checked(effectively_once(), with_store(second)).1.verdict, Inconclusive);
    // What the unread one holds might mend a bound that is not met, and no bound that is exceeded.
    for (metric, comparison, limit, verdict) in [
        ("effects_applied", Comparison::AtLeast, 20_000.0, Inconclusive),
        ("effects_applied", Comparison::Equal, 24_000.0, Inconclusive),
        ("effects_applied", Comparison::Equal, 11_000.0, Fail),
        ("effects_applied", Comparison::AtMost, 11_000.0, Fail),
        ("effects_applied", Comparison::Less, 12_000.0, Fail),
        ("effects_applied.orders", Comparison::AtLeast, 20_000.0, Fail),
    ] {
        let (_, check) = checked(bound(metric, comparison, limit), with_store(second));
        assert_eq!(check.verdict, verdict, "{check:?}");
    }
}

#[test]
fn counts_of_effects_are_bounds_like_any_other() {
    let none = || bound("effects_repeated", Comparison::Equal, 0.0);
    let some = || bound("effects_repeated.orders", Comparison::AtLeast, 1.0);
    assert_eq!(checked(none(), with_store(|_| ())).0, Pass);
    assert_eq!(checked(none(), with_store(set(12_000, 1, 0, 0))).0, Fail);
    assert_eq!(checked(some(), with_store(set(12_000, 1, 0, 0))).0, Pass);
    assert_eq!(checked(some(), with_store(|_| ())).0, Fail);
    assert_eq!(checked(bound("effects_missing", Comparison::Equal, 0.0), with_store(set(11_999, 0, 1, 0))).0, Fail);
    assert_eq!(checked(bound("effects_unknown", Comparison::Equal, 0.0), with_store(set(12_000, 0, 0, 1))).0, Fail);
    // Zero of nothing proves nothing.
    let nobody_came = |record: &mut Record| {
        not_consumed(record, 12_000).left_in_queue = 12_000;
        set(0, 0, 0, 0)(record);
    };
    assert_eq!(checked(none(), with_store(nobody_came)).1.verdict, Inconclusive);
    // Without any store there is no count.
    let (verdict, check) = checked(none(), |_| ());
    assert_eq!((verdict, check.value), (Inconclusive, None));
}

#[test]
fn wrong_effects_are_told_where_nothing_forbids_them() {
    let judgement = judged(with_store(set(11_990, 4, 10, 1)));
    assert_eq!(judgement.verdict, Pass);
    let told = judgement.reasons.join("\n");
    for said in ["4 effects applied more than once", "10 effects never applied", "1 effect applied for messages"] {
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn a_run_that_was_cut_short_can_still_fail() {
    let cut = |record: &mut Record| record.completeness = Completeness::Interrupted;
    let (verdict, _) = checked(effectively_once(), with_store(cut));
    assert_eq!(verdict, Inconclusive);
    let (_, check) = checked(
        effectively_once(),
        with_store(|record| {
            cut(record);
            set(12_000, 1, 0, 0)(record);
        }),
    );
    assert_eq!(check.verdict, Fail, "what was applied twice stays so");
    let (_, check) = checked(
        effectively_once(),
        with_store(|record| {
            cut(record);
            set(11_999, 0, 1, 0)(record);
        }),
    );
    assert_eq!(check.verdict, Inconclusive);
}

#[test]
fn totals_that_do_not_add_up_are_invalid() {
    let mut record = good();
    with_store(|_| ())(&mut record);
    add_up(&mut record);
    record.totals.effects_applied = Some(11_000);
    let judgement = judge(&record);
    assert_eq!(judgement.verdict, Verdict::Invalid);
    assert!(judgement.reasons[0].contains("effects_applied"), "{:?}", judgement.reasons);
}
