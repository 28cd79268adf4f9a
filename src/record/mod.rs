//! The evidence of a run: the one door between doing and judging.
//!
//! May use `units`, `plan`, `ledger` and `latency`. Everything after it (verdict, plots, gate) reads only the record.

mod chains;
mod effects;
mod fates;
mod fault;
#[doc(hidden)]
pub mod fixture;
mod gap;
pub mod progress;
mod scenario;
mod store;
mod totals;
mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::ledger::account::{Account, Cause, PublisherAccount, QueueAccount, Texts, Violation, ViolationClass};
pub use crate::ledger::effects::EffectsAccount;
pub use crate::ledger::fates::FatesAccount;
pub use crate::ledger::incidents::{Incident, IncidentKind};
pub use crate::plan::Plan;
pub use chains::{ChainRow, ChainsReport};
pub use effects::StoreRow;
pub use fates::{FateRow, FatesReport, RedriveRow, ReplayRow};
pub use fault::{FaultCost, FaultMessage, FaultRow};
pub use gap::{DuplicateGap, GapLength};
pub use scenario::ScenarioFacts;
pub use store::{LATEST, LOG_FILE, RUN_FILE, RecordFolder, StoreError, VIOLATIONS_FILE, create};
pub use totals::Totals;
pub use verdict::Verdict;

/// A measured figure to thousandths, as every output can hold it in full.
pub fn thousandths(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// Version of `run.json`; moves when its form changes.
pub const SCHEMA_VERSION: u32 = 1;

/// The evidence of one run. `violations.csv` and `latency.hlog` stand beside `run.json`, which holds all the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form: [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Names the record; part of its folder's name.
    pub id: String,
    /// Wall-clock time at which the run began, UTC.
    pub started_at: jiff::Timestamp,
    /// Whether the run came to its end.
    pub completeness: Completeness,
    /// What was judged of it: `verdict`, `reasons` and `checks`; none of them until it is judged.
    #[serde(flatten)]
    pub verdict: Option<Judgement>,
    /// The ledger's words over all publishers and queues.
    pub totals: Totals,
    /// The scenario as it was written.
    pub scenario: ScenarioFacts,
    /// The plan that was run.
    pub plan: Plan,
    /// Versions of what took part.
    pub versions: BTreeMap<String, String>,
    /// The machine.
    pub host: HostFacts,
    /// The broker.
    pub broker: BrokerFacts,
    /// Phases in order.
    pub phases: Vec<PhaseFacts>,
    /// What the generator says of itself.
    pub generator: GeneratorFacts,
    /// Latency distributions over the measured load, by metric and fleet.
    pub latency: Vec<LatencySummary>,
    /// The reconciled books. Its `violations` are in `violations.csv`.
    pub account: Account,
    /// Dead letters by queue and reason.
    pub dead_letters: Vec<DeadLetterRow>,
    /// How far apart first and repeated deliveries were, by queue.
    #[serde(default)]
    pub duplicate_gaps: Vec<DuplicateGap>,
    /// Faults.
    pub faults: Vec<FaultRow>,
    /// Dead letters that were sent back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redrives: Vec<RedriveRow>,
    /// Past messages that were published once more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replays: Vec<ReplayRow>,
    /// What became of messages that consumers fail or that die; none where the plan gives no message a fate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fates: Option<FatesReport>,
    /// Messages that led to others, and the ids that they all came with; none where the plan has none that do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chains: Option<ChainsReport>,
    /// Stores of idempotent consumers, by fleet and queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<StoreRow>,
    /// What happened to connections and channels, in order, up to a limit.
    pub incidents: Vec<Incident>,
    /// All incidents, listed or not.
    pub incidents_total: u64,
    /// Queues of the broker, each second.
    pub queue_samples: Vec<QueueSample>,
    /// The broker as a whole, each second.
    pub broker_samples: Vec<BrokerSample>,
    /// One row per second and fleet.
    pub intervals: Vec<Interval>,
}

