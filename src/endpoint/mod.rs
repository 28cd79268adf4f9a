//! How to reach a broker: address, credentials and TLS material. Secrets live here and are never printed.
//!
//! May use no other room: `broker` makes endpoints, `client` and `topology` use them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the wire and for configuration files only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who a client says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// SASL PLAIN.
    Plain {
        /// User.
        user: String,
        /// Password.
        password: Secret,
    },
    /// SASL EXTERNAL: the client certificate's identity.
    External,
}

/// TLS material, PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust; none: the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate chain.
    pub cert: Option<PathBuf>,
    /// The client's private key.
    pub key: Option<PathBuf>,
}

/// Where AMQP is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Virtual host.
    pub vhost: String,
    /// Who we say we are.
    pub credentials: Credentials,
    /// TLS; none: plain TCP.
    pub tls: Option<TlsFiles>,
    /// Heartbeat that the client asks for; none: what the broker proposes.
    pub heartbeat: Option<Duration>,
}

impl fmt::Display for Endpoint {
    /// The address without credentials: `amqp://127.0.0.1:5672/%2f`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "amqps" } else { "amqp" };
        write!(f, "{scheme}://{}:{}/{}", self.host, self.port, self.vhost.replace('/', "%2f"))
    }
}

/// Where the management API is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementEndpoint {
    /// Such as `http://127.0.0.1:15672`, without credentials and without a slash at the end.
    pub base_url: String,
    /// Virtual host whose queues are asked for.
    pub vhost: String,
    /// User and password.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// TLS material for `https`.
    pub tls: Option<TlsFiles>,
}
