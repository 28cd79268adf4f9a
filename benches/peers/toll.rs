//! What a proxy on the way costs, as ratios of legs with it to legs without. Pure; `tests/bench_peers.rs` holds it to its
//! word.

use serde::Serialize;

use super::stats::ratios;
use super::tables::{decimal, spread, table, whole};

/// One round's runs on one way: as fast as it goes, and at a moderate rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leg {
    /// Round.
    pub round: u32,
    /// Client, as tables call it.
    pub client: &'static str,
    /// Whether a proxy was on the way.
    pub proxied: bool,
    /// What was measured; none where that failed.
    pub figures: Option<Figures>,
    /// Why there are none.
    pub failure: Option<String>,
}

/// What one leg came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Messages consumed per second, as fast as it goes.
    pub per_s: f64,
    /// Processor time per message of lurcher, in microseconds.
    pub cpu_us: f64,
    /// The same of the process that the proxy runs in, in microseconds: that of watching lurcher, where there is none.
    pub beside_cpu_us: f64,
    /// End-to-end latency at the moderate rate, median, in microseconds.
    pub p50_us: f64,
    /// The same, 99th percentile.
    pub p99_us: f64,
}

impl Figures {
    /// Processor time per message, in microseconds, the proxy's too.
    pub fn all_cpu_us(&self) -> f64 {
        self.cpu_us + self.beside_cpu_us
    }
}

/// A figure of the table.
struct Column {
    title: &'static str,
    figure: fn(&Figures) -> f64,
    shown: fn(f64) -> String,
}

const COLUMNS: [Column; 5] = [
    Column { title: "consumed/s", figure: |of| of.per_s, shown: whole },
    Column { title: "CPU µs per message", figure: |of| of.cpu_us, shown: decimal },
    Column { title: "with the proxy's process", figure: Figures::all_cpu_us, shown: decimal },
    Column { title: "end to end p50 µs", figure: |of| of.p50_us, shown: whole },
    Column { title: "p99 µs", figure: |of| of.p99_us, shown: whole },
];

/// A client's figures on one way, by round.
fn figures(legs: &[Leg], client: &str, proxied: bool, figure: fn(&Figures) -> f64) -> Vec<(u32, f64)> {
    let of = |leg: &&Leg| leg.client == client && leg.proxied == proxied;
    legs.iter().filter(of).filter_map(|leg| Some((leg.round, figure(leg.figures.as_ref()?)))).collect()
}

/// With ÷ without the proxy, of each column, within each round.
pub fn tolls(legs: &[Leg], client: &str) -> [Vec<f64>; 5] {
    COLUMNS.map(|column| {
        let of = |proxied| figures(legs, client, proxied, column.figure);
        ratios(&of(true), &of(false))
    })
}

/// The table, and what was not measured.
pub fn markdown(legs: &[Leg]) -> String {
    let mut clients: Vec<&str> = Vec::new();
    for leg in legs {
        if !clients.contains(&leg.client) {
            clients.push(leg.client);
        }
    }
    let mut rows = Vec::new();
    for client in clients {
        for (way, proxied) in [("direct", false), ("through the proxy", true)] {
            let cells = COLUMNS.iter().map(|column| {
                let values: Vec<f64> =
                    figures(legs, client, proxied, column.figure).into_iter().map(|(_, value)| value).collect();
                spread(&values, column.shown)
            });
            rows.push([format!("{client}, {way}")].into_iter().chain(cells).collect());
        }
        let ratios = tolls(legs, client).map(|ratios| spread(&ratios, decimal));
        rows.push([format!("{client}, ratio")].into_iter().chain(ratios).collect::<Vec<_>>());
    }
    let header: Vec<&str> = ["contender"].into_iter().chain(COLUMNS.map(|column| column.title)).collect();
    let mut text = table(&header, &rows);
    for leg in legs.iter().filter(|leg| leg.failure.is_some()) {
        let way = if leg.proxied { "through the proxy" } else { "direct" };
        let failure = leg.failure.as_deref().unwrap_or_default().replace('\n', " ");
        text += &format!("- not measured: round {}, {}, {way}: {failure}\n", leg.round + 1, leg.client);
    }
    text
}
