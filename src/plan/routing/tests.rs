//! The routing rules, one by one.

use serde_json::json;

use super::*;
use crate::plan::{BindingPlan, ExchangePlan, QueueKind, QueuePlan};

fn arguments(value: serde_json::Value) -> Arguments {
    serde_json::from_value(value).expect("an object")
}

fn bind(source: &str, destination: &str, key: &str) -> BindingPlan {
    BindingPlan {
        source: source.to_owned(),
        destination: destination.to_owned(),
        to_exchange: destination.starts_with("to."),
        key: key.to_owned(),
        arguments: Arguments::new(),
    }
}

fn topology(exchanges: Vec<ExchangePlan>, queues: &[&str], bindings: Vec<BindingPlan>) -> TopologyPlan {
    let queues = queues.iter().map(|name| QueuePlan::new(name, QueueKind::Classic)).collect();
    TopologyPlan { exchanges, queues, bindings }
}

fn none() -> Arguments {
    Arguments::new()
}

#[test]
fn the_default_exchange_routes_by_queue_name() {
    let topology = topology(vec![], &["a", "b"], vec![]);
    assert_eq!(reach(&topology, "", "b", &none()), [1]);
    assert!(reach(&topology, "", "c", &none()).is_empty());
}

#[test]
fn direct_topic_and_fanout_keep_their_rules() {
    use ExchangeKind::{Direct, Fanout, Topic};
    let topology = topology(
        vec![ExchangePlan::new("d", Direct), ExchangePlan::new("t", Topic), ExchangePlan::new("f", Fanout)],
        &["a", "b"],
        vec![
            bind("d", "a", "key"),
            bind("d", "a", "other"),
            bind("d", "b", "key"),
            bind("t", "b", "order.#"),
            bind("t", "a", "order.*"),
            bind("f", "b", ""),
            bind("amq.topic", "a", "#"),
        ],
    );
    for (exchange, key, expected) in [
        ("d", "key", vec![0, 1]),
        ("d", "other", vec![0]),
        ("d", "none", vec![]),
        ("t", "order.created", vec![0, 1]),
        ("t", "order.created.eu", vec![1]),
        ("f", "whatever", vec![1]),
        ("amq.topic", "x.y", vec![0]),
        ("amq.fanout", "x.y", vec![]),
        ("missing", "x.y", vec![]),
    ] {
        assert_eq!(reach(&topology, exchange, key, &none()), expected, "{exchange} {key}");
    }
}

#[test]
fn exchanges_in_a_circle_come_to_an_end() {
    use ExchangeKind::Fanout;
    let topology = topology(
        vec![ExchangePlan::new("to.1", Fanout), ExchangePlan::new("to.2", Fanout)],
        &["a", "b"],
        vec![bind("to.1", "to.2", ""), bind("to.2", "to.1", ""), bind("to.2", "b", ""), bind("to.1", "a", "")],
    );
    assert_eq!(reach(&topology, "to.1", "", &none()), [0, 1]);
    assert_eq!(reach(&topology, "to.2", "", &none()), [0, 1]);
}

#[test]
fn the_alternate_takes_what_matches_no_binding() {
    use ExchangeKind::{Direct, Fanout};
    let mut first = ExchangePlan::new("d", Direct);
    first.alternate = Some("to.rest".to_owned());
    let topology = topology(
        vec![first, ExchangePlan::new("to.rest", Fanout), ExchangePlan::new("to.nowhere", Fanout)],
        &["a", "rest"],
        vec![bind("d", "a", "known"), bind("d", "to.nowhere", "lost"), bind("to.rest", "rest", "")],
    );
    assert_eq!(reach(&topology, "d", "known", &none()), [0]);
    assert_eq!(reach(&topology, "d", "unknown", &none()), [1]);
    // A binding matched, though it leads nowhere: the broker does not ask the alternate.
    assert!(reach(&topology, "d", "lost", &none()).is_empty());
}

#[test]
fn headers_match_all_or_any() {
    let bound = |x_match: Option<&str>, extra: bool| {
        let mut pattern = arguments(json!({ "format": "pdf", "pages": 3 }));
        if extra {
            pattern.insert("x-tenant".to_owned(), json!("eu"));
        }
        if let Some(kind) = x_match {
            pattern.insert("x-match".to_owned(), json!(kind));
        }
        pattern
    };
    let (both, one, tenant) = (
        arguments(json!({ "format": "pdf", "pages": 3, "colour": true })),
        arguments(json!({ "format": "pdf", "pages": 4 })),
        arguments(json!({ "x-tenant": "eu" })),
    );
    for (pattern, headers, expected) in [
        (bound(None, false), &both, true),
        (bound(Some("all"), false), &one, false),
        (bound(Some("any"), false), &one, true),
        (bound(Some("any"), false), &none(), false),
        // Names in `x-` count for the kinds `-with-x` only.
        (bound(Some("all"), true), &both, true),
        (bound(Some("all-with-x"), true), &both, false),
        (bound(Some("any"), true), &tenant, false),
        (bound(Some("any-with-x"), true), &tenant, true),
        (arguments(json!({})), &none(), true),
        (arguments(json!({ "x-match": "any" })), &both, false),
    ] {
        assert_eq!(headers::matches(&pattern, headers), expected, "{pattern:?} on {headers:?}");
    }
}

#[test]
fn headers_name_more_routing_keys() {
    let topology = topology(vec![], &["a", "b", "c"], vec![]);
    let headers = arguments(json!({ "CC": ["c"], "BCC": ["b", "c"] }));
    assert_eq!(reach(&topology, "", "c", &headers), [1, 2]);
}
