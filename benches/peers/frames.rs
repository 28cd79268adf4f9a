//! AMQP 0-9-1 frames as the floor needs them: written once, read in place. The numbers of classes and methods are those
//! of the specification, <https://www.rabbitmq.com/amqp-0-9-1-reference>.

use std::io::{self, Read};

/// A method's class and number.
pub type Method = (u16, u16);

pub const START: Method = (10, 10);
pub const START_OK: Method = (10, 11);
pub const TUNE: Method = (10, 30);
pub const TUNE_OK: Method = (10, 31);
pub const OPEN: Method = (10, 40);
pub const OPEN_OK: Method = (10, 41);
pub const CLOSE: Method = (10, 50);
pub const CLOSE_OK: Method = (10, 51);
pub const CHANNEL_OPEN: Method = (20, 10);
pub const CHANNEL_OPEN_OK: Method = (20, 11);
pub const QUEUE_DECLARE: Method = (50, 10);
pub const QUEUE_DECLARE_OK: Method = (50, 11);
pub const QUEUE_DELETE: Method = (50, 40);
pub const QUEUE_DELETE_OK: Method = (50, 41);
pub const QOS: Method = (60, 10);
pub const QOS_OK: Method = (60, 11);
pub const CONSUME: Method = (60, 20);
pub const CONSUME_OK: Method = (60, 21);
pub const PUBLISH: Method = (60, 40);
pub const DELIVER: Method = (60, 60);
pub const ACK: Method = (60, 80);
pub const CONFIRM_SELECT: Method = (85, 10);
pub const CONFIRM_SELECT_OK: Method = (85, 11);

/// What the client says first.
pub const PROTOCOL: &[u8; 8] = b"AMQP\0\0\x09\x01";

const METHOD_FRAME: u8 = 1;
const HEADER_FRAME: u8 = 2;
const BODY_FRAME: u8 = 3;
const FRAME_END: u8 = 0xce;
/// Kind, channel and length before the payload; the end mark after it.
const AROUND: usize = 8;

/// A frame that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the broker sent a frame that cannot be read: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// What a frame says, as far as the floor listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A method with its arguments.
    Method(Method, &'a [u8]),
    /// Begins a body of so many bytes.
    Header(u64),
    /// So many bytes of a body.
    Body(usize),
    /// Nothing of interest.
    Other,
}

/// The first frame in `bytes` and its length; none where it is not whole yet.
pub fn split(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let [kind, _, _, a, b, c, d, ..] = *bytes else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize + AROUND;
    if bytes.len() < length {
        return Ok(None);
    }
    if bytes[length - 1] != FRAME_END {
        return Err(Malformed("it does not end where it says"));
    }
    let payload = &bytes[AROUND - 1..length - 1];
    let frame = match kind {
        METHOD_FRAME => match payload {
            [a, b, c, d, arguments @ ..] => {
                Frame::Method((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])), arguments)
            }
            _ => return Err(Malformed("a method without a number")),
        },
        HEADER_FRAME => Frame::Header(long(payload, 4).ok_or(Malformed("a header without a length"))?),
        BODY_FRAME => Frame::Body(payload.len()),
        _ => Frame::Other,
    };
    Ok(Some((frame, length)))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Delivery tag and `multiple` of a `basic.ack`.
pub fn ack(arguments: &[u8]) -> Result<(u64, bool), Malformed> {
    match (long(arguments, 0), arguments.get(8)) {
        (Some(tag), Some(bits)) => Ok((tag, bits & 1 == 1)),
        _ => Err(Malformed("an ack without a tag")),
    }
}

/// Delivery tag of a `basic.deliver`; it stands behind the consumer's tag.
pub fn delivered(arguments: &[u8]) -> Result<u64, Malformed> {
    let tag = arguments.first().and_then(|length| long(arguments, 1 + usize::from(*length)));
    tag.ok_or(Malformed("a delivery without a tag"))
}

/// Bytes that came, and how far they are read.
pub struct Inbox {
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Inbox {
    /// One that takes so many bytes at once; a frame must fit.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], begin: 0, end: 0 }
    }

