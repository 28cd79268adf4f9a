//! Whole runs over each client: the same plan and the same counts, and what a run makes of connections that fail.

#![allow(clippy::expect_used, reason = "what helps a test may fail like a test")]

mod rig;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use lurcher::ledger::incidents::IncidentKind;
use lurcher::record::Record;
use rig::{Held, Rig, until};

/// Several sizes, keys and queues, so that a plan has something to draw.
const MIXED: &str = r#"
schema = 1
name = "mixed"
seed = 11
[[exchange]]
name = "mixed"
kind = "topic"
[[queue]]
name = "mixed.{1..2}"
bind = [{ exchange = "mixed", key = "all.#" }, { exchange = "mixed", key = "one.{n}" }]
[[producer]]
name = "out"
count = 3
exchange = "mixed"
routing_key = { choice = [{ key = "all.a", weight = 2 }, { key = "one.1", weight = 1 }, { key = "nowhere", weight = 1 }] }
mandatory = true
rate = "900/s"
size = { min = "100 B", max = "2 KiB" }
body = "random"
messages = 1_000
properties = { priority = [1, 2], content_type = "application/octet-stream", headers = { trace = "{{uuid}}" } }
[[consumer]]
name = "in"
queue = "mixed.{1..2}"
count = 2
prefetch = 50
ack = { batch = 7 }
[load]
duration = "10s"
max_lag = "10s"
[expect]
lost = 0
corrupt = 0
phantom = 0
"#;

/// One queue, as fast as it goes, with so many messages in flight.
const IN_FLIGHT: &str = r#"
schema = 1
name = "in-flight"
seed = 3
[[queue]]
name = "in-flight"
kind = "quorum"
[[producer]]
name = "out"
routing_key = "in-flight"
rate = "max"
size = "64 B"
confirm = { window = 100, timeout = "30s" }
on_unconfirmed = "republish"
[[consumer]]
name = "in"
queue = "in-flight"
prefetch = 100
[load]
duration = "8s"
[expect]
guarantee = "at-least-once"
lost = 0
corrupt = 0
phantom = 0
"#;

fn over(client: &str) -> [String; 4] {
    [
        "--set".to_owned(),
        format!("producer.out.client={client}"),
        "--set".to_owned(),
        format!("consumer.in.client={client}"),
    ]
}

#[test]
fn the_same_seed_makes_the_same_plan_and_counts_over_each_client() {
    let broker = Held::start();
    let run = |client: &str| {
        let rig = broker.rig(MIXED).with(&over(client).each_ref().map(String::as_str));
        let record = rig.run().expect_code(0).record();
        let plan = serde_json::to_string(&record.plan).expect("a plan");
        assert!(plan.contains(&format!("\"client\":\"{client}\"")), "{plan}");
        (plan.replace(&format!("\"client\":\"{client}\""), "\"client\":\"any\""), record.totals, record.account)
    };
    let (plan, totals, account) = run("lapin");
    let (wire_plan, wire_totals, wire_account) = run("wire");
    assert_eq!(plan, wire_plan);
    assert_eq!(totals, wire_totals);
    assert!(totals.published == 1_000 && totals.returned > 0 && totals.consumed > 0, "{totals:?}");
    let classes = |account: &lurcher::ledger::Account| {
        account.queues.iter().map(|queue| (queue.queue.clone(), queue.delivered, queue.consumed)).collect::<Vec<_>>()
    };
    assert_eq!(classes(&account), classes(&wire_account));
}

