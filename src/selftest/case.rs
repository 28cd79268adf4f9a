//! What is done to the harness, one run for each. Uses `plan` and `record`. Pure.

use std::time::Duration;

use super::prediction::{Band, Prediction};
use super::sabotage::{MESSAGES, Order, Sabotage, orders};
use crate::plan::ClientKind;
use crate::plan::draw::{self, Lane};
use crate::record::Verdict;

/// One thing that is done to the harness on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Its name, for `--only` and files.
    pub name: &'static str,
    /// What is done, for people.
    pub title: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The proxy does harm to messages.
    Sabotage { queue: &'static str, which: &'static [Sabotage] },
    /// Both ways take so long, each.
    Latency { each_way_ms: u64, verdict: Verdict },
    /// An expectation that nothing can be said of, for this reason.
    Vacuous { text: &'static str, reason: &'static str },
    /// A rate that no generator offers.
    Overload,
}

const fn sabotage(name: &'static str, title: &'static str, which: &'static [Sabotage]) -> Case {
    Case { name, title, kind: Kind::Sabotage { queue: "classic", which } }
}

/// One way of the base, in milliseconds: large, so that what a busy machine adds is small beside a tenth of it.
const EACH_WAY_MS: u64 = 500;
/// The median may be so much off, in milliseconds: half of what the raise adds to both ways, so that neither case can be
/// taken for the other.
const OFF_MS: u64 = EACH_WAY_MS / 10;
/// The bound between the two, in milliseconds.
const BOUND_MS: u64 = 2 * EACH_WAY_MS + OFF_MS;

/// All cases, in order.
pub const CASES: [Case; 15] = [
    sabotage("control", "nothing", &[]),
    sabotage("lose-confirmed", "lost after a confirm", &[Sabotage::LoseConfirmed]),
    sabotage("lose-delivered", "lost on delivery", &[Sabotage::LoseDelivered]),
    sabotage("duplicate", "delivered twice, unflagged", &[Sabotage::Duplicate]),
    sabotage("duplicate-flagged", "delivered twice, flagged", &[Sabotage::DuplicateFlagged]),
    sabotage("corrupt", "one bit flipped", &[Sabotage::Corrupt]),
    sabotage("invent", "invented", &[Sabotage::Invent]),
    sabotage("swap", "swapped with the next", &[Sabotage::Swap]),
    sabotage("all-classic", "all of these, classic queue", &Sabotage::ALL),
    Case {
        name: "all-quorum",
        title: "all of these, quorum queue",
        kind: Kind::Sabotage { queue: "quorum", which: &Sabotage::ALL },
    },
    Case {
        name: "latency",
        title: "latency, 500 ms each way",
        kind: Kind::Latency { each_way_ms: EACH_WAY_MS, verdict: Verdict::Pass },
    },
    Case {
        name: "latency-raised",
        title: "latency, 10 % more",
        kind: Kind::Latency { each_way_ms: EACH_WAY_MS * 11 / 10, verdict: Verdict::Fail },
    },
    Case {
        name: "no-sample",
        title: "a bound without a sample",
        kind: Kind::Vacuous { text: NO_SAMPLE, reason: "has no value" },
    },
    Case {
        name: "no-message",
        title: "a bound without a message",
        kind: Kind::Vacuous { text: NO_MESSAGE, reason: "0 of 0" },
    },
    Case { name: "overload", title: "a rate that nobody offers", kind: Kind::Overload },
];

/// All messages are sent before the measured load begins.
const NO_SAMPLE: &str = r#"
rate = "100/s"
messages = 20

[load]
warmup = "1s"
duration = "1s"
[expect]
"end_to_end.p99" = "<= 1s"
"#;

/// Nothing is ever due.
const NO_MESSAGE: &str = r#"
rate = { steps = [{ rate = "0/s", for = "1h" }, { rate = "1/s", for = "1h" }] }

[load]
duration = "500ms"
[expect]
lost = 0
"#;

/// More than any processor makes, whatever the client.
const OVERLOAD: &str = r#"
rate = "100_000_000/s"
confirm = { window = 2_000, timeout = "60s" }

[load]
duration = "1s"
[expect]
lost = 0
"#;

impl Case {
    /// The one that has this name.
    pub fn named(name: &str) -> Option<Self> {
        CASES.into_iter().find(|case| case.name == name)
    }

