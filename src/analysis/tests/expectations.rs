//! Each kind of expectation, held and broken.

use super::*;
use Comparison::{AtLeast, AtMost, Equal, Less, More, NotEqual};
use Verdict::{Fail, Inconclusive, Pass};

fn guarantee(guarantee: Guarantee) -> Expectation {
    Expectation::Guarantee(guarantee)
}

#[test]
fn at_least_once_forbids_every_loss() {
    let lose = |record: &mut Record| not_consumed(record, 3).lost = 3;
    let (verdict, check) = checked(guarantee(Guarantee::AtLeastOnce), lose);
    assert_eq!((verdict, check.value), (Fail, Some(3.0)));

    // Never confirmed and missing: the producer cannot know, and the message is not there.
    let (verdict, check) = checked(guarantee(Guarantee::AtLeastOnce), |record| {
        let publisher = &mut record.account.publishers[0];
        (publisher.confirmed, publisher.unconfirmed) = (11_995, 5);
        let queue = not_consumed(record, 5);
        (queue.routed, queue.possibly_lost) = (11_995, 5);
    });
    assert_eq!(verdict, Fail);
    assert!(check.note.is_some_and(|note| note.contains("5 copies never confirmed and missing")));

    let (verdict, _) = checked(guarantee(Guarantee::AtLeastOnce), |record| {
        record.account.unroutable = 1;
        record.account.publishers[0].planned += 1;
        record.account.publishers[0].published += 1;
        record.account.publishers[0].confirmed += 1;
    });
    assert_eq!(verdict, Fail);
}

#[test]
fn at_most_once_forbids_every_repetition() {
    let repeats: [fn(&mut QueueAccount) -> &mut u64; 3] =
        [|queue| &mut queue.republished, |queue| &mut queue.redelivered, |queue| &mut queue.unflagged];
    for repeat in repeats {
        let change = |record: &mut Record| *repeat(&mut record.account.queues[0]) = 1;
        assert_eq!(checked(guarantee(Guarantee::AtMostOnce), change).0, Fail);
        assert_eq!(checked(guarantee(Guarantee::AtLeastOnce), change).0, Pass);
    }
}

#[test]
fn order_is_kept() {
    let (verdict, check) = checked(Expectation::Ordered, |record| record.account.queues[0].misordered = 2);
    assert_eq!((verdict, check.value), (Fail, Some(2.0)));
}

#[test]
fn a_guarantee_needs_messages() {
    for expectation in [guarantee(Guarantee::AtMostOnce), Expectation::Ordered] {
        let (verdict, check) = checked(expectation, |record| {
            record.plan.consumers.clear();
            not_consumed(record, 12_000).left_in_queue = 12_000;
        });
        assert_eq!((verdict, check.verdict), (Inconclusive, Inconclusive), "nothing was consumed");
    }
}

#[test]
fn zero_is_told_with_its_bound() {
    let (_, check) = checked(bound("lost", Equal, 0.0), |_| {});
    assert_eq!(check.note.as_deref(), Some("0 of 12,000, so at most 1 in 4,000 at 95 %"));
    let (verdict, check) = checked(bound("lost.orders", Equal, 0.0), |record| {
        record.plan.topology.queues.push(QueuePlan::new("idle", QueueKind::Classic));
        record.account.queues.insert(0, QueueAccount { queue: "idle".to_owned(), ..QueueAccount::default() });
    });
    assert_eq!((verdict, check.verdict), (Pass, Pass));
    let (verdict, _) = checked(bound("lost.idle", Equal, 0.0), |record| {
        record.account.queues.push(QueueAccount { queue: "idle".to_owned(), ..QueueAccount::default() });
    });
    assert_eq!(verdict, Inconclusive, "0 of 0 is no evidence");
}

#[test]
fn a_bound_on_losses_is_not_kept_by_counting_them_as_possible() {
    let possibly = |record: &mut Record| {
        let publisher = &mut record.account.publishers[0];
        (publisher.confirmed, publisher.sent) = (0, 12_000);
        let queue = not_consumed(record, 5);
        (queue.routed, queue.possibly_lost) = (11_995, 5);
    };
    assert_eq!(checked(bound("lost", Equal, 0.0), possibly).0, Inconclusive);
    assert_eq!(checked(bound("lost", AtMost, 5.0), possibly).0, Pass);
    let (verdict, _) = checked(bound("lost", Equal, 0.0), |record| {
        possibly(record);
        record.plan.expect.push(bound("possibly_lost", AtMost, 10.0));
    });
    assert_eq!(verdict, Pass, "the scenario says how many may be missing");
}

