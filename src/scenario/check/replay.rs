//! `[[replay]]`: that its fleet is there, and sent something in that time.

use crate::scenario::problem::Problems;
use crate::scenario::producer::RatePlan;
use crate::scenario::replay::ReplayIds;
use crate::scenario::{Replay, Scenario};
use crate::units::Span;

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    let gives_new = |replay: &Replay| replay.ids == Some(ReplayIds::New);
    let first = scenario.replays.first();
    if let Some(place) = scenario.replays.iter().position(|it| first.is_some_and(|one| gives_new(it) != gives_new(one)))
    {
        problems
            .at(format!("replay[{place}].ids"), "some replays give new ids, and others keep them")
            .help("have all of them do the same: a message that comes once more is known by its attempt only")
            .see("replay[0].producer", "the first one");
    }
    let follower = scenario.producers.iter().position(|fleet| fleet.follows.is_some());
    for (place, replay) in scenario.replays.iter().enumerate() {
        if let Some(follower) = follower.filter(|_| gives_new(replay)) {
            problems
                .at(format!("replay[{place}].ids"), "messages lead to others, and are known by their ids")
                .help("let them keep their ids, or have nothing follow them")
                .see(format!("producer[{follower}].follows"), "what follows");
        }
        let at = format!("replay[{place}]");
        let Some(number) = scenario.producers.iter().position(|fleet| fleet.name == replay.producer) else {
            problems
                .at(format!("{at}.producer"), format!("there is no fleet of producers `{}`", replay.producer))
                .help("name a [[producer]]");
            continue;
        };
        if scenario.producers[number].follows.is_some() {
            problems
                .at(format!("{at}.producer"), format!("the messages of `{}` follow others", replay.producer))
                .help("replay those: their consumers publish again what follows");
        }
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
