//! One AMQP handshake, to learn whether a broker is ready and takes our credentials. Nothing is kept of it.

use std::io::ErrorKind;
use std::time::Duration;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{Connection, ConnectionProperties};

use super::error::BrokerError;
use super::tls;
use crate::endpoint::{Credentials, Endpoint};

const TIMEOUT: Duration = Duration::from_secs(10);

/// AMQP reply code of a refused login.
const ACCESS_REFUSED: u16 = 403;
/// AMQP reply codes of a refused or unknown virtual host.
const NOT_ALLOWED: u16 = 530;
const NOT_FOUND: u16 = 404;

/// Connects, and says goodbye.
pub(super) async fn attempt(endpoint: &Endpoint) -> Result<(), BrokerError> {
    let unreachable = |reason: String| BrokerError::Unreachable { endpoint: endpoint.to_string(), reason };
    let tls = match &endpoint.tls {
        Some(files) => {
            let material = tls::read(files)?;
            OwnedTLSConfig {
                cert_chain: material.ca.map(|ca| String::from_utf8_lossy(&ca).into_owned()),
                identity: material.identity.map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key }),
            }
        }
        None => OwnedTLSConfig::default(),
    };
    let runtime = lapin::runtime::default_runtime().map_err(|error| unreachable(error.to_string()))?;
    let properties = ConnectionProperties::default().with_connection_name("lurcher probe".into());
    let connecting = Connection::connect_uri_with_config(uri(endpoint), properties, tls, runtime);
    let connection = tokio::time::timeout(TIMEOUT, connecting)
        .await
        .map_err(|_| unreachable(format!("no answer within {TIMEOUT:?}")))?
        .map_err(|error| explain(endpoint, &error))?;
    let _closing = tokio::time::timeout(TIMEOUT, connection.close(200, "OK".into())).await;
    Ok(())
}

fn uri(endpoint: &Endpoint) -> AMQPUri {
    let (username, password, mechanism) = match &endpoint.credentials {
        Credentials::Plain { user, password } => (user.clone(), password.reveal().to_owned(), SASLMechanism::Plain),
        Credentials::External => (String::new(), String::new(), SASLMechanism::External),
    };
    AMQPUri {
        scheme: if endpoint.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username, password },
            host: endpoint.host.clone(),
            port: endpoint.port,
        },
        vhost: endpoint.vhost.clone(),
        query: AMQPQueryString { auth_mechanism: Some(mechanism), ..AMQPQueryString::default() },
    }
}

fn explain(endpoint: &Endpoint, error: &lapin::Error) -> BrokerError {
    let shown = endpoint.to_string();
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refusal) => {
            let reason = refusal.get_message().to_string();
            match refusal.get_id() {
                ACCESS_REFUSED if !reason.contains("vhost") => {
                    let user = match &endpoint.credentials {
                        Credentials::Plain { user, .. } => format!("`{user}`"),
                        Credentials::External => "the client certificate".to_owned(),
                    };
                    BrokerError::LoginRefused { endpoint: shown, user, reason }
                }
                NOT_ALLOWED | NOT_FOUND | ACCESS_REFUSED => {
                    BrokerError::VhostRefused { endpoint: shown, vhost: endpoint.vhost.clone(), reason }
                }
                _ => BrokerError::Unreachable { endpoint: shown, reason },
            }
        }
        lapin::ErrorKind::IOError(io)
            if matches!(
                io.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
            ) =>
        {
            // Docker's proxy and a broker that still starts both take the connection and drop it.
            BrokerError::Unreachable { endpoint: shown, reason: format!("the connection was dropped ({io})") }
        }
        lapin::ErrorKind::IOError(io) => {
            let hint = if is_plain_answer(io) {
                "; the port may not speak TLS: give the broker's port for TLS, mostly 5671, or write `amqp://`"
            } else {
                ""
            };
            BrokerError::Unreachable { endpoint: shown, reason: format!("{io}{hint}") }
        }
        _ => BrokerError::Unreachable { endpoint: shown, reason: error.to_string() },
    }
}

/// Whether what came in answer to TLS was not TLS.
fn is_plain_answer(error: &std::io::Error) -> bool {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(of_tls, Some(rustls::Error::InvalidMessage(_)))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::endpoint::{Secret, TlsFiles};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_port_without_tls_is_told_from_a_broken_broker() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // What RabbitMQ says to whoever does not begin with the header of AMQP.
        let answering = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            std::io::Read::read(&mut socket, &mut [0; 8]).unwrap();
            socket.write_all(b"AMQP\0\0\x09\x01").unwrap();
        });
        let endpoint = Endpoint {
            host: "127.0.0.1".to_owned(),
            port,
            vhost: "/".to_owned(),
            credentials: Credentials::Plain { user: "me".to_owned(), password: Secret::new("hush") },
            tls: Some(TlsFiles::default()),
            heartbeat: None,
        };
        let error = attempt(&endpoint).await.unwrap_err();
        assert!(error.to_string().contains("may not speak TLS"), "{error}");
        answering.join().unwrap();
    }
}
