//! Why a proxy could not be started.

use std::io;

/// Why a proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No port of loopback could be had.
    #[error("could not listen on a free port of 127.0.0.1: {source}")]
    Listen {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
