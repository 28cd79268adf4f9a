//! A message whose frames are coming in, and what its headers tell.

use super::super::{CAUSATION_HEADER, Death, Delivery, Ids, Outcome};
use super::channel::Role;
use crate::amqp::{CodecError, ContentHeader, Table, Value};
use crate::stamp::{Reading, STAMP_HEADER, STAMP_LEN, Stamp};

/// Largest body that is taken in, in bytes: RabbitMQ's own limit cannot be set higher.
const BODY_MAX: u64 = 512 << 20;

/// A message between its method and its last frame.
pub(super) enum Arriving {
    /// For the inbox of a subscriber; its body goes there piece by piece, from `from` on.
    Delivery { delivery: Delivery, from: usize },
    /// Back to its publisher.
    Returned { outcome: Outcome, stamp: Option<[u8; STAMP_LEN]>, body: Vec<u8> },
    /// Nobody waits for it any more.
    Unwanted,
}

impl Arriving {
    pub(super) fn returned(outcome: Outcome) -> Self {
        Self::Returned { outcome, stamp: None, body: Vec::new() }
    }

    /// Where its body begins in the inbox, where it goes there.
    pub(super) fn from(&self) -> Option<usize> {
        match self {
            Self::Delivery { from, .. } => Some(*from),
            Self::Returned { .. } | Self::Unwanted => None,
        }
    }

    /// Its content header.
    ///
    /// # Errors
    /// It announces a body that no broker can hold, or its headers cannot be read.
    pub(super) fn header(&mut self, header: &ContentHeader<'_>, role: &mut Role) -> Result<(), CodecError> {
        if header.body_size > BODY_MAX {
            return Err(CodecError::Unexpected { what: "a body of more than 512 MiB" });
        }
        match (self, role) {
            (Self::Delivery { delivery, from }, Role::Subscriber(inbox)) => {
                *from = inbox.bodies().len();
                if let Some(headers) = header.headers() {
                    // Read only as far as something is looked for: what cannot be read behind it would go unnoticed.
                    headers.validate()?;
                    delivery.stamp = stamp(&headers);
                    delivery.deaths = deaths(&headers);
                }
                delivery.ids = inbox.wants_ids().then(|| Box::new(ids(header)));
            }
            (Self::Returned { stamp: found, .. }, _) => *found = header.headers().and_then(|headers| stamp(&headers)),
            _ => {}
        }
        Ok(())
    }

    /// A piece of its body.
    pub(super) fn body(&mut self, piece: &[u8], role: &mut Role) {
        match (self, role) {
            (Self::Delivery { .. }, Role::Subscriber(inbox)) => inbox.bodies().extend_from_slice(piece),
            (Self::Returned { body, .. }, _) => body.extend_from_slice(piece),
            _ => {}
        }
    }

    /// It is complete.
    pub(super) fn end(self, role: &mut Role) {
        match (self, role) {
            (Self::Delivery { delivery, from }, Role::Subscriber(inbox)) => inbox.close(delivery, from),
            (Self::Returned { outcome, stamp, body }, Role::Publisher(confirms)) => {
                if let Some(token) = stamped_sequence(stamp, &body) {
                    confirms.returned(token, outcome);
                }
            }
            _ => {}
        }
    }
}

/// The sequence in a message's stamp, whichever run it belongs to; none where there is no whole stamp.
fn stamped_sequence(header: Option<[u8; STAMP_LEN]>, body: &[u8]) -> Option<u64> {
    let (stamp, rest) = match &header {
        Some(stamp) => (stamp.as_slice(), body),
        None => body.split_at_checked(STAMP_LEN)?,
    };
    let run = u32::from_be_bytes(stamp.first_chunk().copied()?);
    match Stamp::read(stamp, rest, run) {
        Reading::Ours(stamp) => Some(stamp.sequence),
        Reading::Corrupt(_) | Reading::Foreign => None,
    }
}

fn stamp(headers: &Table<'_>) -> Option<[u8; STAMP_LEN]> {
    headers.get(STAMP_HEADER)?.as_bytes()?.try_into().ok()
}

fn ids(header: &ContentHeader<'_>) -> Ids {
    let causation = header.headers().and_then(|headers| headers.get(CAUSATION_HEADER)?.as_bytes());
    Ids::read(header.message_id(), header.correlation_id(), causation)
}

/// The entries of `x-death`: the broker puts the newest one first. What is no entry ends them.
fn deaths(headers: &Table<'_>) -> Box<[Death]> {
    let Some(Value::Array(entries)) = headers.get("x-death") else { return Box::default() };
    entries.iter().map_while(|entry| death(&entry.ok()?)).collect()
}

fn death(entry: &Value<'_>) -> Option<Death> {
    let Value::Table(entry) = entry else { return None };
    let text = |key| Some(String::from_utf8_lossy(entry.get(key)?.as_bytes()?).into_owned());
    let count = entry.get("count").and_then(|count| count.as_i64());
    Some(Death {
        queue: text("queue")?,
        reason: text("reason")?,
        count: count.and_then(|count| u64::try_from(count).ok()).unwrap_or(1),
        unix_seconds: match entry.get("time") {
            Some(Value::Timestamp(seconds)) => Some(seconds),
            _ => None,
        },
    })
}
