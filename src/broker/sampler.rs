//! The broker's side of a run, once a second: depths, rates, CPU and memory.

use std::time::Instant;

use super::management::{Management, Overview, QueueDepth};
use super::process_id::RootProcess;
use crate::engine::procfs::{self, TreeUse};

/// The broker at one time. What it did not tell in time is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Queues of the virtual host, at most about a second old; none where the management API did not answer.
    pub queues: Option<Vec<QueueDepth>>,
    /// Processors in use since the last sample: 1.0 is one processor all the time.
    pub cpu_cores: Option<f64>,
    /// Memory in use, in bytes: resident memory of the broker's processes where they are on this system, else what the
    /// broker says.
    pub memory_bytes: Option<u64>,
    /// Messages published per second since the last sample.
    pub publish_per_s: Option<f64>,
    /// Messages delivered per second since the last sample.
    pub deliver_per_s: Option<f64>,
    /// Connections that are open, the management API's own not among them.
    pub connections: Option<u64>,
}

/// Takes samples; keeps what rates need. Outlives a borrow of the broker, but not the broker itself.
#[derive(Debug)]
pub struct Sampler {
    management: Option<Management>,
    root: Option<RootProcess>,
    pid: Option<u32>,
    used: Option<(Instant, TreeUse)>,
    counted: Option<(Instant, u64, u64)>,
}

impl Sampler {
    pub(super) fn new(management: Option<Management>, root: Option<RootProcess>) -> Self {
        Self { management, root, pid: None, used: None, counted: None }
    }

    /// Takes one. Waits for a broker that hangs as long as the management API's timeout, 5 s.
    pub async fn sample(&mut self) -> Sample {
        let mut sample = Sample::default();
        self.read_processes(&mut sample).await;
        let Some(management) = self.management.clone() else { return sample };
        let (queues, overview, counters) =
            tokio::join!(management.queues(), management.overview(), management.counters());
        let now = Instant::now();
        sample.queues = queues.ok();
        if let Ok(overview) = &overview {
            sample.connections = Some(overview.object_totals.connections);
        }
        let count = |key: &str| counters.as_ref().and_then(|counters| counters.get(key).copied());
        match (count("published"), count("delivered")) {
            (Some(published), Some(delivered)) => self.rates(&mut sample, now, published, delivered),
            _ => broker_rates(&mut sample, overview.as_ref().ok()),
        }
        if sample.memory_bytes.is_none() {
            sample.memory_bytes = management.memory_bytes().await.ok();
        }
        sample
    }

    fn rates(&mut self, sample: &mut Sample, now: Instant, published: u64, delivered: u64) {
        if let Some((then, published_then, delivered_then)) = self.counted.replace((now, published, delivered)) {
            let seconds = (now - then).as_secs_f64();
            // A broker that started again counts from zero: no rate, rather than a wrong one.
            let rate =
                |now: u64, then: u64| Some(now.checked_sub(then)? as f64 / seconds).filter(|rate| rate.is_finite());
            sample.publish_per_s = rate(published, published_then);
            sample.deliver_per_s = rate(delivered, delivered_then);
        }
    }

    async fn read_processes(&mut self, sample: &mut Sample) {
        let Some(root) = &self.root else { return };
        let mut used = self.pid.and_then(procfs::tree_use);
        if used.is_none() {
            self.pid = root.find().await;
            self.used = None;
            used = self.pid.and_then(procfs::tree_use);
        }
        let Some(used) = used else { return };
        let now = Instant::now();
        sample.memory_bytes = Some(used.resident_pages * rustix::param::page_size() as u64);
        if let Some((then, before)) = self.used.replace((now, used)) {
            let ticks = used.cpu_ticks.checked_sub(before.cpu_ticks);
            let per_second = rustix::param::clock_ticks_per_second() as f64;
            sample.cpu_cores = ticks
                .map(|ticks| ticks as f64 / per_second / (now - then).as_secs_f64())
                .filter(|cores| cores.is_finite());
        }
    }
}

/// The broker's own idea of its rates, averaged over its sampling interval of 5 s.
fn broker_rates(sample: &mut Sample, overview: Option<&Overview>) {
    if let Some(overview) = overview {
        sample.publish_per_s = Some(overview.message_stats.publish_details.rate);
        sample.deliver_per_s = Some(overview.message_stats.deliver_get_details.rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_broker_that_started_again_has_no_rate() {
        let mut sampler = Sampler::new(None, None);
        let start = Instant::now();
        let mut first = Sample::default();
        sampler.rates(&mut first, start, 1_000, 500);
        assert_eq!((first.publish_per_s, first.deliver_per_s), (None, None));
        let mut second = Sample::default();
        sampler.rates(&mut second, start + Duration::from_secs(2), 1_200, 600);
        assert_eq!((second.publish_per_s, second.deliver_per_s), (Some(100.0), Some(50.0)));
        let mut third = Sample::default();
        sampler.rates(&mut third, start + Duration::from_secs(3), 10, 600);
        assert_eq!((third.publish_per_s, third.deliver_per_s), (None, Some(0.0)));
    }

    #[tokio::test]
    async fn nothing_to_ask_is_nothing_known() {
        assert_eq!(Sampler::new(None, None).sample().await, Sample::default());
    }
}
