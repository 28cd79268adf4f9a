//! The scenario resolved: every default filled in, every random choice drawn from the seed.
//!
//! May use `units` and `scenario`. Pure and deterministic: the same scenario and seed give the same plan, byte for
//! byte, and what happens to message `seq` of a publisher is a function of the plan alone ([`Publisher`], [`draw`]),
//! so that a plan can be cut into parts by fleet member and nothing has to be remembered to judge it afterwards.

pub mod body;
mod divide;
pub mod draw;
pub mod expect;
pub mod failing;
pub mod fate;
pub mod fault;
pub mod fields;
pub mod fleet;
mod resolve;
mod retry;
pub mod routing;
pub mod schedule;
pub mod topology;

use serde::{Deserialize, Serialize};

pub use body::{BodyMaker, BodyPlan};
pub use expect::{Expectation, Metric, Statistic};
pub use failing::{FailPlan, Failures};
pub use fault::{
    Broken, Disturbance, FaultPlan, FrameAction, FrameClass, MemberFailure, Members, Picks, Strike, Trigger,
};
pub use fields::{FieldError, Fields, Moment};
pub use fleet::{
    AckPlan, BackoffPlan, ConfirmPlan, ConsumerFleet, IdempotencyPlan, Message, ProducerFleet, Publisher, Route,
    Subscriber, WorkPlan,
};
pub use resolve::{PlanError, resolve};
pub use retry::{RedrivePlan, ReplayPlan, RetryPlan, RetryStep};
pub use schedule::{RateProfile, Schedule};
pub use topology::{BindingPlan, ExchangePlan, QueuePlan, TopologyPlan};

pub use crate::scenario::broker::{Network, Provider};
pub use crate::scenario::consumer::{PrefetchScope, StreamOffset};
pub use crate::scenario::fault::{CrashPoint, Direction, Family, FaultKind};
pub use crate::scenario::idempotency::{Discipline, Store};
pub use crate::scenario::producer::{Again, ClientKind};
pub use crate::scenario::topology::{ExchangeKind, QueueKind};

/// Free values of AMQP: arguments and headers.
pub type Arguments = std::collections::BTreeMap<String, serde_json::Value>;

/// What will be run, and what must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the scenario format.
    pub schema: u32,
    /// Name of the scenario.
    pub name: String,
    /// What it proves.
    pub description: Option<String>,
    /// Where every random choice came from.
    pub seed: u64,
    /// Where the broker comes from. The passwords of its URLs are struck out; of its other texts nothing is.
    pub broker: BrokerPlan,
    /// What is declared.
    pub topology: TopologyPlan,
    /// How failed messages are tried again, by queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<RetryPlan>,
    /// Dead letters that are sent back, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redrives: Vec<RedrivePlan>,
    /// Past messages that are published once more, after that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replays: Vec<ReplayPlan>,
    /// Fleets that publish.
    pub producers: Vec<ProducerFleet>,
    /// Fleets that consume.
    pub consumers: Vec<ConsumerFleet>,
    /// How long, or how much.
    pub load: LoadPlan,
    /// What is broken on purpose, by number. None in records of before there were faults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultPlan>,
    /// What must hold.
    pub expect: Vec<Expectation>,
}

impl Plan {
    /// The publisher `id`, its fleet, and that fleet's place in the plan.
    pub fn publisher(&self, id: u16) -> Option<(usize, &ProducerFleet, &Publisher)> {
        // Publishers are numbered in the order of the fleets, and one after the other in each, which has at least one.
        let begun = |fleet: &ProducerFleet| fleet.publishers.first().is_some_and(|first| first.id <= id);
        let number = self.producers.partition_point(begun).checked_sub(1)?;
        let fleet = self.producers.get(number)?;
        let place = id - fleet.publishers.first()?.id;
        Some((number, fleet, fleet.publishers.get(usize::from(place))?))
    }

    /// How the publisher `id` is called: `FLEET/PLACE`.
    pub fn publisher_name(&self, id: u16) -> String {
        self.publisher(id)
            .map_or_else(|| id.to_string(), |(_, fleet, publisher)| format!("{}/{}", fleet.name, publisher.place))
    }

