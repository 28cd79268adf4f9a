//! Checks of the consuming side.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lurcher::client::{
    CAUSATION_HEADER, ClientError, Deliveries, Ids, MoreProperties, Properties, QueueSubscription, Settle,
    SubscriberSetup,
};
use lurcher::plan::{PrefetchScope, QueuePlan, StreamOffset};
use lurcher::stamp::{Reading, Stamp};
use serde_json::json;

use super::bench::*;

fn sequence(delivery: &Received) -> u64 {
    match Stamp::read_body(&delivery.body, 7) {
        Reading::Ours(stamp) => stamp.sequence,
        other => panic!("{other:?}"),
    }
}

pub async fn the_prefetch_is_honoured(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    bench.fill(&queue.name, 50).await;
    let connection = bench.connect().await;
    let with = SubscriberSetup { prefetch: 7, ..subscription(&[&queue.name]) };
    let mut link = connection.open_subscriber(&with).await.unwrap();
    let first = received(link.as_mut(), 7).await;
    nothing_comes(link.as_mut()).await;
    bench.wait_ready(&queue.name, 43).await;
    link.settle_in_time(first[0].tag, false, Settle::Ack).await.unwrap();
    received(link.as_mut(), 1).await;
    nothing_comes(link.as_mut()).await;
    connection.close(PATIENCE).await;
    bench.wait_ready(&queue.name, 49).await;
}

pub async fn ids_are_read_where_they_are_asked_for(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let text = |text: &str| Some(text.to_owned());
    let with_ids = |headers: serde_json::Value| MoreProperties {
        message_id: text("m2"),
        correlation_id: text("c1"),
        headers: serde_json::from_value(headers).unwrap(),
        ..MoreProperties::default()
    };
    let given = [
        Some(with_ids(json!({ CAUSATION_HEADER: "m1", "other": [1, "x"] }))),
        Some(with_ids(json!({}))),
        Some(MoreProperties { message_id: text(""), ..with_ids(json!({ CAUSATION_HEADER: "" })) }),
        None,
    ];
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    let messages = (0..).zip(&given).map(|(token, more)| {
        let properties = Properties { more: more.clone().map(Arc::new), ..Properties::default() };
        Message { properties, ..message(&queue.name, token) }
    });
    publish(link.as_mut(), messages).await.unwrap();
    settled(link.as_mut(), given.len()).await;
    let all = Ids { message: text("m2"), correlation: text("c1"), causation: text("m1") };
    let expected = [
        all.clone(),
        Ids { causation: None, ..all.clone() },
        Ids { message: None, causation: None, ..all },
        Ids::default(),
    ];
    connection.close(PATIENCE).await;
    let connection = bench.connect().await;
    for poll in [None, Some(Duration::from_millis(20))] {
        for wanted in [true, false] {
            let with = SubscriberSetup { poll, ids: wanted, ..subscription(&[&queue.name]) };
            let mut link = connection.open_subscriber(&with).await.unwrap();
            let had: Vec<_> = received(link.as_mut(), given.len()).await.into_iter().map(|it| it.ids).collect();
            let expected: Vec<_> = expected.iter().map(|ids| wanted.then(|| Box::new(ids.clone()))).collect();
            assert_eq!(had, expected, "asked for: {wanted}, polling: {poll:?}");
            link.close().await;
        }
    }
    connection.close(PATIENCE).await;
}

pub async fn a_channel_s_prefetch_is_shared(bench: &Bench<'_>) {
    let (one, two) = (bench.queue(json!({})).await, bench.queue(json!({})).await);
    bench.fill(&one.name, 20).await;
    bench.fill(&two.name, 20).await;
    // RabbitMQ 4.3 denies the feature `global_qos` unless it is configured to permit it: it takes the request, and gives
    // each consumer a window of its own.
    let shared = if bench.broker.version() < (4, 3) { 5 } else { 10 };
    for (scope, expected) in [(PrefetchScope::Channel, shared), (PrefetchScope::Consumer, 10)] {
        let connection = bench.connect().await;
        let queues = [one.name.as_str(), two.name.as_str()];
        let with = SubscriberSetup { prefetch: 5, prefetch_scope: scope, ..subscription(&queues) };
        let mut link = connection.open_subscriber(&with).await.unwrap();
        received(link.as_mut(), expected).await;
        nothing_comes(link.as_mut()).await;
        connection.close(PATIENCE).await;
    }
}

