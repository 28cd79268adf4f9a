//! What a latency sample costs.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lurcher::latency::{IntervalHistograms, IntervalLog, Recorder, Sample, histogram};

fn samples() -> Vec<Sample> {
    // Spread over four decades, as latencies are.
    (0..256u64).map(|n| Sample { us: 50 + (n * n * 97) % 500_000, measured: true }).collect()
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("latency");
    let (recorder, samples) = (Recorder::default(), samples());
    group.throughput(Throughput::Elements(samples.len() as u64));
    group.bench_function("record a batch of 256", |bencher| {
        bencher.iter(|| recorder.record(black_box(&samples).iter().copied()));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("take an interval of 256", |bencher| {
        let mut taken = IntervalHistograms::default();
        let fill = || recorder.record(samples.iter().copied());
        bencher.iter_batched(fill, |()| recorder.take_interval(black_box(&mut taken)), BatchSize::PerIteration);
    });
    group.bench_function("write an interval", |bencher| {
        let mut filled = histogram();
        samples.iter().for_each(|sample| filled.saturating_record(sample.us));
        let Ok(mut log) = IntervalLog::begin(std::io::sink(), std::time::SystemTime::now()) else { return };
        let second = (std::time::Duration::ZERO, std::time::Duration::from_secs(1));
        bencher.iter(|| log.write("end_to_end", "fleet", second, black_box(&filled)));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
