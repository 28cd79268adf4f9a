//! The proxy between the clients and a real broker: undisturbed it is not there, and what it disturbs is seen exactly
//! that often, by the client on one side and in the broker's queue on the other.

// Helpers of tests are not tests to clippy: what it allows in those is allowed here for all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "client_conformance/bench.rs"]
#[allow(dead_code, reason = "the conformance suite uses the rest")]
mod bench;
mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bench::*;
use lurcher::client::lapin::Lapin;
use lurcher::client::wire::Wire;
use lurcher::client::{
    Client, Connection, Outcome, PublisherLink, Settle, Settlement, SubscriberLink, SubscriberSetup,
};
use lurcher::endpoint::Endpoint;
use lurcher::proxy::{Direction, Disturbance, DisturbanceId, FrameAction, FrameClass, Picks, Proxy, What};
use lurcher::stamp::{Reading, Stamp};
use serde_json::json;
use support::{Broker, Wishes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wire_goes_through() {
    goes_through(&Wire).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lapin_goes_through() {
    goes_through(&Lapin).await;
}

/// Runs a check and says which one it is: a panic alone would not.
macro_rules! check {
    ($stand:expr, $($check:ident),+ $(,)?) => {
        $(
            eprintln!("{}", stringify!($check));
            $check($stand).await;
            $stand.is_clear().await;
        )+
    };
}

async fn goes_through(client: &dyn Client) {
    let broker = Broker::start(Wishes::default()).await;
    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, broker.amqp_port));
    let proxy = Proxy::start(upstream, 42).await.unwrap();
    let stand = Stand { bench: Bench { client, broker: &broker }, proxy };
    check!(
        &stand,
        undisturbed_it_is_not_there,
        a_reset_is_a_lost_connection,
        a_stall_heals,
        dropped_confirms_never_come,
        held_confirms_come_late,
        lost_though_confirmed,
        lost_on_delivery,
        lost_when_asked_for,
        delivered_twice,
        changed_on_the_way,
        swapped_on_the_way,
        invented_on_the_way,
        cut_before_the_confirm,
        cut_before_the_ack,
        slowed_down,
    );
    stand.proxy.stop().await;
}

/// A broker, a client, and the proxy between them.
struct Stand<'a> {
    bench: Bench<'a>,
    proxy: Proxy,
}

