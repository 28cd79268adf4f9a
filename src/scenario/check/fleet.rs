//! How many members, connections and channels the fleets have.

use crate::scenario::Scenario;
use crate::scenario::problem::Problems;
use crate::units::Span;

/// Most publishers or subscribers of one fleet.
const MAX_FLEET: u64 = 10_000;

/// Most publishers of all fleets: the stamp numbers them in 16 bits.
const MAX_PUBLISHERS: u64 = 65_535;

/// Channels that RabbitMQ allows on one connection (`channel_max`, by default).
const MAX_CHANNELS: u32 = 2_047;

struct Dimensions {
    count: Option<u32>,
    connections: Option<u32>,
    channels: Option<u32>,
}

impl Dimensions {
    fn product(&self) -> u64 {
        [self.count, self.connections, self.channels]
            .into_iter()
            .fold(1, |product, factor| u64::saturating_mul(product, u64::from(factor.unwrap_or(1))))
    }
}

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    if scenario.producers.is_empty() && scenario.consumers.is_empty() {
        problems
            .at("producer", "there is nothing to run: no `[[producer]]` and no `[[consumer]]`")
            .help("add a `[[producer]]`, such as `name = \"load\"` with `routing_key` naming a queue");
    }
    let mut publishers = 0u64;
    for (index, fleet) in scenario.producers.iter().enumerate() {
        let dimensions = Dimensions { count: fleet.count, connections: fleet.connections, channels: fleet.channels };
        check_dimensions(&format!("producer[{index}]"), "publishers", &dimensions, problems);
        let before = publishers;
        publishers = publishers.saturating_add(dimensions.product());
        if before <= MAX_PUBLISHERS && publishers > MAX_PUBLISHERS {
            problems
                .at(
                    format!("producer[{index}].count"),
                    format!("all fleets together have {publishers} publishers or more"),
                )
                .help(format!("at most {MAX_PUBLISHERS} are allowed; raise `rate` rather than `count`"));
        }
    }
    for (index, fleet) in scenario.consumers.iter().enumerate() {
        let dimensions = Dimensions { count: fleet.count, connections: fleet.connections, channels: fleet.channels };
        check_dimensions(&format!("consumer[{index}]"), "subscribers", &dimensions, problems);
    }
}

fn check_dimensions(at: &str, what: &str, dimensions: &Dimensions, problems: &mut Problems) {
    let named =
        [("count", dimensions.count), ("connections", dimensions.connections), ("channels", dimensions.channels)];
    for (key, _) in named.iter().filter(|(_, number)| *number == Some(0)) {
        problems
            .at(
                format!("{at}.{key}"),
                format!("a fleet with 0 {} does nothing", if *key == "count" { "members" } else { key }),
            )
            .help(format!("write `{key} = 1`, or remove the fleet"));
    }
    if let Some(channels) = dimensions.channels.filter(|channels| *channels > MAX_CHANNELS) {
        problems
            .at(format!("{at}.channels"), format!("{channels} channels are more than RabbitMQ allows on a connection"))
            .help(format!("at most {MAX_CHANNELS}; use more `connections`"));
        return;
    }
    let product = dimensions.product();
    if product > MAX_FLEET {
        // At the largest factor, which is the one to lower.
        let largest = named.iter().max_by_key(|(_, number)| number.unwrap_or(1)).map_or("count", |(key, _)| key);
        problems
            .at(format!("{at}.{largest}"), format!("`count × connections × channels` makes {product} {what}"))
            .help(format!("at most {MAX_FLEET} are allowed in one fleet"));
    }
}

/// How long the load lasts, warm-up included; none where messages end it.
pub(super) fn load_time(scenario: &Scenario) -> Option<Span> {
    const DEFAULT_DURATION: Span = Span::from_secs(30);
    let load = scenario.load.as_ref();
    let duration = load.and_then(|load| load.duration);
    let by_messages = load.is_some_and(|load| load.messages.is_some());
    let duration = if by_messages { duration? } else { duration.unwrap_or(DEFAULT_DURATION) };
    let warmup = load.and_then(|load| load.warmup).unwrap_or_default();
    Some(Span(duration.0.saturating_add(warmup.0)))
}
