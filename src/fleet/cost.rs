//! What a message costs the thread of its publisher, measured on some of the sends.
//!
//! By the thread's own clock, which stands still while the system runs something else on its processor: a busy machine
//! makes no message dearer. Asking it is a call to the system, and so it is asked around one batch of many only.

use std::time::Duration;

use cpu_time::ThreadTime;

use super::meters::{Cost, add};

/// One batch of so many is measured.
const EVERY: u32 = 16;

/// Measures one publisher's batches.
#[derive(Debug, Default)]
pub(super) struct CostMeter {
    batches: u32,
    /// By the thread's clock.
    begun: Option<Duration>,
}

impl CostMeter {
    /// Work on a batch begins.
    pub(super) fn begin(&mut self) {
        self.batches = (self.batches + 1) % EVERY;
        self.begun = (self.batches == 1).then(now);
    }

    /// The task waited: what the thread did meanwhile was for others too.
    pub(super) fn waited(&mut self) {
        self.begun = None;
    }

    /// Work on a batch of so many messages is done.
    pub(super) fn end(&mut self, messages: usize, cost: &Cost) {
        if let Some(begun) = self.begun.take().filter(|_| messages > 0) {
            add(&cost.cpu_ns, now().saturating_sub(begun).as_nanos() as u64);
            add(&cost.messages, messages as u64);
        }
    }
}

/// CPU time of this thread.
fn now() -> Duration {
    ThreadTime::now().as_duration()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn one_batch_of_many_is_measured_and_none_that_waited() {
        let (mut meter, cost) = (CostMeter::default(), Cost::default());
        for _ in 0..2 * EVERY {
            meter.begin();
            std::hint::black_box((0..1_000).map(std::hint::black_box).sum::<u64>());
            meter.end(10, &cost);
        }
        assert_eq!(cost.messages.load(Ordering::Relaxed), 20);
        assert!(cost.cpu_ns.load(Ordering::Relaxed) > 0);
        for _ in 0..2 * EVERY {
            meter.begin();
            meter.waited();
            meter.end(10, &cost);
        }
        assert_eq!(cost.messages.load(Ordering::Relaxed), 20);
    }

    #[test]
    fn a_thread_that_sleeps_costs_nothing() {
        let (thread, wall) = (now(), std::time::Instant::now());
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!((now() - thread) * 2 < wall.elapsed());
    }
}
