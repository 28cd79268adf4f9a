//! `lurcher selftest`: is every sabotage found, exactly?

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::run::listen_for_signals;
use super::which_broker::WhichBroker;
use crate::plan::{BrokerPlan, ClientKind, Provider};
use crate::selftest::{self, CASES, Case, Ended, Event, Options, Row, SelftestError, table};

/// Arguments of `lurcher selftest`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(flatten)]
    broker: WhichBroker,
    /// Where the broker comes from, where no URL names one [default: auto]
    #[arg(long, value_enum)]
    provider: Option<Own>,
    /// Client of the fleets
    #[arg(long, value_enum, default_value_t)]
    client: Clients,
    /// Where the numbers of what is done come from
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// These cases only; may be repeated, or be a list with commas
    #[arg(long, value_name = "CASE", value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// Folder for the records of its runs; else they are removed, but where something differs
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the last line only
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Print one JSON object on standard output: what was planned, found and judged in each case
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    what was planned was found, in every case
  1    something differs: this build, on this machine, is not to be trusted, whatever kept the rest from being tried
  2    bad input
  5    environment: no broker could be started or reached, or a record could not be written
  130  interrupted: the broker is removed";

const BOTH_BROKERS: &str = "error: --provider says where a broker that is started comes from, and --broker-url (or \
                            LURCHER_BROKER_URL) names one that is already there: leave one of them out";

/// Exit code where something differs.
const DIFFERS: u8 = 1;
/// Events that may wait to be shown.
const EVENTS: usize = 64;

/// Where a broker of our own comes from.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Own {
    /// A container, else a local process
    #[default]
    Auto,
    /// A container
    Container,
    /// A local rabbitmq-server
    Process,
}

/// Which clients.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Clients {
    /// One after the other
    #[default]
    Both,
    /// lurcher's own
    Wire,
    /// The lapin crate
    Lapin,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(CASES.map(|case| case.name))
}

/// Runs all cases, and says what came of them; the exit code.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let (options, scratch) = match options(arguments) {
        Ok(options) => options,
        Err((code, problem)) => {
            super::complain(problem);
            return code;
        }
    };
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let (interrupt, interrupted) = watch::channel(false);
    runtime.spawn(listen_for_signals(interrupt));
    let ended = runtime.block_on(async {
        let (told, events) = mpsc::channel(EVENTS);
        let showing = tokio::spawn(show(events, !arguments.quiet && !arguments.json));
        let ended = selftest::run(&options, &told, interrupted).await;
        drop(told);
        let _ = showing.await;
        ended
    });
    // Whatever still waits for a socket does not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    conclude(arguments, ended, scratch)
}

/// What the arguments ask for, and the folder of its own that it works in, where none is named.
fn options(arguments: &Arguments) -> Result<(Options, Option<Scratch>), (u8, String)> {
    let provider = match arguments.provider.unwrap_or_default() {
        Own::Auto => Provider::Auto,
        Own::Container => Provider::Container,
        Own::Process => Provider::Process,
    };
    let mut broker = BrokerPlan { provider, ..BrokerPlan::default() };
    let external = arguments.broker.choose(&mut broker, (None, None));
    let external = external.map_err(|problem| (super::BAD_INPUT, problem.to_owned()))?;
    if external.is_some() && arguments.provider.is_some() {
        return Err((super::BAD_INPUT, BOTH_BROKERS.to_owned()));
    }
    let clients = match arguments.client {
        Clients::Both => vec![ClientKind::Wire, ClientKind::Lapin],
        Clients::Wire => vec![ClientKind::Wire],
        Clients::Lapin => vec![ClientKind::Lapin],
    };
    let is_wanted = |case: &Case| arguments.only.is_empty() || arguments.only.iter().any(|name| name == case.name);
    let cases = CASES.into_iter().filter(is_wanted).collect();
    let scratch = match &arguments.out {
        Some(_) => None,
        None => Some(Scratch::new().map_err(|problem| (super::ENVIRONMENT, problem))?),
    };
    let out = arguments.out.clone().or_else(|| scratch.as_ref().map(|scratch| scratch.0.clone())).unwrap_or_default();
    let keep = arguments.out.is_some();
    Ok((Options { broker, external, clients, cases, seed: arguments.seed, out, keep }, scratch))
}

