//! Declaring, verifying and deleting a topology on a real broker, and what is refused.

// Helpers of tests are not tests to clippy: what it allows in those is allowed here for all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use lurcher::client::lapin::Lapin;
use lurcher::client::{
    Client, ClientError, MoreProperties, Outbox, Outcome, Properties, PublisherSetup, QueueSubscription, Settlement,
    SubscriberSetup,
};
use lurcher::endpoint::{Credentials, Endpoint, Secret};
use lurcher::plan::{BindingPlan, ExchangeKind, ExchangePlan, PrefetchScope, QueueKind, QueuePlan, TopologyPlan};
use lurcher::topology::{self, Declared, Item, TopologyError};
use serde_json::{Value, json};
use support::{Broker, Wishes};

const PATIENCE: Duration = Duration::from_secs(20);

fn exchange(name: &str, kind: ExchangeKind, arguments: Value) -> ExchangePlan {
    ExchangePlan { arguments: serde_json::from_value(arguments).unwrap(), ..ExchangePlan::new(name, kind) }
}

fn queue(name: &str, kind: QueueKind, arguments: Value) -> QueuePlan {
    let mut arguments: lurcher::plan::Arguments = serde_json::from_value(arguments).unwrap();
    let text = match kind {
        QueueKind::Classic => "classic",
        QueueKind::Quorum => "quorum",
        QueueKind::Stream => "stream",
    };
    arguments.insert("x-queue-type".to_owned(), json!(text));
    QueuePlan { arguments, ..QueuePlan::new(name, kind) }
}

fn binding(source: &str, destination: &str, to_exchange: bool, key: &str, arguments: Value) -> BindingPlan {
    BindingPlan {
        source: source.to_owned(),
        destination: destination.to_owned(),
        to_exchange,
        key: key.to_owned(),
        arguments: serde_json::from_value(arguments).unwrap(),
    }
}

/// Something of everything.
fn full() -> TopologyPlan {
    TopologyPlan {
        exchanges: vec![
            exchange("", ExchangeKind::Direct, json!({})),
            exchange("full.in", ExchangeKind::Topic, json!({ "alternate-exchange": "full.rest" })),
            exchange("full.rest", ExchangeKind::Fanout, json!({})),
            exchange("full.headers", ExchangeKind::Headers, json!({})),
            exchange("full.direct", ExchangeKind::Direct, json!({})),
        ],
        queues: vec![
            queue("full.a", QueueKind::Classic, json!({ "x-max-length": 100, "x-max-priority": 5 })),
            queue("full.b", QueueKind::Quorum, json!({ "x-delivery-limit": 5, "x-overflow": "reject-publish" })),
            queue("full.c", QueueKind::Stream, json!({ "x-max-age": "1h" })),
            queue("full.rest", QueueKind::Classic, json!({})),
            QueuePlan { exclusive: true, ..queue("full.own", QueueKind::Classic, json!({})) },
        ],
        bindings: vec![
            binding("full.direct", "full.a", false, "k", json!({})),
            binding("full.in", "full.direct", true, "deep.#", json!({})),
            binding("full.direct", "full.b", false, "deep.b", json!({})),
            binding("full.headers", "full.c", false, "", json!({ "x-match": "all", "n": 1, "s": "x" })),
            binding("full.rest", "full.rest", false, "", json!({})),
            binding("full.rest", "full.own", false, "", json!({})),
        ],
    }
}

fn one(name: &str, arguments: Value) -> TopologyPlan {
    TopologyPlan { queues: vec![queue(name, QueueKind::Classic, arguments)], ..TopologyPlan::default() }
}

async fn declare(endpoint: &Endpoint, plan: &TopologyPlan) -> Result<Declared, TopologyError> {
    let mut declared = Declared::default();
    topology::declare(endpoint, plan, &mut declared).await.map(|()| declared)
}

