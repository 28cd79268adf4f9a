//! `[[fault]]`: that it can happen, that it is over in time, and that there is somebody who can do it.

use super::fleet::load_time;
use super::members;
use super::names::Names;
use crate::scenario::Scenario;
use crate::scenario::broker::Provider;
use crate::scenario::fault::{Family, Fault, FaultKind, Pick, RandomTimes, Role, When};
use crate::scenario::problem::Problems;
use crate::scenario::suggest::did_you_mean;
use crate::scenario::topology::QueueKind;
use crate::units::Span;

/// Most faults that one table may stand for.
const MAX_TIMES: u32 = 1_000;

pub(super) fn check(scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    for (index, fault) in scenario.faults.iter().enumerate() {
        let at = format!("fault[{index}]");
        check_keys(&at, fault, problems);
        check_time(&at, fault, scenario, problems);
        check_length(&at, fault, problems);
        check_values(&at, fault, problems);
        check_broker(&at, fault, scenario, problems);
        if let Some(queue) = fault.queue.as_ref().filter(|_| fault.kind.keys().iter().any(|(key, _)| *key == "queue")) {
            check_queue(&at, queue, fault.kind, scenario, names, problems);
        }
        check_fleets(&at, fault, scenario, problems);
        members::check(&at, fault, scenario, problems);
    }
}

/// Keys that the kind does not have, and those that it needs.
fn check_keys(at: &str, fault: &Fault, problems: &mut Problems) {
    let kind = fault.kind;
    let written = [
        ("queue", fault.queue.is_some()),
        ("fleets", fault.fleets.is_some()),
        ("share", fault.share.is_some()),
        ("direction", fault.direction.is_some()),
        ("delay", fault.delay.is_some()),
        ("jitter", fault.jitter.is_some()),
        ("bytes_per_second", fault.bytes_per_second.is_some()),
        ("bytes", fault.bytes.is_some()),
        ("pause", fault.pause.is_some()),
        ("pick", fault.pick.is_some()),
        ("message", fault.message.is_some()),
        ("point", fault.point.is_some()),
    ];
    for (key, is_written) in written {
        match kind.keys().iter().find(|(known, _)| *known == key) {
            None if is_written => {
                problems
                    .at(format!("{at}.{key}"), format!("`{key}` says nothing about `{kind}`"))
                    .help("remove it")
                    .see(format!("{at}.kind"), "the kind");
            }
            Some((_, true)) if !is_written => {
                let example = match key {
                    "queue" => "queue = \"orders\"",
                    "delay" => "delay = \"100ms\"",
                    "bytes_per_second" => "bytes_per_second = \"64 KiB\"",
                    "bytes" => "bytes = \"7 B\"",
                    "point" => "point = \"after-effect\"",
                    _ => "pick = { first = 1000, times = 1 }",
                };
                problems
                    .at(format!("{at}.{key}"), format!("`{kind}` needs `{key}`"))
                    .help(format!("add it, such as `{example}`"));
            }
            _ => {}
        }
    }
}

fn check_time(at: &str, fault: &Fault, scenario: &Scenario, problems: &mut Problems) {
    let written = [("at", fault.at.is_some()), ("when", fault.when.is_some()), ("random", fault.random.is_some())];
    let mut written = written.iter().filter(|(_, is_written)| *is_written).map(|(key, _)| *key);
    let end = load_time(scenario);
    match (written.next(), written.next()) {
        (None, _) => {
            problems.at(format!("{at}.kind"), format!("nothing says when `{}` happens", fault.kind)).help(
                "add `at = \"10s\"`, `when = { confirmed = 1000 }` or `random = { from = \"5s\", to = \"20s\" }`",
            );
        }
        (Some(first), Some(second)) => {
            problems
                .at(format!("{at}.{second}"), format!("both `{first}` and `{second}` say when"))
                .help("keep one of them")
                .see(format!("{at}.{first}"), "the other");
        }
        _ => {}
    }
    check_repeats(at, fault, end, problems);
    if let (Some(start), Some(end)) = (fault.at, end)
        && start >= end
    {
        after_the_end(&format!("{at}.at"), start, end, problems);
    }
    if let Some(when) = &fault.when {
        check_count(at, when, scenario, problems);
    }
    if let Some(random) = &fault.random {
        check_random(at, random, end, problems);
    }
}

