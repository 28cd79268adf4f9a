//! Writers of frames. Each appends whole frames to a buffer, and nothing where it fails.

use super::frame::{FRAME_END, FRAME_OVERHEAD, FrameKind};
use super::method::{ACK, GET, NACK, PUBLISH, REJECT};
use super::{AMQPClass, CLASS_BASIC, CodecError, rare};

/// Bytes before a frame's payload.
const HEAD_LEN: usize = FRAME_OVERHEAD - 1;
/// Bytes of a content header before its properties: class, weight, body size.
const CONTENT_LEN: usize = 12;
/// Largest payload for which the size of the whole frame still is a 32-bit number.
const PAYLOAD_MAX: usize = u32::MAX as usize - FRAME_OVERHEAD;

fn head(kind: FrameKind, channel: u16, payload_len: usize) -> [u8; HEAD_LEN] {
    let [c1, c0] = channel.to_be_bytes();
    // Every caller's payload is below `PAYLOAD_MAX`, or was checked to be.
    let [s3, s2, s1, s0] = (payload_len as u32).to_be_bytes();
    [kind as u8, c1, c0, s3, s2, s1, s0]
}

fn method_head(channel: u16, method: u16, payload_len: usize) -> [u8; HEAD_LEN + 4] {
    let mut bytes = [0; HEAD_LEN + 4];
    bytes[..HEAD_LEN].copy_from_slice(&head(FrameKind::Method, channel, payload_len));
    bytes[HEAD_LEN..HEAD_LEN + 2].copy_from_slice(&CLASS_BASIC.to_be_bytes());
    bytes[HEAD_LEN + 2..].copy_from_slice(&method.to_be_bytes());
    bytes
}

/// The length of a short text, which may have 255 bytes.
pub(super) fn short_len(text: &str, what: &'static str) -> Result<u8, CodecError> {
    u8::try_from(text.len()).map_err(|_| CodecError::Malformed { what })
}

/// Appends a heartbeat.
pub fn put_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&head(FrameKind::Heartbeat, 0, 0));
    out.push(FRAME_END);
}

/// Appends any method, through `amq-protocol`: for what is rare. That the frame keeps within the negotiated limit is the
/// caller's to see.
///
/// # Errors
///
/// [`CodecError::Malformed`] where a table in it cannot be written: nested deeper than
/// [`TABLE_DEPTH_MAX`](super::TABLE_DEPTH_MAX), or with a value of a type that is not for tables (a short string).
pub fn put_method(out: &mut Vec<u8>, channel: u16, method: &AMQPClass) -> Result<(), CodecError> {
    let payload = rare::encode(method)?;
    if payload.len() > PAYLOAD_MAX {
        return Err(CodecError::Malformed { what: "a method of more than 4 GiB" });
    }
    out.reserve(payload.len() + FRAME_OVERHEAD);
    out.extend_from_slice(&head(FrameKind::Method, channel, payload.len()));
    out.extend_from_slice(&payload);
    out.push(FRAME_END);
    Ok(())
}

/// Appends `basic.publish`; its content header and body are to follow.
///
/// # Errors
///
/// [`CodecError::Malformed`] where a name has more than 255 bytes.
pub fn put_publish(
    out: &mut Vec<u8>,
    channel: u16,
    exchange: &str,
    routing_key: &str,
    mandatory: bool,
) -> Result<(), CodecError> {
    let exchange_len = short_len(exchange, "an exchange's name of more than 255 bytes")?;
    let key_len = short_len(routing_key, "a routing key of more than 255 bytes")?;
    let payload_len = 4 + 2 + 1 + exchange.len() + 1 + routing_key.len() + 1;
    out.reserve(payload_len + FRAME_OVERHEAD);
    out.extend_from_slice(&method_head(channel, PUBLISH, payload_len));
    // A reserved number is first: once an access ticket, now 0.
    out.extend_from_slice(&[0, 0, exchange_len]);
    out.extend_from_slice(exchange.as_bytes());
    out.push(key_len);
    out.extend_from_slice(routing_key.as_bytes());
    out.extend_from_slice(&[u8::from(mandatory), FRAME_END]);
    Ok(())
}