#[test]
fn counts_are_of_the_run_of_a_queue_and_of_a_reason() {
    let change = |record: &mut Record| {
        let queue = not_consumed(record, 30);
        queue.dead_lettered = BTreeMap::from([("expired".to_owned(), 10), ("maxlen".to_owned(), 20)]);
        record.totals.disconnects = 2;
    };
    for (metric, value) in [
        ("published", Some(12_000.0)),
        ("dead_lettered", Some(30.0)),
        ("dead_lettered.orders", Some(30.0)),
        ("dead_lettered.orders.expired", Some(10.0)),
        ("dead_lettered.maxlen", Some(20.0)),
        ("dead_lettered.rejected", Some(0.0)),
        ("consumed.orders", Some(11_970.0)),
        ("duplicates.orders", Some(0.0)),
        ("disconnects", Some(2.0)),
        ("consumed.nowhere", None),
        ("published.orders", None),
    ] {
        let (verdict, check) = checked(bound(metric, AtLeast, 0.0), change);
        assert_eq!(check.value, value, "{metric}");
        assert_eq!(value.is_none(), verdict == Inconclusive, "{metric}: {check:?}");
    }
    assert_eq!(checked(bound("dead_lettered.orders.expired", Equal, 11.0), change).0, Fail);
}

#[test]
fn books_of_a_stream_are_those_of_all_its_readers() {
    let (_, check) = checked(bound("consumed.log", Equal, 30.0), |record| {
        record.plan.topology.queues = vec![QueuePlan::new("log", QueueKind::Stream)];
        let reader = |id: u32, consumed| QueueAccount {
            queue: format!("log#{id}"),
            routed: consumed,
            consumed,
            ..QueueAccount::default()
        };
        record.account.queues = vec![reader(0, 10), reader(1, 20)];
    });
    assert_eq!((check.value, check.verdict), (Some(30.0), Pass));
}

#[test]
fn comparisons_do_what_they_say() {
    for (comparison, number, verdict) in [
        (Less, 12_000.0, Fail),
        (AtMost, 12_000.0, Pass),
        (Equal, 12_000.0, Pass),
        (NotEqual, 12_000.0, Fail),
        (AtLeast, 12_000.0, Pass),
        (More, 12_000.0, Fail),
    ] {
        assert_eq!(checked(bound("consumed", comparison, number), |_| {}).0, verdict, "{comparison:?}");
    }
}

#[test]
fn latencies_keep_their_bounds() {
    for (metric, comparison, us, verdict) in [
        ("end_to_end.p99", AtMost, 20_000.0, Pass),
        ("end_to_end.p99", AtMost, 19_999.0, Fail),
        ("end_to_end.billing.p50", Less, 1001.0, Pass),
        ("end_to_end.max", AtMost, 80_000.0, Pass),
        ("end_to_end.min", AtLeast, 200.0, Pass),
        ("end_to_end.mean", AtMost, 1499.0, Fail),
        ("end_to_end.count", AtLeast, 12_000.0, Pass),
        ("schedule_lag.p99", AtMost, 1e9, Inconclusive),
        ("end_to_end.nobody.p99", AtMost, 1e9, Inconclusive),
    ] {
        let (word, check) = checked(bound(metric, comparison, us), |_| {});
        assert_eq!((word, check.verdict), (verdict, verdict), "{metric} {comparison:?} {us}: {check:?}");
    }
}

#[test]
fn a_percentile_that_is_not_listed_lies_between_its_neighbours() {
    for (us, verdict) in [(30_000.0, Pass), (25_000.0, Inconclusive), (19_000.0, Fail)] {
        let (word, check) = checked(bound("end_to_end.p99.2", AtMost, us), |_| {});
        assert_eq!(word, verdict, "{us}: {check:?}");
        assert!(check.note.is_some_and(|note| note.contains("p99 to p99.5, 20 ms to 30 ms")));
    }
}

