//! The second table: does a message cost the same whether there are many of them, or many producers?

use serde::Serialize;

use super::contender::Contender;
use super::outcome::Outcome;
use super::stand::{Failure, Interrupted, Stand};
use super::stats::Spread;
use super::tables::{decimal, spread, table, whole};
use super::{Settings, lurcher_run, progress};

const PRODUCERS: [u32; 5] = [1, 4, 16, 64, 256];
/// Up to so many messages a run is short enough to be repeated.
const REPEATED_UP_TO: u64 = 100_000;

/// One point of the growth.
#[derive(Debug, Serialize)]
pub struct Point {
    client: Contender,
    /// Which of the two grows.
    grows: &'static str,
    messages: u64,
    producers: u32,
    outcomes: Vec<Outcome>,
    failures: Vec<String>,
}

/// Runs all points with all clients.
pub fn measure(stand: &Stand, settings: &Settings, clients: &[Contender]) -> Result<Vec<Point>, Failure> {
    let mut points = Vec::new();
    for client in clients {
        for messages in counts(settings) {
            points.push(point(stand, settings, *client, "messages", (messages, 1))?);
        }
        let messages = settings.messages.min(REPEATED_UP_TO);
        for producers in PRODUCERS {
            points.push(point(stand, settings, *client, "producers", (messages, producers))?);
        }
    }
    Ok(points)
}

fn counts(settings: &Settings) -> Vec<u64> {
    let largest = match (settings.quick, settings.long) {
        (true, _) => 10_000,
        (_, true) => 10_000_000,
        _ => 1_000_000,
    };
    (4..=7).map(|power| 10u64.pow(power)).filter(|messages| *messages <= largest).collect()
}

fn point(
    stand: &Stand,
    settings: &Settings,
    client: Contender,
    grows: &'static str,
    (messages, producers): (u64, u32),
) -> Result<Point, Failure> {
    let mut point = Point { client, grows, messages, producers, outcomes: Vec::new(), failures: Vec::new() };
    let repeats = if messages <= REPEATED_UP_TO { settings.rounds.min(3) } else { 1 };
    for _ in 0..repeats {
        let sets = [format!("load.messages={messages}"), format!("producer.out.count={producers}")];
        let outcome = lurcher_run::run(stand, lurcher_run::PEERS, client.name(), &sets, messages)
            .and_then(lurcher_run::Ran::outcome);
        let of = format!("{}, {} messages, {producers} producers", client.title(), whole(messages as f64));
        match outcome {
            Err(failure) if failure.is::<Interrupted>() => return Err(failure),
            Err(failure) => {
                progress(format!("{of}: {failure}"));
                point.failures.push(failure.to_string());
            }
            Ok(outcome) => {
                progress(format!("{of}: {} µs of CPU per message", decimal(outcome.cpu_us_per_message())));
                point.outcomes.push(outcome);
            }
        }
    }
    Ok(point)
}

impl Point {
    fn figures(&self, figure: fn(&Outcome) -> f64) -> Vec<f64> {
        self.outcomes.iter().map(figure).collect()
    }
}

/// The table.
pub fn markdown(points: &[Point]) -> String {
    let row = |point: &Point| {
        vec![
            point.client.title().to_owned(),
            whole(point.messages as f64),
            point.producers.to_string(),
            point.outcomes.len().to_string(),
            spread(&point.figures(Outcome::per_s), whole),
            spread(&point.figures(Outcome::cpu_us_per_message), decimal),
            spread(&point.figures(Outcome::memory_peak_mib), decimal),
        ]
    };
    let header = ["contender", "messages", "producers", "runs", "consumed/s", "CPU µs per message", "peak memory MiB"];
    let mut text = "## Growth\n\n24 B, one consumer, a confirm window of 192 for each producer; what is counted is as \
                    above. The fewer the messages, the more the fixed cost of a run shows: its first messages, its \
                    sampling, and up to a second of waiting.\n\n"
        .to_owned();
    text += &table(&header, &points.iter().map(row).collect::<Vec<_>>());
    text += "\n";
    for (client, grows) in kinds(points) {
        let of = points.iter().filter(|point| point.client == client && point.grows == grows);
        let medians: Vec<f64> =
            of.filter_map(|point| Some(Spread::of(&point.figures(Outcome::cpu_us_per_message))?.median)).collect();
        if let Some(over) = Spread::of(&medians).filter(|over| over.count > 1) {
            let (client, times) = (client.title(), decimal(over.max / over.min));
            text += &format!("- {client}, over {grows}: the dearest median is {times} times the cheapest\n");
        }
    }
    for point in points {
        for failure in &point.failures {
            let failure = failure.replace('\n', " ");
            let (client, messages) = (point.client.title(), whole(point.messages as f64));
            text +=
                &format!("- not measured: {client}, {messages} messages, {} producers: {failure}\n", point.producers);
        }
    }
    text
}

/// Clients and what grew, each once, in order.
fn kinds(points: &[Point]) -> Vec<(Contender, &'static str)> {
    let mut kinds: Vec<_> = points.iter().map(|point| (point.client, point.grows)).collect();
    kinds.dedup();
    kinds
}
