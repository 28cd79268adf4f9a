//! Why a run could not be carried out.

use std::path::PathBuf;

use crate::broker::BrokerError;
use crate::faults::FaultError;
use crate::idempotency::StoreError;
use crate::topology::TopologyError;

/// Why a run could not be carried out. What goes wrong once messages flow is part of the record instead.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No broker could be started or reached.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The scenario is for other releases.
    #[error("the scenario is for RabbitMQ {wanted}, and the broker is {is}; choose another with --broker-image")]
    Release {
        /// Releases that it is for.
        wanted: String,
        /// The broker's.
        is: String,
    },
    /// The topology could not be declared.
    #[error("could not set up the topology: {0}")]
    Topology(#[from] TopologyError),
    /// What is to be broken cannot be broken here.
    #[error("could not prepare the faults: {0}")]
    Faults(#[from] FaultError),
    /// A fleet could not get ready.
    #[error("fleet `{fleet}` could not get ready: {reason}")]
    Fleet {
        /// Which.
        fleet: String,
        /// Why.
        reason: String,
    },
    /// The store of a fleet's effects could not be made or reached.
    #[error("the store of fleet `{fleet}` is not there: {source}")]
    Store {
        /// Whose.
        fleet: String,
        /// What went wrong.
        source: Box<StoreError>,
    },
    /// The system gave no thread for the fleets.
    #[error("could not start a thread for the fleets: {0}")]
    Threads(#[source] std::io::Error),
    /// The interval log could not be written.
    #[error("could not write `{}`; free some space there, or choose another folder with --out", path.display())]
    Log {
        /// Where it would have been.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was interrupted before any message was sent, so that there is nothing to keep.
    #[error("interrupted before the load began")]
    Interrupted,
}

impl RunError {
    /// Exit code of the process: 2 for bad input, 5 for the environment, 130 for an interrupt.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Broker(error) if error.is_bad_input() => 2,
            Self::Faults(error) if error.is_bad_input() => 2,
            Self::Store { source, .. } if matches!(**source, StoreError::BadUrl { .. }) => 2,
            Self::Interrupted => 130,
            _ => 5,
        }
    }
}
