//! Every shipped scenario holds: some at a time on one broker that they share, or on one of its own where it breaks the
//! broker's node; each ends with the verdict `pass` and books that balance. A scenario that is added to `scenarios/` is
//! tested here without a further word.

#![allow(clippy::expect_used, reason = "what helps a test may fail like a test")]

mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use lurcher::plan::{Family, ProducerFleet, RateProfile};
use lurcher::record::{Completeness, Record};
use rig::scenarios::{self, plan_of};
use rig::{Held, image, until};

/// Scenarios that run at the same time.
const AT_ONCE: usize = 3;

/// A scenario with more messages per second than this runs alone.
const GREEDY_PER_S: f64 = 2_500.0;

/// What is changed in every scenario: a machine that has other work as well is no reason to call a run invalid here.
const PATIENT: &str = "load.max_lag=5s";
/// What is changed in a scenario so that it takes less time here.
const SHORTER: [(&str, &[&str]); 4] = [
    ("quickstart", &["load.warmup=1s", "load.duration=5s"]),
    ("million", &["producer.out.messages=40_000", "expect.consumed=40_000"]),
    ("retries", &["producer.checkout.messages=10_000"]),
    ("retries-kill", &["producer.checkout.messages=10_000", "fault[0].when={ confirmed = 5_000 }"]),
];

/// Whether it does to the broker what no other scenario on it would survive, or takes a plugin that others do not.
fn needs_its_own_broker(path: &Path) -> bool {
    needs_a_plugin(path) || plan_of(path, &[]).faults.iter().any(|fault| fault.kind.family() == Family::Node)
}

fn needs_a_plugin(path: &Path) -> bool {
    !plan_of(path, &[]).broker.plugins.is_empty()
}

/// Runs one scenario on the broker that `broker` names; what is wrong with how it ended.
fn run(name: &str, path: &Path, broker: &[String], out: &Path) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lurcher"));
    command.arg("run").arg(path).arg("--json").arg("--out").arg(out).env("LURCHER_BROKER_IMAGE", image());
    if !needs_its_own_broker(path) {
        command.args(broker);
    }
    command.args(["--set", PATIENT]);
    for (_, sets) in SHORTER.iter().filter(|(short, _)| *short == name) {
        command.args(sets.iter().flat_map(|set| ["--set", set]));
    }
    let output = command.stdin(Stdio::null()).output().expect("lurcher runs");
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let wrong = |what: String| Err(format!("{name}: {what}\n{said}{complaints}"));
    if output.status.code() != Some(0) {
        return wrong(format!("{}, not exit code 0", output.status));
    }
    let conclusion: serde_json::Value = serde_json::from_str(&said).map_err(|error| format!("{name}: {error}"))?;
    if (&conclusion["scenario"], &conclusion["verdict"]) != (&name.into(), &"pass".into()) {
        return wrong("exit code 0 without its own verdict pass".to_owned());
    }
    let record = Record::read(Path::new(conclusion["record"].as_str().unwrap_or_default()))
        .map_err(|error| format!("{name}: {error}"))?;
    match flaw(&record) {
        Some(flaw) => wrong(flaw),
        None => Ok(()),
    }
}

/// What does not balance in a record that passed, or makes its verdict worth nothing.
fn flaw(record: &Record) -> Option<String> {
    if let Some(queue) = record.account.queues.iter().find(|queue| queue.imbalance() != 0 || queue.unaccounted != 0) {
        return Some(format!("the books of {} do not balance: {queue:?}", queue.queue));
    }
    let outcomes = |of: &lurcher::record::PublisherAccount| {
        of.confirmed + of.nacked + of.returned + of.unconfirmed + of.sent == of.published
            && of.published + of.unsent == of.planned
    };
    if let Some(publisher) = record.account.publishers.iter().find(|publisher| !outcomes(publisher)) {
        return Some(format!("the books of a publisher do not balance: {publisher:?}"));
    }
    if record.completeness != Completeness::Complete || record.totals.published == 0 {
        return Some(format!("{:?} with {} published", record.completeness, record.totals.published));
    }
    if let Some(fault) = record.faults.iter().find(|fault| fault.healed_us.is_none() || fault.cost.is_none()) {
        return Some(format!("what became of a fault is not known: {fault:?}"));
    }
    let checks = record.verdict.as_ref().map_or(0, |judgement| judgement.checks.len());
    (checks == 0).then(|| "nothing was expected".to_owned())
}

/// Whether it takes all that there is of a broker: others would wait for it.
fn is_greedy(path: &Path) -> bool {
    let plan = plan_of(path, &[]);
    let fastest = |fleet: &ProducerFleet| fleet.rate.as_ref().map_or(f64::INFINITY, RateProfile::peak_per_s);
    plan.producers.iter().map(fastest).sum::<f64>() > GREEDY_PER_S
}

