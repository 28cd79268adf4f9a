//! What the ledger costs for each event on the hot path, and for the reconciliation.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lurcher::ledger::{Arrival, Destination, Evidence, Foretold, Ledger, Order, RemovalEvidence, Routes, Settled};
use lurcher::stamp::{Reading, Stamp};

const MESSAGES: u64 = 1 << 16;
const BATCH: u64 = 256;

struct One;

impl Routes for One {
    fn destinations(&self, _publisher: u16, _sequence: u64) -> &[u32] {
        &[0]
    }
}

impl Foretold for One {
    fn planned(&self, _publisher: u16) -> Option<u64> {
        None
    }
    fn intended_us(&self, _publisher: u16, _sequence: u64) -> Option<u64> {
        None
    }
    fn publisher_name(&self, publisher: u16) -> String {
        publisher.to_string()
    }
}

fn ledger() -> Ledger {
    let queue = Destination { name: "q".to_owned(), kind: "classic", ..Destination::default() };
    Ledger::new(1, 1, vec![queue], Arc::new(One))
}

fn reading(sequence: u64) -> Reading {
    Reading::Ours(Stamp { run: 1, publisher: 0, attempt: 0, sequence, intended_us: 0, lag_us: 0 })
}

fn publish(ledger: &Ledger) {
    for batch in 0..MESSAGES / BATCH {
        ledger.published(0, BATCH as usize, true);
        ledger.settled(0, (batch * BATCH..(batch + 1) * BATCH).map(|sequence| (sequence, Settled::Confirmed)));
    }
}

fn deliver(ledger: &Ledger) {
    let mut order = Order::default();
    let mut seen = Vec::with_capacity(BATCH as usize);
    for batch in 0..MESSAGES / BATCH {
        let arrival = |sequence| Arrival {
            destination: 0,
            reading: reading(sequence),
            redelivered: false,
            retried: false,
            observed_us: 0,
            deaths: None,
        };
        let arrivals: Vec<_> = (batch * BATCH..(batch + 1) * BATCH).map(arrival).collect();
        seen.clear();
        ledger.delivered(&mut order, &arrivals, &mut seen);
        ledger.consumed(arrivals.iter().map(|arrival| (0, arrival.reading)));
    }
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ledger");
    // Two events each: published and confirmed, delivered and consumed.
    group.throughput(Throughput::Elements(2 * MESSAGES));
    group.bench_function("publish and confirm", |bencher| {
        bencher.iter_batched(ledger, |ledger| publish(black_box(&ledger)), BatchSize::LargeInput);
    });
    let published = || {
        let ledger = ledger();
        publish(&ledger);
        ledger
    };
    group.bench_function("deliver and consume", |bencher| {
        bencher.iter_batched(published, |ledger| deliver(black_box(&ledger)), BatchSize::LargeInput);
    });
    group.throughput(Throughput::Elements(MESSAGES));
    let done = || {
        let ledger = published();
        deliver(&ledger);
        ledger
    };
    group.bench_function("reconcile", |bencher| {
        let removed = RemovalEvidence::Counted(BTreeMap::new());
        let evidence = Evidence { foretold: &One, removed, audited: true };
        bencher.iter_batched(done, |ledger| black_box(ledger.account(&evidence)), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
