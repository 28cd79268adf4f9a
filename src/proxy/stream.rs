//! One stream of a connection: what came, up to where it may pass, and what goes out. Uses no room. Pure.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// One stream. Frames that pass as they came leave in one piece, as many as came together, and are not copied.
#[derive(Debug, Default)]
pub(super) struct Stream {
    buffer: BytesMut,
    /// So many bytes of the buffer pass, once something else has to go out after them.
    run: usize,
    out: Vec<Bytes>,
    /// Frames that wait for the end of a message on their channel.
    waiting: VecDeque<(u16, Bytes)>,
}

impl Stream {
    /// Where to put what comes.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// What was not judged yet.
    pub fn unread(&self) -> &[u8] {
        &self.buffer[self.run..]
    }

    /// What was not judged yet, to change it in place.
    pub fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.run..]
    }

    /// The next bytes pass.
    pub fn pass(&mut self, bytes: usize) {
        self.run = (self.run + bytes).min(self.buffer.len());
    }

    /// All that came passes.
    pub fn pass_all(&mut self) {
        self.run = self.buffer.len();
    }

    /// What passes goes out.
    pub fn cut(&mut self) {
        if self.run > 0 {
            self.out.push(self.buffer.split_to(self.run).freeze());
            self.run = 0;
        }
    }

    /// Takes the next bytes out.
    pub fn take(&mut self, bytes: usize) -> BytesMut {
        self.cut();
        self.buffer.split_to(bytes.min(self.buffer.len()))
    }

    /// Something else goes out, after what passes.
    pub fn emit(&mut self, bytes: Bytes) {
        self.cut();
        self.out.push(bytes);
    }

    /// Something else is to go out once it may.
    pub fn wait(&mut self, channel: u16, bytes: Bytes) {
        self.waiting.push_back((channel, bytes));
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what waited for channels that `may` send now.
    pub fn settle_waiting(&mut self, mut may: impl FnMut(u16) -> bool) {
        for (channel, bytes) in std::mem::take(&mut self.waiting) {
            if may(channel) {
                self.emit(bytes);
            } else {
                self.waiting.push_back((channel, bytes));
            }
        }
    }

    /// Forgets what waits for a channel; for all of them where there is none.
    pub fn forget_waiting(&mut self, channel: Option<u16>) {
        self.waiting.retain(|(waits, _)| channel.is_some_and(|channel| *waits != channel));
    }

    /// Moves out what goes out.
    pub fn take_out(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.out)
    }
}
