//! Fleets of consumers: their subscribers, and which queues are whose.

use super::producers::members;
use super::values::listed;
use super::{Problems, failing, idempotency};
use crate::plan::draw::{self, Lane};
use crate::plan::routing::Router;
use crate::plan::{AckPlan, ConsumerFleet, PrefetchScope, ProducerFleet, StreamOffset, Subscriber, WorkPlan};
use crate::scenario::Consumer;
use crate::scenario::consumer::{Ack, Work};
use crate::units::Span;

/// Each is a channel, and a task of the generator.
const MAX_SUBSCRIBERS: u64 = 1 << 16;
const DEFAULT_PREFETCH: u16 = 100;
const DEFAULT_BATCH: u32 = 1;

pub(super) fn resolve(
    consumers: &[Consumer],
    (seed, warmup_us): (u64, u64),
    (router, producers): (&Router<'_>, &[ProducerFleet]),
    problems: &mut Problems,
) -> Vec<ConsumerFleet> {
    let mut first_id = 0;
    let mut fleets = Vec::new();
    for (place, consumer) in consumers.iter().enumerate() {
        let path = format!("consumer[{place}]");
        let queues = queues(&format!("{path}.queue"), &consumer.queue, router, problems);
        let subscribers = subscribers(&path, consumer, &queues, (seed, first_id, warmup_us), problems);
        first_id += subscribers.len() as u64;
        fleets.push(ConsumerFleet {
            name: consumer.name.clone(),
            client: consumer.client.unwrap_or_default(),
            queues,
            prefetch: consumer.prefetch.unwrap_or(DEFAULT_PREFETCH),
            prefetch_scope: consumer.prefetch_scope.unwrap_or(PrefetchScope::Consumer),
            ack: ack(&path, consumer.ack, problems),
            poll_us: consumer.poll.map(Span::as_us),
            work: consumer.work.map(|written| work(&path, written, problems)),
            fail: consumer
                .fail
                .as_ref()
                .map(|rules| failing::resolve(&path, rules, (seed, place), producers, problems)),
            priority: consumer.priority.unwrap_or(0),
            offset: consumer.offset.clone().unwrap_or(StreamOffset::First),
            idempotency: consumer.idempotency.as_ref().map(idempotency::resolve),
            subscribers,
        });
    }
    idempotency::limit(&fleets, problems);
    fleets
}

fn queues(key: &str, pattern: &str, router: &Router<'_>, problems: &mut Problems) -> Vec<usize> {
    let mut numbers = Vec::new();
    let mut unknown = Vec::new();
    for name in problems.expand(key, pattern) {
        match router.queue(&name) {
            Some(number) => numbers.push(number),
            None => unknown.push(name),
        }
    }
    if let Some(first) = unknown.first() {
        let more = if unknown.len() > 1 { format!(" (and {} more)", unknown.len() - 1) } else { String::new() };
        let help = format!("declare it with [[queue]]; {}", listed(router.queue_names()));
        problems.add_with_help(key, format!("there is no queue `{first}`{more}"), help);
    }
    numbers
}

fn subscribers(
    path: &str,
    consumer: &Consumer,
    queues: &[usize],
    (seed, first_id, warmup_us): (u64, u64, u64),
    problems: &mut Problems,
) -> Vec<Subscriber> {
    let shape = [consumer.count, consumer.connections, consumer.channels];
    let Some([count, connections, channels]) = members(path, shape, problems) else { return Vec::new() };
    let all = count.saturating_mul(connections).saturating_mul(channels);
    if first_id.saturating_add(all) > MAX_SUBSCRIBERS {
        let message =
            format!("more than {MAX_SUBSCRIBERS} subscribers: count × connections × channels of all consumers");
        problems.add(format!("{path}.count"), message);
        return Vec::new();
    }
    (0..all)
        .map(|place| {
            let connection = place / channels;
            let id = first_id + place;
            Subscriber {
                id: id as u32,
                member: (connection / connections) as u32,
                connection: connection as u32,
                queues: share(queues, place as usize, all as usize),
                seed: draw::bits(seed, Lane::Subscriber, id),
                start_us: consumer.start_delay.map_or(0, |delay| warmup_us.saturating_add(delay.as_us())),
            }
        })
        .collect()
}

/// The queues of the subscriber in `place` of `of`: dealt out in turn, each to one of them, or, where there are fewer
/// queues than subscribers, each to several.
fn share(queues: &[usize], place: usize, of: usize) -> Vec<usize> {
    if queues.is_empty() {
        Vec::new()
    } else if of > queues.len() {
        vec![queues[place % queues.len()]]
    } else {
        queues.iter().skip(place).step_by(of).copied().collect()
    }
}

fn ack(path: &str, written: Option<Ack>, problems: &mut Problems) -> AckPlan {
    let batch = match written {
        Some(Ack::Auto) => return AckPlan::Auto,
        Some(Ack::Manual(manual)) => manual.batch.unwrap_or(DEFAULT_BATCH),
        None => DEFAULT_BATCH,
    };
    if batch == 0 {
        problems.add_with_help(format!("{path}.ack.batch"), "a batch of 0 acks nothing", "at least 1");
    }
    AckPlan::Manual { batch }
}

fn work(path: &str, written: Work, problems: &mut Problems) -> WorkPlan {
    match written {
        Work::Fixed(span) => WorkPlan::Fixed { us: span.as_us() },
        Work::Uniform(uniform) => {
            if uniform.min > uniform.max {
                let message = format!("{} is longer than `max`, {}", uniform.min, uniform.max);
                problems.add(format!("{path}.work.uniform.min"), message);
            }
            WorkPlan::Uniform { min_us: uniform.min.as_us(), max_us: uniform.max.as_us() }
        }
        Work::Exponential(exponential) => WorkPlan::Exponential { mean_us: exponential.mean.as_us() },
        Work::LogNormal(normal) => {
            if !(normal.sigma.is_finite() && normal.sigma >= 0.0) {
                let message = format!("`{}` is not a standard deviation", normal.sigma);
                problems.add_with_help(format!("{path}.work.lognormal.sigma"), message, "a finite number, not below 0");
            }
            WorkPlan::LogNormal { median_us: normal.median.as_us(), sigma: normal.sigma }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queues_are_dealt_out_in_turn() {
        assert_eq!(share(&[5, 6, 7, 8, 9], 1, 2), [6, 8]);
        assert_eq!(share(&[5, 6], 4, 5), [5]);
        assert_eq!(share(&[5, 6], 3, 5), [6]);
    }

    proptest! {
        #[test]
        fn every_queue_is_someones(queues in 1usize..200, subscribers in 1usize..200) {
            let numbers: Vec<_> = (0..queues).collect();
            let mut dealt: Vec<_> = (0..subscribers).flat_map(|place| share(&numbers, place, subscribers)).collect();
            prop_assert_eq!(dealt.len(), queues.max(subscribers));
            dealt.sort_unstable();
            dealt.dedup();
            prop_assert_eq!(dealt, numbers);
        }
    }
}