pub async fn one_ack_settles_many(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    bench.fill(&queue.name, 30).await;
    let (connection, mut link) = bench.subscribe(&queue.name).await;
    let deliveries = received(link.as_mut(), 30).await;
    assert!(deliveries.iter().map(|d| d.tag).eq(1..=30));
    link.settle_in_time(20, true, Settle::Ack).await.unwrap();
    link.close().await;
    connection.close(PATIENCE).await;
    bench.wait_ready(&queue.name, 10).await;
}

pub async fn a_requeued_message_comes_back_flagged(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    bench.fill(&queue.name, 3).await;
    let (connection, mut link) = bench.subscribe(&queue.name).await;
    assert!(received(link.as_mut(), 3).await.iter().all(|d| !d.redelivered));
    link.settle_in_time(1, false, Settle::Requeue).await.unwrap();
    let again = received(link.as_mut(), 1).await;
    assert!(again[0].redelivered && sequence(&again[0]) == 0);
    link.settle_in_time(4, true, Settle::Requeue).await.unwrap();
    assert!(received(link.as_mut(), 3).await.iter().all(|d| d.redelivered));
    connection.close(PATIENCE).await;
}

pub async fn a_rejected_message_tells_of_its_death(bench: &Bench<'_>) {
    let dead = bench.queue(json!({})).await;
    let arguments = json!({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name });
    let queue = bench.queue(arguments).await;
    bench.fill(&queue.name, 3).await;
    let (connection, mut link) = bench.subscribe(&queue.name).await;
    assert!(received(link.as_mut(), 3).await.iter().all(|d| d.deaths.is_empty()));
    link.settle_in_time(1, false, Settle::Reject).await.unwrap();
    link.settle_in_time(3, true, Settle::Reject).await.unwrap();
    bench.wait_ready(&dead.name, 3).await;
    let (letters, mut link) = bench.subscribe(&dead.name).await;
    for delivery in received(link.as_mut(), 3).await {
        let [death] = &delivery.deaths[..] else { panic!("{:?}", delivery.deaths) };
        assert_eq!((death.queue.as_str(), death.reason.as_str(), death.count), (queue.name.as_str(), "rejected", 1));
        assert!(death.unix_seconds.is_some_and(|time| time > 1_600_000_000), "{:?}", death.unix_seconds);
    }
    letters.close(PATIENCE).await;
    connection.close(PATIENCE).await;
}

/// One by one, as `basic.nack` also can.
pub async fn a_nacked_message_goes_where_it_is_sent(bench: &Bench<'_>) {
    let dead = bench.queue(json!({})).await;
    let arguments = json!({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name });
    let queue = bench.queue(arguments).await;
    bench.fill(&queue.name, 3).await;
    let (connection, mut link) = bench.subscribe(&queue.name).await;
    received(link.as_mut(), 3).await;
    link.settle_in_time(2, false, Settle::Nack { requeue: false }).await.unwrap();
    link.settle_in_time(3, false, Settle::Nack { requeue: true }).await.unwrap();
    let again = received(link.as_mut(), 1).await;
    assert!(again[0].redelivered && sequence(&again[0]) == 2);
    bench.wait_ready(&dead.name, 1).await;
    connection.close(PATIENCE).await;
    bench.wait_ready(&queue.name, 2).await;
}

pub async fn an_ack_of_many_passes_over_what_was_given_back(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    bench.fill(&queue.name, 10).await;
    let (connection, mut link) = bench.subscribe(&queue.name).await;
    received(link.as_mut(), 10).await;
    link.settle(4, false, Settle::Nack { requeue: true }).unwrap();
    link.settle(7, false, Settle::Requeue).unwrap();
    link.settle(10, true, Settle::Ack).unwrap();
    let again = received(link.as_mut(), 2).await;
    assert_eq!(again.iter().map(sequence).collect::<std::collections::BTreeSet<_>>(), [3, 6].into());
    link.flush().await.unwrap();
    connection.close(PATIENCE).await;
    bench.wait_ready(&queue.name, 2).await;
}

pub async fn auto_ack_settles_on_sending(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    bench.fill(&queue.name, 100).await;
    let connection = bench.connect().await;
    let with = SubscriberSetup { auto_ack: true, prefetch: 5, ..subscription(&[&queue.name]) };
    let mut link = connection.open_subscriber(&with).await.unwrap();
    received(link.as_mut(), 100).await;
    link.close().await;
    connection.close(PATIENCE).await;
    bench.wait_ready(&queue.name, 0).await;
}

