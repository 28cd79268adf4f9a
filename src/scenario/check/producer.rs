//! `[[producer]]`: where messages go, how fast, how large, and whether confirms are asked for.

use super::names::{Names, check_key_length, report_pattern};
use super::queue::check_milliseconds;
use super::{fleet, names};
use crate::scenario::Scenario;
use crate::scenario::pattern;
use crate::scenario::problem::Problems;
use crate::scenario::producer::{Again, Body, Confirm, Producer, Properties, RatePlan, RateStep, RoutingKey, Size};
use crate::units::{ByteSize, Span};

/// Bytes that the stamp takes at the beginning of a body.
const STAMP: ByteSize = ByteSize(24);

/// Largest message of RabbitMQ before 4.0, and what it can be set to at most later is beyond any benchmark's use.
const MAX_SIZE: ByteSize = ByteSize(128 << 20);

/// Most unconfirmed messages of one publisher.
const MAX_WINDOW: u32 = 65_535;

pub(super) fn check(scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    for (index, producer) in scenario.producers.iter().enumerate() {
        let at = format!("producer[{index}]");
        check_target(&at, producer, scenario, names, problems);
        check_rate(&at, producer, problems);
        check_random_start(&at, producer, scenario, problems);
        check_size(&at, producer, problems);
        check_confirm(&at, producer, problems);
        check_backoff(&at, producer, problems);
        if producer.messages == Some(0) {
            problems
                .at(format!("{at}.messages"), "a fleet that may send 0 messages does nothing")
                .help("write a larger number, or remove `messages`: then the load alone limits it");
        }
        if let Some(properties) = &producer.properties {
            check_properties(&at, properties, problems);
        }
    }
}

fn check_target(at: &str, producer: &Producer, scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    match &producer.exchange {
        Some(exchange) => {
            let key = format!("{at}.exchange");
            names.require_exchange(&key, exchange, problems);
            let internal = |declared: &&crate::scenario::Exchange| declared.name == *exchange;
            if scenario.exchanges.iter().find(internal).is_some_and(|declared| declared.internal == Some(true)) {
                problems
                    .at(key, format!("`{exchange}` is internal: the broker takes no messages for it from a client"))
                    .help("publish to an exchange that is bound to it, or remove `internal`");
            }
        }
        None if producer.routing_key.is_none() => {
            problems
                .at(format!("{at}.routing_key"), format!("`{}` publishes nowhere", producer.name))
                .help("name a queue as `routing_key`, or an `exchange`");
        }
        None => {}
    }
    check_routing_key(at, producer.routing_key.as_ref(), problems);
}

fn check_routing_key(at: &str, routing_key: Option<&RoutingKey>, problems: &mut Problems) {
    let at = format!("{at}.routing_key");
    match routing_key {
        Some(RoutingKey::Fixed(text)) => {
            if let Err(error) = pattern::expand(text) {
                report_pattern(&at, &error, problems);
            }
            check_key_length(&at, text, problems);
        }
        Some(RoutingKey::Choice(choices)) => {
            check_weights(&at, choices.iter().map(|choice| choice.weight), problems);
            for (index, choice) in choices.iter().enumerate() {
                let at = format!("{at}.choice[{index}].key");
                names::check_key_length(&at, &choice.key, problems);
                if pattern::expand_numbered(&choice.key).is_ok_and(|names| names.iter().any(|n| n.number.is_some())) {
                    problems
                        .at(at, "a key among others cannot be a pattern")
                        .help("write `routing_key` as one pattern, whose keys are taken in turn, or list the keys");
                }
            }
        }
        None => {}
    }
}

/// Weights of a `choice`, which may be left out.
fn check_weights(at: &str, weights: impl Iterator<Item = Option<f64>> + Clone, problems: &mut Problems) {
    if weights.clone().next().is_none() {
        problems.at(format!("{at}.choice"), "there is nothing to choose from").help("list at least one choice");
        return;
    }
    let weights = weights.map(|weight| weight.unwrap_or(1.0));
    let mut sound = true;
    for (index, weight) in weights.clone().enumerate().filter(|(_, weight)| !weight.is_finite() || *weight < 0.0) {
        sound = false;
        problems
            .at(format!("{at}.choice[{index}].weight"), format!("{weight} is not a weight"))
            .help("write 0 or more; a choice of weight 2 is drawn twice as often as one of weight 1");
    }
    if sound && weights.sum::<f64>() <= 0.0 {
        problems
            .at(format!("{at}.choice"), "every weight is 0, so that nothing would ever be drawn")
            .help("give at least one choice a weight above 0");
    }
}

fn check_rate(at: &str, producer: &Producer, problems: &mut Problems) {
    let at = format!("{at}.rate");
    match &producer.rate {
        Some(RatePlan::Steps(steps)) => check_steps(&format!("{at}.steps"), steps, problems),
        Some(RatePlan::Cycle(steps)) => check_steps(&format!("{at}.cycle"), steps, problems),
        Some(RatePlan::Ramp(ramp)) if ramp.lasting == Span::ZERO => {
            problems
                .at(format!("{at}.ramp.for"), "a ramp of no length is a jump")
                .help("write how long the change takes, such as `for = \"30s\"`, or use `steps`");
        }
        Some(RatePlan::Ramp(_) | RatePlan::Max | RatePlan::Constant(_)) | None => {}
    }
}

fn check_steps(at: &str, steps: &[RateStep], problems: &mut Problems) {
    if steps.is_empty() {
        problems.at(at, "there are no steps").help("write at least one: `{ rate = \"100/s\", for = \"10s\" }`");
    }
    for (index, _) in steps.iter().enumerate().filter(|(_, step)| step.lasting == Span::ZERO) {
        problems.at(format!("{at}[{index}].for"), "a step of no length does nothing").help("write how long it lasts");
    }
}

