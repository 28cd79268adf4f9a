//! Content headers: the size of a body, and a message's properties.

use super::reader::Reader;
use super::table::Table;
use super::write::short_len;
use super::{CLASS_BASIC, CodecError};

/// What the bytes of a property are.
#[derive(Debug, Clone, Copy)]
enum Form {
    Text,
    Table,
    Octet,
    Time,
}

/// The properties by their number: the first one's flag is the highest bit. The two lowest bits are no property's: one is
/// unused, and the other says that more flags follow, which class basic has none for.
const FORMS: [Form; 14] = {
    use Form::{Octet, Table, Text, Time};
    [Text, Text, Table, Octet, Octet, Text, Text, Text, Text, Time, Text, Text, Text, Text]
};
const CONTENT_TYPE: usize = 0;
const CONTENT_ENCODING: usize = 1;
const HEADERS: usize = 2;
const DELIVERY_MODE: usize = 3;
const PRIORITY: usize = 4;
const CORRELATION_ID: usize = 5;
const REPLY_TO: usize = 6;
const EXPIRATION: usize = 7;
const MESSAGE_ID: usize = 8;
const TIMESTAMP: usize = 9;
const KIND: usize = 10;
const USER_ID: usize = 11;
const APP_ID: usize = 12;
const CLUSTER_ID: usize = 13;

const fn flag(number: usize) -> u16 {
    0x8000 >> number
}

/// A message's properties, to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PropertiesToWrite<'a> {
    /// MIME type of the body.
    pub content_type: Option<&'a str>,
    /// MIME encoding of the body.
    pub content_encoding: Option<&'a str>,
    /// Entries of the headers' table, without a length before them.
    pub headers: Option<&'a [u8]>,
    /// 1: transient, 2: persistent.
    pub delivery_mode: Option<u8>,
    /// Priority, 0 to 9.
    pub priority: Option<u8>,
    /// Id that an answer refers to.
    pub correlation_id: Option<&'a str>,
    /// Queue for an answer.
    pub reply_to: Option<&'a str>,
    /// Time to live in milliseconds, as a decimal text.
    pub expiration: Option<&'a str>,
    /// The message's id.
    pub message_id: Option<&'a str>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// Kind of message; AMQP calls it type.
    pub kind: Option<&'a str>,
    /// User; the broker refuses any but the connection's own.
    pub user_id: Option<&'a str>,
    /// Application.
    pub app_id: Option<&'a str>,
}

/// Appends flags and values of the properties, as [`put_header`](super::put_header) takes them.
///
/// # Errors
///
/// [`CodecError::Malformed`] where a text has more than 255 bytes, or the headers have 4 GiB; then nothing is appended.
pub fn put_properties(out: &mut Vec<u8>, properties: &PropertiesToWrite<'_>) -> Result<(), CodecError> {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    let written = put_values(out, properties);
    match written {
        Ok(flags) => out[start..start + 2].copy_from_slice(&flags.to_be_bytes()),
        Err(_) => out.truncate(start),
    }
    written.map(|_| ())
}

/// Appends the values, and returns their flags.
fn put_values(out: &mut Vec<u8>, properties: &PropertiesToWrite<'_>) -> Result<u16, CodecError> {
    let mut flags = 0;
    put_text(out, &mut flags, CONTENT_TYPE, properties.content_type)?;
    put_text(out, &mut flags, CONTENT_ENCODING, properties.content_encoding)?;
    if let Some(headers) = properties.headers {
        // The other properties and the frame around them have to fit beside it.
        let len = u32::try_from(headers.len()).ok().filter(|len| *len < u32::MAX - 8192);
        let len = len.ok_or(CodecError::Malformed { what: "headers of 4 GiB" })?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(headers);
        flags |= flag(HEADERS);
    }
    for (number, value) in [(DELIVERY_MODE, properties.delivery_mode), (PRIORITY, properties.priority)] {
        if let Some(value) = value {
            out.push(value);
            flags |= flag(number);
        }
    }
    put_text(out, &mut flags, CORRELATION_ID, properties.correlation_id)?;
    put_text(out, &mut flags, REPLY_TO, properties.reply_to)?;
    put_text(out, &mut flags, EXPIRATION, properties.expiration)?;
    put_text(out, &mut flags, MESSAGE_ID, properties.message_id)?;
    if let Some(seconds) = properties.timestamp {
        out.extend_from_slice(&seconds.to_be_bytes());
        flags |= flag(TIMESTAMP);
    }
    put_text(out, &mut flags, KIND, properties.kind)?;
    put_text(out, &mut flags, USER_ID, properties.user_id)?;
    put_text(out, &mut flags, APP_ID, properties.app_id)?;
    Ok(flags)
}

