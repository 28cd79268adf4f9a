//! Names: what may be one, that none is there twice, and which there are.

use std::collections::{BTreeMap, HashMap};

use crate::scenario::Scenario;
use crate::scenario::pattern::{self, PatternError};
use crate::scenario::problem::Problems;
use crate::scenario::suggest::{did_you_mean, short_list};
use crate::scenario::topology::{ExchangeKind, QueueKind};

/// Longest name of a scenario or a fleet, in characters.
const MAX_NAME: usize = 64;

/// Longest name and routing key in AMQP 0-9-1 (a short string), in bytes.
const MAX_SHORT_STRING: usize = 255;

/// Exchanges that every broker has (RabbitMQ manual, "Exchanges").
const PREDECLARED: [(&str, ExchangeKind); 6] = [
    ("", ExchangeKind::Direct),
    ("amq.direct", ExchangeKind::Direct),
    ("amq.topic", ExchangeKind::Topic),
    ("amq.fanout", ExchangeKind::Fanout),
    ("amq.headers", ExchangeKind::Headers),
    ("amq.match", ExchangeKind::Headers),
];

/// Everything in a scenario that can be named.
pub(super) struct Names<'a> {
    exchanges: BTreeMap<&'a str, ExchangeKind>,
    /// Place of each queue in the scenario's list; patterns expanded.
    queues: HashMap<String, usize>,
    scenario: &'a Scenario,
}

impl<'a> Names<'a> {
    pub fn of(scenario: &'a Scenario) -> Self {
        let mut exchanges: BTreeMap<&str, ExchangeKind> = PREDECLARED.into_iter().collect();
        exchanges.extend(scenario.exchanges.iter().map(|exchange| (exchange.name.as_str(), exchange.kind)));
        let mut queues = HashMap::new();
        for (index, queue) in scenario.queues.iter().enumerate() {
            for name in pattern::expand(&queue.name).unwrap_or_default() {
                queues.entry(name).or_insert(index);
            }
        }
        Self { exchanges, queues, scenario }
    }

    /// How the exchange `name` routes; none where there is no such exchange.
    pub fn exchange(&self, name: &str) -> Option<ExchangeKind> {
        self.exchanges.get(name).copied()
    }

    /// Places in the scenario's list of the queues that `name` or a pattern stands for, each once; none where the
    /// pattern or one of its queues is wrong.
    pub fn queues(&self, name: &str) -> Option<Vec<usize>> {
        let names = pattern::expand(name).ok()?;
        let mut places = names.iter().map(|name| self.queues.get(name).copied()).collect::<Option<Vec<_>>>()?;
        places.sort_unstable();
        places.dedup();
        Some(places)
    }

    /// Type of the queue at `place`.
    pub fn kind(&self, place: usize) -> QueueKind {
        self.scenario.queues.get(place).and_then(|queue| queue.kind).unwrap_or(QueueKind::Classic)
    }

    /// Reports at `key` that there is no exchange `name`, where there is none.
    pub fn require_exchange(&self, key: &str, name: &str, problems: &mut Problems) -> Option<ExchangeKind> {
        let kind = self.exchange(name);
        if kind.is_none() {
            let declare = format!("declare it: `[[exchange]]` with `name = {name:?}`");
            let help = did_you_mean(name, self.exchanges.keys().copied().filter(|name| !name.is_empty()), &declare);
            let problem = problems.at(key, format!("there is no exchange `{name}`")).help(help);
            let declared: Vec<&str> = self.scenario.exchanges.iter().map(|exchange| exchange.name.as_str()).collect();
            if !declared.is_empty() {
                problem.note(format!("declared: {}", short_list(declared)));
            }
        }
        kind
    }

    /// Reports at `key` that there is no queue `name`, where there is none.
    pub fn require_queues(&self, key: &str, name: &str, problems: &mut Problems) {
        let names = match pattern::expand(name) {
            Ok(names) => names,
            Err(error) => return report_pattern(key, &error, problems),
        };
        let Some(missing) = names.iter().find(|name| !self.queues.contains_key(*name)) else { return };
        let message = match names.len() {
            1 => format!("there is no queue `{missing}`"),
            _ => format!("there is no queue `{missing}`, one of those that `{name}` stands for"),
        };
        let declared = self.scenario.queues.iter().map(|queue| queue.name.as_str());
        let declare = format!("declare it: `[[queue]]` with `name = {missing:?}`");
        let help = did_you_mean(name, declared.clone(), &declare);
        let problem = problems.at(key, message).help(help);
        if !self.scenario.queues.is_empty() {
            problem.note(format!("declared: {}", short_list(declared)));
        }
    }
}

pub(super) fn report_pattern(key: &str, error: &PatternError, problems: &mut Problems) {
    let help = match error {
        PatternError::Unbalanced { .. } | PatternError::NotARange { .. } => {
            "a pattern is written like `orders.{1..100}`; braces have no other use in a name"
        }
        PatternError::SecondRange { .. } => "one range is allowed; write further queues as tables of their own",
        PatternError::Backwards { .. } => "write the smaller number first",
        PatternError::TooMany { .. } => "use a shorter range",
    };
    problems.at(key, error.to_string()).help(help);
}

/// Whether all queues together are more than one pattern may be; then nothing else is worth checking.
pub(super) fn too_many_queues(scenario: &Scenario, problems: &mut Problems) -> bool {
    let mut count = 0;
    for (index, queue) in scenario.queues.iter().enumerate() {
        count += pattern::expand(&queue.name).map_or(1, |names| names.len() as u64);
        if count > pattern::MAX_NAMES {
            problems
                .at(format!("queue[{index}].name"), format!("all queues together are {count} or more"))
                .help(format!("at most {} are allowed", pattern::MAX_NAMES));
            return true;
        }
    }
    false
}