fn after_the_end(key: &str, start: Span, end: Span, problems: &mut Problems) {
    problems
        .at(key, format!("the load is over at {end}, and this would happen at {start}"))
        .help("write an earlier time, or a longer `load.duration`; the warm-up counts");
}

/// `every` and `times`.
fn check_repeats(at: &str, fault: &Fault, end: Option<Span>, problems: &mut Problems) {
    match (fault.every, fault.times) {
        (None, None) => return,
        (Some(_), None) => {
            problems.at(format!("{at}.every"), "nothing says how often").help("add `times`, such as `times = 5`");
            return;
        }
        (None, Some(_)) => {
            problems
                .at(format!("{at}.times"), "nothing says how far apart")
                .help("add `every`, such as `every = \"5s\"`");
            return;
        }
        (Some(Span::ZERO), _) => {
            problems.at(format!("{at}.every"), "all at the same time").help("write a time, such as `every = \"5s\"`");
            return;
        }
        (Some(_), Some(times)) if !(1..=MAX_TIMES).contains(&times) => {
            problems
                .at(format!("{at}.times"), format!("{times} is out of range for `times`"))
                .help(format!("it goes from 1 to {MAX_TIMES}"));
            return;
        }
        (Some(_), Some(_)) => {}
    }
    let Some(start) = fault.at else {
        problems
            .at(format!("{at}.every"), "`every` repeats what begins `at` a time")
            .help("add `at = \"5s\"` in place of the other, or remove `every` and `times`");
        return;
    };
    let (every, times) = (fault.every.unwrap_or_default(), fault.times.unwrap_or(1));
    let last = Span(start.0.saturating_add(every.0.saturating_mul(times - 1)));
    if let Some(end) = end.filter(|end| start < *end && last >= *end) {
        after_the_end(&format!("{at}.times"), last, end, problems);
    }
    if let Some(lasting) = fault.lasting.filter(|lasting| times > 1 && *lasting > every) {
        problems
            .at(format!("{at}.for"), format!("it lasts {lasting} and comes again after {every}"))
            .help("write a shorter `for` or a longer `every`");
    }
}

fn check_count(at: &str, when: &When, scenario: &Scenario, problems: &mut Problems) {
    let counts = [("published", when.published), ("confirmed", when.confirmed), ("delivered", when.delivered)];
    let mut written = counts.iter().filter_map(|(key, count)| count.map(|count| (*key, count)));
    let (Some((key, count)), None) = (written.next(), written.next()) else {
        problems
            .at(format!("{at}.when"), "exactly one of `published`, `confirmed` and `delivered` belongs here")
            .help("write it like `when = { confirmed = 1000 }`");
        return;
    };
    let at = format!("{at}.when.{key}");
    let most = scenario.load.as_ref().and_then(|load| load.messages);
    let has_confirms =
        scenario.producers.iter().any(|fleet| fleet.confirm != Some(crate::scenario::producer::Confirm::Off));
    if count == 0 {
        problems.at(at, "this would happen before the first message").help("write `at = \"0s\"`, or a larger number");
    } else if key == "delivered" && scenario.consumers.is_empty() {
        problems.at(at, "nothing is delivered: there is no `[[consumer]]`").help("count `published` or `confirmed`");
    } else if key != "delivered" && scenario.producers.is_empty() {
        problems.at(at, "nothing is published: there is no `[[producer]]`").help("count `delivered`");
    } else if key == "confirmed" && !has_confirms {
        problems.at(at, "nothing is confirmed: all fleets have confirms off").help("count `published`");
    } else if let Some(most) = most.filter(|most| key != "delivered" && count > *most) {
        problems
            .at(at, format!("the load has {most} messages, and this waits for {count}"))
            .help("write a smaller number")
            .see("load.messages", "all messages");
    }
}

