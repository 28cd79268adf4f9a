//! Free ports on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};

use super::error::BrokerError;
use super::secrets;

/// Below the range that the kernel gives to outgoing connections, one of which could otherwise take the port between
/// the choice and the broker's start.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;
const ATTEMPTS: u32 = 1_000;

/// The ports of one broker, chosen before it starts so that they stay the same when it restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) amqp: u16,
    pub(super) management: u16,
    pub(super) prometheus: u16,
    pub(super) epmd: u16,
    pub(super) distribution: u16,
    /// For plugins that open listeners of their own, one each.
    pub(super) plugins: Vec<u16>,
}

/// Chooses free ports, but for those that the plan names.
pub(super) fn choose(amqp: Option<u16>, management: Option<u16>, plugins: usize) -> Result<Ports, BrokerError> {
    let mut held = Vec::new();
    for (port, key) in [(amqp, "amqp_port"), (management, "management_port")] {
        if let Some(port) = port {
            held.push(
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|_| BrokerError::PortTaken { port, key })?,
            );
        }
    }
    let mut free = || -> Result<u16, BrokerError> {
        let listener = bind_some()?;
        let port = listener.local_addr().map_err(|error| BrokerError::NoPort { reason: error.to_string() })?.port();
        // Held until all are chosen, so that none is chosen twice.
        held.push(listener);
        Ok(port)
    };
    Ok(Ports {
        amqp: amqp.map_or_else(&mut free, Ok)?,
        management: management.map_or_else(&mut free, Ok)?,
        prometheus: free()?,
        epmd: free()?,
        distribution: free()?,
        plugins: (0..plugins).map(|_| free()).collect::<Result<_, _>>()?,
    })
}

fn bind_some() -> Result<TcpListener, BrokerError> {
    let mut reason = String::new();
    for _ in 0..ATTEMPTS {
        let port = FIRST + secrets::below(COUNT)?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(BrokerError::NoPort { reason })
}
