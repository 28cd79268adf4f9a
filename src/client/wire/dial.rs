//! From an endpoint to an open socket: name resolution, TCP and TLS.

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::{ClientError, tls};
use crate::endpoint::Endpoint;

/// What a connection reads and writes.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Dials the endpoint, TLS included.
pub(super) async fn dial(endpoint: &Endpoint) -> Result<Box<dyn Socket>, ClientError> {
    let tls = endpoint.tls.as_ref().map(tls::config).transpose()?;
    let failed =
        |error: std::io::Error| ClientError::Connect { endpoint: endpoint.to_string(), reason: error.to_string() };
    let socket = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(failed)?;
    // A frame that waits for an ack of the one before would be a latency of our own making.
    socket.set_nodelay(true).map_err(failed)?;
    let Some(config) = tls else { return Ok(Box::new(socket)) };
    let name = ServerName::try_from(endpoint.host.clone())
        .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
    let socket = TlsConnector::from(config).connect(name, socket).await.map_err(failed)?;
    Ok(Box::new(socket))
}
