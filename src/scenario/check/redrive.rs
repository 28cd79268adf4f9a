//! `[[redrive]]`: that there can be dead letters in its queue, and that they get somewhere.

use super::names::Names;
use crate::scenario::Scenario;
use crate::scenario::problem::Problems;
use crate::scenario::topology::QueueKind;

/// Reasons of a dead letter, as the broker's `x-death` header names them.
const REASONS: [&str; 4] = ["rejected", "expired", "maxlen", "delivery_limit"];

pub(super) fn check(scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    for (place, redrive) in scenario.redrives.iter().enumerate() {
        let at = format!("redrive[{place}]");
        let found = scenario.queues.iter().enumerate().find(|(_, queue)| queue.name == redrive.queue);
        match found {
            None => {
                problems
                    .at(format!("{at}.queue"), format!("there is no queue `{}`", redrive.queue))
                    .help("name a [[queue]] that is written without a pattern, or one that a [[retry]] stands for");
            }
            Some((number, queue)) if queue.kind == Some(QueueKind::Stream) => {
                problems
                    .at(format!("{at}.queue"), "nothing can be taken out of a stream")
                    .help("name a classic or a quorum queue")
                    .see(format!("queue[{number}].kind"), "a stream");
            }
            Some(_) => {}
        }
        if let Some(reason) = redrive.reason.as_ref().filter(|reason| !REASONS.contains(&reason.as_str())) {
            problems
                .at(format!("{at}.reason"), format!("nothing dies of `{reason}`"))
                .help("one of `rejected`, `expired`, `maxlen` and `delivery_limit`");
        }
        match (&redrive.exchange, &redrive.routing_key) {
            (None, Some(_)) => {
                problems
                    .at(format!("{at}.routing_key"), "without an exchange they go straight to the queue that they left")
                    .help("name an `exchange`, or remove the key");
            }
            (Some(exchange), _) if names.exchange(exchange).is_none() => {
                problems
                    .at(format!("{at}.exchange"), format!("there is no exchange `{exchange}`"))
                    .help("declare it with [[exchange]]");
            }
            _ => {}
        }
    }
}
