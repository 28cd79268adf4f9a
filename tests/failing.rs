//! Members of fleets that crash, stand still or fail messages on purpose, on a real broker, over each client: what
//! happens at a message happens at that message, each time, and the books say what it cost.

// Clippy allows `expect` in test functions only, not in what they share.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod rig;

use lurcher::ledger::ViolationClass;
use lurcher::record::{Record, Totals};
use rig::Held;

/// One producer, one consumer, and whatever is added to the consumer and to the scenario.
fn scenario(name: &str, consumer: &str, more: &str) -> String {
    format!(
        "schema = 1\nname = \"{name}\"\nseed = 9\n[[queue]]\nname = \"{name}\"\n\
         [[producer]]\nname = \"out\"\nrouting_key = \"{name}\"\nrate = \"300/s\"\nmessages = 1_000\n\
         on_unconfirmed = \"republish\"\n\
         [[consumer]]\nname = \"in\"\nqueue = \"{name}\"\nprefetch = 20\n{consumer}\n{more}\n\
         [load]\nduration = \"30s\"\nmax_lag = \"20s\"\n[expect]\nlost = 0\n"
    )
}

fn run(broker: &Held, client: &str, text: &str) -> Record {
    let client = [format!("producer.out.client={client}"), format!("consumer.in.client={client}")];
    let rig = broker.rig(text).with(&["--set", &client[0], "--set", &client[1]]);
    let record = rig.run().expect_code(0).record();
    assert!(record.account.queues.iter().all(|queue| queue.imbalance() == 0), "{:?}", record.account.queues);
    record
}

/// Sequences of the messages that were delivered more than once.
fn repeated(record: &Record) -> Vec<u64> {
    let offences = record.account.violations.iter().filter(|offence| offence.class == ViolationClass::Duplicate);
    let mut sequences: Vec<u64> = offences.filter_map(|offence| offence.sequence).collect();
    sequences.sort_unstable();
    sequences
}

fn crash(point: &str, at: &str) -> String {
    format!("[[fault]]\nkind = \"consumer-crash\"\npoint = \"{point}\"\nat = \"0s\"\n{at}\n")
}

#[test]
fn a_consumer_crashes_at_its_message_and_at_its_point() {
    let broker = Held::start();
    let picks = "pick = { first = 101, every = 200, times = 3 }";
    let hit: &[u64] = &[100, 300, 500];
    for client in ["wire", "lapin"] {
        for (point, expected) in [("before-effect", hit), ("after-effect", hit), ("after-ack", &[])] {
            let record = run(&broker, client, &scenario("crash-point", "", &crash(point, picks)));
            assert_eq!(repeated(&record), expected, "{point} over {client}");
            assert_eq!((record.faults[0].done, record.totals.disconnects), (3, 3), "{:?}", record.faults);
            assert!(record.faults[0].healed_us.is_some());
            assert_eq!((record.totals.consumed, record.totals.unflagged), (1_000, 0));
        }
    }
    // All that was worked off since the last ack of many is gone with it, and no more.
    let message = "message = { publisher = \"out/0\", sequence = 507 }";
    let batch = scenario("crash-batch", "ack = { batch = 10 }", &crash("after-effect", message));
    let record = run(&broker, "wire", &batch);
    let repeats = repeated(&record);
    assert!(repeats.contains(&507) && repeats.len() <= 10, "{repeats:?}");
    assert!(repeats.windows(2).all(|two| two[0] + 1 == two[1]), "{repeats:?}");
}

#[test]
fn a_producer_crashes_between_publish_and_confirm() {
    let broker = Held::start();
    let fault = "[[fault]]\nkind = \"producer-crash\"\nat = \"0s\"\npick = { first = 101, every = 300, times = 3 }\n";
    for client in ["wire", "lapin"] {
        let record = run(&broker, client, &scenario("producer-crash", "", fault));
        let repeats = repeated(&record);
        assert!([100, 400, 700].iter().all(|hit| repeats.contains(hit)), "{client}: {repeats:?}");
        let Totals { republished, confirmed, unconfirmed, possibly_lost, .. } = record.totals;
        assert_eq!((confirmed, unconfirmed, possibly_lost), (1_000, 0, 0));
        assert_eq!(republished, repeats.len() as u64, "whatever came twice was sent twice");
    }
    let abandons = scenario("producer-forgets", "", fault).replace("republish", "abandon");
    let record = run(&broker, "wire", &abandons);
    assert!(record.totals.unconfirmed >= 3 && record.totals.duplicates == 0, "{:?}", record.totals);
    assert_eq!(record.totals.recovered, record.totals.unconfirmed, "each had arrived");
}

