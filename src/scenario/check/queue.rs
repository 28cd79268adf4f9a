//! `[[queue]]`: what each type of queue can do, and settings that need each other.
//!
//! What a type refuses was tried against RabbitMQ 4.0.5, which answers a declaration with 406 `invalid arg` or
//! `invalid property`.

use super::exchange::{check_arguments, check_bindings};
use super::names::{Names, check_key_length};
use crate::scenario::Scenario;
use crate::scenario::pattern;
use crate::scenario::problem::Problems;
use crate::scenario::topology::{DeadLetterStrategy, Overflow, Queue, QueueKind};
use crate::units::Span;

/// Arguments on the wire, and the keys that set them.
const OWN_ARGUMENTS: [(&str, &str); 13] = [
    ("x-queue-type", "kind"),
    ("x-message-ttl", "message_ttl"),
    ("x-expires", "expires"),
    ("x-max-length", "max_length"),
    ("x-max-length-bytes", "max_length_bytes"),
    ("x-overflow", "overflow"),
    ("x-max-priority", "max_priority"),
    ("x-dead-letter-exchange", "dead_letter"),
    ("x-dead-letter-routing-key", "dead_letter"),
    ("x-dead-letter-strategy", "dead_letter"),
    ("x-delivery-limit", "delivery_limit"),
    ("x-single-active-consumer", "single_active_consumer"),
    ("x-max-age", "max_age"),
];

const CLASSIC_INSTEAD: &str = "write `kind = \"classic\"`, or remove it";

pub(super) fn check(scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    for (index, queue) in scenario.queues.iter().enumerate() {
        let at = format!("queue[{index}]");
        match queue.kind.unwrap_or(QueueKind::Classic) {
            QueueKind::Classic => check_classic(&at, queue, problems),
            QueueKind::Quorum => check_quorum(&at, queue, problems),
            QueueKind::Stream => check_stream(&at, queue, problems),
        }
        check_limits(&at, queue, problems);
        check_times(&at, queue, problems);
        check_dead_letter(&at, queue, names, problems);
        check_numbers(&at, queue, problems);
        check_exclusive(index, queue, scenario, problems);
        check_arguments(&at, &queue.arguments, &OWN_ARGUMENTS, problems);
        check_bindings(&at, &queue.bind, names, problems);
    }
}

fn refuse(at: &str, key: &str, written: bool, message: &str, help: &str, problems: &mut Problems) {
    if written {
        problems.at(format!("{at}.{key}"), message).help(help);
    }
}

fn check_classic(at: &str, queue: &Queue, problems: &mut Problems) {
    refuse(
        at,
        "delivery_limit",
        queue.delivery_limit.is_some(),
        "classic queues have no delivery limit: a message that is requeued comes again for ever",
        "write `kind = \"quorum\"`, or remove `delivery_limit`",
        problems,
    );
    refuse(at, "max_age", queue.max_age.is_some(), "only streams have a `max_age`", "use `message_ttl`", problems);
    if queue.dead_letter.as_ref().is_some_and(|dead_letter| dead_letter.strategy.is_some()) {
        problems
            .at(format!("{at}.dead_letter.strategy"), "only quorum queues have a dead-letter strategy")
            .help("write `kind = \"quorum\"`, or remove `strategy`: a classic queue may lose dead letters on the way");
    }
}

/// What quorum queues and streams have in common: their replicas outlive connections and restarts.
fn check_replicated(at: &str, queue: &Queue, they: &str, problems: &mut Problems) {
    for (key, written, cannot) in [
        ("durable", queue.durable == Some(false), "are always durable"),
        ("exclusive", queue.exclusive == Some(true), "cannot be exclusive"),
        ("auto_delete", queue.auto_delete == Some(true), "cannot be deleted automatically"),
    ] {
        refuse(at, key, written, &format!("{they} {cannot}"), CLASSIC_INSTEAD, problems);
    }
}

fn check_quorum(at: &str, queue: &Queue, problems: &mut Problems) {
    check_replicated(at, queue, "quorum queues", problems);
    let mut no =
        |key: &str, written: bool, message: &str, help: &str| refuse(at, key, written, message, help, problems);
    no(
        "max_priority",
        queue.max_priority.is_some(),
        "quorum queues take no `max_priority`: they always have two priorities, 0 to 4 and 5 and above",
        CLASSIC_INSTEAD,
    );
    no("max_age", queue.max_age.is_some(), "only streams have a `max_age`", "use `message_ttl`");
    no(
        "overflow",
        queue.overflow == Some(Overflow::RejectPublishDlx),
        "quorum queues do not support `reject-publish-dlx`",
        "write `overflow = \"reject-publish\"`, or `kind = \"classic\"`",
    );
}