fn check_random(at: &str, random: &RandomTimes, end: Option<Span>, problems: &mut Problems) {
    if random.from >= random.to {
        problems
            .at(format!("{at}.random.to"), format!("it ends at {} and begins at {}", random.to, random.from))
            .help("write a later `to`");
    } else if let Some(end) = end.filter(|end| random.to >= *end) {
        after_the_end(&format!("{at}.random.to"), random.to, end, problems);
    }
    if let Some(times) = random.times.filter(|times| !(1..=MAX_TIMES).contains(times)) {
        problems
            .at(format!("{at}.random.times"), format!("{times} is out of range for `times`"))
            .help(format!("it goes from 1 to {MAX_TIMES}"));
    }
}

fn check_length(at: &str, fault: &Fault, problems: &mut Problems) {
    let key = format!("{at}.for");
    match fault.lasting {
        Some(lasting) if fault.kind.is_instant() => {
            problems
                .at(key, format!("`{}` is over as soon as it is done; it cannot last {lasting}", fault.kind))
                .help("remove `for`");
        }
        Some(Span::ZERO) => {
            problems.at(key, "healed before it began").help("write how long it lasts, such as `for = \"5s\"`");
        }
        _ => {}
    }
}

fn check_values(at: &str, fault: &Fault, problems: &mut Problems) {
    let whose = if fault.kind.family() == Family::Fleet { "members" } else { "connections" };
    if let Some(share) = fault.share.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
        problems
            .at(format!("{at}.share"), format!("{share} is no share of the {whose}"))
            .help("it is above 0 and at most 1");
    }
    let nothing = [
        ("delay", fault.delay == Some(Span::ZERO)),
        ("bytes_per_second", fault.bytes_per_second.is_some_and(|size| size.0 == 0)),
        ("bytes", fault.bytes.is_some_and(|size| size.0 == 0)),
    ];
    for (key, _) in nothing.iter().filter(|(_, is_nothing)| *is_nothing) {
        let help = if *key == "bytes_per_second" { "use `net-stall` to let nothing pass" } else { "write more" };
        problems.at(format!("{at}.{key}"), format!("`{key}` of 0 disturbs nothing that could be told")).help(help);
    }
    if let Some(fleets) = fault.fleets.as_ref().filter(|fleets| fleets.is_empty()) {
        problems
            .at(format!("{at}.fleets"), format!("a list of {} fleets breaks nothing", fleets.len()))
            .help("name one, or remove `fleets`: then it is for all");
    }
    let Some(Pick { first, every, times }) = fault.pick else { return };
    for (key, _) in [("first", first), ("every", every), ("times", times)].iter().filter(|(_, n)| *n == Some(0)) {
        problems.at(format!("{at}.pick.{key}"), "0 picks nothing").help(format!("`{key}` is at least 1"));
    }
    let cuts = matches!(fault.kind, FaultKind::CutBeforeConfirm | FaultKind::CutBeforeAck);
    if (cuts || fault.kind.is_crash()) && times.is_none() {
        let what = if cuts { "connection" } else { "member" };
        problems
            .at(format!("{at}.pick"), format!("without `times` no {what} would live"))
            .help("add it, such as `pick = { first = 1000, times = 1 }`");
    }
}