#[test]
fn who_is_away_when_the_load_ends_comes_back_and_its_crash_is_journaled() {
    let broker = Held::start();
    // Each answer takes so long that the fault would be over before the member has died.
    let faults = "[[fault]]\nkind = \"net-latency\"\nfleets = [\"in\"]\ndelay = \"60ms\"\nat = \"0s\"\n\
                  [[fault]]\nkind = \"consumer-crash\"\npoint = \"after-effect\"\nat = \"1s\"\nfor = \"60s\"\n";
    let text = scenario("away", "", faults).replace("messages = 1_000\n", "");
    let record = run(&broker, "wire", &text.replace("duration = \"30s\"", "duration = \"3s\""));
    let fault = record.faults.iter().find(|row| row.kind == "consumer-crash").expect("the crash");
    assert_eq!((fault.done, record.totals.disconnects, record.totals.left_in_queue), (1, 1, 0), "{fault:?}");
    assert!(fault.undone_us.unwrap() >= 3_000_000, "it was to be away until then: {fault:?}");
    let detected_us = fault.cost.as_ref().unwrap().detected_after_us.expect("it was journaled");
    assert!(fault.started_us.unwrap() + detected_us < fault.undone_us.unwrap(), "when it happened: {fault:?}");
}

#[test]
fn a_producer_that_crashes_in_its_last_batch_sends_the_rest() {
    let broker = Held::start();
    let fault = "[[fault]]\nkind = \"producer-crash\"\nat = \"0s\"\npick = { first = 11, times = 1 }\n";
    let text = scenario("last-batch", "", fault).replace("rate = \"300/s\"\nmessages = 1_000\n", "messages = 100\n");
    let record = run(&broker, "wire", &text);
    assert_eq!((record.faults[0].done, record.totals.published, record.totals.consumed), (1, 100, 100));
}

#[test]
fn crashes_are_counted_in_batches_and_at_messages_that_failed_before() {
    let broker = Held::start();
    let picks = "pick = { first = 4, every = 4, times = 20 }";
    let batched = scenario("batched", "ack = { batch = 10 }", &crash("after-ack", picks));
    let record = run(&broker, "wire", &batched);
    assert_eq!(record.faults[0].done, 20);
    assert!((1..20).contains(&record.totals.disconnects), "several of a batch are one death: {:?}", record.totals);
    let message = "message = { publisher = \"out/0\", sequence = 500 }";
    let failed = scenario("failed-before", "fail = { times = 1 }", &crash("after-effect", message));
    let record = run(&broker, "wire", &failed);
    assert_eq!((record.faults[0].done, record.totals.duplicates, repeated(&record)), (1, 1, vec![500]));
}

#[test]
fn a_purge_is_a_loss_although_messages_were_rejected_again_and_again() {
    let broker = Held::start();
    let reject = "work = \"4ms\"\nfail = { kind = \"permanent\", then = \"reject\" }";
    let faults = "[[fault]]\nkind = \"cut-before-confirm\"\nat = \"0s\"\npick = { first = 20, every = 20, times = 15 }\n\
                  [[fault]]\nkind = \"queue-purge\"\nqueue = \"reject-hides\"\nat = \"3s\"\n";
    let text = scenario("reject-hides", reject, faults).replace("lost = 0", "published = 1_000");
    let record = run(&broker, "wire", &text);
    let Totals { lost, removed_by_rule, rejected, republished, .. } = record.totals;
    // Whatever is not lost was rejected at least once, and those that came again more often.
    assert!(lost > 0 && lost + removed_by_rule == 1_000 && republished > 0, "{:?}", record.totals);
    assert!(rejected > removed_by_rule, "{:?}", record.totals);
}

