//! What makes a run invalid or inconclusive.

use super::*;

/// The good record with this change gets `verdict`, and a reason that holds `words`.
#[track_caller]
fn gets(verdict: Verdict, words: &str, change: impl FnOnce(&mut Record)) -> Judgement {
    let judgement = judged(change);
    assert_eq!(judgement.verdict, verdict, "{:#?}", judgement.reasons);
    assert!(judgement.reasons.iter().any(|reason| reason.contains(words)), "{:#?}", judgement.reasons);
    judgement
}

#[test]
fn the_good_record_passes() {
    let judgement = gets(Verdict::Pass, "all 8 expectations held", |_| {});
    assert_eq!(judgement.reasons.len(), 1, "{:#?}", judgement.reasons);
    assert!(judgement.checks.iter().all(|check| check.verdict == Verdict::Pass), "{:#?}", judgement.checks);
    insta::assert_debug_snapshot!(judgement.checks);
}

#[test]
fn without_expectations_nothing_was_claimed() {
    gets(Verdict::Pass, "nothing was claimed", |record| record.plan.expect.clear());
}

#[test]
fn books_must_balance() {
    gets(Verdict::Invalid, "queue `orders` do not balance: 12,000 copies routed there, but 11,999", |record| {
        record.account.queues[0].consumed -= 1;
    });
    gets(Verdict::Invalid, "but 12,001 accounted for", |record| record.account.queues[0].left_in_queue = 1);
}

#[test]
fn dead_letters_and_removals_balance_the_books() {
    gets(Verdict::Pass, "all 8 expectations held", |record| {
        let queue = not_consumed(record, 30);
        queue.dead_lettered = BTreeMap::from([("expired".to_owned(), 10), ("rejected".to_owned(), 15)]);
        queue.removed_by_rule = 5;
    });
}

#[test]
fn a_removal_that_no_counter_confirms_is_noted() {
    let words = "5 copies taken as removed";
    gets(Verdict::Pass, words, |record| {
        let queue = not_consumed(record, 5);
        (queue.removed_by_rule, queue.removed_unverified) = (5, 5);
    });
    let confirmed = judged(|record| not_consumed(record, 5).removed_by_rule = 5);
    assert!(!confirmed.reasons.iter().any(|reason| reason.contains(words)), "{:#?}", confirmed.reasons);
}

#[test]
fn a_loss_that_may_be_another_queue_s_decides_nothing_about_one() {
    let lost = |record: &mut Record, among_several: u64, at_most: f64| {
        record.plan.expect = vec![bound("lost.orders", Comparison::AtMost, at_most)];
        let queue = not_consumed(record, 3);
        (queue.lost, queue.lost_among_several) = (3, among_several);
    };
    gets(Verdict::Fail, "`lost.orders` is 3", |record| lost(record, 0, 0.0));
    gets(Verdict::Inconclusive, "5 copies lost among queues", |record| lost(record, 5, 0.0));
    gets(Verdict::Pass, "which of 1 queue lost how many cannot be told", |record| lost(record, 5, 5.0));
}

#[test]
fn a_prefetch_that_the_broker_does_not_share_is_told() {
    let shared = |record: &mut Record, version: &str| {
        (record.broker.product, record.broker.version) = ("RabbitMQ".to_owned(), version.to_owned());
        let fleet = &mut record.plan.consumers[0];
        (fleet.prefetch, fleet.prefetch_scope) = (10, PrefetchScope::Channel);
        fleet.subscribers[0].queues = vec![0, 0];
    };
    let told = |record: Judgement| record.reasons.iter().any(|reason| reason.contains("a prefetch of its own"));
    assert!(told(judged(|record| shared(record, "4.3.6"))));
    assert!(!told(judged(|record| shared(record, "4.2.9"))));
    assert!(!told(judged(|record| {
        shared(record, "4.3.6");
        record.plan.broker.config.push("deprecated_features.permit.global_qos = true".to_owned());
    })));
    assert!(!told(judged(|record| {
        shared(record, "5.0.0");
        record.plan.consumers[0].prefetch_scope = PrefetchScope::Consumer;
    })));
}

