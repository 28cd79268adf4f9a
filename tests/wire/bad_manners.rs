//! A peer that does not keep to AMQP: a typed error, the connection dropped, never a panic, never unbounded memory.

use std::time::Duration;

use lurcher::amqp::{CodecError, FRAME_END, put_ack, put_nack};
use lurcher::client::{
    Client, ClientError, Connection, Deliveries, Outbox, Outcome, Properties, PublisherLink, PublisherSetup,
    QueueSubscription, SubscriberSetup,
};
use lurcher::plan::PrefetchScope;

use super::looped::{Looped, Trouble, When, put_delivery};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("an answer in time")
}

pub(super) async fn connect(trouble: Option<Trouble>) -> (Looped, Box<dyn Connection>) {
    let broker = Looped::default();
    broker.will(trouble);
    let connection = broker.connect(&Looped::endpoint(), "test").await.unwrap();
    (broker, connection)
}

pub(super) fn publishing() -> PublisherSetup {
    PublisherSetup { exchange: String::new(), confirms: true, mandatory: false, persistent: true }
}

fn consuming() -> SubscriberSetup {
    SubscriberSetup {
        queues: vec![QueueSubscription { number: 0, name: "q".to_owned(), offset: None }],
        prefetch: 100,
        prefetch_scope: PrefetchScope::Consumer,
        auto_ack: false,
        poll: None,
        priority: 0,
        ids: false,
    }
}

pub(super) async fn publish(link: &mut dyn PublisherLink, tokens: std::ops::Range<u64>) -> Result<(), ClientError> {
    let mut batch = Outbox::default();
    for token in tokens {
        batch.push(token, "q".into(), |body| {
            body.extend_from_slice(b"body");
            Properties::default()
        });
    }
    link.publish(&mut batch).await
}

/// How a publisher fails whose peer says this in place of its confirms.
async fn after_a_publish(says: Vec<u8>, hangs_up: bool) -> ClientError {
    let (_broker, connection) = connect(Some(Trouble { when: When::Published(3), says, hangs_up })).await;
    let mut link = connection.open_publisher(&publishing()).await.unwrap();
    publish(&mut *link, 0..3).await.unwrap();
    let mut settled = Vec::new();
    let error = within(link.settlements(&mut settled)).await.expect_err("the peer is no AMQP broker");
    assert!(settled.is_empty(), "{settled:?}");
    assert!(!error.is_channel_only(), "only a new connection helps");
    // Everything on the connection says the same.
    assert_eq!(publish(&mut *link, 3..4).await.unwrap_err().to_string(), error.to_string());
    assert_eq!(connection.open_publisher(&publishing()).await.err().unwrap().to_string(), error.to_string());
    error
}

/// How a consumer fails whose peer says this in place of its messages.
async fn after_subscribing(says: Vec<u8>) -> ClientError {
    let (_broker, connection) = connect(Some(Trouble { when: When::Consuming, says, hangs_up: false })).await;
    let mut link = match connection.open_subscriber(&consuming()).await {
        Ok(link) => link,
        Err(error) => return error,
    };
    let mut deliveries = Deliveries::default();
    loop {
        if let Err(error) = within(link.receive(&mut deliveries, 100)).await {
            return error;
        }
    }
}

fn codec(error: &ClientError) -> &CodecError {
    match error {
        ClientError::Protocol { error } => error,
        other => panic!("not the protocol's fault: {other:?}"),
    }
}

/// A frame with any payload.
pub(super) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame.push(FRAME_END);
    frame
}

