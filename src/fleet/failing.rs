//! What a fleet of consumers fails on purpose, and how often it has failed each such message so far.
//!
//! A message that goes back to its queue may be taken by any member next, so that the count is the fleet's. It is exact:
//! a message that is to fail is remembered from its first delivery until it works or has left for good, and no other is,
//! so that memory is bounded by the messages that fail and are not done with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use crate::ledger::fates::DeathEntry;
use crate::plan::failing::{FailLasts, FailThen, Failures, Tried, comes_back};
use crate::plan::routing::Router;
use crate::plan::{Plan, RetryPlan};
use crate::stamp::Stamp;

/// The failures of one fleet.
pub struct Failing {
    failures: Failures,
    /// Whether what is dead-lettered from a queue may come back, by number.
    comes_back: Vec<bool>,
    /// How messages are tried again, by queue.
    retries: Vec<RetryPlan>,
    /// What it fails may keep a consumer from taking anything else.
    holds_up: bool,
    /// The cause is mended: whatever would have failed works.
    mended: AtomicBool,
    met: Mutex<FxHashMap<Tried, Met>>,
}

/// A message that is to fail, or has failed.
#[derive(Debug, Clone, Default)]
struct Met {
    /// Attempts that have failed.
    failed: u32,
    /// Waits that are over, or have begun where it was published to.
    waits: usize,
    /// The last attempt failed, and the next delivery is what its consumer asked for.
    is_due: bool,
    /// When the last attempt failed, in microseconds on the run's clock.
    failed_us: u64,
    /// How long it was to wait since then.
    delay_us: Option<u64>,
    /// What `x-death` said when it came last.
    deaths: Option<Arc<[DeathEntry]>>,
}

/// How long a message waits before it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// The how-manieth it is, from 0.
    pub(super) number: usize,
    /// How long, in microseconds.
    pub(super) delay_us: u64,
}

/// How long a message was away before it came again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Away {
    /// So long, in microseconds.
    pub(super) us: u64,
    /// So long was planned, where its consumer says how long.
    pub(super) planned_us: Option<u64>,
}

/// What becomes of an attempt at a message that is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It fails, and then so.
    Fails(FailThen),
    /// It fails, and is tried again after a while.
    Waits(Wait),
    /// It works, after so many microseconds.
    Slow(u64),
    /// It works: for the first time, or again.
    Works {
        /// For the first time.
        is_first: bool,
    },
}

impl Failing {
    /// What the fleet of consumers at `fleet` in the plan fails; none where that is nothing.
    pub fn new(plan: &Arc<Plan>, fleet: usize) -> Option<Arc<Self>> {
        let failures = Failures::new(plan, fleet)?;
        let (topology, router) = (&plan.topology, Router::new(&plan.topology));
        let comes_back = (0..topology.queues.len()).map(|queue| comes_back(topology, &router, queue)).collect();
        Some(Arc::new(Self {
            failures,
            comes_back,
            retries: plan.retries.clone(),
            holds_up: plan.consumers[fleet].holds_up(&plan.retries),
            mended: AtomicBool::new(false),
            met: Mutex::default(),
        }))
    }

    fn met(&self) -> MutexGuard<'_, FxHashMap<Tried, Met>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message has come, with these entries of `x-death`; whether they are those with which it came last. Whatever left
    /// its queue for another has new ones when it is back.
    pub(super) fn comes_as_before(&self, stamp: &Stamp, queue: usize, deaths: Option<&Arc<[DeathEntry]>>) -> bool {
        let mut met = self.met();
        let Some(met) = met.get_mut(&tried(stamp, queue)) else { return false };
        let is_same = met.deaths.as_ref() == deaths;
        met.deaths = deaths.cloned();
        is_same
    }

    /// Whether what it fails may keep a consumer from taking anything else.
    pub(super) fn holds_up(&self) -> bool {
        self.holds_up
    }

    /// From now on everything works.
    pub fn mend(&self) {
        self.mended.store(true, Ordering::Release);
    }

    /// How messages of a queue are tried again.
    pub(super) fn retry(&self, queue: usize) -> Option<&RetryPlan> {
        self.retries.iter().find(|retry| retry.queue == queue)
    }