#[test]
fn a_crash_that_never_came_makes_the_run_invalid() {
    let broker = Held::start();
    let late = crash("after-ack", "pick = { first = 901, times = 500 }");
    let ended = broker.rig(&scenario("crash-missed", "", &late)).run().expect_code(4);
    let record = ended.record();
    let reasons = &record.verdict.as_ref().expect("a verdict").reasons;
    assert!(reasons[0].contains("acted") && reasons[0].contains("of 500 times"), "{reasons:?}");
}

#[test]
fn who_stands_still_takes_nothing_and_goes_on() {
    let broker = Held::start();
    let stall = "[[fault]]\nkind = \"consumer-stall\"\nwhen = { delivered = 200 }\nfor = \"1s\"\nshare = 0.5\n";
    let record = run(&broker, "wire", &scenario("stall", "count = 2", stall));
    let fault = &record.faults[0];
    assert_eq!((fault.done, record.totals.disconnects, record.totals.duplicates), (1, 0, 0), "{fault:?}");
    assert!(fault.healed_us.unwrap() >= fault.started_us.unwrap() + 1_000_000);
}

#[test]
fn failed_messages_are_attempts_and_each_way_to_fail_has_its_place_in_the_books() {
    let broker = Held::start();
    let rules = "fail = [\n{ pick = { first = 10, every = 10 }, times = 2, then = \"requeue\" },\n\
                 { pick = { first = 11, every = 100 }, kind = \"permanent\", then = \"reject\" },\n\
                 { pick = { first = 12, every = 100 }, times = 1, then = \"reject-requeue\" },\n\
                 { pick = { first = 13, every = 100 }, kind = \"permanent\", then = \"nack\" }]\nack = { batch = 7 }";
    for client in ["wire", "lapin"] {
        for kind in ["classic", "quorum"] {
            let text =
                scenario("fails", rules, "").replace("[[producer]]", &format!("kind = \"{kind}\"\n[[producer]]"));
            let record = run(&broker, client, &text);
            let totals = &record.totals;
            assert_eq!(
                (totals.requeued, totals.rejected, totals.retried),
                (210, 20, 210),
                "{client}, {kind}: {totals:?}"
            );
            assert_eq!((totals.duplicates, totals.consumed, totals.removed_by_rule), (0, 980, 20), "{client}, {kind}");
            assert_eq!((totals.delivered, totals.lost, totals.left_in_queue), (1_210, 0, 0), "{client}, {kind}");
        }
    }
}

#[test]
fn a_dead_letter_that_is_tried_again_is_one_dead_letter() {
    let broker = Held::start();
    let dead = "[[exchange]]\nname = \"tried.dlx\"\nkind = \"fanout\"\n\
                [[queue]]\nname = \"tried.dead\"\nbind = [{ exchange = \"tried.dlx\" }]\n\
                [[consumer]]\nname = \"undertaker\"\nqueue = \"tried.dead\"\nfail = { times = 3 }\n";
    let text = scenario("tried", "fail = { kind = \"permanent\", then = \"reject\" }", dead).replacen(
        "[[producer]]",
        "dead_letter = { exchange = \"tried.dlx\" }\n[[producer]]",
        1,
    );
    for client in ["wire", "lapin"] {
        let record = run(&broker, client, &text);
        assert_eq!((record.totals.dead_lettered, record.totals.retried), (1_000, 3_000), "{:?}", record.totals);
        let found: Vec<u64> = record.dead_letters.iter().map(|row| row.actual).collect();
        assert_eq!(found, [1_000], "{:?}", record.dead_letters);
    }
}

#[test]
fn poison_that_is_requeued_for_ever_is_left_in_the_queue() {
    let broker = Held::start();
    let poison = "fail = { pick = { first = 500, times = 1 }, kind = \"permanent\" }";
    let text = scenario("naive-loop", poison, "").replace("max_lag", "drain = \"1s\"\nmax_lag");
    let record = broker.rig(&text).run().record();
    let totals = &record.totals;
    assert_eq!((totals.consumed, totals.left_in_queue, totals.lost, totals.duplicates), (999, 1, 0, 0), "{totals:?}");
    assert!(totals.requeued > 20 && totals.retried + 1 >= totals.requeued, "{totals:?}");
}