#[tokio::test]
async fn frames_that_are_none_end_the_connection() {
    let mut wrong_end = frame(1, 1, &[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    *wrong_end.last_mut().unwrap() = 0;
    assert_eq!(codec(&after_a_publish(wrong_end, false).await), &CodecError::FrameEnd { found: 0 });

    let oversized = [1, 0, 1, 0xff, 0xff, 0xff, 0xff].to_vec();
    assert!(matches!(codec(&after_a_publish(oversized, false).await), CodecError::FrameTooLarge { .. }));

    assert_eq!(codec(&after_a_publish(frame(7, 1, &[]), false).await), &CodecError::UnknownFrameType { kind: 7 });
    assert_eq!(
        codec(&after_a_publish(b"HTTP/1.1".to_vec(), false).await),
        &CodecError::UnknownFrameType { kind: b'H' }
    );
}

#[tokio::test]
async fn methods_that_are_none_end_the_connection() {
    let unknown = frame(1, 1, &[0, 60, 0, 199]);
    assert_eq!(codec(&after_a_publish(unknown, false).await), &CodecError::UnknownMethod { class: 60, method: 199 });
    let truncated = frame(1, 1, &[0, 60, 0, 80, 0, 0]);
    assert!(matches!(codec(&after_a_publish(truncated, false).await), CodecError::Truncated { .. }));
}

#[tokio::test]
async fn confirms_of_what_was_not_sent_end_the_connection() {
    for (tag, multiple) in [(4, false), (4, true), (u64::MAX, true), (0, false)] {
        let mut ack = Vec::new();
        put_ack(&mut ack, 1, tag, multiple);
        assert!(matches!(codec(&after_a_publish(ack, false).await), CodecError::Unexpected { .. }), "{tag} {multiple}");
        let mut nack = Vec::new();
        put_nack(&mut nack, 1, tag, multiple, false);
        assert!(
            matches!(codec(&after_a_publish(nack, false).await), CodecError::Unexpected { .. }),
            "{tag} {multiple}"
        );
    }
    let mut elsewhere = Vec::new();
    put_ack(&mut elsewhere, 9, 1, false);
    assert!(matches!(codec(&after_a_publish(elsewhere, false).await), CodecError::Unexpected { .. }));
}

#[tokio::test]
async fn content_out_of_order_ends_the_connection() {
    let mut delivery = Vec::new();
    put_delivery(&mut delivery, 1, 1, b"body");
    let (method, rest) = delivery.split_at(26);
    let header = &rest[..rest.len() - 12];
    for (what, says) in [
        ("a body longer than announced", [method, header, &frame(3, 1, b"a longer body")].concat()),
        ("a body without a header", [method, &frame(3, 1, b"body")].concat()),
        ("a header without a method", header.to_vec()),
        ("a method inside of a content", [method, method].concat()),
        ("content on channel 0", frame(3, 0, b"body")),
    ] {
        let error = after_subscribing(says).await;
        assert!(
            matches!(codec(&error), CodecError::Unexpected { .. } | CodecError::BodyTooLong { .. }),
            "{what}: {error}"
        );
    }
    let huge = frame(2, 1, &[&[0, 60, 0, 0][..], &u64::MAX.to_be_bytes(), &[0, 0]].concat());
    let error = after_subscribing([method, &huge].concat()).await;
    assert!(error.to_string().contains("512 MiB"), "{error}");
}

#[tokio::test]
async fn messages_for_nobody_end_the_connection() {
    let mut delivery = Vec::new();
    put_delivery(&mut delivery, 1, 1, b"body");
    // The consumer tag follows the frame's header, the method's number and its own length.
    delivery[12] = b'7';
    assert!(matches!(codec(&after_subscribing(delivery.clone()).await), CodecError::Unexpected { .. }));
    assert!(matches!(codec(&after_a_publish(delivery, false).await), CodecError::Unexpected { .. }));
}

#[tokio::test]
async fn what_nobody_asked_for_ends_the_connection() {
    // queue.declare-ok: queue "q", no message, no consumer.
    let declared = frame(1, 1, &[0, 50, 0, 11, 1, b'q', 0, 0, 0, 0, 0, 0, 0, 0]);
    let error = after_a_publish(declared, false).await;
    assert!(error.to_string().contains("a question that nobody asked"), "{error}");
    // channel.flow, on and on: each is to be answered.
    let error = after_a_publish(frame(1, 1, &[0, 20, 0, 20, 1]).repeat(5_000), false).await;
    assert!(error.to_string().contains("questions on and on"), "{error}");
    // connection.blocked without a reason, on and on: each is to be heard.
    let error = after_a_publish(frame(1, 0, &[0, 10, 0, 60, 0]).repeat(5_000), false).await;
    assert!(error.to_string().contains("more blocking"), "{error}");
}

#[tokio::test]
async fn headers_that_cannot_be_read_end_the_connection() {
    let mut delivery = Vec::new();
    put_delivery(&mut delivery, 1, 1, b"");
    let method = &delivery[..26];
    // A table of 3 bytes: a name of 200 bytes is announced in it.
    let header = |table: &[u8]| {
        let content = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0][..], &(table.len() as u32).to_be_bytes()];
        frame(2, 1, &[content.concat().as_slice(), table].concat())
    };
    let error = after_subscribing([method, &header(&[200, b'a', b'b'])].concat()).await;
    assert!(matches!(codec(&error), CodecError::Truncated { .. }), "{error}");
    let error = after_subscribing([method, &header(&[1, b'a', b'?', 0])].concat()).await;
    assert!(matches!(codec(&error), CodecError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_connection_that_ends_within_a_frame_is_lost() {
    let error = after_a_publish(vec![1, 0, 1, 0, 0], true).await;
    assert!(matches!(&error, ClientError::ConnectionLost { reason } if reason.contains("hung up")), "{error:?}");
}

/// The control: without trouble, messages are confirmed and delivered.
#[tokio::test]
async fn a_peer_that_keeps_to_amqp_is_believed() {
    let (_broker, connection) = connect(None).await;
    let mut link = connection.open_publisher(&publishing()).await.unwrap();
    publish(&mut *link, 0..25).await.unwrap();
    let mut settled = Vec::new();
    while settled.len() < 25 {
        within(link.settlements(&mut settled)).await.unwrap();
    }
    assert!(settled.iter().map(|settlement| settlement.token).eq(0..25));
    assert!(settled.iter().all(|settlement| settlement.outcome == Outcome::Confirmed));
    let mut link = connection.open_subscriber(&consuming()).await.unwrap();
    let mut deliveries = Deliveries::default();
    while deliveries.len() < 25 {
        within(link.receive(&mut deliveries, 7)).await.unwrap();
    }
    assert!(deliveries.iter().map(|(delivery, _)| delivery.tag).eq(1..=25));
    assert!(deliveries.iter().all(|(_, body)| body == b"body"));
}