/// Whether a run came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// All phases ran.
    Complete,
    /// Ctrl-C or a termination signal ended it; the books are those up to then.
    Interrupted,
    /// It could not go on.
    Aborted {
        /// Why.
        reason: String,
    },
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Operating system and kernel.
    pub os: String,
    /// Processor model.
    pub cpu: String,
    /// Processors that this process may use.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// The broker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BrokerFacts {
    /// `container`, `process` or `external`.
    pub provider: String,
    /// Product, such as `RabbitMQ`.
    pub product: String,
    /// Version, such as `4.0.5`.
    pub version: String,
    /// Erlang's version, where the broker tells.
    pub erlang: Option<String>,
    /// Image and its id, for a container.
    pub image: Option<String>,
    /// Id of the image.
    pub image_id: Option<String>,
    /// `host` or `published`, for a container.
    pub network: Option<String>,
    /// Address of AMQP, without credentials.
    pub endpoint: String,
    /// Nodes by name.
    pub nodes: Vec<String>,
    /// Plugins that run.
    pub plugins: Vec<String>,
    /// Effective configuration that matters to a measurement, by name.
    pub configuration: BTreeMap<String, String>,
    /// The broker's own counters at the end of the drain less those before the load, where it tells them.
    pub counters: BTreeMap<String, u64>,
}

/// A phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The broker is started or reached.
    Broker,
    /// Exchanges, queues and bindings are declared and verified.
    Topology,
    /// Load before the measurement.
    #[serde(rename = "warm-up")]
    Warmup,
    /// The measured load.
    Load,
    /// Faults are undone.
    Heal,
    /// Consumers empty their queues.
    Drain,
    /// Dead letters are sent back, past messages are published once more, and consumers empty their queues again.
    Redrive,
    /// What is left is read and the books are reconciled.
    Audit,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Broker => "broker",
            Self::Topology => "topology",
            Self::Warmup => "warm-up",
            Self::Load => "load",
            Self::Heal => "heal",
            Self::Redrive => "redrive",
            Self::Drain => "drain",
            Self::Audit => "audit",
        })
    }
}

/// When a phase ran. The run's clock is 0 at the start of the warm-up, so that earlier phases have negative times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseFacts {
    /// Which.
    pub phase: Phase,
    /// Start, in microseconds on the run's clock.
    pub start_us: i64,
    /// End, in microseconds on the run's clock.
    pub end_us: i64,
}

/// What the generator says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorFacts {
    /// Of the sends in the measured load, how many were late through the generator's own doing by more than `max_lag`.
    pub late_sends: u64,
    /// Sends of the measured load that had an intended time.
    pub paced_sends: u64,
    /// 99th percentile of the generator's own lag, in microseconds.
    pub own_lag_p99_us: u64,
    /// Time that publishers were held up by a full confirm window or the broker's socket, all together, in microseconds.
    pub held_us: u64,
    /// CPU time that one message takes of its publisher's thread, waits left out: made, journaled, handed to the client,
    /// and its answer counted. In microseconds, from a sample of the sends; none where none was looked at.
    pub message_cost_us: Option<f64>,
    /// Threads that publishers run on.
    pub publisher_threads: u32,
    /// CPU time of this process during the measured load, in microseconds.
    pub cpu_us: u64,
    /// Length of the measured load, in microseconds.
    pub load_us: u64,
    /// Messages sent in the measured load.
    pub load_sends: u64,
    /// Messages that the plan asked for in the measured load; none in a closed loop.
    pub load_planned: Option<u64>,
    /// When the last delivery of all fleets came, in microseconds on the run's clock: with the count of what was
    /// consumed, the rate over the load and the drain together. None where nothing was delivered.
    #[serde(default)]
    pub delivered_until_us: Option<u64>,
    /// Largest resident memory of this process, in bytes.
    pub memory_peak_bytes: u64,
    /// Events that a full channel or list dropped; more than 0 makes the run invalid.
    pub overflow: u64,
    /// How far the wall clock moved against the monotonic one during the run, in microseconds.
    pub clock_step_us: i64,
    /// Latency samples longer than an hour, counted as an hour.
    pub clipped: u64,
}

/// One latency distribution over the measured load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Which latency: a name of `plan::expect::LATENCIES`.
    pub metric: String,
    /// Fleet, or `all` for all fleets together.
    pub fleet: String,
    /// Samples.
    pub count: u64,
    /// Mean, in microseconds.
    pub mean_us: f64,
    /// Standard deviation, in microseconds.
    pub stdev_us: f64,
    /// The distribution: percentile (0 to 100) and value, in microseconds, ascending; 0 is the minimum, 100 the maximum.
    pub percentiles: Vec<PercentilePoint>,
}