pub async fn polling_goes_round_the_queues(bench: &Bench<'_>) {
    let (one, two) = (bench.queue(json!({})).await, bench.queue(json!({})).await);
    bench.fill(&one.name, 3).await;
    bench.fill(&two.name, 3).await;
    let connection = bench.connect().await;
    let queues = [one.name.as_str(), two.name.as_str()];
    let with = SubscriberSetup { poll: Some(Duration::from_millis(20)), ..subscription(&queues) };
    let mut link = connection.open_subscriber(&with).await.unwrap();
    let deliveries = received(link.as_mut(), 6).await;
    assert!(deliveries.iter().map(|d| d.queue).eq([0, 1, 0, 1, 0, 1]));
    assert!(deliveries.iter().map(|d| d.tag).eq(1..=6));
    nothing_comes(link.as_mut()).await;
    // It is still asking.
    bench.fill(&two.name, 1).await;
    assert_eq!(received(link.as_mut(), 1).await[0].queue, 1);
    link.settle_in_time(7, true, Settle::Ack).await.unwrap();
    link.close().await;
    connection.close(PATIENCE).await;
    bench.wait_ready(&one.name, 0).await;
}

pub async fn a_stream_is_read_from_its_offset(bench: &Bench<'_>) {
    let queue = bench.queue(json!({ "x-queue-type": "stream" })).await;
    bench.fill(&queue.name, 20).await;
    for (offset, expected) in [(StreamOffset::First, 0..20), (StreamOffset::At(15), 15..20)] {
        let connection = bench.connect().await;
        let queues = vec![QueueSubscription { number: 3, name: queue.name.clone(), offset: Some(offset) }];
        let with = SubscriberSetup { prefetch: 100, queues, ..subscription(&[]) };
        let mut link = connection.open_subscriber(&with).await.unwrap();
        let deliveries = received(link.as_mut(), expected.clone().count()).await;
        assert!(deliveries.iter().map(sequence).eq(expected));
        assert!(deliveries.iter().all(|d| d.queue == 3));
        connection.close(PATIENCE).await;
    }
}

/// The port promises tags that rise by one; the queues' messages come interleaved, and acks of many depend on it.
pub async fn queues_of_one_channel_come_in_tag_order(bench: &Bench<'_>) {
    let mut queues: Vec<QueuePlan> = Vec::new();
    for _ in 0..4 {
        let queue = bench.queue(json!({})).await;
        bench.fill(&queue.name, 250).await;
        queues.push(queue);
    }
    let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
    let connection = bench.connect().await;
    let with = SubscriberSetup { prefetch: 40, ..subscription(&names) };
    let mut link = connection.open_subscriber(&with).await.unwrap();
    let mut seen = BTreeSet::new();
    let mut tag = 0;
    while seen.len() < 1_000 {
        let mut deliveries = Deliveries::default();
        within("a delivery", link.receive(&mut deliveries, 13)).await.unwrap();
        assert!(deliveries.len() <= 13);
        for delivery in &opened(&deliveries) {
            assert_eq!(delivery.tag, tag + 1);
            tag = delivery.tag;
            assert!(seen.insert((delivery.queue, sequence(delivery))), "delivered twice");
        }
        link.settle_in_time(tag, true, Settle::Ack).await.unwrap();
    }
    link.close().await;
    connection.close(PATIENCE).await;
    for queue in &queues {
        bench.wait_ready(&queue.name, 0).await;
    }
}

pub async fn a_deleted_queue_cancels(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let (connection, mut link) = bench.subscribe(&queue.name).await;
    let uri = format!("amqp://tester:{}@127.0.0.1:{}/%2f", bench.broker.password, bench.broker.amqp_port);
    let raw = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = raw.create_channel().await.unwrap();
    channel.queue_delete(queue.name.as_str().into(), Default::default()).await.unwrap();
    raw.close(200, "OK".into()).await.unwrap();
    let error = subscriber_failure(link.as_mut()).await;
    assert!(matches!(&error, ClientError::Cancelled { queue: name } if *name == queue.name), "{error:?}");
    assert!(error.is_channel_only());
    assert_eq!(connection.ready(&queue.name).await.unwrap(), None);
    connection.close(PATIENCE).await;
}

