//! From scenario to plan: every default is filled in here, and nowhere else.
//!
//! All that is wrong is collected, so that the author of a scenario reads it in one go.

mod chains;
mod consumers;
mod expect;
mod failing;
mod faults;
mod idempotency;
mod load;
mod members;
mod producers;
mod retries;
mod topology;
mod values;

use std::collections::BTreeMap;

use super::routing::Router;
use super::{BrokerPlan, Plan, TlsPlan};
use crate::scenario::broker::{Auth, Network, Provider};
use crate::scenario::{Broker, Scenario, pattern};
use crate::units::Span;

const DEFAULT_IMAGE: &str = "rabbitmq:4-management";
const DEFAULT_STARTUP_TIMEOUT: Span = Span::from_secs(120);

/// Why a scenario cannot become a plan: the key that is at fault, what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct PlanError {
    /// Path of the key, such as `producer[0].confirm.window` or `expect."end_to_end.p99"`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// All that is wrong with a scenario, in the order of its reading.
#[derive(Debug, Default)]
struct Problems(Vec<PlanError>);

impl Problems {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(PlanError { key: key.into(), message: message.into(), help: None });
    }

    fn add_with_help(&mut self, key: impl Into<String>, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(PlanError { key: key.into(), message: message.into(), help: Some(help.into()) });
    }

    /// The names that a pattern stands for; none where it is wrong, which is reported.
    fn expand(&mut self, key: &str, name: &str) -> Vec<String> {
        pattern::expand(name).unwrap_or_else(|error| {
            self.add(key, error.to_string());
            Vec::new()
        })
    }
}

