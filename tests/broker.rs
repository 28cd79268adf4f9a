//! Brokers that are really started: what listens, who is let in, what is left behind.
//!
//! `make test` provides the image and the local server; without them these tests fail and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // Helpers of tests are not in a test module.

#[path = "rig/broker.rs"]
mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use lurcher::broker::{self, Broker, BrokerError, ExternalUrls, Management, ManagementError, StartOptions};
use lurcher::endpoint::{Endpoint, ManagementEndpoint, Secret};
use lurcher::plan::{BrokerPlan, Network, Provider};
use rig::{HINT, login};

fn plan(provider: Provider, network: Network) -> BrokerPlan {
    BrokerPlan { provider, network, ..rig::plan() }
}

fn options(run: &str) -> StartOptions<'static> {
    StartOptions {
        external: None,
        run_id: format!("test-{run}-{}", std::process::id()),
        note: &|line| println!("{line}"),
    }
}

async fn start(plan: &BrokerPlan, run: &str) -> Broker {
    broker::start(plan, &options(run)).await.unwrap_or_else(|error| panic!("{error}\n{HINT}"))
}

/// Containers of a run, by Docker's own word.
fn containers(run: &str) -> Vec<String> {
    let label = format!("label=lurcher.run={}", options(run).run_id);
    let output = Command::new("docker").args(["ps", "-aq", "--filter", &label]).output().expect("run docker");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Sockets of this system that listen beyond loopback, from `/proc/net`: address and inode.
fn exposed() -> BTreeSet<(String, String)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines());
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (address, _) = fields.get(1)?.split_once(':')?;
            // Bytes of each 32-bit word in the machine's order, which is little-endian wherever this runs.
            let loopback =
                matches!(address, "0100007F" | "00000000000000000000000001000000" | "0000000000000000FFFF00000100007F");
            (*fields.get(3)? == "0A" && !loopback).then(|| (fields[1].to_owned(), fields[9].to_owned()))
        })
        .collect()
}

/// What is known of the process that has a socket: its command line and environment; none where it is gone already.
fn socket_owner(inode: &str) -> Option<String> {
    let socket = format!("socket:[{inode}]");
    std::fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|process| {
        let path = process.path();
        let mut files = std::fs::read_dir(path.join("fd")).ok()?.filter_map(Result::ok);
        files.find(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == socket.as_str()))?;
        let texts = ["cmdline", "environ"].map(|name| std::fs::read(path.join(name)).unwrap_or_default());
        Some(String::from_utf8_lossy(&texts.concat()).replace('\0', " "))
    })
}

/// Who has each socket, as far as that is known, and in how many looks it was there.
type Sockets = BTreeMap<(String, String), (Option<String>, u32)>;

