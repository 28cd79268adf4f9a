//! How long, how much, and how many messages of it are each fleet's.

use super::{Problems, Scenario};
use crate::plan::LoadPlan;
use crate::plan::divide;
use crate::scenario::Producer;
use crate::scenario::producer::RatePlan;
use crate::units::{Rate, Span};

const DEFAULT_DURATION: Span = Span::from_secs(30);
const DEFAULT_DRAIN: Span = Span::from_secs(60);
const DEFAULT_MAX_LAG: Span = Span::from_millis(100);

/// The load. It has no duration only where every producer has a limit of messages, so that each load comes to an end.
pub(super) fn resolve(scenario: &Scenario) -> LoadPlan {
    let load = scenario.load.clone().unwrap_or_default();
    // What follows others ends with them.
    let mut leaders = scenario.producers.iter().filter(|fleet| fleet.follows.is_none()).peekable();
    let has_leaders = leaders.peek().is_some();
    let limited = load.messages.is_some() || leaders.all(|fleet| fleet.messages.is_some());
    let ends_by_itself = limited && has_leaders;
    let duration = load.duration.or((!ends_by_itself).then_some(DEFAULT_DURATION));
    LoadPlan {
        warmup_us: load.warmup.map_or(0, Span::as_us),
        duration_us: duration.map(Span::as_us),
        stop_when_empty_us: load.stop_when.and_then(|stop| stop.empty).map(Span::as_us),
        stop_when_idle_us: load.stop_when.and_then(|stop| stop.idle).map(Span::as_us),
        drain_us: load.drain.unwrap_or(DEFAULT_DRAIN).as_us(),
        max_lag_us: load.max_lag.unwrap_or(DEFAULT_MAX_LAG).as_us(),
    }
}

/// The most messages of each fleet: its own limit, or its part of what the load's limit leaves the others.
pub(super) fn message_limits(scenario: &Scenario, problems: &mut Problems) -> Vec<Option<u64>> {
    let own: Vec<_> = scenario.producers.iter().map(|fleet| fleet.messages).collect();
    let Some(total) = scenario.load.as_ref().and_then(|load| load.messages) else { return own };
    let owned = own.iter().flatten().fold(0u64, |sum, messages| sum.saturating_add(*messages));
    let shares = |fleet: &Producer| fleet.messages.is_none() && fleet.follows.is_none();
    let sharing: Vec<_> = scenario.producers.iter().filter(|fleet| shares(fleet)).collect();
    if own.is_empty() {
        problems.add("load.messages", "there is no producer to send them");
        return own;
    }
    if owned > total || (sharing.is_empty() && owned != total) {
        let message = format!("the producers' own limits make {owned} messages, not {total}");
        problems.add_with_help("load.messages", message, "leave it out, or take a producer's own `messages` away");
        return own;
    }
    let rates: Option<Vec<_>> = sharing.iter().map(|fleet| initial_per_s(fleet.rate.as_ref())).collect();
    let mut portions = divide::in_proportion(total - owned, &rates.unwrap_or(vec![1.0; sharing.len()])).into_iter();
    let limit = |fleet: &Producer| if shares(fleet) { portions.next() } else { fleet.messages };
    scenario.producers.iter().map(limit).collect()
}

/// The offered load at the start, in messages per second; none where it has no proportion to others': `max`, or 0.
fn initial_per_s(rate: Option<&RatePlan>) -> Option<f64> {
    match rate? {
        RatePlan::Max => None,
        RatePlan::Constant(rate) => Some(*rate),
        RatePlan::Steps(steps) | RatePlan::Cycle(steps) => steps.first().map(|step| step.rate),
        RatePlan::Ramp(ramp) => Some(ramp.from),
    }
    .map(Rate::as_per_second)
    .filter(|rate| *rate > 0.0)
}
