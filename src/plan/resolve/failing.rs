//! What consumers fail: defaults filled in, and each rule held against the routing keys that there are.

use std::collections::BTreeSet;

use super::Problems;
use super::faults::picks;
use super::values::listed;
use crate::plan::ProducerFleet;
use crate::plan::draw::{self, Lane};
use crate::plan::failing::{FailLasts, FailPlan, FailRule, FailThen, is_key_of};
use crate::scenario::failing::{self as written, FailKind};
use crate::units::Span;

pub(super) fn resolve(
    path: &str,
    rules: &[written::FailRule],
    (seed, fleet): (u64, usize),
    producers: &[ProducerFleet],
    problems: &mut Problems,
) -> FailPlan {
    for (place, rule) in rules.iter().enumerate() {
        if let Some(pattern) = &rule.routing_key {
            check_key(&format!("{path}.fail[{place}].routing_key"), pattern, producers, problems);
        }
    }
    FailPlan { seed: draw::bits(seed, Lane::Fail, fleet as u64), rules: rules.iter().map(rule).collect() }
}

fn rule(written: &written::FailRule) -> FailRule {
    FailRule {
        rate: written.rate.unwrap_or(1.0),
        routing_key: written.routing_key.clone(),
        picks: written.pick.map(|pick| picks(Some(pick))),
        lasts: match written.kind.unwrap_or(FailKind::Transient) {
            FailKind::Transient => FailLasts::Transient { times: written.times.unwrap_or(1) },
            FailKind::Permanent => FailLasts::Permanent,
            FailKind::Slow => FailLasts::Slow { us: written.takes.map_or(0, Span::as_us) },
        },
        then: written.then.unwrap_or(FailThen::Requeue),
    }
}

/// A rule for routing keys that nobody sends would never fail anything, and nobody would know.
fn check_key(key: &str, pattern: &str, producers: &[ProducerFleet], problems: &mut Problems) {
    let mut sent = producers.iter().flat_map(|fleet| &fleet.routes).map(|route| route.key.as_str());
    if !sent.any(|key| is_key_of(pattern, key)) {
        let known: BTreeSet<&str> =
            producers.iter().flat_map(|fleet| &fleet.routes).map(|route| route.key.as_str()).collect();
        let help = format!("write a pattern of one that is sent; {}", listed(known.into_iter()));
        problems.add_with_help(key, format!("no message has a routing key like `{pattern}`"), help);
    }
}
