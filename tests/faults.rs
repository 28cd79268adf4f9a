//! Faults, end to end: what the command does with those that cannot happen, are cut short, or hit a broker of ours, and
//! the drivers of a broker's node, each with its inverse.

// Clippy allows `expect` in test functions only, not in what they share.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod rig;

use std::sync::Arc;

use lurcher::client::wire::Wire;
use lurcher::faults::{Drivers, FaultError};
use lurcher::plan::{Broken, FaultKind, FaultPlan, Plan, Trigger};
use lurcher::record::{Completeness, Verdict};
use rig::{Held, Rig, containers_of, output, until};

/// A fleet of each kind, and `faults`.
fn scenario(name: &str, faults: &str, load: &str) -> String {
    format!(
        "schema = 1\nname = \"{name}\"\n[[queue]]\nname = \"{name}.q\"\nkind = \"quorum\"\n\
         [[producer]]\nname = \"out\"\nrouting_key = \"{name}.q\"\nrate = \"500/s\"\non_unconfirmed = \"republish\"\n\
         [[consumer]]\nname = \"in\"\nqueue = \"{name}.q\"\n{faults}\n\
         [load]\nmax_lag = \"30s\"\n{load}\n[expect]\nlost = 0\n"
    )
}

#[test]
fn a_fault_that_never_came_makes_the_run_invalid() {
    let broker = Held::start();
    let waits = "[[fault]]\nkind = \"net-reset\"\nwhen = { confirmed = 1_000_000 }\n";
    let ended = broker.rig(&scenario("waits", waits, "duration = \"1s\"")).run().expect_code(4);
    let record = ended.record();
    let reasons = &record.verdict.as_ref().unwrap().reasons;
    assert!(reasons[0].contains("was planned and did not happen") && reasons[0].contains("of 1000000"), "{reasons:?}");
    assert_eq!((record.faults[0].started_us, record.faults[0].cost.is_some()), (None, false));

    let picks =
        "[[fault]]\nkind = \"cut-before-confirm\"\nat = \"0s\"\npick = { first = 100, every = 100, times = 1000 }\n";
    let ended = broker.rig(&scenario("picks", picks, "duration = \"2s\"")).run().expect_code(4);
    let record = ended.record();
    let reasons = &record.verdict.as_ref().unwrap().reasons;
    assert!(reasons[0].contains("acted") && reasons[0].contains("of 1,000 times"), "{reasons:?}");
    assert!(record.faults[0].done > 0 && record.totals.disconnects == record.faults[0].done, "{:?}", record.faults);

    let node = "[[fault]]\nkind = \"node-kill\"\nat = \"1s\"\n";
    let ended = broker.rig(&scenario("not-ours", node, "duration = \"2s\"")).run().expect_code(2);
    assert!(ended.err.contains("needs a broker that the run starts"), "{}", ended.err);
    assert!(ended.record.is_none());
}

