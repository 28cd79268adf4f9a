//! What can go wrong with an exchange, a queue or a binding, and what to do about it.

use std::fmt;

use crate::client::ClientError;

/// An exchange, a queue or a binding, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An exchange.
    Exchange(String),
    /// A queue.
    Queue(String),
    /// A binding.
    Binding {
        /// Exchange that messages come from.
        source: String,
        /// Queue or exchange that they go to.
        destination: String,
        /// Routing key.
        key: String,
    },
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(name) => write!(f, "exchange `{name}`"),
            Self::Queue(name) => write!(f, "queue `{name}`"),
            Self::Binding { source, destination, key } => {
                write!(f, "binding of `{destination}` to exchange `{source}` with key `{key}`")
            }
        }
    }
}

/// Why the topology could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TopologyError {
    /// No connection, or it was lost.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It exists with other properties (406).
    #[error(
        "{item} exists with other properties: {reason}; delete it, give it another name, or write in the scenario what the broker has"
    )]
    Conflict {
        /// What.
        item: Item,
        /// The broker's reply.
        reason: String,
    },
    /// The user may not (403).
    #[error("{item} is refused: {reason}; give the user the permission to configure, write and read it")]
    Forbidden {
        /// What.
        item: Item,
        /// The broker's reply.
        reason: String,
    },
    /// It, or what it refers to, does not exist (404).
    #[error("{item} is missing: {reason}")]
    Missing {
        /// What.
        item: Item,
        /// The broker's reply.
        reason: String,
    },
    /// Messages of somebody else's, which would be counted as this run's.
    #[error("queue `{queue}` holds {messages} messages before the run; purge it or give it another name")]
    NotEmpty {
        /// The queue.
        queue: String,
        /// Messages ready in it.
        messages: u64,
    },
    /// Consumers of somebody else's, which would take messages away from this run.
    #[error("queue `{queue}` has {consumers} consumers before the run; stop them or give it another name")]
    InUse {
        /// The queue.
        queue: String,
        /// Its consumers.
        consumers: u64,
    },
    /// A stream that was there before, and keeps what was ever written to it.
    #[error("stream `{queue}` exists before the run, and may hold messages; delete it or give it another name")]
    StreamExists {
        /// The stream.
        queue: String,
    },
    /// Any other refusal.
    #[error("the broker refused {item}: {code} {reason}")]
    Failed {
        /// What.
        item: Item,
        /// AMQP reply code.
        code: u16,
        /// The broker's reply.
        reason: String,
    },
}

impl TopologyError {
    /// The client's error, with the item that it concerns.
    pub(super) fn of(item: Item, error: ClientError) -> Self {
        match error {
            ClientError::ChannelClosed { code: 403, reason } => Self::Forbidden { item, reason },
            ClientError::ChannelClosed { code: 404, reason } => Self::Missing { item, reason },
            ClientError::ChannelClosed { code: 406, reason } => Self::Conflict { item, reason },
            ClientError::ChannelClosed { code, reason } => Self::Failed { item, code, reason },
            other => Self::Client(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_item_and_says_what_to_do() {
        let binding =
            Item::Binding { source: "orders".to_owned(), destination: "billing".to_owned(), key: "order.#".to_owned() };
        let closed = |code| ClientError::ChannelClosed { code, reason: "the broker's words".to_owned() };
        let lost = ClientError::ConnectionLost { reason: "end of file".to_owned() };
        let texts: Vec<String> = [
            TopologyError::of(Item::Queue("billing".to_owned()), closed(406)),
            TopologyError::of(Item::Exchange("orders".to_owned()), closed(403)),
            TopologyError::of(binding, closed(404)),
            TopologyError::of(Item::Queue("billing".to_owned()), closed(405)),
            TopologyError::of(Item::Queue("billing".to_owned()), lost),
            TopologyError::NotEmpty { queue: "billing".to_owned(), messages: 7 },
            TopologyError::InUse { queue: "billing".to_owned(), consumers: 2 },
            TopologyError::StreamExists { queue: "billing".to_owned() },
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        insta::assert_snapshot!(texts.join("\n"));
    }
}
