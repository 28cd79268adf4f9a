//! Checks of the publishing side.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::AMQPValue;
use lurcher::client::{ClientError, MoreProperties, Outcome, Properties, PublisherSetup};
use lurcher::stamp::{STAMP_HEADER, Stamp};
use serde_json::json;

use super::bench::*;

pub async fn one_message_is_confirmed(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    publish(link.as_mut(), [message(&queue.name, 42)]).await.unwrap();
    let settled = settled(link.as_mut(), 1).await;
    assert_eq!((settled[0].token, &settled[0].outcome), (42, &Outcome::Confirmed));
    link.close().await;
    connection.close(PATIENCE).await;
    bench.wait_ready(&queue.name, 1).await;
}

pub async fn a_thousand_are_confirmed_once_each(bench: &Bench<'_>) {
    let queue = bench.queue(json!({ "x-queue-type": "quorum" })).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    for batch in 0..10 {
        let batch = batch * 100;
        publish(link.as_mut(), (batch..batch + 100).map(|n| message(&queue.name, n))).await.unwrap();
    }
    let settled = settled(link.as_mut(), 1_000).await;
    assert!(settled.iter().all(|s| s.outcome == Outcome::Confirmed));
    let tokens: BTreeSet<u64> = settled.iter().map(|s| s.token).collect();
    assert_eq!(tokens, (0..1_000).collect());
    connection.close(PATIENCE).await;

    let (connection, mut link) = bench.subscribe(&queue.name).await;
    let order: Vec<u64> = received(link.as_mut(), 1_000).await.iter().map(|d| sequence(&d.body)).collect();
    assert!(order.is_sorted(), "batches were handed over out of order");
    connection.close(PATIENCE).await;
}

fn sequence(body: &[u8]) -> u64 {
    match Stamp::read_body(body, 7) {
        lurcher::stamp::Reading::Ours(stamp) => stamp.sequence,
        other => panic!("{other:?}"),
    }
}

pub async fn a_full_queue_nacks(bench: &Bench<'_>) {
    let queue = bench.queue(json!({ "x-max-length": 5, "x-overflow": "reject-publish" })).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    publish(link.as_mut(), (0..20).map(|n| message(&queue.name, n))).await.unwrap();
    let mut settled = settled(link.as_mut(), 20).await;
    settled.sort_by_key(|s| s.token);
    let nacked: Vec<u64> = settled.iter().filter(|s| s.outcome == Outcome::Nacked).map(|s| s.token).collect();
    assert_eq!(nacked, (5..20).collect::<Vec<_>>());
    connection.close(PATIENCE).await;
}

/// Routed and unroutable messages mixed, so that one ack frame covers both kinds; several rounds, since what can be
/// mixed up depends on timing.
pub async fn returns_are_told_apart_from_confirms(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&PublisherSetup { mandatory: true, ..setup() }).await.unwrap();
    for round in 0..10 {
        let unroutable = |n: u64| n % 3 == 1 || n.is_multiple_of(7);
        let tokens = round * 2_000..(round + 1) * 2_000;
        let key = |n| if unroutable(n) { "conformance.no such queue" } else { queue.name.as_str() };
        publish(link.as_mut(), tokens.clone().map(|n| message(key(n), n))).await.unwrap();
        let mut settled = settled(link.as_mut(), 2_000).await;
        settled.sort_by_key(|s| s.token);
        for (n, settlement) in tokens.zip(settled) {
            assert_eq!(settlement.token, n);
            match settlement.outcome {
                Outcome::Returned { code, reason } => {
                    assert!(unroutable(n), "{n} was routed, and is told to be returned");
                    assert_eq!((code, reason.as_str()), (312, "NO_ROUTE"));
                }
                outcome => assert!(!unroutable(n) && outcome == Outcome::Confirmed, "{n}: {outcome:?}"),
            }
        }
    }
    connection.close(PATIENCE).await;
}

