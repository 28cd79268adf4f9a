//! Which frame may follow on a channel, without holding the body.

use super::CodecError;

/// Where one direction of one channel is: a method that carries content, then its header, then bodies up to the size
/// that the header announced. An error leaves it as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContentState {
    awaits: Awaits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Awaits {
    #[default]
    Method,
    Header,
    Body {
        announced: u64,
        left: u64,
    },
}

impl ContentState {
    /// Awaits a method.
    pub fn new() -> Self {
        Self::default()
    }

    /// A method that carries content arrived.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unexpected`] inside of a content.
    pub fn begin(&mut self) -> Result<(), CodecError> {
        self.method()?;
        self.awaits = Awaits::Header;
        Ok(())
    }

    /// A method that carries no content arrived.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unexpected`] inside of a content.
    pub fn method(&self) -> Result<(), CodecError> {
        if self.is_idle() { Ok(()) } else { Err(CodecError::Unexpected { what: "a method inside of a content" }) }
    }

    /// A content header arrived that announces `body_size` bytes; true where the content is complete already.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unexpected`] where no header is due.
    pub fn header(&mut self, body_size: u64) -> Result<bool, CodecError> {
        if self.awaits != Awaits::Header {
            return Err(CodecError::Unexpected { what: "a content header without its method" });
        }
        let is_complete = body_size == 0;
        self.awaits = if is_complete { Awaits::Method } else { Awaits::Body { announced: body_size, left: body_size } };
        Ok(is_complete)
    }

    /// A body frame with so many `bytes` arrived; true where it completes the content.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unexpected`] where no body is due, [`CodecError::BodyTooLong`] where less was announced.
    pub fn body(&mut self, bytes: usize) -> Result<bool, CodecError> {
        let Awaits::Body { announced, left } = self.awaits else {
            return Err(CodecError::Unexpected { what: "a body without its header" });
        };
        let bytes = bytes as u64;
        let Some(left) = left.checked_sub(bytes) else {
            let got = (announced - left).saturating_add(bytes);
            return Err(CodecError::BodyTooLong { announced, got });
        };
        self.awaits = if left == 0 { Awaits::Method } else { Awaits::Body { announced, left } };
        Ok(left == 0)
    }

    /// Whether a method may come next.
    pub fn is_idle(&self) -> bool {
        self.awaits == Awaits::Method
    }

    /// Bytes of the body that are still to come; none where no header told yet.
    pub fn left(&self) -> Option<u64> {
        match self.awaits {
            Awaits::Body { left, .. } => Some(left),
            Awaits::Method | Awaits::Header => None,
        }
    }
}
