//! What was measured on: figures mean nothing without it.

use std::process::Command;

use lurcher::broker::Facts;
use serde::Serialize;

/// The machine, the broker and the program.
#[derive(Debug, Serialize)]
pub struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    memory_mib: u64,
    /// Processes that ran or waited before the bench began, over one minute.
    load_before: String,
    broker: String,
    rustc: String,
    commit: String,
}

impl Machine {
    /// As it is now.
    pub fn look(facts: Option<&Facts>) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let uname = rustix::system::uname();
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok());
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            memory_mib: memory_kib.unwrap_or(0) / 1024,
            load_before: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            broker: facts.map_or_else(unknown, broker),
            rustc: said("rustc", &["--version"]).unwrap_or_else(unknown),
            commit: commit(),
        }
    }

    /// As lines of Markdown.
    pub fn markdown(&self) -> String {
        format!(
            "- machine: {}, {} cores shared with the broker, {} MiB of memory, {}; load before: {}\n\
             - broker: {}\n- lurcher: commit {}, {}\n",
            self.cpu, self.cores, self.memory_mib, self.kernel, self.load_before, self.broker, self.commit, self.rustc,
        )
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn broker(facts: &Facts) -> String {
    let erlang = facts.erlang.as_deref().unwrap_or("unknown");
    let network = facts.network.as_deref().unwrap_or("unknown");
    let files = facts.configuration.get("file_descriptors").map_or("unknown", String::as_str);
    format!(
        "{} {}, Erlang {erlang}, one {} on the {network} network, {files} file descriptors",
        facts.product, facts.version, facts.provider,
    )
}

/// The commit, and whether the sources differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| said("git", &[&["-C", env!("CARGO_MANIFEST_DIR")], arguments].concat());
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return unknown() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changed) if !changed.is_empty() => format!("{commit} with changes"),
        _ => commit,
    }
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
