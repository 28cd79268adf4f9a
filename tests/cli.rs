//! The command line, where no broker is needed: what it refuses, what it reads from the environment, and what
//! `lurcher report` says.

#![allow(clippy::expect_used, reason = "what helps a test may fail like a test")]

use std::path::Path;
use std::process::Command;

use lurcher::analysis;
use lurcher::record::{LOG_FILE, Verdict, fixture};

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs `lurcher` with nothing in its environment that is about a broker but `variables`.
fn lurcher(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lurcher"));
    for name in ["LURCHER_BROKER_URL", "LURCHER_MANAGEMENT_URL", "LURCHER_BROKER_IMAGE"] {
        command.env_remove(name);
    }
    let output = command.args(arguments).envs(variables.iter().copied()).output().expect("lurcher runs");
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A scenario in `folder` with `broker` in it; its path.
fn scenario(folder: &Path, broker: &str) -> String {
    let text = format!(
        "schema = 1\nname = \"cli\"\n[broker]\n{broker}\n[[queue]]\nname = \"q\"\n\
         [[producer]]\nname = \"p\"\nrouting_key = \"q\"\nmessages = 1\n"
    );
    let path = folder.join("scenario.toml");
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

/// Nobody listens on port 1.
const NOBODY: &str = "provider = \"external\"\nurl = \"amqp://127.0.0.1:1\"";

#[test]
fn a_variable_that_is_empty_is_not_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, out) = (scenario(folder.path(), NOBODY), folder.path().join("out").display().to_string());
    let run = ["run", &path, "--out", &out];
    let empty = [("LURCHER_BROKER_URL", ""), ("LURCHER_MANAGEMENT_URL", ""), ("LURCHER_BROKER_IMAGE", "")];
    let ended = lurcher(&run, &empty);
    assert_eq!(ended.code, Some(5), "{}", ended.err);
    assert!(ended.err.contains("could not reach amqp://127.0.0.1:1/"), "{}", ended.err);
    let set = lurcher(&run, &[("LURCHER_BROKER_URL", "amqp://127.0.0.2:1")]);
    assert!(set.err.contains("amqp://127.0.0.2:1/"), "one that is set counts: {}", set.err);
    let given = lurcher(&["run", &path, "--broker-url", ""], &[]);
    assert_eq!(given.code, Some(2), "a flag is meant: {}", given.err);
    let doctor = lurcher(&["doctor"], &[("LURCHER_BROKER_IMAGE", "")]);
    assert!(!doctor.out.contains("image :"), "{}", doctor.out);
}

#[test]
fn a_management_api_needs_its_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = scenario(folder.path(), "provider = \"container\"");
    let url = "http://127.0.0.1:1";
    for ended in [
        lurcher(&["run", &path, "--management-url", url], &[]),
        lurcher(&["run", &path], &[("LURCHER_MANAGEMENT_URL", url)]),
    ] {
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(ended.err.contains("--broker-url"), "{}", ended.err);
    }
    let (there, out) = (scenario(folder.path(), NOBODY), folder.path().join("out").display().to_string());
    let ended = lurcher(&["run", &there, "--out", &out, "--management-url", url], &[]);
    assert_eq!(ended.code, Some(5), "the scenario names the broker: {}", ended.err);
}

#[test]
fn nested_headers_and_arguments_are_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scenario.toml");
    let text = r#"
        schema = 1
        name = "nested"
        [[exchange]]
        name = "e"
        kind = "topic"
        arguments = { free = { deep = [{ deeper = 1 }] } }
        [[queue]]
        name = "q"
        arguments = { x-own = { list = [1, 2.5, true, "a"] } }
        [[producer]]
        name = "p"
        routing_key = "q"
        messages = 1
        properties = { headers = { tab = { x = "y", more = { z = 1 } }, list = ["a", [1]] } }
    "#;
    std::fs::write(&path, text).expect("written");
    let path = path.display().to_string();
    let set = "producer.p.properties.headers.tab.x=z";
    for (sets, x) in [(&[][..], "y"), (&["--set", set][..], "z")] {
        let ended = lurcher(&[&["check", "--plan", &path], sets].concat(), &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let plan: serde_json::Value = serde_json::from_str(&ended.out).expect("a plan");
        let headers = &plan["producers"][0]["properties"]["headers"];
        assert_eq!(*headers, serde_json::json!({ "tab": { "x": x, "more": { "z": 1 } }, "list": ["a", [1]] }));
        assert_eq!(plan["topology"]["queues"][0]["arguments"]["x-own"]["list"][1], 2.5);
        assert_eq!(plan["topology"]["exchanges"][0]["arguments"]["free"]["deep"][0]["deeper"], 1);
    }
}

#[test]
fn a_report_ends_like_a_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    let mut record = fixture::record();
    record.write(folder.path()).expect("written");
    let before = std::fs::read(folder.path().join("run.json")).expect("run.json");
    let ended = lurcher(&["report", &path], &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains(LOG_FILE), "{}", ended.err);
    assert_eq!(std::fs::read(folder.path().join("run.json")).expect("run.json"), before, "nothing is written");

    std::fs::write(folder.path().join(LOG_FILE), "").expect("written");
    for (step_us, verdict) in [(0, Verdict::Fail), (3_600_000_000, Verdict::Invalid)] {
        record.generator.clock_step_us = step_us;
        let judgement = analysis::judge(&record);
        assert_eq!(judgement.verdict, verdict, "{judgement:?}");
        record.write(folder.path()).expect("written");
        let ended = lurcher(&["report", &path], &[]);
        assert_eq!(ended.code, Some(i32::from(verdict.exit_code())), "{}", ended.err);
        assert!(ended.out.starts_with(&verdict.word().to_uppercase()), "{}", ended.out);
        let (words, reason) = (ended.out.split_whitespace(), judgement.reasons[0].split_whitespace());
        let (said, reason) = (words.collect::<Vec<_>>().join(" "), reason.collect::<Vec<_>>().join(" "));
        assert!(said.contains(&reason), "{reason}\n{}", ended.out);
        assert!(ended.out.contains(&format!("{path}/report.html")), "{}", ended.out);
    }
}
