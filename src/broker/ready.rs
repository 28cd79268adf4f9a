//! Waiting until a broker that we started answers, or has ended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::error::BrokerError;
use super::handshake;
use super::management::{Listener, Management};
use crate::endpoint::Endpoint;
use crate::engine::procfs;

const PAUSE: Duration = Duration::from_millis(200);

/// What a started broker is watched through.
pub(super) trait Watch {
    /// How it ended; none: it runs.
    async fn ended(&self) -> Option<String>;
    /// The end of its log.
    async fn log(&self) -> String;
}

/// Returns when AMQP and the management API both take our credentials.
pub(super) async fn wait(
    endpoint: &Endpoint,
    management: Option<&Management>,
    timeout: Duration,
    watch: &impl Watch,
) -> Result<(), BrokerError> {
    let start = Instant::now();
    let mut last = "it was not asked yet".to_owned();
    loop {
        if let Some(how) = watch.ended().await {
            return Err(BrokerError::Died { how, log: watch.log().await });
        }
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(BrokerError::NotReady { after: timeout, last, log: watch.log().await });
        }
        // The API comes up before AMQP and costs the starting broker less to refuse.
        match tokio::time::timeout(left, attempt(endpoint, management)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "the last attempt got no answer".to_owned(),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn attempt(endpoint: &Endpoint, management: Option<&Management>) -> Result<(), BrokerError> {
    if let Some(management) = management {
        management.overview().await?;
    }
    handshake::attempt(endpoint).await
}

/// [`wait`] for a broker that was ready before.
pub(super) async fn wait_again(
    endpoint: &Endpoint,
    management: Option<&Management>,
    timeout: Duration,
) -> Result<(), BrokerError> {
    wait(endpoint, management, timeout, &Unwatched).await
}

struct Unwatched;

impl Watch for Unwatched {
    async fn ended(&self) -> Option<String> {
        None
    }

    async fn log(&self) -> String {
        "(not read)".to_owned()
    }
}

/// Fails where something of the broker listens beyond loopback, whatever plugin or setting opened it. The broker says
/// which ports it has; where they are bound is asked of the system, because what the broker says of that is wrong for
/// its distribution, and in RabbitMQ 3 for HTTP too.
pub(super) async fn check_loopback(management: &Management) -> Result<(), BrokerError> {
    let listeners = management.overview().await?.listeners;
    let open = procfs::listening().map(|sockets| open_listeners(&listeners, &sockets)).unwrap_or_default();
    if open.is_empty() { Ok(()) } else { Err(BrokerError::Exposed { listeners: open.join(", ") }) }
}

fn open_listeners(listeners: &[Listener], sockets: &[SocketAddr]) -> Vec<String> {
    sockets
        .iter()
        .filter(|socket| !socket.ip().is_loopback())
        .filter_map(|socket| {
            let listener = listeners.iter().find(|listener| listener.port == socket.port())?;
            Some(format!("{} on {socket}", listener.protocol))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_listeners_of_the_broker_are_named() {
        let listener =
            |protocol: &str, port| Listener { protocol: protocol.to_owned(), ip_address: "::".to_owned(), port };
        let listeners = [listener("amqp", 5672), listener("http", 15672), listener("mqtt", 1883)];
        let sockets = ["127.0.0.1:5672", "[::1]:15672", "0.0.0.0:1883", "0.0.0.0:22"].map(|text| text.parse().unwrap());
        assert_eq!(open_listeners(&listeners, &sockets), ["mqtt on 0.0.0.0:1883"]);
    }
}
