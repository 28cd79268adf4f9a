//! The proxy over loopback, between sockets of the test's own.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::bed::{ack, publish, select};
use crate::amqp::PROTOCOL_HEADER;
use crate::proxy::{Direction, Disturbance, FrameAction, FrameClass, Picks, Proxy, What};

/// Longer than anything should take; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy, and the broker's side of it.
struct Between {
    proxy: Proxy,
    upstream: TcpListener,
}

impl Between {
    async fn start() -> Self {
        Self::seeded(1).await
    }

    async fn seeded(seed: u64) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(upstream.local_addr().unwrap(), seed).await.unwrap();
        Self { proxy, upstream }
    }

    /// A connection: the client's end, and the broker's.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.proxy.address()).await.unwrap();
        let (broker, _) = within("the proxy to connect", self.upstream.accept()).await.unwrap();
        (client, broker)
    }

    fn begin(&self, what: What) -> crate::proxy::DisturbanceId {
        self.proxy.begin(Disturbance::of_all(what))
    }
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Says something on one end, and hears it on the other.
async fn passes(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).await.unwrap();
    heard(to, bytes).await;
}

async fn heard(to: &mut TcpStream, bytes: &[u8]) {
    let mut heard = vec![0; bytes.len()];
    within("what was said", to.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, bytes);
}

