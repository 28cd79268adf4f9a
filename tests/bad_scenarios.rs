//! The loader against a corpus of bad scenarios: the whole diagnostic of each is a snapshot, and a reader should know
//! from it alone what to change.

#![allow(clippy::expect_used, reason = "clippy.toml allows it in test functions, not in what they share")]

use std::path::{Path, PathBuf};

use lurcher::scenario::{self, Diagnostics, Loaded};
use proptest::prelude::*;

const GOOD: &str = "tests/bad_scenarios/000-good.toml";

fn env(name: &str) -> Option<String> {
    match name {
        "LURCHER_TEST_WORD" => Some("fast".to_owned()),
        "LURCHER_TEST_COUNT" => Some("7".to_owned()),
        "LURCHER_TEST_PASSWORD" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn load(path: &str, sets: &[&str]) -> Result<Loaded, Diagnostics> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    scenario::load(Path::new(path), &sets, &env)
}

/// The scenario `text`, from a file of its own that is gone afterwards.
fn load_text(text: &[u8]) -> Result<Loaded, Diagnostics> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scenario.toml");
    std::fs::write(&path, text).expect("written");
    scenario::load(&path, &[], &env)
}

fn corpus() -> Vec<PathBuf> {
    let files = std::fs::read_dir("tests/bad_scenarios").expect("the corpus");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
}

#[test]
fn every_bad_scenario_is_refused_in_its_own_words() {
    let bad: Vec<PathBuf> = corpus().into_iter().filter(|path| path != Path::new(GOOD)).collect();
    assert!(bad.len() >= 50, "the corpus shrank to {}", bad.len());
    for path in bad {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let diagnostics = load(path.to_str().expect("a path"), &[]).expect_err(name);
        for diagnostic in diagnostics.iter() {
            assert!(diagnostic.help().is_some(), "{name}: no help\n{diagnostic}");
        }
        insta::assert_snapshot!(name, diagnostics.to_string());
    }
}

#[test]
fn the_good_one_passes() {
    let loaded = load(GOOD, &[]).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert_eq!(loaded.scenario.name, "good");
    assert_eq!(loaded.scenario.producers.len(), 2);
    assert_eq!(loaded.source.text, std::fs::read_to_string(GOOD).expect("the file"));
}

