//! `lurcher selftest` on a real broker: what is planned is found; and where more is done than it knows of, by a second
//! proxy behind its own, it says so and fails.
//!
//! A test without a broker fails here, with the command that fixes it; none is skipped.

#![allow(clippy::expect_used, reason = "what helps a test may fail like a test")]

mod rig;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lurcher::proxy::{Direction, Disturbance, Picks, Proxy, What};
use rig::{Held, containers_of, image, until};
use serde_json::Value;

/// The command, with `scratch` as the system's folder for what is temporary.
fn selftest(scratch: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lurcher"));
    command.arg("selftest").args(arguments);
    command.env("TMPDIR", scratch).env("LURCHER_BROKER_IMAGE", image()).stdin(Stdio::null());
    command
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ended(mut command: Command) -> Ended {
    let output = command.output().expect("lurcher runs");
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn what_is_planned_is_found() {
    let scratch = tempfile::tempdir().expect("a folder");
    let out = scratch.path().join("kept");
    let only = "control,all-classic,all-quorum,no-sample,no-message,overload";
    let arguments = ["--only", only, "--seed", "7", "--json", "--out", &out.display().to_string()];
    let ended = ended(selftest(scratch.path(), &arguments));
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    let said: Value = serde_json::from_str(&ended.out).expect("one JSON object");
    assert_eq!((&said["exact"], &said["seed"]), (&Value::Bool(true), &Value::from(7)));
    let rows = said["rows"].as_array().expect("rows");
    let cases: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["client"].as_str().unwrap_or(""), row["case"].as_str().unwrap_or(""))).collect();
    let expected: Vec<_> =
        ["wire", "lapin"].iter().flat_map(|client| only.split(',').map(|case| (*client, case))).collect();
    assert_eq!(cases, expected);
    for row in rows {
        assert_eq!(row["planned"], row["found"], "{row}");
        let record = Path::new(row["record"].as_str().expect("a record"));
        assert!(record.join("run.json").is_file() && record.join("report.html").is_file(), "{row}");
    }
    assert!(rows[1]["planned"].as_array().is_some_and(|lines| lines.len() == 6), "{}", rows[1]);
    assert_eq!(rows[1]["named"][0], rows[1]["named"][1]);
    assert_eq!(entries(scratch.path()), ["kept"]);
}

#[test]
fn what_nobody_planned_is_told() {
    let (broker, scratch) = (Held::start(), tempfile::tempdir().expect("a folder"));
    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, broker.broker().endpoint().port));
    let direct = broker.arguments();
    let run = |disturb: What, case: &str, manner: &[&str]| {
        let proxy = broker.wait(Proxy::start(upstream, 5)).expect("a proxy");
        let id = proxy.begin(Disturbance::of_all(disturb));
        let there = format!(":{}", proxy.address().port());
        let led = direct.each_ref().map(|argument| argument.replace(&format!(":{}", upstream.port()), &there));
        let led = led.each_ref().map(String::as_str);
        let ended =
            ended(selftest(scratch.path(), &[&led, &["--client", "wire", "--only", case][..], manner].concat()));
        let done = proxy.done(id);
        broker.wait(proxy.stop());
        assert_eq!(ended.code, Some(1), "{}\n{}", ended.out, ended.err);
        (ended, done)
    };
    // One of each class more than the self-test knows of, where nothing at all should be.
    let picks = Picks::only(1_500);
    for (what, found) in [
        (What::LoseConfirmed { picks }, "1 lost"),
        (What::LoseDelivered { picks }, "1 lost"),
        (What::Duplicate { picks, flagged: false }, "1 unflagged"),
        (What::Duplicate { picks, flagged: true }, "1 redelivered"),
        (What::Corrupt { picks }, "1 corrupt"),
        (What::Invent { picks }, "1 phantom"),
        (What::Swap { picks }, "1 misordered"),
    ] {
        let (ended, done) = run(what.clone(), "control", &["--json"]);
        assert_eq!(done, 1, "{what:?}");
        let said: Value = serde_json::from_str(&ended.out).expect("one JSON object");
        let row = &said["rows"][0];
        assert_eq!((&said["exact"], row["verdict"].as_str()), (&Value::Bool(false), Some("fail")), "{said}");
        let lines = |key: &str| row[key].as_array().cloned().unwrap_or_default();
        assert!(lines("found").contains(&Value::from(found)), "{what:?}: {said}");
        assert!(
            lines("differences").iter().any(|it| it.as_str().is_some_and(|it| it.starts_with("listed and not hit")))
        );
        // Evidence of what is wrong stays.
        let record = Path::new(row["record"].as_str().expect("a record"));
        assert!(record.join("violations.csv").is_file() && record.join("report.html").is_file());
    }
    // And one more of what was planned; and a latency.
    let (ended, _) = run(What::LoseDelivered { picks: Picks::only(2_000) }, "lose-delivered", &[]);
    let row = ended.out.lines().find(|line| line.starts_with("lost on delivery")).expect("a row");
    assert!(row.ends_with("DIFFERS"), "{}", ended.out);
    assert!(ended.out.contains("differs: 1 of 1 cases: lose-delivered (wire)\nrecords: "), "{}", ended.out);
    let (direction, jitter) = (Direction::ToBroker, Duration::ZERO);
    let (ended, _) =
        run(What::Latency { direction, delay: Duration::from_millis(80), jitter }, "latency", &["--quiet"]);
    assert_eq!(ended.out, "differs: 1 of 1 cases: latency (wire)\n", "{}", ended.err);
    assert!(!broker.has_queues(), "its own are gone");
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().expect("a folder");
    let command = || {
        let mut command = selftest(scratch.path(), &["--only", "latency", "--client", "wire"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lurcher starts")
    };
    let child = command();
    let pid = child.id();
    let has_begun =
        || entries(scratch.path()).iter().any(|name| scratch.path().join(name).join("selftest-latency-wire").is_dir());
    until("a case", has_begun);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(containers_of(pid).len(), 1);
    rig::output("kill", &["-INT", &pid.to_string()]);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(containers_of(pid).is_empty());
    assert!(entries(scratch.path()).is_empty(), "{:?}", entries(scratch.path()));
}

#[test]
fn what_cannot_be_is_refused() {
    let scratch = tempfile::tempdir().expect("a folder");
    let refused = |arguments: &[&str]| {
        let mut command = selftest(scratch.path(), arguments);
        command.env_remove("LURCHER_BROKER_URL").env_remove("LURCHER_MANAGEMENT_URL");
        let ended = ended(command);
        (ended.code, ended.err)
    };
    let (code, err) = refused(&["--only", "nonsense"]);
    assert!(code == Some(2) && err.contains("lose-confirmed"), "it names what there is: {err}");
    let (code, err) = refused(&["--management-url", "http://127.0.0.1:1"]);
    assert!(code == Some(2) && err.contains("--broker-url"), "{err}");
    let (code, err) = refused(&["--broker-url", "amqp://127.0.0.1:1"]);
    assert!(code == Some(5) && err.contains("could not reach amqp://127.0.0.1:1/"), "{err}");
    let (code, err) = refused(&["--out", "/dev/null/nowhere", "--broker-url", "amqp://127.0.0.1:1"]);
    assert_eq!(code, Some(5), "{err}");
    assert!(entries(scratch.path()).is_empty());
}