#[test]
fn where_many_samples_share_a_value_the_neighbours_do_not_matter() {
    let (word, check) = checked(bound("end_to_end.p99.2", AtMost, 25_000.0), |record| {
        for summary in &mut record.latency {
            summary.percentiles[3].count = 11_910;
        }
    });
    assert_eq!(word, Pass, "99.25 % are no larger than p99: {check:?}");
}

#[test]
fn a_percentile_needs_ten_samples_beyond_it() {
    let few = |count| move |record: &mut Record| record.latency.iter_mut().for_each(|summary| summary.count = count);
    assert_eq!(checked(bound("end_to_end.p99", AtMost, 1e9), few(1000)).0, Pass);
    let (verdict, check) = checked(bound("end_to_end.p99", AtMost, 1e9), few(999));
    assert_eq!(verdict, Inconclusive);
    assert_eq!(check.note.as_deref(), Some("p99 needs 1,000 samples, and there are 999"));
    assert_eq!(checked(bound("end_to_end.p99.9", AtMost, 1e9), few(9999)).0, Inconclusive);
    assert_eq!(checked(bound("end_to_end.p50", AtMost, 1e9), few(19)).0, Inconclusive);
    for metric in ["end_to_end.max", "end_to_end.min", "end_to_end.mean"] {
        assert_eq!(checked(bound(metric, AtMost, 1e9), few(1)).0, Pass, "{metric}");
        assert_eq!(checked(bound(metric, AtMost, 1e9), few(0)).0, Inconclusive, "{metric}");
        assert_eq!(checked(bound(metric, AtLeast, 0.0), few(0)).0, Inconclusive, "{metric}");
    }
}

/// `copies` are lost: the latencies are of the others.
fn lose(copies: u64) -> impl Fn(&mut Record) {
    move |record| {
        not_consumed(record, copies).lost = copies;
        for summary in &mut record.latency {
            summary.count -= copies;
            for point in &mut summary.percentiles {
                point.count = (point.percentile / 100.0 * summary.count as f64).round() as u64;
            }
        }
    }
}

#[test]
fn what_never_arrived_is_infinitely_late() {
    // Of 12,000 copies 100 are missing: p99 of all is p99.84 of the others, and p99.2 of all is infinite.
    let (verdict, check) = checked(bound("end_to_end.p99", AtMost, 60_000.0), lose(100));
    assert_eq!((verdict, check.value), (Pass, Some(20_000.0)));
    let note = check.note.expect("a note");
    assert!(note.contains("100 messages infinitely late (100 lost)"), "{note}");
    assert!(note.contains("p99.5 to p99.9, 30 ms to 60 ms"), "{note}");
    assert_eq!(checked(bound("end_to_end.p99", AtMost, 25_000.0), lose(100)).0, Fail);
    assert_eq!(checked(bound("end_to_end.p99.5", AtMost, 1e12), lose(100)).0, Fail);
    assert_eq!(checked(bound("end_to_end.max", AtMost, 1e12), lose(1)).0, Fail);
    assert_eq!(checked(bound("end_to_end.p50", AtMost, 20_000.0), lose(100)).0, Pass);
    // Late is no merit.
    assert_eq!(checked(bound("end_to_end.max", AtLeast, 1.0), lose(1)).0, Inconclusive);
    assert_eq!(checked(bound("end_to_end.mean", AtMost, 1e12), lose(1)).0, Inconclusive);
    assert_eq!(checked(bound("end_to_end.mean", AtMost, 1.0), lose(1)).0, Fail);
    assert_eq!(checked(bound("end_to_end.p99", AtMost, 1e12), lose(12_000)).0, Fail);
}

#[test]
fn whatever_did_not_arrive_is_late() {
    let ways: [fn(&mut QueueAccount); 3] = [
        |queue| queue.lost = 200,
        |queue| queue.left_in_queue = 200,
        |queue| {
            queue.routed -= 200;
            queue.possibly_lost = 200;
        },
    ];
    for way in ways {
        let change = |record: &mut Record| way(not_consumed(record, 200));
        assert_eq!(checked(bound("end_to_end.p99", AtMost, 250_000.0), change).1.verdict, Fail);
        assert_eq!(checked(bound("end_to_end.p90", AtMost, 250_000.0), change).1.verdict, Pass);
    }
}

