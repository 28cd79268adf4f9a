//! Checks across the keys of a scenario: contradictions, names that lead nowhere, values out of range, and what
//! RabbitMQ itself would refuse, said before anything starts.
//!
//! May use `units` only. Where a rule is the broker's, it was tried against RabbitMQ 4.0.5 or stands in its manual.

mod broker;
mod consumer;
mod exchange;
mod expect;
mod failing;
mod fault;
mod fleet;
mod follow;
mod idempotency;
mod load;
mod members;
mod names;
mod producer;
mod queue;
mod redrive;
mod replay;
mod retry;

use super::Scenario;
use super::problem::Problems;
use names::Names;

/// Finds everything in `scenario` that does not go together.
pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    retry::check(scenario, problems);
    if !problems.is_empty() {
        return;
    }
    // From here on as if all that `[[retry]]` stands for had been written out.
    let scenario = &*scenario.expanded();
    if names::too_many_queues(scenario, problems) {
        return;
    }
    names::check(scenario, problems);
    let names = Names::of(scenario);
    if let Some(broker) = &scenario.broker {
        broker::check(broker, problems);
    }
    exchange::check(scenario, &names, problems);
    queue::check(scenario, &names, problems);
    fleet::check(scenario, problems);
    producer::check(scenario, &names, problems);
    consumer::check(scenario, &names, problems);
    follow::check(scenario, problems);
    idempotency::check(scenario, &names, problems);
    load::check(scenario, &names, problems);
    redrive::check(scenario, &names, problems);
    replay::check(scenario, problems);
    fault::check(scenario, &names, problems);
    expect::check(scenario, problems);
}
