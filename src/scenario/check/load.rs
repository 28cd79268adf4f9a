//! `[load]`: that it begins, and that it ends.

use super::names::Names;
use crate::scenario::Scenario;
use crate::scenario::load::{Load, StopWhen};
use crate::scenario::problem::Problems;
use crate::scenario::producer::{RatePlan, RateStep};
use crate::scenario::topology::QueueKind;
use crate::units::Span;

pub(super) fn check(scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    let Some(load) = &scenario.load else { return };
    if load.duration == Some(Span::ZERO) {
        problems
            .at("load.duration", "a load of no length measures nothing")
            .help("write a longer time, such as `duration = \"30s\"`");
    }
    if load.max_lag == Some(Span::ZERO) {
        problems
            .at("load.max_lag", "no generator is never late at all")
            .help("write how late is too late, such as `max_lag = \"100ms\"`");
    }
    match load.messages {
        Some(0) => {
            problems
                .at("load.messages", "a load of 0 messages measures nothing")
                .help("write a larger number, or remove `messages`");
        }
        Some(_) if scenario.producers.is_empty() && !scenario.consumers.is_empty() => {
            problems
                .at("load.messages", "nobody sends: there is no `[[producer]]` to count messages of")
                .help("use `duration` or `stop_when`, or add a `[[producer]]`");
        }
        Some(messages) => check_end(messages, load, scenario, problems),
        None => {}
    }
    if let Some(stop_when) = &load.stop_when {
        check_stop_when(stop_when, scenario, names, problems);
    }
}

fn check_stop_when(stop_when: &StopWhen, scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    if stop_when.empty.is_none() && stop_when.idle.is_none() {
        problems
            .at("load.stop_when", "`stop_when` says nothing")
            .help("write `stop_when = { empty = \"5s\" }` or `{ idle = \"5s\" }`");
    }
    for (key, time) in [("empty", stop_when.empty), ("idle", stop_when.idle)] {
        if time == Some(Span::ZERO) {
            problems
                .at(format!("load.stop_when.{key}"), "this would end the load at once")
                .help(format!("write how long it must hold, such as `{key} = \"5s\"`"));
        }
    }
    if stop_when.empty.is_none() {
        return;
    }
    if scenario.consumers.is_empty() {
        problems
            .at("load.stop_when.empty", "no queue is consumed, so that none gets empty")
            .help("add a `[[consumer]]`, or use `idle`");
        return;
    }
    let stream = scenario.consumers.iter().position(|consumer| {
        let places = names.queues(&consumer.queue).unwrap_or_default();
        places.into_iter().any(|place| names.kind(place) == QueueKind::Stream)
    });
    if let Some(index) = stream {
        problems
            .at("load.stop_when.empty", "a stream is never empty: reading takes nothing out of it")
            .help("use `idle`")
            .see(format!("consumer[{index}].queue"), "a stream");
    }
}

/// A load that only a number of messages can end must be able to send them.
fn check_end(messages: u64, load: &Load, scenario: &Scenario, problems: &mut Problems) {
    if load.duration.is_some() || load.stop_when.is_some() {
        return;
    }
    let most: Option<f64> = scenario.producers.iter().map(|producer| most_messages(producer.rate.as_ref())).sum();
    if let Some(most) = most.filter(|most| *most < messages as f64) {
        problems
            .at(
                "load.messages",
                format!("the load would never end: the rates fall to 0 after about {most:.0} messages"),
            )
            .help("raise a rate, or add `duration`");
    }
}

/// Most messages that a rate makes, however long it lasts; none where there is no limit.
fn most_messages(rate: Option<&RatePlan>) -> Option<f64> {
    let sum = |steps: &[RateStep]| -> f64 {
        steps.iter().map(|step| step.rate.as_per_second() * step.lasting.as_secs_f64()).sum()
    };
    match rate? {
        RatePlan::Max => None,
        RatePlan::Constant(rate) => (rate.as_per_second() == 0.0).then_some(0.0),
        RatePlan::Steps(steps) => {
            let last = steps.last().map_or(0.0, |step| step.rate.as_per_second());
            (last == 0.0).then(|| sum(steps))
        }
        RatePlan::Ramp(ramp) => {
            (ramp.to.as_per_second() == 0.0).then(|| ramp.from.as_per_second() * ramp.lasting.as_secs_f64() / 2.0)
        }
        RatePlan::Cycle(steps) => (sum(steps) == 0.0).then_some(0.0),
    }
}
