//! The fifth table: what the proxy costs that network faults go through, while it does nothing. It runs in the bench's
//! process, so that its processor time is not lurcher's.

use lurcher::proxy::Proxy;
use lurcher::record::Record;

use super::contender::{Contender, cpu_time};
use super::lurcher_run::{self, MODERATE, PEERS};
use super::stand::{Failure, Interrupted, Stand};
use super::stats::order;
use super::tables::{decimal, whole};
use super::toll::{self, Figures, Leg};
use super::{Settings, progress};

/// Runs all rounds, in each of them both ways in turn.
pub fn measure(stand: &Stand, settings: &Settings, clients: &[Contender]) -> Result<Vec<Leg>, Failure> {
    let mut legs = Vec::new();
    for client in clients {
        // The broker's first messages are slow ones: they are nobody's.
        let warm_up = settings.messages.min(20_000);
        lurcher_run::run(stand, PEERS, client.name(), &[format!("load.messages={warm_up}")], warm_up)?;
        for round in 0..settings.rounds {
            for proxied in order(round, 2).into_iter().map(|way| way == 1) {
                let figures = leg(stand, settings, *client, proxied);
                let way = if proxied { "through the proxy" } else { "direct" };
                let (figures, failure) = match figures {
                    Err(failure) if failure.is::<Interrupted>() => return Err(failure),
                    Err(failure) => (None, Some(failure.to_string())),
                    Ok(figures) => (Some(figures), None),
                };
                let said = figures.map(|of| format!("{}/s, p50 {} µs", whole(of.per_s), whole(of.p50_us)));
                let said = said.or_else(|| failure.clone()).unwrap_or_default();
                progress(format!("round {}, {}, {way}: {said}", round + 1, client.title()));
                legs.push(Leg { round, client: client.title(), proxied, figures, failure });
            }
        }
    }
    Ok(legs)
}

/// One way, in one round.
fn leg(stand: &Stand, settings: &Settings, client: Contender, proxied: bool) -> Result<Figures, Failure> {
    let proxy = proxied.then(|| stand.proxy()).transpose()?;
    let figures = figures(stand, settings, client, proxy.as_ref());
    let came = proxy.as_ref().map(Proxy::accepted);
    proxy.into_iter().for_each(|proxy| stand.stop(proxy));
    if came == Some(0) {
        return Err("nothing went through the proxy".into());
    }
    figures
}

fn figures(stand: &Stand, settings: &Settings, client: Contender, proxy: Option<&Proxy>) -> Result<Figures, Failure> {
    let messages = settings.messages;
    let before = cpu_time();
    let fast = [format!("load.messages={messages}")];
    let ran = lurcher_run::run_through(stand, proxy, (PEERS, client.name()), &fast, messages)?;
    let beside_cpu_us = cpu_time().saturating_sub(before).as_micros() as f64 / messages as f64;
    let outcome = ran.outcome()?;
    let short: &[String] =
        if settings.quick { &["load.duration=2s", "load.warmup=1s"].map(str::to_owned) } else { &[] };
    let ran = lurcher_run::run_through(stand, proxy, (MODERATE, client.name()), short, 30_000)?.passed()?;
    Ok(Figures {
        per_s: outcome.per_s(),
        cpu_us: outcome.cpu_us_per_message(),
        beside_cpu_us,
        p50_us: end_to_end(&ran.record, 50.0)?,
        p99_us: end_to_end(&ran.record, 99.0)?,
    })
}

fn end_to_end(record: &Record, percentile: f64) -> Result<f64, Failure> {
    let summary = record.latency.iter().find(|summary| summary.metric == "end_to_end" && summary.fleet == "all");
    let points = summary.map_or(&[][..], |summary| &summary.percentiles);
    let point = points.iter().find(|point| point.percentile == percentile);
    Ok(point.ok_or_else(|| format!("the record has no {} % of end_to_end", decimal(percentile)))?.value_us as f64)
}

/// The table.
pub fn markdown(legs: &[Leg], settings: &Settings) -> String {
    format!(
        "## The proxy\n\n\
         What network faults go through, while it does nothing: {} rounds, both ways in turn on one broker. Rate and CPU \
         are of {} messages of 24 B, as above; latency is from the intended send at 2,000 messages per second for ten \
         seconds. The proxy runs in the bench's own process, whose CPU is counted over the whole run; without a proxy that \
         is what watching lurcher takes. Ratios are taken within each round, median (smallest–largest).\n\n{}",
        settings.rounds,
        whole(settings.messages as f64),
        toll::markdown(legs),
    )
}
