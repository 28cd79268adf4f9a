//! What can go wrong between a plan and a broker that answers. No password is ever part of an error.

use std::time::Duration;

use super::management::ManagementError;
use crate::engine::EngineError;

/// Why there is no broker, or no longer the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A URL that cannot be one. The text of the URL is left out: it may hold a password.
    #[error("{which} is not usable: {reason}")]
    BadUrl {
        /// Which URL, such as `broker.url`.
        which: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A setting of the scenario that the harness sets itself, or cannot use.
    #[error("`broker.{key}` cannot be used: {reason}")]
    BadSetting {
        /// Key in `[broker]`.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A TLS file that cannot be read or used.
    #[error("could not use the TLS file {path}: {reason}")]
    TlsFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No container engine.
    #[error(
        "could not reach Docker: {reason}\ninstall and start it (Debian: `apt-get install docker.io`), or use a local \
         RabbitMQ with `provider = \"process\"`"
    )]
    NoDocker {
        /// What the system said.
        reason: String,
    },
    /// The image is not there and could not be pulled.
    #[error("the image {image} is not here and could not be pulled: {reason}\n{fix}")]
    NoImage {
        /// The image.
        image: String,
        /// What the engine said.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// No `rabbitmq-server`.
    #[error(
        "found no `rabbitmq-server` in {searched}\ninstall it (Debian: `apt-get install --no-install-recommends \
         rabbitmq-server`; `make test` does so without starting the system's service)"
    )]
    NoServer {
        /// Where it was looked for.
        searched: String,
    },
    /// Neither a container nor a process can be had.
    #[error("no broker can be started here\na container: {container}\na process: {process}")]
    NothingToStart {
        /// Why not a container.
        container: Box<BrokerError>,
        /// Why not a process.
        process: Box<BrokerError>,
    },
    /// A plugin that the scenario asks for does not run: RabbitMQ passes over one that it does not have.
    #[error(
        "the broker does not run {plugins} of `broker.plugins`: it has no plugin of that name, or could not start it\n\
         `rabbitmq-plugins list` says which plugins a broker has; take it out, correct its name, or use an image that has it"
    )]
    NoPlugin {
        /// The plugins, each between backquotes.
        plugins: String,
    },
    /// A port that the scenario asks for is in use.
    #[error(
        "port {port} of 127.0.0.1 (`broker.{key}`) is taken; free it, or leave `{key}` out to have a free one chosen"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// Key in `[broker]`.
        key: &'static str,
    },
    /// No free port was found.
    #[error("found no free port on 127.0.0.1: {reason}")]
    NoPort {
        /// What the system said.
        reason: String,
    },
    /// The container engine refused something.
    #[error("Docker could not {action}: {reason}")]
    Docker {
        /// What was asked.
        action: String,
        /// What it said.
        reason: String,
    },
    /// The broker ended before it was ready.
    #[error("the broker ended while it started ({how}); {}", said(log))]
    Died {
        /// Exit code or signal.
        how: String,
        /// Up to 20 lines, from the first error.
        log: String,
    },
    /// The broker was not ready in time.
    #[error("the broker was not ready within {after:?}: {last}; {}", said(log))]
    NotReady {
        /// How long it was given.
        after: Duration,
        /// What the last attempt met.
        last: String,
        /// Up to 20 lines, from the first error.
        log: String,
    },
    /// Nothing answers at the address.
    #[error("could not reach {endpoint}: {reason}")]
    Unreachable {
        /// Address without credentials.
        endpoint: String,
        /// What the system said.
        reason: String,
    },
    /// The broker refused the credentials.
    #[error("{endpoint} refused the login as {user}: {reason}")]
    LoginRefused {
        /// Address without credentials.
        endpoint: String,
        /// User, or the mechanism.
        user: String,
        /// The broker's reply.
        reason: String,
    },
    /// The broker refused the virtual host.
    #[error("{endpoint} refused the virtual host `{vhost}`: {reason}")]
    VhostRefused {
        /// Address without credentials.
        endpoint: String,
        /// Virtual host.
        vhost: String,
        /// The broker's reply.
        reason: String,
    },
    /// Something of the broker listens where others can reach it.
    #[error("the broker listens beyond loopback: {listeners}; take the plugin or the setting that opens it out")]
    Exposed {
        /// Protocol and address of each.
        listeners: String,
    },
    /// The management API failed.
    #[error("the management API failed: {0}")]
    Management(#[from] ManagementError),
    /// The system refused something.
    #[error("could not {action}: {source}")]
    System {
        /// What was tried, with the path.
        action: String,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// This provider cannot do that.
    #[error("a broker of provider `{provider}` cannot {action}")]
    Unsupported {
        /// Provider.
        provider: &'static str,
        /// What was asked.
        action: &'static str,
    },
    /// Something is still there after it was removed.
    #[error("could not remove {what}: {reason}\n{fix}")]
    Remains {
        /// What is left.
        what: String,
        /// Why.
        reason: String,
        /// What to do by hand.
        fix: String,
    },
}

/// What a log says, as the end of a sentence.
fn said(log: &str) -> String {
    if log.is_empty() { "its log is empty".to_owned() } else { format!("its log says:\n{log}") }
}

impl BrokerError {
    /// Whether the input is at fault (exit code 2); else the environment is (exit code 5).
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::BadUrl { .. } | Self::BadSetting { .. } | Self::TlsFile { .. } | Self::NoPlugin { .. })
    }

    /// Whether `auto` may try the next provider: what is missing was never there, so nothing is papered over.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::NoDocker { .. } | Self::NoImage { .. } | Self::NoServer { .. })
    }

    /// For `map_err` on system calls.
    pub(super) fn system(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }

    /// For `map_err` on calls of the container engine.
    pub(super) fn docker<E: std::fmt::Display>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| Self::Docker { action, reason: error.to_string() }
    }
}

/// Each in the words of one who wants a broker.
impl From<EngineError> for BrokerError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoDocker { reason } => Self::NoDocker { reason },
            EngineError::NoImage { image, reason, fix } => Self::NoImage { image, reason, fix },
            EngineError::Refused { action, reason } => Self::Docker { action, reason },
            EngineError::Remains { what, reason, fix } => Self::Remains { what, reason, fix },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_log_is_called_empty() {
        let died = |log: &str| BrokerError::Died { how: "exit code 1".to_owned(), log: log.to_owned() }.to_string();
        assert_eq!(died(""), "the broker ended while it started (exit code 1); its log is empty");
        assert_eq!(died("one\ntwo"), "the broker ended while it started (exit code 1); its log says:\none\ntwo");
        let after = Duration::from_secs(3);
        let slow = BrokerError::NotReady { after, last: "no answer".to_owned(), log: String::new() }.to_string();
        assert_eq!(slow, "the broker was not ready within 3s: no answer; its log is empty");
    }
}
