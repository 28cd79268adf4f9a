//! A publisher's frames: what is the same for many messages is encoded once and copied.

use std::fmt::Write;
use std::sync::Arc;

use super::super::convert::table;
use super::super::{ClientError, MoreProperties, Outgoing, PublisherSetup};
use crate::amqp::{
    CodecError, FRAME_OVERHEAD, PropertiesToWrite, put_body, put_entries, put_entry_bytes, put_header, put_properties,
    put_publish,
};
use crate::stamp::STAMP_HEADER;

/// AMQP delivery modes (AMQP 0-9-1, class basic).
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;
/// Bytes of a content header's frame beside its properties.
const HEADER_BYTES: usize = FRAME_OVERHEAD + 12;

/// Writes the frames of one publishing channel.
pub(super) struct Writer {
    channel: u16,
    frame_max: u32,
    exchange: String,
    mandatory: bool,
    mode: u8,
    /// Routing key of the last message, and the frame of its `basic.publish`.
    key: Option<Arc<str>>,
    publish: Vec<u8>,
    /// What the last message's properties were made of, where they had no stamp, and their bytes.
    of: Option<(Option<u8>, Option<Arc<MoreProperties>>)>,
    properties: Vec<u8>,
    /// What the entries of the last message's headers were made of, and those but for the stamp.
    entries_of: Option<Arc<MoreProperties>>,
    entries: Vec<u8>,
    /// The entries with a stamp, for one message.
    stamped: Vec<u8>,
    /// The time to live as text.
    expiration: String,
}

impl Writer {
    pub(super) fn new(channel: u16, frame_max: u32, setup: &PublisherSetup) -> Self {
        Self {
            channel,
            frame_max,
            exchange: setup.exchange.clone(),
            mandatory: setup.mandatory,
            mode: if setup.persistent { PERSISTENT } else { TRANSIENT },
            key: None,
            publish: Vec::new(),
            of: None,
            properties: Vec::new(),
            entries_of: None,
            entries: Vec::new(),
            stamped: Vec::new(),
            expiration: String::new(),
        }
    }

    /// Appends the frames of a message to `out`.
    ///
    /// # Errors
    /// [`ClientError::Unfit`]; `out` is as it was.
    pub(super) fn write(&mut self, message: &Outgoing, body: &[u8], out: &mut Vec<u8>) -> Result<(), ClientError> {
        self.take_key(&message.routing_key)?;
        self.take_properties(message)?;
        let header_bytes = HEADER_BYTES + self.properties.len();
        if header_bytes > self.frame_max as usize {
            let reason =
                format!("a header of {header_bytes} bytes, and the broker takes {} in a frame", self.frame_max);
            return Err(ClientError::Unfit { what: "message's properties".to_owned(), reason });
        }
        out.extend_from_slice(&self.publish);
        put_header(out, self.channel, body.len() as u64, &self.properties);
        put_body(out, self.channel, body, self.frame_max);
        Ok(())
    }

    fn take_key(&mut self, key: &Arc<str>) -> Result<(), ClientError> {
        if self.key.as_ref().is_some_and(|last| Arc::ptr_eq(last, key)) {
            return Ok(());
        }
        self.key = None;
        self.publish.clear();
        put_publish(&mut self.publish, self.channel, &self.exchange, key, self.mandatory)
            .map_err(|error| unfit("routing key", &error))?;
        self.key = Some(Arc::clone(key));
        Ok(())
    }

    fn take_properties(&mut self, message: &Outgoing) -> Result<(), ClientError> {
        let properties = &message.properties;
        let same = self.of.as_ref().is_some_and(|(priority, more)| {
            *priority == properties.priority && is_same(more.as_ref(), properties.more.as_ref())
        });
        if same && properties.stamp.is_none() {
            return Ok(());
        }
        self.of = None;
        self.take_entries(properties.more.as_ref())?;
        let mut entries = &self.entries;
        if let Some(stamp) = &properties.stamp {
            self.stamped.clear();
            self.stamped.extend_from_slice(&self.entries);
            put_entry_bytes(&mut self.stamped, STAMP_HEADER, stamp).map_err(|error| unfit("header", &error))?;
            entries = &self.stamped;
        }
        self.properties.clear();
        self.expiration.clear();
        if let Some(ms) = properties.more.as_ref().and_then(|more| more.expiration_ms) {
            // Writing to a string does not fail.
            let _ = write!(self.expiration, "{ms}");
        }
        let expiration = (!self.expiration.is_empty()).then_some(self.expiration.as_str());
        let to_write = PropertiesToWrite {
            headers: (!entries.is_empty()).then_some(entries),
            delivery_mode: Some(self.mode),
            priority: properties.priority,
            expiration,
            ..PropertiesToWrite::default()
        };
        encode(&mut self.properties, to_write, properties.more.as_deref())?;
        // Bytes with a stamp are one message's own.
        self.of = properties.stamp.is_none().then(|| (properties.priority, properties.more.clone()));
        Ok(())
    }

    fn take_entries(&mut self, more: Option<&Arc<MoreProperties>>) -> Result<(), ClientError> {
        let Some(more) = more.filter(|more| !more.headers.is_empty()) else {
            self.entries_of = None;
            self.entries.clear();
            return Ok(());
        };
        if is_same(self.entries_of.as_ref(), Some(more)) {
            return Ok(());
        }
        self.entries_of = None;
        self.entries.clear();
        put_entries(&mut self.entries, &table(&more.headers)?).map_err(|error| unfit("headers", &error))?;
        self.entries_of = Some(Arc::clone(more));
        Ok(())
    }
}

/// Whether both are the same in memory: what fleets set for many messages is shared by them.
fn is_same(one: Option<&Arc<MoreProperties>>, other: Option<&Arc<MoreProperties>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

fn encode<'a>(
    out: &mut Vec<u8>,
    mut properties: PropertiesToWrite<'a>,
    more: Option<&'a MoreProperties>,
) -> Result<(), ClientError> {
    if let Some(more) = more {
        properties.content_type = more.content_type.as_deref();
        properties.content_encoding = more.content_encoding.as_deref();
        properties.correlation_id = more.correlation_id.as_deref();
        properties.reply_to = more.reply_to.as_deref();
        properties.message_id = more.message_id.as_deref();
        properties.kind = more.kind.as_deref();
        properties.app_id = more.app_id.as_deref();
    }
    put_properties(out, &properties).map_err(|error| unfit("message's properties", &error))
}

fn unfit(what: &str, error: &CodecError) -> ClientError {
    ClientError::Unfit { what: what.to_owned(), reason: error.to_string() }
}
