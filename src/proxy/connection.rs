//! One connection at work: two sockets, and between them the conversation and what shapes its streams. Uses no room.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, Interest, Ready};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::conversation::Conversation;
use super::disturbance::{WAYS, Way, What};
use super::hub::{Admitted, Cut};
use super::rule::{Rule, Rules};
use super::shaper::{Due, Shaper};

/// Room for one read.
const READ_BYTES: usize = 64 << 10;
/// How long a connection that was closed on purpose may take to be closed by its peers too.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Why a connection ends.
enum End {
    /// Both streams ended by themselves.
    Done,
    /// It is to be reset: for a disturbance, or because one side was.
    Reset,
    /// It is to be closed.
    Close,
}

/// One connection.
pub(super) struct Connection {
    admitted: Admitted,
    at_work: watch::Receiver<Vec<Arc<Rule>>>,
    rules: Arc<Rules>,
    /// Rules that were met, where a rule counts each connection once.
    met: Vec<u64>,
    conversation: Conversation,
    shapers: [Shaper; 2],
    /// The client's socket and the broker's: where each way comes from.
    sockets: [TcpStream; 2],
}

/// Serves a connection to its end.
pub(super) async fn serve(admitted: Admitted, client: TcpStream, upstream: SocketAddr) {
    let Ok(broker) = TcpStream::connect(upstream).await else {
        // What it would have got from the broker itself.
        let _ = client.set_zero_linger();
        return;
    };
    // Bytes go out when they are due; what a slice is must stay one.
    let _ = client.set_nodelay(true);
    let _ = broker.set_nodelay(true);
    let seed = admitted.hub.seed;
    let mut at_work = admitted.hub.subscribe();
    at_work.mark_changed();
    // Streams of different connections draw differently.
    let draws = seed ^ admitted.entry.number.rotate_left(32);
    let mut connection = Connection {
        at_work,
        rules: Arc::default(),
        met: Vec::new(),
        conversation: Conversation::new(seed),
        shapers: WAYS.map(|way| Shaper::new(way, draws ^ way as u64)),
        sockets: [client, broker],
        admitted,
    };
    match connection.run().await {
        End::Done => {}
        End::Reset => connection.sockets.iter().for_each(|socket| drop(socket.set_zero_linger())),
        End::Close => connection.close().await,
    }
}

impl Connection {
    async fn run(&mut self) -> End {
        loop {
            let now = Instant::now();
            if let Some(end) = self.adopt() {
                return end;
            }
            self.conversation.release(now);
            self.collect(now);
            self.tell_holds();
            if self.conversation.is_cut() {
                // What came before the frame that was swallowed has still passed.
                for way in WAYS {
                    let _ = self.write(way, now).await;
                }
                return End::Reset;
            }
            if self.shapers.iter().any(|shaper| shaper.is_broken(&self.rules)) {
                return End::Reset;
            }
            let (mut wake, mut blocked) = (self.conversation.due(), [false; 2]);
            for way in WAYS {
                match self.write(way, now).await {
                    Ok(Waits { until, is_blocked }) => {
                        wake = wake.into_iter().chain(until).min();
                        blocked[way as usize] = is_blocked;
                    }
                    Err(_) => return End::Reset,
                }
            }
            if self.shapers.iter().all(Shaper::is_done) {
                return End::Done;
            }
            self.tell_holds();
            if self.wait_and_read(wake, blocked).await.is_err() {
                return End::Reset;
            }
        }
    }

    /// Takes over the rules that are at work now, and orders to end.
    fn adopt(&mut self) -> Option<End> {
        if let Some((cut, rule)) = self.admitted.entry.order() {
            rule.acted();
            return Some(match cut {
                Cut::Reset => End::Reset,
                Cut::Close => End::Close,
            });
        }
        if self.at_work.has_changed().is_ok_and(|has_changed| has_changed) {
            let rules = self.admitted.hub.rules_of(self.admitted.entry.number, &self.at_work.borrow_and_update());
            self.rules = Arc::new(rules);
            self.conversation.set_rules(Arc::clone(&self.rules));
            for rule in Arc::clone(&self.rules).iter() {
                let covers_streams = matches!(
                    rule.what(),
                    What::Latency { .. } | What::Bandwidth { .. } | What::Stall { .. } | What::Slice { .. }
                );
                if covers_streams {
                    self.meet(rule);
                }
            }
        }
        None
    }

    fn tell_holds(&self) {
        let holds = self.conversation.holds() || self.shapers.iter().any(Shaper::holds);
        self.admitted.entry.set_holds(holds);
    }

