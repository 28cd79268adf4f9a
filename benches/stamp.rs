//! What a message's identity costs: encoding and reading the stamp, checksum included.
#![allow(missing_docs, reason = "criterion's macros make a public function")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lurcher::stamp::{STAMP_LEN, Stamp};

fn stamp(c: &mut Criterion) {
    let stamp =
        Stamp { run: 7, publisher: 3, attempt: 0, sequence: 1_234_567, intended_us: 60_000_000, lag_us: 1_500_000 };
    let mut group = c.benchmark_group("stamp");
    for size in [STAMP_LEN, 1024] {
        let rest = vec![0x5a; size - STAMP_LEN];
        let body = [&stamp.encode(&rest), rest.as_slice()].concat();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("encode", size), |b| {
            b.iter(|| black_box(&stamp).encode(black_box(&rest)));
        });
        group.bench_function(BenchmarkId::new("read", size), |b| {
            b.iter(|| Stamp::read_body(black_box(&body), black_box(7)));
        });
    }
    group.finish();
}

criterion_group!(benches, stamp);
criterion_main!(benches);
