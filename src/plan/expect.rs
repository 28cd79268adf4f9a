//! Expectations: metrics of the record, and the bounds that they must keep.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::Percentile;

/// One thing that must hold for the verdict `pass`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// A metric keeps a bound.
    Bound {
        /// What is measured.
        metric: Metric,
        /// How it is compared.
        comparison: Comparison,
        /// With what, in the metric's own unit.
        bound: f64,
        /// The expectation as it was written, such as `<= 250ms`.
        text: String,
    },
    /// A delivery guarantee holds.
    Guarantee(Guarantee),
    /// First deliveries keep the order of each publisher.
    Ordered,
}

/// How a metric is compared with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Comparison {
    /// Whether `value` keeps the bound.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::Equal => value == bound,
            Self::NotEqual => value != bound,
            Self::AtLeast => value >= bound,
            Self::More => value > bound,
        }
    }

    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::AtLeast => ">=",
            Self::More => ">",
        }
    }
}

/// What must hold of losses and repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// No duplicate.
    AtMostOnce,
    /// Nothing lost.
    AtLeastOnce,
    /// Nothing lost, and each effect applied exactly once.
    EffectivelyOnce,
}

/// A number of the record, written like `lost`, `end_to_end.p99`, `end_to_end.FLEET.p99` or `dead_lettered.QUEUE.expired`.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// A count of the ledger; of one queue, where one is named, and there of one reason (dead letters only).
    Count {
        /// A word of the ledger: one of [`COUNTS`].
        word: String,
        /// Queue by name.
        queue: Option<String>,
        /// `x-death` reason.
        reason: Option<String>,
    },
    /// A statistic of a latency: one of [`LATENCIES`], in microseconds.
    Latency {
        /// Which latency.
        name: String,
        /// Fleet by name; none: all fleets together.
        fleet: Option<String>,
        /// Which statistic.
        statistic: Statistic,
    },
    /// Messages per second over the measured load: one of [`THROUGHPUTS`].
    Throughput {
        /// Which step of a message's way.
        name: String,
        /// Fleet by name; none: all fleets together.
        fleet: Option<String>,
    },
    /// A figure sampled each second: one of [`GAUGES`], at its largest, on average, or at the end of the load.
    Gauge {
        /// Which figure.
        name: String,
        /// `Max`, `Mean` or `End`.
        statistic: Statistic,
    },
    /// The longest gap between a first and a repeated delivery: one of [`GAPS`].
    Gap {
        /// In what it is measured.
        name: String,
        /// Queue by name; none: all queues.
        queue: Option<String>,
    },
    /// How many messages lay in a queue, as alert rules ask: written `queue_depth.QUEUE.max`, `queue_above.N.QUEUE` or
    /// `queue_growing.QUEUE`.
    Depth {
        /// What of it.
        depth: Depth,
        /// Queue by name.
        queue: String,
    },
}

/// What is asked of the number of messages in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The most, in messages.
    Max,
    /// At the end of the run, in messages.
    End,
    /// The longest time for which there were more than so many, in microseconds.
    Above(u64),
    /// The longest time over which they only grew, in microseconds.
    Growing,
}

/// What is taken of a distribution or a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// A percentile; `min` and `max` are percentiles too.
    Percentile(Percentile),
    /// Arithmetic mean.
    Mean,
    /// The last value (gauges only).
    End,
    /// How many samples there are (latencies only).
    Count,
}

/// The ledger's words that are counted per publisher.
pub const PUBLISHER_COUNTS: [&str; 8] =
    ["planned", "published", "confirmed", "nacked", "returned", "unconfirmed", "sent", "unsent"];

/// The ledger's words that are counted per queue.
pub const QUEUE_COUNTS: [&str; 23] = [
    "delivered",
    "consumed",
    "lost",
    "possibly_lost",
    "recovered",
    "duplicates",
    "republished",
    "redelivered",
    "unflagged",
    "redelivered_flag",
    "requeued",
    "rejected",
    "retried",
    "phantom",
    "corrupt",
    "misordered",
    "dead_lettered",
    "removed_by_rule",
    "left_in_queue",
    "effects_applied",
    "effects_repeated",
    "effects_missing",
    "effects_unknown",
];

/// Those of them that are counted where a fleet has effects only.
pub const EFFECT_COUNTS: [&str; 4] = ["effects_applied", "effects_repeated", "effects_missing", "effects_unknown"];

/// The ledger's words that are counted per connection.
pub const CONNECTION_COUNTS: [&str; 2] = ["disconnects", "blocked"];

/// The ledger's words for messages that are to fail, or that die where nobody takes them.
pub const FATE_COUNTS: [&str; 5] =
    ["fates_foretold", "fates_differing", "fates_unexplained", "attempts", "attempts_max"];

