//! One good record, and a test for each rule that breaks exactly that rule.

mod effects;
mod expectations;
mod properties;
mod rules;

use std::collections::BTreeMap;

use super::judge;
use crate::plan::expect::{Comparison, Guarantee};
use crate::plan::*;
use crate::record::*;

/// 12,000 messages in 6 s to one queue that is emptied; everything is as it should be.
pub(super) fn good() -> Record {
    let expect = vec![
        Expectation::Guarantee(Guarantee::AtLeastOnce),
        Expectation::Guarantee(Guarantee::AtMostOnce),
        Expectation::Ordered,
        bound("lost", Comparison::Equal, 0.0),
        bound("end_to_end.p99", Comparison::AtMost, 250_000.0),
        bound("confirm.checkout.p50", Comparison::AtMost, 100_000.0),
        bound("throughput.consumed", Comparison::AtLeast, 1900.0),
        bound("backlog.max", Comparison::AtMost, 500.0),
    ];
    let mut record = Record {
        schema_version: SCHEMA_VERSION,
        id: "id".to_owned(),
        started_at: jiff::Timestamp::UNIX_EPOCH,
        completeness: Completeness::Complete,
        verdict: None,
        totals: Totals::default(),
        scenario: ScenarioFacts { path: String::new(), text: String::new(), sha256: String::new(), set: Vec::new() },
        plan: plan(expect),
        versions: BTreeMap::new(),
        host: HostFacts { cpus: 2, ..HostFacts::default() },
        broker: BrokerFacts::default(),
        phases: [
            (Phase::Load, 0, 6_000_000),
            (Phase::Drain, 6_000_000, 7_000_000),
            (Phase::Audit, 7_000_000, 8_000_000),
        ]
        .map(|(phase, start_us, end_us)| PhaseFacts { phase, start_us, end_us })
        .to_vec(),
        generator: GeneratorFacts {
            paced_sends: 12_000,
            own_lag_p99_us: 900,
            cpu_us: 240_000,
            load_us: 6_000_000,
            load_sends: 12_000,
            load_planned: Some(12_000),
            ..GeneratorFacts::default()
        },
        latency: ["end_to_end", "confirm"]
            .iter()
            .flat_map(|metric| [summary(metric, "all"), summary(metric, "billing"), summary(metric, "checkout")])
            .collect(),
        account: Account {
            publishers: vec![PublisherAccount {
                planned: 12_000,
                published: 12_000,
                confirmed: 12_000,
                ..PublisherAccount::default()
            }],
            queues: vec![QueueAccount {
                queue: "orders".to_owned(),
                routed: 12_000,
                delivered: 12_000,
                consumed: 12_000,
                ..QueueAccount::default()
            }],
            ..Account::default()
        },
        dead_letters: Vec::new(),
        duplicate_gaps: Vec::new(),
        redrives: Vec::new(),
        replays: Vec::new(),
        fates: None,
        chains: None,
        faults: Vec::new(),
        stores: Vec::new(),
        incidents: Vec::new(),
        incidents_total: 0,
        queue_samples: (0..6)
            .map(|second| QueueSample { at_us: second * 1_000_000, queue: "orders".to_owned(), ready: 10, unacked: 5 })
            .collect(),
        broker_samples: Vec::new(),
        intervals: (0..6).flat_map(|second| [interval(second, "checkout"), interval(second, "billing")]).collect(),
    };
    add_up(&mut record);
    record
}

/// Writes the totals that the account comes to.
pub(super) fn add_up(record: &mut Record) {
    let Account { publishers, queues, unroutable, unroutable_unconfirmed, .. } = &record.account;
    let of_publishers = |of: fn(&PublisherAccount) -> u64| publishers.iter().map(of).fold(0, u64::saturating_add);
    let of_queues = |of: fn(&QueueAccount) -> u64| queues.iter().map(of).fold(0, u64::saturating_add);
    record.totals = Totals {
        planned: of_publishers(|p| p.planned),
        published: of_publishers(|p| p.published),
        confirmed: of_publishers(|p| p.confirmed),
        nacked: of_publishers(|p| p.nacked),
        returned: of_publishers(|p| p.returned),
        unconfirmed: of_publishers(|p| p.unconfirmed),
        sent: of_publishers(|p| p.sent),
        unsent: of_publishers(|p| p.unsent),
        delivered: of_queues(|q| q.delivered),
        consumed: of_queues(|q| q.consumed),
        lost: of_queues(|q| q.lost).saturating_add(*unroutable),
        possibly_lost: of_queues(|q| q.possibly_lost).saturating_add(*unroutable_unconfirmed),
        recovered: of_queues(|q| q.recovered),
        duplicates: of_queues(|q| q.republished.saturating_add(q.redelivered).saturating_add(q.unflagged)),
        republished: of_queues(|q| q.republished),
        redelivered: of_queues(|q| q.redelivered),
        unflagged: of_queues(|q| q.unflagged),
        phantom: of_queues(|q| q.phantom),
        corrupt: of_queues(|q| q.corrupt),
        misordered: of_queues(|q| q.misordered),
        dead_lettered: of_queues(|q| q.dead_lettered.values().copied().fold(0, u64::saturating_add)),
        removed_by_rule: of_queues(|q| q.removed_by_rule),
        left_in_queue: of_queues(|q| q.left_in_queue),
        ..record.totals
    };
    record.totals.count_effects(&record.account);
}