async fn dropped_receives(bench: &Bench<'_>, poll: Option<Duration>, count: u64) {
    let queue = bench.queue(json!({})).await;
    bench.fill(&queue.name, count).await;
    let connection = bench.connect().await;
    let with = SubscriberSetup { prefetch: 10, poll, ..subscription(&[&queue.name]) };
    let mut link = connection.open_subscriber(&with).await.unwrap();
    let mut sequences = Vec::new();
    let mut dropped = 0;
    within("all deliveries", async {
        for polls in (0..).map(|n| 1 + n % 3) {
            let mut deliveries = Deliveries::default();
            let receive = link.receive(&mut deliveries, 3);
            dropped += u32::from(cut_short(polls, receive).await.is_none());
            sequences.extend(opened(&deliveries).iter().map(sequence));
            if let Some(last) = deliveries.last() {
                link.settle_in_time(last.tag, true, Settle::Ack).await.unwrap();
            }
            if sequences.len() as u64 == count {
                break;
            }
        }
    })
    .await;
    assert!(dropped > 0, "no receive was cut short: the check shows nothing");
    assert!(sequences.into_iter().eq(0..count), "lost or out of order");
    link.close().await;
    connection.close(PATIENCE).await;
    bench.wait_ready(&queue.name, 0).await;
}

pub async fn dropped_waits_lose_no_delivery(bench: &Bench<'_>) {
    dropped_receives(bench, None, 1_000).await;
}

pub async fn dropped_polls_lose_no_delivery(bench: &Bench<'_>) {
    dropped_receives(bench, Some(Duration::from_millis(1)), 200).await;
}

pub async fn a_bad_ack_closes_the_channel_only(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    bench.fill(&queue.name, 2).await;
    let (connection, mut link) = bench.subscribe(&queue.name).await;
    received(link.as_mut(), 2).await;
    link.settle_in_time(99, false, Settle::Ack).await.unwrap();
    let error = subscriber_failure(link.as_mut()).await;
    assert!(matches!(error, ClientError::ChannelClosed { code: 406, .. }), "{error:?}");
    assert!(link.settle_in_time(1, false, Settle::Ack).await.is_err());
    bench.wait_ready(&queue.name, 2).await;
    let mut link = connection.open_subscriber(&subscription(&[&queue.name])).await.unwrap();
    assert!(received(link.as_mut(), 2).await.iter().all(|d| d.redelivered));
    connection.close(PATIENCE).await;
}

pub async fn ready_counts_and_knows_what_is_missing(bench: &Bench<'_>) {
    let queue = bench.bound_queue("amq.direct", "conformance.ready").await;
    let connection = bench.connect().await;
    for _ in 0..3 {
        assert_eq!(connection.ready("conformance.no such queue").await.unwrap(), None);
        assert_eq!(connection.ready(&queue.name).await.unwrap(), Some(0));
    }
    // It is bound as it was asked to be.
    let with = lurcher::client::PublisherSetup { exchange: "amq.direct".to_owned(), mandatory: true, ..setup() };
    let mut link = connection.open_publisher(&with).await.unwrap();
    publish(link.as_mut(), vec![message("conformance.ready", 1)]).await.unwrap();
    assert_eq!(settled(link.as_mut(), 1).await[0].outcome, lurcher::client::Outcome::Confirmed);
    bench.wait_ready(&queue.name, 1).await;
    let missing = subscription(&["conformance.no such queue"]);
    let error = connection.open_subscriber(&missing).await.err().expect("refused");
    assert!(matches!(error, ClientError::ChannelClosed { code: 404, .. }), "{error:?}");
    connection.close(PATIENCE).await;
}

pub async fn an_exclusive_queue_lives_with_its_connection(bench: &Bench<'_>) {
    let queue = QueuePlan { exclusive: true, durable: false, ..queue_plan(json!({})) };
    let owner = bench.connect().await;
    owner.declare(&queue, &[]).await.unwrap();
    let mut link = owner.open_subscriber(&subscription(&[&queue.name])).await.unwrap();
    bench.fill(&queue.name, 1).await;
    received(link.as_mut(), 1).await;
    owner.close(PATIENCE).await;
    let connection = bench.connect().await;
    within("the queue to go", async {
        while connection.ready(&queue.name).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    connection.close(PATIENCE).await;
}
