//! Whole runs on a real broker: the books, the verdicts, the exit codes, and what is left broker.

#![allow(clippy::expect_used, reason = "what helps a test may fail like a test")]

mod rig;

use std::time::Duration;

use lurcher::plan::Provider;
use lurcher::record::{Completeness, Phase, Record, Verdict, ViolationClass};
use rig::{Held, Rig, containers_of, image, output, until};

/// One queue, one producer, one consumer; `more` goes before `[load]`.
fn simple(name: &str, producer: &str, consumer: &str, rest: &str) -> String {
    format!(
        r#"
        schema = 1
        name = "{name}"
        seed = 7
        [[queue]]
        name = "{name}"
        [[producer]]
        name = "out"
        routing_key = "{name}"
        size = "64 B"
        {producer}
        [[consumer]]
        name = "in"
        queue = "{name}"
        {consumer}
        {rest}
        "#
    )
}

/// Everything that must be so of any complete record, whatever its scenario.
#[track_caller]
fn assert_consistent(ended: &rig::Ended) {
    let record = ended.record();
    let json = ended.json();
    for queue in &record.account.queues {
        assert_eq!(queue.imbalance(), 0, "the books of {} do not balance: {queue:?}", queue.queue);
    }
    let totals = serde_json::to_value(&record.totals).expect("totals");
    assert_eq!(json["totals"], totals);
    let summary = ended.table("summary.csv");
    for (word, count) in totals.as_object().expect("an object") {
        let row = summary.iter().find(|row| &row["metric"] == word).unwrap_or_else(|| panic!("no row for {word}"));
        assert_eq!(row["value"], count.to_string(), "summary.csv and run.json differ on {word}");
    }
    let ledger = ended.table("ledger.csv");
    for (scope, class) in
        [("publisher", "published"), ("publisher", "confirmed"), ("queue", "consumed"), ("queue", "lost")]
    {
        let of_class = ledger.iter().filter(|row| row["scope"] == scope && row["class"] == class);
        let sum: u64 = of_class.map(|row| row["count"].parse::<u64>().expect("a count")).sum();
        let unroutable = if class == "lost" { record.account.unroutable } else { 0 };
        assert_eq!(Some(sum + unroutable), totals[class].as_u64(), "ledger.csv and run.json differ on {class}");
    }
    let violations = ended.table("violations.csv");
    assert_eq!(violations.len() as u64, record.account.violations_total, "violations.csv lists all");
    let in_load: u64 = record.intervals.iter().map(|interval| interval.published).sum();
    assert_eq!(in_load, record.totals.published, "intervals.csv adds up");
    let consumed: u64 = record.intervals.iter().map(|interval| interval.consumed).sum();
    assert_eq!(consumed, record.totals.consumed, "a repeated delivery is consumed once");
    for file in [
        "run.json",
        "summary.csv",
        "intervals.csv",
        "latency.csv",
        "latency.hlog",
        "ledger.csv",
        "violations.csv",
        "dead_letters.csv",
        "faults.csv",
        "report.html",
        "plots/throughput.svg",
    ] {
        assert!(ended.record.as_ref().expect("a record").join(file).exists(), "{file} is missing");
    }
}

/// The 99th percentile of a latency over all fleets, in microseconds.
#[track_caller]
fn p99(record: &Record, metric: &str) -> u64 {
    let summary = record.latency.iter().find(|summary| summary.metric == metric && summary.fleet == "all");
    let point = summary.expect(metric).percentiles.iter().find(|point| point.percentile == 99.0);
    point.expect("p99").value_us
}

