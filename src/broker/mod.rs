//! Where a broker comes from: a container, a local process, or a URL; its nodes, its management API, its samples.
//!
//! May use `units`, `plan`, `endpoint` and `engine`. Whatever is started here listens on loopback only, has a password of its
//! own, and is removed again: by [`Broker::stop`], else when the [`Broker`] is dropped, else by the next [`start`].

mod address;
mod checkup;
mod container;
mod error;
mod external;
mod facts;
mod handshake;
mod leftovers;
mod management;
mod node;
mod ports;
mod process;
mod process_id;
mod prometheus;
mod ready;
mod sampler;
mod secrets;
mod settings;
mod tls;

use std::time::{Duration, Instant};

pub use address::ExternalUrls;
pub use checkup::{Finding, checkup};
pub use error::BrokerError;
pub use facts::Facts;
pub use leftovers::{Leftover, leftovers, remove};
pub use management::{
    ConnectionStatus, ExchangeStatus, Listener, Management, ManagementError, MessageStats, NodeStatus, ObjectTotals,
    Overview, QueueDepth, RateDetails,
};
pub use node::{ExecOutput, Node};
pub use sampler::{Sample, Sampler};

use crate::endpoint::Endpoint;
use crate::engine;
use crate::plan::{BrokerPlan, Provider};
use process_id::RootProcess;

/// A listener for lines of progress.
pub type Note<'a> = &'a (dyn Fn(String) + Send + Sync);

/// What a plan does not say.
#[derive(Clone)]
pub struct StartOptions<'a> {
    /// A broker that is already there; taken whatever provider the plan names.
    pub external: Option<ExternalUrls>,
    /// The run, for labels.
    pub run_id: String,
    /// Told what is done, in order.
    pub note: Note<'a>,
}

/// A broker that answers.
#[derive(Debug)]
pub struct Broker {
    started: Started,
}

#[derive(Debug)]
struct Started {
    endpoint: Endpoint,
    management: Option<Management>,
    facts: Facts,
    nodes: Vec<Node>,
    root: Option<RootProcess>,
    removal: Removal,
    /// Of a broker of our own: reserved for as long as it may come back to them.
    _ports: Option<ports::Ports>,
}

/// What has to be done away with in the end; each does so by itself when dropped.
#[derive(Debug)]
enum Removal {
    Container(engine::Removal),
    Process(process::Removal),
    None,
}

/// Starts or reaches the broker that the plan asks for, and waits until it takes our credentials. What killed runs left
/// behind is removed first.
///
/// # Errors
/// Where there is none; nothing is left behind then. [`BrokerError::is_bad_input`] says whose fault it is.
pub async fn start(plan: &BrokerPlan, options: &StartOptions<'_>) -> Result<Broker, BrokerError> {
    let begin = Instant::now();
    let note = options.note;
    let started = match (&options.external, plan.provider) {
        (Some(urls), _) => external::reach(plan, urls, note).await?,
        (None, Provider::External) => {
            return Err(BrokerError::BadSetting {
                key: "url",
                reason: "`provider = \"external\"` needs the broker's URL; give `url` or `--broker-url`".to_owned(),
            });
        }
        (None, provider) => {
            remove_leftovers(note).await;
            start_own(plan, provider, options).await?
        }
    };
    let facts = &started.facts;
    note(format!("{} {} is ready after {:.1} s", facts.product, facts.version, begin.elapsed().as_secs_f64()));
    Ok(Broker { started })
}

async fn start_own(plan: &BrokerPlan, provider: Provider, options: &StartOptions<'_>) -> Result<Started, BrokerError> {
    let (run, note) = (options.run_id.as_str(), options.note);
    match provider {
        Provider::Process => process::start(plan, run, note).await,
        Provider::Container => container::start(plan, run, note).await,
        Provider::Auto | Provider::External => match container::start(plan, run, note).await {
            Err(no_container) if no_container.is_absence() => {
                note(format!("no container: {no_container}"));
                process::start(plan, run, note).await.map_err(|error| match error {
                    no_process if no_process.is_absence() => {
                        BrokerError::NothingToStart { container: Box::new(no_container), process: Box::new(no_process) }
                    }
                    other => other,
                })
            }
            other => other,
        },
    }
}

async fn remove_leftovers(note: Note<'_>) {
    for leftover in leftovers().await {
        match remove(&leftover).await {
            Ok(()) => note(format!("removed {leftover}")),
            Err(error) => note(format!("could not remove {leftover}: {error}")),
        }
    }
}

impl Broker {
    /// Where AMQP is spoken.
    pub fn endpoint(&self) -> &Endpoint {
        &self.started.endpoint
    }

    /// The management API; none where an external broker's is not known.
    pub fn management(&self) -> Option<&Management> {
        self.started.management.as_ref()
    }

    /// What a record says about the broker.
    pub fn facts(&self) -> &Facts {
        &self.started.facts
    }

    /// Nodes; none where an external broker's management API is not known.
    pub fn nodes(&self) -> &[Node] {
        &self.started.nodes
    }

    /// A sampler, to be asked each second.
    pub fn sampler(&self) -> Sampler {
        Sampler::new(self.started.management.clone(), self.started.root.clone())
    }

    /// Waits until AMQP and the management API answer again, after a node was started again or unpaused.
    ///
    /// # Errors
    /// Where they do not within `timeout`.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), BrokerError> {
        ready::wait_again(&self.started.endpoint, self.started.management.as_ref(), timeout).await
    }

    /// Removes what was started and checks that it is gone. An external broker stays as it is.
    ///
    /// # Errors
    /// Where something is left, with the command that removes it.
    pub async fn stop(self) -> Result<(), BrokerError> {
        match self.started.removal {
            Removal::Container(removal) => Ok(removal.remove().await?),
            Removal::Process(removal) => removal.remove().await,
            Removal::None => Ok(()),
        }
    }
}
