//! Carries the cases out: one broker for all of them, for each a proxy of its own and a run like any other. Uses
//! `scenario`, `plan`, `endpoint`, `broker`, `proxy`, `run`, `record`, `analysis` and `report`.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::{mpsc, watch};

use super::case::{Case, client_name};
use super::compare::{Row, compare};
use super::error::SelftestError;
use crate::analysis;
use crate::broker::{self, Broker, ExternalUrls, StartOptions};
use crate::endpoint::{Credentials, Endpoint, Secret};
use crate::plan::{self, BrokerPlan, ClientKind};
use crate::proxy::{Direction, Disturbance, Proxy, What};
use crate::record::progress::Progress;
use crate::record::{Completeness, LOG_FILE, Phase, Record, ScenarioFacts, create};
use crate::report;
use crate::run::{self, Job};
use crate::scenario;

/// Events of a run that may wait.
const EVENTS: usize = 64;

/// What to do, and on which broker.
#[derive(Debug, Clone)]
pub struct Options {
    /// The broker.
    pub broker: BrokerPlan,
    /// URLs with their passwords, which the plan does not hold, of a broker that is already there.
    pub external: Option<ExternalUrls>,
    /// Clients, each of which runs all cases.
    pub clients: Vec<ClientKind>,
    /// Cases.
    pub cases: Vec<Case>,
    /// Where the numbers come from.
    pub seed: u64,
    /// Where the scenarios and records of the runs go.
    pub out: PathBuf,
    /// Whether they stay there, so that they are to be read.
    pub keep: bool,
}

/// What is told while it goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something worth a line.
    Note(String),
    /// The broker is there: product and version.
    Ready(String),
    /// A case begins.
    Begins(ClientKind, Case),
    /// A case is over.
    Row(Row),
}

/// How the cases ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// Those that were carried out.
    pub rows: Vec<Row>,
    /// What kept one from being carried out, and the rest with it. That something differs is no error.
    pub error: Option<SelftestError>,
}

/// Carries out all cases on one broker, which is removed when this returns, and tells each row as it comes.
pub async fn run(options: &Options, told: &mpsc::Sender<Event>, interrupt: watch::Receiver<bool>) -> Ended {
    let mut rows = Vec::new();
    let broker = match start_broker(options, told, &interrupt).await {
        Ok(broker) => broker,
        Err(error) => return Ended { rows, error: Some(error) },
    };
    let carried_out = Stage { options, broker: &broker, told, interrupt }.all(&mut rows).await;
    let stopped = broker.stop().await.map_err(SelftestError::from);
    Ended { rows, error: carried_out.and(stopped).err() }
}

/// Starts the broker, or gives that up at an interrupt; then nothing of it is left when this returns.
async fn start_broker(
    options: &Options,
    told: &mpsc::Sender<Event>,
    interrupt: &watch::Receiver<bool>,
) -> Result<Broker, SelftestError> {
    let start = StartOptions {
        external: options.external.clone(),
        run_id: format!("{:08x}", rand::random::<u32>()),
        // A listener that is slow misses a line; nothing depends on it.
        note: &|line| drop(told.try_send(Event::Note(line))),
    };
    let mut interrupt = interrupt.clone();
    let interrupted = async {
        if interrupt.wait_for(|interrupted| *interrupted).await.is_err() {
            // Nobody can interrupt any more.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        started = broker::start(&options.broker, &start) => Ok(started?),
        () = interrupted => Err(SelftestError::Interrupted),
    }
}

/// What all cases share.
struct Stage<'a> {
    options: &'a Options,
    broker: &'a Broker,
    told: &'a mpsc::Sender<Event>,
    interrupt: watch::Receiver<bool>,
}

