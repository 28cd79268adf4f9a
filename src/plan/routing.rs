//! Foretells which queues a publish reaches: the broker's routing rules as a pure function of the topology.
//!
//! The rules are those of RabbitMQ 4 (AMQP 0-9-1, section 3.1.3, with RabbitMQ's exchange-to-exchange bindings,
//! alternate exchanges and sender-selected distribution); what they do not foretell, the audit would call misrouted.

mod headers;
pub(super) mod topic;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use headers::MATCH_KINDS;

use super::{Arguments, ExchangeKind, TopologyPlan};

/// Exchanges that every virtual host has; nobody declares them.
pub const PREDECLARED: [(&str, ExchangeKind); 5] = [
    ("amq.direct", ExchangeKind::Direct),
    ("amq.fanout", ExchangeKind::Fanout),
    ("amq.topic", ExchangeKind::Topic),
    ("amq.headers", ExchangeKind::Headers),
    ("amq.match", ExchangeKind::Headers),
];

/// Headers whose lists of keys the broker routes by, beside the routing key.
const MORE_KEYS: [&str; 2] = ["CC", "BCC"];

/// Numbers of the queues that a message reaches, ascending and distinct.
///
/// `exchange` is `""` for the default exchange; one that does not exist reaches nothing. To ask often, keep a [`Router`].
pub fn reach(topology: &TopologyPlan, exchange: &str, key: &str, headers: &Arguments) -> Vec<usize> {
    Router::new(topology).reach(exchange, key, headers)
}

/// A topology, indexed for routing.
#[derive(Debug)]
pub struct Router<'a> {
    queues: BTreeMap<&'a str, usize>,
    exchanges: BTreeMap<&'a str, Exchange<'a>>,
}

#[derive(Debug)]
struct Exchange<'a> {
    kind: ExchangeKind,
    alternate: Option<&'a str>,
    bindings: Vec<Bound<'a>>,
    /// Of a direct exchange: places in `bindings` by routing key.
    by_key: BTreeMap<&'a str, Vec<usize>>,
}

#[derive(Debug)]
struct Bound<'a> {
    key: &'a str,
    arguments: &'a Arguments,
    to: Destination<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Destination<'a> {
    Queue(usize),
    Exchange(&'a str),
}

impl<'a> Router<'a> {
    /// Indexes `topology`. A binding from or to what is not declared is left out.
    pub fn new(topology: &'a TopologyPlan) -> Self {
        let queues: BTreeMap<_, _> =
            topology.queues.iter().enumerate().map(|(number, queue)| (queue.name.as_str(), number)).collect();
        let empty = |kind, alternate| Exchange { kind, alternate, bindings: Vec::new(), by_key: BTreeMap::new() };
        let mut exchanges: BTreeMap<&str, Exchange<'_>> =
            PREDECLARED.into_iter().map(|(name, kind)| (name, empty(kind, None))).collect();
        for exchange in &topology.exchanges {
            exchanges.insert(&exchange.name, empty(exchange.kind, exchange.alternate.as_deref()));
        }
        for binding in &topology.bindings {
            let to = if binding.to_exchange {
                Destination::Exchange(&binding.destination)
            } else {
                let Some(number) = queues.get(binding.destination.as_str()) else { continue };
                Destination::Queue(*number)
            };
            if let Some(source) = exchanges.get_mut(binding.source.as_str()) {
                source.by_key.entry(&binding.key).or_default().push(source.bindings.len());
                source.bindings.push(Bound { key: &binding.key, arguments: &binding.arguments, to });
            }
        }
        Self { queues, exchanges }
    }

    /// Whether messages can be published to `exchange`.
    pub fn has_exchange(&self, exchange: &str) -> bool {
        exchange.is_empty() || self.exchanges.contains_key(exchange)
    }

    /// The number of the queue that is called `name`.
    pub fn queue(&self, name: &str) -> Option<usize> {
        self.queues.get(name).copied()
    }

    /// Names of the queues, in alphabetical order.
    pub fn queue_names(&self) -> impl ExactSizeIterator<Item = &'a str> {
        self.queues.keys().copied()
    }

    /// Names and kinds of the exchanges, predeclared ones included, in alphabetical order.
    pub fn exchanges(&self) -> impl ExactSizeIterator<Item = (&'a str, ExchangeKind)> {
        self.exchanges.iter().map(|(name, exchange)| (*name, exchange.kind))
    }

    /// Whether a headers exchange compares the header `name` on any of its bindings.
    pub fn compares_header(&self, name: &str) -> bool {
        self.exchanges
            .values()
            .filter(|exchange| exchange.kind == ExchangeKind::Headers)
            .flat_map(|exchange| &exchange.bindings)
            .any(|bound| bound.arguments.contains_key(name))
    }

    /// Numbers of the queues that a message reaches, ascending and distinct.
    pub fn reach(&self, exchange: &str, key: &str, headers: &Arguments) -> Vec<usize> {
        let keys = routing_keys(key, headers);
        if exchange.is_empty() {
            return keys.iter().filter_map(|key| self.queue(key)).collect::<BTreeSet<_>>().into_iter().collect();
        }
        let mut reached = BTreeSet::new();
        // Each exchange is visited once, as in the broker, so that bindings in a circle come to an end.
        let mut seen = BTreeSet::from([exchange]);
        let mut open = vec![exchange];
        while let Some(current) = open.pop().and_then(|name| self.exchanges.get(name)) {
            let found = current.destinations(&keys, headers);
            // The alternate takes over where no binding matched, even one that leads to an exchange that routes nowhere.
            let alternate = current.alternate.filter(|_| found.is_empty()).map(Destination::Exchange);
            for destination in found.into_iter().chain(alternate) {
                match destination {
                    Destination::Queue(number) => _ = reached.insert(number),
                    Destination::Exchange(name) if seen.contains(name) || !self.exchanges.contains_key(name) => {}
                    Destination::Exchange(name) => {
                        seen.insert(name);
                        open.push(name);
                    }
                }
            }
        }
        reached.into_iter().collect()
    }
}

impl<'a> Exchange<'a> {
    fn destinations(&self, keys: &BTreeSet<&str>, headers: &Arguments) -> Vec<Destination<'a>> {
        let those = |matches: &dyn Fn(&Bound<'_>) -> bool| {
            self.bindings.iter().filter(|bound| matches(bound)).map(|bound| bound.to).collect()
        };
        match self.kind {
            ExchangeKind::Direct | ExchangeKind::Delayed => keys
                .iter()
                .filter_map(|key| self.by_key.get(key))
                .flatten()
                .map(|&place| self.bindings[place].to)
                .collect(),
            ExchangeKind::Fanout => those(&|_| true),
            ExchangeKind::Topic => {
                let keys: Vec<_> = keys.iter().map(|key| topic::words(key)).collect();
                those(&|bound| {
                    let pattern = topic::words(bound.key);
                    keys.iter().any(|key| topic::matches(&pattern, key))
                })
            }
            ExchangeKind::Headers => those(&|bound| headers::matches(bound.arguments, headers)),
        }
    }
}

/// The routing key and those that the headers `CC` and `BCC` list (RabbitMQ's sender-selected distribution).
fn routing_keys<'a>(key: &'a str, headers: &'a Arguments) -> BTreeSet<&'a str> {
    let more =
        MORE_KEYS.iter().filter_map(|name| headers.get(*name)?.as_array()).flatten().filter_map(|value| value.as_str());
    more.chain([key]).collect()
}

#[cfg(test)]
mod tests;
