//! The first table: all contenders in turn, in several rounds, on one broker, and what came of the targets.

use serde::Serialize;

use super::contender::{self, Contender, Job};
use super::outcome::Outcome;
use super::stand::{Failure, Interrupted, Stand};
use super::stats::{Bound, Judgement, Spread, order, ratios};
use super::tables::{decimal, spread, table, whole};
use super::{Settings, progress};

/// Bodies, in bytes.
pub const SIZES: [usize; 2] = [24, 1024];

/// Most that lurcher may have resident, in MiB.
const MEMORY_MIB: f64 = 64.0;

/// One run in one round.
#[derive(Debug, Serialize)]
pub struct Run {
    round: u32,
    size: usize,
    contender: Contender,
    outcome: Option<Outcome>,
    /// Why there is none.
    failure: Option<String>,
}

/// A figure of lurcher's with the wire client, beside another contender's or by itself.
struct Target {
    what: &'static str,
    figure: fn(&Outcome) -> f64,
    beside: Option<Contender>,
    bound: Bound,
    sizes: &'static [usize],
}

const TARGETS: [Target; 7] = [
    rate(Contender::Lapin, 1.6),
    rate(Contender::Amqprs, 1.1),
    rate(Contender::Floor, 0.95),
    cpu(Contender::Floor, 1.5),
    cpu(Contender::Lapin, 0.2),
    cpu(Contender::Amqprs, 0.5),
    Target {
        what: "resident memory at its peak, MiB",
        figure: Outcome::memory_peak_mib,
        beside: None,
        bound: Bound::AtMost(MEMORY_MIB),
        sizes: &SIZES,
    },
];

const fn rate(beside: Contender, least: f64) -> Target {
    Target {
        what: "consumed per second",
        figure: Outcome::per_s,
        beside: Some(beside),
        bound: Bound::AtLeast(least),
        sizes: &SIZES,
    }
}

const fn cpu(beside: Contender, most: f64) -> Target {
    Target {
        what: "CPU per message",
        figure: Outcome::cpu_us_per_message,
        beside: Some(beside),
        bound: Bound::AtMost(most),
        sizes: &[24],
    }
}

/// A target, held against what was measured.
#[derive(Debug, Serialize)]
pub struct Held {
    what: &'static str,
    beside: Option<Contender>,
    size: usize,
    bound: Bound,
    /// In each round by itself; none where a side was not measured.
    measured: Option<Spread>,
    judgement: Option<Judgement>,
}

/// Runs all rounds.
pub fn measure(stand: &Stand, settings: &Settings, contenders: &[Contender]) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for size in SIZES {
        // The broker's first messages are slow ones: they are nobody's.
        let warm_up = Job { messages: settings.messages.min(20_000), size };
        contender::run(stand, Contender::Floor, &warm_up)?;
        for round in 0..settings.rounds {
            for contender in order(round, contenders.len()).into_iter().map(|at| contenders[at]) {
                let outcome = contender::run(stand, contender, &Job { messages: settings.messages, size });
                runs.push(noted(round, size, contender, outcome)?);
            }
        }
    }
    Ok(runs)
}

fn noted(round: u32, size: usize, contender: Contender, outcome: Result<Outcome, Failure>) -> Result<Run, Failure> {
    let run = |outcome, failure| Run { round, size, contender, outcome, failure };
    let title = contender.title();
    match outcome {
        Err(failure) if failure.is::<Interrupted>() => Err(failure),
        Err(failure) => {
            progress(format!("round {}, {size} B, {title}: {failure}", round + 1));
            Ok(run(None, Some(failure.to_string())))
        }
        Ok(outcome) => {
            let (rate, cpu) = (whole(outcome.per_s()), decimal(outcome.cpu_us_per_message()));
            progress(format!("round {}, {size} B, {title}: {rate}/s, {cpu} µs of CPU per message", round + 1));
            Ok(run(Some(outcome), None))
        }
    }
}

/// A contender's figures by round.
fn figures(runs: &[Run], size: usize, contender: Contender, figure: fn(&Outcome) -> f64) -> Vec<(u32, f64)> {
    let of = |run: &&Run| run.size == size && run.contender == contender;
    runs.iter().filter(of).filter_map(|run| Some((run.round, figure(run.outcome.as_ref()?)))).collect()
}

fn values(figures: &[(u32, f64)]) -> Vec<f64> {
    figures.iter().map(|(_, value)| *value).collect()
}

