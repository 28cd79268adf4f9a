//! Fleets of producers that follow consumers: what only a fleet with members of its own may say.

use crate::scenario::Scenario;
use crate::scenario::problem::Problems;
use crate::scenario::suggest::did_you_mean;

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    for (index, producer) in scenario.producers.iter().enumerate() {
        let Some(leader) = &producer.follows else { continue };
        let at = format!("producer[{index}]");
        let follows = format!("{at}.follows");
        let Some(place) = scenario.consumers.iter().position(|fleet| fleet.name == *leader) else {
            let known = scenario.consumers.iter().map(|fleet| fleet.name.as_str());
            let help = did_you_mean(leader, known, "name a `[[consumer]]`");
            problems.at(follows, format!("there is no fleet of consumers `{leader}`")).help(help);
            continue;
        };
        let given = [
            ("count", producer.count.is_some()),
            ("connections", producer.connections.is_some()),
            ("channels", producer.channels.is_some()),
            ("rate", producer.rate.is_some()),
            ("random_start", producer.random_start.is_some()),
            ("messages", producer.messages.is_some()),
            ("confirm", producer.confirm.is_some()),
            ("on_unconfirmed", producer.on_unconfirmed.is_some()),
            ("on_nacked", producer.on_nacked.is_some()),
            ("backoff", producer.backoff.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            problems
                .at(
                    format!("{at}.{key}"),
                    format!(
                        "`{leader}` publishes one of these messages for each that it works off, until it is confirmed"
                    ),
                )
                .help(format!("remove `{key}`"))
                .see(&follows, "says so");
        }
        if scenario.consumers[place].idempotency.is_some() {
            problems
                .at(
                    &follows,
                    format!("`{leader}` has effects: which of effect and message comes first is not modelled"),
                )
                .help("let another fleet have the effects, or publish")
                .see(format!("consumer[{place}].name"), "this one");
        }
    }
}
