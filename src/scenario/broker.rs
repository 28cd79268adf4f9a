//! `[broker]`: where the broker comes from and how it is set up.

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// The `[broker]` table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Where the broker comes from. Default `auto`: a container, else a local process.
    pub provider: Option<Provider>,
    /// Image of the container. Overridden by `--broker-image` or `LURCHER_BROKER_IMAGE`. Default `rabbitmq:4-management`.
    pub image: Option<String>,
    /// Releases that the scenario is for, such as `>= 4.0, < 4.3`: on another it is refused. Default: all.
    pub version: Option<String>,
    /// How a container is reached. Default `auto`: the host's network where the engine is local on Linux.
    pub network: Option<Network>,
    /// AMQP port on 127.0.0.1. Default: a free one.
    pub amqp_port: Option<u16>,
    /// Port of the management API on 127.0.0.1. Default: a free one.
    pub management_port: Option<u16>,
    /// Lines for `rabbitmq.conf`, such as `vm_memory_high_watermark.relative = 0.4`.
    #[serde(default)]
    pub config: Vec<String>,
    /// Plugins to enable beside `rabbitmq_management` and `rabbitmq_prometheus`.
    #[serde(default)]
    pub plugins: Vec<String>,
    /// Processors that a container may use, such as `1.5`. Default: all.
    pub cpus: Option<f64>,
    /// Memory that a container may use. Default: all.
    pub memory: Option<ByteSize>,
    /// How long the broker may take to get ready. Default 120 s.
    pub startup_timeout: Option<Span>,
    /// `external` only: AMQP URL, such as `amqps://user:${PASSWORD}@host:5671/vhost`.
    pub url: Option<String>,
    /// `external` only: URL of the management API, such as `http://127.0.0.1:15672`.
    pub management_url: Option<String>,
    /// `external` only: TLS of `amqps` and `https`.
    pub tls: Option<Tls>,
    /// `external` only: SASL mechanism. Default `plain`.
    pub auth: Option<Auth>,
    /// Heartbeat that the clients ask for. Default: what the broker proposes.
    pub heartbeat: Option<Span>,
}

/// Where the broker comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// A container, else a local process.
    Auto,
    /// A container that the run starts and removes.
    Container,
    /// A local `rabbitmq-server` as a private child process.
    Process,
    /// A broker that is already there, at `url`.
    External,
}

/// How a container is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// `host` where the engine is local on Linux, else `published`.
    Auto,
    /// Ports published on 127.0.0.1, through Docker's user-space proxy.
    Published,
    /// The host's own network: nothing between the fleet and the broker.
    Host,
}

/// TLS material for an external broker; all files are PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates of the authorities to trust.
    pub ca: Option<String>,
    /// The client's certificate chain.
    pub cert: Option<String>,
    /// The client's private key.
    pub key: Option<String>,
}

/// SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// User and password.
    Plain,
    /// The client certificate's identity.
    External,
}