    /// Its run's seed: each has its own numbers, and is the same where it is run alone.
    pub fn seed(&self, seed: u64, client: ClientKind) -> u64 {
        let place = CASES.iter().position(|case| case == self).unwrap_or(0) as u64;
        // Half of the bits: a scenario's seed is a number of TOML, which has a sign.
        draw::bits(seed, Lane::Proxy, 2 * place + client as u64) >> 32
    }

    /// What the proxy does to messages.
    pub fn orders(&self, seed: u64) -> Vec<Order> {
        match self.kind {
            Kind::Sabotage { which, .. } => orders(which, seed),
            _ => Vec::new(),
        }
    }

    /// How much longer the proxy makes each way, while messages flow.
    pub fn latency(&self) -> Option<Duration> {
        match self.kind {
            Kind::Latency { each_way_ms, .. } => Some(Duration::from_millis(each_way_ms)),
            _ => None,
        }
    }

    /// What must be found.
    pub fn prediction(&self, orders: &[Order]) -> Prediction {
        match self.kind {
            Kind::Sabotage { .. } => Prediction::of_orders(orders, MESSAGES),
            Kind::Latency { each_way_ms, verdict } => {
                let band = Band { at_us: 2_000 * each_way_ms, off_us: 1_000 * OFF_MS };
                let failing: &[_] = if verdict == Verdict::Fail { &["end_to_end.p50"] } else { &[] };
                Prediction { median: Some(band), ..Prediction::of_verdict(verdict, failing) }
            }
            Kind::Vacuous { reason, .. } => {
                Prediction { reason: Some(reason), ..Prediction::of_verdict(Verdict::Inconclusive, &[]) }
            }
            Kind::Overload => {
                Prediction { reason: Some("generator could not"), ..Prediction::of_verdict(Verdict::Invalid, &[]) }
            }
        }
    }

    /// The scenario's text: one queue, one publisher, one consumer.
    pub fn scenario(&self, seed: u64, client: ClientKind) -> String {
        let (name, title, client) = (self.name, self.title, client_name(client));
        let queue = match self.kind {
            Kind::Sabotage { queue, .. } => queue,
            _ => "classic",
        };
        let rest = match self.kind {
            Kind::Sabotage { .. } => sabotaged(),
            Kind::Latency { .. } => delayed(),
            Kind::Vacuous { text, .. } => text.to_owned(),
            Kind::Overload => OVERLOAD.to_owned(),
        };
        format!(
            r#"# Proves nothing of a broker: a case of `lurcher selftest`, run through a proxy. What it does: {title}.
schema = 1
name = "selftest-{name}-{client}"
seed = {seed}

[[queue]]
name = "lurcher.selftest"
kind = "{queue}"

[[consumer]]
name = "in"
queue = "lurcher.selftest"
prefetch = 1_000
ack = {{ batch = 10 }}
client = "{client}"

[[producer]]
name = "out"
routing_key = "lurcher.selftest"
size = "64 B"
client = "{client}"
{}
"#,
            rest.trim()
        )
    }
}

/// How scenarios call a client.
pub(super) fn client_name(client: ClientKind) -> &'static str {
    match client {
        ClientKind::Wire => "wire",
        ClientKind::Lapin => "lapin",
    }
}

/// An expectation for each class, so that a verdict can name exactly those that are broken. How punctual sends are is
/// not the question here, and a busy machine must not be the answer.
fn sabotaged() -> String {
    format!(
        r#"
rate = "4_000/s"
messages = {MESSAGES}
confirm = {{ window = 500, timeout = "60s" }}

[load]
duration = "60s"
max_lag = "60s"
[expect]
guarantee = "at-least-once"
ordered = true
lost = 0
possibly_lost = 0
republished = 0
redelivered = 0
unflagged = 0
phantom = 0
corrupt = 0
"#
    )
}

/// What waits for a confirm, or for an ack, is far below the window and the prefetch: nothing but the latency counts. The
/// latency ends with the load, so that what is under way then is early: a quarter of it, which moves no median.
fn delayed() -> String {
    format!(
        r#"
rate = "200/s"
confirm = {{ window = 1_000, timeout = "60s" }}

[load]
warmup = "1s"
duration = "4s"
max_lag = "10s"
[expect]
"end_to_end.p50" = "<= {BOUND_MS}ms"
"#
    )
}
