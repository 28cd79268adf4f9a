//! `[[consumer]] fail`: that a consumer can fail a message, that a rule can come to its turn, and that it means something.

use std::collections::BTreeSet;

use crate::scenario::consumer::{Ack, Consumer};
use crate::scenario::failing::{FailKind, FailRule};
use crate::scenario::fault::Pick;
use crate::scenario::pattern;
use crate::scenario::problem::Problems;
use crate::scenario::topology::QueueKind;

/// Shares of decimal numbers do not add up to 1 to the last bit.
const ROUNDING: f64 = 1e-9;

pub(super) fn check(at: &str, consumer: &Consumer, kinds: &[QueueKind], problems: &mut Problems) {
    let Some(rules) = &consumer.fail else { return };
    let key = format!("{at}.fail");
    if rules.is_empty() {
        problems.at(&key, "an empty list fails nothing").help("remove it, or write a rule");
    }
    if consumer.ack == Some(Ack::Auto) {
        problems
            .at(&key, "with automatic acks the broker has forgotten a message before it can fail")
            .help("ack by hand: `ack = \"manual\"`, or remove `fail`")
            .see(format!("{at}.ack"), "acks are automatic");
    }
    if kinds.contains(&QueueKind::Stream) {
        problems
            .at(&key, "a stream takes no message back and dead-letters none: every ack means the same to it")
            .help("consume from a classic or a quorum queue, or remove `fail`");
    }
    // Of a rule that is written without a list, the whole is pointed at.
    let path = |place: usize| format!("{key}[{place}]");
    for (place, rule) in rules.iter().enumerate() {
        check_rule(&path(place), rule, problems);
    }
    if rules.iter().any(|rule| rule.rate.is_some_and(|rate| !is_share(rate))) {
        return;
    }
    let mut taken = 0.0;
    for (place, rule) in rules.iter().enumerate() {
        if taken >= 1.0 - ROUNDING {
            problems
                .at(path(place), "the rules before it are for all messages: it never comes to its turn")
                .help("put it first, or lower their `rate`");
            return;
        }
        if rule.routing_key.is_none() && rule.pick.is_none() {
            taken += rule.rate.unwrap_or(1.0);
        }
        if taken > 1.0 + ROUNDING {
            problems
                .at(format!("{}.rate", path(place)), format!("the rates add up to {taken:.3}: that is more than all"))
                .help("rates are shares of the same messages, and add up to 1 at the most");
            return;
        }
    }
}

/// What comes again is an attempt only where the same fleet failed it before: of two, each would know its own failures,
/// and call those of the other repetitions.
pub(super) fn check_sharing(index: usize, consumers: &[Consumer], problems: &mut Problems) {
    let queues = |fleet: &Consumer| -> BTreeSet<String> {
        pattern::expand(&fleet.queue).unwrap_or_default().into_iter().collect()
    };
    let Some(consumer) = consumers.get(index).filter(|consumer| consumer.fail.is_some()) else { return };
    let own = queues(consumer);
    let others = consumers.iter().enumerate().filter(|(other, _)| *other != index);
    // Two that both fail messages are told once, at the later one.
    let mut others = others.filter(|(other, fleet)| fleet.fail.is_none() || *other < index);
    if let Some((other, fleet)) = others.find(|(_, fleet)| !queues(fleet).is_disjoint(&own)) {
        problems
            .at(
                format!("consumer[{index}].fail"),
                format!("`{}` consumes from the same queue: what one fails the other may get next", fleet.name),
            )
            .help("give each fleet a queue of its own, or make them one fleet with a larger `count`")
            .see(format!("consumer[{other}].queue"), "the same queue");
    }
}

fn is_share(rate: f64) -> bool {
    rate > 0.0 && rate <= 1.0
}

fn check_slow(at: &str, rule: &FailRule, problems: &mut Problems) {
    match (rule.kind == Some(FailKind::Slow), rule.takes) {
        (true, None) => {
            problems.at(at, "it does not say how long a slow message takes").help("such as `takes = \"500ms\"`");
        }
        (false, Some(_)) => {
            problems.at(format!("{at}.takes"), "only slow messages take longer").help("write `kind = \"slow\"`");
        }
        _ => {}
    }
    if rule.kind == Some(FailKind::Slow) && rule.then.is_some() {
        problems.at(format!("{at}.then"), "a slow message does not fail").help("remove it");
    }
}

fn check_rule(at: &str, rule: &FailRule, problems: &mut Problems) {
    if let Some(rate) = rule.rate.filter(|rate| !is_share(*rate)) {
        problems
            .at(format!("{at}.rate"), format!("{rate} is no share of the messages"))
            .help("it is above 0 and at most 1");
    }
    match (rule.kind, rule.times) {
        (Some(FailKind::Permanent), Some(times)) => {
            problems
                .at(format!("{at}.times"), format!("a permanent failure does not work after {times} times either"))
                .help("remove `times`, or write `kind = \"transient\"`")
                .see(format!("{at}.kind"), "permanent");
        }
        (Some(FailKind::Slow), Some(_)) => {
            problems.at(format!("{at}.times"), "a slow message does not fail").help("remove it");
        }
        (_, Some(0)) => {
            problems.at(format!("{at}.times"), "what fails 0 times works").help("write `times = 1`, or more");
        }
        _ => {}
    }
    check_slow(at, rule, problems);
    if rule.routing_key.as_ref().is_some_and(|pattern| pattern.len() > 255) {
        problems.at(format!("{at}.routing_key"), "longer than AMQP allows").help("at most 255 bytes");
    }
    let Some(Pick { first, every, times }) = rule.pick else { return };
    for (key, _) in [("first", first), ("every", every), ("times", times)].iter().filter(|(_, n)| *n == Some(0)) {
        problems.at(format!("{at}.pick.{key}"), "0 picks nothing").help(format!("`{key}` is at least 1"));
    }
}