impl Stand<'_> {
    /// A connection through the proxy.
    async fn connect(&self) -> Box<dyn Connection> {
        let port = self.proxy.address().port();
        let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port, ..self.bench.broker.endpoint() };
        self.bench.client.connect(&endpoint, "proxy").await.unwrap()
    }

    async fn publisher(&self) -> (Box<dyn Connection>, Box<dyn PublisherLink>) {
        let connection = self.connect().await;
        let link = connection.open_publisher(&setup()).await.unwrap();
        (connection, link)
    }

    async fn subscriber(&self, setup: &SubscriberSetup) -> (Box<dyn Connection>, Box<dyn SubscriberLink>) {
        let connection = self.connect().await;
        let link = connection.open_subscriber(setup).await.unwrap();
        (connection, link)
    }

    /// A queue with messages of the sequences 0 to `count`, not put there through the proxy.
    async fn filled(&self, count: u64) -> String {
        let queue = self.bench.queue(json!({})).await.name;
        self.bench.fill(&queue, count).await;
        queue
    }

    fn begin(&self, what: What) -> DisturbanceId {
        self.proxy.begin(Disturbance::of_all(what))
    }

    /// Ends it, and checks how often it acted.
    fn end(&self, id: DisturbanceId, done: u64) {
        self.proxy.end(id);
        assert_eq!(self.proxy.done(id), done);
    }

    async fn is_clear(&self) {
        within("the proxy to be clear", async {
            while !self.proxy.is_clear() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// Those of the sequences 2, 5 and 8, where all come in order.
const THREE: Picks = Picks { first: 3, every: 3, times: 3 };

/// What a message says of itself: its sequence, or none where it was changed.
fn sequence(received: &Received) -> Option<u64> {
    match Stamp::read_body(&received.body, 7) {
        Reading::Ours(stamp) => Some(stamp.sequence),
        Reading::Corrupt(_) => None,
        Reading::Foreign => panic!("a stranger: {received:?}"),
    }
}

fn tokens(settled: &[Settlement]) -> BTreeSet<u64> {
    assert!(settled.iter().all(|settlement| settlement.outcome == Outcome::Confirmed), "{settled:?}");
    settled.iter().map(|settlement| settlement.token).collect()
}

/// Receives so many with a prefetch that is smaller, and acks each.
async fn consumed(stand: &Stand<'_>, queue: &str, count: usize) -> Vec<Received> {
    let setup = SubscriberSetup { prefetch: 4, ..subscription(&[queue]) };
    let (connection, mut link) = stand.subscriber(&setup).await;
    let mut all = Vec::new();
    for number in 1..=count as u64 {
        let one = received(link.as_mut(), 1).await.remove(0);
        assert_eq!(one.tag, number, "tags rise by one");
        link.settle_in_time(one.tag, false, Settle::Ack).await.unwrap();
        all.push(one);
    }
    nothing_comes(link.as_mut()).await;
    link.close().await;
    connection.close(PATIENCE).await;
    stand.bench.wait_ready(queue, 0).await;
    all
}

async fn undisturbed_it_is_not_there(stand: &Stand<'_>) {
    let count = 1_000;
    let queue = stand.bench.queue(json!({})).await.name;
    let (connection, mut link) = stand.publisher().await;
    publish(link.as_mut(), (0..count).map(|n| message(&queue, n))).await.unwrap();
    assert_eq!(tokens(&settled(link.as_mut(), count as usize).await).len() as u64, count);
    link.close().await;
    connection.close(PATIENCE).await;

    let (connection, mut link) = stand.subscriber(&subscription(&[&queue])).await;
    let all = received(link.as_mut(), count as usize).await;
    assert!(all.iter().map(sequence).eq((0..count).map(Some)));
    link.settle_in_time(count, true, Settle::Ack).await.unwrap();
    link.close().await;
    connection.close(PATIENCE).await;
    stand.bench.wait_ready(&queue, 0).await;
}

async fn a_reset_is_a_lost_connection(stand: &Stand<'_>) {
    let queue = stand.bench.queue(json!({})).await.name;
    let (_connection, mut link) = stand.publisher().await;
    let reset = stand.begin(What::Reset);
    let failure = publisher_failure(link.as_mut()).await;
    assert!(!failure.is_channel_only(), "{failure}");
    stand.end(reset, 1);
    let (connection, mut link) = stand.publisher().await;
    publish(link.as_mut(), [message(&queue, 1)]).await.unwrap();
    settled(link.as_mut(), 1).await;
    connection.close(PATIENCE).await;
}

async fn a_stall_heals(stand: &Stand<'_>) {
    let queue = stand.bench.queue(json!({})).await.name;
    let (connection, mut link) = stand.publisher().await;
    let stall = stand.begin(What::Stall { direction: Direction::Both });
    publish(link.as_mut(), (0..10).map(|n| message(&queue, n))).await.unwrap();
    nothing_is_settled(link.as_mut()).await;
    stand.bench.wait_ready(&queue, 0).await;
    stand.end(stall, 1);
    settled(link.as_mut(), 10).await;
    connection.close(PATIENCE).await;
}

/// For a while that is long beside what a confirm takes.
async fn nothing_is_settled(link: &mut dyn PublisherLink) {
    let mut settled = Vec::new();
    let wait = tokio::time::timeout(Duration::from_millis(300), link.settlements(&mut settled)).await;
    assert!(wait.is_err() && settled.is_empty(), "{wait:?} {settled:?}");
}

async fn dropped_confirms_never_come(stand: &Stand<'_>) {
    let queue = stand.bench.queue(json!({})).await.name;
    let (connection, mut link) = stand.publisher().await;
    let what = What::Frames { class: FrameClass::Confirms, action: FrameAction::Drop, picks: Picks::only(2) };
    let drops = stand.begin(what);
    for n in 0..3 {
        publish(link.as_mut(), [message(&queue, n)]).await.unwrap();
        if n == 1 {
            nothing_is_settled(link.as_mut()).await;
        } else {
            assert_eq!(tokens(&settled(link.as_mut(), 1).await), BTreeSet::from([n]));
        }
    }
    stand.end(drops, 1);
    // What is confirmed together later does not settle it either.
    publish(link.as_mut(), (3..200).map(|n| message(&queue, n))).await.unwrap();
    assert_eq!(tokens(&settled(link.as_mut(), 197).await), (3..200).collect());
    nothing_is_settled(link.as_mut()).await;
    stand.bench.wait_ready(&queue, 200).await;
    connection.close(PATIENCE).await;
}

async fn held_confirms_come_late(stand: &Stand<'_>) {
    let queue = stand.bench.queue(json!({})).await.name;
    let (connection, mut link) = stand.publisher().await;
    let what = What::Frames { class: FrameClass::Confirms, action: FrameAction::Hold, picks: Picks::ALL };
    let holds = stand.begin(what);
    publish(link.as_mut(), (0..50).map(|n| message(&queue, n))).await.unwrap();
    stand.bench.wait_ready(&queue, 50).await;
    nothing_is_settled(link.as_mut()).await;
    assert!(!stand.proxy.is_clear());
    stand.proxy.end(holds);
    assert_eq!(tokens(&settled(link.as_mut(), 50).await).len(), 50);
    assert!((1..=50).contains(&stand.proxy.done(holds)));
    connection.close(PATIENCE).await;
}

async fn lost_though_confirmed(stand: &Stand<'_>) {
    let queue = stand.bench.queue(json!({})).await.name;
    let (connection, mut link) = stand.publisher().await;
    let loses = stand.begin(What::LoseConfirmed { picks: THREE });
    publish(link.as_mut(), (0..200).map(|n| message(&queue, n))).await.unwrap();
    assert_eq!(tokens(&settled(link.as_mut(), 200).await).len(), 200);
    stand.end(loses, 3);
    publish(link.as_mut(), (200..300).map(|n| message(&queue, n))).await.unwrap();
    assert_eq!(tokens(&settled(link.as_mut(), 100).await), (200..300).collect());
    connection.close(PATIENCE).await;
    let came: BTreeSet<u64> = consumed(stand, &queue, 297).await.iter().filter_map(sequence).collect();
    assert_eq!((0..300).filter(|n| !came.contains(n)).collect::<Vec<_>>(), [2, 5, 8]);
}

async fn lost_on_delivery(stand: &Stand<'_>) {
    let queue = stand.filled(30).await;
    let loses = stand.begin(What::LoseDelivered { picks: THREE });
    let came: Vec<_> = consumed(stand, &queue, 27).await.iter().filter_map(sequence).collect();
    assert!(came.into_iter().eq((0..30).filter(|n| ![2, 5, 8].contains(n))));
    stand.end(loses, 3);
}

async fn lost_when_asked_for(stand: &Stand<'_>) {
    for auto_ack in [false, true] {
        let queue = stand.filled(12).await;
        let loses = stand.begin(What::LoseDelivered { picks: THREE });
        let poll = Some(Duration::from_millis(1));
        let (connection, mut link) =
            stand.subscriber(&SubscriberSetup { auto_ack, poll, ..subscription(&[&queue]) }).await;
        let came: Vec<_> = received(link.as_mut(), 9).await.iter().filter_map(sequence).collect();
        assert_eq!(came, [0, 1, 3, 4, 6, 7, 9, 10, 11]);
        if !auto_ack {
            link.settle_in_time(9, true, Settle::Ack).await.unwrap();
        }
        nothing_comes(link.as_mut()).await;
        link.close().await;
        connection.close(PATIENCE).await;
        stand.bench.wait_ready(&queue, 0).await;
        stand.end(loses, 3);
    }
}

async fn delivered_twice(stand: &Stand<'_>) {
    for flagged in [false, true] {
        let queue = stand.filled(30).await;
        let doubles = stand.begin(What::Duplicate { picks: THREE, flagged });
        let came = consumed(stand, &queue, 33).await;
        let again: Vec<_> = came.windows(2).filter(|pair| sequence(&pair[0]) == sequence(&pair[1])).collect();
        assert_eq!(again.iter().map(|pair| sequence(&pair[1]).unwrap()).collect::<Vec<_>>(), [2, 5, 8]);
        assert!(again.iter().all(|pair| !pair[0].redelivered && pair[1].redelivered == flagged));
        stand.end(doubles, 3);
    }
}

async fn changed_on_the_way(stand: &Stand<'_>) {
    let queue = stand.filled(30).await;
    let changes = stand.begin(What::Corrupt { picks: THREE });
    let came: Vec<_> = consumed(stand, &queue, 30).await.iter().map(sequence).collect();
    assert!(came.into_iter().eq((0..30).map(|n| (![2, 5, 8].contains(&n)).then_some(n))));
    stand.end(changes, 3);
}

async fn swapped_on_the_way(stand: &Stand<'_>) {
    let queue = stand.filled(12).await;
    let swaps = stand.begin(What::Swap { picks: Picks { first: 2, every: 3, times: 2 } });
    let came: Vec<_> = consumed(stand, &queue, 12).await.iter().filter_map(sequence).collect();
    assert_eq!(came, [0, 2, 1, 3, 4, 6, 5, 7, 8, 9, 10, 11]);
    stand.end(swaps, 2);
}

async fn invented_on_the_way(stand: &Stand<'_>) {
    let queue = stand.filled(30).await;
    let invents = stand.begin(What::Invent { picks: THREE });
    let came: Vec<_> = consumed(stand, &queue, 33).await.iter().map(|it| sequence(it).unwrap()).collect();
    let (sent, invented): (Vec<u64>, Vec<u64>) = came.into_iter().partition(|sequence| *sequence < 30);
    assert!(sent.into_iter().eq(0..30));
    assert_eq!(invented.iter().collect::<BTreeSet<_>>().len(), 3);
    stand.end(invents, 3);
}

async fn cut_before_the_confirm(stand: &Stand<'_>) {
    let queue = stand.bench.queue(json!({})).await.name;
    let (_connection, mut link) = stand.publisher().await;
    let cut = stand.begin(What::CutBeforeConfirm { picks: Picks::only(2) });
    publish(link.as_mut(), [message(&queue, 0)]).await.unwrap();
    settled(link.as_mut(), 1).await;
    publish(link.as_mut(), [message(&queue, 1)]).await.unwrap();
    let failure = publisher_failure(link.as_mut()).await;
    assert!(!failure.is_channel_only(), "{failure}");
    stand.end(cut, 1);
    // It was not confirmed, and it is there.
    stand.bench.wait_ready(&queue, 2).await;
}

async fn cut_before_the_ack(stand: &Stand<'_>) {
    let queue = stand.filled(2).await;
    let cut = stand.begin(What::CutBeforeAck { picks: Picks::only(2) });
    let (_connection, mut link) = stand.subscriber(&subscription(&[&queue])).await;
    received(link.as_mut(), 2).await;
    link.settle_in_time(1, false, Settle::Ack).await.unwrap();
    link.settle_in_time(2, false, Settle::Ack).await.unwrap();
    let failure = subscriber_failure(link.as_mut()).await;
    assert!(!failure.is_channel_only(), "{failure}");
    stand.end(cut, 1);
    stand.bench.wait_ready(&queue, 1).await;
    let again = consumed(stand, &queue, 1).await;
    assert_eq!((sequence(&again[0]), again[0].redelivered), (Some(1), true));
}

async fn slowed_down(stand: &Stand<'_>) {
    let queue = stand.bench.queue(json!({})).await.name;
    let (connection, mut link) = stand.publisher().await;
    let (delay, jitter) = (Duration::from_millis(5), Duration::from_millis(5));
    let ids = [
        What::Latency { direction: Direction::Both, delay, jitter },
        What::Slice { direction: Direction::ToBroker, bytes: 100, pause: Duration::from_micros(100) },
        What::Bandwidth { direction: Direction::ToClient, bytes_per_s: 100_000 },
    ]
    .map(|what| stand.begin(what));
    publish(link.as_mut(), (0..100).map(|n| message(&queue, n))).await.unwrap();
    settled(link.as_mut(), 100).await;
    connection.close(PATIENCE).await;
    let came: Vec<_> = consumed(stand, &queue, 100).await.iter().filter_map(sequence).collect();
    assert!(came.into_iter().eq(0..100));
    for id in ids {
        stand.end(id, 2);
    }
}