#[test]
fn unreadable_files() {
    let mut text = String::new();
    for path in [
        "tests/bad_scenarios/nothing-here.toml",
        "tests/bad_scenarios/001-rate-without-quote.toml",
        "tests/bad_scenarios",
    ] {
        text.push_str(&format!("{}\n\n", load(path, &[]).expect_err(path)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn sets_change_what_they_name() {
    let loaded = load(
        GOOD,
        &[
            "seed=7",
            "load.duration=5s",
            "load.max_lag=10ms",
            "producer.checkout.rate=100/s",
            "producer[1].count=2",
            "producer.*.persistent=false",
            "queue.dead.kind=quorum",
            "queue.dead.max_priority=5",
            "queue.dead.kind=classic",
            "queue.audit.bind[0].key=order.*.created",
            "consumer.billing.ack.batch=20",
            "expect.end_to_end.p99=<= 1s",
            "expect.\"throughput.consumed\"= >= 50/s",
            "expect.lost=3",
            "name=2026",
        ],
    );
    let Loaded { scenario, source } = loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let load = scenario.load.expect("a load");
    assert_eq!(scenario.seed, Some(7));
    assert_eq!(load.duration.expect("a duration").as_us(), 5_000_000);
    assert_eq!(load.max_lag.expect("a lag").as_us(), 10_000);
    assert_eq!(load.warmup.expect("a warm-up").as_us(), 5_000_000);
    assert_eq!(
        scenario.producers[0].rate,
        Some(scenario::producer::RatePlan::Constant("100/s".parse().expect("a rate")))
    );
    assert_eq!(scenario.producers[1].count, Some(2));
    assert!(scenario.producers.iter().all(|fleet| fleet.persistent == Some(false)));
    assert_eq!(scenario.queues[2].bind[0].key.as_deref(), Some("order.*.created"));
    let expect = scenario.expect.expect("expectations");
    assert_eq!(expect["end_to_end.p99"].as_str(), Some("<= 1s"));
    assert_eq!(expect["throughput.consumed"].as_str(), Some(">= 50/s"));
    assert_eq!(expect["lost"].as_integer(), Some(3));
    assert_eq!(scenario.name, "2026");
    assert_eq!(source.sets.len(), 15);
    assert!(source.text.starts_with("# The counter-check"), "comments stay");
    assert!(source.text.contains("seed = 7"));
}

#[test]
fn bad_sets_say_that_they_were_set() {
    let mut text = String::new();
    for sets in [
        &["producer.chekout.rate=1/s"][..],
        &["producer[5].rate=1/s"],
        &["consumer.billing.prefech=5"],
        &["producer.checkout.rate=fast", "load.duration=0s"],
        &["consumer.billing.ack.batch=500"],
        &["laod.duration=5s"],
        &["load.duration"],
        &["amqp://admin:hunter2@broker.example"],
        &["broker.provider=external", "broker.url=ampq://admin:hunter2@broker.example"],
    ] {
        let asked = sets.join(" ").replace("hunter2", "SECRET");
        text.push_str(&format!("{asked}\n{}\n\n", load(GOOD, sets).expect_err("refused")));
    }
    assert!(!text.contains("hunter2"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn the_environment_is_filled_in_but_not_kept() {
    let text = br#"
schema = 1
name = "filled"
[broker]
provider = "external"
url = "amqp://admin:${LURCHER_TEST_PASSWORD}@localhost"
management_url = "http://admin:literal@localhost:15672"
[[queue]]
name = "${LURCHER_TEST_QUEUE:-orders}"
[[producer]]
name = "checkout"
routing_key = "orders"
count = "${LURCHER_TEST_COUNT}"
"#;
    let Loaded { scenario, source } = load_text(text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let broker = scenario.broker.expect("a broker");
    assert_eq!(broker.url.as_deref(), Some("amqp://admin:hunter2@localhost"));
    assert_eq!(broker.management_url.as_deref(), Some("http://admin:literal@localhost:15672"));
    assert_eq!(scenario.queues[0].name, "orders");
    assert_eq!(scenario.producers[0].count, Some(7));
    assert!(source.text.contains("${LURCHER_TEST_PASSWORD}"));
    assert!(source.text.contains("http://admin:***@localhost:15672"));
    assert!(!source.text.contains("hunter2") && !source.text.contains("literal"));
}

/// The rooms keep their own lists; here is where they must agree.
#[test]
fn the_schema_knows_every_metric() {
    use lurcher::plan::expect::{COUNTS, GAUGES, LATENCIES, THROUGHPUTS};
    let schema = scenario::json_schema();
    let patterns = schema["properties"]["expect"]["patternProperties"].as_object().expect("patterns");
    let (pattern, _) = patterns.iter().next().expect("one pattern");
    let words = |part: &str| -> Vec<String> {
        let inside = part.split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("a group").0;
        inside.split('|').map(str::to_owned).collect()
    };
    let parts: Vec<&str> = pattern.split("$|").collect();
    assert_eq!(words(parts[0]), COUNTS);
    assert_eq!(words(parts[1]), LATENCIES);
    assert_eq!(words(parts[2]), THROUGHPUTS);
    assert_eq!(words(parts[3]), GAUGES);
}

/// The loader checks shapes against the schema, so that a file it takes is one that the schema takes.
#[test]
fn shipped_scenarios_load() {
    for shipped in std::fs::read_dir("scenarios").into_iter().flatten().flatten() {
        let path = shipped.path();
        if path.extension().is_some_and(|extension| extension == "toml")
            && let Err(diagnostics) = scenario::load(&path, &[], &env)
        {
            panic!("{diagnostics}");
        }
    }
}

#[test]
fn the_smallest_size_is_the_stamp() {
    let sized = |size: usize| {
        format!("schema = 1\nname = \"sized\"\n[[producer]]\nname = \"p\"\nrouting_key = \"q\"\nsize = \"{size} B\"\n")
    };
    assert!(load_text(sized(lurcher::stamp::STAMP_LEN).as_bytes()).is_ok());
    assert!(load_text(sized(lurcher::stamp::STAMP_LEN - 1).as_bytes()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(diagnostics) = load_text(&bytes) {
            prop_assert!(!diagnostics.to_string().is_empty());
        }
    }

    /// Bytes of the good scenario and of the bad ones cut out, doubled or replaced.
    #[test]
    fn mutated_scenarios_never_panic(
        file in 0usize..1000, at in 0usize..4000, length in 0usize..40, with in "[a-z0-9\"{}\\[\\]=.,\n$ é-]{0,12}",
    ) {
        let files = corpus();
        let mut bytes = std::fs::read(&files[file % files.len()]).expect("a file");
        let start = at % (bytes.len() + 1);
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, with.bytes());
        if let Err(diagnostics) = load_text(&bytes) {
            // What serde refuses behind the shape's back has no help; that would be a gap in the shape.
            let told = |d: &scenario::Diagnostic| d.help().is_some() || d.message().starts_with("not TOML");
            prop_assert!(diagnostics.iter().all(told), "{}", diagnostics);
        }
    }

    #[test]
    fn arbitrary_sets_never_panic(path in "(producer|load|expect|queue|broker)[a-z.\\[\\]*0-9\"]{0,16}", value in ".{0,16}") {
        let _ = load(GOOD, &[&format!("{path}={value}")]).map_err(|diagnostics| diagnostics.to_string());
    }
}