/// An expectation, written as the symbol and the number.
pub(super) fn bound(metric: &str, comparison: Comparison, bound: f64) -> Expectation {
    let text = format!("{} {bound}", comparison.symbol());
    Expectation::Bound { metric: metric.parse().expect("a metric"), comparison, bound, text }
}

/// The good record with this change, its totals added up again, judged.
pub(super) fn judged(change: impl FnOnce(&mut Record)) -> Judgement {
    let mut record = good();
    change(&mut record);
    add_up(&mut record);
    judge(&record)
}

/// The good record with only these expectations and this change, judged: the word and the one check.
pub(super) fn checked(expectation: Expectation, change: impl FnOnce(&mut Record)) -> (Verdict, Check) {
    let mut judgement = judged(|record| {
        record.plan.expect = vec![expectation];
        change(record);
    });
    (judgement.verdict, judgement.checks.remove(0))
}

/// Takes `copies` off the consumed ones of the only queue, to be booked elsewhere.
pub(super) fn not_consumed(record: &mut Record, copies: u64) -> &mut QueueAccount {
    let queue = &mut record.account.queues[0];
    queue.consumed -= copies;
    queue
}

/// 12,000 samples, 1 ms at the median, 20 ms at p99 and 80 ms at most.
fn summary(metric: &str, fleet: &str) -> LatencySummary {
    let points =
        [(0.0, 200), (50.0, 1000), (98.0, 15_000), (99.0, 20_000), (99.5, 30_000), (99.9, 60_000), (100.0, 80_000)];
    LatencySummary {
        metric: metric.to_owned(),
        fleet: fleet.to_owned(),
        count: 12_000,
        mean_us: 1500.0,
        stdev_us: 900.0,
        percentiles: points
            .map(|(percentile, value_us)| PercentilePoint {
                percentile,
                value_us,
                count: (percentile * 120.0_f64).round() as u64,
            })
            .to_vec(),
    }
}

fn interval(second: u64, fleet: &str) -> Interval {
    let (sends, receives) = if fleet == "checkout" { (2000, 0) } else { (0, 2000) };
    Interval {
        start_us: second * 1_000_000,
        length_us: 1_000_000,
        phase: "load".to_owned(),
        fleet: fleet.to_owned(),
        published: sends,
        confirmed: sends,
        delivered: receives,
        consumed: receives,
        generator_cpu_cores: 0.04,
        generator_memory_bytes: 30 << 20,
        ..Interval::default()
    }
}

fn plan(expect: Vec<Expectation>) -> Plan {
    Plan {
        schema: 1,
        name: "good".to_owned(),
        description: None,
        seed: 42,
        broker: BrokerPlan::default(),
        topology: TopologyPlan { queues: vec![QueuePlan::new("orders", QueueKind::Quorum)], ..TopologyPlan::default() },
        retries: Vec::new(),
        redrives: Vec::new(),
        replays: Vec::new(),
        producers: vec![producer()],
        consumers: vec![consumer()],
        load: LoadPlan {
            warmup_us: 0,
            duration_us: Some(6_000_000),
            stop_when_empty_us: None,
            stop_when_idle_us: None,
            drain_us: 60_000_000,
            max_lag_us: 100_000,
        },
        faults: Vec::new(),
        expect,
    }
}

fn producer() -> ProducerFleet {
    let route = Route { key: "order".to_owned(), weight: 1.0, headers: Arguments::new(), queues: vec![0] };
    ProducerFleet {
        name: "checkout".to_owned(),
        client: ClientKind::Lapin,
        exchange: String::new(),
        routes: vec![route],
        routes_drawn: false,
        rate: Some(RateProfile::constant(2000.0)),
        size: fleet::SizePlan::Fixed(1024),
        body: BodyPlan::Random,
        persistent: true,
        mandatory: false,
        confirm: Some(ConfirmPlan { window: 192, timeout_us: 10_000_000 }),
        on_unconfirmed: Again::Abandon,
        on_nacked: Again::Abandon,
        backoff: None,
        follows: None,
        properties: fleet::PropertiesPlan::default(),
        publishers: vec![Publisher { id: 0, member: 0, connection: 0, place: 0, seed: 1, start_us: 0, messages: None }],
    }
}

fn consumer() -> ConsumerFleet {
    ConsumerFleet {
        name: "billing".to_owned(),
        client: ClientKind::Lapin,
        queues: vec![0],
        prefetch: 100,
        prefetch_scope: PrefetchScope::Consumer,
        ack: AckPlan::Manual { batch: 1 },
        poll_us: None,
        work: None,
        fail: None,
        priority: 0,
        offset: StreamOffset::First,
        idempotency: None,
        subscribers: vec![Subscriber { id: 0, member: 0, connection: 0, queues: vec![0], seed: 2, start_us: 0 }],
    }
}