/// Runs scenarios, some at a time, on one broker and brokers of their own: each has to hold.
fn hold(chosen: BTreeMap<String, PathBuf>, broker: &Held) {
    // What runs beside them would be more than is meant to run at the same time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let arguments = broker.arguments();
    let out = tempfile::tempdir().expect("a scratch folder");
    let (greedy, modest): (BTreeMap<_, _>, BTreeMap<_, _>) = chosen.into_iter().partition(|(_, path)| is_greedy(path));
    let wrong = Mutex::new(Vec::new());
    for (some, at_once) in [(modest, AT_ONCE), (greedy, 1)] {
        let waiting = Mutex::new(some.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    let next = || waiting.lock().expect("the next scenario").next();
                    while let Some((name, path)) = next() {
                        // Each has a folder of its own: `latest` is not to be fought over.
                        if let Err(what) = run(&name, &path, &arguments, &out.path().join(&name)) {
                            wrong.lock().expect("the list").push(what);
                        }
                    }
                });
            }
        });
    }
    let wrong = wrong.into_inner().expect("the list");
    assert!(wrong.is_empty(), "{} scenarios do not hold:\n\n{}", wrong.len(), wrong.join("\n"));
    let is_empty = || broker.queues().expect("the broker's queues").is_empty() && broker.exchanges().is_empty();
    until("all that was declared to be deleted", is_empty);
}

fn is_surprise(path: &Path) -> bool {
    path.starts_with(scenarios::folder().join("surprises"))
}

#[test]
fn every_scenario_holds() {
    let chosen = scenarios::all().into_iter().filter(|(_, path)| !is_surprise(path) && !needs_a_plugin(path));
    hold(chosen.collect(), &Held::start());
}

/// Those that are for the release at hand; `make surprises` has another.
#[test]
fn the_surprises_of_this_release_hold() {
    let broker = Held::start();
    let release = broker.broker().facts().version.clone();
    let surprises = scenarios::all().into_iter().filter(|(_, path)| is_surprise(path));
    let (chosen, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        surprises.partition(|(_, path)| plan_of(path, &[]).broker.is_for(&release));
    assert!(chosen.len() >= 11, "only {} are for {release}", chosen.len());
    for (name, path) in others {
        let broker = broker.arguments();
        let ended = Command::new(env!("CARGO_BIN_EXE_lurcher")).arg("run").arg(path).args(broker).output();
        assert_eq!(ended.expect("lurcher runs").status.code(), Some(5), "{name} is not for {release}");
    }
    hold(chosen, &broker);
}

/// A plugin that does not come with RabbitMQ is in few images: where it is not, the run says which one it lacks.
#[test]
fn a_scenario_that_takes_a_plugin_holds_or_says_which() {
    let chosen: Vec<_> = scenarios::all().into_iter().filter(|(_, path)| needs_a_plugin(path)).collect();
    assert!(!chosen.is_empty(), "none takes one");
    let out = tempfile::tempdir().expect("a scratch folder");
    for (name, path) in chosen {
        let Err(what) = run(&name, &path, &[], &out.path().join(&name)) else { continue };
        let plugins = plan_of(&path, &[]).broker.plugins;
        let says_which = plugins.iter().all(|plugin| what.contains(plugin.as_str()));
        assert!(says_which && what.contains("exit status: 2"), "{what}");
    }
}

#[test]
fn scenarios_can_share_a_broker() {
    let mut owners: BTreeMap<(&str, String), String> = BTreeMap::new();
    for (scenario, path) in scenarios::all() {
        let topology = plan_of(&path, &[]).topology;
        let queues = topology.queues.into_iter().map(|queue| ("queue", queue.name));
        for name in queues.chain(topology.exchanges.into_iter().map(|exchange| ("exchange", exchange.name))) {
            let other = owners.insert(name.clone(), scenario.clone());
            assert_eq!(other, None, "{name:?} is also declared by {scenario}");
        }
    }
}

#[test]
fn each_scenario_says_what_it_proves() {
    let readme = fs::read_to_string(scenarios::folder().join("README.md")).expect("the list of scenarios");
    let listed: Vec<_> = readme.lines().filter_map(|line| line.strip_prefix("| [")?.split_once(']')).collect();
    for (name, path) in scenarios::all() {
        let text = fs::read_to_string(&path).expect("a scenario");
        assert!(text.starts_with("# Proves: "), "{name} does not open with what it proves");
        let plan = plan_of(&path, &[]);
        assert_eq!(plan.name, name, "a scenario is called as its file");
        assert!(plan.description.is_some_and(|text| !text.is_empty()), "{name} has no description");
        assert!(!plan.expect.is_empty(), "{name} expects nothing");
        assert!(!plan.producers.is_empty(), "{name} sends nothing");
        let file = path.strip_prefix(scenarios::folder()).expect("below the folder");
        let link = format!("({})", file.display());
        let rows = listed.iter().filter(|(row, rest)| *row == name && rest.starts_with(&link)).count();
        assert_eq!(rows, 1, "{name} has one row in scenarios/README.md");
    }
    assert_eq!(listed.len(), scenarios::all().len(), "scenarios/README.md lists what is not there");
    for (name, _) in SHORTER {
        assert!(scenarios::all().contains_key(name), "{name} is shortened and not shipped");
    }
}