    /// Counts a connection, once.
    fn meet(&mut self, rule: &Rule) {
        if !self.met.contains(&rule.id) {
            self.met.push(rule.id);
            rule.acted();
        }
    }

    /// Moves what the conversation lets out to where it waits for its time.
    fn collect(&mut self, now: Instant) {
        for way in WAYS {
            let shaper = &mut self.shapers[way as usize];
            for bytes in self.conversation.take_out(way) {
                shaper.push(bytes, now, &self.rules);
            }
            if shaper.lose(&self.rules) {
                let is_silence = |rule: &&Arc<Rule>| match rule.what() {
                    What::Silence { direction } => direction.covers(way),
                    _ => false,
                };
                let rules = Arc::clone(&self.rules);
                rules.iter().filter(is_silence).for_each(|rule| self.meet(rule));
            }
        }
    }

    /// Writes what is due on one stream.
    async fn write(&mut self, way: Way, now: Instant) -> io::Result<Waits> {
        let socket = &mut self.sockets[1 - way as usize];
        let shaper = &mut self.shapers[way as usize];
        loop {
            let written = match shaper.due(now, &self.rules) {
                Due::Nothing => return Ok(Waits { until: None, is_blocked: false }),
                Due::At(until) => return Ok(Waits { until: Some(until), is_blocked: false }),
                Due::End => {
                    socket.shutdown().await?;
                    shaper.ended();
                    continue;
                }
                Due::Bytes(pieces) => socket.try_write_vectored(&pieces),
            };
            match written {
                Ok(bytes) => shaper.wrote(bytes, now, &self.rules),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Waits { until: None, is_blocked: true });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until something can be done, and reads what came.
    async fn wait_and_read(&mut self, wake: Option<Instant>, blocked: [bool; 2]) -> io::Result<()> {
        let [from_client, from_broker] =
            WAYS.map(|way| self.conversation.accepts(way) && self.shapers[way as usize].accepts(&self.rules));
        let [client, broker] = &self.sockets;
        let [to_broker_blocked, to_client_blocked] = blocked;
        let ready = tokio::select! {
            ready = readiness(client, from_client, to_client_blocked) => [ready?, Ready::EMPTY],
            ready = readiness(broker, from_broker, to_broker_blocked) => [Ready::EMPTY, ready?],
            () = sleep_until(wake) => return Ok(()),
            _ = self.at_work.changed() => {
                self.at_work.mark_changed();
                return Ok(());
            }
            () = self.admitted.entry.ordered() => return Ok(()),
        };
        for way in WAYS {
            // What came after a disturbance began is subject to it.
            let is_current = !self.at_work.has_changed().unwrap_or_default();
            if ready[way as usize].is_readable() && is_current {
                self.read(way)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, way: Way) -> io::Result<()> {
        let buffer = self.conversation.buffer(way);
        buffer.reserve(READ_BYTES);
        let came = match self.sockets[way as usize].try_read_buf(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            came => came?,
        };
        let now = Instant::now();
        if came == 0 {
            self.conversation.finish(way);
            self.collect(now);
            self.shapers[way as usize].end(now, &self.rules);
        } else {
            self.conversation.hear(way, now);
        }
        self.tell_holds();
        Ok(())
    }

    /// Ends both streams, and waits for both peers to end theirs: a socket that is closed with something unread would
    /// reset the connection.
    async fn close(&mut self) {
        for socket in &mut self.sockets {
            let _ = socket.shutdown().await;
        }
        let [client, broker] = &self.sockets;
        let drained = async { tokio::join!(drain(client), drain(broker)) };
        let _ = tokio::time::timeout(CLOSE_WITHIN, drained).await;
    }
}

/// What a stream waits for before more of it can be written.
struct Waits {
    until: Option<Instant>,
    is_blocked: bool,
}

/// Ready when the socket is; never where nothing is wanted of it.
async fn readiness(socket: &TcpStream, reads: bool, writes: bool) -> io::Result<Ready> {
    let interest = match (reads, writes) {
        (true, true) => Interest::READABLE | Interest::WRITABLE,
        (true, false) => Interest::READABLE,
        (false, true) => Interest::WRITABLE,
        (false, false) => return std::future::pending().await,
    };
    socket.ready(interest).await
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

/// Reads to the end of a stream.
async fn drain(socket: &TcpStream) {
    let mut bytes = vec![0; READ_BYTES];
    while socket.readable().await.is_ok() {
        match socket.try_read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