pub async fn returns_come_without_confirms_too(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let with = PublisherSetup { mandatory: true, confirms: false, ..setup() };
    let mut link = connection.open_publisher(&with).await.unwrap();
    let key = |n| if n % 2 == 0 { queue.name.as_str() } else { "conformance.no such queue" };
    publish(link.as_mut(), (0..100).map(|n| message(key(n), n))).await.unwrap();
    let tokens: BTreeSet<u64> = settled(link.as_mut(), 50).await.iter().map(|s| s.token).collect();
    assert_eq!(tokens, (0..50).map(|n| n * 2 + 1).collect());

    // A stamp in the header names the message as well.
    let stamp = Stamp { run: 7, publisher: 1, attempt: 0, sequence: 1_000, intended_us: 0, lag_us: 0 }.encode(b"body");
    let mut in_header = outgoing("conformance.no such queue", 1_000, Bytes::from_static(b"body"));
    in_header.properties.stamp = Some(stamp);
    publish(link.as_mut(), vec![in_header]).await.unwrap();
    assert_eq!(settled(link.as_mut(), 1).await[0].token, 1_000);
    connection.close(PATIENCE).await;
}

pub async fn a_missing_exchange_closes_the_channel_only(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    for confirms in [true, false] {
        let with = PublisherSetup { exchange: "no such exchange".to_owned(), confirms, ..setup() };
        let mut link = connection.open_publisher(&with).await.unwrap();
        // The broker's answer may come while the batch is still being handed over.
        let _ = publish(link.as_mut(), (0..10).map(|n| message("key", n))).await;
        let error = publisher_failure(link.as_mut()).await;
        let ClientError::ChannelClosed { code: 404, reason } = &error else { panic!("{error:?}") };
        assert!(reason.contains("no such exchange"), "{reason}");
        assert!(error.is_channel_only());
        // It stays out of use, and says the same.
        let again = publish(link.as_mut(), vec![message("key", 99)]).await.unwrap_err();
        assert_eq!(again.to_string(), error.to_string());
    }
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    publish(link.as_mut(), vec![message(&queue.name, 1)]).await.unwrap();
    settled(link.as_mut(), 1).await;
    connection.close(PATIENCE).await;
}

pub async fn what_does_not_fit_is_refused(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    let error = publish(link.as_mut(), vec![message(&"k".repeat(256), 1)]).await.unwrap_err();
    assert!(matches!(error, ClientError::Unfit { .. }), "{error:?}");
    publish(link.as_mut(), vec![message(&queue.name, 2)]).await.unwrap();
    assert_eq!(settled(link.as_mut(), 1).await[0].token, 2);
    connection.close(PATIENCE).await;
}

pub async fn bodies_of_every_size_arrive_whole(bench: &Bench<'_>) {
    let sizes = [0, 1, 24, 128 * 1_024 - 8, 128 * 1_024, 128 * 1_024 + 1, 4 * 1_024 * 1_024];
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    let body = |size: usize| Bytes::from_iter((0..size).map(|n| (n % 251) as u8));
    let batch = sizes.iter().enumerate().map(|(n, size)| outgoing(&queue.name, n as u64, body(*size)));
    publish(link.as_mut(), batch).await.unwrap();
    settled(link.as_mut(), sizes.len()).await;
    connection.close(PATIENCE).await;

    let (connection, mut link) = bench.subscribe(&queue.name).await;
    for (delivery, size) in received(link.as_mut(), sizes.len()).await.iter().zip(sizes) {
        assert!(delivery.body == body(size), "the body of {size} bytes came as {} bytes", delivery.body.len());
    }
    connection.close(PATIENCE).await;
}

