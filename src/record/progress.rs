//! What a run tells while it runs: events for listeners, of which the terminal is one.

use super::Phase;

/// Something that a listener may show.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The run has a name and a plan.
    Started {
        /// Scenario.
        scenario: String,
        /// What it proves.
        description: Option<String>,
        /// Expected length of warm-up and load in microseconds, where it is known.
        load_us: Option<u64>,
    },
    /// A phase begins.
    Phase(Phase),
    /// Something worth a line, such as the broker's version or a reconnect.
    Note(String),
    /// Twice a second while messages flow.
    Live(Live),
    /// The broker is removed and the record complete.
    Ended,
}

/// Live figures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Live {
    /// Time since the start of the warm-up, in microseconds.
    pub at_us: u64,
    /// Messages published per second, over the last half second.
    pub published_per_s: f64,
    /// Messages consumed per second, over the last half second.
    pub consumed_per_s: f64,
    /// Messages published so far.
    pub published: u64,
    /// Messages consumed so far.
    pub consumed: u64,
    /// Messages that are planned, where it is known.
    pub planned: Option<u64>,
    /// 99th percentile of the end-to-end latency of the last interval, in microseconds.
    pub end_to_end_p99_us: Option<u64>,
    /// Copies routed and not yet consumed.
    pub backlog: u64,
    /// Copies known to be lost so far; certain only after the audit.
    pub lost: u64,
    /// Repeated deliveries so far.
    pub duplicates: u64,
}
