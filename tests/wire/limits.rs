//! What the wire client does not send, or not yet: what fits no frame, and what the broker has asked to hold back.

use lurcher::client::{ClientError, MoreProperties, Outbox, Properties};
use serde_json::json;

use super::bad_manners::{connect, frame, publish, publishing, within};

#[tokio::test]
async fn headers_that_fit_no_frame_are_refused_and_the_link_stays() {
    let (broker, connection) = connect(None).await;
    let mut link = connection.open_publisher(&publishing()).await.unwrap();
    let with_header = |bytes: usize| {
        let headers = [("large".to_owned(), json!("x".repeat(bytes)))].into();
        let more = Some(std::sync::Arc::new(MoreProperties { headers, ..MoreProperties::default() }));
        let mut batch = Outbox::default();
        batch.push(0, "q".into(), |_| Properties { more, ..Properties::default() });
        batch
    };
    // The broker's frames have 131,072 bytes: 8 around the header, 12 before its properties, 20 for the table's frame.
    let error = link.publish(&mut with_header(131_072)).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unfit { reason, .. } if reason.contains("131072")), "{error}");
    assert!(error.is_final(), "it would not fit another connection either");
    link.publish(&mut with_header(131_000)).await.unwrap();
    publish(&mut *link, 1..10).await.unwrap();
    let mut settled = Vec::new();
    while settled.len() < 10 {
        within(link.settlements(&mut settled)).await.unwrap();
    }
    assert_eq!(broker.published(), 10);
}

#[tokio::test]
async fn messages_are_held_back_while_the_broker_asks_for_it() {
    let (broker, connection) = connect(None).await;
    let mut link = connection.open_publisher(&publishing()).await.unwrap();
    publish(&mut *link, 0..2).await.unwrap();
    let flow = |active: u8| frame(1, 1, &[0, 20, 0, 20, active]);
    broker.say(&flow(0));
    // The connection's own task reads it.
    tokio::task::yield_now().await;
    {
        let mut held = std::pin::pin!(publish(&mut *link, 2..5));
        for _ in 0..10 {
            assert!(futures_util::poll!(held.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(broker.published(), 2, "what was to be held back was sent");
        broker.say(&flow(1));
        within(held).await.unwrap();
    }
    let mut settled = Vec::new();
    while settled.len() < 5 {
        within(link.settlements(&mut settled)).await.unwrap();
    }
    assert!(settled.iter().map(|settlement| settlement.token).eq(0..5));
    assert_eq!(broker.published(), 5);
}