/// Nothing is there to be read, for a while that is long beside what a pass takes.
async fn is_silent(socket: &TcpStream) {
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(socket.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

async fn is_reset(socket: &mut TcpStream) {
    let read = within("the reset", socket.read(&mut [0])).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

async fn has_ended(socket: &mut TcpStream) {
    assert_eq!(within("the end", socket.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn bytes_and_ends_pass_both_ways() {
    let between = Between::start().await;
    let (mut client, mut broker) = between.connect().await;
    passes(&mut client, &mut broker, b"no amqp").await;
    passes(&mut broker, &mut client, &vec![7; 3 << 20]).await;
    assert!(between.proxy.is_clear());
    client.shutdown().await.unwrap();
    has_ended(&mut broker).await;
    passes(&mut broker, &mut client, b"still open").await;
    assert_eq!(between.proxy.open(), 1);
    drop(broker);
    has_ended(&mut client).await;
    until("the connection to end", || between.proxy.open() == 0).await;
}

#[tokio::test]
async fn a_reset_cuts_what_is_open_once() {
    let between = Between::start().await;
    let (mut one, mut two) = (between.connect().await, between.connect().await);
    let reset = between.begin(What::Reset);
    for (client, broker) in [&mut one, &mut two] {
        is_reset(client).await;
        is_reset(broker).await;
    }
    let (mut client, mut broker) = between.connect().await;
    passes(&mut client, &mut broker, b"a new one is not cut").await;
    assert!(!between.proxy.is_clear());
    between.proxy.end(reset);
    until("the reset to be over", || between.proxy.is_clear()).await;
    assert_eq!((between.proxy.done(reset), between.proxy.accepted(), between.proxy.open()), (2, 3, 1));
}

#[tokio::test]
async fn a_reset_that_ends_at_once_still_cuts() {
    let between = Between::start().await;
    let (mut client, _broker) = between.connect().await;
    let reset = between.begin(What::Reset);
    between.proxy.end(reset);
    is_reset(&mut client).await;
    until("it to be counted", || between.proxy.done(reset) == 1 && between.proxy.is_clear()).await;
}

#[tokio::test]
async fn a_close_ends_both_sides_without_a_reset() {
    let between = Between::start().await;
    let (mut client, mut broker) = between.connect().await;
    passes(&mut client, &mut broker, b"hello").await;
    let stall = between.begin(What::Stall { direction: Direction::Both });
    until("the stall to be met", || between.proxy.done(stall) == 1).await;
    client.write_all(b"nobody reads it").await.unwrap();
    let close = between.begin(What::Close);
    has_ended(&mut client).await;
    has_ended(&mut broker).await;
    assert_eq!(between.proxy.done(close), 1);
    drop((client, broker));
    until("the connection to end", || between.proxy.open() == 0).await;
}

#[tokio::test]
async fn refused_connections_are_reset_while_it_lasts() {
    let between = Between::start().await;
    let (mut client, mut broker) = between.connect().await;
    let refuse = between.begin(What::Refuse);
    for _ in 0..3 {
        let mut refused = TcpStream::connect(between.proxy.address()).await.unwrap();
        is_reset(&mut refused).await;
    }
    passes(&mut client, &mut broker, b"what is open stays").await;
    between.proxy.end(refuse);
    let (mut client, mut broker) = between.connect().await;
    passes(&mut client, &mut broker, b"and it heals").await;
    assert_eq!((between.proxy.done(refuse), between.proxy.accepted()), (3, 5));
}

#[tokio::test]
async fn a_stall_heals() {
    let between = Between::start().await;
    let (mut client, mut broker) = between.connect().await;
    passes(&mut client, &mut broker, b"before").await;
    let stall = between.begin(What::Stall { direction: Direction::ToBroker });
    client.write_all(b"stalled").await.unwrap();
    passes(&mut broker, &mut client, b"the other way is open").await;
    is_silent(&broker).await;
    between.proxy.end(stall);
    heard(&mut broker, b"stalled").await;
    assert!(between.proxy.is_clear());
    assert_eq!(between.proxy.done(stall), 1);
}

#[tokio::test]
async fn a_stall_holds_up_the_sender() {
    let between = Between::start().await;
    let (client, mut broker) = between.connect().await;
    let stall = between.begin(What::Stall { direction: Direction::Both });
    until("the stall to be met", || between.proxy.done(stall) == 1).await;
    let mut written = 0;
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(200), client.writable()).await {
        written += client.try_write(&[7; 65_536]).unwrap_or(0);
        assert!(written < 256 << 20, "the proxy swallows without end");
    }
    is_silent(&broker).await;
    between.proxy.end(stall);
    let mut came = vec![0; written];
    within("all of it", broker.read_exact(&mut came)).await.unwrap();
    assert!(came.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn silence_breaks_what_lost_something() {
    let between = Between::start().await;
    let (mut quiet, mut quiet_broker) = between.connect().await;
    let (mut client, mut broker) = between.connect().await;
    let silence = between.begin(What::Silence { direction: Direction::ToClient });
    broker.write_all(b"nobody hears it").await.unwrap();
    passes(&mut client, &mut broker, b"the other way is open").await;
    until("the loss", || between.proxy.done(silence) == 1).await;
    is_silent(&client).await;
    between.proxy.end(silence);
    is_reset(&mut client).await;
    is_reset(&mut broker).await;
    passes(&mut quiet_broker, &mut quiet, b"lost nothing").await;
    until("the reset to be over", || between.proxy.is_clear()).await;
    assert_eq!(between.proxy.done(silence), 1);
}

#[tokio::test]
async fn a_latency_lets_go_when_it_ends() {
    let between = Between::start().await;
    let (mut client, mut broker) = between.connect().await;
    let long = Duration::from_secs(3_600);
    let latency = between.begin(What::Latency { direction: Direction::ToBroker, delay: long, jitter: long });
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    is_silent(&broker).await;
    between.proxy.end(latency);
    heard(&mut broker, b"late").await;
    has_ended(&mut broker).await;
    until("it to be clear", || between.proxy.is_clear()).await;
}

#[tokio::test]
async fn slices_and_bandwidth_let_all_pass() {
    let between = Between::start().await;
    let (mut client, mut broker) = between.connect().await;
    let slice = What::Slice { direction: Direction::Both, bytes: 5, pause: Duration::from_millis(1) };
    let bandwidth = What::Bandwidth { direction: Direction::Both, bytes_per_s: 10_000 };
    let mut ids = Vec::new();
    for what in [slice, bandwidth] {
        let id = between.begin(what);
        until("it to be met", || between.proxy.done(id) == 1).await;
        ids.push(id);
    }
    passes(&mut client, &mut broker, &(0..100).collect::<Vec<u8>>()).await;
    passes(&mut broker, &mut client, &(0..100).collect::<Vec<u8>>()).await;
    ids.iter().for_each(|id| assert_eq!(between.proxy.done(*id), 1, "each connection counts once"));
}

/// Which of so many connections are cut where this share is to be.
async fn cut_of(connections: usize, share: f64, seed: u64) -> Vec<bool> {
    let between = Between::seeded(seed).await;
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(between.connect().await);
    }
    let reset = between.proxy.begin(Disturbance { share, what: What::Reset });
    between.proxy.end(reset);
    until("all cuts", || between.proxy.is_clear()).await;
    let mut cut = Vec::new();
    for (mut client, mut broker) in open {
        // One that was cut says so, one that was not hears the broker.
        let _ = broker.write_all(b"?").await;
        cut.push(within("an answer", client.read(&mut [0])).await.is_err());
    }
    assert_eq!(cut.iter().filter(|cut| **cut).count() as u64, between.proxy.done(reset));
    cut
}

#[tokio::test]
async fn a_share_is_drawn_from_the_seed() {
    let half = cut_of(60, 0.5, 9).await;
    assert_eq!(half, cut_of(60, 0.5, 9).await);
    assert_ne!(half, cut_of(60, 0.5, 10).await);
    let count = half.iter().filter(|cut| **cut).count();
    assert!((15..=45).contains(&count), "{count} of 60");
    assert!(cut_of(10, 1.0, 9).await.iter().all(|cut| *cut));
    assert!(!cut_of(10, 0.0, 9).await.iter().any(|cut| *cut));
}

#[tokio::test]
async fn nothing_is_left_of_a_proxy() {
    for stops in [true, false] {
        let Between { proxy, upstream } = Between::start().await;
        let between = Between { proxy, upstream };
        let (mut client, mut broker) = between.connect().await;
        between.begin(What::Stall { direction: Direction::Both });
        let address: SocketAddr = between.proxy.address();
        if stops {
            let hub = std::sync::Arc::clone(&between.proxy.hub);
            assert_eq!(hub.open(), 1);
            between.proxy.stop().await;
            assert_eq!(hub.open(), 0, "it waits for the last");
            assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
        } else {
            drop(between.proxy);
        }
        for socket in [&mut client, &mut broker] {
            let read = within("the end", socket.read(&mut [0])).await;
            assert!(matches!(read, Ok(0) | Err(_)));
        }
        within("nobody to listen", async { while TcpStream::connect(address).await.is_ok() {} }).await;
    }
}

#[tokio::test]
async fn where_there_is_no_broker_clients_are_reset() {
    let Between { proxy, upstream } = Between::start().await;
    drop(upstream);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    is_reset(&mut client).await;
    until("it to be forgotten", || proxy.open() == 0).await;
}

#[tokio::test]
async fn a_reset_of_one_side_is_passed_on() {
    let between = Between::start().await;
    let (mut client, broker) = between.connect().await;
    broker.set_zero_linger().unwrap();
    drop(broker);
    is_reset(&mut client).await;
}

#[tokio::test]
async fn a_cut_before_the_confirm_resets_both_sides() {
    let between = Between::start().await;
    let (mut client, mut broker) = between.connect().await;
    passes(&mut client, &mut broker, &PROTOCOL_HEADER).await;
    passes(&mut client, &mut broker, &select()).await;
    let cut = between.begin(What::CutBeforeConfirm { picks: Picks::only(2) });
    passes(&mut client, &mut broker, &publish(b"one")).await;
    passes(&mut client, &mut broker, &publish(b"two")).await;
    // Both in one piece: what comes before the cut passes.
    broker.write_all(&[ack(1, false), ack(2, false)].concat()).await.unwrap();
    heard(&mut client, &ack(1, false)).await;
    is_reset(&mut client).await;
    is_reset(&mut broker).await;
    assert_eq!(between.proxy.done(cut), 1);
}

#[tokio::test]
async fn held_confirms_flow_on() {
    let between = Between::start().await;
    let (mut client, mut broker) = between.connect().await;
    passes(&mut client, &mut broker, &PROTOCOL_HEADER).await;
    passes(&mut client, &mut broker, &[select(), publish(b"one"), publish(b"two")].concat()).await;
    let (class, picks) = (FrameClass::Confirms, Picks::ALL);
    let delay = FrameAction::Delay(Duration::from_millis(1));
    for (round, action) in [(1, FrameAction::Hold), (2, delay)] {
        let holds = between.begin(What::Frames { class, action, picks });
        broker.write_all(&ack(round, false)).await.unwrap();
        until("the confirm to be held", || between.proxy.done(holds) == 1).await;
        if action == FrameAction::Hold {
            is_silent(&client).await;
            between.proxy.end(holds);
        }
        heard(&mut client, &ack(round, false)).await;
        between.proxy.end(holds);
        until("it to be clear", || between.proxy.is_clear()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disturbance_is_at_work_once_it_was_begun() {
    let between = Between::start().await;
    let (mut client, mut broker) = between.connect().await;
    passes(&mut client, &mut broker, &PROTOCOL_HEADER).await;
    passes(&mut client, &mut broker, &select()).await;
    for round in 1..=300 {
        let lose = between.begin(What::LoseConfirmed { picks: Picks::ALL });
        passes_as(&mut client, &publish(b"lost"), &ack(round, false)).await;
        assert_eq!(between.proxy.done(lose), 1);
        between.proxy.end(lose);
    }
    assert!(between.proxy.is_clear());
}

/// Says something, and is answered by the proxy.
async fn passes_as(client: &mut TcpStream, says: &[u8], hears: &[u8]) {
    client.write_all(says).await.unwrap();
    heard(client, hears).await;
}