#[test]
fn what_repetitions_ask_of_a_consumer_and_what_recovery_took_is_told() {
    let broker = Held::start();
    let cuts = "[[fault]]\nkind = \"cut-before-confirm\"\nat = \"3s\"\nfor = \"3s\"\nfleets = [\"out\"]\n\
                pick = { first = 100, every = 300, times = 3 }\n";
    let expected = "\"duplicate_gap.max\" = \"<= 60s\"\n\"duplicate_gap_messages.again.q.max\" = \">= 1\"\n";
    let text = scenario("again", cuts, "duration = \"14s\"") + expected;
    let ended = broker.rig(&text).run().expect_code(0);
    let record = ended.record();
    let [gap] = &record.duplicate_gaps[..] else { panic!("{:?}", record.duplicate_gaps) };
    assert!(gap.count > 0 && gap.count == record.totals.duplicates, "{gap:?}, {:?}", record.totals);
    for length in [gap.time_us, gap.messages] {
        assert!(length.longest_at_least <= length.longest_at_most && length.p50 <= length.p99, "{length:?}");
        assert!(length.longest_at_most > 0);
    }
    let row = &record.faults[0];
    let cost = row.cost.as_ref().expect("it happened");
    let causes: Option<u64> = [cost.republished, cost.redelivered, cost.unflagged].into_iter().sum();
    assert_eq!(causes, Some(cost.duplicates));
    let republished = cost.republished.unwrap_or(0);
    assert!(republished > 0 && republished <= record.totals.republished, "{cost:?}");
    assert!(row.started_us <= row.broken_us && row.broken_us <= row.undone_us, "{row:?}");
    assert!(cost.backlog_before.is_some() && cost.backlog_drained_after_us.is_some(), "{cost:?}");
    assert!(cost.observed_until_us.is_some_and(|until_us| until_us >= cost.until_us), "{cost:?}");
    // Nothing here claims that this machine is idle enough for a steady rate; where there was one, it is the load's.
    let steady = |per_s: Option<u64>| per_s.is_none_or(|per_s| (250..=1000).contains(&per_s));
    assert!(steady(cost.confirmed_before_per_s) && steady(cost.consumed_before_per_s), "{cost:?}");
    assert!(cost.had_steady_rate() || cost.rate_restored_after_us.is_none(), "{cost:?}");
    let told = &ended.table("faults.csv")[0];
    assert_eq!(told["republished"], republished.to_string());
}

#[test]
fn crashes_and_cuts_hit_the_very_messages_that_they_are_planned_for() {
    let broker = Held::start();
    let fleets = |name: &str| {
        format!(
            "[[queue]]\nname = \"same.{name}\"\nkind = \"quorum\"\n\
             [[producer]]\nname = \"out-{name}\"\nrouting_key = \"same.{name}\"\nrate = \"300/s\"\n\
             messages = 1_500\non_unconfirmed = \"republish\"\n\
             [[consumer]]\nname = \"in-{name}\"\nqueue = \"same.{name}\"\nprefetch = 20\n"
        )
    };
    let fault = |kind: &str, fleet: &str, first: u64| {
        format!(
            "[[fault]]\nkind = \"{kind}\"\nat = \"0s\"\nfleets = [\"{fleet}\"]\n\
             pick = {{ first = {first}, every = 400, times = 3 }}\n"
        )
    };
    let text = [
        "schema = 1\nname = \"same\"\nseed = 4\n".to_owned(),
        fleets("cuts"),
        fleets("crashes"),
        fault("cut-before-confirm", "out-cuts", 100),
        fault("cut-before-ack", "in-cuts", 200),
        fault("producer-crash", "out-crashes", 300),
        fault("consumer-crash", "in-crashes", 350) + "point = \"after-effect\"\n",
        "[load]\nmax_lag = \"30s\"\nduration = \"20s\"\n[expect]\nlost = 0\n".to_owned(),
    ];
    let ended = broker.rig(&text.concat()).run().expect_code(0);
    let record = ended.record();
    let hit: Vec<Vec<(&str, u64)>> = record
        .faults
        .iter()
        .map(|row| row.messages.iter().map(|message| (message.publisher.as_str(), message.sequence)).collect())
        .collect();
    let planned = |publisher, first: u64| (0..3).map(|turn| (publisher, first - 1 + 400 * turn)).collect::<Vec<_>>();
    assert_eq!(
        hit,
        [
            planned("out-cuts/0", 100),
            planned("out-cuts/0", 200),
            planned("out-crashes/0", 300),
            planned("out-crashes/0", 350)
        ]
    );
    assert!(record.totals.republished > 0 && record.totals.redelivered > 0, "{:?}", record.totals);
    let told = &ended.table("faults.csv")[0];
    assert_eq!(told["messages"], "out-cuts/0:99 out-cuts/0:499 out-cuts/0:899");
}

