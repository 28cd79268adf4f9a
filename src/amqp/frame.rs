//! Frames: where one ends in what was received (section 4.2.3 of the AMQP 0-9-1 specification).

use super::CodecError;

/// What a client sends first: AMQP 0-9-1.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
/// The last byte of every frame.
pub const FRAME_END: u8 = 0xce;
/// Bytes of a frame around its payload: type, channel, size and end.
pub const FRAME_OVERHEAD: usize = 8;
/// Bytes that a whole frame may have before a limit is negotiated; no limit may be lower.
pub const FRAME_MIN_SIZE: u32 = 4096;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A method: [`Method`](super::Method).
    Method = 1,
    /// A content header: [`ContentHeader`](super::ContentHeader).
    Header = 2,
    /// A piece of a body.
    Body = 3,
    /// Nothing: a sign of life.
    Heartbeat = 8,
}

/// A whole frame, in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: FrameKind,
    /// Its channel; 0 is the connection.
    pub channel: u16,
    /// What is between its header and its end.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the whole frame: so many to skip to the next one.
    pub fn wire_len(&self) -> usize {
        self.payload.len() + FRAME_OVERHEAD
    }
}

/// The first whole frame of `bytes`; none where more bytes are needed.
///
/// `frame_max` counts bytes of the whole frame; 0 sets no limit, and then a reader's buffer may have to hold 4 GiB.
///
/// # Errors
///
/// What cannot become a frame is refused as early as its bytes tell: a type that there is not from the first, a frame
/// over the limit and a heartbeat with a channel or a payload (which section 4.2.7 forbids) from the first seven. A frame
/// that does not end with [`FRAME_END`], or a protocol header in place of a frame, once it is whole.
pub fn first_frame(bytes: &[u8], frame_max: u32) -> Result<Option<Frame<'_>>, CodecError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let kind = match first {
        1 => FrameKind::Method,
        2 => FrameKind::Header,
        3 => FrameKind::Body,
        8 => FrameKind::Heartbeat,
        kind => return refused_version(bytes, kind),
    };
    let Some((&[_, c1, c0, s3, s2, s1, s0], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let channel = u16::from_be_bytes([c1, c0]);
    let payload_len = u32::from_be_bytes([s3, s2, s1, s0]);
    let size = u64::from(payload_len) + FRAME_OVERHEAD as u64;
    if frame_max != 0 && size > u64::from(frame_max) {
        return Err(CodecError::FrameTooLarge { size, limit: frame_max });
    }
    if kind == FrameKind::Heartbeat && (channel != 0 || payload_len != 0) {
        return Err(CodecError::Malformed { what: "a heartbeat with a channel or a payload" });
    }
    match rest.split_at_checked(payload_len as usize) {
        Some((payload, &[FRAME_END, ..])) => Ok(Some(Frame { kind, channel, payload })),
        Some((_, &[found, ..])) => Err(CodecError::FrameEnd { found }),
        Some((_, [])) | None => Ok(None),
    }
}

/// Bytes that begin with no frame's type: a protocol header, the start of one, or nothing of AMQP.
#[cold]
fn refused_version(bytes: &[u8], kind: u8) -> Result<Option<Frame<'_>>, CodecError> {
    let name = &PROTOCOL_HEADER[..4];
    if !bytes.starts_with(name) && !name.starts_with(bytes) {
        return Err(CodecError::UnknownFrameType { kind });
    }
    match bytes.first_chunk() {
        Some(&offered) => Err(CodecError::WrongVersion { offered }),
        None => Ok(None),
    }
}
