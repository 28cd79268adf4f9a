//! Starts of a broker that fail or are given up: what is said, and that nothing is left behind.
//!
//! `make test` provides the image and the local server; without them these tests fail and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // Helpers of tests are not in a test module.

#[path = "rig/broker.rs"]
mod rig;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lurcher::broker::{self, BrokerError, StartOptions};
use lurcher::plan::{BrokerPlan, Network, Provider};

fn plan(provider: Provider, network: Network) -> BrokerPlan {
    BrokerPlan { provider, network, ..rig::plan() }
}

fn options(run: &str) -> StartOptions<'static> {
    let run_id = format!("test-{run}-{}", std::process::id());
    StartOptions { external: None, run_id, note: &|line| println!("{line}") }
}

/// Containers of a run, by Docker's own word.
fn containers(run: &str) -> Vec<String> {
    let label = format!("label=lurcher.run={}", options(run).run_id);
    let output = Command::new("docker").args(["ps", "-aq", "--filter", &label]).output().expect("run docker");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_nowhere() {
    let mut plan = plan(Provider::Container, Network::Auto);
    plan.image = "localhost/lurcher-no-such-image:0".to_owned();
    let error = broker::start(&plan, &options("missing")).await.unwrap_err();
    assert!(matches!(error, BrokerError::NoImage { .. }), "{error}");
    assert!(error.to_string().contains("LURCHER_BROKER_IMAGE="), "{error}");
    assert_eq!(containers("missing"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_at_start() {
    let mut plan = plan(Provider::Container, Network::Auto);
    plan.config = vec!["vm_memory_high_watermark.relative = banana".to_owned()];
    let error = broker::start(&plan, &options("dies")).await.unwrap_err();
    assert!(matches!(error, BrokerError::Died { .. }), "{error}");
    assert!(error.to_string().contains("banana"), "the log is not shown: {error}");
    assert_eq!(containers("dies"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_the_broker_does_not_have() {
    for provider in [Provider::Container, Provider::Process] {
        let mut plan = plan(provider, Network::Auto);
        plan.plugins = vec!["rabbitmq_stomp".to_owned(), "no_such_plugin".to_owned()];
        let error = broker::start(&plan, &options("plugin")).await.unwrap_err();
        assert!(matches!(error, BrokerError::NoPlugin { .. }) && error.is_bad_input(), "{error}");
        assert!(error.to_string().contains("`no_such_plugin`") && !error.to_string().contains("stomp"), "{error}");
        assert_eq!(containers("plugin"), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_too_long() {
    let mut plan = plan(Provider::Container, Network::Auto);
    plan.startup_timeout_us = 1_500_000;
    let error = broker::start(&plan, &options("slow")).await.unwrap_err();
    assert!(matches!(error, BrokerError::NotReady { .. }), "{error}");
    assert_eq!(containers("slow"), Vec::<String>::new());
}

/// As Ctrl-C does: before the container is made, while it is made, and while it starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_given_up() {
    for milliseconds in [20, 80, 150, 1_500] {
        let plan = plan(Provider::Container, Network::Auto);
        let options = options("given-up");
        let start = broker::start(&plan, &options);
        assert!(tokio::time::timeout(Duration::from_millis(milliseconds), start).await.is_err(), "ready already");
        assert_eq!(containers("given-up"), Vec::<String>::new(), "after {milliseconds} ms");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(containers("given-up"), Vec::<String>::new(), "a while later");
}

/// Directories of a run's local servers.
fn directories(run: &str) -> Vec<PathBuf> {
    let id = options(run).run_id;
    let all = std::fs::read_dir(std::env::temp_dir()).unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let owned = |path: &PathBuf| std::fs::read_to_string(path.join("owner.json")).unwrap_or_default();
    all.filter(|path| owned(path).contains(&id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_start_that_is_given_up() {
    let plan = plan(Provider::Process, Network::Auto);
    let options = options("given-up-local");
    let seen = async {
        loop {
            if let Some(directory) = directories("given-up-local").pop() {
                return directory;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let directory = tokio::select! {
        started = broker::start(&plan, &options) => panic!("ready already: {started:?}"),
        directory = seen => directory,
    };
    assert!(!directory.exists(), "{} is left", directory.display());
    let mark = format!("LURCHER_BROKER_DIRECTORY={}", directory.display());
    let left = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(|process| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    });
    assert_eq!(left.count(), 0, "processes are left");
}