fn check_stream(at: &str, queue: &Queue, problems: &mut Problems) {
    check_replicated(at, queue, "streams", problems);
    let mut no =
        |key: &str, written: bool, message: &str, help: &str| refuse(at, key, written, message, help, problems);
    no("message_ttl", queue.message_ttl.is_some(), "streams have no time to live for messages", "use `max_age`");
    no("expires", queue.expires.is_some(), "streams do not expire", "remove it");
    no(
        "max_length",
        queue.max_length.is_some(),
        "streams are limited in bytes, not in messages",
        "use `max_length_bytes`",
    );
    no(
        "overflow",
        queue.overflow.is_some(),
        "streams drop their oldest segments; no other overflow exists",
        "remove it",
    );
    no("max_priority", queue.max_priority.is_some(), "streams have no priorities", CLASSIC_INSTEAD);
    no(
        "dead_letter",
        queue.dead_letter.is_some(),
        "streams do not dead-letter",
        "write `kind = \"quorum\"`, or remove it",
    );
    no(
        "delivery_limit",
        queue.delivery_limit.is_some(),
        "streams count no deliveries",
        "write `kind = \"quorum\"`, or remove it",
    );
    no(
        "single_active_consumer",
        queue.single_active_consumer.is_some(),
        "over AMQP 0-9-1, streams have no single active consumer",
        "write `kind = \"quorum\"`, or remove it",
    );
}

fn check_limits(at: &str, queue: &Queue, problems: &mut Problems) {
    let limited = queue.max_length.is_some() || queue.max_length_bytes.is_some();
    let at_least_once = strategy(queue) == Some(DeadLetterStrategy::AtLeastOnce);
    let Some(overflow) = queue.overflow else { return };
    if queue.kind == Some(QueueKind::Stream) {
        return;
    }
    // At-least-once dead-lettering asks for reject-publish even where no limit is set.
    let asked_for = at_least_once && overflow == Overflow::RejectPublish;
    if !limited && !asked_for {
        problems
            .at(format!("{at}.overflow"), "`overflow` has no effect: the queue has no length limit")
            .help("add `max_length` or `max_length_bytes`, or remove `overflow`");
    }
    if overflow == Overflow::RejectPublishDlx && queue.dead_letter.is_none() && queue.kind != Some(QueueKind::Quorum) {
        problems
            .at(format!("{at}.overflow"), "`reject-publish-dlx` has nowhere to send what it rejects")
            .help("add `dead_letter = { exchange = \"…\" }`, or write `overflow = \"reject-publish\"`");
    }
}

fn strategy(queue: &Queue) -> Option<DeadLetterStrategy> {
    queue.dead_letter.as_ref().and_then(|dead_letter| dead_letter.strategy)
}

/// Reports a time that is not a whole number of milliseconds, the broker's unit.
pub(super) fn check_milliseconds(key: &str, time: Span, problems: &mut Problems) {
    if !time.0.subsec_nanos().is_multiple_of(1_000_000) {
        problems
            .at(key, format!("the broker counts this time in milliseconds; {time} is not a whole number of them"))
            .help("write it like `\"500ms\"`");
    }
}

fn check_times(at: &str, queue: &Queue, problems: &mut Problems) {
    if let Some(ttl) = queue.message_ttl {
        check_milliseconds(&format!("{at}.message_ttl"), ttl, problems);
    }
    if let Some(expires) = queue.expires {
        let key = format!("{at}.expires");
        check_milliseconds(&key, expires, problems);
        if expires == Span::ZERO {
            problems
                .at(key, "a queue that expires at once cannot be declared")
                .help("write a longer time, such as `expires = \"30s\"`");
        }
    }
    if let Some(age) = &queue.max_age {
        let number = age.strip_suffix(['Y', 'M', 'D', 'h', 'm', 's']).unwrap_or_default();
        if number.parse::<u32>().map_or(true, |number| number == 0) || number.starts_with('+') {
            problems
                .at(format!("{at}.max_age"), format!("`{age}` is not an age of a stream"))
                .help("write it the broker's way: a number and one of Y, M, D, h, m and s, such as `7D` or `1h`");
        }
    }
}