pub async fn every_property_arrives(bench: &Bench<'_>) {
    let queue = bench.queue(json!({ "x-max-priority": 10 })).await;
    let stamp = Stamp { run: 7, publisher: 1, attempt: 0, sequence: 1, intended_us: 0, lag_us: 0 }.encode(b"{}");
    let mut sent = outgoing(&queue.name, 1, Bytes::from_static(b"{}"));
    let text = |text: &str| Some(text.to_owned());
    sent.properties = Properties {
        priority: Some(7),
        stamp: Some(stamp),
        more: Some(Arc::new(MoreProperties {
            expiration_ms: Some(600_000),
            content_type: text("application/json"),
            content_encoding: text("identity"),
            message_id: text("message"),
            correlation_id: text("correlation"),
            reply_to: text("replies"),
            kind: text("order.created"),
            app_id: text("checkout"),
            headers: serde_json::from_value(json!({ "whole": 1, "part": 0.5, "list": ["a", true] })).unwrap(),
        })),
    };
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    let transient = PublisherSetup { persistent: false, ..setup() };
    let mut transient = connection.open_publisher(&transient).await.unwrap();
    publish(link.as_mut(), vec![sent]).await.unwrap();
    settled(link.as_mut(), 1).await;
    publish(transient.as_mut(), vec![message(&queue.name, 2)]).await.unwrap();
    settled(transient.as_mut(), 1).await;
    connection.close(PATIENCE).await;

    let uri = format!("amqp://tester:{}@127.0.0.1:{}/%2f", bench.broker.password, bench.broker.amqp_port);
    let raw = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = raw.create_channel().await.unwrap();
    let get =
        async || channel.basic_get(queue.name.as_str().into(), BasicGetOptions::default()).await.unwrap().unwrap();
    let first = get().await.delivery;
    insta::with_settings!({ filters => vec![(r"(?s)ByteArray\(\s*\[.*?\],\s*\)", "ByteArray([…])")] }, {
        insta::assert_debug_snapshot!("every_property", first.properties);
    });
    let headers = first.properties.headers().clone().unwrap();
    assert_eq!(headers.inner().get(STAMP_HEADER), Some(&AMQPValue::ByteArray(stamp.to_vec().into())));
    let second = get().await.delivery;
    assert_eq!(second.properties.delivery_mode(), &Some(1));
    second.acker.ack(BasicAckOptions::default()).await.unwrap();
    raw.close(200, "OK".into()).await.unwrap();

    // The message that was not acked is back, and the port reads its stamp.
    let (connection, mut link) = bench.subscribe(&queue.name).await;
    assert_eq!(received(link.as_mut(), 1).await[0].stamp, Some(stamp));
    connection.close(PATIENCE).await;
}

pub async fn dropped_waits_lose_no_settlement(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&PublisherSetup { mandatory: true, ..setup() }).await.unwrap();
    let mut settled = Vec::new();
    for batch in 0..50 {
        let batch = batch * 20;
        publish(link.as_mut(), (batch..batch + 20).map(|n| message(&queue.name, n))).await.unwrap();
        let _ = cut_short(1 + batch % 3, link.settlements(&mut settled)).await;
    }
    within("the rest", async {
        while settled.len() < 1_000 {
            let _ = cut_short(2, link.settlements(&mut settled)).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let tokens: BTreeSet<u64> = settled.iter().map(|s| s.token).collect();
    assert_eq!((settled.len(), tokens), (1_000, (0..1_000).collect()));
    connection.close(PATIENCE).await;
}

pub async fn a_dropped_publish_is_settled_all_the_same(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    let mut dropped = 0;
    // More than a socket takes at once, however fast the broker reads.
    let body = Bytes::from(vec![0; 4 << 20]);
    for batch in 0..6 {
        let mut batch = outbox((batch * 2..batch * 2 + 2).map(|n| outgoing(&queue.name, n, body.clone())));
        dropped += u32::from(cut_short(1, link.publish(&mut batch)).await.is_none());
    }
    assert!(dropped > 0, "no publish was cut short: the check shows nothing");
    let tokens: BTreeSet<u64> = settled(link.as_mut(), 12).await.iter().map(|s| s.token).collect();
    assert_eq!(tokens, (0..12).collect());
    connection.close(PATIENCE).await;
}
