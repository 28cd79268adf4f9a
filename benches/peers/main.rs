//! lurcher beside its peers on a real broker: what it costs next to the `lapin` and `amqprs` crates and next to a bare
//! socket, how that cost grows, how many connections it holds, how punctual it is, and what its proxy costs.
//!
//! `cargo bench --bench peers`, or `make bench`, which provides the broker's image. Tables in Markdown on standard
//! output, every single run in `target/bench/peers.json`. Absolute figures differ threefold between two machines of one
//! kind: compare what one run has side by side.

mod amqprs_peer;
mod connections;
mod contender;
mod floor;
mod frames;
mod growth;
mod lurcher_run;
mod machine;
mod outcome;
mod pacing;
mod proxied;
mod rounds;
mod stand;
mod stats;
mod tables;
mod toll;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use contender::{Contender, Job};
use machine::Machine;
use stand::{Failure, Interrupted, Stand};

/// lurcher beside its peers on a real broker
#[derive(Debug, Parser)]
struct Arguments {
    /// A smoke check: few messages, one round, few connections; its figures are worth nothing
    #[arg(long)]
    quick: bool,
    /// Let the number of messages grow to 10,000,000, which takes many minutes
    #[arg(long)]
    long: bool,
    /// One table only
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Messages of each run
    #[arg(long, env = "LURCHER_BENCH_MESSAGES")]
    messages: Option<u64>,
    /// Rounds, in each of which every contender runs once
    #[arg(long, env = "LURCHER_BENCH_ROUNDS")]
    rounds: Option<u32>,
    /// Clients of lurcher's for the tables after the first [default: wire where it is there, else lapin]
    #[arg(long, value_enum, value_delimiter = ',')]
    clients: Vec<Contender>,
    /// `cargo bench` says so of itself
    #[arg(long, hide = true)]
    bench: bool,
    /// Be a contender, in a process of its own
    #[arg(long, hide = true, value_enum)]
    contender: Option<Contender>,
    /// A contender's bodies, in bytes
    #[arg(long, hide = true, default_value_t = 24)]
    size: usize,
}

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// All contenders side by side, and the targets
    Peers,
    /// Cost over messages and over producers
    Growth,
    /// A thousand connections
    Connections,
    /// 20,000 messages per second
    Pacing,
    /// What the proxy costs that network faults go through, while it does nothing
    Proxy,
}

/// What was asked for, with its defaults filled in.
#[derive(Debug, Serialize)]
pub struct Settings {
    quick: bool,
    long: bool,
    messages: u64,
    rounds: u32,
}

impl Settings {
    fn of(arguments: &Arguments) -> Self {
        let (messages, rounds) = if arguments.quick { (5_000, 1) } else { (100_000, 5) };
        Self {
            quick: arguments.quick,
            long: arguments.long,
            messages: arguments.messages.unwrap_or(messages).max(1),
            rounds: arguments.rounds.unwrap_or(rounds).max(1),
        }
    }
}

/// Everything that was measured, for later comparison.
#[derive(Serialize)]
struct Results {
    schema_version: u32,
    machine: Machine,
    settings: Settings,
    /// Contenders that are not there, and why.
    absent: Vec<(Contender, String)>,
    peers: Vec<rounds::Run>,
    targets: Vec<rounds::Held>,
    growth: Vec<growth::Point>,
    connections: Vec<connections::Crowd>,
    pacing: Vec<pacing::Paced>,
    proxied: Vec<toll::Leg>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.contender {
        Some(contender) => serve(contender, &arguments),
        // `cargo test --all-targets` starts benches too, and wants no quarter of an hour of load.
        None if !arguments.bench => {
            progress("nothing was measured: run it with `cargo bench --bench peers`");
            Ok(())
        }
        None => conduct(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            progress(format!("error: {failure}"));
            ExitCode::from(if failure.is::<Interrupted>() { 130 } else { 1 })
        }
    }
}

fn serve(contender: Contender, arguments: &Arguments) -> Result<(), Failure> {
    let job = Job { messages: arguments.messages.unwrap_or(1).max(1), size: arguments.size };
    let outcome = contender::serve(contender, &job)?;
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&outcome)?)?)
}

fn conduct(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(problem) = lurcher_run::lacks(Contender::Lapin)? {
        return Err(format!("the bench's own scenario is refused: {problem}").into());
    }
    let stand = Stand::raise()?;
    let measured = measure(&stand, arguments);
    let left = stand.leave();
    measured.and(left)
}

fn measure(stand: &Stand, arguments: &Arguments) -> Result<(), Failure> {
    let settings = Settings::of(arguments);
    let mut results = Results {
        schema_version: 1,
        machine: Machine::look(stand.facts()),
        settings,
        absent: Vec::new(),
        peers: Vec::new(),
        targets: Vec::new(),
        growth: Vec::new(),
        connections: Vec::new(),
        pacing: Vec::new(),
        proxied: Vec::new(),
    };
    let mut lurchers = vec![Contender::Wire, Contender::Lapin];
    if let Some(reason) = lurcher_run::lacks(Contender::Wire)? {
        lurchers.retain(|client| *client != Contender::Wire);
        results.absent.push((Contender::Wire, reason));
    }
    let clients = if arguments.clients.is_empty() { lurchers[..1].to_vec() } else { arguments.clients.clone() };
    say(&head(&results))?;
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    if wanted(Part::Peers) {
        let contenders = [&lurchers[..], &[Contender::Amqprs, Contender::Floor]].concat();
        results.peers = rounds::measure(stand, &results.settings, &contenders)?;
        results.targets = rounds::targets(&results.peers);
        say(&rounds::markdown(&results.peers, &results.targets, &contenders, &results.settings))?;
        keep(&results)?;
    }
    if wanted(Part::Growth) {
        results.growth = growth::measure(stand, &results.settings, &clients)?;
        say(&growth::markdown(&results.growth))?;
        keep(&results)?;
    }
    if wanted(Part::Connections) {
        results.connections = connections::measure(stand, &results.settings, &clients)?;
        say(&connections::markdown(&results.connections))?;
        keep(&results)?;
    }
    if wanted(Part::Pacing) {
        results.pacing = pacing::measure(stand, &results.settings, &clients)?;
        say(&pacing::markdown(&results.pacing))?;
        keep(&results)?;
    }
    if wanted(Part::Proxy) {
        results.proxied = proxied::measure(stand, &results.settings, &clients)?;
        say(&proxied::markdown(&results.proxied, &results.settings))?;
        keep(&results)?;
    }
    Ok(())
}

fn head(results: &Results) -> String {
    let mut text = format!("# lurcher on a real broker\n\n{}", results.machine.markdown());
    if results.settings.quick {
        text += "- quick: a smoke check, whose figures are worth nothing\n";
    }
    for (contender, reason) in &results.absent {
        text += &format!("- not there: {}: {reason}\n", contender.title());
    }
    text
}

/// Keeps what there is so far: what fails later loses none of it.
fn keep(results: &Results) -> Result<(), Failure> {
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join("peers.json"), serde_json::to_string_pretty(results)? + "\n")?)
}

/// Cargo's folder for what it builds.
fn target() -> PathBuf {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    scratch.parent().unwrap_or(scratch).to_owned()
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Tells a person what goes on, on standard error.
pub fn progress(line: impl std::fmt::Display) {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
