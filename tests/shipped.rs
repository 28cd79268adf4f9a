//! Every shipped scenario holds: on one broker that they share, two at a time, each ends with the verdict `pass` and
//! books that balance. A scenario that is added to `scenarios/` is tested here without a further word.

#![allow(clippy::expect_used, reason = "what helps a test may fail like a test")]

mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use lurcher::broker::{Broker, StartOptions};
use lurcher::plan::{self, Plan, Provider};
use lurcher::record::{Completeness, Record};
use rig::{image, until};

/// Scenarios that run at the same time.
const AT_ONCE: usize = 2;

/// What is changed in a scenario so that it takes less time here.
const SHORTER: [(&str, &[&str]); 3] = [
    ("quickstart", &["load.warmup=1s", "load.duration=5s"]),
    ("million", &["producer.out.messages=40_000", "expect.consumed=40_000"]),
    ("stalled", &["load.duration=3s"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of all shipped scenarios, those in folders too, by the name of their file.
fn scenarios() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join("scenarios")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                let other = found.insert(name, path.clone());
                assert_eq!(other, None, "{} has the name of another", path.display());
            }
        }
    }
    assert!(!found.is_empty(), "no scenario is shipped");
    found
}

fn plan_of(path: &Path) -> Plan {
    let loaded = lurcher::scenario::load(path, &[], &|_| None).unwrap_or_else(|_| panic!("{} loads", path.display()));
    let folder = path.parent().expect("a folder");
    plan::resolve(&loaded.scenario, &|name| fs::read_to_string(folder.join(name)))
        .unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()))
}

/// A broker that all scenarios share.
struct Shared {
    runtime: tokio::runtime::Runtime,
    broker: Option<Broker>,
}

impl Shared {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let mut plan = plan_of(&scenarios()["quickstart"]).broker;
        plan.provider = Provider::Container;
        let run_id = format!("test-{:08x}", rand::random::<u32>());
        let options = StartOptions { image: Some(image()), external: None, run_id, note: &|_| {} };
        let broker = runtime
            .block_on(lurcher::broker::start(&plan, &options))
            .unwrap_or_else(|error| panic!("{error}\nif no broker could be had: make test"));
        Self { runtime, broker: Some(broker) }
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("a broker")
    }

    fn urls(&self) -> [String; 2] {
        let endpoint = self.broker().endpoint();
        let lurcher::endpoint::Credentials::Plain { user, password } = &endpoint.credentials else {
            panic!("a broker of our own has a password")
        };
        let amqp = format!("amqp://{user}:{}@{}:{}", password.reveal(), endpoint.host, endpoint.port);
        [amqp, self.broker().management().expect("a management API").endpoint().base_url.clone()]
    }

    fn queues(&self) -> Vec<String> {
        let management = self.broker().management().expect("a management API");
        let queues = self.runtime.block_on(management.queues()).expect("the broker's queues");
        queues.into_iter().map(|queue| queue.name).collect()
    }

    fn exchanges(&self) -> Vec<String> {
        let management = self.broker().management().expect("a management API");
        let exchanges = self.runtime.block_on(management.exchanges()).expect("the broker's exchanges");
        let declared = exchanges.into_iter().map(|exchange| exchange.name);
        declared.filter(|name| !name.is_empty() && !name.starts_with("amq.")).collect()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            let _ = self.runtime.block_on(broker.stop());
        }
    }
}

/// Runs one scenario on the broker at `urls`; what is wrong with how it ended.
fn run(name: &str, path: &Path, [amqp, management]: &[String; 2], out: &Path) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lurcher"));
    command.arg("run").arg(path).args(["--json", "--broker-url", amqp, "--management-url", management, "--out"]);
    command.arg(out);
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
    let checks = record.verdict.as_ref().map_or(0, |judgement| judgement.checks.len());
    (checks == 0).then(|| "nothing was expected".to_owned())
}

#[test]
fn every_scenario_holds_on_one_broker() {
    let broker = Shared::start();
    let urls = broker.urls();
    let out = tempfile::tempdir().expect("a scratch folder");
    let waiting = Mutex::new(scenarios().into_iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let next = || waiting.lock().expect("the next scenario").next();
                while let Some((name, path)) = next() {
                    // Each has a folder of its own: `latest` is not to be fought over.
                    if let Err(what) = run(&name, &path, &urls, &out.path().join(&name)) {
                        wrong.lock().expect("the list").push(what);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("the list");
    assert!(wrong.is_empty(), "{} scenarios do not hold:\n\n{}", wrong.len(), wrong.join("\n"));
    until("all that was declared to be deleted", || broker.queues().is_empty() && broker.exchanges().is_empty());
}

#[test]
fn scenarios_can_share_a_broker() {
    let mut owners: BTreeMap<(&str, String), String> = BTreeMap::new();
    for (scenario, path) in scenarios() {
        let topology = plan_of(&path).topology;
        let queues = topology.queues.into_iter().map(|queue| ("queue", queue.name));
        for name in queues.chain(topology.exchanges.into_iter().map(|exchange| ("exchange", exchange.name))) {
            let other = owners.insert(name.clone(), scenario.clone());
            assert_eq!(other, None, "{name:?} is also declared by {scenario}");
        }
    }
}

#[test]
fn each_scenario_says_what_it_proves() {
    let readme = fs::read_to_string(root().join("scenarios/README.md")).expect("the list of scenarios");
    let listed: Vec<_> = readme.lines().filter_map(|line| line.strip_prefix("| [")?.split_once(']')).collect();
    for (name, path) in scenarios() {
        let text = fs::read_to_string(&path).expect("a scenario");
        assert!(text.starts_with("# Proves: "), "{name} does not open with what it proves");
        let plan = plan_of(&path);
        assert_eq!(plan.name, name, "a scenario is called as its file");
        assert!(!plan.expect.is_empty(), "{name} expects nothing");
        let file = path.strip_prefix(root().join("scenarios")).expect("below the folder");
        let link = format!("({})", file.display());
        let rows = listed.iter().filter(|(row, rest)| *row == name && rest.starts_with(&link)).count();
        assert_eq!(rows, 1, "{name} has one row in scenarios/README.md");
    }
    assert_eq!(listed.len(), scenarios().len(), "scenarios/README.md lists what is not there");
    for (name, _) in SHORTER {
        assert!(scenarios().contains_key(name), "{name} is shortened and not shipped");
    }
}