/// Resolves `scenario`, whose files (templates) are read by `read_file`.
///
/// # Errors
/// All that is wrong with it, at least one.
pub fn resolve(
    scenario: &Scenario,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<Plan, Vec<PlanError>> {
    let mut problems = Problems::default();
    let scenario = &*scenario.expanded();
    let seed = scenario.seed.unwrap_or(0);
    fleet_names(scenario, &mut problems);
    let mut topology = topology::resolve(scenario, &mut problems);
    let load = load::resolve(scenario);
    let limits = load::message_limits(scenario, &mut problems);
    let router = Router::new(&topology);
    let fleets = (&*scenario.producers, &*scenario.consumers);
    let mut producers = producers::resolve(fleets, seed, &router, &limits, read_file, &mut problems);
    chains::give_ids(&mut producers);
    let consumers =
        consumers::resolve(&scenario.consumers, (seed, load.warmup_us), (&router, &producers), &mut problems);
    chains::check(&producers, &consumers, &mut problems);
    let retries = retries::resolve(&scenario.retries, seed, &router);
    let redrives = retries::redrives(&scenario.redrives, &router);
    let replays = retries::replays(&scenario.replays, &producers);
    topology::let_expire(&mut topology, &producers);
    let fleets = members::Fleets { producers: &producers, consumers: &consumers };
    let faults = faults::resolve(scenario, (seed, &load), &fleets, &mut problems);
    let expect = expect::resolve(scenario, &topology, &mut problems);
    let plan = Plan {
        schema: scenario.schema,
        name: scenario.name.clone(),
        description: scenario.description.clone(),
        seed,
        broker: broker(scenario.broker.clone().unwrap_or_default()),
        topology,
        retries,
        redrives,
        replays,
        producers,
        consumers,
        load,
        faults,
        expect,
    };
    if problems.0.is_empty() { Ok(plan) } else { Err(problems.0) }
}

/// Metrics name fleets, so that two may not share a name, whichever way their messages go.
fn fleet_names(scenario: &Scenario, problems: &mut Problems) {
    let producers =
        scenario.producers.iter().enumerate().map(|(place, fleet)| (format!("producer[{place}]"), &fleet.name));
    let consumers =
        scenario.consumers.iter().enumerate().map(|(place, fleet)| (format!("consumer[{place}]"), &fleet.name));
    let mut seen = BTreeMap::new();
    for (key, name) in producers.chain(consumers) {
        if let Some(first) = seen.get(name) {
            let message = format!("`{name}` is already the name of {first}");
            problems.add_with_help(format!("{key}.name"), message, "give each fleet a name of its own");
        } else {
            seen.insert(name, key);
        }
    }
}

fn broker(broker: Broker) -> BrokerPlan {
    BrokerPlan {
        provider: broker.provider.unwrap_or(Provider::Auto),
        image: broker.image.unwrap_or_else(|| DEFAULT_IMAGE.to_owned()),
        network: broker.network.unwrap_or(Network::Auto),
        amqp_port: broker.amqp_port,
        management_port: broker.management_port,
        config: broker.config,
        plugins: broker.plugins,
        cpus: broker.cpus,
        memory_bytes: broker.memory.map(|size| size.0),
        version: broker.version,
        startup_timeout_us: broker.startup_timeout.unwrap_or(DEFAULT_STARTUP_TIMEOUT).as_us(),
        url: broker.url.as_deref().map(without_password),
        management_url: broker.management_url.as_deref().map(without_password),
        tls: broker.tls.map(|tls| TlsPlan { ca: tls.ca, cert: tls.cert, key: tls.key }),
        auth_external: broker.auth == Some(Auth::External),
        heartbeat_us: broker.heartbeat.map(Span::as_us),
    }
}

impl BrokerPlan {
    /// Takes `image` in place of the scenario's, where a container may be started. Who names an image wants a container
    /// of it, and nothing else in its place.
    pub fn use_image(&mut self, image: &str) {
        if matches!(self.provider, Provider::Auto | Provider::Container) {
            self.provider = Provider::Container;
            self.image = image.to_owned();
        }
    }

    /// Takes the broker that is already there, in place of the scenario's provider; what is only for a broker that is
    /// started goes with that. No password is kept of the URLs.
    pub fn use_external(&mut self, url: &str, management_url: Option<&str>) {
        *self = Self {
            provider: Provider::External,
            url: Some(without_password(url)),
            management_url: management_url.map(without_password),
            version: self.version.take(),
            startup_timeout_us: self.startup_timeout_us,
            tls: self.tls.take(),
            auth_external: self.auth_external,
            heartbeat_us: self.heartbeat_us,
            ..Self::default()
        };
    }
}

impl Default for BrokerPlan {
    /// A scenario without `[broker]`.
    fn default() -> Self {
        broker(Broker::default())
    }
}

/// `url` with `***` in the place of its password. A password may hold an `@` or a `/` that its author forgot to encode,
/// so everything up to the last `@` counts as credentials: rather strike out too much.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (&url[..scheme.len() + 3], rest));
    match rest.rsplit_once('@') {
        Some((credentials, address)) => match credentials.split_once(':') {
            Some((user, _)) => format!("{scheme}{user}:***@{address}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_for_the_releases_that_it_names() {
        let of = |version: &str| BrokerPlan { version: Some(version.to_owned()), ..BrokerPlan::default() };
        assert!(BrokerPlan::default().is_for("3.8.0"), "it names none");
        for (release, fits) in [("3.10.8", false), ("4.0.5", true), ("4.2.9", true), ("4.3.0", false), ("?", false)] {
            assert_eq!(of(">= 4.0, < 4.3").is_for(release), fits, "{release}");
        }
        assert!(of(">= 4.3").is_for("4.3.6-1") && of("~4.3").is_for("4.3.6+x"));
    }

    #[test]
    fn the_broker_of_the_command_line_is_the_plans() {
        let written = || BrokerPlan { plugins: vec!["rabbitmq_stream".to_owned()], ..BrokerPlan::default() };
        let mut plan = written();
        plan.use_image("rabbitmq:3");
        assert_eq!((plan.provider, plan.image.as_str(), plan.plugins.len()), (Provider::Container, "rabbitmq:3", 1));
        let mut local = BrokerPlan { provider: Provider::Process, ..written() };
        local.use_image("rabbitmq:3");
        assert_eq!(local, BrokerPlan { provider: Provider::Process, ..written() }, "a process has no image");

        let heartbeat_us = Some(15_000_000);
        let mut there = BrokerPlan { heartbeat_us, ..written() };
        there.use_external("amqp://me:hush@rabbit", Some("http://me:hush@rabbit:15672"));
        let expected = BrokerPlan {
            provider: Provider::External,
            url: Some("amqp://me:***@rabbit".to_owned()),
            management_url: Some("http://me:***@rabbit:15672".to_owned()),
            heartbeat_us,
            ..BrokerPlan::default()
        };
        assert_eq!(there, expected);
        there.use_image("rabbitmq:3");
        assert_eq!(there, expected, "nothing is started");
    }

    #[test]
    fn no_password_is_left_in_a_url() {
        for (url, expected) in [
            ("amqp://user:secret@host:5672/vhost", "amqp://user:***@host:5672/vhost"),
            ("amqps://user:${PASSWORD}@host/%2f", "amqps://user:***@host/%2f"),
            ("amqp://user:p@ss/w:rd@host", "amqp://user:***@host"),
            ("amqp://user@host", "amqp://user@host"),
            ("amqp://host:5672", "amqp://host:5672"),
            ("user:secret@host", "user:***@host"),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }
}
