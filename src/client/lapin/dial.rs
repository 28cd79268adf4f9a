//! From an endpoint to an open socket: name resolution, TCP and TLS, within one deadline.
//!
//! lapin would dial by itself, but then a refused connection leaves a task behind, its TLS trusts the system's
//! authorities beside the given ones, and nobody holds the socket that has to be cut when a broker stops answering.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use ::lapin::AsyncTcpStream;
use ::lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use ::lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use async_rs::traits::Reactor;
use async_rs::{Tokio, TokioRuntime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::ClientError;
use crate::endpoint::{Credentials, Endpoint, TlsFiles};

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
    let connector = endpoint.tls.as_ref().map(tls_connector).transpose()?;
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

/// A connector that trusts the given authorities and no others; the system's where none are given.
fn tls_connector(files: &TlsFiles) -> Result<RustlsConnector, ClientError> {
    let config = match &files.ca {
        Some(ca) => RustlsConnectorConfig::default().with_parsable_certificates(certificates(ca)?),
        None => RustlsConnectorConfig::new_with_native_certs()
            .map_err(|error| tls_error(Path::new("of the system's authorities"), &error))?,
    };
    match (&files.cert, &files.key) {
        (None, None) => {
            let ca = files.ca.as_deref().unwrap_or(Path::new("of the system's authorities"));
            config.connector_with_no_client_auth().map_err(|error| tls_error(ca, &error))
        }
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| tls_error(key, &error))?;
            config.connector_with_single_cert(chain, private).map_err(|error| tls_error(cert, &error))
        }
        (Some(cert), None) => Err(tls_error(cert, &"a client certificate needs its private key beside it")),
        (None, Some(key)) => Err(tls_error(key, &"a private key needs its client certificate beside it")),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let failed = |error: rustls::pki_types::pem::Error| tls_error(path, &error);
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() {
        return Err(tls_error(path, &"it holds no certificate in PEM"));
    }
    Ok(found)
}

fn tls_error(path: &Path, reason: &dyn std::fmt::Display) -> ClientError {
    ClientError::Tls { path: path.display().to_string(), reason: reason.to_string() }
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

    #[test]
    fn tls_errors_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.pem");
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        for path in [missing, empty] {
            let files = TlsFiles { ca: Some(path.clone()), ..TlsFiles::default() };
            let error = tls_connector(&files).expect_err("refused").to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}