impl Stage<'_> {
    /// Adds a row for each case, up to one that cannot be carried out.
    async fn all(&self, rows: &mut Vec<Row>) -> Result<(), SelftestError> {
        let upstream = address(self.broker.endpoint()).await?;
        let facts = self.broker.facts();
        self.tell(Event::Ready(format!("{} {}", facts.product, facts.version))).await;
        for client in &self.options.clients {
            for case in &self.options.cases {
                if *self.interrupt.borrow() {
                    return Err(SelftestError::Interrupted);
                }
                self.tell(Event::Begins(*client, *case)).await;
                let proxy = Proxy::start(upstream, case.seed(self.options.seed, *client)).await?;
                let row = self.one(case, *client, &proxy).await;
                proxy.stop().await;
                let row = row?;
                self.tell(Event::Row(row.clone())).await;
                rows.push(row);
            }
        }
        Ok(())
    }

    async fn tell(&self, event: Event) {
        // A listener that is gone listens no more; the cases go on.
        let _ = self.told.send(event).await;
    }

    /// One case through `proxy`.
    async fn one(&self, case: &Case, client: ClientKind, proxy: &Proxy) -> Result<Row, SelftestError> {
        let seed = case.seed(self.options.seed, client);
        let orders = case.orders(seed);
        let begin = |what| proxy.begin(Disturbance::of_all(what));
        let begun: Vec<_> = orders.iter().map(|order| begin(order.sabotage.what(order.picks))).collect();
        let (record, path) = self.conduct(case, client, proxy).await?;
        let mut prediction = case.prediction(&orders);
        for (order, id) in orders.iter().zip(begun) {
            prediction.hit(order, proxy.done(id), &proxy.hits(id));
        }
        let row = compare(case, client, &prediction, &record);
        // What is to be looked at has all its files.
        if self.options.keep || !row.is_exact() {
            report::write_all(&record, &path)?;
        }
        Ok(Row { record: Some(path), ..row })
    }

    /// Runs a case's scenario; its record as it reads back from disk, and where that is.
    async fn conduct(
        &self,
        case: &Case,
        client: ClientKind,
        proxy: &Proxy,
    ) -> Result<(Record, PathBuf), SelftestError> {
        let (name, started_at) = (case.name, jiff::Timestamp::now());
        let id = format!("{:08x}", rand::random::<u32>());
        let (mut plan, scenario) = self.prepare(case, client)?;
        let external = self.urls(proxy)?;
        plan.broker.use_external(external.amqp.reveal(), external.management.as_ref().map(Secret::reveal));
        let folder = create(&self.options.out, &plan.name, started_at, &id)?;
        let log_path = folder.path().join(LOG_FILE);
        let log = std::fs::File::create(&log_path);
        let log = log.map_err(|source| SelftestError::Write { path: log_path.clone(), source })?;
        let (progress, events) = mpsc::channel(EVENTS);
        let job = Job {
            plan: Arc::new(plan),
            scenario,
            id,
            started_at,
            external: Some(external),
            store_urls: BTreeMap::new(),
            postgres_image: None,
            log: Box::new(BufWriter::new(log)),
            log_path,
            progress,
            interrupt: self.interrupt.clone(),
        };
        let (ran, ()) = tokio::join!(run::run(job), slow_down(case, proxy, events));
        let mut record = match ran {
            Ok(record) if record.completeness == Completeness::Interrupted => return Err(SelftestError::Interrupted),
            Ok(record) => record,
            Err(run::RunError::Interrupted) => return Err(SelftestError::Interrupted),
            Err(source) => return Err(SelftestError::Run { case: name, source }),
        };
        record.verdict = Some(analysis::judge(&record));
        record.write(&folder.path())?;
        let path = folder.finish()?;
        Ok((Record::read(&path)?, path))
    }

    /// A case's scenario, written down and read as any other.
    fn prepare(&self, case: &Case, client: ClientKind) -> Result<(plan::Plan, ScenarioFacts), SelftestError> {
        let refused = |reason: String| SelftestError::Scenario { case: case.name, reason };
        let folder = self.options.out.join("scenarios");
        let path = folder.join(format!("{}-{}.toml", case.name, client_name(client)));
        let text = case.scenario(case.seed(self.options.seed, client), client);
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, text));
        written.map_err(|source| SelftestError::Write { path: path.clone(), source })?;
        let loaded = scenario::load(&path, &[], &|_| None).map_err(|wrong| refused(wrong.render(false)))?;
        let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        let plan = plan::resolve(&loaded.scenario, &no_file);
        let plan = plan.map_err(|wrong| refused(format!("{wrong:?}")))?;
        Ok((plan, ScenarioFacts::of(&path, loaded.source.text, Vec::new())))
    }

    /// How a run reaches the broker: AMQP through the proxy, the management API past it.
    fn urls(&self, proxy: &Proxy) -> Result<ExternalUrls, SelftestError> {
        let endpoint = self.broker.endpoint();
        let given = self.options.external.as_ref().and_then(|urls| urls.management.clone());
        let own = || self.broker.management().map(|management| Secret::new(&management.endpoint().base_url));
        Ok(ExternalUrls { amqp: url(endpoint, proxy.address())?, management: given.or_else(own) })
    }
}

/// Listens to a run, and makes both ways longer while its load lasts: connections are opened, and queues read, without.
async fn slow_down(case: &Case, proxy: &Proxy, mut events: mpsc::Receiver<Progress>) {
    let mut begun = None;
    while let Some(event) = events.recv().await {
        match (event, case.latency(), begun) {
            (Progress::Phase(Phase::Warmup), Some(delay), None) => {
                let what = What::Latency { direction: Direction::Both, delay, jitter: std::time::Duration::ZERO };
                begun = Some(proxy.begin(Disturbance::of_all(what)));
            }
            (Progress::Phase(Phase::Heal), _, Some(id)) => proxy.end(id),
            _ => {}
        }
    }
}

fn unreadable(endpoint: &Endpoint) -> SelftestError {
    SelftestError::Unreadable { endpoint: endpoint.to_string() }
}

/// The endpoint's URL, but for its address.
fn url(endpoint: &Endpoint, at: SocketAddr) -> Result<Secret, SelftestError> {
    let Credentials::Plain { user, password } = &endpoint.credentials else { return Err(unreadable(endpoint)) };
    let [user, password, vhost] =
        [user, password.reveal(), &endpoint.vhost].map(|text| utf8_percent_encode(text, NON_ALPHANUMERIC));
    let heartbeat = endpoint.heartbeat.map(|every| format!("?heartbeat={}", every.as_secs())).unwrap_or_default();
    Ok(Secret::new(format!("amqp://{user}:{password}@{at}/{vhost}{heartbeat}")))
}

/// Where the broker listens.
async fn address(endpoint: &Endpoint) -> Result<SocketAddr, SelftestError> {
    if endpoint.tls.is_some() {
        return Err(unreadable(endpoint));
    }
    let failed = |reason: String| SelftestError::Address { endpoint: endpoint.to_string(), reason };
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| failed(error.to_string()))?.collect();
    // A broker on `localhost` listens on 127.0.0.1 rather than on ::1.
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| failed("there is none".to_owned()))
}