#[test]
fn what_is_left_is_late_only_if_it_was_waited_for() {
    // The drain took a second: a message that is still there is later than that, but not surely than two.
    let left = |record: &mut Record| not_consumed(record, 200).left_in_queue = 200;
    assert_eq!(checked(bound("end_to_end.p99", AtMost, 999_999.0), left).0, Fail);
    let (verdict, check) = checked(bound("end_to_end.p99", AtMost, 2_000_000.0), left);
    assert_eq!((verdict, check.verdict), (Inconclusive, Inconclusive));
    assert!(check.note.is_some_and(|note| note.contains("200 copies left in a queue may still have been in time")));
    // Without what is left it fails as well.
    let (verdict, _) = checked(bound("end_to_end.p99", AtMost, 2_000_000.0), |record| {
        not_consumed(record, 200).left_in_queue = 200;
        not_consumed(record, 200).lost = 200;
    });
    assert_eq!(verdict, Fail);
}

#[test]
fn unsent_messages_are_late_everywhere_and_unconfirmed_ones_at_the_producer() {
    let unsent = |record: &mut Record| {
        let publisher = &mut record.account.publishers[0];
        (publisher.planned, publisher.unsent) = (12_200, 200);
    };
    let unconfirmed = |record: &mut Record| {
        let publisher = &mut record.account.publishers[0];
        (publisher.confirmed, publisher.unconfirmed) = (11_800, 200);
        record.account.queues[0].recovered = 200;
    };
    for (metric, by_unsent, by_unconfirmed) in
        [("end_to_end.p99", Fail, Pass), ("confirm.p99", Fail, Fail), ("confirm.checkout.p99", Fail, Fail)]
    {
        assert_eq!(checked(bound(metric, AtMost, 1e9), unsent).0, by_unsent, "{metric}");
        assert_eq!(checked(bound(metric, AtMost, 1e9), unconfirmed).0, by_unconfirmed, "{metric}");
    }
    // A fleet that reads another queue does not wait for them.
    let (verdict, check) = checked(bound("end_to_end.billing.p99", AtMost, 1e9), |record| {
        unsent(record);
        record.plan.topology.queues.push(QueuePlan::new("other", QueueKind::Classic));
        record.plan.consumers[0].subscribers[0].queues = vec![1];
    });
    assert_eq!(verdict, Pass, "{check:?}");
}

#[test]
fn copies_that_a_rule_took_are_not_late() {
    let (verdict, check) = checked(bound("end_to_end.max", AtMost, 1e9), |record| {
        let queue = not_consumed(record, 50);
        queue.removed_by_rule = 20;
        queue.dead_lettered.insert("expired".to_owned(), 30);
    });
    assert_eq!(verdict, Pass);
    assert!(check.note.is_some_and(|note| note.contains("50 copies removed by a rule or dead-lettered")));
}

#[test]
fn an_hour_is_not_the_end_of_time() {
    let clip = |record: &mut Record| {
        record.generator.clipped = 1;
        for summary in &mut record.latency {
            summary.percentiles.last_mut().expect("a point").value_us = 3_600_000_000;
        }
    };
    assert_eq!(checked(bound("end_to_end.max", AtMost, 4e9), clip).0, Inconclusive);
    assert_eq!(checked(bound("end_to_end.max", AtMost, 1e9), clip).0, Fail);
    assert_eq!(checked(bound("end_to_end.mean", AtMost, 1e9), clip).0, Inconclusive);
    assert_eq!(checked(bound("end_to_end.p99", AtMost, 1e9), clip).0, Pass);
}

#[test]
fn throughput_is_that_of_the_load() {
    let (_, check) = checked(bound("throughput.consumed", AtLeast, 2000.0), |record| {
        let warm_up = Interval { phase: "warm-up".to_owned(), consumed: 1_000_000, ..record.intervals[1].clone() };
        record.intervals.push(warm_up);
    });
    assert_eq!((check.value, check.verdict), (Some(2000.0), Pass));
    assert_eq!(checked(bound("throughput.published.checkout", More, 2000.0), |_| {}).0, Fail);
    assert_eq!(checked(bound("throughput.consumed.nobody", AtMost, 1e9), |_| {}).0, Inconclusive);
    assert_eq!(checked(bound("throughput.consumed", AtMost, 1e9), |r| r.intervals.clear()).0, Inconclusive);
    // A fleet that began late is measured against the whole load.
    let (_, check) = checked(bound("throughput.consumed.billing", AtLeast, 1.0), |record| {
        record.intervals.retain(|interval| interval.fleet == "checkout" || interval.start_us >= 3_000_000);
    });
    assert_eq!(check.value, Some(1000.0));
}

