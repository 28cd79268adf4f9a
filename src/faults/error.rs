//! Why something could not be broken, or mended.

use std::time::Duration;

use crate::broker::{BrokerError, ManagementError};
use crate::client::ClientError;
use crate::proxy::ProxyError;

/// Why something could not be broken, or mended.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// A proxy could not be started.
    #[error("could not start a proxy for fleet `{fleet}`: {source}")]
    Proxy {
        /// The fleet.
        fleet: String,
        /// What the system said.
        #[source]
        source: ProxyError,
    },
    /// The broker's address leads nowhere.
    #[error("could not find the address of {endpoint}: {reason}")]
    Address {
        /// Without credentials.
        endpoint: String,
        /// What the system said.
        reason: String,
    },
    /// A proxy cannot show the broker's certificate.
    #[error("network faults go through a proxy, which cannot show the certificate of {endpoint}; use one without TLS")]
    Tls {
        /// Without credentials.
        endpoint: String,
    },
    /// Nobody runs the broker's node for us.
    #[error("`{kind}` needs a broker that the run starts; leave `--broker-url` out, or remove the fault")]
    NotOurs {
        /// The fault.
        kind: String,
    },
    /// The broker's management API is not known.
    #[error("`{kind}` needs the broker's management API; give `--management-url`, or remove the fault")]
    NoManagement {
        /// The fault.
        kind: String,
    },
    /// Members of fleets are not for a driver to break.
    #[error("`{kind}` is for the fleets themselves, and no driver breaks it")]
    NoDriver {
        /// The fault.
        kind: String,
    },
    /// The broker refused something, or its engine did.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The management API failed.
    #[error("the management API failed: {0}")]
    Management(#[from] ManagementError),
    /// The broker could not be spoken to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A command failed on the node.
    #[error("`{command}` ended with {code}: {said}")]
    Command {
        /// The command.
        command: String,
        /// Its exit code.
        code: i64,
        /// What it said.
        said: String,
    },
    /// There was nothing to break.
    #[error("there was nothing to break: {what}")]
    Nothing {
        /// What there was none of.
        what: String,
    },
    /// It is not as it should be.
    #[error("after {after:?} {what}")]
    NotYet {
        /// What is still wrong.
        what: String,
        /// How long it was given.
        after: Duration,
    },
}

impl FaultError {
    /// Whether the input is at fault: a scenario and a broker that do not go together.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::NotOurs { .. } | Self::NoManagement { .. })
    }
}
