//! `[[retry]]`: that its queue is there, that it says when, and that its names are free; and that somebody uses it.

use crate::scenario::broker::Provider;
use crate::scenario::consumer::Consumer;
use crate::scenario::failing::FailThen;
use crate::scenario::problem::Problems;
use crate::scenario::retry::{Retry, RetryKind};
use crate::scenario::topology::{DeadLetterStrategy, Queue, QueueKind};
use crate::scenario::{Scenario, pattern};
use crate::units::Span;

/// Each is a queue.
const STEPS_MAX: usize = 100;
const SHORTEST: Span = Span::from_millis(1);

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    for (place, retry) in scenario.retries.iter().enumerate() {
        check_one(&format!("retry[{place}]"), retry, (place, scenario), problems);
    }
    for (place, consumer) in scenario.consumers.iter().enumerate() {
        check_consumer(place, consumer, scenario, problems);
    }
}

fn check_one(at: &str, retry: &Retry, (place, scenario): (usize, &Scenario), problems: &mut Problems) {
    if let Some(other) = scenario.retries[..place].iter().position(|other| other.queue == retry.queue) {
        problems
            .at(format!("{at}.queue"), format!("`{}` has a [[retry]] already", retry.queue))
            .help("keep one of them")
            .see(format!("retry[{other}].queue"), "the other one");
    }
    let Some((number, queue)) = scenario.queues.iter().enumerate().find(|(_, queue)| queue.name == retry.queue) else {
        problems
            .at(format!("{at}.queue"), format!("there is no queue `{}`", retry.queue))
            .help("name a [[queue]] that is written without a pattern");
        return;
    };
    let key = format!("queue[{number}]");
    check_queue(at, retry, (&key, queue), problems);
    check_delays(at, retry, problems);
    check_plugin(at, retry, scenario, problems);
    let (exchanges, queues) = retry.stands_for(queue);
    let taken = exchanges.iter().filter(|name| scenario.exchanges.iter().any(|it| it.name == **name));
    let taken = taken.chain(queues.iter().filter(|name| scenario.queues.iter().any(|it| it.name == **name)));
    for name in taken {
        problems
            .at(format!("{at}.queue"), format!("`{name}` is what this [[retry]] would declare, and is there already"))
            .help("remove that one, or give it another name");
    }
    let is_used = |consumer: &Consumer| consumes(consumer, &retry.queue) && retries(consumer);
    if retry.kind != RetryKind::DeliveryLimit && !scenario.consumers.iter().any(is_used) {
        problems
            .at(
                at,
                format!(
                    "no consumer of `{}` fails a message with `then = \"retry\"`: it would never be used",
                    retry.queue
                ),
            )
            .help("remove it, or write such a rule into `fail`");
    }
}

fn check_queue(at: &str, retry: &Retry, (key, queue): (&str, &Queue), problems: &mut Problems) {
    let kind = queue.kind.unwrap_or(QueueKind::Classic);
    if kind == QueueKind::Stream {
        problems
            .at(format!("{at}.queue"), "a stream takes no message back")
            .help("name a classic or a quorum queue")
            .see(format!("{key}.kind"), "a stream");
    }
    if retry.dead_letter_queue.is_some() && queue.dead_letter.is_some() {
        problems
            .at(format!("{at}.dead_letter_queue"), "the queue has a dead-letter exchange of its own")
            .help("keep one of them")
            .see(format!("{key}.dead_letter"), "here");
    }
    let is_quorum = kind == QueueKind::Quorum;
    if retry.strategy == Some(DeadLetterStrategy::AtLeastOnce) && !is_quorum {
        problems
            .at(format!("{at}.strategy"), "only quorum queues dead-letter at least once")
            .help("write `kind = \"quorum\"` into the queue, or remove `strategy`");
    }
    if retry.kind == RetryKind::DeliveryLimit && !is_quorum {
        problems
            .at(format!("{at}.kind"), "only quorum queues have a delivery limit")
            .help("write `kind = \"quorum\"` into the queue");
    }
    if retry.limit.is_some() && queue.delivery_limit.is_some() {
        problems
            .at(format!("{at}.limit"), "the queue has a delivery limit of its own")
            .help("keep one of them")
            .see(format!("{key}.delivery_limit"), "here");
    }
}

