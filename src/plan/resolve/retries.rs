//! `[[retry]]`, `[[redrive]]` and `[[replay]]`: steps, queues and fleets by number. What a `[[retry]]` stands for is written out before.

use crate::plan::draw::{self, Lane};
use crate::plan::routing::Router;
use crate::plan::{ProducerFleet, RedrivePlan, ReplayPlan, RetryPlan, RetryStep};
use crate::scenario::replay::ReplayIds;
use crate::scenario::retry::RetryKind;
use crate::scenario::{Redrive, Replay, Retry};
use crate::units::{Rate, Span};

pub(super) fn redrives(redrives: &[Redrive], router: &Router<'_>) -> Vec<RedrivePlan> {
    let plan = |redrive: &Redrive| {
        let key = || redrive.routing_key.clone().unwrap_or_default();
        Some(RedrivePlan {
            queue: router.queue(&redrive.queue)?,
            reason: redrive.reason.clone(),
            per_s: redrive.rate.map(Rate::as_per_second),
            to: redrive.exchange.as_ref().map(|exchange| (exchange.clone(), key())),
        })
    };
    redrives.iter().filter_map(plan).collect()
}

pub(super) fn replays(replays: &[Replay], producers: &[ProducerFleet]) -> Vec<ReplayPlan> {
    let plan = |replay: &Replay| {
        Some(ReplayPlan {
            producer: producers.iter().position(|fleet| fleet.name == replay.producer)?,
            from_us: replay.from.map(Span::as_us),
            to_us: replay.to.map(Span::as_us),
            new_ids: replay.ids == Some(ReplayIds::New),
            per_s: replay.rate.map(Rate::as_per_second),
        })
    };
    replays.iter().filter_map(plan).collect()
}

pub(super) fn resolve(retries: &[Retry], seed: u64, router: &Router<'_>) -> Vec<RetryPlan> {
    let plan = |(place, retry): (usize, &Retry)| {
        let (is_ladder, is_delayed) = (retry.kind == RetryKind::Ladder, retry.kind == RetryKind::DelayedExchange);
        let step = |(number, delay): (usize, Span)| RetryStep {
            delay_us: delay.as_us(),
            key: if is_delayed { retry.queue.clone() } else { Retry::key(number) },
            queue: is_ladder.then(|| router.queue(&retry.wait(number))).flatten(),
        };
        Some(RetryPlan {
            queue: router.queue(&retry.queue)?,
            seed: draw::bits(seed, Lane::Retry, place as u64),
            jitter: retry.jitter.unwrap_or(0.0),
            is_delayed,
            exchange: retry.exchange(),
            steps: retry.all_delays().into_iter().enumerate().map(step).collect(),
        })
    };
    retries.iter().enumerate().filter_map(plan).collect()
}
