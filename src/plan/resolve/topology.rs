//! Exchanges, queues and bindings: patterns expanded, arguments in the broker's words, rules of removal named.

use std::collections::BTreeSet;

use serde_json::Value;

use super::values::{arguments, filled, listed, milliseconds, quoted};
use super::{Problems, Scenario};
use crate::plan::routing::{self, PREDECLARED};
use crate::plan::topology::RemovalRule;
use crate::plan::{Arguments, BindingPlan, ExchangePlan, ProducerFleet, QueueKind, QueuePlan, TopologyPlan};
use crate::scenario::topology::{Binding, DeadLetterStrategy, ExchangeKind, Overflow};
use crate::scenario::{Exchange, Queue};
use crate::units::Span;

pub(super) fn resolve(scenario: &Scenario, problems: &mut Problems) -> TopologyPlan {
    let mut builder = Builder { exchanges: kinds(scenario), plan: TopologyPlan::default() };
    for (place, exchange) in scenario.exchanges.iter().enumerate() {
        builder.exchange(&format!("exchange[{place}]"), exchange, problems);
    }
    let mut names = BTreeSet::new();
    for (place, queue) in scenario.queues.iter().enumerate() {
        let path = format!("queue[{place}]");
        let name_key = format!("{path}.name");
        for (turn, name) in problems.expand(&name_key, &queue.name).iter().enumerate() {
            if !names.insert(name.clone()) {
                problems.add(&name_key, format!("`{name}` is declared twice"));
            }
            // What is wrong with a pattern's first queue is wrong with all of them, and reported once.
            let mut repeated = Problems::default();
            let number = number_in(&queue.name, name);
            let problems = if turn == 0 { &mut *problems } else { &mut repeated };
            builder.queue(&path, queue, (name, number.as_deref()), problems);
        }
    }
    builder.plan
}

fn kinds(scenario: &Scenario) -> Vec<(&str, ExchangeKind)> {
    PREDECLARED.into_iter().chain(scenario.exchanges.iter().map(|it| (it.name.as_str(), it.kind))).collect()
}

/// The number that made `name` of `pattern`, as it is written there; none where `pattern` is a plain name.
fn number_in(pattern: &str, name: &str) -> Option<String> {
    if pattern == name {
        return None;
    }
    let before = pattern.find('{')?;
    let after = pattern.len() - pattern.rfind('}')? - 1;
    name.get(before..name.len().checked_sub(after)?).map(str::to_owned)
}

/// Where bindings lead: a queue or an exchange, and the number that its pattern gave it.
#[derive(Clone, Copy)]
struct Destination<'a> {
    name: &'a str,
    is_exchange: bool,
    number: Option<&'a str>,
}

/// The topology so far.
struct Builder<'a> {
    /// Exchanges that bindings may name.
    exchanges: Vec<(&'a str, ExchangeKind)>,
    plan: TopologyPlan,
}