/// Looks at listening sockets all the while, so that one which is open for a moment is seen too.
struct Watcher {
    seen: Arc<Mutex<Sockets>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    fn start() -> Self {
        let seen = Arc::new(Mutex::new(Sockets::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let before = exposed();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for socket in exposed().difference(&before) {
                    let mut seen = shared.lock().unwrap();
                    let (owner, looks) = seen.entry(socket.clone()).or_default();
                    *looks += 1;
                    if owner.is_none() {
                        *owner = socket_owner(&socket.1);
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Sockets that were opened beyond loopback since, by a process that was started with `mark`, or by nobody knows
    /// whom. Others use this machine too: what nobody owns and only one look saw, a 50th of a second, is not ours. The
    /// shortest-lived of a broker's tools runs for many of them.
    fn finish(mut self, mark: &str) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(_, (owner, looks))| owner.as_ref().map_or(*looks > 1, |owner| owner.contains(mark)))
            .map(|((address, _), (owner, _))| {
                format!("{address} of {}", owner.as_deref().unwrap_or("a process that is gone"))
            })
            .collect()
    }
}

#[test]
fn the_watcher_sees_an_open_socket() {
    let watcher = Watcher::start();
    let port = free_port();
    let script = "import socket,sys,time; s=socket.create_server((sys.argv[1],int(sys.argv[2]))); time.sleep(1)";
    let open = |address: &str, port: u16| {
        let arguments = ["-c", script, address, &port.to_string(), "watched-by-this-test"];
        Command::new("python3").args(arguments).status().expect("run python3")
    };
    assert!(open("0.0.0.0", port).success());
    let loopback = free_port();
    assert!(open("127.0.0.1", loopback).success());
    let seen = watcher.finish("watched-by-this-test");
    assert!(seen.iter().any(|socket| socket.contains(&format!(":{port:04X} "))), "{seen:?}");
    assert!(!seen.iter().any(|socket| socket.contains(&format!(":{loopback:04X} "))), "{seen:?}");
}

fn urls(endpoint: &Endpoint, user: &str, password: &str, vhost: &str) -> ExternalUrls {
    let amqp = format!("amqp://{user}:{password}@{}:{}/{vhost}", endpoint.host, endpoint.port);
    ExternalUrls { amqp: Secret::new(amqp), management: None }
}

async fn reach(urls: ExternalUrls) -> Result<Broker, BrokerError> {
    let options = StartOptions { external: Some(urls), ..options("external") };
    broker::start(&plan(Provider::External, Network::Auto), &options).await
}

async fn assert_guest_is_refused(broker: &Broker) {
    let error = reach(urls(broker.endpoint(), "guest", "guest", "")).await.unwrap_err();
    assert!(matches!(error, BrokerError::LoginRefused { .. }), "{error}");
    let own = broker.management().unwrap().endpoint().clone();
    let guest = ManagementEndpoint { user: "guest".to_owned(), password: Secret::new("guest"), ..own };
    let error = Management::new(guest, None).unwrap().overview().await.unwrap_err();
    assert!(matches!(error, ManagementError::Refused { status: 401, .. }), "{error}");
}

fn assert_no_password(broker: &Broker) {
    let (_, password) = login(broker);
    assert_eq!(password.len(), 32);
    let shown = format!("{broker:?} {:?} {}", broker.facts(), broker.endpoint());
    assert!(!shown.contains(&password), "{shown}");
}

async fn connect(broker: &Broker) -> Connection {
    Connection::connect(&rig::url(broker), ConnectionProperties::default()).await.expect("connect to the broker")
}

/// Declares a queue, and publishes to it with confirms.
async fn fill(connection: &Connection, queue: &str, arguments: &[(&str, AMQPValue)], messages: usize) {
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        table.insert((*key).into(), value.clone());
    }
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, table).await.unwrap();
    for _ in 0..messages {
        let options = BasicPublishOptions::default();
        let confirm =
            channel.basic_publish("".into(), queue.into(), options, b"hop", BasicProperties::default()).await.unwrap();
        confirm.await.unwrap();
    }
}

/// Asks until it holds; the broker reports with a delay.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(20), "never saw {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn assert_counts_and_depths(broker: &Broker) {
    let management = broker.management().unwrap();
    let connection = connect(broker).await;
    let (classic, quorum) = (AMQPValue::LongString("classic".into()), AMQPValue::LongString("quorum".into()));
    let (few, soon) = (AMQPValue::LongInt(4), AMQPValue::LongInt(1));
    for (kind, value) in [("classic", classic), ("quorum", quorum)] {
        let kept = format!("kept.{kind}");
        fill(&connection, &kept, &[("x-queue-type", value.clone())], 10).await;
        fill(
            &connection,
            &format!("short.{kind}"),
            &[("x-queue-type", value.clone()), ("x-max-length", few.clone())],
            10,
        )
        .await;
        fill(&connection, &format!("brief.{kind}"), &[("x-queue-type", value), ("x-message-ttl", soon.clone())], 10)
            .await;
        eventually(&format!("ten ready in {kept}"), async || {
            management.queues().await.unwrap().iter().any(|queue| queue.name == kept && queue.ready == 10)
        })
        .await;
        // Without a dead-letter exchange: removed by rule, and counted.
        eventually(&format!("what {kind} queues dropped"), async || {
            let counters = management.counters().await.unwrap();
            counters[&format!("dropped.maxlen.{kind}")] == 6 && counters[&format!("dropped.expired.{kind}")] == 10
        })
        .await;
    }
    let counters = management.counters().await.unwrap();
    assert_eq!((counters["published"], counters["confirmed"], counters["delivered"]), (60, 60, 0));
    assert!(management.exchanges().await.unwrap().iter().any(|exchange| exchange.name == "amq.topic"));

    management.purge("kept.classic").await.unwrap();
    eventually("an empty queue after the purge", async || {
        management.queues().await.unwrap().iter().any(|queue| queue.name == "kept.classic" && queue.ready == 0)
    })
    .await;
    eventually("our connection", async || management.connections().await.unwrap().len() == 1).await;
    assert_eq!(management.close_connections().await.unwrap(), 1);
    eventually("no connection", async || management.connections().await.unwrap().is_empty()).await;
    assert!(!connection.status().connected());
}

async fn assert_samples(broker: &Broker, with_processes: bool) {
    let mut sampler = broker.sampler();
    sampler.sample().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sample = sampler.sample().await;
    assert!(sample.queues.is_some() && sample.connections.is_some(), "{sample:?}");
    assert!(sample.publish_per_s.is_some() && sample.deliver_per_s.is_some(), "{sample:?}");
    assert!(sample.memory_bytes.is_some_and(|bytes| bytes > 30_000_000), "{sample:?}");
    assert_eq!(sample.cpu_cores.is_some(), with_processes, "{sample:?}");
}