#[test]
fn nothing_may_come_where_it_does_not_belong() {
    gets(Verdict::Invalid, "1 message delivered from queue `orders` that the plan routes elsewhere", |record| {
        record.account.queues[0].misrouted = 1;
    });
}

#[test]
fn outcomes_must_add_up() {
    gets(Verdict::Invalid, "publisher 0 do not add up: 12,000 published, but 11,990 with an outcome", |record| {
        record.account.publishers[0].confirmed -= 10;
    });
    gets(Verdict::Invalid, "publisher 0 do not add up: 12,010 planned", |record| {
        record.account.publishers[0].planned += 10;
    });
}

#[test]
fn totals_must_agree_with_the_account() {
    let mut record = good();
    record.totals.consumed += 1;
    let judgement = judge(&record);
    assert_eq!(judgement.verdict, Verdict::Invalid);
    assert_eq!(
        judgement.reasons[0],
        "the totals disagree with the account: `consumed` is 12,001 there and 12,000 here"
    );
}

#[test]
fn every_word_of_the_totals_is_held_against_the_account() {
    let good = serde_json::to_value(good().totals).expect("json");
    let words =
        good.as_object().expect("an object").keys().filter(|word| !["disconnects", "blocked"].contains(&word.as_str()));
    for word in words {
        let mut changed = good.clone();
        changed[word] = serde_json::json!(7);
        let mut record = super::good();
        record.totals = serde_json::from_value(changed).expect("totals");
        assert_eq!(judge(&record).verdict, Verdict::Invalid, "{word}");
    }
}

#[test]
fn nothing_may_overflow() {
    gets(Verdict::Invalid, "1 event dropped", |record| record.generator.overflow = 1);
}

#[test]
fn clocks_may_not_jump() {
    gets(Verdict::Pass, "held", |record| record.generator.clock_step_us = -100_000);
    gets(Verdict::Invalid, "set by 100.001 ms", |record| record.generator.clock_step_us = -100_001);
}

#[test]
fn the_generator_keeps_its_schedule() {
    gets(Verdict::Pass, "held", |record| record.generator.late_sends = 120);
    gets(Verdict::Invalid, "121 of 12,000 sends (1.01 %) were more than 100 ms late", |record| {
        record.generator.late_sends = 121;
    });
}

/// A load of which a tenth was sent, at 14 µs of CPU per message.
fn a_tenth_sent(record: &mut Record, planned: u64) {
    record.intervals.clear();
    record.plan.expect.clear();
    record.generator.load_planned = Some(planned);
    record.generator.load_sends = planned / 10;
    record.generator.cpu_us = planned / 10 * 14;
}

#[test]
fn a_load_that_the_machine_cannot_generate_is_invalid() {
    // 30,428,571 messages in 6 s are 5,071,429 per second: 71 cores at 14 µs each.
    let words = "it needs 71 cores at 14 µs per message, this machine has 2; \
                 it sent 3,042,857 of 30,428,571 planned messages (10 %)";
    gets(Verdict::Invalid, words, |record| a_tenth_sent(record, 30_428_571));
}

#[test]
fn a_load_that_the_broker_did_not_take_is_valid() {
    gets(Verdict::Pass, "the broker did not take the offered load", |record| {
        a_tenth_sent(record, 60_000);
        record.generator.held_us = 5_500_000;
    });
    gets(Verdict::Pass, "producers died on purpose 2 times: it sent", |record| {
        a_tenth_sent(record, 60_000);
        record.incidents_total = 4;
        let (started_us, healed_us) = (Some(1_000_000), Some(2_000_000));
        let kind = "producer-crash".to_owned();
        let crash = FaultRow { kind, done: 2, started_us, healed_us, ..FaultRow::default() };
        record.faults.push(crash);
    });
    gets(Verdict::Pass, "with 3 incidents", |record| {
        a_tenth_sent(record, 60_000);
        record.incidents_total = 3;
    });
}

#[test]
fn a_load_that_nothing_held_up_and_that_was_not_sent_is_invalid() {
    gets(Verdict::Invalid, "nothing that was recorded explains it", |record| a_tenth_sent(record, 60_000));
}

#[test]
fn a_load_that_may_end_early_need_not_be_sent() {
    gets(Verdict::Pass, "may have ended early", |record| {
        a_tenth_sent(record, 60_000);
        record.plan.load.stop_when_idle_us = Some(1_000_000);
    });
}

