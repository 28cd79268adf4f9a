//! Why the self-test could not be carried out. What it found wrong is no error, but a row.

use std::path::PathBuf;

use crate::broker::BrokerError;
use crate::proxy::ProxyError;
use crate::record::StoreError;
use crate::report::ReportError;
use crate::run::RunError;

/// Why the self-test could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// No broker could be started or reached.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The proxy reads AMQP, which it cannot where it is encrypted.
    #[error(
        "the self-test reads what passes in a proxy, and {endpoint} speaks TLS or takes a certificate for a password; \
         give an `amqp://` URL with user and password, or none, so that a broker is started"
    )]
    Unreadable {
        /// Address, without credentials.
        endpoint: String,
    },
    /// The broker's name has no address.
    #[error("could not find the address of {endpoint}: {reason}")]
    Address {
        /// Address, without credentials.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// No proxy.
    #[error("could not start the proxy: {0}")]
    Proxy(#[from] ProxyError),
    /// A case's own scenario is refused: a mistake of this program's.
    #[error("the scenario of the case `{case}` is refused, which is a mistake of lurcher's: {reason}")]
    Scenario {
        /// Which case.
        case: &'static str,
        /// Why.
        reason: String,
    },
    /// A case could not be run.
    #[error("the case `{case}` could not be run: {source}")]
    Run {
        /// Which case.
        case: &'static str,
        /// Why.
        source: RunError,
    },
    /// A file could not be written.
    #[error("could not write `{}`; free some space there, or choose another folder with --out", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A record could not be written or read back.
    #[error("a record was not kept: {0}")]
    Store(#[from] StoreError),
    /// A record's report could not be made.
    #[error("a report is incomplete: {0}")]
    Report(#[from] ReportError),
    /// Ctrl-C or a termination signal.
    #[error("interrupted: the broker is removed")]
    Interrupted,
}

impl SelftestError {
    /// Exit code of the process: 2 for bad input, 5 for the environment, 130 for an interrupt.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Broker(error) if error.is_bad_input() => 2,
            Self::Unreadable { .. } => 2,
            Self::Run { source, .. } => source.exit_code(),
            Self::Interrupted => 130,
            _ => 5,
        }
    }
}
