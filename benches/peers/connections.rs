//! The third table: a thousand connections of ten channels each.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use super::contender::Contender;
use super::lurcher_run::{self, Ran};
use super::stand::{Failure, Interrupted, Stand};
use super::tables::{decimal, table, whole};
use super::{Settings, progress};
use lurcher::record::{Phase, Record};

/// Files that lurcher may have open: three for each connection, and some of its own.
const FILES: u64 = 4_096;

/// A run with one client.
#[derive(Debug, Serialize)]
pub struct Crowd {
    client: Contender,
    seen: Option<Seen>,
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Seen {
    /// Most connections that the broker showed at once.
    connections: Option<u64>,
    publishers: usize,
    /// Of these, those that had messages confirmed.
    publishers_with_load: usize,
    subscribers: usize,
    queues: usize,
    /// Of these, those from which all was consumed that was routed there, and which were routed something.
    queues_emptied: usize,
    published: u64,
    consumed: u64,
    lost: u64,
    disconnects: u64,
    /// To declare the queues, open all connections and channels, and subscribe, in seconds.
    opening_s: f64,
    memory_peak_bytes: u64,
    verdict: String,
    /// Why it is that one.
    reasons: Vec<String>,
}

/// Runs each client.
pub fn measure(stand: &Stand, settings: &Settings, clients: &[Contender]) -> Result<Vec<Crowd>, Failure> {
    let allowed = raise_limit();
    let sets: &[String] =
        if settings.quick { &["producer.out.count=50", "consumer.in.count=50"].map(str::to_owned) } else { &[] };
    let mut crowds = Vec::new();
    for client in clients {
        let ran = match allowed {
            Ok(()) => lurcher_run::run(stand, lurcher_run::CONNECTIONS, client.name(), sets, 1_000_000),
            Err(files) => Err(format!("a process may open {files} files here, and {FILES} are needed").into()),
        };
        let crowd = match ran {
            Err(failure) if failure.is::<Interrupted>() => return Err(failure),
            Err(failure) => Crowd { client: *client, seen: None, failure: Some(failure.to_string()) },
            Ok(ran) => Crowd { client: *client, seen: Some(see(&ran)), failure: None },
        };
        let failure = crowd.failure.as_deref().unwrap_or("done");
        progress(format!("connections, {}: {failure}", client.title()));
        crowds.push(crowd);
    }
    Ok(crowds)
}

/// Raises the limit of open files, which children inherit, to what is needed; the limit where that is less.
fn raise_limit() -> Result<(), u64> {
    let limit = getrlimit(Resource::Nofile);
    let enough = |files: Option<u64>| files.is_none_or(|files| files >= FILES);
    if enough(limit.current) {
        return Ok(());
    }
    let most = limit.maximum.map_or(FILES, |most| most.min(FILES));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    if raised.is_ok() && most >= FILES { Ok(()) } else { Err(limit.maximum.or(limit.current).unwrap_or(0)) }
}

fn see(ran: &Ran) -> Seen {
    let Record { plan, account, totals, .. } = &ran.record;
    let verdict = ran.record.verdict.as_ref();
    let opening = ran.record.phases.iter().find(|phase| phase.phase == Phase::Topology);
    Seen {
        connections: ran.record.broker_samples.iter().filter_map(|sample| sample.connections).max(),
        publishers: plan.publisher_count(),
        publishers_with_load: account.publishers.iter().filter(|publisher| publisher.confirmed > 0).count(),
        subscribers: plan.consumers.iter().map(|fleet| fleet.subscribers.len()).sum(),
        queues: account.queues.len(),
        queues_emptied: account.queues.iter().filter(|q| q.routed > 0 && q.consumed == q.routed).count(),
        published: totals.published,
        consumed: totals.consumed,
        lost: totals.lost + totals.possibly_lost,
        disconnects: totals.disconnects,
        opening_s: opening.map_or(f64::NAN, |phase| (phase.end_us - phase.start_us) as f64 / 1e6),
        memory_peak_bytes: ran.footprint.memory_peak_bytes.max(ran.record.generator.memory_peak_bytes),
        verdict: verdict.map_or("not judged", |judgement| judgement.verdict.word()).to_owned(),
        reasons: verdict.map(|judgement| judgement.reasons.clone()).unwrap_or_default(),
    }
}

/// The table.
pub fn markdown(crowds: &[Crowd]) -> String {
    let row = |crowd: &Crowd| {
        let title = crowd.client.title().to_owned();
        let Some(seen) = &crowd.seen else { return [vec![title], vec!["–".to_owned(); 9]].concat() };
        vec![
            title,
            seen.connections.map_or_else(|| "not told".to_owned(), |connections| whole(connections as f64)),
            format!("{} of {}", whole(seen.publishers_with_load as f64), whole(seen.publishers as f64)),
            whole(seen.subscribers as f64),
            format!("{} of {}", seen.queues_emptied, seen.queues),
            format!("{} / {} / {}", whole(seen.published as f64), whole(seen.consumed as f64), seen.lost),
            seen.disconnects.to_string(),
            decimal(seen.opening_s),
            decimal(seen.memory_peak_bytes as f64 / f64::from(1 << 20)),
            seen.verdict.clone(),
        ]
    };
    let header = [
        "contender",
        "connections, as the broker shows",
        "publishing channels with confirms",
        "subscribed channels",
        "queues emptied",
        "published / consumed / lost",
        "disconnects",
        "opened in s",
        "peak memory MiB",
        "verdict",
    ];
    let mut text = "## Connections\n\nHalf of the connections publish, half consume, ten channels each; 20,000 messages of 24 \
                    B at 2,000/s through 500 queues. The record tells publishing channels apart, and queues; that each \
                    subscribed channel had its share, it does not tell. lurcher looks at the broker over connections of \
                    its own too.\n\n"
        .to_owned();
    text += &table(&header, &crowds.iter().map(row).collect::<Vec<_>>());
    for crowd in crowds {
        for reason in crowd.seen.iter().flat_map(|seen| &seen.reasons) {
            text += &format!("- {}: {reason}\n", crowd.client.title());
        }
        if let Some(failure) = &crowd.failure {
            text += &format!("- not measured: {}: {}\n", crowd.client.title(), failure.replace('\n', " "));
        }
    }
    text
}
