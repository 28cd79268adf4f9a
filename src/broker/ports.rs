//! Free ports on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;

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
    reserved: Reserved,
}

/// Keeps others off the ports between their choice and the broker's start, which are seconds apart, and while it is down:
/// whoever chooses ports as this module does takes a port's UDP side first, which no broker uses.
#[derive(Debug, Clone, Default)]
struct Reserved(#[expect(dead_code, reason = "held open, never read")] Arc<Vec<UdpSocket>>);

/// A reservation is no part of what the ports are.
impl PartialEq for Reserved {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Reserved {}

#[cfg(test)]
impl Ports {
    /// Ports in a row, for what is only looked at.
    pub(super) fn fixed(first: u16, plugins: u16) -> Self {
        Self {
            amqp: first,
            management: first + 1,
            prometheus: first + 2,
            epmd: first + 3,
            distribution: first + 4,
            plugins: (0..plugins).map(|place| first + 5 + place).collect(),
            reserved: Reserved::default(),
        }
    }
}

/// Chooses free ports, but for those that the plan names.
pub(super) fn choose(amqp: Option<u16>, management: Option<u16>, plugins: usize) -> Result<Ports, BrokerError> {
    let mut reserved = Vec::new();
    for (port, key) in [(amqp, "amqp_port"), (management, "management_port")] {
        if let Some(port) = port {
            reserved.push(reserve(port).map_err(|_| BrokerError::PortTaken { port, key })?);
        }
    }
    let mut free = || -> Result<u16, BrokerError> {
        let (port, reservation) = reserve_some()?;
        reserved.push(reservation);
        Ok(port)
    };
    let mut ports = Ports {
        amqp: amqp.map_or_else(&mut free, Ok)?,
        management: management.map_or_else(&mut free, Ok)?,
        prometheus: free()?,
        epmd: free()?,
        distribution: free()?,
        plugins: (0..plugins).map(|_| free()).collect::<Result<_, _>>()?,
        reserved: Reserved::default(),
    };
    ports.reserved = Reserved(Arc::new(reserved));
    Ok(ports)
}

/// Reserves a port that nobody listens on.
fn reserve(port: u16) -> std::io::Result<UdpSocket> {
    let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    Ok(reservation)
}

fn reserve_some() -> Result<(u16, UdpSocket), BrokerError> {
    let mut reason = String::new();
    for _ in 0..ATTEMPTS {
        let port = FIRST + secrets::below(COUNT)?;
        match reserve(port) {
            Ok(reservation) => return Ok((port, reservation)),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(BrokerError::NoPort { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_chosen_once_until_its_broker_is_gone() {
        let first = choose(None, None, 0).unwrap();
        let port = first.amqp;
        // Nobody listens on it yet; it is reserved all the same.
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(matches!(choose(Some(port), None, 0), Err(BrokerError::PortTaken { .. })));
        drop(first);
        assert_eq!(choose(Some(port), None, 0).unwrap().amqp, port);
    }
}
