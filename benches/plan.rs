//! What the plan costs on the hot path: when a message is due, and what it is.
#![allow(missing_docs, reason = "criterion's macros make a public function")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lurcher::plan::draw::{self, Lane};
use lurcher::plan::fleet::{PropertiesPlan, SizePlan};
use lurcher::plan::schedule::RateSegment;
use lurcher::plan::{
    Again, Arguments, BodyPlan, ClientKind, ConfirmPlan, ProducerFleet, Publisher, RateProfile, Route, Schedule,
};

const MESSAGES: u64 = 1_000_000;

fn schedule(c: &mut Criterion) {
    let straight = |from_per_s, to_per_s| RateSegment { lasting_us: 60_000_000, from_per_s, to_per_s };
    let profiles = [
        ("constant", RateProfile::constant(20_000.0)),
        ("ramp", RateProfile { segments: vec![straight(1000.0, 40_000.0)], cycle: false }),
    ];
    let mut group = c.benchmark_group("due_us");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(20);
    for (name, profile) in &profiles {
        let schedule = Schedule::new(profile, 5_000_000, (1, 4), 0, None, None);
        group.bench_function(*name, |b| {
            b.iter(|| (0..MESSAGES).filter_map(|seq| schedule.due_us(black_box(seq))).fold(0, u64::wrapping_add));
        });
    }
    group.finish();
}

fn message(c: &mut Criterion) {
    let publisher = Publisher { id: 1, member: 1, connection: 1, place: 1, seed: 42, start_us: 0, messages: None };
    let route = |key: &str, weight| Route { key: key.to_owned(), weight, headers: Arguments::new(), queues: vec![0] };
    let fleet = |routes: Vec<Route>, size| ProducerFleet {
        name: "checkout".to_owned(),
        client: ClientKind::Lapin,
        exchange: "orders".to_owned(),
        routes_drawn: routes.len() > 1,
        routes,
        rate: None,
        size,
        body: BodyPlan::Random,
        persistent: true,
        mandatory: false,
        confirm: Some(ConfirmPlan { window: 192, timeout_us: 10_000_000 }),
        on_unconfirmed: Again::Abandon,
        on_nacked: Again::Abandon,
        backoff: None,
        follows: None,
        properties: PropertiesPlan::default(),
        publishers: vec![publisher.clone()],
    };
    let plain = fleet(vec![route("order.created", 1.0)], SizePlan::Fixed(1024));
    let drawn = fleet(
        (0..4u8).map(|n| route(&format!("order.{n}"), f64::from(n) + 1.0)).collect(),
        SizePlan::Choice(vec![(256, 8.0), (4096, 1.0), (65_536, 1.0)]),
    );
    let mut group = c.benchmark_group("message");
    for (name, fleet) in [("one route, one size", &plain), ("four routes, three sizes", &drawn)] {
        let mut seq = 0u64;
        group.bench_function(name, |b| {
            let next = || {
                seq += 1;
                seq
            };
            b.iter_batched(next, |seq| fleet.message(black_box(&publisher), seq), BatchSize::SmallInput);
        });
    }
    group.bench_function("draw", |b| b.iter(|| draw::bits(black_box(42), Lane::Size, black_box(1_000_000))));
    group.finish();
}

criterion_group!(benches, schedule, message);
criterion_main!(benches);