fn check_random_start(at: &str, producer: &Producer, scenario: &Scenario, problems: &mut Problems) {
    if let (Some(start), Some(load)) = (producer.random_start, fleet::load_time(scenario))
        && start > load
    {
        problems
            .at(
                format!("{at}.random_start"),
                format!("members may start up to {start} late, but the load lasts {load}"),
            )
            .help("write a shorter time, or a longer `load.duration`")
            .see("load.duration", "the load");
    }
}

fn check_size(at: &str, producer: &Producer, problems: &mut Problems) {
    if let Some(Body::Compressible(ratio)) = producer.body
        && !(ratio > 0.0 && ratio <= 1.0)
    {
        problems
            .at(format!("{at}.body.compressible"), format!("a body cannot compress to {ratio} of its size"))
            .help("write a share above 0 and up to 1, such as 0.5");
    }
    let Some(size) = &producer.size else { return };
    let at = format!("{at}.size");
    if let Some(Body::Template(_)) = producer.body {
        problems
            .at(at, "a template is as long as its text; `size` contradicts it")
            .help("remove `size`, or the template");
        return;
    }
    match size {
        Size::Fixed(size) => check_bytes(&at, *size, problems),
        Size::Range(range) => {
            check_bytes(&format!("{at}.min"), range.min, problems);
            check_bytes(&format!("{at}.max"), range.max, problems);
            if range.min > range.max {
                problems
                    .at(format!("{at}.min"), format!("the range begins at {} and ends at {}", range.min, range.max))
                    .help("write the smaller size as `min`");
            }
        }
        Size::Choice(choices) => {
            for (index, choice) in choices.iter().enumerate() {
                check_bytes(&format!("{at}.choice[{index}].size"), choice.size, problems);
            }
            check_weights(&at, choices.iter().map(|choice| choice.weight), problems);
        }
    }
}

fn check_bytes(key: &str, size: ByteSize, problems: &mut Problems) {
    if size < STAMP {
        problems
            .at(key, format!("{size} is too small: the stamp that identifies a message takes {STAMP}"))
            .help(format!("write `{STAMP}` or more"));
    } else if size > MAX_SIZE {
        problems.at(key, format!("{size} is too large for a message")).help(format!("at most {MAX_SIZE} are allowed"));
    }
}

fn check_confirm(at: &str, producer: &Producer, problems: &mut Problems) {
    match &producer.confirm {
        Some(Confirm::Off) => {
            let given = [
                ("on_unconfirmed", producer.on_unconfirmed.is_some(), "unconfirmed"),
                ("on_nacked", producer.on_nacked.is_some(), "nacked"),
            ];
            for (key, _, what) in given.into_iter().filter(|(_, given, _)| *given) {
                problems
                    .at(format!("{at}.{key}"), format!("with confirms off no message is ever {what}"))
                    .help(format!("remove `{key}`, or `confirm = \"off\"`"))
                    .see(format!("{at}.confirm"), "confirms are off");
            }
        }
        Some(Confirm::Window(confirm)) => {
            if let Some(window) = confirm.window.filter(|window| !(1..=MAX_WINDOW).contains(window)) {
                problems
                    .at(format!("{at}.confirm.window"), format!("a window of {window} messages is out of range"))
                    .help(format!("it goes from 1 to {MAX_WINDOW}; `confirm = \"off\"` waits for no confirms"));
            }
            if confirm.timeout == Some(Span::ZERO) {
                problems
                    .at(format!("{at}.confirm.timeout"), "no confirm comes in no time")
                    .help("write how long to wait, such as `timeout = \"10s\"`");
            }
        }
        None => {}
    }
}

fn check_backoff(at: &str, producer: &Producer, problems: &mut Problems) {
    let Some(backoff) = producer.backoff else { return };
    let at = format!("{at}.backoff");
    let republishes = [producer.on_unconfirmed, producer.on_nacked].contains(&Some(Again::Republish));
    if !republishes {
        problems
            .at(&at, "no message is ever published again")
            .help("write `on_unconfirmed = \"republish\"` or `on_nacked = \"republish\"`, or remove it");
    }
    if backoff.factor.is_some_and(|factor| !(1.0..=1_000.0).contains(&factor)) {
        problems.at(format!("{at}.factor"), "a wait does not shrink").help("from 1 to 1000");
    }
    if backoff.first == Span::ZERO || backoff.max < backoff.first {
        problems
            .at(format!("{at}.max"), format!("the waits go from {} to {}", backoff.first, backoff.max))
            .help("write a `first` above 0, and a `max` that is no shorter");
    }
}

fn check_properties(at: &str, properties: &Properties, problems: &mut Problems) {
    let at = format!("{at}.properties");
    if properties.priority.as_ref().is_some_and(Vec::is_empty) {
        problems
            .at(format!("{at}.priority"), "the list of priorities is empty")
            .help("write one, such as `priority = [0, 5]`, or remove it");
    }
    if let Some(expiration) = properties.expiration {
        check_milliseconds(&format!("{at}.expiration"), expiration, problems);
    }
    let texts = [
        ("content_type", &properties.content_type),
        ("content_encoding", &properties.content_encoding),
        ("message_id", &properties.message_id),
        ("correlation_id", &properties.correlation_id),
        ("reply_to", &properties.reply_to),
        ("type", &properties.kind),
        ("app_id", &properties.app_id),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            check_key_length(&format!("{at}.{key}"), text, problems);
        }
    }
}