    /// The sends of one publisher; none in a closed loop.
    pub fn schedule<'a>(&self, fleet: &'a ProducerFleet, publisher: &Publisher) -> Option<Schedule<'a>> {
        let turn = (u64::from(publisher.place), fleet.publishers.len() as u64);
        let (load, publisher) = (&self.load, publisher);
        let schedule =
            |rate| Schedule::new(rate, load.warmup_us, turn, publisher.start_us, load.end_us(), publisher.messages);
        fleet.rate.as_ref().map(schedule)
    }

    /// Whether messages in a queue wait to be worked off by consumers that fail some, or to be tried again.
    pub fn is_on_the_way(&self, queue: usize) -> bool {
        let mut waits = self.retries.iter().flat_map(|retry| &retry.steps);
        let mut fails = self.consumers.iter().filter(|fleet| fleet.fail.is_some());
        waits.any(|step| step.queue == Some(queue)) || fails.any(|fleet| fleet.queues.contains(&queue))
    }

    /// Fleets whose members publish by themselves, and not for each message that a consumer works off.
    pub fn leaders(&self) -> impl Iterator<Item = &ProducerFleet> {
        self.producers.iter().filter(|fleet| fleet.follows.is_none())
    }

    /// Whether messages lead to others, so that their ids are looked at.
    pub fn has_chains(&self) -> bool {
        self.producers.iter().any(|fleet| fleet.follows.is_some())
    }

    /// Publishers of all fleets together.
    pub fn publisher_count(&self) -> usize {
        self.producers.iter().map(|fleet| fleet.publishers.len()).sum()
    }
}

impl BrokerPlan {
    /// Whether a broker of this release, such as `4.0.5`, is one that the plan is for. What is no release fits nothing.
    pub fn is_for(&self, release: &str) -> bool {
        let Some(wanted) = &self.version else { return true };
        // Of `4.1.0-rc.1` or `3.10.8+deb` the numbers count.
        let numbers = release.split(['-', '+', '~']).next().unwrap_or_default();
        let release = semver::Version::parse(numbers);
        let wanted = semver::VersionReq::parse(wanted);
        wanted.is_ok_and(|wanted| release.is_ok_and(|release| wanted.matches(&release)))
    }
}

/// Where the broker comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrokerPlan {
    /// `auto`, `container`, `process` or `external`.
    pub provider: Provider,
    /// Image of the container.
    pub image: String,
    /// How a container is reached.
    pub network: Network,
    /// AMQP port on 127.0.0.1; none: a free one.
    pub amqp_port: Option<u16>,
    /// Management port on 127.0.0.1; none: a free one.
    pub management_port: Option<u16>,
    /// Lines for `rabbitmq.conf`.
    pub config: Vec<String>,
    /// Plugins beside those that the harness needs.
    pub plugins: Vec<String>,
    /// Processors that a container may use.
    pub cpus: Option<f64>,
    /// Memory that a container may use, in bytes.
    pub memory_bytes: Option<u64>,
    /// How long the broker may take to get ready.
    pub startup_timeout_us: u64,
    /// Releases that it may be of; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The external broker's AMQP URL, from the command line or the scenario, password struck out.
    pub url: Option<String>,
    /// The external broker's management URL, likewise.
    pub management_url: Option<String>,
    /// Where the TLS material is; never the material itself.
    pub tls: Option<TlsPlan>,
    /// Whether the identity is the client certificate's (SASL EXTERNAL).
    pub auth_external: bool,
    /// Heartbeat that the clients ask for.
    pub heartbeat_us: Option<u64>,
}

/// Paths of TLS material.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPlan {
    /// Certificates of the authorities to trust.
    pub ca: Option<String>,
    /// The client's certificate chain.
    pub cert: Option<String>,
    /// The client's private key.
    pub key: Option<String>,
}

/// How long, or how much. All times in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Load before the measurement.
    pub warmup_us: u64,
    /// Measured load; none: until the messages are sent.
    pub duration_us: Option<u64>,
    /// End early when every message was consumed, and none came, for this long.
    pub stop_when_empty_us: Option<u64>,
    /// End early when nothing was confirmed or consumed for this long.
    pub stop_when_idle_us: Option<u64>,
    /// How long consumers may take to empty their queues.
    pub drain_us: u64,
    /// Most that 99 of 100 sends may be late through the generator's own doing.
    pub max_lag_us: u64,
}

impl LoadPlan {
    /// End of the load on the run's clock, which is 0 at the start of the warm-up; none: until the messages are sent.
    pub fn end_us(&self) -> Option<u64> {
        self.duration_us.map(|duration| duration.saturating_add(self.warmup_us))
    }
}