#[test]
fn an_interrupt_heals_what_is_broken() {
    let paused = "[[fault]]\nkind = \"node-pause\"\nwhen = { delivered = 200 }\n";
    let rig = Rig::new(&scenario("paused", paused, "duration = \"600s\""));
    let child = rig.start();
    let pid = child.id();
    let state = |id: &String| output("docker", &["inspect", "--format", "{{.State.Status}}", id]);
    until("the broker to be paused", || containers_of(pid).iter().any(|id| state(id).trim() == "paused"));
    output("kill", &["-INT", &pid.to_string()]);
    let record = rig.wait(child).expect_code(130).record();
    assert_eq!(record.completeness, Completeness::Interrupted);
    assert!(containers_of(pid).is_empty(), "a container is left");
    let fault = &record.faults[0];
    assert!(fault.started_us.is_some() && fault.healed_us.is_some() && fault.error.is_none(), "{fault:?}");
    assert_ne!(record.verdict.as_ref().map(|judged| judged.verdict), Some(Verdict::Invalid));
}

fn fault(id: u32, kind: FaultKind, broken: Broken) -> FaultPlan {
    FaultPlan { id, kind, trigger: Trigger::AtUs(0), lasting_us: None, broken }
}

#[test]
fn whatever_is_done_to_a_node_is_undone() {
    let held = Held::start();
    let kinds =
        [FaultKind::MemoryAlarm, FaultKind::DiskAlarm, FaultKind::NodeStop, FaultKind::NodePause, FaultKind::NodeKill];
    let faults: Vec<FaultPlan> = kinds.into_iter().zip(1..).map(|(kind, id)| fault(id, kind, Broken::Node)).collect();
    held.wait(async {
        let broker = held.broker();
        let management = broker.management().expect("a management API");
        let plan = Arc::new(plan(faults.clone()));
        let drivers = Drivers::start(&plan, broker, Arc::new(Wire)).await.unwrap();
        let limits = || async {
            let node = management.nodes().await.unwrap().remove(0);
            (node.mem_limit, node.disk_free_limit, node.mem_alarm, node.disk_free_alarm)
        };
        let before = limits().await;
        for fault in &faults {
            let turn = drivers.turn(fault).await;
            let mut active = drivers.begin(fault, turn).await.unwrap_or_else(|error| panic!("{}: {error}", fault.kind));
            match fault.kind {
                FaultKind::MemoryAlarm => assert_eq!(limits().await.2, Some(true)),
                FaultKind::DiskAlarm => assert_eq!(limits().await.3, Some(true)),
                _ => {
                    let brief = std::time::Duration::from_millis(500);
                    assert!(broker.wait_ready(brief).await.is_err(), "{} left it ready", fault.kind);
                }
            }
            active.heal().await.unwrap_or_else(|error| panic!("{}: {error}", fault.kind));
            assert_eq!(active.done(), 1);
            // Started anew, a broker that answers tells nothing of its limits for a while.
            let restored = async {
                while limits().await != before {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            };
            let patience = std::time::Duration::from_secs(60);
            let restored = tokio::time::timeout(patience, restored).await;
            assert!(restored.is_ok(), "after {}: {:?}, not {before:?}", fault.kind, limits().await);
        }
        let nobody = fault(9, FaultKind::CloseConnections, Broken::Connections { fleets: vec!["nobody".to_owned()] });
        let turn = drivers.turn(&nobody).await;
        let refused = drivers.begin(&nobody, turn).await.err().expect("nothing to close");
        assert!(matches!(refused, FaultError::Nothing { .. }), "{refused}");
        drivers.stop().await;
    });
}

/// A plan with nothing but `faults` in it.
fn plan(faults: Vec<FaultPlan>) -> Plan {
    let text = scenario("drivers", "", "duration = \"1s\"");
    let scenario = toml::from_str(&text).expect("a scenario");
    let plan = lurcher::plan::resolve(&scenario, &|_| Err(std::io::ErrorKind::NotFound.into())).expect("a plan");
    Plan { faults, ..plan }
}