    /// What is done with a message that is to fail; none: it is not.
    pub(super) fn then(&self, stamp: &Stamp, queue: usize) -> Option<FailThen> {
        let rule = self.failures.rule(tried(stamp, queue)).filter(|rule| rule.fails(0))?;
        Some(rule.then)
    }

    /// Whether a delivery from `queue` at `now_us` is another attempt at a message that the fleet failed: how long it was
    /// away. Told once for each failure.
    pub(super) fn takes_again(&self, stamp: &Stamp, queue: usize, now_us: u64) -> Option<Away> {
        let tried = tried(stamp, queue);
        self.failures.rule(tried)?;
        let mut met = self.met();
        let met = met.get_mut(&tried).filter(|met| met.is_due)?;
        met.is_due = false;
        Some(Away { us: now_us.saturating_sub(met.failed_us), planned_us: met.delay_us.take() })
    }

    /// The first delivery of a message from `queue`.
    pub(super) fn meet(&self, stamp: &Stamp, queue: usize) {
        let tried = tried(stamp, queue);
        if self.failures.rule(tried).is_some() {
            self.met().insert(tried, Met::default());
        }
    }

    /// What becomes of this attempt at a message, which is made at `now_us`; none where the message is not to fail.
    pub(super) fn attempt(&self, stamp: &Stamp, queue: usize, now_us: u64) -> Option<Attempt> {
        let tried = tried(stamp, queue);
        let rule = self.failures.rule(tried)?;
        if let FailLasts::Slow { us } = rule.lasts {
            return Some(Attempt::Slow(us));
        }
        let mut met = self.met();
        // One that was met and is not known any more has worked before, or is gone: it comes once more than it should.
        let (failed, number) = met.get(&tried).map_or((u32::MAX, usize::MAX), |met| (met.failed, met.waits));
        let is_mended = self.mended.load(Ordering::Acquire);
        if is_mended || !rule.fails(failed) {
            return Some(Attempt::Works { is_first: met.remove(&tried).is_some() || is_mended });
        }
        let retry = self.retry(queue).filter(|_| rule.then == FailThen::Retry);
        let delay_us = retry.and_then(|retry| retry.delay_us(number, stamp.publisher, stamp.sequence));
        let wait = delay_us.map(|delay_us| Wait { number, delay_us });
        let comes_back = self.comes_back.get(queue).copied().unwrap_or(false);
        let may_come_again = rule.then.requeues() || wait.is_some() || comes_back && retry.is_none();
        match met.get_mut(&tried) {
            Some(known) if may_come_again => {
                *known = Met { failed: failed.saturating_add(1), is_due: true, failed_us: now_us, ..known.clone() }
            }
            _ => drop(met.remove(&tried)),
        }
        Some(match (wait, rule.then) {
            (Some(wait), _) => Attempt::Waits(wait),
            // What has no further attempt.
            (None, FailThen::Retry) => Attempt::Fails(FailThen::Reject),
            (None, then) => Attempt::Fails(then),
        })
    }

    /// A message waits where it was published to, or has waited in its consumer: the next wait is another one.
    pub(super) fn waited(&self, stamp: &Stamp, queue: usize, wait: Wait) {
        if let Some(met) = self.met().get_mut(&tried(stamp, queue)) {
            (met.waits, met.delay_us) = (wait.number + 1, Some(wait.delay_us));
        }
    }
}