    /// Waits for bytes and takes what is there.
    pub fn fill(&mut self, from: &mut impl Read) -> io::Result<()> {
        self.bytes.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        match from.read(&mut self.bytes[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            came => {
                self.end += came;
                Ok(())
            }
        }
    }

    /// The next whole frame, where there is one.
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Malformed> {
        let found = split(&self.bytes[self.begin..self.end])?;
        Ok(found.map(|(frame, length)| {
            self.begin += length;
            frame
        }))
    }
}

/// A method's arguments while they are written.
pub struct Arguments(Vec<u8>);

impl Arguments {
    /// Those of `method`.
    pub fn of(method: Method) -> Self {
        Self([method.0.to_be_bytes(), method.1.to_be_bytes()].concat())
    }

    /// Bits, or any other eight of them.
    pub fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// 16 bits.
    pub fn short(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// 32 bits.
    pub fn word(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// 64 bits.
    pub fn long(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// A text of at most 255 bytes; what is longer is cut.
    pub fn text(mut self, text: &str) -> Self {
        let cut = &text.as_bytes()[..text.len().min(255)];
        self.0.push(cut.len() as u8);
        self.0.extend(cut);
        self
    }

    /// A text that may be long.
    pub fn long_text(mut self, text: &str) -> Self {
        self = self.word(text.len() as u32);
        self.0.extend(text.as_bytes());
        self
    }

    /// A table with nothing in it.
    pub fn no_table(self) -> Self {
        self.word(0)
    }

    /// As a frame on a channel.
    pub fn frame(self, channel: u16) -> Vec<u8> {
        around(METHOD_FRAME, channel, &self.0)
    }
}

fn around(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + AROUND);
    frame.push(kind);
    frame.extend(channel.to_be_bytes());
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame.push(FRAME_END);
    frame
}

/// A persistent message to a queue through the default exchange: its three frames.
pub fn message(channel: u16, queue: &str, body: &[u8]) -> Vec<u8> {
    /// Bit of the delivery mode among the properties' flags.
    const DELIVERY_MODE: u16 = 1 << 12;
    const PERSISTENT: u8 = 2;
    let publish = Arguments::of(PUBLISH).short(0).text("").text(queue).byte(0).frame(channel);
    let mut header = Vec::new();
    header.extend(PUBLISH.0.to_be_bytes());
    header.extend([0, 0]);
    header.extend((body.len() as u64).to_be_bytes());
    header.extend(DELIVERY_MODE.to_be_bytes());
    header.push(PERSISTENT);
    [publish, around(HEADER_FRAME, channel, &header), around(BODY_FRAME, channel, body)].concat()
}

/// Which messages are confirmed. The broker numbers them from 1, confirms them in any order, and many with one ack.
pub struct Confirms {
    /// Lowest number that is not confirmed.
    oldest: u64,
    /// One bit for each number above it, in a ring.
    early: Vec<u64>,
    count: u64,
}

impl Confirms {
    /// Numbers that may lie between the oldest without an answer and the newest with one.
    pub const REACH: u64 = 1 << 16;

    /// None is.
    pub fn new() -> Self {
        Self { oldest: 1, early: vec![0; (Self::REACH / 64) as usize], count: 0 }
    }

    /// How many are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Notes an ack.
    pub fn acked(&mut self, tag: u64, multiple: bool) -> Result<(), Malformed> {
        if tag < self.oldest || tag - self.oldest >= Self::REACH {
            return Err(Malformed("a confirm of what is not in flight"));
        }
        if multiple {
            while self.oldest <= tag {
                self.count += u64::from(!self.take(self.oldest));
                self.oldest += 1;
            }
        } else {
            let (word, bit) = Self::place(tag);
            if self.early[word] & bit != 0 {
                return Err(Malformed("a second confirm of one message"));
            }
            self.early[word] |= bit;
            self.count += 1;
        }
        while self.take(self.oldest) {
            self.oldest += 1;
        }
        Ok(())
    }

    fn place(tag: u64) -> (usize, u64) {
        let at = tag % Self::REACH;
        ((at / 64) as usize, 1 << (at % 64))
    }

    /// Clears a number's bit; whether it was set.
    fn take(&mut self, tag: u64) -> bool {
        let (word, bit) = Self::place(tag);
        let was_set = self.early[word] & bit != 0;
        self.early[word] &= !bit;
        was_set
    }
}
