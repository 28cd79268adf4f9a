//! The fourth table: how punctual sends are at 20,000/s.

use lurcher::record::Record;
use serde::Serialize;

use super::contender::Contender;
use super::lurcher_run::{self, Ran};
use super::outcome::later_than_1_ms;
use super::stand::{Failure, Interrupted, Stand};
use super::tables::{table, whole};
use super::{Settings, progress};

/// Points of the lag's distribution.
const PERCENTILES: [f64; 4] = [50.0, 99.0, 99.9, 100.0];

/// A run with one client.
#[derive(Debug, Serialize)]
pub struct Paced {
    client: Contender,
    lag: Option<Lag>,
    failure: Option<String>,
}

/// How late messages were sent, whoever held them up.
#[derive(Debug, Serialize)]
struct Lag {
    planned: u64,
    sent: u64,
    /// At [`PERCENTILES`].
    lag_us: [Option<u64>; 4],
    later_than_1_ms: f64,
    /// By the generator's own doing: what a full window or the broker's socket held up is left out.
    own_later_than_1_ms: f64,
    /// Share of the time that the publisher was held up, warm-up included.
    held: f64,
}

/// Runs each client.
pub fn measure(stand: &Stand, settings: &Settings, clients: &[Contender]) -> Result<Vec<Paced>, Failure> {
    let sets: &[String] = if settings.quick { &["load.duration=2s", "load.warmup=1s"].map(str::to_owned) } else { &[] };
    let mut paced = Vec::new();
    for client in clients {
        let lag = lurcher_run::run(stand, lurcher_run::PACING, client.name(), sets, 300_000).and_then(|ran| lag(&ran));
        let run = match lag {
            Err(failure) if failure.is::<Interrupted>() => return Err(failure),
            Err(failure) => Paced { client: *client, lag: None, failure: Some(failure.to_string()) },
            Ok(lag) => Paced { client: *client, lag: Some(lag), failure: None },
        };
        progress(format!("pacing, {}: {}", client.title(), run.failure.as_deref().unwrap_or("done")));
        paced.push(run);
    }
    Ok(paced)
}

fn lag(ran: &Ran) -> Result<Lag, Failure> {
    let Record { generator, latency, totals, .. } = &ran.record;
    let lag = latency.iter().find(|summary| summary.metric == "schedule_lag" && summary.fleet == "all");
    let at = |percentile: f64| {
        let points = &lag?.percentiles;
        points.iter().find(|point| point.percentile == percentile).map(|point| point.value_us)
    };
    let later_than_1_ms = later_than_1_ms(&ran.log)?.ok_or("nothing was sent by the schedule")?;
    if totals.consumed != totals.published || totals.lost + totals.possibly_lost > 0 {
        return Err(format!("{} published, {} consumed", totals.published, totals.consumed).into());
    }
    Ok(Lag {
        planned: generator.load_planned.unwrap_or(0),
        sent: generator.load_sends,
        lag_us: PERCENTILES.map(at),
        later_than_1_ms,
        // The scenario's `max_lag` is 1 ms.
        own_later_than_1_ms: generator.late_sends as f64 / generator.paced_sends as f64,
        held: generator.held_us as f64 / (ran.record.plan.load.warmup_us + generator.load_us) as f64,
    })
}

/// The table.
pub fn markdown(paced: &[Paced]) -> String {
    let row = |paced: &Paced| {
        let title = paced.client.title().to_owned();
        let Some(lag) = &paced.lag else { return [vec![title], vec!["–".to_owned(); 8]].concat() };
        let percent = |share: f64| format!("{:.3} %", share * 100.0);
        let points = lag.lag_us.iter().map(|us| us.map_or_else(|| "–".to_owned(), |us| whole(us as f64)));
        let sent = format!("{} of {}", whole(lag.sent as f64), whole(lag.planned as f64));
        let shares = [percent(lag.later_than_1_ms), percent(lag.own_later_than_1_ms), percent(lag.held)];
        [title, sent].into_iter().chain(points).chain(shares).collect()
    };
    let header = [
        "contender",
        "sent",
        "lag p50 µs",
        "p99 µs",
        "p99.9 µs",
        "max µs",
        "later than 1 ms",
        "later than 1 ms by its own doing",
        "time held up",
    ];
    let mut text =
        "## Pacing\n\n20,000 messages of 24 B per second for ten seconds after two of warm-up, one producer, \
                    confirm window 2,000. Lag is from the intended to the actual send; a full window, or a socket that \
                    takes nothing, holds up what is not the generator's own doing.\n\n"
            .to_owned();
    text += &table(&header, &paced.iter().map(row).collect::<Vec<_>>());
    for paced in paced {
        if let Some(failure) = &paced.failure {
            text += &format!("- not measured: {}: {}\n", paced.client.title(), failure.replace('\n', " "));
        }
    }
    text
}