fn tried(stamp: &Stamp, queue: usize) -> Tried {
    Tried { publisher: stamp.publisher, sequence: stamp.sequence, queue }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(fail: &str) -> Arc<Failing> {
        failing_with(fail, "")
    }

    fn failing_with(fail: &str, more: &str) -> Arc<Failing> {
        let text = format!(
            "schema = 1\nname = \"f\"\n[[queue]]\nname = \"q\"\n[[producer]]\nname = \"out\"\nrouting_key = \"q\"\n\
             [[consumer]]\nname = \"in\"\nqueue = \"q\"\nfail = {fail}\n{more}[load]\nduration = \"1s\"\n"
        );
        let scenario = toml::from_str(&text).unwrap();
        let plan = crate::plan::resolve(&scenario, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        Failing::new(&Arc::new(plan), 0).unwrap()
    }

    fn stamp(sequence: u64) -> Stamp {
        Stamp { run: 1, publisher: 0, attempt: 0, sequence, intended_us: 0, lag_us: 0 }
    }

    /// Delivers message 0 `count` times: whether each is another attempt, and what becomes of it.
    fn deliver(failing: &Failing, count: usize) -> Vec<(bool, Option<Attempt>)> {
        let each = |n: usize| {
            let again = failing.takes_again(&stamp(0), 0, 7).is_some();
            if n == 0 {
                failing.meet(&stamp(0), 0);
            }
            (again, failing.attempt(&stamp(0), 0, 5))
        };
        (0..count).map(each).collect()
    }

    #[test]
    fn a_transient_failure_fails_its_times_and_is_forgotten_once_it_works() {
        let failing = failing("{ times = 2 }");
        let requeue = Some(Attempt::Fails(FailThen::Requeue));
        let works = |is_first| Some(Attempt::Works { is_first });
        // The last two come because acks were lost: it has worked, and works again.
        let again = (false, works(false));
        let expected = [(false, requeue), (true, requeue), (true, works(true)), again, again];
        assert_eq!(deliver(&failing, 5), expected);
        assert!(failing.met().is_empty());
    }

    #[test]
    fn poison_fails_for_ever_and_is_forgotten_where_it_leaves() {
        let requeued = failing("{ kind = \"permanent\" }");
        assert_eq!(
            deliver(&requeued, 3),
            [false, true, true].map(|again| (again, Some(Attempt::Fails(FailThen::Requeue))))
        );
        assert_eq!(requeued.met().len(), 1);
        let rejected = failing("{ kind = \"permanent\", then = \"reject\" }");
        assert_eq!(deliver(&rejected, 2), [(false, Some(Attempt::Fails(FailThen::Reject))); 2]);
        assert!(rejected.met().is_empty());
    }

    #[test]
    fn a_delivery_that_nobody_tried_does_not_count() {
        let failing = failing("{ times = 1 }");
        // Taken by a member that died at once.
        failing.meet(&stamp(0), 0);
        assert!(failing.takes_again(&stamp(0), 0, 7).is_none(), "nobody asked for it");
        assert_eq!(failing.attempt(&stamp(0), 0, 5), Some(Attempt::Fails(FailThen::Requeue)));
        assert!(
            failing.takes_again(&stamp(0), 0, 7).is_some() && failing.takes_again(&stamp(0), 0, 7).is_none(),
            "told once"
        );
    }

    #[test]
    fn what_is_tried_again_waits_step_by_step_and_is_rejected_after_the_last() {
        let failing = failing_with(
            "{ kind = \"permanent\", then = \"retry\" }",
            "[[retry]]\nqueue = \"q\"\nkind = \"ladder\"\ndelays = [\"1ms\", \"2ms\"]\n",
        );
        failing.meet(&stamp(0), 0);
        let wait = |number, delay_us| Wait { number, delay_us };
        assert_eq!(failing.attempt(&stamp(0), 0, 5), Some(Attempt::Waits(wait(0, 1_000))));
        // It could not be published, was given back and comes again.
        assert_eq!(failing.takes_again(&stamp(0), 0, 6), Some(Away { us: 1, planned_us: None }));
        assert_eq!(failing.attempt(&stamp(0), 0, 10), Some(Attempt::Waits(wait(0, 1_000))));
        failing.waited(&stamp(0), 0, wait(0, 1_000));
        assert_eq!(failing.takes_again(&stamp(0), 0, 1_510), Some(Away { us: 1_500, planned_us: Some(1_000) }));
        assert_eq!(failing.attempt(&stamp(0), 0, 1_520), Some(Attempt::Waits(wait(1, 2_000))));
        failing.waited(&stamp(0), 0, wait(1, 2_000));
        assert!(failing.takes_again(&stamp(0), 0, 9_000).is_some());
        assert_eq!(failing.attempt(&stamp(0), 0, 9_000), Some(Attempt::Fails(FailThen::Reject)));
        assert!(failing.met().is_empty());
    }

    #[test]
    fn only_what_is_to_fail_is_remembered() {
        let failing = failing("{ pick = { first = 3, times = 1 } }");
        for sequence in 0..10 {
            failing.meet(&stamp(sequence), 0);
        }
        assert_eq!(failing.met().len(), 1);
        assert_eq!(failing.attempt(&stamp(0), 0, 5), None);
        assert_eq!(failing.attempt(&stamp(2), 0, 5), Some(Attempt::Fails(FailThen::Requeue)));
    }
}
