//! The floor: a bare socket and nothing else. Frames are encoded once and sent again, acks are parsed in place; no
//! ledger, no histogram, no error that is dealt with. What is left is what the broker and the kernel cost a client.
//!
//! One connection and thread publishes, as many messages in one write as the confirm window allows, up to 256; another
//! consumes, and acks each message with a frame of its own, those of one read in one write.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use super::contender::{Job, Timed};
use super::frames::{self, Arguments, Confirms, Frame, Inbox, Method};
use super::outcome::{CONFIRM_WINDOW, PREFETCH};
use super::stand::{Address, Failure};

const CHANNEL: u16 = 1;
const QUEUE: &str = "peers.floor";
/// Most messages in one write.
const BATCH: u64 = 256;
const READ_BYTES: usize = 256 << 10;
const FRAME_MAX: u32 = 128 << 10;

/// Publishes and consumes the job's messages.
pub fn run(job: &Job, address: &Address) -> Result<Timed, Failure> {
    let mut consumer = Connection::open(address)?;
    // What a run that was killed left in it would be taken for this one's.
    let delete = || Arguments::of(frames::QUEUE_DELETE).short(0).text(QUEUE).byte(0);
    consumer.ask(delete(), frames::QUEUE_DELETE_OK)?;
    let declare = Arguments::of(frames::QUEUE_DECLARE).short(0).text(QUEUE).byte(2).no_table();
    consumer.ask(declare, frames::QUEUE_DECLARE_OK)?;
    consumer.ask(Arguments::of(frames::QOS).word(0).short(PREFETCH).byte(0), frames::QOS_OK)?;
    let consume = Arguments::of(frames::CONSUME).short(0).text(QUEUE).text("floor").byte(0).no_table();
    consumer.ask(consume, frames::CONSUME_OK)?;
    let mut producer = Connection::open(address)?;
    producer.ask(Arguments::of(frames::CONFIRM_SELECT).byte(0), frames::CONFIRM_SELECT_OK)?;

    let messages = job.messages;
    let message = frames::message(CHANNEL, QUEUE, &vec![b'x'; job.size]);
    let batch = message.repeat(BATCH as usize);
    let timed = Timed::measure(|| {
        std::thread::scope(|scope| {
            let publishing = scope.spawn(|| publish(&mut producer, &batch, message.len(), messages));
            let last = consume_all(&mut consumer, messages);
            publishing.join().map_err(|_| "the publishing thread panicked")??;
            last
        })
    })?;

    consumer.ask(delete(), frames::QUEUE_DELETE_OK)?;
    consumer.close()?;
    producer.close()?;
    Ok(timed)
}

fn publish(connection: &mut Connection, batch: &[u8], length: usize, messages: u64) -> Result<(), Failure> {
    let mut confirms = Confirms::new();
    let mut sent = 0;
    while confirms.count() < messages {
        let room = CONFIRM_WINDOW - (sent - confirms.count());
        let now = room.min(BATCH).min(messages - sent);
        if now > 0 {
            connection.stream.write_all(&batch[..now as usize * length])?;
            sent += now;
        }
        connection.inbox.fill(&mut connection.stream)?;
        while let Some(frame) = connection.inbox.next()? {
            match frame {
                Frame::Method(frames::ACK, arguments) => {
                    let (tag, multiple) = frames::ack(arguments)?;
                    confirms.acked(tag, multiple)?;
                }
                Frame::Other => {}
                unexpected => return Err(format!("the publisher was sent {unexpected:?}").into()),
            }
        }
    }
    Ok(())
}

/// Consumes and acks so many messages; when the last of them was delivered.
fn consume_all(connection: &mut Connection, messages: u64) -> Result<Instant, Failure> {
    let (mut consumed, mut tag, mut body_left) = (0, 0, 0);
    let mut acks = Vec::with_capacity(READ_BYTES);
    // All alike but for the tag.
    let ack = Arguments::of(frames::ACK).long(0).byte(0).frame(CHANNEL);
    let tag_at = ack.len() - 10;
    while consumed < messages {
        connection.inbox.fill(&mut connection.stream)?;
        while let Some(frame) = connection.inbox.next()? {
            match frame {
                Frame::Method(frames::DELIVER, arguments) => tag = frames::delivered(arguments)?,
                Frame::Header(length) => body_left = length,
                Frame::Body(length) => {
                    body_left = body_left.checked_sub(length as u64).ok_or("a body is longer than it said")?;
                    if body_left == 0 {
                        consumed += 1;
                        let from = acks.len();
                        acks.extend_from_slice(&ack);
                        acks[from + tag_at..from + tag_at + 8].copy_from_slice(&tag.to_be_bytes());
                    }
                }
                Frame::Other => {}
                unexpected => return Err(format!("the consumer was sent {unexpected:?}").into()),
            }
        }
        if consumed >= messages {
            let last = Instant::now();
            connection.stream.write_all(&acks)?;
            return Ok(last);
        }
        connection.stream.write_all(&acks)?;
        acks.clear();
    }
    Err("there is nothing to consume".into())
}

struct Connection {
    stream: TcpStream,
    inbox: Inbox,
}

impl Connection {
    /// Connects, logs in and opens a channel.
    fn open(address: &Address) -> Result<Self, Failure> {
        let stream = TcpStream::connect((address.host.as_str(), address.port))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, inbox: Inbox::new(READ_BYTES) };
        connection.stream.write_all(frames::PROTOCOL)?;
        connection.expect(frames::START)?;
        let login = format!("\0{}\0{}", address.user, address.password);
        let start_ok = Arguments::of(frames::START_OK).no_table().text("PLAIN").long_text(&login).text("en_US");
        connection.stream.write_all(&start_ok.frame(0))?;
        connection.expect(frames::TUNE)?;
        // One channel, no heartbeat: a run is short.
        let tune_ok = Arguments::of(frames::TUNE_OK).short(CHANNEL).word(FRAME_MAX).short(0);
        connection.stream.write_all(&tune_ok.frame(0))?;
        let open = Arguments::of(frames::OPEN).text("/").text("").byte(0);
        connection.stream.write_all(&open.frame(0))?;
        connection.expect(frames::OPEN_OK)?;
        connection.ask(Arguments::of(frames::CHANNEL_OPEN).text(""), frames::CHANNEL_OPEN_OK)?;
        Ok(connection)
    }

    fn ask(&mut self, question: Arguments, answer: Method) -> Result<(), Failure> {
        self.stream.write_all(&question.frame(CHANNEL))?;
        self.expect(answer)
    }

    fn expect(&mut self, method: Method) -> Result<(), Failure> {
        loop {
            match self.inbox.next()? {
                Some(Frame::Method(found, _)) if found == method => return Ok(()),
                Some(Frame::Other) => {}
                Some(unexpected) => return Err(format!("waited for {method:?}, and was sent {unexpected:?}").into()),
                None => self.inbox.fill(&mut self.stream)?,
            }
        }
    }

    fn close(mut self) -> Result<(), Failure> {
        let close = Arguments::of(frames::CLOSE).short(200).text("done").short(0).short(0);
        self.stream.write_all(&close.frame(0))?;
        self.expect(frames::CLOSE_OK)
    }
}
