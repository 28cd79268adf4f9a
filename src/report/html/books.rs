//! The books: what became of each fleet's messages and of each queue's copies, and how long it took.

use super::markup::{Cell, Html};
use crate::record::{LatencySummary, PublisherAccount, QueueAccount, Record};
use crate::report::figure::Figure;
use crate::report::summary::{ALL_FLEETS, STATISTICS, at_percentile};

pub(super) fn latency(html: &mut Html, record: &Record) {
    html.section("latency", "Latency over the measured load", |html| {
        html.element(
            "p",
            "From the intended send, a message that had to wait because the broker or its connection stalled carries \
             that wait. From the actual send it does not: where the two differ, the difference is what a measurement \
             that only times what it managed to send would have hidden.",
        );
        let rows =
            record.latency.iter().filter(|summary| !summary.metric.ends_with("_from_send")).flat_map(|summary| {
                let actual = record.latency.iter().find(|other| {
                    other.fleet == summary.fleet && other.metric == format!("{}_from_send", summary.metric)
                });
                let has_actual = actual.is_some();
                let intended = row(summary, if has_actual { "intended send" } else { "–" });
                std::iter::once(intended).chain(actual.map(|actual| row(actual, "actual send")))
            });
        let header = ["latency", "fleet", "from", "samples", "p50", "p90", "p99", "p99.9", "max", "mean"];
        html.table("latencies", header, rows, "No latency was measured.");
    });
}

fn row(summary: &LatencySummary, from: &str) -> [Cell; 10] {
    let [p50, p90, p99, p999, max] = STATISTICS.map(|(_, percentile)| Cell::us(at_percentile(summary, percentile)));
    let name = summary.metric.trim_end_matches("_from_send").replace('_', " ");
    let fleet = if summary.fleet == ALL_FLEETS { "all fleets" } else { &summary.fleet };
    let mean = (summary.count > 0).then_some(Figure::Real(summary.mean_us));
    [
        Cell::text(name),
        Cell::text(fleet),
        Cell::text(from),
        Cell::count(summary.count),
        p50,
        p90,
        p99,
        p999,
        max,
        Cell::Number(mean, "us"),
    ]
}

pub(super) fn publishers(html: &mut Html, record: &Record) {
    html.section("publishers", "Producers: what the broker answered", |html| {
        html.element(
            "p",
            "published = confirmed + nacked + returned + unconfirmed + sent with confirms off; \
             planned = published + unsent.",
        );
        let fleets = record.plan.producers.iter().map(|fleet| {
            let accounts = fleet.publishers.iter().map(|publisher| usize::from(publisher.id));
            publisher_row(&fleet.name, accounts.filter_map(|id| record.account.publishers.get(id)))
        });
        let all = publisher_row("all fleets", record.account.publishers.iter());
        let rows = fleets.chain([all]).filter(|_| !record.account.publishers.is_empty());
        let header = [
            "fleet",
            "planned",
            "published",
            "confirmed",
            "nacked",
            "returned",
            "unconfirmed",
            "sent",
            "unsent",
            "sent again",
        ];
        html.table("producers", header, rows, "There is no account of any publisher.");
    });
}

fn publisher_row<'a>(name: &str, accounts: impl Iterator<Item = &'a PublisherAccount>) -> [Cell; 10] {
    let mut sum = PublisherAccount::default();
    for account in accounts {
        sum.planned += account.planned;
        sum.published += account.published;
        sum.confirmed += account.confirmed;
        sum.nacked += account.nacked;
        sum.returned += account.returned;
        sum.unconfirmed += account.unconfirmed;
        sum.sent += account.sent;
        sum.unsent += account.unsent;
        sum.resends += account.resends;
    }
    [
        Cell::text(name),
        Cell::count(sum.planned),
        Cell::count(sum.published),
        Cell::count(sum.confirmed),
        Cell::count(sum.nacked),
        Cell::count(sum.returned),
        Cell::count(sum.unconfirmed),
        Cell::count(sum.sent),
        Cell::count(sum.unsent),
        Cell::count(sum.resends),
    ]
}