/// The plugin that a broker of our own would not have.
fn check_plugin(at: &str, retry: &Retry, scenario: &Scenario, problems: &mut Problems) {
    const PLUGIN: &str = "rabbitmq_delayed_message_exchange";
    let broker = scenario.broker.clone().unwrap_or_default();
    let is_there = broker.plugins.iter().any(|name| name == PLUGIN) || broker.provider == Some(Provider::External);
    if retry.kind == RetryKind::DelayedExchange && !is_there {
        problems
            .at(format!("{at}.kind"), format!("it takes the plugin `{PLUGIN}`, which does not come with RabbitMQ"))
            .help(format!(
                "write `plugins = [\"{PLUGIN}\"]` into `[broker]`, with an `image` that has it, or use `kind = \"ladder\"`"
            ));
    }
}

fn check_delays(at: &str, retry: &Retry, problems: &mut Problems) {
    let waits = retry.kind != RetryKind::DeliveryLimit;
    if !waits {
        if retry.limit.is_none() {
            problems.at(at, "a delivery limit needs a `limit`").help("such as `limit = 3`");
        }
        for (key, is_there) in [
            ("delays", retry.delays.is_some()),
            ("backoff", retry.backoff.is_some()),
            ("jitter", retry.jitter.is_some()),
        ] {
            if is_there {
                problems.at(format!("{at}.{key}"), "a message goes back at once: nothing waits").help("remove it");
            }
        }
        return;
    }
    if retry.limit.is_some() {
        problems
            .at(format!("{at}.limit"), "there are as many further attempts as delays")
            .help("remove it, or write as many delays");
    }
    match (&retry.delays, &retry.backoff) {
        (None, None) => {
            problems.at(at, "it does not say how long a message waits").help("such as `delays = [\"1s\", \"5s\"]`");
            return;
        }
        (Some(_), Some(_)) => {
            problems.at(format!("{at}.backoff"), "`delays` says how long already").help("keep one of them");
        }
        _ => {}
    }
    if let Some(backoff) = retry.backoff {
        if backoff.factor.is_some_and(|factor| !(1.0..=1_000.0).contains(&factor)) {
            problems.at(format!("{at}.backoff.factor"), "a delay does not shrink").help("from 1 to 1000");
        }
        if backoff.steps as usize > STEPS_MAX || backoff.steps == 0 {
            problems.at(format!("{at}.backoff.steps"), format!("from 1 to {STEPS_MAX} steps")).help("such as 3");
            return;
        }
    }
    let delays = retry.all_delays();
    let key = if retry.delays.is_some() { "delays" } else { "backoff.first" };
    if delays.is_empty() || delays.len() > STEPS_MAX {
        problems.at(format!("{at}.{key}"), format!("from 1 to {STEPS_MAX} delays")).help("such as `[\"1s\", \"5s\"]`");
    }
    if delays.iter().any(|delay| *delay < SHORTEST) {
        problems.at(format!("{at}.{key}"), "the broker counts whole milliseconds").help("at least \"1ms\"");
    }
    if retry.jitter.is_some_and(|jitter| !(0.0..=1.0).contains(&jitter)) {
        problems.at(format!("{at}.jitter"), "it is a share of the delay").help("from 0 to 1");
    }
}

fn consumes(consumer: &Consumer, queue: &str) -> bool {
    pattern::expand(&consumer.queue).unwrap_or_default().iter().any(|name| name == queue)
}

fn retries(consumer: &Consumer) -> bool {
    consumer.fail.iter().flatten().any(|rule| rule.then == Some(FailThen::Retry))
}

/// Whoever tries again needs to be told how, for each of its queues.
fn check_consumer(place: usize, consumer: &Consumer, scenario: &Scenario, problems: &mut Problems) {
    let rules = consumer.fail.as_deref().unwrap_or_default();
    let Some(rule) = rules.iter().position(|rule| rule.then == Some(FailThen::Retry)) else { return };
    let says_how = |name: &String| {
        scenario.retries.iter().any(|retry| retry.queue == *name && retry.kind != RetryKind::DeliveryLimit)
    };
    let queues = pattern::expand(&consumer.queue).unwrap_or_default();
    if let Some(missing) = queues.iter().find(|name| !says_how(name)) {
        problems
            .at(
                format!("consumer[{place}].fail[{rule}].then"),
                format!("there is no [[retry]] that says how `{missing}` is tried again"),
            )
            .help("write one with `kind = \"ladder\"`, `\"in-consumer\"` or `\"delayed-exchange\"`");
    }
}