#[test]
fn a_good_run_passes_and_leaves_nothing_but_its_record() {
    let scenario = simple(
        "good",
        "rate = \"500/s\"\ncount = 2",
        "count = 2\nack = { batch = 10 }",
        "[load]\nwarmup = \"1s\"\nduration = \"3s\"\n[expect]\nguarantee = \"at-least-once\"\nlost = 0\n\"end_to_end.p99\" = \"<= 30s\"\n\"throughput.consumed\" = \">= 400/s\"",
    );
    let rig = Rig::new(&scenario).with(&["--json"]);
    let child = rig.start();
    let pid = child.id();
    until("the container", || !containers_of(pid).is_empty());
    let ended = rig.wait(child).expect_code(0);
    assert!(containers_of(pid).is_empty(), "a container is left");
    assert_consistent(&ended);
    let record = ended.record();
    assert_eq!((record.totals.planned, record.totals.published, record.totals.consumed), (2000, 2000, 2000));
    assert_eq!(record.totals.lost, 0);
    let phases: Vec<_> = record.phases.iter().map(|phase| phase.phase).collect();
    use Phase::{Audit, Broker, Drain, Heal, Load, Topology, Warmup};
    assert_eq!(phases, [Broker, Topology, Warmup, Load, Heal, Drain, Audit]);
    assert!(record.phases.windows(2).all(|pair| pair[0].end_us <= pair[1].start_us + 1));
    let said: serde_json::Value = serde_json::from_str(&ended.out).expect("one JSON object on standard output");
    assert_eq!(said["verdict"], "pass");
    let plan = &record.plan.broker;
    assert_eq!((plan.provider, plan.image.as_str()), (Provider::Container, image().as_str()), "as it was asked for");
    let text = std::fs::read_to_string(ended.record.as_ref().expect("a record").join("run.json")).expect("run.json");
    assert!(!text.contains("lurcher:"), "a password may be in the record");
}

#[test]
fn a_load_of_one_message_is_offered_in_full() {
    let broker = Held::start();
    let scenario = simple(
        "single",
        "rate = \"10/s\"\nmessages = 1",
        "",
        "[load]\nduration = \"2s\"\n[expect]\nguarantee = \"at-least-once\"\nconsumed = 1",
    );
    let ended = broker.rig(&scenario).run().expect_code(0);
    assert_consistent(&ended);
    let generator = ended.record().generator;
    assert_eq!((generator.load_sends, generator.load_planned), (1, Some(1)));
}

#[test]
fn what_is_purged_behind_its_back_is_lost_and_listed() {
    let broker = Held::start();
    let scenario =
        simple("purged", "rate = \"1000/s\"", "start_delay = \"4s\"", "[load]\nduration = \"5s\"\n[expect]\nlost = 0");
    let rig = broker.rig(&scenario);
    let child = rig.start();
    until("a backlog", || broker.ready("purged") > 500);
    broker.purge("purged");
    let ended = rig.wait(child).expect_code(1);
    assert_consistent(&ended);
    let record = ended.record();
    assert!(record.totals.lost > 0 && record.totals.lost < record.totals.confirmed);
    let lost: Vec<u64> = record
        .account
        .violations
        .iter()
        .filter(|violation| violation.class == ViolationClass::Lost)
        .filter_map(|violation| violation.sequence)
        .collect();
    assert_eq!(lost.len() as u64, record.totals.lost, "each is listed");
    // One queue, one publisher: a purge takes a stretch without gaps from the head.
    assert!(lost.windows(2).all(|pair| pair[1] == pair[0] + 1), "{lost:?}");
    assert_eq!(record.totals.consumed + record.totals.lost, record.totals.confirmed);
}

#[test]
fn a_stranger_is_a_phantom() {
    let broker = Held::start();
    let scenario =
        simple("strange", "rate = \"200/s\"", "", "[load]\nduration = \"5s\"\n[expect]\nphantom = 0\nlost = 0");
    let rig = broker.rig(&scenario);
    let child = rig.start();
    until("messages", || broker.has_queues());
    std::thread::sleep(Duration::from_secs(1));
    broker.inject("strange", b"nobody sent this");
    broker.inject("strange", b"");
    broker.inject("strange", &[0; 4096]);
    let ended = rig.wait(child).expect_code(1);
    assert_consistent(&ended);
    let record = ended.record();
    assert_eq!((record.totals.phantom, record.totals.lost), (3, 0));
    let plan = &record.plan.broker;
    assert_eq!(plan.provider, Provider::External);
    assert!(plan.url.as_ref().is_some_and(|url| url.starts_with("amqp://lurcher:***@127.0.0.1:")), "{:?}", plan.url);
    assert!(plan.management_url.is_some());
    let phantoms = ended.table("violations.csv").into_iter().filter(|row| row["class"] == "phantom").count();
    assert_eq!(phantoms, 3);
}