/// Checks the names of the scenario, its exchanges, its queues and its fleets.
pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    check_folder_name(&scenario.name, problems);
    let exchanges = scenario.exchanges.iter().enumerate();
    let exchanges = exchanges.map(|(index, exchange)| (format!("exchange[{index}].name"), exchange.name.clone()));
    check_unique("an exchange", exchanges, problems);
    for (index, exchange) in scenario.exchanges.iter().enumerate() {
        check_broker_name(&format!("exchange[{index}].name"), "exchange", &exchange.name, problems);
    }
    let mut queues = Vec::new();
    for (index, queue) in scenario.queues.iter().enumerate() {
        let key = format!("queue[{index}].name");
        check_broker_name(&key, "queue", &queue.name, problems);
        match pattern::expand(&queue.name) {
            Ok(names) => queues.extend(names.into_iter().map(|name| (key.clone(), name))),
            Err(error) => report_pattern(&key, &error, problems),
        }
    }
    check_unique("a queue", queues.into_iter(), problems);
    let producers = scenario.producers.iter().enumerate();
    let producers = producers.map(|(index, fleet)| (format!("producer[{index}].name"), fleet.name.clone()));
    let consumers = scenario.consumers.iter().enumerate();
    let consumers = consumers.map(|(index, fleet)| (format!("consumer[{index}].name"), fleet.name.clone()));
    let fleets: Vec<(String, String)> = producers.chain(consumers).collect();
    for (key, name) in &fleets {
        check_fleet_name(key, name, problems);
    }
    check_unique("a fleet", fleets.into_iter(), problems);
}

/// The name of a scenario becomes a folder, on any system.
fn check_folder_name(name: &str, problems: &mut Problems) {
    const HELP: &str = "the folder of its records is called after it; use letters, digits, `-`, `_` and `.`";
    let mut wrong = |message: String| {
        problems.at("name", message).help(HELP);
    };
    let length = name.chars().count();
    if name.trim().is_empty() {
        wrong("the scenario's name is empty".to_owned());
    } else if length > MAX_NAME {
        wrong(format!("the scenario's name has {length} characters; at most {MAX_NAME} are allowed"));
    } else if let Some(bad) = name.chars().find(|c| c.is_control() || r#"/\:*?"<>|"#.contains(*c)) {
        wrong(format!("the scenario's name holds {bad:?}, which no folder's name may"));
    } else if name.starts_with('.') || name.ends_with('.') || name.trim() != name {
        wrong("the scenario's name begins or ends with a dot or a space".to_owned());
    } else if name == "latest" {
        problems
            .at("name", "a scenario cannot be called `latest`")
            .help("`reports/latest` points at the newest record; choose another name");
    }
}

fn check_broker_name(key: &str, what: &str, name: &str, problems: &mut Problems) {
    if name.is_empty() {
        let help = match what {
            "queue" => "the broker would choose a name of its own, which no consumer here could know; write one",
            _ => "the empty name is the default exchange, which is always there; write another",
        };
        problems.at(key, format!("the {what}'s name is empty")).help(help);
    } else if name.len() > MAX_SHORT_STRING {
        problems
            .at(key, format!("the {what}'s name has {} bytes", name.len()))
            .help(format!("AMQP allows {MAX_SHORT_STRING}"));
    } else if name.starts_with("amq.") {
        problems
            .at(key, format!("names that begin with `amq.` are the broker's own; it would refuse to declare `{name}`"))
            .help(match what {
                "exchange" => "`amq.direct`, `amq.topic`, `amq.fanout` and `amq.headers` can be used undeclared",
                _ => "choose another name",
            });
    }
}

fn check_fleet_name(key: &str, name: &str, problems: &mut Problems) {
    let length = name.chars().count();
    if name.trim().is_empty() {
        problems.at(key, "the fleet's name is empty").help("its name stands in every table and plot; write one");
    } else if length > MAX_NAME {
        problems
            .at(key, format!("the fleet's name has {length} characters"))
            .help(format!("at most {MAX_NAME} are allowed"));
    } else if name.chars().any(char::is_control) {
        problems.at(key, "the fleet's name holds a control character").help("use letters, digits, `-` and `_`");
    }
}

fn check_unique(what: &str, names: impl Iterator<Item = (String, String)>, problems: &mut Problems) {
    let mut first: HashMap<String, String> = HashMap::new();
    let mut reported = Vec::new();
    for (key, name) in names.filter(|(_, name)| !name.is_empty()) {
        let Some(earlier) = first.get(&name) else {
            first.insert(name, key);
            continue;
        };
        // A pattern that overlaps another does so many times.
        if reported.contains(&key) {
            continue;
        }
        let help = match what {
            "a fleet" => "producers and consumers share one set of names; choose another",
            _ => "choose another name, or put both tables into one",
        };
        problems.at(&key, format!("{what} called `{name}` is already there")).help(help).see(earlier, "the first one");
        reported.push(key);
    }
}

/// Reports a routing key or binding key that AMQP cannot carry.
pub(super) fn check_key_length(key: &str, text: &str, problems: &mut Problems) {
    if text.len() > MAX_SHORT_STRING {
        problems
            .at(key, format!("the text has {} bytes, more than AMQP carries here", text.len()))
            .help(format!("at most {MAX_SHORT_STRING} are allowed"));
    }
}
