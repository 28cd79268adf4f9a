//! One node of a broker, and what can be done to it.

use std::sync::Arc;

use super::container::Container;
use super::error::BrokerError;
use super::process::Process;

/// One node of a broker.
#[derive(Debug)]
pub struct Node {
    /// Name, such as `rabbit@localhost`.
    pub name: String,
    driver: Driver,
}

#[derive(Debug)]
enum Driver {
    Container(Container),
    Process(Arc<Process>),
    External,
}

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code.
    pub code: i64,
    /// What it wrote to both outputs.
    pub text: String,
}

/// Sends a call to the driver, and an error where nobody can drive the node.
macro_rules! drive {
    ($node:expr, $action:literal, $driver:ident => $call:expr) => {
        match &$node.driver {
            Driver::Container($driver) => $call.await,
            Driver::Process($driver) => $call.await,
            Driver::External => Err(BrokerError::Unsupported { provider: "external", action: $action }),
        }
    };
}

impl Node {
    pub(super) fn container(name: String, container: Container) -> Self {
        Self { name, driver: Driver::Container(container) }
    }

    pub(super) fn process(name: String, process: Arc<Process>) -> Self {
        Self { name, driver: Driver::Process(process) }
    }

    pub(super) fn external(name: String) -> Self {
        Self { name, driver: Driver::External }
    }

    /// Freezes the node: its connections stay open and nothing answers. The inverse is [`Node::unpause`].
    ///
    /// # Errors
    /// Where the node is not ours, or the system refuses; so for all calls below.
    pub async fn pause(&self) -> Result<(), BrokerError> {
        drive!(self, "be paused", driver => driver.pause())
    }

    /// Lets a paused node go on.
    pub async fn unpause(&self) -> Result<(), BrokerError> {
        drive!(self, "be unpaused", driver => driver.unpause())
    }

    /// Kills the node with SIGKILL; what it had written stays. The inverse is [`Node::start`].
    pub async fn kill(&self) -> Result<(), BrokerError> {
        drive!(self, "be killed", driver => driver.kill())
    }

    /// Starts a killed node again, on the same ports; returns before it is ready ([`super::Broker::wait_ready`]).
    pub async fn start(&self) -> Result<(), BrokerError> {
        drive!(self, "be started", driver => driver.start_again())
    }

    /// Runs a command such as `["rabbitmqctl", "status"]` where the node runs, with the node's environment.
    pub async fn exec(&self, command: &[&str]) -> Result<ExecOutput, BrokerError> {
        drive!(self, "run commands", driver => driver.exec(command))
    }
}