/// One point of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PercentilePoint {
    /// From 0 to 100.
    pub percentile: f64,
    /// Value, in microseconds.
    pub value_us: u64,
    /// Samples at or below the value.
    pub count: u64,
}

/// Dead letters of one queue for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterRow {
    /// Queue that they left.
    pub queue: String,
    /// Queue that they were found in.
    pub dead_letter_queue: String,
    /// `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: String,
    /// How many there should be, where it can be foretold.
    pub expected: Option<u64>,
    /// How many there are.
    pub actual: u64,
    /// Median time from the intended send to the dead-lettering, in microseconds: at the latest, since the broker stamps
    /// whole seconds.
    pub time_to_dead_letter_p50_us: Option<u64>,
    /// The largest.
    pub time_to_dead_letter_max_us: Option<u64>,
}

/// One queue at one time, as the broker tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSample {
    /// When, in microseconds on the run's clock.
    pub at_us: i64,
    /// Queue.
    pub queue: String,
    /// Messages ready for delivery.
    pub ready: u64,
    /// Messages delivered and not yet acknowledged.
    pub unacked: u64,
}

/// The broker as a whole at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrokerSample {
    /// When, in microseconds on the run's clock.
    pub at_us: i64,
    /// Processors in use: 1.0 is one processor all the time.
    pub cpu_cores: Option<f64>,
    /// Memory in use, in bytes.
    pub memory_bytes: Option<u64>,
    /// Messages published per second, as the broker tells.
    pub publish_per_s: Option<f64>,
    /// Messages delivered per second, as the broker tells.
    pub deliver_per_s: Option<f64>,
    /// Connections that are open.
    pub connections: Option<u64>,
}

/// One second of one fleet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Start, in microseconds on the run's clock.
    pub start_us: u64,
    /// Length, in microseconds.
    pub length_us: u64,
    /// Phase in which it began.
    pub phase: String,
    /// Fleet.
    pub fleet: String,
    /// Messages published.
    pub published: u64,
    /// Messages confirmed.
    pub confirmed: u64,
    /// Messages nacked.
    pub nacked: u64,
    /// Messages returned.
    pub returned: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Messages consumed.
    pub consumed: u64,
    /// Repeated deliveries.
    pub duplicates: u64,
    /// Deliveries failed and given back to their queue (consumers).
    #[serde(default)]
    pub requeued: u64,
    /// Deliveries failed for good (consumers).
    #[serde(default)]
    pub rejected: u64,
    /// Latency that counts for this fleet: confirms for producers, end to end for consumers, from the intended time.
    pub latency: Option<LatencyPoint>,
    /// The same from the actual send.
    pub latency_from_send: Option<LatencyPoint>,
    /// Schedule lag (producers).
    pub lag_max_us: Option<u64>,
    /// Messages ready in the fleet's queues (consumers), as the broker tells.
    pub backlog: Option<u64>,
    /// Processors that the generator used.
    pub generator_cpu_cores: f64,
    /// Resident memory of the generator, in bytes.
    pub generator_memory_bytes: u64,
    /// Processors that the broker used.
    pub broker_cpu_cores: Option<f64>,
}

/// A latency distribution in short, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyPoint {
    /// Samples.
    pub count: u64,
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Largest.
    pub max_us: u64,
}

/// What was judged of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The word.
    pub verdict: Verdict,
    /// Why, most important first; each a sentence.
    pub reasons: Vec<String>,
    /// Each expectation with what was measured.
    pub checks: Vec<Check>,
}

/// One expectation with what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Metric, or `guarantee` or `ordered`.
    pub metric: String,
    /// Unit of `value`: `messages`, `us`, `per_s`, `cores`, `bytes` or none.
    pub unit: String,
    /// What was measured; none: there was no sample.
    pub value: Option<f64>,
    /// The expectation as it was written.
    pub expectation: String,
    /// How it went.
    pub verdict: Verdict,
    /// Why, where that needs saying; such as the bound for zero of N.
    pub note: Option<String>,
}