fn put_text(out: &mut Vec<u8>, flags: &mut u16, number: usize, text: Option<&str>) -> Result<(), CodecError> {
    if let Some(text) = text {
        out.push(short_len(text, "a property of more than 255 bytes")?);
        out.extend_from_slice(text.as_bytes());
        *flags |= flag(number);
    }
    Ok(())
}

/// A content header as read, in place.
///
/// Lengths were checked when it was parsed, so that no accessor fails; an accessor walks over the properties before its
/// own. Texts are the peer's bytes, which need not be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// Class of the content: always that of basic, 60.
    pub class: u16,
    /// Bytes of the body that follows.
    pub body_size: u64,
    flags: u16,
    values: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Reads a header frame's payload.
    ///
    /// # Errors
    ///
    /// [`CodecError::Truncated`], and [`CodecError::Malformed`] for another class than basic, a weight (reserved, to be
    /// 0), a flag that is no property's, and bytes after the properties.
    pub fn parse(payload: &'a [u8]) -> Result<Self, CodecError> {
        let mut from = Reader::new(payload, "a content header");
        let (class, weight, body_size, flags) = (from.u16()?, from.u16()?, from.u64()?, from.u16()?);
        if class != CLASS_BASIC {
            return Err(CodecError::Malformed { what: "a content header of another class than basic" });
        }
        if weight != 0 {
            return Err(CodecError::Malformed { what: "a content header with a weight" });
        }
        let values = from.rest();
        skip(&mut from, flags)?;
        from.end("bytes after the properties")?;
        Ok(Self { class, body_size, flags, values })
    }

    /// Flags and values of all properties: what [`put_header`](super::put_header) takes to write the same again.
    pub fn put_properties_again(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.flags.to_be_bytes());
        out.extend_from_slice(self.values);
    }

    /// Reads the property from its place, where its flag is set.
    fn at<T>(&self, number: usize, read: impl FnOnce(&mut Reader<'a>) -> Result<T, CodecError>) -> Option<T> {
        if self.flags & flag(number) == 0 {
            return None;
        }
        let mut from = Reader::new(self.values, "a property");
        // Flags of the properties before it are those above its own.
        skip(&mut from, self.flags & !(u16::MAX >> number)).ok()?;
        read(&mut from).ok()
    }

    fn text(&self, number: usize) -> Option<&'a [u8]> {
        self.at(number, Reader::short_text)
    }

    /// MIME type of the body.
    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.text(CONTENT_TYPE)
    }

    /// MIME encoding of the body.
    pub fn content_encoding(&self) -> Option<&'a [u8]> {
        self.text(CONTENT_ENCODING)
    }

    /// The headers; what is in them is checked when they are iterated.
    pub fn headers(&self) -> Option<Table<'a>> {
        self.at(HEADERS, Table::read)
    }

    /// 1: transient, 2: persistent.
    pub fn delivery_mode(&self) -> Option<u8> {
        self.at(DELIVERY_MODE, Reader::u8)
    }

    /// Priority.
    pub fn priority(&self) -> Option<u8> {
        self.at(PRIORITY, Reader::u8)
    }

    /// Id that an answer refers to.
    pub fn correlation_id(&self) -> Option<&'a [u8]> {
        self.text(CORRELATION_ID)
    }

    /// Queue for an answer.
    pub fn reply_to(&self) -> Option<&'a [u8]> {
        self.text(REPLY_TO)
    }

    /// Time to live in milliseconds, as a decimal text.
    pub fn expiration(&self) -> Option<&'a [u8]> {
        self.text(EXPIRATION)
    }

    /// The message's id.
    pub fn message_id(&self) -> Option<&'a [u8]> {
        self.text(MESSAGE_ID)
    }

    /// Seconds since 1970.
    pub fn timestamp(&self) -> Option<u64> {
        self.at(TIMESTAMP, Reader::u64)
    }

    /// Kind of message; AMQP calls it type.
    pub fn kind(&self) -> Option<&'a [u8]> {
        self.text(KIND)
    }

    /// User that published it.
    pub fn user_id(&self) -> Option<&'a [u8]> {
        self.text(USER_ID)
    }

    /// Application.
    pub fn app_id(&self) -> Option<&'a [u8]> {
        self.text(APP_ID)
    }

    /// Cluster; deprecated.
    pub fn cluster_id(&self) -> Option<&'a [u8]> {
        self.text(CLUSTER_ID)
    }
}

/// Goes past the values of all `flags`.
fn skip(from: &mut Reader<'_>, mut flags: u16) -> Result<(), CodecError> {
    while flags != 0 {
        let number = flags.leading_zeros() as usize;
        flags &= !flag(number);
        match FORMS.get(number) {
            Some(Form::Text) => from.short_text()?,
            Some(Form::Table) => from.long_text()?,
            Some(Form::Octet) => from.take(1)?,
            Some(Form::Time) => from.take(8)?,
            None => return Err(CodecError::Malformed { what: "a flag of no property" }),
        };
    }
    Ok(())
}
