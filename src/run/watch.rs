//! Watches the broker from outside, each second, while the fleets run.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::fleet::Clock;
use crate::record::{BrokerSample, QueueSample, thousandths};

const EVERY: Duration = Duration::from_secs(1);
/// Most samples of queues that are kept: an hour of 100 queues.
const LIMIT: usize = 360_000;

/// What was seen of the broker.
#[derive(Default)]
pub(super) struct Watch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    queues: Vec<QueueSample>,
    broker: Vec<BrokerSample>,
    /// Where the newest samples of queues begin.
    newest: usize,
    overflow: u64,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples `broker` for ever, noting the queues called `names`.
    pub(super) async fn watch(&self, broker: &Broker, clock: &Clock, names: &BTreeSet<String>) {
        let mut sampler = broker.sampler();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sample = sampler.sample().await;
            let at_us = clock.signed_us(Instant::now());
            if at_us < 0 {
                continue;
            }
            let mut seen = self.lock();
            seen.newest = seen.queues.len();
            for queue in sample.queues.unwrap_or_default().into_iter().filter(|queue| names.contains(&queue.name)) {
                if seen.queues.len() < LIMIT {
                    let (ready, unacked) = (queue.ready, queue.unacked);
                    seen.queues.push(QueueSample { at_us, queue: queue.name, ready, unacked });
                } else {
                    seen.overflow += 1;
                }
            }
            seen.broker.push(BrokerSample {
                at_us,
                cpu_cores: sample.cpu_cores.map(thousandths),
                memory_bytes: sample.memory_bytes,
                publish_per_s: sample.publish_per_s.map(thousandths),
                deliver_per_s: sample.deliver_per_s.map(thousandths),
                connections: sample.connections,
            });
        }
    }

    /// Processors that the broker used, as last seen.
    pub(super) fn cpu_cores(&self) -> Option<f64> {
        self.lock().broker.last().and_then(|sample| sample.cpu_cores)
    }

    /// Messages ready in `queues` together, as last seen.
    pub(super) fn ready(&self, queues: &[String]) -> Option<u64> {
        let seen = self.lock();
        seen.broker.last()?;
        let newest = seen.queues.get(seen.newest..).unwrap_or_default();
        Some(newest.iter().filter(|sample| queues.contains(&sample.queue)).map(|sample| sample.ready).sum())
    }

    /// All samples, and how many did not fit.
    pub(super) fn take(&self) -> (Vec<QueueSample>, Vec<BrokerSample>, u64) {
        let seen = std::mem::take(&mut *self.lock());
        (seen.queues, seen.broker, seen.overflow)
    }
}