/// Frozen: nothing answers, and nothing is lost. Killed: back on the same ports.
async fn assert_pause_and_kill(broker: &Broker) {
    let node = &broker.nodes()[0];
    node.pause().await.unwrap();
    // A stop signal reaches all threads of a busy machine's processes a moment later.
    eventually("a paused broker's silence", async || {
        let answer = tokio::time::timeout(Duration::from_secs(1), broker.management().unwrap().overview()).await;
        !matches!(answer, Ok(Ok(_)))
    })
    .await;
    node.unpause().await.unwrap();
    broker.wait_ready(Duration::from_secs(60)).await.unwrap();
    node.kill().await.unwrap();
    assert!(broker.management().unwrap().overview().await.is_err(), "a killed broker answered");
    node.start().await.unwrap();
    broker.wait_ready(Duration::from_secs(60)).await.unwrap();
    // A queue is told of once its process is up again, a moment after the node.
    eventually("the quorum queue after the restart", async || {
        let queues = broker.management().unwrap().queues().await;
        queues.is_ok_and(|queues| queues.iter().any(|queue| queue.name == "kept.quorum"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_on_the_hosts_network() {
    let watcher = Watcher::start();
    let mut plan = plan(Provider::Container, Network::Host);
    plan.plugins = vec!["rabbitmq_stream".to_owned()];
    let broker = start(&plan, "host").await;
    let facts = broker.facts();
    assert_eq!((facts.provider.as_str(), facts.network.as_deref()), ("container", Some("host")));
    assert!(facts.image_id.as_deref().is_some_and(|id| id.starts_with("sha256:")), "{facts:?}");
    assert!(facts.version.starts_with(|c: char| c.is_ascii_digit()), "{facts:?}");
    assert!(facts.plugins.contains(&"rabbitmq_stream".to_owned()), "{facts:?}");
    assert_eq!(facts.nodes, [broker.nodes()[0].name.clone()]);
    let files = facts.configuration.get("file_descriptors").and_then(|files| files.parse::<u64>().ok());
    assert!(files.is_some_and(|files| files > 1024), "what PAM leaves a login is too few: {files:?}");
    assert_no_password(&broker);
    assert_guest_is_refused(&broker).await;
    assert_counts_and_depths(&broker).await;
    assert_samples(&broker, true).await;
    let status = broker.nodes()[0].exec(&["rabbitmqctl", "cluster_status"]).await.unwrap();
    assert_eq!(status.code, 0, "{}", status.text);
    assert_pause_and_kill(&broker).await;
    assert_samples(&broker, true).await;
    let node = broker.nodes()[0].name.clone();
    broker.stop().await.unwrap();
    assert_eq!(containers("host"), Vec::<String>::new());
    assert_eq!(watcher.finish(&node), Vec::<String>::new(), "listened beyond loopback");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_published_ports() {
    let watcher = Watcher::start();
    let port = free_port();
    let mut plan = plan(Provider::Container, Network::Published);
    (plan.amqp_port, plan.cpus, plan.memory_bytes) = (Some(port), Some(1.5), Some(1 << 30));
    let broker = start(&plan, "published").await;
    assert_eq!(broker.endpoint().port, port);
    assert_eq!(broker.facts().network.as_deref(), Some("published"));
    let format = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.Init}}";
    let inspected =
        Command::new("docker").args(["inspect", "-f", format, &containers("published")[0]]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&inspected.stdout).trim(), "1073741824 1500000000 true");
    assert_no_password(&broker);
    assert_guest_is_refused(&broker).await;
    assert!(broker.management().unwrap().counters().await.is_some());

    let again = broker::start(&plan, &options("taken")).await.unwrap_err();
    assert!(matches!(again, BrokerError::PortTaken { key: "amqp_port", .. }), "{again}");
    assert!(again.to_string().contains(&port.to_string()) && !again.is_bad_input());
    // Not stopped, as after a panic.
    drop(broker);
    assert_eq!(containers("published"), Vec::<String>::new());
    // Docker's proxy for a port is started with it.
    assert_eq!(watcher.finish(&format!("-host-port {port} ")), Vec::<String>::new(), "listened beyond loopback");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_server_and_its_unwelcome_visitors() {
    let watcher = Watcher::start();
    let broker = start(&plan(Provider::Process, Network::Auto), "process").await;
    assert_eq!((broker.facts().provider.as_str(), broker.facts().image.as_deref()), ("process", None));
    assert_no_password(&broker);
    assert_guest_is_refused(&broker).await;

    let (user, password) = login(&broker);
    let wrong = reach(urls(broker.endpoint(), &user, "hush-hush-Zq7Xw", "")).await.unwrap_err();
    assert!(matches!(wrong, BrokerError::LoginRefused { .. }) && !wrong.is_bad_input(), "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains("Zq7Xw"), "{wrong}");
    let vhost = reach(urls(broker.endpoint(), &user, &password, "nowhere")).await.unwrap_err();
    assert!(matches!(&vhost, BrokerError::VhostRefused { vhost, .. } if vhost == "nowhere"), "{vhost}");
    assert!(!format!("{vhost} {vhost:?}").contains(&password), "{vhost}");

    let mut good = urls(broker.endpoint(), &user, &password, "");
    good.management = Some(Secret::new(broker.management().unwrap().endpoint().base_url.clone()));
    let external = reach(good).await.unwrap();
    assert_eq!(external.facts().version, broker.facts().version);
    assert!(external.management().unwrap().counters().await.is_none(), "its Prometheus port is not known");
    assert!(matches!(external.nodes()[0].pause().await, Err(BrokerError::Unsupported { .. })));
    assert!(external.sampler().sample().await.memory_bytes.is_some());
    external.stop().await.unwrap();

    fill(&connect(&broker).await, "kept.quorum", &[("x-queue-type", AMQPValue::LongString("quorum".into()))], 3).await;
    assert_samples(&broker, true).await;
    let status = broker.nodes()[0].exec(&["rabbitmqctl", "cluster_status"]).await.unwrap();
    assert_eq!(status.code, 0, "{}", status.text);
    assert_pause_and_kill(&broker).await;
    let node = broker.nodes()[0].name.clone();
    broker.stop().await.unwrap();
    assert_eq!(processes(&node), Vec::<String>::new());
    assert_eq!(watcher.finish(&node), Vec::<String>::new(), "listened beyond loopback");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Processes of a node, the port mapper among them, by what they were started with.
fn processes(node: &str) -> Vec<String> {
    let wanted = format!("RABBITMQ_NODENAME={node}");
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let environ = String::from_utf8_lossy(&std::fs::read(path.join("environ")).ok()?).into_owned();
            environ.split('\0').any(|entry| entry == wanted).then(|| path.display().to_string())
        })
        .collect()
}

#[tokio::test]
async fn nothing_listens() {
    let urls =
        ExternalUrls { amqp: Secret::new(format!("amqp://me:hush-hush@127.0.0.1:{}", free_port())), management: None };
    let error = reach(urls).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unreachable { .. }) && !error.is_bad_input(), "{error}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
}

const OWNED: &str = "LURCHER_TEST_OWNED_PROVIDER";

/// Not a test by itself: the process that [`what_a_killed_owner_leaves_is_found`] kills.
#[tokio::test(flavor = "multi_thread")]
async fn owner() {
    let Ok(provider) = std::env::var(OWNED) else { return };
    let provider = if provider == "process" { Provider::Process } else { Provider::Container };
    let broker = start(&plan(provider, Network::Auto), "owned").await;
    println!("\nowned {}", broker.nodes()[0].name);
    std::future::pending::<()>().await;
}

async fn assert_killed_owner_is_noticed(provider: &str) {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner", "--nocapture"])
        .env(OWNED, provider)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let node = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("owned ").map(str::to_owned)).expect(HINT);
    let ours = async || broker::leftovers().await.into_iter().filter(|left| left.pid == owner.id()).collect::<Vec<_>>();
    assert_eq!(ours().await, [], "its owner still runs");
    assert!(!processes(&node).is_empty());
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(owner.id().cast_signed()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    // Waited for afterwards: an owner that is dead and not yet waited for is gone too.
    eventually("the leftover", async || ours().await.len() == 1).await;
    let left = ours().await;
    println!("{}", left[0]);
    broker::remove(&left[0]).await.unwrap();
    assert_eq!(ours().await, []);
    assert_eq!(processes(&node), Vec::<String>::new());
    owner.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_owner_leaves_is_found() {
    assert_killed_owner_is_noticed("container").await;
    assert_killed_owner_is_noticed("process").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkup_finds_what_these_tests_need() {
    let image = plan(Provider::Auto, Network::Auto).image;
    let findings = broker::checkup(&image).await;
    for what in ["Docker", "rabbitmq-server", "ports", &format!("image {image}")] {
        let finding = findings.iter().find(|finding| finding.what == *what).expect(what);
        assert!(finding.ok, "{finding:?}\n{HINT}");
    }
    assert!(findings.iter().all(|finding| finding.ok == finding.fix.is_none()), "{findings:?}");
}
