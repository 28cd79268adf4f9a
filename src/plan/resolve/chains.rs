//! Fleets whose messages follow those of others: whose consumers publish them, and by which ids they are known.

use super::Problems;
use super::values::listed;
use crate::plan::{ConsumerFleet, ProducerFleet};
use crate::scenario::{Consumer, Producer};

/// The id of a message that is given none.
const ID: &str = "{{uuid}}";

/// The fleet of consumers that publishes the messages of `producer`, and its number; none: that has members of its own.
pub(super) fn leader<'a>(
    path: &str,
    producer: &Producer,
    consumers: &'a [Consumer],
    problems: &mut Problems,
) -> Option<(usize, &'a Consumer)> {
    let name = producer.follows.as_ref()?;
    let found = consumers.iter().enumerate().find(|(_, fleet)| fleet.name == *name);
    if found.is_none() {
        let help = listed(consumers.iter().map(|fleet| fleet.name.as_str()));
        problems.add_with_help(format!("{path}.follows"), format!("there is no fleet of consumers `{name}`"), help);
    }
    found
}

/// Where messages lead to others each has an id, and each of the first ones a correlation id of its own. What follows has
/// that of what it follows.
pub(super) fn give_ids(producers: &mut [ProducerFleet]) {
    if producers.iter().all(|fleet| fleet.follows.is_none()) {
        return;
    }
    for fleet in producers {
        let properties = &mut fleet.properties;
        properties.message_id.get_or_insert_with(|| ID.to_owned());
        if fleet.follows.is_none() {
            properties.correlation_id.get_or_insert_with(|| ID.to_owned());
        }
    }
}

/// Messages that lead to their own like would never end.
pub(super) fn check(producers: &[ProducerFleet], consumers: &[ConsumerFleet], problems: &mut Problems) {
    let leads_to = |from: &ProducerFleet, to: &ProducerFleet| {
        let consumer = to.follows.and_then(|number| consumers.get(number));
        let takes = |queue: &usize| consumer.is_some_and(|consumer| consumer.queues.contains(queue));
        from.routes.iter().flat_map(|route| &route.queues).any(takes)
    };
    for (place, fleet) in producers.iter().enumerate().filter(|(_, fleet)| fleet.follows.is_some()) {
        let mut reached = vec![false; producers.len()];
        let mut open = vec![fleet];
        while let Some(from) = open.pop() {
            for (number, to) in producers.iter().enumerate().filter(|(_, to)| leads_to(from, to)) {
                if !std::mem::replace(&mut reached[number], true) {
                    open.push(to);
                }
            }
        }
        if reached[place] {
            let message = format!("the messages of `{}` lead to others of it, and those to further ones", fleet.name);
            let help = "have it publish to where the consumers that it follows do not take them";
            problems.add_with_help(format!("producer[{place}].follows"), message, help);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Plan, PlanError};

    fn resolve(text: &str) -> Result<Plan, Vec<PlanError>> {
        let text = format!(
            "schema = 1\nname = \"c\"\n[[queue]]\nname = \"a\"\n[[queue]]\nname = \"b\"\n{text}\
             [load]\nduration = \"1s\"\n"
        );
        let scenario = toml::from_str(&text).expect("a scenario");
        crate::plan::resolve(&scenario, &|_| Err(std::io::ErrorKind::NotFound.into()))
    }

    const FIRST: &str = "[[producer]]\nname = \"first\"\nrouting_key = \"a\"\n";
    const CONSUMER: &str = "[[consumer]]\nname = \"in\"\nqueue = \"a\"\ncount = 2\nchannels = 3\n";

    #[test]
    fn each_channel_of_the_consumers_publishes_and_each_message_has_its_ids() {
        let second = "[[producer]]\nname = \"second\"\nrouting_key = \"b\"\nfollows = \"in\"\n";
        let plan = resolve(&format!("{FIRST}{second}{CONSUMER}")).expect("a plan");
        let [first, second] = plan.producers.as_slice() else { panic!("two fleets") };
        assert_eq!((first.follows, second.follows, second.publishers.len()), (None, Some(0), 6));
        assert_eq!(second.publishers.iter().map(|it| it.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        let found = |id| plan.publisher(id).map(|(number, fleet, found)| (number, &*fleet.name, found.place));
        assert_eq!([0, 1, 6].map(found), [Some((0, "first", 0)), Some((1, "second", 0)), Some((1, "second", 5))]);
        assert_eq!(found(7), None);
        let ids = |fleet: &crate::plan::ProducerFleet| {
            let properties = &fleet.properties;
            (properties.message_id.is_some(), properties.correlation_id.is_some())
        };
        assert_eq!((ids(first), ids(second)), ((true, true), (true, false)));
        assert!(plan.has_chains() && plan.leaders().count() == 1);
        let alone = resolve(FIRST).expect("a plan");
        assert!(!alone.has_chains() && alone.producers[0].properties.message_id.is_none());
    }

    #[test]
    fn a_circle_and_an_unknown_leader_are_refused() {
        let follows = |name: &str, key: &str, leader: &str| {
            format!("[[producer]]\nname = \"{name}\"\nrouting_key = \"{key}\"\nfollows = \"{leader}\"\n")
        };
        let other = "[[consumer]]\nname = \"other\"\nqueue = \"b\"\n";
        let circle = format!("{FIRST}{}{}{CONSUMER}{other}", follows("x", "b", "in"), follows("y", "a", "other"));
        let errors = resolve(&circle).expect_err("a circle");
        assert_eq!(
            errors.iter().map(|it| it.key.as_str()).collect::<Vec<_>>(),
            ["producer[1].follows", "producer[2].follows"]
        );
        let errors = resolve(&format!("{FIRST}{}{CONSUMER}", follows("x", "b", "inn"))).expect_err("unknown");
        assert!(errors[0].message.contains("`inn`"), "{errors:?}");
    }
}
