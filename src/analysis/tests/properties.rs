//! What holds of every record, however broken.

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;

/// Books of a queue that balance half of the time.
fn any_queue() -> impl Strategy<Value = QueueAccount> {
    let number = || prop_oneof![60 => Just(0u64), 10 => 0u64..5, 1 => Just(u64::MAX)];
    let dead_lettered = prop::collection::btree_map("[a-z]{3}", number(), 0..2);
    (any::<bool>(), 11_900u64..12_100, prop::collection::vec(number(), 10), dead_lettered).prop_map(
        |(balance, consumed, n, dead_lettered)| {
            let removed = dead_lettered.values().copied().chain([n[0], n[1], n[2]]);
            let accounted = removed.fold(consumed, u64::saturating_add);
            QueueAccount {
                queue: "orders".to_owned(),
                routed: if balance { accounted } else { 12_000 },
                delivered: consumed,
                consumed,
                dead_lettered,
                removed_by_rule: n[0],
                left_in_queue: n[1],
                lost: n[2],
                possibly_lost: n[3],
                redelivered: n[4],
                unflagged: n[5],
                phantom: n[6],
                corrupt: n[7],
                misordered: n[8],
                misrouted: n[9],
                ..QueueAccount::default()
            }
        },
    )
}

fn any_completeness() -> impl Strategy<Value = Completeness> {
    prop_oneof![
        4 => Just(Completeness::Complete),
        1 => Just(Completeness::Interrupted),
        1 => Just(Completeness::Aborted { reason: "no more".to_owned() })
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    let overflow = prop_oneof![9 => Just(0u64), 1 => 1u64..3];
    let planned = prop::option::of(prop_oneof![Just(12_000u64), 0u64..30_000]);
    let generator = (overflow, 0u64..140, -120_000i64..120_000, planned, 11_000u64..13_000);
    (
        any_queue(),
        any_completeness(),
        generator,
        prop::array::uniform4(prop::bool::weighted(0.25)),
        prop::collection::vec(0u64..u64::MAX, 6),
    )
        .prop_map(
            |(
                queue,
                completeness,
                (overflow, late, step, planned, sends),
                [drop_audit, no_samples, no_sums, bare],
                numbers,
            )| {
                let mut record = good();
                record.completeness = completeness;
                record.account.queues[0] = queue;
                let generator = &mut record.generator;
                (generator.overflow, generator.late_sends, generator.clock_step_us) = (overflow, late, step);
                (generator.load_planned, generator.load_sends) = (planned, sends);
                if drop_audit {
                    record.phases.pop();
                }
                if no_samples {
                    record.latency.iter_mut().for_each(|summary| summary.count = 0);
                }
                if bare {
                    record.plan.expect.clear();
                }
                add_up(&mut record);
                if no_sums {
                    let publisher = &mut record.account.publishers[0];
                    (publisher.planned, publisher.published, publisher.confirmed) =
                        (numbers[0], numbers[1], numbers[2]);
                    record.totals.consumed = numbers[3];
                    record.generator.held_us = numbers[4];
                    record.generator.load_us = numbers[5];
                }
                record
            },
        )
}

/// The strategy above is worth something only where it makes good records too.
#[test]
fn every_word_is_reached() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5000 {
        let record = any_record().new_tree(&mut runner).expect("a record").current();
        seen.insert(judge(&record).verdict);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_broken_record_never_passes(record in any_record()) {
        let judgement = judge(&record);
        let queue = &record.account.queues[0];
        let dead: u128 = queue.dead_lettered.values().map(|n| u128::from(*n)).sum();
        let accounted = [queue.consumed, queue.removed_by_rule, queue.left_in_queue, queue.lost];
        let accounted = accounted.into_iter().map(u128::from).sum::<u128>() + dead;
        if accounted != u128::from(queue.routed) || record.generator.overflow > 0 {
            prop_assert_eq!(judgement.verdict, Verdict::Invalid);
        }
        let is_complete = record.completeness == Completeness::Complete;
        let expects_latency = !record.plan.expect.is_empty();
        let has_samples = record.latency.iter().all(|summary| summary.count > 0);
        if !is_complete || (expects_latency && !has_samples) {
            prop_assert_ne!(judgement.verdict, Verdict::Pass);
        }
        prop_assert!(!judgement.reasons.is_empty());
        prop_assert_eq!(judgement.checks.len(), record.plan.expect.len());
        let worst = judgement.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Pass);
        prop_assert!(judgement.verdict >= worst, "{:?} is milder than a check", judgement.verdict);
    }

    #[test]
    fn judging_again_changes_nothing(record in any_record()) {
        let first = judge(&record);
        let again = Record { verdict: Some(first.clone()), ..record };
        prop_assert_eq!(judge(&again), first);
    }

    #[test]
    fn balanced_books_are_not_what_makes_a_run_invalid(
        parts in prop::collection::vec(0u64..1000, 4), dead in 0u64..1000,
    ) {
        let judgement = judged(|record| {
            record.plan.expect.clear();
            let queue = &mut record.account.queues[0];
            (queue.consumed, queue.removed_by_rule, queue.left_in_queue, queue.lost) =
                (parts[0], parts[1], parts[2], parts[3]);
            queue.dead_lettered.insert("expired".to_owned(), dead);
            queue.routed = parts.iter().sum::<u64>() + dead;
        });
        prop_assert_ne!(judgement.verdict, Verdict::Invalid);
    }

    #[test]
    fn more_missing_messages_never_turn_a_failed_upper_bound_into_a_pass(
        copies in 0u64..300, more in 0u64..300, us in 0u64..100_000,
    ) {
        let missing = |copies: u64| checked(bound("end_to_end.p99", Comparison::AtMost, us as f64), |record| {
            not_consumed(record, copies).lost = copies;
        }).1.verdict;
        prop_assert!(missing(copies + more) == Verdict::Fail || missing(copies) != Verdict::Fail);
    }
}
