//! `[expect]`: names of metrics and the bounds that they must keep.

use std::collections::BTreeSet;

use super::values::{listed, quoted};
use super::{Problems, Scenario};
use crate::plan::expect::{
    Comparison, Depth, EFFECT_COUNTS, Expectation, GAP_TIME, Guarantee, Metric, QUEUE_COUNTS, Statistic,
};
use crate::plan::{QueueKind, TopologyPlan};
use crate::scenario::pattern;
use crate::units::{ByteSize, Rate, Span};

pub(super) fn resolve(scenario: &Scenario, topology: &TopologyPlan, problems: &mut Problems) -> Vec<Expectation> {
    let Some(written) = &scenario.expect else { return Vec::new() };
    let mut expectations = Vec::new();
    for (name, value) in written {
        let read = match name.as_str() {
            "guarantee" => guarantee(value, scenario),
            "ordered" => ordered(value),
            _ => bound(name, value, scenario, topology),
        };
        match read {
            Ok(expectation) => expectations.push(expectation),
            Err(Refusal { message, help }) => {
                let key = format!("expect.{}", quoted(name));
                match help {
                    Some(help) => problems.add_with_help(key, message, help),
                    None => problems.add(key, message),
                }
            }
        }
    }
    expectations
}

struct Refusal {
    message: String,
    help: Option<String>,
}

fn refuse<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { message: message.into(), help: Some(help.into()) })
}

/// Of a fleet without a store nobody can say how often it applied what.
fn effectively_once(scenario: &Scenario) -> Result<Expectation, Refusal> {
    let help = "add `idempotency = { store = \"sqlite\" }` to each [[consumer]], or ask for \"at-least-once\"";
    if scenario.consumers.is_empty() {
        return refuse("nobody consumes, so that no effect is ever applied", help);
    }
    match scenario.consumers.iter().find(|fleet| fleet.idempotency.is_none()) {
        None => Ok(Expectation::Guarantee(Guarantee::EffectivelyOnce)),
        Some(fleet) => {
            refuse(format!("the fleet `{}` has no store that says how often an effect was applied", fleet.name), help)
        }
    }
}

fn guarantee(value: &toml::Value, scenario: &Scenario) -> Result<Expectation, Refusal> {
    match value.as_str() {
        Some("at-most-once") => Ok(Expectation::Guarantee(Guarantee::AtMostOnce)),
        Some("at-least-once") => Ok(Expectation::Guarantee(Guarantee::AtLeastOnce)),
        Some("effectively-once") => effectively_once(scenario),
        _ => {
            refuse(format!("{value} is not a guarantee"), "\"at-most-once\", \"at-least-once\" or \"effectively-once\"")
        }
    }
}

fn ordered(value: &toml::Value) -> Result<Expectation, Refusal> {
    match value.as_bool() {
        Some(true) => Ok(Expectation::Ordered),
        _ => refuse(format!("{value} expects nothing"), "`ordered = true`, or leave it out"),
    }
}

fn bound(
    name: &str,
    value: &toml::Value,
    scenario: &Scenario,
    topology: &TopologyPlan,
) -> Result<Expectation, Refusal> {
    let metric: Metric = name
        .parse()
        .map_err(|error: crate::plan::expect::UnknownMetric| Refusal { message: error.to_string(), help: None })?;
    check_names(&metric, scenario, topology)?;
    let quantity = Quantity::of(&metric);
    let text = match value {
        toml::Value::String(text) => text.trim().to_owned(),
        toml::Value::Integer(_) | toml::Value::Float(_) if quantity == Quantity::Number => format!("== {value}"),
        _ => return refuse(format!("{value} is not a bound of `{name}`"), quantity.example()),
    };
    let (comparison, number) = split(&text).ok_or_else(|| Refusal {
        message: format!("`{text}` does not say how to compare"),
        help: Some(format!("begin with one of <, <=, ==, !=, >= and >, {}", quantity.example())),
    })?;
    let bound = quantity.read(number).ok_or_else(|| Refusal {
        message: format!("`{number}` is not a bound of `{name}`"),
        help: Some(quantity.example().into()),
    })?;
    Ok(Expectation::Bound { metric, comparison, bound, text })
}

fn split(text: &str) -> Option<(Comparison, &str)> {
    // Longer symbols first, so that `<=` is not read as `<` and a bound of `=`.
    use Comparison::{AtLeast, AtMost, Equal, Less, More, NotEqual};
    [AtMost, AtLeast, Equal, NotEqual, Less, More]
        .into_iter()
        .find_map(|comparison| Some((comparison, text.strip_prefix(comparison.symbol())?.trim())))
}

