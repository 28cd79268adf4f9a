//! Why a client could not go on, in the words of every adapter.

use std::time::Duration;

use crate::amqp::CodecError;

/// Why a client could not go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The broker could not be reached.
    #[error("could not connect to {endpoint}: {reason}")]
    Connect {
        /// Address without credentials.
        endpoint: String,
        /// What the system or the broker said.
        reason: String,
    },
    /// The broker refused the credentials or the virtual host.
    #[error("{endpoint} refused the login: {reason}")]
    Refused {
        /// Address without credentials.
        endpoint: String,
        /// The broker's reply.
        reason: String,
    },
    /// TLS material could not be read or used.
    #[error("could not use the TLS file {path}: {reason}")]
    Tls {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection ended.
    #[error("connection lost: {reason}")]
    ConnectionLost {
        /// The broker's reply with its code, or the system's error.
        reason: String,
    },
    /// The other side does not keep to AMQP; the connection was dropped.
    #[error("connection dropped: {error}")]
    Protocol {
        /// What it did.
        error: CodecError,
    },
    /// The broker closed the channel.
    #[error("channel closed by the broker: {code} {reason}")]
    ChannelClosed {
        /// AMQP reply code, such as 404 or 406.
        code: u16,
        /// The broker's reply.
        reason: String,
    },
    /// The broker cancelled the subscription, for example because its queue was deleted.
    #[error("subscription to `{queue}` cancelled by the broker")]
    Cancelled {
        /// The queue.
        queue: String,
    },
    /// Something that AMQP cannot carry. The link is as good as before, but the message and those behind it in its
    /// batch were not sent.
    #[error("the {what} does not fit into AMQP: {reason}")]
    Unfit {
        /// What it is, such as "routing key".
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The client itself failed: a defect of this program, not of the broker.
    #[error("the client failed: {reason}")]
    Defect {
        /// What failed.
        reason: String,
    },
    /// No answer within the time that was given.
    #[error("no answer from the broker within {after:?} to {what}")]
    TimedOut {
        /// What was asked.
        what: String,
        /// How long it took.
        after: Duration,
    },
}

impl ClientError {
    /// Whether the connection itself is still usable and only the channel has to be opened again.
    pub fn is_channel_only(&self) -> bool {
        matches!(self, Self::ChannelClosed { .. } | Self::Cancelled { .. })
    }

    /// Whether it would come again on every other connection, so that there is no use in going on.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Unfit { .. } | Self::Defect { .. })
    }
}
