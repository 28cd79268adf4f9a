//! Simulated work: how long each delivery takes, and a sleep that is right on average.

use std::time::{Duration, Instant};

use rand_distr::Distribution as _;

use crate::plan::{WorkPlan, draw};

/// Shorter sleeps than the timer's own step are saved up until they make one.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// The work of a subscriber.
#[derive(Debug)]
pub(super) struct Worker {
    work: WorkPlan,
    seed: u64,
    done: u64,
    owed: Duration,
    /// Slept longer than was owed: taken off the next.
    ahead: Duration,
}

impl Worker {
    pub(super) fn new(work: WorkPlan, seed: u64) -> Self {
        Self { work, seed, done: 0, owed: Duration::ZERO, ahead: Duration::ZERO }
    }

    /// How long the next delivery takes.
    fn next(&mut self) -> Duration {
        let number = self.done;
        self.done += 1;
        let unit = draw::unit(self.seed, draw::Lane::Work, number);
        let us = match self.work {
            WorkPlan::Fixed { us } => us as f64,
            WorkPlan::Uniform { min_us, max_us } => min_us as f64 + unit * max_us.saturating_sub(min_us) as f64,
            // The inverse of the distribution function, so that one draw makes one length.
            WorkPlan::Exponential { mean_us } => -(1.0 - unit).ln() * mean_us as f64,
            WorkPlan::LogNormal { median_us, sigma } => log_normal(median_us, sigma, self.seed, number),
        };
        Duration::from_micros(us as u64)
    }

    /// Does the work of one delivery.
    pub(super) async fn work(&mut self) {
        let next = self.next();
        self.owed += next;
        let saved = self.owed.min(self.ahead);
        self.owed -= saved;
        self.ahead -= saved;
        if self.owed < SHORTEST_SLEEP {
            return;
        }
        let begun = Instant::now();
        tokio::time::sleep(self.owed).await;
        self.ahead = begun.elapsed().saturating_sub(self.owed);
        self.owed = Duration::ZERO;
    }
}

fn log_normal(median_us: u64, sigma: f64, seed: u64, number: u64) -> f64 {
    use rand_chacha::rand_core::SeedableRng as _;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(draw::bits(seed, draw::Lane::Work, number));
    rand_distr::LogNormal::new((median_us.max(1) as f64).ln(), sigma).map_or(0.0, |normal| normal.sample(&mut rng))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_us(work: WorkPlan) -> f64 {
        let mut worker = Worker::new(work, 3);
        (0..20_000).map(|_| worker.next().as_micros() as f64).sum::<f64>() / 20_000.0
    }

    #[test]
    fn distributions_have_their_means() {
        for (work, mean) in [
            (WorkPlan::Fixed { us: 200 }, 200.0),
            (WorkPlan::Uniform { min_us: 100, max_us: 300 }, 200.0),
            (WorkPlan::Exponential { mean_us: 200 }, 200.0),
            // The mean of a log-normal is its median times e^(sigma²/2).
            (WorkPlan::LogNormal { median_us: 200, sigma: 0.5 }, 200.0 * 0.125f64.exp()),
        ] {
            let measured = mean_us(work);
            assert!((measured / mean - 1.0).abs() < 0.03, "{work:?}: {measured} instead of {mean}");
        }
    }

    #[test]
    fn the_same_seed_works_the_same() {
        let lengths = |seed| {
            let mut worker = Worker::new(WorkPlan::LogNormal { median_us: 500, sigma: 1.0 }, seed);
            (0..100).map(|_| worker.next()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(1), lengths(1));
        assert_ne!(lengths(1), lengths(2));
    }

    #[tokio::test(start_paused = true)]
    async fn short_works_are_saved_up() {
        let mut worker = Worker::new(WorkPlan::Fixed { us: 250 }, 1);
        let begun = tokio::time::Instant::now();
        for _ in 0..400 {
            worker.work().await;
        }
        let slept = begun.elapsed();
        assert!(slept >= Duration::from_millis(95) && slept <= Duration::from_millis(210), "{slept:?}");
    }
}
