//! `[[exchange]]`, and bindings of exchanges and queues.

use super::names::{Names, check_key_length};
use crate::scenario::Scenario;
use crate::scenario::problem::Problems;
use crate::scenario::topology::{Arguments, Binding, ExchangeKind};

/// Values of `x-match` (RabbitMQ manual, "Exchanges", headers exchanges).
const MATCHES: [&str; 4] = ["all", "any", "all-with-x", "any-with-x"];

pub(super) fn check(scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    for (index, exchange) in scenario.exchanges.iter().enumerate() {
        let at = format!("exchange[{index}]");
        if let Some(alternate) = &exchange.alternate {
            names.require_exchange(&format!("{at}.alternate"), alternate, problems);
            if *alternate == exchange.name {
                problems
                    .at(format!("{at}.alternate"), "an exchange cannot be its own alternate")
                    .help("name the exchange that takes what this one cannot route");
            }
        }
        check_arguments(&at, &exchange.arguments, &[("alternate-exchange", "alternate")], problems);
        check_bindings(&at, &exchange.bind, names, problems);
    }
}

/// Refuses arguments that have a key of their own.
pub(super) fn check_arguments(at: &str, arguments: &Arguments, own: &[(&str, &str)], problems: &mut Problems) {
    for (argument, key) in own.iter().filter(|(argument, _)| arguments.contains_key(*argument)) {
        problems
            .at(format!("{at}.arguments.{argument}"), format!("`{argument}` has a key of its own"))
            .help(format!("write `{key}`: what the harness expects of the messages depends on it"));
    }
}

pub(super) fn check_bindings(at: &str, bindings: &[Binding], names: &Names<'_>, problems: &mut Problems) {
    for (index, binding) in bindings.iter().enumerate() {
        let at = format!("{at}.bind[{index}]");
        if bindings[..index].contains(binding) {
            problems.at(&at, "the same binding is there twice").help("remove one: a message is routed to a queue once");
        }
        if binding.exchange.is_empty() {
            problems
                .at(format!("{at}.exchange"), "nothing can be bound to the default exchange")
                .help("every queue is bound to it by its own name already; remove the binding");
            continue;
        }
        let Some(kind) = names.require_exchange(&format!("{at}.exchange"), &binding.exchange, problems) else {
            continue;
        };
        check_binding(&at, binding, kind, problems);
    }
}

fn check_binding(at: &str, binding: &Binding, kind: ExchangeKind, problems: &mut Problems) {
    let name = &binding.exchange;
    if kind != ExchangeKind::Headers && !binding.headers.is_empty() {
        problems
            .at(
                format!("{at}.headers"),
                format!("`{name}` is not a headers exchange: it would not look at the headers"),
            )
            .help("bind to a headers exchange, or remove `headers`");
    }
    if let Some(key) = &binding.key {
        let at = format!("{at}.key");
        check_key_length(&at, key, problems);
        let why = match kind {
            ExchangeKind::Fanout => Some("a fanout exchange routes every message to every binding"),
            ExchangeKind::Headers => Some("a headers exchange routes by headers"),
            ExchangeKind::Direct | ExchangeKind::Delayed | ExchangeKind::Topic => None,
        };
        if let Some(why) = why {
            problems.at(at, format!("the key has no effect on `{name}`: {why}")).help("remove `key`");
        } else if matches!(kind, ExchangeKind::Direct | ExchangeKind::Delayed)
            && key.split('.').any(|word| word == "*" || word == "#")
        {
            problems
                .at(at, format!("`{key}` is a pattern, but `{name}` is a direct exchange and compares whole keys"))
                .help("write `kind = \"topic\"` in the exchange, or the whole key here");
        }
    }
    if let Some(word) = binding.headers.get("x-match") {
        let known = word.as_str().is_some_and(|word| MATCHES.contains(&word));
        if !known {
            problems
                .at(format!("{at}.headers.x-match"), format!("{word} is no way to match headers"))
                .help("write `all`, `any`, `all-with-x` or `any-with-x`");
        }
    }
}