/// A folder of our own; it goes when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("lurcher-selftest-{:08x}", rand::random::<u32>()));
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => {
                let path = path.display();
                Err(format!("error: could not make the folder `{path}`: {error}; name another one with --out"))
            }
        }
    }

    /// Leaves it where it is.
    fn keep(self) -> PathBuf {
        let path = self.0.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is in the system's folder for what is temporary.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Shows what is told: the table on standard output, all else on standard error.
async fn show(mut events: mpsc::Receiver<Event>, is_full: bool) {
    let mut client = None;
    while let Some(event) = events.recv().await {
        match event {
            _ if !is_full => {}
            Event::Note(line) => super::complain(line),
            Event::Ready(broker) => super::say(format_args!("lurcher selftest on {broker}")),
            Event::Begins(of, _) if client == Some(of) => {}
            Event::Begins(of, _) => {
                client = Some(of);
                super::say(format_args!("\n{}", table::heading(of)));
            }
            Event::Row(row) => super::say(table::lines(&row)),
        }
    }
}

/// All that came of it, for programs.
#[derive(Serialize)]
struct Conclusion<'a> {
    seed: u64,
    exact: bool,
    /// Cases that were carried out.
    rows: &'a [Row],
    /// What kept the others from being carried out.
    error: Option<String>,
    /// Folder of the records, where they are kept.
    records: Option<&'a Path>,
}

fn conclude(arguments: &Arguments, Ended { mut rows, error }: Ended, scratch: Option<Scratch>) -> u8 {
    let differs = !rows.iter().all(Row::is_exact);
    // What differs is to be looked at.
    let kept = match scratch {
        Some(scratch) if differs => Some(scratch.keep()),
        Some(_) => None,
        None => arguments.out.clone(),
    };
    if kept.is_none() {
        rows.iter_mut().for_each(|row| row.record = None);
    }
    if arguments.json {
        let (exact, said) = (!differs && error.is_none(), error.as_ref().map(ToString::to_string));
        let conclusion = Conclusion { seed: arguments.seed, exact, rows: &rows, error: said, records: kept.as_deref() };
        match serde_json::to_string(&conclusion) {
            Ok(text) => super::say(text),
            Err(error) => {
                super::complain_of(&error);
                return super::ENVIRONMENT;
            }
        }
    } else if differs || error.is_none() {
        let gap = if arguments.quiet { "" } else { "\n" };
        super::say(format_args!("{gap}{}", table::conclusion(&rows)));
        if let Some(path) = kept.filter(|_| !arguments.quiet) {
            super::say(format_args!("records: {}", path.display()));
        }
    }
    if let Some(error) = &error {
        super::complain_of(error);
    }
    match error.as_ref().map(SelftestError::exit_code) {
        Some(super::run::INTERRUPTED) => super::run::INTERRUPTED,
        _ if differs => DIFFERS,
        code => code.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::record::fixture;
    use crate::selftest::compare;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn given(arguments: &[&str]) -> Arguments {
        Given::parse_from(["selftest"].iter().chain(arguments)).arguments
    }

    fn differing() -> Row {
        let row = compare(&CASES[0], ClientKind::Wire, &CASES[0].prediction(&[]), &fixture::record());
        assert!(!row.is_exact());
        row
    }

    fn unreadable() -> SelftestError {
        SelftestError::Unreadable { endpoint: "127.0.0.1:1".to_owned() }
    }

    /// How it ends, and whether the folder with its records is still there.
    fn concluded(rows: Vec<Row>, error: Option<SelftestError>) -> (u8, bool) {
        let scratch = Scratch::new().unwrap();
        let path = scratch.0.clone();
        let code = conclude(&given(&["--json"]), Ended { rows, error }, Some(scratch));
        let is_there = path.exists();
        let _ = std::fs::remove_dir_all(&path);
        (code, is_there)
    }

    #[test]
    fn a_difference_is_kept_and_told_whatever_comes_after_it() {
        let exact = Row { differences: Vec::new(), ..differing() };
        assert_eq!(concluded(vec![exact.clone()], None), (0, false));
        assert_eq!(concluded(vec![differing(), exact.clone()], None), (DIFFERS, true));
        assert_eq!(concluded(vec![differing()], Some(unreadable())), (DIFFERS, true));
        assert_eq!(concluded(vec![exact], Some(unreadable())), (2, false));
        assert_eq!(concluded(vec![differing()], Some(SelftestError::Interrupted)), (130, true));
        assert_eq!(concluded(Vec::new(), Some(SelftestError::Interrupted)), (130, false));
    }

    #[test]
    fn a_provider_beside_a_broker_that_is_there_is_refused() {
        let url = "amqp://guest:guest@127.0.0.1:1";
        assert!(options(&given(&["--broker-url", url])).is_ok());
        assert!(options(&given(&["--provider", "process"])).is_ok());
        let (code, problem) = options(&given(&["--broker-url", url, "--provider", "process"])).err().unwrap();
        assert_eq!((code, problem.as_str()), (super::super::BAD_INPUT, BOTH_BROKERS));
    }
}