impl<'a> Builder<'a> {
    fn names(&self) -> impl Iterator<Item = &'a str> {
        self.exchanges.iter().map(|(name, _)| *name)
    }

    fn exchange(&mut self, path: &str, exchange: &Exchange, problems: &mut Problems) {
        if self.plan.exchanges.iter().any(|other| other.name == exchange.name) {
            problems.add(format!("{path}.name"), format!("`{}` is declared twice", exchange.name));
        }
        let mut set = Settings::new(path, &exchange.arguments, None, problems);
        if let Some(alternate) = &exchange.alternate {
            set.put("alternate", "alternate-exchange", alternate.as_str());
            if !self.exchanges.iter().any(|(name, _)| name == alternate) {
                unknown_exchange(&format!("{path}.alternate"), alternate, self.names(), set.problems);
            }
        }
        let arguments = set.arguments;
        self.plan.exchanges.push(ExchangePlan {
            name: exchange.name.clone(),
            kind: exchange.kind,
            durable: exchange.durable.unwrap_or(true),
            auto_delete: exchange.auto_delete.unwrap_or(false),
            internal: exchange.internal.unwrap_or(false),
            alternate: text(&arguments, "alternate-exchange"),
            arguments,
        });
        self.bind(
            path,
            &exchange.bind,
            Destination { name: &exchange.name, is_exchange: true, number: None },
            problems,
        );
    }

    fn queue(&mut self, path: &str, queue: &Queue, (name, number): (&str, Option<&str>), problems: &mut Problems) {
        let arguments = queue_arguments(path, queue, number, problems);
        let kind = queue.kind.unwrap_or(QueueKind::Classic);
        let auto_delete = queue.auto_delete.unwrap_or(false);
        self.plan.queues.push(QueuePlan {
            name: name.to_owned(),
            kind,
            durable: queue.durable.unwrap_or(true),
            exclusive: queue.exclusive.unwrap_or(false),
            auto_delete,
            dead_letter: text(&arguments, "x-dead-letter-exchange")
                .map(|exchange| (exchange, text(&arguments, "x-dead-letter-routing-key"))),
            removal_rules: removal_rules(kind, auto_delete, &arguments),
            arguments,
        });
        self.bind(path, &queue.bind, Destination { name, is_exchange: false, number }, problems);
    }

    fn bind(&mut self, path: &str, bindings: &[Binding], to: Destination<'_>, problems: &mut Problems) {
        for (place, binding) in bindings.iter().enumerate() {
            let path = format!("{path}.bind[{place}]");
            let source = filled(&binding.exchange, to.number);
            match self.exchanges.iter().find(|(name, _)| *name == source) {
                _ if source.is_empty() => problems.add_with_help(
                    format!("{path}.exchange"),
                    "the default exchange takes no bindings",
                    "leave the binding out: the default exchange reaches every queue by its name",
                ),
                None => unknown_exchange(&format!("{path}.exchange"), &source, self.names(), problems),
                Some((_, ExchangeKind::Headers)) => match_kind(&path, binding, problems),
                Some(_) => {}
            }
            self.plan.bindings.push(BindingPlan {
                source,
                destination: to.name.to_owned(),
                to_exchange: to.is_exchange,
                key: filled(binding.key.as_deref().unwrap_or_default(), to.number),
                arguments: arguments(&format!("{path}.headers"), &binding.headers, to.number, problems),
            });
        }
    }
}

fn match_kind(path: &str, binding: &Binding, problems: &mut Problems) {
    let Some(kind) = binding.headers.get("x-match") else { return };
    if !kind.as_str().is_some_and(|kind| routing::MATCH_KINDS.contains(&kind)) {
        problems.add_with_help(
            format!("{path}.headers.x-match"),
            format!("{kind} is no way to match headers"),
            "one of \"all\", \"any\", \"all-with-x\" and \"any-with-x\"",
        );
    }
}

/// Reports that `name` is none of the exchanges `known`.
pub(super) fn unknown_exchange<'a>(
    key: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
    problems: &mut Problems,
) {
    let declared: Vec<_> =
        known.filter(|name| !PREDECLARED.iter().any(|(predeclared, _)| predeclared == name)).collect();
    let help = format!("declare it with [[exchange]]; {}", listed(declared.into_iter()));
    problems.add_with_help(key, format!("there is no exchange `{name}`"), help);
}

/// The arguments of one exchange or queue, filled from its keys and its free `arguments`.
struct Settings<'a> {
    path: &'a str,
    arguments: Arguments,
    problems: &'a mut Problems,
}

impl<'a> Settings<'a> {
    fn new(
        path: &'a str,
        written: &crate::scenario::topology::Arguments,
        number: Option<&str>,
        problems: &'a mut Problems,
    ) -> Self {
        let arguments = arguments(&format!("{path}.arguments"), written, number, problems);
        Self { path, arguments, problems }
    }

    /// Sets what the key `key` says; saying the same twice is refused.
    fn put(&mut self, key: &str, argument: &str, value: impl Into<Value>) {
        if self.arguments.insert(argument.to_owned(), value.into()).is_some() {
            self.problems.add_with_help(
                format!("{}.arguments.{}", self.path, quoted(argument)),
                format!("`{argument}` is the same as `{key}`"),
                format!("keep `{key}` only"),
            );
        }
    }

    fn put_some(&mut self, key: &str, argument: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, argument, value);
        }
    }

    fn put_milliseconds(&mut self, key: &str, argument: &str, span: Option<Span>) {
        if let Some(span) = span {
            let ms = milliseconds(&format!("{}.{key}", self.path), span, self.problems);
            self.put(key, argument, ms);
        }
    }
}