#[test]
fn what_the_harness_costs_while_it_waits_is_not_charged_to_the_messages() {
    // The broker stood still after the first second: 2,000 messages, and 6 s of idling at a third of a core.
    let stalled = |record: &mut Record, cores: f64| {
        record.plan.expect.clear();
        record.generator.load_planned = Some(120_000);
        record.generator.load_sends = 2000;
        record.generator.cpu_us = 2_000_000;
        record.generator.held_us = 6_000_000;
        record.intervals.truncate(2);
        record.intervals.iter_mut().for_each(|interval| interval.generator_cpu_cores = cores);
    };
    gets(Verdict::Pass, "the broker did not take the offered load", |record| stalled(record, 0.1));
    gets(Verdict::Invalid, "could not offer the load", |record| stalled(record, 0.9));
}

#[test]
fn what_a_waiting_generator_costs_is_no_limit_of_it() {
    // One message at a time: what each costs then says nothing of what it would cost in a batch.
    let waiting = |record: &mut Record, cost_us: Option<f64>| {
        record.plan.expect.clear();
        record.generator.load_planned = Some(120_000);
        record.generator.load_sends = 2000;
        record.generator.cpu_us = 1_200_000;
        record.generator.held_us = 6_000_000;
        record.plan.load.duration_us = Some(6_000_000);
        record.generator.message_cost_us = cost_us;
        record.generator.publisher_threads = 1;
        record.intervals.iter_mut().for_each(|interval| interval.generator_cpu_cores = 0.2);
    };
    gets(Verdict::Pass, "the broker did not take the offered load", |record| waiting(record, None));
    // A second that was busy with something else than messages, as on a machine that has other work as well.
    gets(Verdict::Pass, "the broker did not take the offered load", |record| {
        waiting(record, None);
        let first = record.intervals.iter().map(|interval| interval.start_us).min();
        for interval in record.intervals.iter_mut().filter(|interval| Some(interval.start_us) == first) {
            (interval.published, interval.generator_cpu_cores) = (0, 0.9);
        }
    });
    // What a message costs a publisher's thread is a limit, however long it waited to send it.
    // 20,000 messages a second: at 50 µs each a thread is busy all the time.
    let busy = |share: f64| Some(50.0 * share);
    gets(Verdict::Pass, "the broker did not take the offered load", |record| waiting(record, busy(0.9)));
    gets(Verdict::Invalid, "it needs 1.1 threads", |record| waiting(record, busy(1.1)));
    gets(Verdict::Pass, "the broker did not take the offered load", |record| {
        waiting(record, busy(1.1));
        record.generator.publisher_threads = 2;
    });
}

#[test]
fn a_queue_left_undrained_is_inconclusive() {
    let words = "7 copies still in queues that the consumers should have emptied: `orders`: 7";
    let undrained = |record: &mut Record| {
        record.plan.expect.retain(|expectation| !matches!(expectation, Expectation::Bound { .. }));
        not_consumed(record, 7).left_in_queue = 7;
    };
    gets(Verdict::Inconclusive, words, undrained);
    gets(Verdict::Pass, "held", |record| {
        undrained(record);
        record.plan.expect.push(bound("left_in_queue", Comparison::AtLeast, 1.0));
    });
    gets(Verdict::Inconclusive, words, |record| {
        undrained(record);
        record.plan.expect.push(bound("left_in_queue.elsewhere", Comparison::AtLeast, 0.0));
    });
    gets(Verdict::Pass, "held", |record| {
        undrained(record);
        record.plan.consumers.clear();
    });
    gets(Verdict::Pass, "not read to the end of the stream: `orders#0`: 7", |record| {
        undrained(record);
        record.plan.topology.queues[0].kind = QueueKind::Stream;
        record.account.queues[0].queue = "orders#0".to_owned();
    });
}

#[test]
fn a_run_that_did_not_end_never_passes() {
    let judgement = gets(Verdict::Inconclusive, "the run was interrupted", |record| {
        record.completeness = Completeness::Interrupted;
    });
    assert_eq!(judgement.reasons.len(), 1, "{:#?}", judgement.reasons);
    gets(Verdict::Inconclusive, "the run could not go on: the broker is gone", |record| {
        record.completeness = Completeness::Aborted { reason: "the broker is gone".to_owned() };
    });
}

