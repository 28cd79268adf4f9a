//! `[[fault]]` of a fleet's members: that the message at which one crashes will come, and that there is a confirm to miss.

use crate::scenario::Scenario;
use crate::scenario::fault::{Fault, FaultKind};
use crate::scenario::problem::Problems;
use crate::scenario::producer::{Confirm, Producer};
use crate::scenario::suggest::did_you_mean;

pub(super) fn check(at: &str, fault: &Fault, scenario: &Scenario, problems: &mut Problems) {
    if !fault.kind.is_crash() {
        return;
    }
    if let (Some(_), Some(_)) = (&fault.message, fault.pick) {
        problems
            .at(format!("{at}.message"), "both `pick` and `message` say at which message")
            .help("keep one of them")
            .see(format!("{at}.pick"), "the other");
    }
    check_message(at, fault, scenario, problems);
    if fault.kind == FaultKind::ProducerCrash {
        check_confirms(at, fault, scenario, problems);
    }
}

fn check_message(at: &str, fault: &Fault, scenario: &Scenario, problems: &mut Problems) {
    let Some(message) = &fault.message else { return };
    if fault.share.is_some_and(|share| share < 1.0) {
        problems
            .at(format!("{at}.share"), "the message may never come to a member of this share")
            .help("leave `share` out: `message` alone says where it happens")
            .see(format!("{at}.message"), "the message");
    }
    let key = format!("{at}.message.publisher");
    let named = message.publisher.rsplit_once('/');
    let Some((name, place)) = named.and_then(|(name, place)| Some((name, place.parse::<u64>().ok()?))) else {
        problems
            .at(key, format!("`{}` is no publisher", message.publisher))
            .help("write the fleet's name and the publisher's place in it, such as `checkout/0`");
        return;
    };
    let Some(producer) = scenario.producers.iter().find(|producer| producer.name == name) else {
        let known = scenario.producers.iter().map(|producer| producer.name.as_str());
        let help = did_you_mean(name, known, "name a `[[producer]]`");
        problems.at(key, format!("there is no fleet of producers `{name}`")).help(help);
        return;
    };
    let publishers = publishers(producer);
    if place >= publishers {
        problems
            .at(key, format!("`{name}` has {publishers} publishers, and they are counted from 0"))
            .help(format!("write `{name}/{}`, or a lower number", publishers.saturating_sub(1)));
    }
    let is_other = |fleets: &Vec<String>| !fleets.iter().any(|fleet| fleet == name);
    if fault.kind == FaultKind::ProducerCrash && fault.fleets.as_ref().is_some_and(is_other) {
        problems
            .at(format!("{at}.message.publisher"), format!("`{name}` is not among the fleets of this fault"))
            .help("name the publisher of a fleet that crashes")
            .see(format!("{at}.fleets"), "the fleets");
    }
    let most = scenario.load.as_ref().and_then(|load| load.messages).or(producer.messages);
    if let Some(most) = most.filter(|most| message.sequence >= *most) {
        problems
            .at(
                format!("{at}.message.sequence"),
                format!("there are {most} messages, counted from 0, and this waits for number {}", message.sequence),
            )
            .help("write a smaller number");
    }
}

fn publishers(producer: &Producer) -> u64 {
    [producer.count, producer.connections, producer.channels].into_iter().map(|n| u64::from(n.unwrap_or(1))).product()
}

fn check_confirms(at: &str, fault: &Fault, scenario: &Scenario, problems: &mut Problems) {
    let is_meant = |name: &String| fault.fleets.as_ref().is_none_or(|fleets| fleets.contains(name));
    for (place, producer) in scenario.producers.iter().enumerate().filter(|(_, producer)| is_meant(&producer.name)) {
        if producer.confirm == Some(Confirm::Off) {
            problems
                .at(format!("{at}.kind"), format!("`{}` has confirms off: there is no confirm to miss", producer.name))
                .help("name fleets with confirms in `fleets`, or turn them on")
                .see(format!("producer[{place}].confirm"), "off");
        }
    }
}
