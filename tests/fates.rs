//! Fates of failing messages, foretold and seen, on a real broker: as foretold over each client, and found out where
//! somebody meddles with them.

// Clippy allows `expect` in test functions only, not in what they share.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod rig;

use std::collections::BTreeMap;

use lurcher::ledger::fates::Difference;
use lurcher::record::{FatesReport, Record, ViolationClass};
use rig::{Held, until};

/// A queue whose failing messages go up a ladder; 400 messages, of which every tenth fails once, and every hundredth for
/// good.
fn scenario(name: &str, consumer: &str, delays: &str) -> String {
    format!(
        "schema = 1\nname = \"{name}\"\nseed = 2\n[[queue]]\nname = \"{name}\"\nkind = \"quorum\"\n\
         [[retry]]\nqueue = \"{name}\"\nkind = \"ladder\"\ndelays = {delays}\n\
         [[producer]]\nname = \"out\"\nrouting_key = \"{name}\"\nrate = \"200/s\"\nmessages = 400\n\
         [[consumer]]\nname = \"in\"\nqueue = \"{name}\"\n{consumer}\nfail = [\n\
         {{ pick = {{ first = 5, every = 10 }}, then = \"retry\" }},\n\
         {{ pick = {{ first = 100, every = 100 }}, kind = \"permanent\", then = \"retry\" }},\n]\n\
         [load]\nduration = \"30s\"\nmax_lag = \"20s\"\n[expect]\nfates_differing = 0\n"
    )
}

fn fates(record: &Record) -> &FatesReport {
    record.fates.as_ref().expect("fates")
}

fn differing(record: &Record) -> Vec<(Difference, u64)> {
    fates(record).account.differing.clone().into_iter().collect()
}

#[test]
fn failing_messages_have_the_fates_that_were_foretold() {
    let broker = Held::start();
    for client in ["wire", "lapin"] {
        let text = scenario("foretold", "count = 3\nack = { batch = 5 }", "[\"300ms\", \"200ms\"]");
        let set = format!("consumer.in.client={client}");
        let record = broker.rig(&text).with(&["--set", &set]).run().expect_code(0).record();
        let account = &fates(&record).account;
        assert_eq!((account.foretold, account.as_foretold, account.differing_total()), (44, 44, 0), "{client}");
        assert_eq!((account.attempts, account.attempts_max), (40 * 2 + 4 * 3, 3), "{client}");
        assert!(record.account.queues.iter().all(|queue| queue.imbalance() == 0), "{:?}", record.account.queues);
        assert_eq!((record.totals.duplicates, record.totals.retried), (0, 40 + 4 * 2), "{client}");
        let books: BTreeMap<_, _> = record.account.queues.iter().map(|queue| (queue.queue.as_str(), queue)).collect();
        assert_eq!(books["foretold"].consumed, 396);
        assert_eq!(books["foretold"].dead_lettered, BTreeMap::from([("rejected".to_owned(), 4)]));
        assert_eq!((books["foretold.wait.1"].routed, books["foretold.wait.2"].routed), (44, 4));
        assert_eq!(books["foretold.dead"].left_in_queue, 4);
        let [letter] = &record.dead_letters[..] else { panic!("{:?}", record.dead_letters) };
        assert_eq!((letter.expected, letter.actual, letter.reason.as_str()), (Some(4), 4, "rejected"));
        // A time to live may be late, and never is early.
        let delay = record.latency.iter().find(|of| (of.metric.as_str(), of.fleet.as_str()) == ("retry_delay", "all"));
        let shortest = delay.unwrap().percentiles.iter().map(|point| point.value_us).min();
        assert!(shortest.is_some_and(|us| us >= 199_000), "{shortest:?}");
    }
}

#[test]
fn a_fate_that_somebody_meddles_with_is_found_out() {
    let broker = Held::start();
    let rig = broker.rig(&scenario("meddled", "", "[\"3s\", \"1s\"]"));
    let child = rig.start();
    until("messages to wait", || broker.ready("meddled.wait.1") >= 5);
    // They come back too early, and nothing says that they have waited.
    (0..3).for_each(|_| broker.move_one("meddled.wait.1", "meddled"));
    let record = rig.wait(child).expect_code(1).record();
    assert_eq!(differing(&record), [(Difference::Unexplained, 3)]);
    let listed = record.account.violations.iter().filter(|violation| violation.class == ViolationClass::Fate);
    let listed: Vec<&str> = listed.map(|violation| &*violation.history).collect();
    assert!(listed.len() == 3 && listed.iter().all(|history| history.contains("wait.1 expired")), "{listed:?}");
    assert_eq!(fates(&record).account.as_foretold, 41);
    assert_eq!((record.totals.fates_differing, record.totals.fates_unexplained), (Some(3), Some(3)));
}

#[test]
fn what_is_lost_while_it_waits_is_named() {
    let broker = Held::start();
    let rig = broker.rig(&scenario("purged", "", "[\"4s\", \"1s\"]"));
    let child = rig.start();
    until("messages to wait", || broker.ready("purged.wait.1") >= 10);
    broker.purge("purged.wait.1");
    let record = rig.wait(child).expect_code(1).record();
    let [(Difference::Lost, lost)] = differing(&record)[..] else { panic!("{:?}", differing(&record)) };
    assert!(lost >= 10 && lost == record.totals.lost, "{lost} and {:?}", record.totals);
}

#[test]
fn a_redrive_that_leads_nowhere_makes_a_run_invalid() {
    let broker = Held::start();
    let redrive = "[[redrive]]\nqueue = \"astray.dead\"\nexchange = \"amq.direct\"\nrouting_key = \"nowhere\"\n";
    let text = scenario("astray", "", "[\"100ms\"]").replace("[load]", &format!("{redrive}[load]"));
    let record = broker.rig(&text).run().expect_code(4).record();
    let reasons = &record.verdict.as_ref().unwrap().reasons;
    assert!(reasons.iter().any(|reason| reason.contains("astray.dead was broken off")), "{reasons:?}");
}

#[test]
fn a_replay_is_applied_again_where_nothing_is_remembered() {
    let broker = Held::start();
    for (store, code, repeated) in [("sqlite", 0, 0), ("none", 1, 400)] {
        let text = format!(
            "schema = 1\nname = \"replayed\"\n[[queue]]\nname = \"replayed\"\n[[replay]]\nproducer = \"out\"\n\
             [[producer]]\nname = \"out\"\nrouting_key = \"replayed\"\nrate = \"400/s\"\nmessages = 400\n\
             [[consumer]]\nname = \"in\"\nqueue = \"replayed\"\nidempotency = {{ store = \"{store}\" }}\n\
             [load]\nduration = \"30s\"\nmax_lag = \"20s\"\n[expect]\nguarantee = \"effectively-once\"\n"
        );
        let record = broker.rig(&text).run().expect_code(code).record();
        assert_eq!(record.totals.effects_repeated, Some(repeated), "{store}");
        assert_eq!((record.totals.consumed, record.totals.duplicates, record.totals.retried), (800, 0, 400), "{store}");
        assert_eq!(record.replays[0].replayed, 400);
    }
}