#[test]
fn a_failure_that_was_certain_before_an_interruption_stays() {
    gets(Verdict::Fail, "1 duplicate", |record| {
        record.completeness = Completeness::Interrupted;
        record.account.queues[0].unflagged = 1;
    });
    let lose = |record: &mut Record| {
        record.completeness = Completeness::Interrupted;
        not_consumed(record, 3).lost = 3;
    };
    gets(Verdict::Fail, "3 copies confirmed by the broker and gone", lose);
    // Nobody read the queues: the copies may still be there.
    gets(Verdict::Inconclusive, "3 copies confirmed by the broker and gone, as far as the books go", |record| {
        lose(record);
        record.phases.pop();
    });
}

#[test]
fn an_interrupted_load_need_not_be_offered_to_its_end() {
    let judgement = judged(|record| {
        a_tenth_sent(record, 60_000);
        record.completeness = Completeness::Interrupted;
    });
    assert_eq!(judgement.verdict, Verdict::Inconclusive, "{:#?}", judgement.reasons);
}

#[test]
fn a_run_without_messages_proves_nothing() {
    gets(Verdict::Inconclusive, "no message was published", |record| {
        record.plan.expect.clear();
        record.account = Account::default();
    });
}

#[test]
fn harm_is_told_whatever_the_word() {
    let invalid = gets(Verdict::Invalid, "2 copies confirmed by the broker and gone", |record| {
        not_consumed(record, 2).lost = 2;
        record.generator.overflow = 1;
    });
    assert!(invalid.reasons[0].contains("dropped"), "{:#?}", invalid.reasons);
    for (word, words) in [
        ("lost", "`orders`: 2"),
        ("phantom", "2 deliveries of messages that this run never sent"),
        ("corrupt", "checksum"),
    ] {
        let judgement = gets(Verdict::Pass, words, |record| {
            record.plan.expect = vec![bound("consumed", Comparison::AtLeast, 1.0)];
            match word {
                "lost" => not_consumed(record, 2).lost = 2,
                "phantom" => record.account.queues[0].phantom = 2,
                _ => record.account.queues[0].corrupt = 2,
            }
        });
        assert!(judgement.reasons[0].contains(words), "harm comes first: {:#?}", judgement.reasons);
    }
    gets(Verdict::Pass, "4 messages confirmed by the broker and routed to no queue", |record| {
        record.plan.expect.clear();
        record.account.publishers[0].planned += 4;
        record.account.publishers[0].published += 4;
        record.account.publishers[0].confirmed += 4;
        record.account.unroutable = 4;
    });
}

#[test]
fn the_most_important_reason_comes_first() {
    let judgement = judged(|record| {
        record.plan.expect = vec![Expectation::Guarantee(Guarantee::AtMostOnce)];
        let queue = not_consumed(record, 20);
        (queue.left_in_queue, queue.removed_by_rule, queue.removed_unverified) = (10, 10, 10);
        queue.unflagged = 1;
        queue.phantom = 1;
        record.generator.overflow = 1;
    });
    let order = [
        "1 event dropped",
        "at-most-once does not hold",
        "1 delivery of messages",
        "10 copies still",
        "10 copies taken",
    ];
    assert_eq!(judgement.reasons.len(), order.len(), "{:#?}", judgement.reasons);
    for (reason, words) in judgement.reasons.iter().zip(order) {
        assert!(reason.contains(words), "{:#?}", judgement.reasons);
    }
}

#[test]
fn reasons_of_one_kind_do_not_bury_the_others() {
    let judgement = judged(|record| {
        record.account.queues = (0..100)
            .map(|n| QueueAccount { queue: format!("orders.{n}"), routed: 1, ..QueueAccount::default() })
            .collect();
    });
    let about_balance = judgement.reasons.iter().filter(|reason| reason.contains("do not balance")).count();
    assert_eq!(about_balance, 5);
    assert!(
        judgement.reasons.iter().any(|reason| reason == "and 95 more of the same kind"),
        "{:#?}",
        judgement.reasons
    );
}
