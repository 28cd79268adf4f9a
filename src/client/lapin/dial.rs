//! From an endpoint to an open socket: name resolution, TCP and TLS, within one deadline.
//!
//! lapin would dial by itself, but then a refused connection leaves a task behind, its TLS trusts the system's
//! authorities beside the given ones, and nobody holds the socket that has to be cut when a broker stops answering.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use ::lapin::AsyncTcpStream;
use ::lapin::tcp::RustlsConnector;
use ::lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use async_rs::traits::Reactor;
use async_rs::{Tokio, TokioRuntime};

use super::super::{ClientError, tls};
use crate::endpoint::{Credentials, Endpoint};

/// How long TCP, TLS and the AMQP handshake may take together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The stream that lapin reads and writes.
pub(super) type Stream = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// A second handle on a connection's socket. Dropping it cuts the connection, so that lapin's thread, which may wait
/// for a broker that never answers, reads the end of the stream and ends.
#[derive(Debug)]
pub(super) struct Cutter(TcpStream);

impl Cutter {
    /// Cuts the connection now. Cutting a connection that is gone does nothing.
    pub(super) fn cut(&self) {
        // An error says that the socket is no longer connected, which is what is wanted.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Dials the endpoint, TLS included.
pub(super) async fn dial(endpoint: &Endpoint, runtime: &TokioRuntime) -> Result<(Stream, Cutter), ClientError> {
    let connector = endpoint.tls.as_ref().map(tls::config).transpose()?.map(RustlsConnector::from);
    let failed =
        |error: std::io::Error| ClientError::Connect { endpoint: endpoint.to_string(), reason: error.to_string() };
    let addresses = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await.map_err(failed)?;
    let stream: Stream = AsyncTcpStream::connect(runtime, addresses.collect::<Vec<_>>()).await.map_err(failed)?;
    let AsyncTcpStream::Plain(socket) = &stream else {
        return Err(failed(std::io::Error::other("the stream is encrypted before TLS began")));
    };
    let handle = socket.get_ref().as_fd().try_clone_to_owned().map_err(failed)?;
    let cutter = Cutter(TcpStream::from(handle));
    let stream = match connector {
        Some(connector) => stream.into_rustls(&connector, &endpoint.host).await.map_err(failed)?,
        None => stream,
    };
    Ok((stream, cutter))
}

/// What lapin needs to know beside the socket: credentials, virtual host, heartbeat.
pub(super) fn uri(endpoint: &Endpoint) -> AMQPUri {
    let (username, password, mechanism) = match &endpoint.credentials {
        Credentials::Plain { user, password } => (user.clone(), password.reveal().to_owned(), SASLMechanism::Plain),
        Credentials::External => (String::new(), String::new(), SASLMechanism::External),
    };
    // Whole seconds, at least one: 0 would mean no heartbeat at all.
    let heartbeat = endpoint.heartbeat.map(|every| every.as_secs().clamp(1, u64::from(u16::MAX)) as u16);
    AMQPUri {
        scheme: if endpoint.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username, password },
            host: endpoint.host.clone(),
            port: endpoint.port,
        },
        vhost: endpoint.vhost.clone(),
        query: AMQPQueryString { heartbeat, auth_mechanism: Some(mechanism), ..AMQPQueryString::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Secret;

    fn endpoint(heartbeat: Option<Duration>) -> Endpoint {
        Endpoint {
            host: "127.0.0.1".to_owned(),
            port: 5672,
            vhost: "/a b".to_owned(),
            credentials: Credentials::Plain { user: "u".to_owned(), password: Secret::new("p@:/") },
            tls: None,
            heartbeat,
        }
    }

    #[test]
    fn a_heartbeat_below_one_second_does_not_turn_it_off() {
        assert_eq!(uri(&endpoint(Some(Duration::from_millis(200)))).query.heartbeat, Some(1));
        assert_eq!(uri(&endpoint(Some(Duration::from_secs(100_000)))).query.heartbeat, Some(u16::MAX));
        assert_eq!(uri(&endpoint(None)).query.heartbeat, None);
    }

    #[test]
    fn a_password_and_a_virtual_host_are_handed_over_as_they_are() {
        let uri = uri(&endpoint(None));
        assert_eq!((uri.authority.userinfo.password.as_str(), uri.vhost.as_str()), ("p@:/", "/a b"));
    }
}