/// The ledger's words for messages that lead to others, and for the ids by which that is known.
pub const CHAIN_COUNTS: [&str; 4] = ["follow_ups_missing", "follow_ups_repeated", "ids_missing", "ids_crossed"];

/// All the ledger's words, as in `totals` of `run.json`.
pub const COUNTS: [&str; 42] = {
    let mut all = [""; 42];
    let (publishers, others) = all.split_at_mut(PUBLISHER_COUNTS.len());
    let (queues, others) = others.split_at_mut(QUEUE_COUNTS.len());
    let (connections, others) = others.split_at_mut(CONNECTION_COUNTS.len());
    let (fates, chains) = others.split_at_mut(FATE_COUNTS.len());
    publishers.copy_from_slice(&PUBLISHER_COUNTS);
    queues.copy_from_slice(&QUEUE_COUNTS);
    connections.copy_from_slice(&CONNECTION_COUNTS);
    fates.copy_from_slice(&FATE_COUNTS);
    chains.copy_from_slice(&CHAIN_COUNTS);
    all
};

/// Latencies of the record, in microseconds.
pub const LATENCIES: [&str; 9] = [
    "end_to_end",
    "end_to_end_from_send",
    "confirm",
    "confirm_from_send",
    "schedule_lag",
    "time_to_dead_letter",
    "retry_delay",
    "retry_late",
    "head_of_line",
];

/// Steps of a message's way whose rate is measured.
pub const THROUGHPUTS: [&str; 4] = ["published", "confirmed", "delivered", "consumed"];

/// Figures sampled each second: messages, processors or bytes.
pub const GAUGES: [&str; 5] = ["backlog", "broker_cpu", "broker_memory", "generator_cpu", "generator_memory"];

/// The gap in time, in microseconds.
pub const GAP_TIME: &str = "duplicate_gap";
/// Gaps between first and repeated deliveries: in time and in messages.
pub const GAPS: [&str; 2] = [GAP_TIME, "duplicate_gap_messages"];

/// Metrics of the number of messages in a queue.
pub const DEPTHS: [&str; 3] = ["queue_depth", "queue_above", "queue_growing"];

/// Reasons of a dead letter, as the broker's `x-death` header names them.
/// Beside them: taken out of its queue to be sent back, and left in the queue where it waited to be tried again.
pub const DEATH_REASONS: [&str; 6] = ["rejected", "expired", "maxlen", "delivery_limit", "redriven", "retried"];

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentile(percentile) => percentile.fmt(f),
            Self::Mean => f.write_str("mean"),
            Self::End => f.write_str("end"),
            Self::Count => f.write_str("count"),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { word, queue, reason } => {
                f.write_str(word)?;
                [queue, reason].into_iter().flatten().try_for_each(|part| write!(f, ".{part}"))
            }
            Self::Latency { name, fleet, statistic } => {
                f.write_str(name)?;
                fleet.iter().try_for_each(|fleet| write!(f, ".{fleet}"))?;
                write!(f, ".{statistic}")
            }
            Self::Throughput { name, fleet } => {
                write!(f, "throughput.{name}")?;
                fleet.iter().try_for_each(|fleet| write!(f, ".{fleet}"))
            }
            Self::Gauge { name, statistic } => write!(f, "{name}.{statistic}"),
            Self::Depth { depth: Depth::Max, queue } => write!(f, "queue_depth.{queue}.max"),
            Self::Depth { depth: Depth::End, queue } => write!(f, "queue_depth.{queue}.end"),
            Self::Depth { depth: Depth::Above(threshold), queue } => write!(f, "queue_above.{threshold}.{queue}"),
            Self::Depth { depth: Depth::Growing, queue } => write!(f, "queue_growing.{queue}"),
            Self::Gap { name, queue } => {
                f.write_str(name)?;
                queue.iter().try_for_each(|queue| write!(f, ".{queue}"))?;
                f.write_str(".max")
            }
        }
    }
}