async fn publish(endpoint: &Endpoint, exchange: &str, key: &str, properties: Properties) -> Outcome {
    let connection = Lapin.connect(endpoint, "test").await.unwrap();
    let setup = PublisherSetup { exchange: exchange.to_owned(), confirms: true, mandatory: true, persistent: true };
    let mut link = connection.open_publisher(&setup).await.unwrap();
    let mut batch = Outbox::default();
    batch.push(1, key.into(), |body| {
        body.extend_from_slice(b"body");
        properties
    });
    link.publish(&mut batch).await.unwrap();
    let mut settled: Vec<Settlement> = Vec::new();
    tokio::time::timeout(PATIENCE, link.settlements(&mut settled)).await.unwrap().unwrap();
    connection.close(PATIENCE).await;
    settled.remove(0).outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topology_is_declared_verified_and_deleted() {
    let broker = Broker::start(Wishes::default()).await;
    all_of_it_stands_and_goes(&broker).await;
    what_is_there_already_is_used_and_left(&broker).await;
    what_a_run_would_disturb_is_refused(&broker).await;
    a_stream_that_exists_is_refused(&broker).await;
    what_was_declared_before_an_error_can_be_deleted(&broker).await;
    missing_permission_names_the_item(&broker).await;
    deleting_goes_on_after_an_error(&broker).await;
}

async fn all_of_it_stands_and_goes(broker: &Broker) {
    let endpoint = &broker.endpoint();
    let plan = full();
    let missing = topology::verify(endpoint, &plan).await.unwrap_err();
    assert!(matches!(&missing, TopologyError::Missing { item: Item::Exchange(name), .. } if name == "full.in"));
    let declared = declare(endpoint, &plan).await.unwrap();
    assert_eq!(declared.exchanges, ["full.in", "full.rest", "full.headers", "full.direct"]);
    assert_eq!(declared.queues, ["full.a", "full.b", "full.c", "full.rest"]);
    assert_eq!(declared.found, []);
    topology::verify(endpoint, &plan).await.unwrap();

    let plain = Properties::default();
    let mut matching = Properties::default();
    let headers = serde_json::from_value(json!({ "n": 1, "s": "x" })).unwrap();
    matching.more = Some(Arc::new(MoreProperties { headers, ..MoreProperties::default() }));
    assert_eq!(publish(endpoint, "full.direct", "k", plain.clone()).await, Outcome::Confirmed);
    assert_eq!(publish(endpoint, "full.in", "deep.b", plain.clone()).await, Outcome::Confirmed);
    assert_eq!(publish(endpoint, "full.in", "other", plain.clone()).await, Outcome::Confirmed);
    assert_eq!(publish(endpoint, "full.headers", "", matching).await, Outcome::Confirmed);
    assert!(matches!(publish(endpoint, "full.headers", "", plain).await, Outcome::Returned { code: 312, .. }));

    let depths = tokio::time::timeout(PATIENCE, async {
        loop {
            let depths = topology::depths(endpoint, &plan).await.unwrap();
            if [0, 1, 3].iter().all(|n| depths[*n] == Some(1)) {
                return depths;
            }
        }
    });
    let depths = depths.await.expect("each message in its queue");
    assert_eq!(depths[4], None, "an exclusive queue is its subscriber's");
    let error = topology::verify(endpoint, &plan).await.unwrap_err();
    assert!(matches!(&error, TopologyError::NotEmpty { queue, messages: 1 } if queue == "full.a"), "{error}");

    assert!(topology::delete(endpoint, &declared).await.is_empty());
    assert!(topology::delete(endpoint, &declared).await.is_empty(), "what is gone is no error");
    assert_eq!(topology::depths(endpoint, &plan).await.unwrap(), [None; 5]);
    assert!(matches!(topology::verify(endpoint, &plan).await, Err(TopologyError::Missing { .. })));
}

async fn what_is_there_already_is_used_and_left(broker: &Broker) {
    let endpoint = &broker.endpoint();
    let mut plan = one("theirs", json!({ "x-max-length": 9 }));
    plan.exchanges.push(exchange("amq.topic", ExchangeKind::Topic, json!({})));
    let first = declare(endpoint, &one("theirs", json!({ "x-max-length": 9 }))).await.unwrap();
    let second = declare(endpoint, &plan).await.unwrap();
    assert_eq!(second.found, [Item::Exchange("amq.topic".to_owned()), Item::Queue("theirs".to_owned())]);
    assert!(topology::delete(endpoint, &second).await.is_empty());
    assert_eq!(topology::depths(endpoint, &plan).await.unwrap(), [Some(0)], "it was deleted, and was not ours");
    assert!(topology::delete(endpoint, &first).await.is_empty());
}

async fn what_a_run_would_disturb_is_refused(broker: &Broker) {
    let endpoint = &broker.endpoint();
    let plan = one("disturbed", json!({}));
    let declared = declare(endpoint, &plan).await.unwrap();

    let other = declare(endpoint, &one("disturbed", json!({ "x-max-length": 1 }))).await.unwrap_err();
    let TopologyError::Conflict { item, reason } = &other else { panic!("{other:?}") };
    assert_eq!(item, &Item::Queue("disturbed".to_owned()));
    assert!(reason.contains("x-max-length") && other.to_string().contains("delete it"), "{other}");

    let connection = Lapin.connect(endpoint, "test").await.unwrap();
    let queues = vec![QueueSubscription { number: 0, name: "disturbed".to_owned(), offset: None }];
    let setup = SubscriberSetup {
        queues,
        prefetch: 0,
        prefetch_scope: PrefetchScope::Consumer,
        auto_ack: false,
        poll: None,
        priority: 0,
        ids: false,
    };
    let link = connection.open_subscriber(&setup).await.unwrap();
    let used = declare(endpoint, &plan).await.unwrap_err();
    assert!(matches!(used, TopologyError::InUse { consumers: 1, .. }), "{used:?}");
    link.close().await;
    connection.close(PATIENCE).await;

    for _ in 0..3 {
        publish(endpoint, "", "disturbed", Properties::default()).await;
    }
    let full = tokio::time::timeout(PATIENCE, async {
        loop {
            match declare(endpoint, &plan).await {
                Err(error @ TopologyError::NotEmpty { messages: 3, .. }) => return error,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    assert!(full.await.expect("a refusal").to_string().contains("`disturbed` holds 3 messages"));
    assert!(topology::delete(endpoint, &declared).await.is_empty());
}

async fn a_stream_that_exists_is_refused(broker: &Broker) {
    let endpoint = &broker.endpoint();
    let plan = TopologyPlan { queues: vec![queue("log", QueueKind::Stream, json!({}))], ..TopologyPlan::default() };
    let declared = declare(endpoint, &plan).await.unwrap();
    let error = declare(endpoint, &plan).await.unwrap_err();
    assert!(matches!(error, TopologyError::StreamExists { .. }), "{error:?}");
    assert!(topology::delete(endpoint, &declared).await.is_empty());
}

async fn what_was_declared_before_an_error_can_be_deleted(broker: &Broker) {
    let endpoint = &broker.endpoint();
    let mut plan = one("before", json!({}));
    plan.bindings.push(binding("no such exchange", "before", false, "k", json!({})));
    let mut declared = Declared::default();
    let error = topology::declare(endpoint, &plan, &mut declared).await.unwrap_err();
    assert!(matches!(&error, TopologyError::Missing { item: Item::Binding { .. }, .. }), "{error:?}");
    assert!(error.to_string().contains("no such exchange"), "{error}");
    assert_eq!(declared.queues, ["before"]);
    assert!(topology::delete(endpoint, &declared).await.is_empty());
    assert_eq!(topology::depths(endpoint, &plan).await.unwrap(), [None]);
}

async fn missing_permission_names_the_item(broker: &Broker) {
    broker.ctl(&["add_user", "guest of honour", "secret"]);
    broker.ctl(&["set_permissions", "guest of honour", "^mine", "^mine", "^mine"]);
    let credentials = Credentials::Plain { user: "guest of honour".to_owned(), password: Secret::new("secret") };
    let endpoint = Endpoint { credentials, ..broker.endpoint() };
    let error = declare(&endpoint, &one("not mine", json!({}))).await.unwrap_err();
    let TopologyError::Forbidden { item, reason } = &error else { panic!("{error:?}") };
    assert_eq!(item, &Item::Queue("not mine".to_owned()));
    assert!(reason.starts_with("ACCESS_REFUSED"), "{reason}");

    let wrong = Credentials::Plain { user: "guest of honour".to_owned(), password: Secret::new("guessed") };
    let error = declare(&Endpoint { credentials: wrong, ..endpoint }, &TopologyPlan::default()).await.unwrap_err();
    assert!(matches!(error, TopologyError::Client(ClientError::Refused { .. })), "{error:?}");
}

async fn deleting_goes_on_after_an_error(broker: &Broker) {
    let endpoint = &broker.endpoint();
    let plan = one("goes", json!({}));
    let mut declared = declare(endpoint, &plan).await.unwrap();
    let owner = Lapin.connect(endpoint, "test").await.unwrap();
    let exclusive = QueuePlan { exclusive: true, durable: false, ..queue("locked", QueueKind::Classic, json!({})) };
    owner.declare(&exclusive, &[]).await.unwrap();
    declared.queues.push("locked".to_owned());
    let errors = topology::delete(endpoint, &declared).await;
    let [TopologyError::Failed { item, code: 405, .. }] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(item, &Item::Queue("locked".to_owned()));
    assert_eq!(topology::depths(endpoint, &plan).await.unwrap(), [None]);
    let locked = TopologyPlan { queues: vec![exclusive], ..TopologyPlan::default() };
    assert_eq!(topology::depths(endpoint, &locked).await.unwrap(), [None], "another connection's own");
    owner.close(PATIENCE).await;
}
