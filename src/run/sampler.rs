//! One row per second and fleet, the interval log, and the live figures.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::fleets::Fleets;
use super::host;
use super::watch::Watch;
use crate::fleet::{Clock, ConsumerMeters, ProducerMeters, Shared, Snapshot};
use crate::latency::{Distribution, IntervalHistograms, IntervalLog, at_percentile};
use crate::record::progress::{Live, Progress};
use crate::record::{Interval, LatencyPoint, Phase, thousandths};

/// Length of an interval.
const SECOND_US: u64 = 1_000_000;
const SHORTEST_US: u64 = 1_000;
const LIVE_EVERY: Duration = Duration::from_millis(500);

/// Where the interval log is written to.
pub(super) type LogWriter = Box<dyn Write + Send>;

/// What the sampler gathered.
#[derive(Default)]
pub(super) struct Sampled {
    pub(super) intervals: Vec<Interval>,
    /// Why the interval log could not be written, where it could not.
    pub(super) log_error: Option<std::io::Error>,
}

/// Takes an interval each second and at each change of phase.
pub(super) struct Sampler {
    shared: Arc<Shared>,
    clock: Arc<Clock>,
    watch: Arc<Watch>,
    producers: Vec<(String, Arc<ProducerMeters>, Snapshot)>,
    consumers: Vec<(String, Arc<ConsumerMeters>, Vec<String>, Snapshot)>,
    log: Option<IntervalLog<LogWriter>>,
    progress: mpsc::Sender<Progress>,
    planned: Option<u64>,
    phase: Phase,
    begun_us: u64,
    cpu: Duration,
    live: LiveState,
    /// What was taken last of a fleet's latencies; its memory is exchanged with theirs.
    taken: [IntervalHistograms; 3],
    sampled: Sampled,
}

#[derive(Default)]
struct LiveState {
    at_us: u64,
    published: u64,
    consumed: u64,
    p99_us: Option<u64>,
}