/// Why a metric's name could not be read; fits "`expect`: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a metric{hint}")]
pub struct UnknownMetric {
    name: String,
    hint: String,
}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = |hint: &str| UnknownMetric { name: text.to_owned(), hint: hint.to_owned() };
        let (name, rest) = text.split_once('.').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let named = |part: &str| Some(part.to_owned()).filter(|part| !part.is_empty());
        if COUNTS.contains(&name) {
            let (queue, reason) = match rest.map(|rest| rest.rsplit_once('.').unwrap_or(("", rest))) {
                Some((queue, reason)) if name == "dead_lettered" && DEATH_REASONS.contains(&reason) => {
                    (named(queue), named(reason))
                }
                _ => (rest.and_then(named), None),
            };
            return Ok(Self::Count { word: name.to_owned(), queue, reason });
        }
        if name == "throughput" {
            let rest = rest.unwrap_or_default();
            let (step, fleet) = rest.split_once('.').map_or((rest, None), |(step, fleet)| (step, named(fleet)));
            if !THROUGHPUTS.contains(&step) {
                return Err(unknown(
                    ": of a throughput there are `published`, `confirmed`, `delivered` and `consumed`",
                ));
            }
            return Ok(Self::Throughput { name: step.to_owned(), fleet });
        }
        if DEPTHS.contains(&name) {
            return depth(name, rest.unwrap_or_default()).ok_or_else(|| {
                unknown(
                    ": of a queue there are `queue_depth.QUEUE.max` and `.end`, `queue_above.N.QUEUE` and \
                     `queue_growing.QUEUE`",
                )
            });
        }
        if GAPS.contains(&name) {
            let queue = match rest {
                Some("max") => None,
                rest => Some(rest.and_then(|rest| rest.strip_suffix(".max")).and_then(named).ok_or_else(|| {
                    unknown(": of a gap there is `max`, of all queues or of one, such as `duplicate_gap.QUEUE.max`")
                })?),
            };
            return Ok(Self::Gap { name: name.to_owned(), queue });
        }
        let (is_latency, is_gauge) = (LATENCIES.contains(&name), GAUGES.contains(&name));
        if !is_latency && !is_gauge {
            return Err(unknown("; see `lurcher schema` and the README for their names"));
        }
        let rest = rest.ok_or_else(|| unknown(": it needs a statistic, such as `.p99`, `.max` or `.mean`"))?;
        // A percentile may hold a dot of its own: p99.9.
        let (fleet, statistic) = split_statistic(rest)
            .ok_or_else(|| unknown(": its last part should be a statistic, such as `p99`, `p99.9`, `max` or `mean`"))?;
        if is_gauge {
            let fits = fleet.is_none()
                && match statistic {
                    Statistic::Mean | Statistic::End => true,
                    Statistic::Percentile(percentile) => percentile.percent() == 100.0,
                    Statistic::Count => false,
                };
            return if fits {
                Ok(Self::Gauge { name: name.to_owned(), statistic })
            } else {
                Err(unknown(": of this figure there are `max`, `mean` and `end`"))
            };
        }
        if statistic == Statistic::End {
            return Err(unknown(": a latency has no `end`"));
        }
        Ok(Self::Latency { name: name.to_owned(), fleet, statistic })
    }
}

fn depth(name: &str, rest: &str) -> Option<Metric> {
    let (depth, queue) = match name {
        "queue_growing" => (Depth::Growing, rest),
        "queue_above" => {
            let (threshold, queue) = rest.split_once('.')?;
            (Depth::Above(threshold.parse().ok()?), queue)
        }
        _ => match rest.rsplit_once('.')? {
            (queue, "max") => (Depth::Max, queue),
            (queue, "end") => (Depth::End, queue),
            _ => return None,
        },
    };
    (!queue.is_empty()).then(|| Metric::Depth { depth, queue: queue.to_owned() })
}

fn split_statistic(text: &str) -> Option<(Option<String>, Statistic)> {
    let statistic = |text: &str| match text {
        "mean" => Some(Statistic::Mean),
        "end" => Some(Statistic::End),
        "count" => Some(Statistic::Count),
        _ => text.parse().ok().map(Statistic::Percentile),
    };
    if let Some(whole) = statistic(text) {
        return Some((None, whole));
    }
    // The longest tail that is a statistic: `fleet.p99.9` is p99.9 of `fleet`.
    text.match_indices('.')
        .find_map(|(dot, _)| statistic(&text[dot + 1..]).map(|found| (Some(text[..dot].to_owned()), found)))
}

impl Serialize for Metric {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for name in [
            "lost",
            "lost.orders.billing",
            "dead_lettered.orders.expired",
            "dead_lettered.expired",
            "end_to_end.p99",
            "end_to_end.billing.p99.9",
            "end_to_end.eu.west.max",
            "confirm.mean",
            "schedule_lag.count",
            "throughput.consumed",
            "throughput.consumed.billing",
            "backlog.max",
            "broker_memory.end",
            "duplicate_gap.max",
            "duplicate_gap_messages.max",
            "duplicate_gap.orders.max.max",
        ] {
            assert_eq!(name.parse::<Metric>().map(|metric| metric.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a_percentile_with_a_dot_is_no_fleet() {
        let metric: Metric = "end_to_end.p99.9".parse().expect("a metric");
        assert!(matches!(metric, Metric::Latency { fleet: None, .. }), "{metric:?}");
    }

    #[test]
    fn unknown_names_are_refused() {
        for name in [
            "",
            "loss",
            "end_to_end",
            "end_to_end.p101",
            "throughput.lost",
            "backlog.p50",
            "confirm.end",
            "duplicate_gap",
            "duplicate_gap.p99",
            "duplicate_gap..max",
        ] {
            assert!(name.parse::<Metric>().is_err(), "{name:?} was accepted");
        }
    }
}
