//! `lurcher run`: broker, load, books, verdict, record.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use tokio::sync::{mpsc, watch};

use super::prepare::{Prepared, Scenarios, prepare};
use super::which_broker::WhichBroker;
use crate::analysis;
use crate::broker::ExternalUrls;
use crate::endpoint::Secret;
use crate::record::progress::Progress;
use crate::record::{Completeness, LOG_FILE, Record, RecordFolder, StoreError, create};
use crate::report;
use crate::report::terminal::{Listener, Manner, Screen, conclude};
use crate::run::{self, Job, RunError};
use crate::scenario::{Consumer, Scenario};

/// Arguments of `lurcher run`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    scenarios: Scenarios,
    #[command(flatten)]
    broker: WhichBroker,
    /// Image of a container for the PostgreSQL in which consumers keep ids, where no `url` names one; default: the
    /// machine's PostgreSQL, else postgres:17
    #[arg(long, env = "LURCHER_POSTGRES_IMAGE", value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    postgres_image: Option<String>,
    /// Folder for records
    #[arg(long, default_value = "reports", value_name = "DIR")]
    out: PathBuf,
    /// Print the verdict only
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Print one JSON object for each run on standard output: verdict, totals and where the record is
    #[arg(long)]
    json: bool,
}

/// Events that may wait for the listener.
const EVENTS: usize = 64;
/// Exit code of an interrupted run.
pub(super) const INTERRUPTED: u8 = 130;

/// Runs all scenarios one after the other; the exit code, which is the worst of theirs.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let Some(prepared) = prepare(&arguments.scenarios) else { return super::BAD_INPUT };
    let chosen: Result<Vec<_>, _> =
        prepared.into_iter().map(|scenario| choose_broker(&arguments.broker, scenario)).collect();
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            super::complain(error);
            return super::BAD_INPUT;
        }
    };
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let (interrupt, interrupted) = watch::channel(false);
    runtime.spawn(listen_for_signals(interrupt));
    let mut worst = 0;
    for scenario in chosen {
        let code = runtime.block_on(run_one(arguments, scenario, interrupted.clone()));
        worst = worse(worst, code);
        if code == INTERRUPTED {
            break;
        }
    }
    // Whatever still waits for a socket does not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    worst
}

/// The worse of two exit codes.
fn worse(one: u8, other: u8) -> u8 {
    const FROM_BEST: [u8; 7] = [0, 3, 1, 4, 5, super::BAD_INPUT, INTERRUPTED];
    let rank = |code: u8| FROM_BEST.iter().position(|known| *known == code).unwrap_or(FROM_BEST.len());
    if rank(other) > rank(one) { other } else { one }
}

/// Turns Ctrl-C and termination into the end of the run, however often they come.
pub(super) async fn listen_for_signals(interrupt: watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut interrupted), Ok(mut terminated), Ok(mut hung_up)] = signals else {
        super::complain("warning: signals cannot be caught: an interrupt leaves the broker to `lurcher doctor`");
        return;
    };
    loop {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            _ = hung_up.recv() => {}
        }
        if interrupt.send(true).is_err() {
            return;
        }
    }
}

async fn run_one(arguments: &Arguments, scenario: Chosen, interrupt: watch::Receiver<bool>) -> u8 {
    let started_at = jiff::Timestamp::now();
    let id = format!("{:08x}", rand::random::<u32>());
    let folder = match create(&arguments.out, &scenario.prepared.plan.name, started_at, &id) {
        Ok(folder) => folder,
        Err(error) => {
            super::complain_of(&error);
            return super::ENVIRONMENT;
        }
    };
    match conduct(arguments, &scenario, &folder, (started_at, id), interrupt).await {
        Ok(record) => finish(arguments, record, folder),
        Err(error) => {
            // Nothing was measured: an empty folder would only puzzle.
            let _ = std::fs::remove_dir_all(folder.path());
            super::complain_of(&error);
            error.exit_code()
        }
    }
}

