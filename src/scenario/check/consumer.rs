//! `[[consumer]]`: what goes with which way to consume, and with which type of queue.

use super::failing;
use super::fleet;
use super::names::Names;
use crate::scenario::Scenario;
use crate::scenario::consumer::{Ack, Consumer, PrefetchScope, Work};
use crate::scenario::problem::Problems;
use crate::scenario::topology::QueueKind;
use crate::units::Span;

/// Prefetch where none is written, as the manual of `consumer.prefetch` says.
const DEFAULT_PREFETCH: u16 = 100;

pub(super) fn check(scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    for (index, consumer) in scenario.consumers.iter().enumerate() {
        let at = format!("consumer[{index}]");
        names.require_queues(&format!("{at}.queue"), &consumer.queue, problems);
        let kinds: Vec<QueueKind> =
            names.queues(&consumer.queue).unwrap_or_default().into_iter().map(|place| names.kind(place)).collect();
        check_ack(&at, consumer, problems);
        check_scope(&at, consumer, &kinds, problems);
        check_poll(&at, consumer, &kinds, problems);
        check_stream(&at, consumer, &kinds, problems);
        check_work(&at, consumer, problems);
        failing::check(&at, consumer, &kinds, problems);
        failing::check_sharing(index, &scenario.consumers, problems);
        check_start(&at, consumer, scenario, problems);
    }
}

fn check_ack(at: &str, consumer: &Consumer, problems: &mut Problems) {
    match consumer.ack {
        Some(Ack::Auto) if consumer.prefetch.is_some() => {
            problems
                .at(
                    format!("{at}.prefetch"),
                    "`prefetch` has no effect with automatic acks: the broker sends without limit",
                )
                .help("remove it, or ack by hand: `ack = \"manual\"`")
                .see(format!("{at}.ack"), "acks are automatic");
        }
        Some(Ack::Manual(manual)) => {
            let batch = manual.batch.unwrap_or(1);
            let prefetch = consumer.prefetch.unwrap_or(DEFAULT_PREFETCH);
            if batch == 0 {
                problems
                    .at(format!("{at}.ack.batch"), "an ack settles at least one message")
                    .help("write `batch = 1`, or more");
            } else if consumer.poll.is_none() && prefetch > 0 && batch > u32::from(prefetch) {
                let which = if consumer.prefetch.is_some() { "" } else { " by default" };
                problems
                    .at(
                        format!("{at}.ack.batch"),
                        format!(
                            "a batch of {batch} is never full: the broker sends at most {prefetch} messages ahead of \
                             their acks{which}"
                        ),
                    )
                    .help(format!("write `batch` of at most {prefetch}, or `prefetch` of at least {batch}"))
                    .see(format!("{at}.prefetch"), "the limit");
            }
        }
        Some(Ack::Auto) | None => {}
    }
}

fn check_scope(at: &str, consumer: &Consumer, kinds: &[QueueKind], problems: &mut Problems) {
    if consumer.prefetch_scope != Some(PrefetchScope::Channel) {
        return;
    }
    let refusing = kinds.iter().find(|kind| **kind != QueueKind::Classic);
    if let Some(kind) = refusing {
        let what = if *kind == QueueKind::Quorum { "quorum queues" } else { "streams" };
        problems
            .at(format!("{at}.prefetch_scope"), format!("{what} refuse a prefetch that counts the whole channel"))
            .help("write `prefetch_scope = \"consumer\"`, or consume from classic queues");
    }
}

fn check_poll(at: &str, consumer: &Consumer, kinds: &[QueueKind], problems: &mut Problems) {
    let Some(poll) = consumer.poll else { return };
    if poll == Span::ZERO {
        problems
            .at(format!("{at}.poll"), "polling an empty queue without a pause would only load the broker")
            .help("write how long to wait, such as `poll = \"10ms\"`");
    }
    let of_subscriptions = [
        ("prefetch", consumer.prefetch.is_some()),
        ("prefetch_scope", consumer.prefetch_scope.is_some()),
        ("priority", consumer.priority.is_some()),
        ("offset", consumer.offset.is_some()),
    ];
    for (key, _) in of_subscriptions.into_iter().filter(|(_, written)| *written) {
        problems
            .at(format!("{at}.{key}"), format!("`{key}` belongs to subscriptions, but this fleet polls"))
            .help(format!("remove `{key}`, or `poll`"))
            .see(format!("{at}.poll"), "polls");
    }
    if kinds.contains(&QueueKind::Stream) {
        problems
            .at(format!("{at}.poll"), "a stream cannot be polled: the broker refuses `basic.get` on it")
            .help("remove `poll`");
    }
}

fn check_stream(at: &str, consumer: &Consumer, kinds: &[QueueKind], problems: &mut Problems) {
    if !kinds.contains(&QueueKind::Stream) {
        if consumer.offset.is_some() && consumer.poll.is_none() && !kinds.is_empty() {
            problems
                .at(format!("{at}.offset"), format!("`{}` is no stream, and only streams have offsets", consumer.queue))
                .help("remove `offset`, or write `kind = \"stream\"` in the queue");
        }
        return;
    }
    if consumer.poll.is_some() {
        return;
    }
    if consumer.ack == Some(Ack::Auto) {
        problems
            .at(format!("{at}.ack"), "a stream needs manual acks: they are the credit for its next messages")
            .help("write `ack = \"manual\"`, or leave it out");
    } else if consumer.prefetch == Some(0) {
        problems
            .at(format!("{at}.prefetch"), "a stream needs a prefetch above 0")
            .help("write a number such as `prefetch = 100`, or leave it out");
    }
}

fn check_work(at: &str, consumer: &Consumer, problems: &mut Problems) {
    match consumer.work {
        Some(Work::Uniform(range)) if range.min > range.max => {
            problems
                .at(
                    format!("{at}.work.uniform.min"),
                    format!("the range begins at {} and ends at {}", range.min, range.max),
                )
                .help("write the shorter time as `min`");
        }
        Some(Work::LogNormal(work)) if !work.sigma.is_finite() || work.sigma < 0.0 => {
            problems
                .at(format!("{at}.work.lognormal.sigma"), format!("{} is not a standard deviation", work.sigma))
                .help("write 0 or more; 0.5 is moderate, 1 has a long tail");
        }
        _ => {}
    }
}

fn check_start(at: &str, consumer: &Consumer, scenario: &Scenario, problems: &mut Problems) {
    if let (Some(delay), Some(load)) = (consumer.start_delay, fleet::load_time(scenario))
        && delay >= load
    {
        problems
            .at(format!("{at}.start_delay"), format!("the fleet would start after {delay}, but the load lasts {load}"))
            .help("write a shorter time, or a longer `load.duration`")
            .see("load.duration", "the load");
    }
}
