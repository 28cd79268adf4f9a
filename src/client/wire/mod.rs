//! The wire adapter: AMQP 0-9-1 over a socket of its own, made for load.
//!
//! May use what `client` may use, and `amqp`. One task for each connection (its *driver*) reads, hands what it reads to
//! the channels, writes what they have put into the connection's buffer, and keeps the heartbeat. A link puts its
//! frames into that buffer and takes its deliveries and confirms out of its channel; in between nothing is allocated
//! for a message.
//!
//! What callers should know: a link that takes nothing stops the reading of its whole connection once a few megabytes
//! wait for it, as AMQP has no other brake for deliveries without acks.

mod arriving;
mod asking;
mod channel;
mod confirms;
mod dial;
mod driver;
mod handshake;
mod inbox;
mod line;
mod poller;
mod publisher;
mod subscriber;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

pub use self::dial::Socket;

use self::asking::WireConnection;
use self::line::{Handle, Line};
use super::{Client, ClientError, Connection};
use crate::endpoint::Endpoint;

/// How long TCP, TLS and the AMQP handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one question to the broker (open a channel, declare a queue) may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a channel's goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Speaks AMQP 0-9-1 by itself. Needs a tokio runtime; what a connection costs is spent on the runtime that opens it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire;

#[async_trait]
impl Client for Wire {
    async fn connect(&self, endpoint: &Endpoint, name: &str) -> Result<Box<dyn Connection>, ClientError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let too_late = |_| ClientError::Connect {
            endpoint: endpoint.to_string(),
            reason: format!("no answer within {CONNECT_TIMEOUT:?}"),
        };
        let opened = async {
            let socket = dial::dial(endpoint).await?;
            self.connect_over(socket, endpoint, name).await
        };
        timeout_at(deadline, opened).await.map_err(too_late)?
    }
}

impl Wire {
    /// Says hello over a socket that is open already, in place of the endpoint's own. Never gives up waiting.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_over(
        &self,
        socket: Box<dyn Socket>,
        endpoint: &Endpoint,
        name: &str,
    ) -> Result<Box<dyn Connection>, ClientError> {
        let greeted = handshake::greet(socket, endpoint, name).await?;
        let (line, driver) = Line::open(greeted);
        tokio::spawn(driver.run());
        Ok(Box::new(WireConnection::new(Arc::new(Handle(line)))))
    }
}