async fn conduct(
    arguments: &Arguments,
    Chosen { prepared, external }: &Chosen,
    folder: &RecordFolder,
    (started_at, id): (jiff::Timestamp, String),
    interrupt: watch::Receiver<bool>,
) -> Result<Record, RunError> {
    // The folder under its temporary name is gone where the log fails, and a path that is not there puzzles.
    let log_path = folder.final_path().join(LOG_FILE);
    let log = std::fs::File::create(folder.path().join(LOG_FILE));
    let log = log.map_err(|source| RunError::Log { path: log_path.clone(), source })?;
    let (progress, events) = mpsc::channel(EVENTS);
    let load_us = prepared.plan.load.end_us();
    let started = Progress::Started {
        scenario: prepared.plan.name.clone(),
        description: prepared.plan.description.clone(),
        load_us,
    };
    let _ = progress.send(started).await;
    let listening = tokio::spawn(listen(events, Listener::of_stderr(manner(arguments))));
    let job = Job {
        plan: Arc::clone(&prepared.plan),
        scenario: prepared.facts.clone(),
        id,
        started_at,
        external: external.clone(),
        store_urls: store_urls(&prepared.scenario),
        postgres_image: arguments.postgres_image.clone(),
        log: Box::new(BufWriter::new(log)),
        log_path,
        progress,
        interrupt,
    };
    let record = run::run(job).await;
    let _ = listening.await;
    record
}

/// A scenario whose plan says which broker it is run on.
struct Chosen {
    prepared: Prepared,
    /// URLs with their passwords, which no plan holds, of a broker that is already there.
    external: Option<ExternalUrls>,
}

/// Puts the broker of the command line, else of the scenario, into the plan: what is recorded is what was run.
fn choose_broker(given: &WhichBroker, mut prepared: Prepared) -> Result<Chosen, &'static str> {
    let written = prepared.scenario.broker.clone().unwrap_or_default();
    let plan = &mut Arc::make_mut(&mut prepared.plan).broker;
    let external = given.choose(plan, (written.url, written.management_url))?;
    Ok(Chosen { prepared, external })
}

/// URLs of stores with their passwords, which no plan holds, by fleet.
fn store_urls(scenario: &Scenario) -> BTreeMap<String, Secret> {
    let url = |fleet: &Consumer| Some((fleet.name.clone(), Secret::new(fleet.idempotency.as_ref()?.url.clone()?)));
    scenario.consumers.iter().filter_map(url).collect()
}

fn manner(arguments: &Arguments) -> Manner {
    match (arguments.quiet, arguments.json) {
        (true, _) => Manner::Quiet,
        (_, true) => Manner::Json,
        _ => Manner::Full,
    }
}

async fn listen(mut events: mpsc::Receiver<Progress>, mut listener: Listener) {
    while let Some(event) = events.recv().await {
        // Standard error that is closed is no reason to end a run.
        let _ = listener.on(&event);
    }
}

/// Judges the record, writes all of it, and says how it went.
fn finish(arguments: &Arguments, mut record: Record, folder: RecordFolder) -> u8 {
    let judgement = analysis::judge(&record);
    let verdict = judgement.verdict;
    record.verdict = Some(judgement);
    // The evidence first: what fails after it loses none.
    if let Err(error) = record.write(&folder.path()) {
        super::complain_of(&error);
        return super::ENVIRONMENT;
    }
    let (partial, path) = (folder.path(), folder.final_path());
    let reported = report::write_all(&record, &partial).map_err(|error| error.moved(&partial, &path));
    let kept = folder.finish();
    if let Err(error @ StoreError::Io { .. }) = kept {
        super::complain_of(&error);
        return super::ENVIRONMENT;
    }
    // A reader that has gone, as `head` does, is no error.
    let _ = conclude(&record, &path, manner(arguments), Screen::of_stdout(), &mut std::io::stdout().lock());
    if let Err(error) = &kept {
        super::complain_of(error);
    }
    if let Err(error) = &reported {
        super::complain_of(error);
        super::complain(format_args!("`lurcher report {}` makes the files again", path.display()));
    }
    if kept.is_err() || reported.is_err() {
        return super::ENVIRONMENT;
    }
    match record.completeness {
        Completeness::Interrupted => INTERRUPTED,
        _ => verdict.exit_code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_exit_code_wins() {
        assert_eq!([0, 1, 3].into_iter().fold(0, worse), 1);
        assert_eq!([0, 3, 0].into_iter().fold(0, worse), 3);
        assert_eq!([4, 1, 3].into_iter().fold(0, worse), 4);
        assert_eq!([4, 5, 1].into_iter().fold(0, worse), 5);
        assert_eq!(worse(130, 5), 130);
    }
}
