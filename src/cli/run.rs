//! `lurcher run`: broker, load, books, verdict, record.

use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::sync::{mpsc, watch};

use super::prepare::{Prepared, Scenarios, prepare};
use crate::analysis;
use crate::broker::ExternalUrls;
use crate::endpoint::Secret;
use crate::record::progress::Progress;
use crate::record::{Completeness, Record, RecordFolder, create};
use crate::report;
use crate::report::terminal::{Listener, Manner, Screen, conclude};
use crate::run::{self, Job, RunError};

/// Arguments of `lurcher run`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    scenarios: Scenarios,
    /// AMQP URL of a broker that is already there, in place of the scenario's provider
    #[arg(long, env = "LURCHER_BROKER_URL", hide_env_values = true, value_name = "URL")]
    broker_url: Option<String>,
    /// URL of that broker's management API
    #[arg(long, env = "LURCHER_MANAGEMENT_URL", hide_env_values = true, value_name = "URL")]
    management_url: Option<String>,
    /// Image of the broker's container, in place of the scenario's
    #[arg(long, env = "LURCHER_BROKER_IMAGE", value_name = "IMAGE")]
    broker_image: Option<String>,
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
const INTERRUPTED: u8 = 130;

/// Runs all scenarios one after the other; the exit code, which is the worst of theirs.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let Some(prepared) = prepare(&arguments.scenarios) else { return super::BAD_INPUT };
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let (interrupt, interrupted) = watch::channel(false);
    runtime.spawn(listen_for_signals(interrupt));
    let mut worst = 0;
    for scenario in prepared {
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
async fn listen_for_signals(interrupt: watch::Sender<bool>) {
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

async fn run_one(arguments: &Arguments, scenario: Prepared, interrupt: watch::Receiver<bool>) -> u8 {
    let started_at = jiff::Timestamp::now();
    let id = format!("{:08x}", rand::random::<u32>());
    let folder = match create(&arguments.out, &scenario.plan.name, started_at, &id) {
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
    scenario: &Prepared,
    folder: &RecordFolder,
    (started_at, id): (jiff::Timestamp, String),
    interrupt: watch::Receiver<bool>,
) -> Result<Record, RunError> {
    let log = std::fs::File::create(folder.path().join("latency.hlog")).map_err(RunError::Log)?;
    let (progress, events) = mpsc::channel(EVENTS);
    let load_us = scenario.plan.load.end_us();
    let started = Progress::Started {
        scenario: scenario.plan.name.clone(),
        description: scenario.plan.description.clone(),
        load_us,
    };
    let _ = progress.send(started).await;
    let listening = tokio::spawn(listen(events, Listener::of_stderr(manner(arguments))));
    let job = Job {
        plan: Arc::clone(&scenario.plan),
        scenario: scenario.facts.clone(),
        id,
        started_at,
        image: arguments.broker_image.clone(),
        external: external(arguments, scenario),
        log: Box::new(BufWriter::new(log)),
        progress,
        interrupt,
    };
    let record = run::run(job).await;
    let _ = listening.await;
    record
}

/// The broker that is already there: from the command line, else from the scenario.
fn external(arguments: &Arguments, scenario: &Prepared) -> Option<ExternalUrls> {
    let broker = scenario.scenario.broker.as_ref();
    let amqp = arguments.broker_url.clone().or_else(|| broker.and_then(|broker| broker.url.clone()))?;
    let management =
        arguments.management_url.clone().or_else(|| broker.and_then(|broker| broker.management_url.clone()));
    Some(ExternalUrls { amqp: Secret::new(amqp), management: management.map(Secret::new) })
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
    let reported = report::write_all(&record, &folder.path());
    let path = match folder.finish() {
        Ok(path) => path,
        Err(error) => {
            super::complain_of(&error);
            return super::ENVIRONMENT;
        }
    };
    // A reader that has gone, as `head` does, is no error.
    let _ = conclude(&record, &path, manner(arguments), Screen::of_stdout(), &mut std::io::stdout().lock());
    if let Err(error) = reported {
        super::complain_of(&error);
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
