//! The hello: version, who we are, and what both sides can live with.

use amq_protocol::protocol::{AMQPClass, connection};
use amq_protocol::types::{AMQPValue, FieldTable, LongString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::ClientError;
use super::super::convert::short;
use super::dial::Socket;
use crate::amqp::{CodecError, FrameKind, Method, PROTOCOL_HEADER, first_frame, put_method};
use crate::endpoint::{Credentials, Endpoint};

/// Largest frame that we take, in bytes, as RabbitMQ proposes it.
const FRAME_MAX: u32 = 131_072;
/// What a broker's reply means that is no refusal: it is shutting down, or broken.
const CONNECTION_FORCED: u16 = 320;
const INTERNAL_ERROR: u16 = 541;

/// A socket on which the hello is said.
pub(super) struct Greeted {
    pub(super) socket: Box<dyn Socket>,
    /// Read with the last answer, and belongs to what comes after.
    pub(super) read_ahead: Vec<u8>,
    pub(super) channel_max: u16,
    pub(super) frame_max: u32,
    /// In seconds; 0: none.
    pub(super) heartbeat: u16,
}

/// Says hello.
pub(super) async fn greet(socket: Box<dyn Socket>, endpoint: &Endpoint, name: &str) -> Result<Greeted, ClientError> {
    let mut talk = Talk { socket, endpoint, read: Vec::new() };
    talk.send(&PROTOCOL_HEADER).await?;
    let connection::AMQPMethod::Start(start) = talk.hear().await? else { return Err(talk.confused()) };
    talk.say(connection::AMQPMethod::StartOk(introduction(endpoint, name, &start.mechanisms)?)).await?;
    let tune = match talk.hear().await? {
        connection::AMQPMethod::Tune(tune) => tune,
        connection::AMQPMethod::Secure(_) => {
            let reason = "it asks for more than PLAIN and EXTERNAL can tell".to_owned();
            return Err(ClientError::Refused { endpoint: endpoint.to_string(), reason });
        }
        _ => return Err(talk.confused()),
    };
    // 0 means no limit.
    let frame_max = if tune.frame_max == 0 { FRAME_MAX } else { tune.frame_max.min(FRAME_MAX) };
    let channel_max = if tune.channel_max == 0 { u16::MAX } else { tune.channel_max };
    // Whole seconds, at least one: 0 would mean no heartbeat at all.
    let asked = endpoint.heartbeat.map(|every| every.as_secs().clamp(1, u64::from(u16::MAX)) as u16);
    let heartbeat = asked.unwrap_or(tune.heartbeat);
    let tuned = connection::TuneOk { channel_max, frame_max, heartbeat };
    talk.say(connection::AMQPMethod::TuneOk(tuned)).await?;
    let open = connection::Open { virtual_host: short(&endpoint.vhost, "virtual host")? };
    talk.say(connection::AMQPMethod::Open(open)).await?;
    let connection::AMQPMethod::OpenOk(_) = talk.hear().await? else { return Err(talk.confused()) };
    Ok(Greeted { socket: talk.socket, read_ahead: talk.read, channel_max, frame_max, heartbeat })
}

fn introduction(endpoint: &Endpoint, name: &str, offered: &LongString) -> Result<connection::StartOk, ClientError> {
    let (mechanism, response) = match &endpoint.credentials {
        Credentials::Plain { user, password } => ("PLAIN", format!("\0{user}\0{}", password.reveal())),
        Credentials::External => ("EXTERNAL", String::new()),
    };
    let offered = String::from_utf8_lossy(offered.as_bytes()).into_owned();
    if !offered.split_whitespace().any(|one| one == mechanism) {
        let plugin = if mechanism == "EXTERNAL" { " (plugin rabbitmq_auth_mechanism_ssl)" } else { "" };
        let reason = format!("it does not offer SASL {mechanism}{plugin}, but {offered}");
        return Err(ClientError::Refused { endpoint: endpoint.to_string(), reason });
    }
    let mut capabilities = FieldTable::default();
    for capability in [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "authentication_failure_close",
    ] {
        capabilities.insert(capability.into(), AMQPValue::Boolean(true));
    }
    let mut client_properties = FieldTable::default();
    client_properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    for (key, value) in [
        ("product", env!("CARGO_PKG_NAME")),
        ("version", env!("CARGO_PKG_VERSION")),
        ("platform", "Rust"),
        ("connection_name", name),
    ] {
        client_properties.insert(key.into(), AMQPValue::LongString(LongString::from(value)));
    }
    let (mechanism, locale) = (mechanism.into(), "en_US".into());
    Ok(connection::StartOk { client_properties, mechanism, response: LongString::from(response), locale })
}

/// A socket during the hello, where one side speaks at a time.
struct Talk<'a> {
    socket: Box<dyn Socket>,
    endpoint: &'a Endpoint,
    read: Vec<u8>,
}

impl Talk<'_> {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let sent = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        let sent: std::io::Result<()> = sent.await;
        sent.map_err(|error| self.not_there(error.to_string()))
    }

    async fn say(&mut self, method: connection::AMQPMethod) -> Result<(), ClientError> {
        let mut frame = Vec::new();
        let what = "hello";
        put_method(&mut frame, 0, &AMQPClass::Connection(method))
            .map_err(|error| ClientError::Unfit { what: what.to_owned(), reason: error.to_string() })?;
        self.send(&frame).await
    }

    /// The broker's next method; its goodbye is an error.
    async fn hear(&mut self) -> Result<connection::AMQPMethod, ClientError> {
        loop {
            let heard = self.frame().map_err(|error| self.not_there(format!("it answers no AMQP 0-9-1: {error}")))?;
            match heard {
                Some(AMQPClass::Connection(connection::AMQPMethod::Close(close))) => {
                    return Err(self.refused(close.reply_code, close.reply_text.as_str()));
                }
                Some(AMQPClass::Connection(method)) => return Ok(method),
                Some(_) => return Err(self.confused()),
                None => {}
            }
            match self.socket.read_buf(&mut self.read).await {
                Ok(0) => return Err(self.not_there("it hung up in the middle of the hello".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(self.not_there(error.to_string())),
            }
        }
    }

    /// The first method that is read; none where more has to be read. Heartbeats say nothing here.
    fn frame(&mut self) -> Result<Option<AMQPClass>, CodecError> {
        while let Some(frame) = first_frame(&self.read, FRAME_MAX)? {
            let length = frame.wire_len();
            let method = match frame.kind {
                FrameKind::Method => Some(Method::parse(frame.payload)?),
                FrameKind::Heartbeat => None,
                FrameKind::Header | FrameKind::Body => {
                    return Err(CodecError::Unexpected { what: "content in a hello" });
                }
            };
            let method = match method {
                Some(Method::Other(method)) => Some(*method),
                Some(_) => return Err(CodecError::Unexpected { what: "a message in a hello" }),
                None => None,
            };
            self.read.drain(..length);
            if method.is_some() {
                return Ok(method);
            }
        }
        Ok(None)
    }

    /// A broker that speaks has refused; one that does not is not there (yet).
    fn refused(&self, code: u16, reason: &str) -> ClientError {
        let told = format!("{code} {reason}");
        match code {
            CONNECTION_FORCED | INTERNAL_ERROR => self.not_there(told),
            _ => ClientError::Refused { endpoint: self.endpoint.to_string(), reason: told },
        }
    }

    fn not_there(&self, reason: String) -> ClientError {
        ClientError::Connect { endpoint: self.endpoint.to_string(), reason }
    }

    fn confused(&self) -> ClientError {
        self.not_there("it answers another question than the hello's".to_owned())
    }
}