impl Sampler {
    pub(super) fn new(
        shared: &Arc<Shared>,
        watch: &Arc<Watch>,
        fleets: &Fleets,
        queue_names: &dyn Fn(usize) -> String,
        log: std::io::Result<IntervalLog<LogWriter>>,
        progress: mpsc::Sender<Progress>,
        planned: Option<u64>,
    ) -> Self {
        let producers =
            fleets.producers.iter().map(|(name, meters)| (name.clone(), Arc::clone(meters), Snapshot::default()));
        let consumers = fleets.consumers.iter().map(|(name, meters, queues)| {
            let queues = queues.iter().map(|queue| queue_names(*queue)).collect();
            (name.clone(), Arc::clone(meters), queues, Snapshot::default())
        });
        let (log, log_error) = match log {
            Ok(log) => (Some(log), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            clock: Arc::clone(&shared.clock),
            shared: Arc::clone(shared),
            watch: Arc::clone(watch),
            producers: producers.collect(),
            consumers: consumers.collect(),
            log,
            progress,
            planned,
            // A warm-up of no length has no interval of its own.
            phase: if shared.load.warmup_us == 0 { Phase::Load } else { Phase::Warmup },
            begun_us: 0,
            cpu: host::cpu_time(),
            live: LiveState::default(),
            taken: Default::default(),
            sampled: Sampled { log_error, ..Sampled::default() },
        }
    }

    /// Samples until `phases` is closed; each phase that comes through it begins a new interval.
    pub(super) async fn run(mut self, mut phases: mpsc::Receiver<Phase>) -> Sampled {
        let mut live = tokio::time::interval(LIVE_EVERY);
        loop {
            let next_us = (self.clock.now_us().max(self.begun_us) / SECOND_US + 1) * SECOND_US;
            let next = tokio::time::Instant::from_std(self.clock.instant(next_us));
            tokio::select! {
                biased;
                phase = phases.recv() => {
                    // A phase that is over at once is no interval of its own.
                    self.close_interval(if phase.is_some() { SHORTEST_US } else { 1 });
                    match phase {
                        Some(phase) => self.phase = phase,
                        None => break,
                    }
                }
                () = tokio::time::sleep_until(next) => self.close_interval(1),
                _ = live.tick() => self.tell(),
            }
        }
        if let Some(Err(error)) = self.log.take().map(IntervalLog::finish) {
            self.sampled.log_error.get_or_insert(error);
        }
        self.sampled
    }

    fn close_interval(&mut self, shortest_us: u64) {
        let now_us = self.clock.now_us();
        let length_us = now_us.saturating_sub(self.begun_us);
        if length_us < shortest_us {
            return;
        }
        let cpu = host::cpu_time();
        let cores = cpu.saturating_sub(self.cpu).as_secs_f64() * 1e6 / length_us as f64;
        let blank = Interval {
            start_us: self.begun_us,
            length_us,
            phase: self.phase.to_string(),
            generator_cpu_cores: thousandths(cores),
            generator_memory_bytes: host::memory_bytes().0,
            broker_cpu_cores: self.watch.cpu_cores(),
            ..Interval::default()
        };
        let span = (Duration::from_micros(self.begun_us), Duration::from_micros(length_us));
        self.close_producers(&blank, span);
        self.close_consumers(&blank, span);
        self.begun_us = now_us;
        self.cpu = cpu;
    }

    fn close_producers(&mut self, blank: &Interval, span: (Duration, Duration)) {
        let [confirm, from_send, lag] = &mut self.taken;
        for (name, meters, before) in &mut self.producers {
            let now = meters.counters.snapshot();
            meters.confirm.take_interval(confirm);
            meters.confirm_from_send.take_interval(from_send);
            meters.schedule_lag.take_interval(lag);
            let logged = [("confirm", &*confirm), ("confirm_from_send", &*from_send), ("schedule_lag", &*lag)];
            log_all(&mut self.log, &mut self.sampled, name, span, &logged);
            let mut row = row(blank, name, &now, before);
            row.latency = point(confirm);
            row.latency_from_send = point(from_send);
            row.lag_max_us = lag.all().map(|_| meters.counters.take_lag_max_us());
            self.sampled.intervals.push(row);
            *before = now;
        }
    }

    fn close_consumers(&mut self, blank: &Interval, span: (Duration, Duration)) {
        let [end_to_end, from_send, _] = &mut self.taken;
        let mut p99_us = None;
        for (name, meters, queues, before) in &mut self.consumers {
            let now = meters.counters.snapshot();
            meters.end_to_end.take_interval(end_to_end);
            meters.end_to_end_from_send.take_interval(from_send);
            let logged = [("end_to_end", &*end_to_end), ("end_to_end_from_send", &*from_send)];
            log_all(&mut self.log, &mut self.sampled, name, span, &logged);
            let mut row = row(blank, name, &now, before);
            row.latency = point(end_to_end);
            row.latency_from_send = point(from_send);
            row.backlog = self.watch.ready(queues);
            p99_us = p99_us.max(row.latency.map(|point| point.p99_us));
            self.sampled.intervals.push(row);
            *before = now;
        }
        self.live.p99_us = p99_us;
    }

    fn tell(&mut self) {
        let running = self.shared.ledger.running();
        let now_us = self.clock.now_us();
        let seconds = now_us.saturating_sub(self.live.at_us) as f64 / 1e6;
        let per_s =
            |now: u64, before: u64| if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 };
        let live = Live {
            at_us: now_us,
            published_per_s: per_s(running.published, self.live.published),
            consumed_per_s: per_s(running.consumed, self.live.consumed),
            published: running.published,
            consumed: running.consumed,
            planned: self.planned,
            end_to_end_p99_us: self.live.p99_us,
            backlog: running.backlog,
            lost: 0,
            duplicates: running.duplicates,
        };
        (self.live.at_us, self.live.published, self.live.consumed) = (now_us, running.published, running.consumed);
        // A listener that is too slow misses a figure; nothing of the record depends on it.
        let _ = self.progress.try_send(Progress::Live(live));
    }
}

fn row(blank: &Interval, fleet: &str, now: &Snapshot, before: &Snapshot) -> Interval {
    Interval {
        fleet: fleet.to_owned(),
        published: now.published - before.published,
        confirmed: now.confirmed - before.confirmed,
        nacked: now.nacked - before.nacked,
        returned: now.returned - before.returned,
        delivered: now.delivered - before.delivered,
        consumed: now.consumed - before.consumed,
        duplicates: now.duplicates - before.duplicates,
        requeued: now.requeued - before.requeued,
        rejected: now.rejected - before.rejected,
        ..blank.clone()
    }
}

fn log_all(
    log: &mut Option<IntervalLog<LogWriter>>,
    sampled: &mut Sampled,
    fleet: &str,
    span: (Duration, Duration),
    histograms: &[(&str, &IntervalHistograms)],
) {
    let Some(open) = log else { return };
    for (latency, histograms) in histograms {
        // A tag of its own for the warm-up: what stands under the others adds up to the measured load.
        let mut write = |latency: &str, distribution: &Distribution| match distribution.filled() {
            Some(filled) => open.write(latency, fleet, span, filled),
            None => Ok(()),
        };
        let written = write(latency, &histograms.measured)
            .and_then(|()| write(&format!("{}.{latency}", Phase::Warmup), &histograms.warmup));
        if let Err(error) = written {
            sampled.log_error = Some(error);
            *log = None;
            return;
        }
    }
}

fn point(interval: &IntervalHistograms) -> Option<LatencyPoint> {
    let histogram = interval.all()?;
    let at = |percentile| at_percentile(&histogram, percentile).0;
    Some(LatencyPoint { count: histogram.len(), p50_us: at(50.0), p99_us: at(99.0), max_us: at(100.0) })
}
