//! Runs the built `lurcher` as its users do, and reads the records that it leaves.
//!
//! A test without a broker fails here, with the command that fixes it; none is skipped.

#![allow(dead_code, reason = "each test binary uses some of it")]

mod broker;
mod held;
pub mod scenarios;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use broker::HINT;
pub use broker::image;
pub use held::Held;
use lurcher::record::Record;
use serde_json::Value;

/// A scratch folder with a scenario in it.
pub struct Rig {
    folder: std::sync::Arc<tempfile::TempDir>,
    extra: Vec<String>,
}

/// A run that ended.
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Where the record is, where there is one.
    pub record: Option<PathBuf>,
    /// Goes with the last that needs it.
    folder: std::sync::Arc<tempfile::TempDir>,
}

impl Rig {
    /// A rig for the scenario `text`.
    pub fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        std::fs::write(folder.path().join("scenario.toml"), text).expect("the scenario");
        Self { folder: std::sync::Arc::new(folder), extra: Vec::new() }
    }

    /// Adds arguments.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.extra.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// The rig's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its records go.
    pub fn out(&self) -> PathBuf {
        self.folder.path().join("records")
    }

    /// The command, ready to be started.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lurcher"));
        command
            .arg("run")
            .arg(self.folder.path().join("scenario.toml"))
            .arg("--out")
            .arg(self.out())
            .args(&self.extra)
            .env("LURCHER_BROKER_IMAGE", image())
            .stdin(Stdio::null());
        command
    }

    /// Starts it.
    pub fn start(&self) -> Child {
        self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lurcher starts")
    }

    /// Runs it to its end.
    pub fn run(&self) -> Ended {
        self.ended(self.command().output().expect("lurcher runs"))
    }

    /// Waits for a started one.
    pub fn wait(&self, child: Child) -> Ended {
        self.ended(child.wait_with_output().expect("lurcher ends"))
    }

    fn ended(&self, output: Output) -> Ended {
        let latest = self.out().join("latest");
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            record: latest.exists().then_some(latest),
            folder: std::sync::Arc::clone(&self.folder),
        }
    }
}

impl Ended {
    /// Checks the exit code; shows what was said where it differs.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "\n--- standard output\n{}\n--- standard error\n{}\n--- {HINT}",
            self.out, self.err
        );
        self
    }

    /// The record.
    #[track_caller]
    pub fn record(&self) -> Record {
        let path = self.record.as_ref().unwrap_or_else(|| panic!("no record was left:\n{}", self.err));
        Record::read(path).expect("a record that reads back")
    }

    /// `run.json` as other programs see it.
    pub fn json(&self) -> Value {
        let path = self.record.as_ref().expect("a record").join("run.json");
        serde_json::from_str(&std::fs::read_to_string(path).expect("run.json")).expect("JSON")
    }

    /// The rows of one of its tables.
    pub fn table(&self, file: &str) -> Vec<std::collections::HashMap<String, String>> {
        let path = self.record.as_ref().expect("a record").join(file);
        let mut reader = csv::Reader::from_path(path).expect(file);
        reader.deserialize().collect::<Result<_, _>>().expect(file)
    }
}

/// Waits until `holds`, at most two minutes.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited two minutes for: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs a command and returns what it printed.
#[track_caller]
pub fn output(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap_or_else(|error| panic!("{command}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Containers that belong to the process `pid`.
pub fn containers_of(pid: u32) -> Vec<String> {
    let filter = format!("label=lurcher.pid={pid}");
    output("docker", &["ps", "-aq", "--filter", &filter]).split_whitespace().map(str::to_owned).collect()
}