/// What a consumer has taken and does not settle is still the broker's, whoever that consumer is.
#[test]
fn what_another_consumer_holds_is_left_and_not_lost() {
    let broker = Held::start();
    let scenario = simple("withheld", "rate = \"200/s\"", "", "[load]\nduration = \"4s\"\n[expect]\nlost = 0");
    let rig = broker.rig(&scenario);
    let child = rig.start();
    until("messages", || broker.has_queues());
    let holder = broker.hold("withheld", 10);
    let ended = rig.wait(child).expect_code(3);
    drop(holder);
    assert_consistent(&ended);
    let totals = ended.record().totals;
    assert_eq!((totals.lost, totals.left_in_queue, totals.consumed), (0, 10, totals.confirmed - 10));
}

#[test]
fn an_undrained_queue_is_inconclusive() {
    let scenario = simple(
        "undrained",
        "rate = \"300/s\"",
        "work = \"20ms\"\nprefetch = 10",
        "[load]\nduration = \"3s\"\ndrain = \"2s\"\n[expect]\nlost = 0",
    );
    let ended = Rig::new(&scenario).with(&["--quiet"]).run().expect_code(3);
    assert_consistent(&ended);
    let record = ended.record();
    assert!(record.totals.left_in_queue > 0);
    assert_eq!(record.totals.lost, 0);
    assert_eq!(record.totals.consumed + record.totals.left_in_queue, record.totals.confirmed);
}

#[test]
fn a_rate_that_nobody_can_generate_is_invalid() {
    let scenario = simple("impossible", "rate = \"5000000/s\"", "", "[load]\nduration = \"3s\"\n[expect]\nlost = 0");
    let broker = Held::start();
    for client in ["producer.out.client=wire", "producer.out.client=lapin"] {
        let ended = broker.rig(&scenario).with(&["--set", client]).run().expect_code(4);
        let judgement = ended.record().verdict.expect("a verdict");
        let says_why = |reason: &String| reason.contains("could not offer the load: it needs");
        assert!(judgement.reasons.iter().any(says_why), "{client}: {:?}", judgement.reasons);
    }
}

#[test]
fn a_rate_that_the_broker_cannot_take_is_backlog_and_latency() {
    let broker = Held::start();
    // One message at a time: the broker answers each, but not ten thousand times a second.
    let scenario = simple(
        "overloaded",
        "rate = \"10000/s\"\nconfirm = { window = 1, timeout = \"60s\" }",
        "",
        "[load]\nduration = \"4s\"\n[expect]\nlost = 0\n\"end_to_end.p99\" = \"<= 100ms\"",
    );
    let ended = broker.rig(&scenario).run().expect_code(1);
    assert_consistent(&ended);
    let record = ended.record();
    assert_ne!(record.verdict.as_ref().expect("a verdict").verdict, Verdict::Invalid);
    assert_eq!(record.totals.lost, 0);
    assert!(record.generator.held_us > 0, "the window held the publisher up");
    let (intended, from_send) = (p99(&record, "confirm"), p99(&record, "confirm_from_send"));
    assert!(intended > 2 * from_send, "the wait for the window is charged to the messages");
}

#[test]
fn a_stall_shows_from_the_intended_time_and_hides_from_the_send() {
    let broker = Held::start();
    let scenario = simple(
        "stalled",
        "rate = \"1000/s\"\nconfirm = { window = 50, timeout = \"30s\" }",
        "",
        "[load]\nduration = \"10s\"\n[expect]\nlost = 0",
    );
    let rig = broker.rig(&scenario);
    let child = rig.start();
    until("messages", || broker.has_queues());
    std::thread::sleep(Duration::from_secs(3));
    let node = &broker.broker().nodes()[0];
    broker.wait(node.pause()).expect("paused");
    std::thread::sleep(Duration::from_secs(3));
    broker.wait(node.unpause()).expect("unpaused");
    let ended = rig.wait(child).expect_code(0);
    let record = ended.record();
    let (intended, from_send) = (p99(&record, "end_to_end"), p99(&record, "end_to_end_from_send"));
    assert!(intended > 2_000_000, "p99 {intended} us does not show a stall of 3 s");
    assert!(from_send < intended / 4, "p99 from the send {from_send} us should hide most of {intended} us");
}

