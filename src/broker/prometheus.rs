//! The broker's global counters in the Prometheus text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Pure.
//!
//! `rabbitmq_global_messages_dead_lettered_*` counts messages that leave a queue by a rule, also where no dead-letter
//! exchange is set: the label `dead_letter_strategy` is then `disabled`.

use std::collections::BTreeMap;

const PREFIX: &str = "rabbitmq_global_messages_";

/// Names of the broker's counters and ours.
const SUMS: [(&str, &str); 9] = [
    ("received_total", "published"),
    ("confirmed_total", "confirmed"),
    ("routed_total", "routed"),
    ("unroutable_dropped_total", "unroutable_dropped"),
    ("unroutable_returned_total", "unroutable_returned"),
    ("delivered_total", "delivered"),
    ("redelivered_total", "redelivered"),
    ("acknowledged_total", "acknowledged"),
    ("get_empty_total", "get_empty"),
];

const REASONS: [&str; 4] = ["expired", "maxlen", "rejected", "delivery_limit"];

/// Adds up the global counters over their other labels.
pub(super) fn counters(text: &str) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, labels, value)) = parse(line)
            && let Some(key) = key(name, labels)
        {
            *counters.entry(key).or_insert(0) += value;
        }
    }
    counters
}

fn key(name: &str, labels: &str) -> Option<String> {
    if let Some((_, ours)) = SUMS.iter().find(|(theirs, _)| *theirs == name) {
        return Some((*ours).to_owned());
    }
    let reason = name.strip_prefix("dead_lettered_")?.strip_suffix("_total")?;
    if !REASONS.contains(&reason) {
        return None;
    }
    let kind = label(labels, "queue_type")?;
    let kind = kind.strip_prefix("rabbit_").unwrap_or(kind);
    let kind = kind.strip_suffix("_queue").unwrap_or(kind);
    let fate = if label(labels, "dead_letter_strategy")? == "disabled" { "dropped" } else { "dead_lettered" };
    Some(format!("{fate}.{reason}.{kind}"))
}

/// Name without the prefix, labels, value. Values of these counters are whole numbers.
fn parse(line: &str) -> Option<(&str, &str, u64)> {
    let rest = line.strip_prefix(PREFIX)?;
    let (series, value) = rest.trim_end().rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let value = value.parse::<u64>().ok().or_else(|| {
        let number = value.parse::<f64>().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number as u64)
    })?;
    Some((name, labels, value))
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As RabbitMQ 4.0.5 writes it, shortened.
    const ANSWER: &str = r#"
# TYPE rabbitmq_global_messages_dead_lettered_expired_total counter
# HELP rabbitmq_global_messages_dead_lettered_expired_total Total number of messages dead-lettered due to message TTL exceeded
rabbitmq_global_messages_dead_lettered_expired_total{queue_type="rabbit_classic_queue",dead_letter_strategy="at_most_once"} 2
rabbitmq_global_messages_dead_lettered_expired_total{queue_type="rabbit_classic_queue",dead_letter_strategy="disabled"} 8
rabbitmq_global_messages_dead_lettered_expired_total{queue_type="rabbit_quorum_queue",dead_letter_strategy="at_least_once"} 4
rabbitmq_global_messages_dead_lettered_expired_total{queue_type="rabbit_quorum_queue",dead_letter_strategy="at_most_once"} 3
rabbitmq_global_messages_dead_lettered_expired_total{queue_type="rabbit_quorum_queue",dead_letter_strategy="disabled"} 5
rabbitmq_global_messages_dead_lettered_confirmed_total{queue_type="rabbit_quorum_queue",dead_letter_strategy="at_least_once"} 4
rabbitmq_global_messages_delivered_total{protocol="amqp091",queue_type="rabbit_classic_queue"} 10
rabbitmq_global_messages_delivered_total{protocol="amqp10",queue_type="rabbit_quorum_queue"} 5
rabbitmq_global_messages_delivered_consume_manual_ack_total{protocol="amqp091",queue_type="rabbit_classic_queue"} 10
rabbitmq_global_messages_received_total{protocol="amqp091"} 1.2e3
rabbitmq_global_publishers{protocol="amqp091"} 7
rabbitmq_connections 3
"#;

    #[test]
    fn adds_up_what_belongs_together() {
        let expected = [
            ("dead_lettered.expired.classic", 2),
            ("dead_lettered.expired.quorum", 7),
            ("delivered", 15),
            ("dropped.expired.classic", 8),
            ("dropped.expired.quorum", 5),
            ("published", 1200),
        ];
        assert_eq!(counters(ANSWER), expected.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
    }

    #[test]
    fn no_counters_are_no_counters() {
        assert!(counters("").is_empty());
        assert!(counters("<html>rabbitmq_global_messages_received_total 5</html>").is_empty());
        assert!(counters("rabbitmq_global_messages_received_total{protocol=\"x\"} NaN").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(rabbitmq_global_messages_[a-z_]{0,30}[{}\", =a-z0-9.-]{0,40}\n?){0,5}") {
            let _any = counters(&text);
        }

        #[test]
        fn every_series_counts_once(values in proptest::collection::vec(0u64..1_000_000, 1..20)) {
            let text: String = values.iter().enumerate()
                .map(|(i, value)| format!("rabbitmq_global_messages_delivered_total{{queue_type=\"t{i}\"}} {value}\n"))
                .collect();
            let delivered = counters(&text).remove("delivered");
            prop_assert_eq!(delivered, Some(values.iter().sum()));
        }
    }
}