fn queue_arguments(path: &str, queue: &Queue, number: Option<&str>, problems: &mut Problems) -> Arguments {
    let mut set = Settings::new(path, &queue.arguments, number, problems);
    let kind = match queue.kind.unwrap_or(QueueKind::Classic) {
        QueueKind::Classic => "classic",
        QueueKind::Quorum => "quorum",
        QueueKind::Stream => "stream",
    };
    set.put("kind", "x-queue-type", kind);
    set.put_milliseconds("message_ttl", "x-message-ttl", queue.message_ttl);
    if queue.expires == Some(Span::ZERO) {
        set.problems.add_with_help(format!("{path}.expires"), "the queue would be gone at once", "at least \"1ms\"");
    }
    set.put_milliseconds("expires", "x-expires", queue.expires);
    set.put_some("max_length", "x-max-length", queue.max_length);
    set.put_some("max_length_bytes", "x-max-length-bytes", queue.max_length_bytes.map(|size| size.0));
    let overflow = queue.overflow.map(|overflow| match overflow {
        Overflow::DropHead => "drop-head",
        Overflow::RejectPublish => "reject-publish",
        Overflow::RejectPublishDlx => "reject-publish-dlx",
    });
    set.put_some("overflow", "x-overflow", overflow);
    set.put_some("max_priority", "x-max-priority", queue.max_priority);
    if let Some(dead_letter) = &queue.dead_letter {
        set.put("dead_letter.exchange", "x-dead-letter-exchange", filled(&dead_letter.exchange, number));
        let key = dead_letter.key.as_ref().map(|key| filled(key, number));
        set.put_some("dead_letter.key", "x-dead-letter-routing-key", key);
        let strategy = dead_letter.strategy.map(|strategy| match strategy {
            DeadLetterStrategy::AtMostOnce => "at-most-once",
            DeadLetterStrategy::AtLeastOnce => "at-least-once",
        });
        set.put_some("dead_letter.strategy", "x-dead-letter-strategy", strategy);
    }
    set.put_some("delivery_limit", "x-delivery-limit", queue.delivery_limit);
    set.put_some("single_active_consumer", "x-single-active-consumer", queue.single_active_consumer.filter(|on| *on));
    set.put_some("max_age", "x-max-age", queue.max_age.as_deref());
    set.arguments
}

fn text(arguments: &Arguments, name: &str) -> Option<String> {
    arguments.get(name)?.as_str().map(str::to_owned)
}

/// The rules by which the queue may remove a message, read off its arguments, whichever way they were written.
fn removal_rules(kind: QueueKind, auto_delete: bool, arguments: &Arguments) -> Vec<RemovalRule> {
    let has = |name: &str| arguments.contains_key(name);
    let has_length = has("x-max-length") || has("x-max-length-bytes");
    let stream = kind == QueueKind::Stream;
    let drops_head = arguments.get("x-overflow").is_none_or(|overflow| overflow == "drop-head");
    // Quorum queues of RabbitMQ 4 limit deliveries to 20 where nothing is said; a negative limit is none.
    let limits_deliveries = kind == QueueKind::Quorum
        && arguments.get("x-delivery-limit").and_then(Value::as_i64).is_none_or(|limit| limit >= 0);
    [
        (RemovalRule::Ttl, has("x-message-ttl") && !stream),
        (RemovalRule::Length, has_length && drops_head && !stream),
        (RemovalRule::DeliveryLimit, limits_deliveries),
        (RemovalRule::Expires, has("x-expires") || auto_delete),
        (RemovalRule::Retention, stream && (has("x-max-age") || has_length)),
    ]
    .into_iter()
    .filter_map(|(rule, holds)| holds.then_some(rule))
    .collect()
}

/// Messages with an `expiration` of their own may leave the queues that they are routed to. Streams never look at it.
pub(super) fn let_expire(topology: &mut TopologyPlan, producers: &[ProducerFleet]) {
    let routes =
        producers.iter().filter(|fleet| fleet.properties.expiration_ms.is_some()).flat_map(|fleet| &fleet.routes);
    for number in routes.flat_map(|route| &route.queues).copied().collect::<BTreeSet<_>>() {
        let Some(queue) = topology.queues.get_mut(number) else { continue };
        if queue.kind != QueueKind::Stream && !queue.removal_rules.contains(&RemovalRule::Ttl) {
            queue.removal_rules.insert(0, RemovalRule::Ttl);
        }
    }
}