pub(super) fn queues(html: &mut Html, record: &Record) {
    html.section("queues", "Queues: where every copy went", |html| {
        html.element("p", "routed = consumed + dead-lettered + removed by rule + left in the queue + lost.");
        let queues = &record.account.queues;
        let all = (!queues.is_empty()).then(|| all_queues(queues));
        let rows = queues.iter().chain(&all).map(balance_row);
        let header = ["queue", "routed", "consumed", "dead-lettered", "removed by rule", "left", "lost", "balance"];
        html.table("conservation", header, rows, "There is no account of any queue.");
        let nowhere = &record.account;
        if nowhere.unroutable + nowhere.unroutable_unconfirmed > 0 {
            html.markup("<p>Routed to no queue at all: ");
            html.number(Some(nowhere.unroutable.into()), "messages");
            html.markup(" confirmed, and so lost; ");
            html.number(Some(nowhere.unroutable_unconfirmed.into()), "messages");
            html.markup(" without a confirm.</p>\n");
        }
        html.element("h3", "Deliveries");
        let rows = queues.iter().chain(&all).map(delivery_row);
        let header = [
            "queue",
            "delivered",
            "acked",
            "requeued",
            "rejected",
            "retried",
            "flagged redelivered",
            "republished",
            "redelivered",
            "unflagged",
            "phantom",
            "corrupt",
            "misordered",
            "misrouted",
            "possibly lost",
            "recovered",
        ];
        html.table("deliveries", header, rows, "There is no account of any queue.");
    });
}

fn all_queues(queues: &[QueueAccount]) -> QueueAccount {
    let mut sum = QueueAccount { queue: "all queues".to_owned(), ..QueueAccount::default() };
    for queue in queues {
        sum.routed += queue.routed;
        sum.delivered += queue.delivered;
        sum.redelivered_flag += queue.redelivered_flag;
        sum.acknowledged += queue.acknowledged;
        sum.consumed += queue.consumed;
        *sum.dead_lettered.entry(String::new()).or_default() += queue.dead_lettered_total();
        sum.removed_by_rule += queue.removed_by_rule;
        sum.left_in_queue += queue.left_in_queue;
        sum.lost += queue.lost;
        sum.possibly_lost += queue.possibly_lost;
        sum.recovered += queue.recovered;
        sum.republished += queue.republished;
        sum.redelivered += queue.redelivered;
        sum.unflagged += queue.unflagged;
        sum.requeued += queue.requeued;
        sum.rejected += queue.rejected;
        sum.retried += queue.retried;
        sum.phantom += queue.phantom;
        sum.corrupt += queue.corrupt;
        sum.misordered += queue.misordered;
        sum.misrouted += queue.misrouted;
    }
    sum
}

fn balance_row(queue: &QueueAccount) -> [Cell; 8] {
    let balance = match queue.imbalance() {
        0 => "balances".to_owned(),
        off => format!("off by {off}"),
    };
    [
        Cell::code(&queue.queue),
        Cell::count(queue.routed),
        Cell::count(queue.consumed),
        Cell::count(queue.dead_lettered_total()),
        Cell::count(queue.removed_by_rule),
        Cell::count(queue.left_in_queue),
        Cell::count(queue.lost),
        Cell::text(balance),
    ]
}

fn delivery_row(queue: &QueueAccount) -> [Cell; 16] {
    [
        Cell::code(&queue.queue),
        Cell::count(queue.delivered),
        Cell::count(queue.acknowledged),
        Cell::count(queue.requeued),
        Cell::count(queue.rejected),
        Cell::count(queue.retried),
        Cell::count(queue.redelivered_flag),
        Cell::count(queue.republished),
        Cell::count(queue.redelivered),
        Cell::count(queue.unflagged),
        Cell::count(queue.phantom),
        Cell::count(queue.corrupt),
        Cell::count(queue.misordered),
        Cell::count(queue.misrouted),
        Cell::count(queue.possibly_lost),
        Cell::count(queue.recovered),
    ]
}
