//! What a fleet counts while it runs: running counts for the intervals, and its latencies.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::latency::{Distribution, Recorder};
use crate::ledger::{Cause, Seen};

/// Running counts of one fleet, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages sent for the first time.
    pub published: AtomicU64,
    /// Messages acked by the broker.
    pub confirmed: AtomicU64,
    /// Messages nacked by the broker.
    pub nacked: AtomicU64,
    /// Messages returned.
    pub returned: AtomicU64,
    /// Deliveries.
    pub delivered: AtomicU64,
    /// Messages settled as done, each once.
    pub consumed: AtomicU64,
    /// Repeated deliveries.
    pub duplicates: AtomicU64,
    /// The same by cause: the producer sent again, the broker said so, the broker did not say so.
    pub repeated: [AtomicU64; 3],
    /// Deliveries failed and given back to their queue.
    pub requeued: AtomicU64,
    /// Deliveries failed for good.
    pub rejected: AtomicU64,
    /// Deliveries received and not yet settled.
    pub unsettled: AtomicI64,
    /// Largest schedule lag since it was last taken, in microseconds.
    pub lag_max_us: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Messages sent for the first time.
    pub published: u64,
    /// Messages acked by the broker.
    pub confirmed: u64,
    /// Messages nacked by the broker.
    pub nacked: u64,
    /// Messages returned.
    pub returned: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Messages settled as done, each once.
    pub consumed: u64,
    /// Repeated deliveries.
    pub duplicates: u64,
    /// Deliveries failed and given back to their queue.
    pub requeued: u64,
    /// Deliveries failed for good.
    pub rejected: u64,
}

impl Counters {
    /// The counts as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            published: load(&self.published),
            confirmed: load(&self.confirmed),
            nacked: load(&self.nacked),
            returned: load(&self.returned),
            delivered: load(&self.delivered),
            consumed: load(&self.consumed),
            duplicates: load(&self.duplicates),
            requeued: load(&self.requeued),
            rejected: load(&self.rejected),
        }
    }

    /// The largest lag since the last call.
    pub fn take_lag_max_us(&self) -> u64 {
        self.lag_max_us.swap(0, Ordering::Relaxed)
    }
}

/// Adds to a running count.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// CPU time of a sample of sends.
#[derive(Debug, Default)]
pub struct Cost {
    /// CPU time of the threads that made them, handed them over and counted the answers, in nanoseconds.
    pub cpu_ns: AtomicU64,
    /// Messages that it was for.
    pub messages: AtomicU64,
}

/// What a fleet of producers measures.
#[derive(Default)]
pub struct ProducerMeters {
    /// Running counts.
    pub counters: Counters,
    /// From the intended send to the confirm.
    pub confirm: Recorder,
    /// From the actual send to the confirm.
    pub confirm_from_send: Recorder,
    /// From the intended to the actual send.
    pub schedule_lag: Recorder,
    /// The part of the lag that is the generator's own doing.
    pub own_lag: Recorder,
    /// Sends of the measured load.
    pub load_sends: AtomicU64,
    /// Sends of the measured load that had an intended time.
    pub paced_sends: AtomicU64,
    /// Of these, those whose own lag was above the limit.
    pub late_sends: AtomicU64,
    /// What messages cost the thread of their publisher.
    pub cost: Cost,
    /// Time held up by a full confirm window or by the broker's socket, in microseconds.
    pub held_us: AtomicU64,
}

/// What a fleet of consumers measures.
#[derive(Default)]
pub struct ConsumerMeters {
    /// Running counts.
    pub counters: Counters,
    /// From the intended send to the delivery.
    pub end_to_end: Recorder,
    /// From the actual send to the delivery.
    pub end_to_end_from_send: Recorder,
    /// When the last delivery came, in microseconds on the run's clock; 0: none came.
    pub delivered_until_us: AtomicU64,
    /// How long what it failed was away.
    pub retries: Retries,
    /// How long messages that it does not fail waited behind one that it tried again, or that was slow.
    pub head_of_line: Recorder,
}

/// How long failed messages were away until they were tried again.
#[derive(Debug, Default)]
pub struct Retries(Mutex<Delays>);

#[derive(Debug, Default)]
struct Delays {
    actual: Distribution,
    late: Distribution,
}

impl Retries {
    /// One that was away for `us`; `planned_us` where its consumer said how long.
    pub(super) fn note(&self, us: u64, planned_us: Option<u64>) {
        let mut delays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        delays.actual.record(us);
        if let Some(planned_us) = planned_us {
            delays.late.record(us.saturating_sub(planned_us));
        }
    }

    /// How long they were away, and how much longer than planned.
    pub fn delays(&self) -> (Distribution, Distribution) {
        let delays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (delays.actual.clone(), delays.late.clone())
    }
}

impl ConsumerMeters {
    /// Counts a repeated delivery by its cause.
    #[cold]
    pub(super) fn note_repeated(&self, seen: Seen) {
        let place = match seen {
            Seen::Repeated(Cause::Republished) => 0,
            Seen::Repeated(Cause::Redelivered) => 1,
            Seen::Repeated(_) => 2,
            _ => return,
        };
        add(&self.counters.repeated[place], 1);
    }
}