fn check_dead_letter(at: &str, queue: &Queue, names: &Names<'_>, problems: &mut Problems) {
    let Some(dead_letter) = &queue.dead_letter else { return };
    names.require_exchange(&format!("{at}.dead_letter.exchange"), &dead_letter.exchange, problems);
    if let Some(key) = &dead_letter.key {
        check_key_length(&format!("{at}.dead_letter.key"), key, problems);
    }
    let at_least_once = dead_letter.strategy == Some(DeadLetterStrategy::AtLeastOnce);
    let is_quorum = queue.kind == Some(QueueKind::Quorum);
    if at_least_once && is_quorum && queue.overflow != Some(Overflow::RejectPublish) {
        problems
            .at(
                format!("{at}.dead_letter.strategy"),
                "at-least-once dead-lettering needs `overflow = \"reject-publish\"`; \
                 without it the broker falls back to at-most-once and says nothing",
            )
            .help("add `overflow = \"reject-publish\"` to the queue");
    }
}

fn check_numbers(at: &str, queue: &Queue, problems: &mut Problems) {
    if queue.max_priority == Some(0) && queue.kind.unwrap_or(QueueKind::Classic) == QueueKind::Classic {
        problems
            .at(format!("{at}.max_priority"), "a queue with 0 priorities has none")
            .help("write a number from 1 to 255, or remove it; few priorities cost the broker less");
    }
    let numbered = pattern::expand_numbered(&queue.name).map_or(true, |names| names.iter().all(|n| n.number.is_some()));
    if numbered {
        return;
    }
    let mut texts: Vec<(String, &str)> = Vec::new();
    for (index, binding) in queue.bind.iter().enumerate() {
        texts.push((format!("{at}.bind[{index}].exchange"), &binding.exchange));
        texts.extend(binding.key.iter().map(|key| (format!("{at}.bind[{index}].key"), key.as_str())));
    }
    if let Some(dead_letter) = &queue.dead_letter {
        texts.push((format!("{at}.dead_letter.exchange"), &dead_letter.exchange));
        texts.extend(dead_letter.key.iter().map(|key| (format!("{at}.dead_letter.key"), key.as_str())));
    }
    for (key, text) in texts.into_iter().filter(|(_, text)| text.contains("{}")) {
        problems
            .at(key, format!("`{{}}` in `{text}` stands for the queue's number, but its name is no pattern"))
            .help(format!("name the queue with a range, such as `{}.{{1..100}}`", queue.name));
    }
}

/// An exclusive queue belongs to the connection that declares it: that of its one consumer.
fn check_exclusive(index: usize, queue: &Queue, scenario: &Scenario, problems: &mut Problems) {
    if queue.exclusive != Some(true) || matches!(queue.kind, Some(QueueKind::Quorum | QueueKind::Stream)) {
        return;
    }
    let Ok(names) = pattern::expand(&queue.name) else { return };
    let key = format!("queue[{index}].exclusive");
    let mut users = Vec::new();
    for (place, consumer) in scenario.consumers.iter().enumerate() {
        let consumed = pattern::expand(&consumer.queue).unwrap_or_default();
        if consumed.iter().any(|name| names.contains(name)) {
            users.push((place, consumer));
        }
    }
    let help = "exactly one consumer, on one connection: `count = 1` and `connections = 1`";
    match users.as_slice() {
        [] => {
            problems
                .at(key, "nobody declares the exclusive queue: it belongs to the connection of its consumer")
                .help(format!("add `[[consumer]]` with `queue = {:?}`, or remove `exclusive`", queue.name));
        }
        [(place, consumer)] => {
            let connections =
                u64::from(consumer.count.unwrap_or(1)).saturating_mul(u64::from(consumer.connections.unwrap_or(1)));
            if connections > 1 {
                let message =
                    format!("an exclusive queue belongs to one connection, but `{}` has {connections}", consumer.name);
                problems.at(key, message).help(help).see(format!("consumer[{place}].name"), "consumes from it");
            }
        }
        [(first, _), .., (last, _)] => {
            problems
                .at(key, format!("an exclusive queue belongs to one connection, but {} fleets consume", users.len()))
                .help(help)
                .see(format!("consumer[{first}].queue"), "one")
                .see(format!("consumer[{last}].queue"), "another");
        }
    }
}
