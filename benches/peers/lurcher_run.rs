//! lurcher as its users run it: the release binary with a scenario, and the record that it leaves. It samples the broker
//! and itself each second, keeps its ledger and its histograms, and asks the broker's management API, as always.

use std::path::{Path, PathBuf};
use std::process::Command;

use lurcher::proxy::Proxy;
use lurcher::record::{Record, Verdict};
use serde_json::Value;

use super::contender::{Contender, limit};
use super::outcome::{Footprint, Outcome};
use super::stand::{Failure, Stand};

/// One producer, one consumer.
pub const PEERS: &str = "peers.toml";
/// Many connections and channels.
pub const CONNECTIONS: &str = "connections.toml";
/// A rate.
pub const PACING: &str = "pacing.toml";

/// A rate that is far from any limit.
pub const MODERATE: &str = "moderate.toml";

/// A run and its record.
pub struct Ran {
    /// The record.
    pub record: Record,
    /// Its interval log.
    pub log: Vec<u8>,
    /// Of the process's whole life, its report included.
    pub footprint: Footprint,
}

impl Ran {
    /// What it came to; an error where the run did not pass.
    pub fn outcome(self) -> Result<Outcome, Failure> {
        let ran = self.passed()?;
        let outcome = Outcome::of_record(&ran.record)?;
        Ok(Outcome { footprint: outcome.footprint.or_more(ran.footprint), ..outcome })
    }

    /// An error where the run did not pass.
    pub fn passed(self) -> Result<Self, Failure> {
        match &self.record.verdict {
            Some(judgement) if judgement.verdict == Verdict::Pass => Ok(self),
            Some(judgement) => Err(format!("{}: {}", judgement.verdict.word(), judgement.reasons.join(" ")).into()),
            None => Err("the run was not judged".into()),
        }
    }
}

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name)
}

fn lurcher(verb: &str, name: &str, client: &str, sets: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lurcher"));
    command.arg(verb).arg(scenario(name));
    let clients = ["producer", "consumer"].map(|fleet| format!("{fleet}.*.client={client}"));
    for set in clients.iter().chain(sets) {
        command.args(["--set", set]);
    }
    command
}

/// Why a client is not there; none where it is.
pub fn lacks(contender: Contender) -> Result<Option<String>, Failure> {
    let checked = lurcher("check", PEERS, contender.name(), &[]).output()?;
    if checked.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&checked.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason was given");
    Ok(Some(first.trim().to_owned()))
}

/// Runs a scenario. An error where it left no record.
pub fn run(stand: &Stand, name: &str, client: &str, sets: &[String], messages: u64) -> Result<Ran, Failure> {
    run_through(stand, None, (name, client), sets, messages)
}

/// The same, through a proxy.
pub fn run_through(
    stand: &Stand,
    proxy: Option<&Proxy>,
    (name, client): (&str, &str),
    sets: &[String],
    messages: u64,
) -> Result<Ran, Failure> {
    let mut command = lurcher("run", name, client, sets);
    if let Some(proxy) = proxy {
        stand.lead_through(proxy, &mut command);
    }
    command.arg("--json").arg("--out").arg(stand.folder().join("records"));
    let ended = stand.run(&mut command, limit(messages))?;
    let said: Value =
        serde_json::from_str(&ended.said).map_err(|_| format!("{}: {}", ended.status, ended.complained))?;
    let folder = Path::new(said["record"].as_str().ok_or("no record is named")?);
    let record = Record::read(folder)?;
    let log = std::fs::read(folder.join("latency.hlog"))?;
    std::fs::remove_dir_all(folder)?;
    Ok(Ran { record, log, footprint: ended.footprint })
}