/// What a metric is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Number,
    Duration,
    Rate,
    Size,
}

impl Quantity {
    fn of(metric: &Metric) -> Self {
        match metric {
            Metric::Latency { statistic: Statistic::Count, .. } | Metric::Count { .. } => Self::Number,
            Metric::Latency { .. } => Self::Duration,
            Metric::Throughput { .. } => Self::Rate,
            Metric::Gauge { name, .. } if name.ends_with("_memory") => Self::Size,
            Metric::Gap { name, .. } if name == GAP_TIME => Self::Duration,
            Metric::Depth { depth: Depth::Above(_) | Depth::Growing, .. } => Self::Duration,
            Metric::Gauge { .. } | Metric::Gap { .. } | Metric::Depth { .. } => Self::Number,
        }
    }

    /// In the metric's own unit: microseconds, messages per second, bytes, or plain.
    fn read(self, text: &str) -> Option<f64> {
        match self {
            Self::Number => {
                let digits = text.replace('_', "");
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                digits.parse().ok().filter(|_| plain)
            }
            Self::Duration => text.parse::<Span>().ok().map(|span| span.0.as_nanos() as f64 / 1e3),
            Self::Rate => text.parse::<Rate>().ok().map(Rate::as_per_second),
            Self::Size => text.parse::<ByteSize>().ok().map(|size| size.0 as f64),
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Number => "such as \"<= 100\", or a plain number for equality",
            Self::Duration => "such as \"<= 250ms\"",
            Self::Rate => "such as \">= 1900/s\"",
            Self::Size => "such as \"<= 64 MiB\"",
        }
    }
}

/// Refuses fleets and queues that the scenario does not have: their metrics would never have a sample.
fn check_names(metric: &Metric, scenario: &Scenario, topology: &TopologyPlan) -> Result<(), Refusal> {
    match metric {
        Metric::Latency { fleet: Some(fleet), .. } | Metric::Throughput { fleet: Some(fleet), .. } => {
            let producers = scenario.producers.iter().map(|fleet| fleet.name.as_str());
            let names: BTreeSet<_> =
                producers.chain(scenario.consumers.iter().map(|fleet| fleet.name.as_str())).collect();
            if names.contains(fleet.as_str()) {
                return Ok(());
            }
            refuse(format!("there is no fleet `{fleet}`"), listed(names.into_iter()))
        }
        Metric::Count { word, queue: Some(queue), .. } if !QUEUE_COUNTS.contains(&word.as_str()) => {
            refuse(format!("`{word}` is not counted by queue"), format!("`{word}` alone, without `.{queue}`"))
        }
        Metric::Count { word, queue, .. } if EFFECT_COUNTS.contains(&word.as_str()) => {
            check_effects(word, queue.as_deref(), scenario)
        }
        Metric::Count { queue: Some(queue), .. }
        | Metric::Gap { queue: Some(queue), .. }
        | Metric::Depth { queue, .. } => {
            // A stream has books for each of its readers: `QUEUE#SUBSCRIBER`.
            let stream = queue.rsplit_once('#').map(|(stream, _)| stream);
            let known = topology.queues.iter().any(|declared| {
                declared.name == *queue
                    || (declared.kind == QueueKind::Stream && Some(declared.name.as_str()) == stream)
            });
            if known {
                return Ok(());
            }
            let names: BTreeSet<_> = topology.queues.iter().map(|queue| queue.name.as_str()).collect();
            refuse(format!("there is no queue `{queue}`"), listed(names.into_iter()))
        }
        _ => Ok(()),
    }
}

/// Refuses effects that nobody applies: they would never have a count.
fn check_effects(word: &str, queue: Option<&str>, scenario: &Scenario) -> Result<(), Refusal> {
    let with_store = || scenario.consumers.iter().filter(|fleet| fleet.idempotency.is_some());
    let queues: BTreeSet<String> =
        with_store().flat_map(|fleet| pattern::expand(&fleet.queue).unwrap_or_default()).collect();
    match queue {
        _ if queues.is_empty() => refuse(
            format!("no fleet has effects, so that `{word}` is never counted"),
            "add `idempotency = { store = \"sqlite\" }` to a consumer",
        ),
        Some(queue) if !queues.contains(queue) => refuse(
            format!("no fleet that has effects consumes from `{queue}`"),
            listed(queues.iter().map(String::as_str)),
        ),
        _ => Ok(()),
    }
}