fn check_broker(at: &str, fault: &Fault, scenario: &Scenario, problems: &mut Problems) {
    let Some(broker) = &scenario.broker else { return };
    if broker.provider != Some(Provider::External) {
        return;
    }
    let kind = fault.kind;
    let at = format!("{at}.kind");
    match kind.family() {
        Family::Node => {
            problems
                .at(at, format!("`{kind}` needs a broker that the run starts: an external one is not ours to break"))
                .help("write `provider = \"container\"` or `\"process\"`")
                .see("broker.provider", "external");
        }
        Family::Management if broker.management_url.is_none() => {
            problems
                .at(at, format!("`{kind}` needs the broker's management API, and nothing says where it is"))
                .help("add `management_url` to `[broker]`");
        }
        Family::Bytes | Family::Frames if broker.url.as_ref().is_some_and(|url| url.starts_with("amqps://")) => {
            problems
                .at(at, format!("`{kind}` goes through a proxy, which cannot show the broker's certificate"))
                .help("use an address without TLS")
                .see("broker.url", "with TLS");
        }
        _ => {}
    }
}

fn check_queue(
    at: &str,
    queue: &str,
    kind: FaultKind,
    scenario: &Scenario,
    names: &Names<'_>,
    problems: &mut Problems,
) {
    let key = format!("{at}.queue");
    let before = problems.len();
    names.require_queues(&key, queue, problems);
    if problems.len() > before {
        return;
    }
    // One queue: a pattern would hide which of them was meant.
    let places = names.queues(queue).unwrap_or_default();
    let (Some(place), false) = (places.first().copied(), queue.contains('{')) else {
        problems.at(&key, "a pattern names several queues; a fault is for one").help("write one `[[fault]]` for each");
        return;
    };
    let Some(declared) = scenario.queues.get(place) else { return };
    if names.kind(place) == QueueKind::Stream && kind == FaultKind::QueuePurge {
        problems
            .at(&key, "RabbitMQ does not purge streams")
            .help("name another queue, or use `queue-delete`")
            .see(format!("queue[{place}].name"), "a stream");
    } else if declared.exclusive == Some(true) {
        problems
            .at(&key, "an exclusive queue belongs to its connection; nobody else can touch it")
            .help("name another queue")
            .see(format!("queue[{place}].name"), "exclusive");
    }
}

fn check_fleets(at: &str, fault: &Fault, scenario: &Scenario, problems: &mut Problems) {
    let producers = scenario.producers.iter().map(|fleet| fleet.name.as_str());
    let known: Vec<&str> = producers.chain(scenario.consumers.iter().map(|fleet| fleet.name.as_str())).collect();
    let key = |place: usize| format!("{at}.fleets[{place}]");
    let named = fault.fleets.as_deref().unwrap_or_default();
    for (place, name) in named.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let help = did_you_mean(name, known.iter().copied(), "name a `[[producer]]` or a `[[consumer]]`");
            problems.at(key(place), format!("there is no fleet `{name}`")).help(help);
        }
    }
    let (who, other, there_is_one) = match fault.kind.acts_on() {
        Some(Role::Producer) => {
            ("producer", "consumer", scenario.producers.iter().any(|fleet| fleet.follows.is_none()))
        }
        Some(Role::Consumer) => ("consumer", "producer", !scenario.consumers.is_empty()),
        None => return,
    };
    let consumes = |name: &str| scenario.consumers.iter().any(|fleet| fleet.name == name);
    let is_other = |name: &str| known.contains(&name) && consumes(name) != (who == "consumer");
    if !there_is_one {
        problems
            .at(format!("{at}.kind"), format!("`{}` has nothing to act on: there is no `[[{who}]]`", fault.kind))
            .help("add one, or remove the fault");
    }
    let follows = |name: &str| scenario.producers.iter().find(|fleet| fleet.name == name)?.follows.as_ref();
    for (place, name, leader) in named.iter().enumerate().filter_map(|(at, name)| Some((at, name, follows(name)?))) {
        problems
            .at(key(place), format!("`{name}` has no members of its own: the consumers of `{leader}` publish for it"))
            .help(format!("break `{leader}`, such as by `consumer-crash`"));
    }
    for (place, name) in named.iter().enumerate().filter(|(_, name)| is_other(name)) {
        problems
            .at(key(place), format!("`{name}` is a {other}: `{}` has nothing to act on there", fault.kind))
            .help(format!("name a {who}"));
    }
}