#[test]
fn gauges_are_sampled_in_the_load() {
    let change = |record: &mut Record| {
        record.queue_samples[2].ready = 100;
        record.queue_samples.push(QueueSample {
            at_us: 6_500_000,
            queue: "orders".to_owned(),
            ready: 9999,
            unacked: 0,
        });
        record.queue_samples.push(QueueSample { at_us: 0, queue: "elsewhere".to_owned(), ready: 9999, unacked: 0 });
        record.broker_samples = (1..4)
            .map(|n| BrokerSample {
                at_us: n * 1_000_000,
                cpu_cores: Some(n as f64),
                memory_bytes: None,
                publish_per_s: None,
                deliver_per_s: None,
                connections: None,
            })
            .collect();
    };
    for (metric, value, unit) in [
        ("backlog.max", Some(100.0), "messages"),
        ("backlog.mean", Some(25.0), "messages"),
        ("backlog.end", Some(10.0), "messages"),
        ("broker_cpu.max", Some(3.0), "cores"),
        ("broker_cpu.mean", Some(2.0), "cores"),
        ("broker_memory.max", None, "bytes"),
        ("generator_cpu.mean", Some(0.04), "cores"),
        ("generator_memory.max", Some(f64::from(30u32 << 20)), "bytes"),
    ] {
        let (verdict, check) = checked(bound(metric, AtLeast, 0.0), change);
        assert_eq!((check.value.map(|v| (v * 1e6).round() / 1e6), check.unit.as_str()), (value, unit), "{metric}");
        assert_eq!(verdict == Inconclusive, value.is_none(), "{metric}");
    }
}

#[test]
fn the_reason_names_what_was_measured() {
    let judgement = judged(|record| record.plan.expect = vec![bound("end_to_end.p99", AtMost, 10_000.0)]);
    assert_eq!(judgement.reasons, ["`end_to_end.p99` is 20 ms, expected <= 10000"]);
}

#[test]
fn a_check_shows_what_is_measured() {
    let mut record = good();
    not_consumed(&mut record, 30).lost = 30;
    add_up(&mut record);
    let bounds = [
        "lost",
        "lost.orders",
        "dead_lettered.expired",
        "end_to_end.p99",
        "end_to_end.p99.7",
        "end_to_end.max",
        "confirm.checkout.mean",
        "confirm.count",
        "throughput.consumed.billing",
        "backlog.mean",
        "broker_cpu.max",
    ];
    record.plan.expect = bounds.map(|metric| bound(metric, AtLeast, 0.0)).to_vec();
    for check in judge(&record).checks {
        let metric = check.metric.parse().expect("a metric");
        assert_eq!(super::super::measured(&record, &metric), check.value, "{}", check.metric);
    }
}

#[test]
fn what_led_to_what_is_not_judged_beyond_what_is_remembered() {
    let verdict = |metric: &str, chains: ChainsReport| {
        let judgement = judged(|record| {
            record.plan.expect = vec![bound(metric, Comparison::Equal, 0.0)];
            record.totals.count_chains(&chains);
            record.chains = Some(chains);
        });
        judgement.verdict
    };
    let known = ChainsReport {
        rows: vec![ChainRow { worked_off: 12_000, confirmed: 12_000, ..ChainRow::default() }],
        ids_checked: 24_000,
        ..ChainsReport::default()
    };
    for metric in ["follow_ups_missing", "follow_ups_repeated"] {
        assert_eq!(verdict(metric, known.clone()), Pass);
        assert_eq!(verdict(metric, ChainsReport { unwritten: 1, ..known.clone() }), Inconclusive);
        assert_eq!(verdict(metric, ChainsReport { ids_unchecked: 1, ..known.clone() }), Pass);
    }
    for metric in ["ids_missing", "ids_crossed"] {
        assert_eq!(verdict(metric, known.clone()), Pass);
        assert_eq!(verdict(metric, ChainsReport { ids_unchecked: 1, ..known.clone() }), Inconclusive);
        assert_eq!(verdict(metric, ChainsReport { unwritten: 1, ..known.clone() }), Pass);
    }
}
