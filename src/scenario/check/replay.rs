//! `[[replay]]`: that its fleet is there, and sent something in that time.

use crate::scenario::Scenario;
use crate::scenario::problem::Problems;
use crate::scenario::producer::RatePlan;
use crate::units::Span;

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    for (place, replay) in scenario.replays.iter().enumerate() {
        let at = format!("replay[{place}]");
        let Some(number) = scenario.producers.iter().position(|fleet| fleet.name == replay.producer) else {
            problems
                .at(format!("{at}.producer"), format!("there is no fleet of producers `{}`", replay.producer))
                .help("name a [[producer]]");
            continue;
        };
        let (from, to) = (replay.from.unwrap_or(Span::ZERO), replay.to);
        if to.is_some_and(|to| to <= from) {
            problems.at(format!("{at}.to"), "it ends before it begins").help("write a later time");
        }
        let has_times = replay.from.is_some() || to.is_some();
        if has_times && matches!(scenario.producers[number].rate, None | Some(RatePlan::Max)) {
            problems
                .at(&at, "of a fleet without a rate nobody knows when a message was to be sent")
                .help("leave out `from` and `to`, or give the fleet a `rate`")
                .see(format!("producer[{number}].name"), "this one");
        }
    }
}