/// Holds the targets against the runs.
pub fn targets(runs: &[Run]) -> Vec<Held> {
    let hold = |target: &Target, size: usize| {
        let own = figures(runs, size, Contender::Wire, target.figure);
        let measured = match target.beside {
            Some(beside) => ratios(&own, &figures(runs, size, beside, target.figure)),
            None => values(&own),
        };
        let measured = Spread::of(&measured);
        let judgement = measured.map(|measured| target.bound.judge(measured.median));
        Held { what: target.what, beside: target.beside, size, bound: target.bound, measured, judgement }
    };
    TARGETS.iter().flat_map(|target| target.sizes.iter().map(move |size| hold(target, *size))).collect()
}

/// The tables.
pub fn markdown(runs: &[Run], held: &[Held], contenders: &[Contender], settings: &Settings) -> String {
    let mut text = format!(
        "## lurcher beside its peers\n\n\
         {} messages a run, {} rounds, contenders in turn on one broker. One producer and one consumer, a connection \
         each; persistent messages to a classic queue; confirm window 192, prefetch 200; every message is acked by a \
         `basic.ack` of its own, and how many acks go in one write is the client's affair. Median (smallest–largest).\n\n\
         - consumed per second: from the first publish to the last delivery\n\
         - CPU: user and system time of the contender's process over that time, by its own reading of its CPU clock; \
         lurcher reads it once a second and at each phase, so that up to a second of waiting after the last delivery is \
         in its figure\n\
         - memory: the most that was resident in the process's whole life\n\
         - messages per sleep: for each time that one of the process's threads slept until something came. To be woken is \
         what costs the floor most: the more the broker hands over at once, the less of that there is in a message, and \
         the more of the books that the others keep\n\
         - lurcher: ledger, histograms, and the broker sampled each second; the others keep no books\n\n",
        whole(settings.messages as f64),
        settings.rounds,
    );
    for size in SIZES {
        text += &format!("### {size} B\n\n{}\n", peers(runs, contenders, size));
    }
    for run in runs.iter().filter(|run| run.failure.is_some()) {
        let failure = run.failure.as_deref().unwrap_or_default().replace('\n', " ");
        text +=
            &format!("- not measured: round {}, {} B, {}: {failure}\n", run.round + 1, run.size, run.contender.title());
    }
    text + "\n### Targets of lurcher with its own client\n\nRatios are taken within each round.\n\n" + &judged(held)
}

fn peers(runs: &[Run], contenders: &[Contender], size: usize) -> String {
    let row = |contender: &Contender| {
        let of = |figure| figures(runs, size, *contender, figure);
        let (rates, cpus) = (of(Outcome::per_s), of(Outcome::cpu_us_per_message));
        let of_floor = |own: &[(u32, f64)], figure| ratios(own, &figures(runs, size, Contender::Floor, figure));
        vec![
            contender.title().to_owned(),
            rates.len().to_string(),
            spread(&values(&rates), whole),
            spread(&of_floor(&rates, Outcome::per_s), decimal),
            spread(&values(&cpus), decimal),
            spread(&of_floor(&cpus, Outcome::cpu_us_per_message), decimal),
            spread(&values(&of(Outcome::messages_per_sleep)), decimal),
            spread(&values(&of(Outcome::memory_peak_mib)), decimal),
        ]
    };
    let header = [
        "contender",
        "runs",
        "consumed/s",
        "÷ the floor's",
        "CPU µs per message",
        "÷ the floor's",
        "messages per sleep",
        "peak memory MiB",
    ];
    table(&header, &contenders.iter().map(row).collect::<Vec<_>>())
}

fn judged(held: &[Held]) -> String {
    let row = |held: &Held| {
        let beside = held.beside.map_or(String::new(), |beside| format!(" ÷ that of {}", beside.name()));
        let measured = held.measured.map_or_else(
            || "–".to_owned(),
            |of| format!("{} ({}–{})", decimal(of.median), decimal(of.min), decimal(of.max)),
        );
        let verdict = held.judgement.map_or_else(|| "not measured".to_owned(), |judgement| judgement.to_string());
        vec![format!("{}{beside}", held.what), format!("{} B", held.size), held.bound.to_string(), measured, verdict]
    };
    table(&["figure", "size", "target", "measured", ""], &held.iter().map(row).collect::<Vec<_>>())
}