/// What every run must show whose connections failed.
#[track_caller]
fn assert_mended(record: &Record, wall_us: u64) {
    for queue in &record.account.queues {
        assert_eq!(queue.imbalance(), 0, "the books do not balance: {queue:?}");
    }
    let totals = &record.totals;
    assert_eq!((totals.lost, totals.phantom, totals.corrupt), (0, 0, 0));
    assert_eq!(totals.unflagged, 0, "a confirm or a delivery was matched on the wrong connection: {totals:?}");
    let count = |kind| record.incidents.iter().filter(|incident| incident.kind == kind).count();
    assert!(count(IncidentKind::Disconnected) > 0, "{:?}", record.incidents);
    assert_eq!(count(IncidentKind::Disconnected), count(IncidentKind::Reconnected), "{:?}", record.incidents);
    for latency in &record.latency {
        let longest = latency.percentiles.last().map_or(0, |point| point.value_us);
        // Three significant digits: a value may be told up to a thousandth too long.
        assert!(
            longest <= wall_us + wall_us / 500,
            "{} of {}: {longest} us in {wall_us} us",
            latency.metric,
            latency.fleet
        );
    }
}

#[test]
fn connections_that_are_closed_in_mid_run_cost_no_message() {
    let broker = Held::start();
    for client in ["wire", "lapin"] {
        let rig = broker.rig(IN_FLIGHT).with(&over(client).each_ref().map(String::as_str));
        let begun = std::time::Instant::now();
        let child = rig.start();
        let management = broker.broker().management().expect("a management API");
        until("both connections and messages", || {
            let open = broker.wait(management.connections()).map_or(0, |connections| connections.len());
            let published = broker.wait(management.overview()).is_ok();
            open >= 2 && published && broker.queues().is_ok_and(|queues| !queues.is_empty())
        });
        std::thread::sleep(std::time::Duration::from_secs(2));
        assert!(broker.wait(management.close_connections()).expect("closed") >= 2);
        let ended = rig.wait(child).expect_code(0);
        let wall_us = begun.elapsed().as_micros() as u64;
        let record = ended.record();
        assert_mended(&record, wall_us);
        // A full window was in flight: what was not confirmed was published again.
        let unconfirmed = record.totals.recovered + record.totals.republished;
        println!("{client}: {unconfirmed} recovered or republished, {:?}", record.totals);
        assert!(record.totals.published > 1_000, "{:?}", record.totals);
    }
}

/// Passes bytes to a broker and back; the first connections get bytes into their answers that are no AMQP.
struct Garbler {
    port: u16,
}

impl Garbler {
    fn start(to: u16, connections: usize, after_bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for (number, inner) in listener.incoming().flatten().enumerate() {
                let outer = TcpStream::connect(("127.0.0.1", to)).expect("the broker");
                let (from, back) = (inner.try_clone().expect("a handle"), outer.try_clone().expect("a handle"));
                std::thread::spawn(move || pass(from, outer, None));
                let garble = (number < connections).then_some(after_bytes);
                std::thread::spawn(move || pass(back, inner, garble));
            }
        });
        Self { port }
    }
}

/// Copies until the end; after so many bytes it says what nobody understands.
fn pass(mut from: TcpStream, mut to: TcpStream, mut garble_after: Option<usize>) {
    let mut buffer = [0; 4_096];
    let mut passed = 0;
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        passed += bytes;
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
        if garble_after.take_if(|after| passed >= *after).is_some() && to.write_all(&[0x7f; 64]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn a_connection_that_speaks_no_amqp_is_dropped_and_the_run_goes_on() {
    let broker = Held::start();
    let endpoint = broker.broker().endpoint();
    // The first connection is the topology's, the next two are the fleets'.
    let garbler = Garbler::start(endpoint.port, 8, 20_000);
    let mut arguments = broker.arguments();
    arguments[1] = arguments[1].replace(&format!(":{}", endpoint.port), &format!(":{}", garbler.port));
    let rig = Rig::new(IN_FLIGHT).with(&arguments.each_ref().map(String::as_str)).with(&["--quiet"]);
    let rig = rig.with(&over("wire").each_ref().map(String::as_str));
    let begun = std::time::Instant::now();
    let record = rig.run().expect_code(0).record();
    assert_mended(&record, begun.elapsed().as_micros() as u64);
    let dropped = |incident: &&lurcher::ledger::incidents::Incident| incident.detail.contains("connection dropped");
    let dropped: Vec<_> = record.incidents.iter().filter(dropped).collect();
    assert!(dropped.len() >= 2, "{:?}", record.incidents);
}
