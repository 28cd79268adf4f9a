//! What can be wrong with bytes that claim to be AMQP, or with what was asked to be written as such.

/// Why bytes are no AMQP 0-9-1, or why something cannot be written as such.
///
/// After an error of a reader the connection is beyond repair: where the next frame begins is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Instead of a frame, the peer sent a protocol header: a broker's way to say which version it would have taken.
    #[error("the peer offers protocol version {}.{}.{} instead of AMQP 0-9-1", offered[5], offered[6], offered[7])]
    WrongVersion {
        /// Its protocol header.
        offered: [u8; 8],
    },
    /// No frame begins with this byte.
    #[error("no frame has the type {kind}")]
    UnknownFrameType {
        /// First byte.
        kind: u8,
    },
    /// The byte after the payload is not the one that ends a frame.
    #[error("a frame ends with byte {found} instead of 206")]
    FrameEnd {
        /// What is in its place.
        found: u8,
    },
    /// A frame larger than what was negotiated.
    #[error("a frame of {size} bytes, and {limit} are allowed")]
    FrameTooLarge {
        /// The whole frame in bytes, its header and end included.
        size: u64,
        /// Bytes that a whole frame may have.
        limit: u32,
    },
    /// A frame is whole, but what it holds goes on beyond its end.
    #[error("{what} is cut off")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// No method has this number.
    #[error("no method {method} in class {class}")]
    UnknownMethod {
        /// Class of the method.
        class: u16,
        /// Number of the method in its class.
        method: u16,
    },
    /// It is whole, but not what it has to be.
    #[error("malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// A body goes on beyond the size that its header announced.
    #[error("a body of {announced} bytes was announced, and at least {got} came")]
    BodyTooLong {
        /// Bytes that the content header announced.
        announced: u64,
        /// Bytes so far, the last frame's included.
        got: u64,
    },
    /// A frame that may not come where it came.
    #[error("{what} came out of order")]
    Unexpected {
        /// What came.
        what: &'static str,
    },
}