/// An image whose container runs, and in which no broker ever comes up. Goes with the test.
struct NeverReady(String);

impl NeverReady {
    fn build() -> Self {
        use std::io::Write as _;
        let tag = format!("lurcher-test/never-ready:{}", std::process::id());
        let mut build = std::process::Command::new("docker")
            .args(["build", "--quiet", "--tag", &tag, "-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("docker runs");
        let file = format!("FROM {}\nENTRYPOINT []\nCMD [\"sleep\", \"3600\"]\n", image());
        build.stdin.take().expect("standard input").write_all(file.as_bytes()).expect("written");
        assert!(build.wait().expect("docker ends").success(), "the image could not be built");
        Self(tag)
    }
}

impl Drop for NeverReady {
    fn drop(&mut self) {
        output("docker", &["rmi", "--force", &self.0]);
    }
}

#[test]
fn an_interrupt_while_the_broker_starts_ends_at_once_and_leaves_nothing() {
    let never_ready = NeverReady::build();
    // Nobody waits for this timeout: the test would end with an error long before.
    let scenario =
        simple("unborn", "rate = \"100/s\"", "", "[load]\nduration = \"1s\"\n[broker]\nstartup_timeout = \"1h\"");
    let rig = Rig::new(&scenario).with(&["--broker-image", &never_ready.0]);
    for (signal, while_it_is_made) in [("INT", false), ("TERM", false), ("INT", true)] {
        let mut child = rig.start();
        let pid = child.id();
        let said = std::io::BufReader::new(child.stderr.take().expect("standard error"));
        let mut lines = std::io::BufRead::lines(said);
        assert!(lines.any(|line| line.is_ok_and(|line| line.contains("starting RabbitMQ"))), "it never began to start");
        if !while_it_is_made {
            until("the container", || !containers_of(pid).is_empty());
        }
        kill(pid, signal);
        until("the end", || child.try_wait().expect("a child").is_some());
        let ended = rig.wait(child).expect_code(130);
        assert_eq!(containers_of(pid), Vec::<String>::new(), "a container is left after {signal}");
        assert!(ended.record.is_none(), "nothing was measured");
    }
}

#[test]
fn an_interrupt_while_queues_are_declared_is_heard_before_the_load_and_leaves_none() {
    let broker = Held::start();
    // So many that the first are there long before the last.
    let scenario = "schema = 1\nname = \"early\"\n[[queue]]\nname = \"early.{1..3000}\"\n\
                    [[producer]]\nname = \"out\"\nrouting_key = \"early.1\"\nrate = \"10/s\"\n\
                    [load]\nduration = \"600s\"\n";
    let rig = broker.rig(scenario);
    let child = rig.start();
    until("the first queue", || broker.has_queues());
    kill(child.id(), "INT");
    let ended = rig.wait(child).expect_code(130);
    assert!(ended.record.is_none(), "the load began all the same");
    assert!(ended.err.contains("interrupted before the load began"), "{}", ended.err);
    until("all queues to be gone", || broker.queues().is_ok_and(|queues| queues.is_empty()));
}

fn kill(pid: u32, signal: &str) {
    output("kill", &[&format!("-{signal}"), &pid.to_string()]);
}

#[test]
fn an_interrupt_keeps_a_marked_record_and_no_container() {
    let scenario = simple("interrupted", "rate = \"500/s\"", "", "[load]\nduration = \"60s\"\n[expect]\nlost = 0");
    let rig = Rig::new(&scenario);
    let mut child = rig.start();
    let pid = child.id();
    let said = std::io::BufReader::new(child.stderr.take().expect("standard error"));
    let mut lines = std::io::BufRead::lines(said);
    assert!(lines.any(|line| line.is_ok_and(|line| line == "phase load")), "the load never began");
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().expect("a child").is_none());
    kill(pid, "INT");
    let ended = rig.wait(child).expect_code(130);
    assert!(containers_of(pid).is_empty(), "a container is left");
    let record = ended.record();
    assert_eq!(record.completeness, Completeness::Interrupted);
    assert!(record.totals.published > 0);
    assert_eq!(record.totals.lost, 0, "nothing is called lost that nobody looked for");
    assert_ne!(record.verdict.expect("a verdict").verdict, Verdict::Pass);
}

#[test]
fn what_a_killed_run_left_is_found_and_removed() {
    let scenario = simple("killed", "rate = \"100/s\"", "", "[load]\nduration = \"60s\"");
    let rig = Rig::new(&scenario);
    let mut child = rig.start();
    let pid = child.id();
    until("the container", || !containers_of(pid).is_empty());
    kill(pid, "KILL");
    child.wait().expect("dead");
    assert!(!containers_of(pid).is_empty(), "the test needs something left behind");
    let doctor = std::process::Command::new(env!("CARGO_BIN_EXE_lurcher"))
        .arg("doctor")
        .env("LURCHER_BROKER_IMAGE", image())
        .output()
        .expect("doctor runs");
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    until("the container to go", || containers_of(pid).is_empty());
}

#[test]
fn trouble_has_its_exit_code_and_leaves_nothing() {
    let scenario = simple("trouble", "rate = \"100/s\"", "", "[load]\nduration = \"1s\"");
    let missing = Rig::new(&scenario).with(&["--broker-image", "lurcher/no-such-image:0"]).run().expect_code(5);
    let says_what_to_do = missing.err.contains("make image") || missing.err.contains("--broker-image");
    assert!(says_what_to_do, "{}", missing.err);
    assert!(missing.record.is_none());
    let nobody =
        Rig::new(&scenario).with(&["--broker-url", "amqp://guest:secret-word@127.0.0.1:1"]).run().expect_code(5);
    assert!(!nobody.err.contains("secret-word"), "{}", nobody.err);
    let bad_url = Rig::new(&scenario).with(&["--broker-url", "http://127.0.0.1"]).run().expect_code(2);
    assert!(bad_url.err.contains("amqp"), "{}", bad_url.err);
    let no_file = Rig::new(&scenario);
    std::fs::remove_file(no_file.folder().join("scenario.toml")).expect("removed");
    no_file.run().expect_code(2);
}

#[test]
fn a_full_disk_is_an_error_that_says_so() {
    let scenario = simple("full", "messages = 5000", "", "[expect]\nlost = 0");
    let rig = Rig::new(&scenario);
    std::fs::create_dir_all(rig.out()).expect("a folder");
    // A private mount of 40 KiB over the folder for records; it goes with the process.
    let command = rig.command();
    let mut words = vec![command.get_program().to_owned()];
    words.extend(command.get_args().map(std::ffi::OsStr::to_owned));
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c"])
        .arg(format!("mount -t tmpfs -o size=40k tmpfs '{}' && exec \"$@\"", rig.out().display()))
        .arg("sh")
        .args(words)
        .env("LURCHER_BROKER_IMAGE", image())
        .output()
        .expect("unshare runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{err}");
    assert!(err.to_lowercase().contains("no space") || err.contains("full"), "{err}");
    assert!(err.contains("`lurcher report ") || err.contains("--out"), "it says what to do: {err}");
    let failed = err.lines().filter(|line| line.contains("report.html"));
    assert!(failed.clone().all(|line| !line.contains(".partial-")), "where nothing is: {err}");
}

#[test]
fn the_brokers_own_counters_agree() {
    let scenario = simple(
        "counted",
        "rate = \"4000/s\"\nmessages = 20_000",
        "ack = { batch = 20 }",
        "[load]\nduration = \"20s\"\n[expect]\nlost = 0",
    );
    let ended = Rig::new(&scenario).with(&["--quiet"]).run().expect_code(0);
    assert_consistent(&ended);
    let record = ended.record();
    let counters = &record.broker.counters;
    let queue = &record.account.queues[0];
    assert_eq!(counters.get("published"), Some(&record.totals.published), "{counters:?}");
    assert_eq!(counters.get("confirmed"), Some(&record.totals.confirmed), "{counters:?}");
    assert_eq!(counters.get("delivered"), Some(&record.totals.delivered), "{counters:?}");
    assert_eq!(counters.get("acknowledged"), Some(&queue.acknowledged), "{counters:?}");
    assert_eq!(counters.get("redelivered").copied().unwrap_or(0), queue.redelivered_flag, "{counters:?}");
}
