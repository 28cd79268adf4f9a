//! Drivers of what is broken on purpose, each with its inverse and a check that all is whole again.
//!
//! May use `plan`, `broker`, `proxy`, `client` and `endpoint`. One module for each family:
//!
//! | module | breaks | whole again when |
//! |---|---|---|
//! | `node` | the broker's node: killed, stopped, paused, out of memory or disk | logins are taken, no alarm is up |
//! | `management` | queues and connections, by the management API | the queue is there, logins are taken |
//! | `network` | what a fleet and the broker say, in a proxy of the fleet's own | nothing is held back, a login passes |
//!
//! Who says when is `run`. What could not be broken or mended is an error, never silence.

mod error;
mod management;
mod network;
mod node;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

pub use error::FaultError;

use crate::broker::{Broker, Management};
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::plan::{Broken, Family, FaultPlan, Plan};
use network::{Disturbed, Network};
use node::Mending;

/// How long something may take to be whole again. A broker that was killed may take as long as at its first start.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Everything that can be broken in one run.
pub struct Drivers<'a> {
    plan: Arc<Plan>,
    broker: &'a Broker,
    /// Speaks to the broker to see whether it can be spoken to.
    client: Arc<dyn Client>,
    network: Network,
    /// What is done to the node follows one after the other.
    node: Mutex<()>,
}

/// The right to break what only one fault at a time may.
pub struct Turn<'a> {
    _node: Option<MutexGuard<'a, ()>>,
}

/// Something that is broken now.
pub struct Active<'a> {
    drivers: &'a Drivers<'a>,
    fault: &'a FaultPlan,
    state: State,
    _turn: Turn<'a>,
}

enum State {
    Node(Mending),
    /// So many things were done.
    Management(u64),
    Network(Vec<Disturbed>),
}

impl<'a> Drivers<'a> {
    /// Starts what the plan's faults need: a proxy for each fleet whose network is disturbed, nothing else.
    ///
    /// # Errors
    /// Where a fault cannot be carried out on this broker, or a proxy cannot be started.
    pub async fn start(plan: &Arc<Plan>, broker: &'a Broker, client: Arc<dyn Client>) -> Result<Self, FaultError> {
        for fault in &plan.faults {
            let kind = || fault.kind.to_string();
            match fault.kind.family() {
                Family::Node if broker.facts().provider == "external" => {
                    return Err(FaultError::NotOurs { kind: kind() });
                }
                Family::Management if broker.management().is_none() => {
                    return Err(FaultError::NoManagement { kind: kind() });
                }
                _ => {}
            }
        }
        let network = Network::start(plan, broker.endpoint()).await?;
        Ok(Self { plan: Arc::clone(plan), broker, client, network, node: Mutex::new(()) })
    }

    /// Where a fleet reaches the broker: through its proxy, where it has one.
    pub fn endpoint(&self, fleet: &str) -> Endpoint {
        self.network.endpoint(fleet).unwrap_or_else(|| self.broker.endpoint().clone())
    }

    /// Waits until nothing stands in the way of this fault.
    pub async fn turn(&self, fault: &FaultPlan) -> Turn<'_> {
        if fault.kind.family() == Family::Node {
            return Turn { _node: Some(self.node.lock().await) };
        }
        if let (Broken::Connections { fleets }, Some(management)) = (&fault.broken, self.broker.management()) {
            management::listed(management, &self.plan, fleets).await;
        }
        Turn { _node: None }
    }

    /// Breaks it.
    ///
    /// # Errors
    /// Where that fails; nothing stays broken then that could be mended.
    pub async fn begin(&'a self, fault: &'a FaultPlan, turn: Turn<'a>) -> Result<Active<'a>, FaultError> {
        let state = match &fault.broken {
            Broken::Node => State::Node(node::begin(self.broker, fault.kind).await?),
            Broken::Connections { fleets } => {
                State::Management(management::close_connections(self.management(fault)?, fleets).await?)
            }
            Broken::Queue { queue } => {
                management::empty(self.management(fault)?, fault.kind, queue).await?;
                State::Management(1)
            }
            Broken::Network { fleets, share, disturbance } => {
                State::Network(self.network.begin(fleets, *share, disturbance))
            }
            Broken::Members { .. } => return Err(FaultError::NoDriver { kind: fault.kind.to_string() }),
        };
        Ok(Active { drivers: self, fault, state, _turn: turn })
    }

    fn management(&self, fault: &FaultPlan) -> Result<&Management, FaultError> {
        self.broker.management().ok_or_else(|| FaultError::NoManagement { kind: fault.kind.to_string() })
    }

    /// Ends the proxies. Connections that still go through them are cut.
    pub async fn stop(self) {
        self.network.stop().await;
    }

    /// Whether somebody can log in at `endpoint`.
    async fn answers(&self, endpoint: &Endpoint) -> Result<(), FaultError> {
        let connection = self.client.connect(endpoint, "lurcher heal check").await?;
        connection.close(Duration::from_secs(2)).await;
        Ok(())
    }
}

impl Active<'_> {
    /// Mends it, and waits until it is whole again.
    ///
    /// # Errors
    /// Where it is not.
    pub async fn heal(&mut self) -> Result<(), FaultError> {
        let drivers = self.drivers;
        match &mut self.state {
            State::Node(mending) => mending.heal(drivers.broker, WHOLE_WITHIN).await,
            State::Management(_) => {
                if let Broken::Queue { queue } = &self.fault.broken {
                    management::declare(drivers, queue).await?;
                }
                until_holds(WHOLE_WITHIN, || drivers.answers(drivers.broker.endpoint())).await
            }
            State::Network(disturbed) => {
                disturbed.iter().for_each(Disturbed::end);
                for one in disturbed {
                    let endpoint = one.clear(WHOLE_WITHIN).await?;
                    if let Some(endpoint) = endpoint {
                        until_holds(WHOLE_WITHIN, || drivers.answers(&endpoint)).await?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Publisher and sequence of the messages that it has acted on, as far as it knows them.
    pub fn messages(&self) -> Vec<(u16, u64)> {
        match &self.state {
            State::Node(_) | State::Management(_) => Vec::new(),
            State::Network(disturbed) => disturbed.iter().flat_map(Disturbed::messages).collect(),
        }
    }

    /// How often it has acted: what counts is the driver's, such as connections or frames.
    pub fn done(&self) -> u64 {
        match &self.state {
            State::Node(_) => 1,
            State::Management(done) => *done,
            State::Network(disturbed) => disturbed.iter().map(Disturbed::done).sum(),
        }
    }
}

/// Tries until it succeeds.
///
/// # Errors
/// The last failure, where the time is over.
async fn until_holds<F: Future<Output = Result<(), FaultError>>>(
    within: Duration,
    attempt: impl Fn() -> F,
) -> Result<(), FaultError> {
    let start = Instant::now();
    loop {
        let left = within.saturating_sub(start.elapsed());
        let failed = match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => FaultError::NotYet { what: "there was no answer".to_owned(), after: within },
        };
        if start.elapsed() >= within {
            return Err(failed);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