fn put_settlement(out: &mut Vec<u8>, channel: u16, method: u16, tag: u64, bits: u8) {
    const LEN: usize = HEAD_LEN + 4;
    let mut bytes = [0; LEN + 8 + 1 + 1];
    bytes[..LEN].copy_from_slice(&method_head(channel, method, 4 + 8 + 1));
    bytes[LEN..LEN + 8].copy_from_slice(&tag.to_be_bytes());
    bytes[LEN + 8] = bits;
    bytes[LEN + 9] = FRAME_END;
    out.extend_from_slice(&bytes);
}

/// Appends `basic.ack`: of one delivery tag, or of all up to it.
pub fn put_ack(out: &mut Vec<u8>, channel: u16, tag: u64, multiple: bool) {
    put_settlement(out, channel, ACK, tag, u8::from(multiple));
}

/// Appends `basic.nack`: of one delivery tag, or of all up to it.
pub fn put_nack(out: &mut Vec<u8>, channel: u16, tag: u64, multiple: bool, requeue: bool) {
    put_settlement(out, channel, NACK, tag, u8::from(multiple) | u8::from(requeue) << 1);
}

/// Appends `basic.reject` of one delivery tag.
pub fn put_reject(out: &mut Vec<u8>, channel: u16, tag: u64, requeue: bool) {
    put_settlement(out, channel, REJECT, tag, u8::from(requeue));
}

/// Appends `basic.get`.
///
/// # Errors
///
/// [`CodecError::Malformed`] where the queue's name has more than 255 bytes.
pub fn put_get(out: &mut Vec<u8>, channel: u16, queue: &str, no_ack: bool) -> Result<(), CodecError> {
    let queue_len = short_len(queue, "a queue's name of more than 255 bytes")?;
    let payload_len = 4 + 2 + 1 + queue.len() + 1;
    out.reserve(payload_len + FRAME_OVERHEAD);
    out.extend_from_slice(&method_head(channel, GET, payload_len));
    out.extend_from_slice(&[0, 0, queue_len]);
    out.extend_from_slice(queue.as_bytes());
    out.extend_from_slice(&[u8::from(no_ack), FRAME_END]);
    Ok(())
}

/// Appends a content header of class basic, for a body of `body_size` bytes, with `properties` as
/// [`put_properties`](super::put_properties) wrote them.
///
/// A header cannot be split: that it keeps within the negotiated limit (20 bytes and the properties) is the caller's to
/// see.
pub fn put_header(out: &mut Vec<u8>, channel: u16, body_size: u64, properties: &[u8]) {
    let payload_len = CONTENT_LEN + properties.len();
    out.reserve(payload_len + FRAME_OVERHEAD);
    out.extend_from_slice(&head(FrameKind::Header, channel, payload_len));
    let mut content = [0; CONTENT_LEN];
    content[..2].copy_from_slice(&CLASS_BASIC.to_be_bytes());
    content[4..].copy_from_slice(&body_size.to_be_bytes());
    out.extend_from_slice(&content);
    out.extend_from_slice(properties);
    out.push(FRAME_END);
}

/// Appends the body in as many frames as `frame_max` (bytes of a whole frame; 0: no limit) asks for; none for an empty
/// body. No peer may negotiate less than [`FRAME_MIN_SIZE`](super::FRAME_MIN_SIZE); a limit that leaves no room for a
/// payload is taken for one of a single byte.
pub fn put_body(out: &mut Vec<u8>, channel: u16, body: &[u8], frame_max: u32) {
    let payload_max = match frame_max {
        0 => PAYLOAD_MAX,
        _ => (frame_max as usize).saturating_sub(FRAME_OVERHEAD).max(1),
    };
    out.reserve(body.len() + body.len().div_ceil(payload_max) * FRAME_OVERHEAD);
    for payload in body.chunks(payload_max) {
        out.extend_from_slice(&head(FrameKind::Body, channel, payload.len()));
        out.extend_from_slice(payload);
        out.push(FRAME_END);
    }
}
