//! The conductor: the only room that knows the broker, the fleets and the faults. Phases in order.
//!
//! May use every room up to `record`. Prints nothing: what it tells goes to a listener.

mod audit;
mod breaking;
mod chains;
mod conductor;
mod costs;
mod drain;
mod error;
mod evidence;
mod fates;
mod fleets;
mod host;
mod latencies;
mod recovery;
mod redrive;
mod replay;
mod routes;
mod sampler;
mod stores;
mod threads;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Semaphore, mpsc, watch as channel};

use crate::broker::{self, Broker, ExternalUrls, StartOptions};
use crate::endpoint::Secret;
use crate::faults::Drivers;
use crate::fleet::{Deaths, Shared, Slot, Stage, Tracer};
use crate::latency::IntervalLog;
use crate::ledger::Ledger;
use crate::ledger::chain::Chain;
use crate::ledger::fates::Fates;
use crate::ledger::incidents::Incidents;
use crate::plan::{ClientKind, FaultKind, Plan};
use crate::record::progress::Progress;
use crate::record::{Completeness, FaultRow, Phase, Record, RedriveRow, ReplayRow, ScenarioFacts};
use crate::topology::{self, Declared};

use breaking::Breakers;
use conductor::Conductor;
use costs::Costs;
pub use error::RunError;
use evidence::{Course, Evidence};
use fleets::Fleets;
use routes::{PlanDestinations, PlanRoutes};
use sampler::{LogWriter, Sampled, Sampler};
use stores::Stores;
use watch::Watch;

/// How long members may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often connections are asked whether the broker has blocked them.
const LISTEN_EVERY: Duration = Duration::from_millis(250);

/// What to run, and who listens.
pub struct Job {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The scenario that it came from.
    pub scenario: ScenarioFacts,
    /// Names the record.
    pub id: String,
    /// Wall-clock time of the start, UTC.
    pub started_at: jiff::Timestamp,
    /// URLs with their passwords, which the plan does not hold, where it says that the broker is already there.
    pub external: Option<ExternalUrls>,
    /// URLs of PostgreSQL servers that are already there, with their passwords, by the fleet whose store is there.
    pub store_urls: BTreeMap<String, Secret>,
    /// Image of a container for a PostgreSQL server of our own; none: the machine's, else a container of the default.
    pub postgres_image: Option<String>,
    /// Where `latency.hlog` goes.
    pub log: LogWriter,
    /// What a person knows that by.
    pub log_path: PathBuf,
    /// Who listens. A listener that is slow misses live figures, nothing else.
    pub progress: mpsc::Sender<Progress>,
    /// Turns true when the run is to be cut short.
    pub interrupt: channel::Receiver<bool>,
}

/// Carries out a plan on a broker. Whatever it started is removed when it returns.
///
/// # Errors
/// What kept it from sending its first message, or from writing its log. What goes wrong later is in the record.
pub async fn run(job: Job) -> Result<Record, RunError> {
    let mut course = Course::new(&job);
    course.enter(Phase::Broker).await;
    let record = with_broker(job, &mut course).await;
    course.tell(Progress::Ended).await;
    record
}

async fn with_broker(job: Job, course: &mut Course) -> Result<Record, RunError> {
    let broker = start_broker(&job).await?;
    let record = match interrupted(&job.interrupt) {
        true => Err(RunError::Interrupted),
        false => on_broker(job, &broker, course).await,
    };
    let stopped = broker.stop().await;
    let record = record?;
    stopped?;
    Ok(record)
}

/// Starts the broker, or gives that up at an interrupt; then nothing of it is left when this returns.
async fn start_broker(job: &Job) -> Result<Broker, RunError> {
    let note = noting(job);
    let options = StartOptions { external: job.external.clone(), run_id: job.id.clone(), note: &note };
    tokio::select! {
        started = broker::start(&job.plan.broker, &options) => Ok(started?),
        () = interruption(&job.interrupt) => Err(RunError::Interrupted),
    }
}

/// Tells what is being started. A listener that is slow misses a line; nothing depends on it.
fn noting(job: &Job) -> impl Fn(String) + Send + Sync + use<> {
    let listener = job.progress.clone();
    move |line| drop(listener.try_send(Progress::Note(line)))
}

/// Waits for an interrupt.
async fn interruption(interrupt: &channel::Receiver<bool>) {
    if interrupt.clone().wait_for(|interrupted| *interrupted).await.is_err() {
        // Nobody can interrupt any more.
        std::future::pending::<()>().await;
    }
}

/// Journals what connections say of themselves, for ever. Each notice has its own time: nothing hurries.
async fn listen(slots: Vec<Arc<Slot>>) {
    let mut ticks = tokio::time::interval(LISTEN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        slots.iter().for_each(|slot| slot.listen());
    }
}

fn interrupted(interrupt: &channel::Receiver<bool>) -> bool {
    *interrupt.borrow()
}

/// Everything that a run shares while its fleets are up.
struct Run<'a> {
    plan: Arc<Plan>,
    broker: &'a Broker,
    shared: Arc<Shared>,
    stage: channel::Sender<Stage>,
    routes: Arc<PlanRoutes>,
    destinations: Arc<PlanDestinations>,
    watch: Arc<Watch>,
    interrupt: channel::Receiver<bool>,
}

async fn on_broker(mut job: Job, broker: &Broker, course: &mut Course) -> Result<Record, RunError> {
    let (is, of) = (&broker.facts().version, &job.plan.broker);
    if let Some(wanted) = of.version.clone().filter(|_| !of.is_for(is)) {
        return Err(RunError::Release { wanted, is: is.clone() });
    }
    let log = std::mem::replace(&mut job.log, Box::new(std::io::sink()));
    let run = Run::new(&job, broker, course);
    // Given up at an interrupt, what was opened by then is removed as it is dropped.
    let stores = tokio::select! {
        stores = Stores::open(&job, run.shared.run, &run.destinations) => stores?,
        () = run.interruption() => return Err(RunError::Interrupted),
    };
    course.enter(Phase::Topology).await;
    let drivers = Drivers::start(&run.plan, broker, fleets::client(ClientKind::Wire)).await?;
    let mut declared = Declared::default();
    let declaring = tokio::select! {
        done = topology::declare(broker.endpoint(), &run.plan.topology, &mut declared) => done.map_err(RunError::from),
        () = run.interruption() => Err(RunError::Interrupted),
    };
    if let Err(error) = declaring {
        topology::delete(broker.endpoint(), &declared).await;
        drivers.stop().await;
        return Err(error);
    }
    let counters_before = run.counters().await;
    let mut fleets = Fleets::new(broker.endpoint())?;
    let connected = tokio::select! {
        connected = fleets.connect(&run.plan, (&drivers, &stores), &run.shared, &run.destinations) => connected,
        () = run.interruption() => Err(RunError::Interrupted),
    };
    let outcome = match connected {
        Ok(()) => {
            let names = run.plan.topology.queues.iter().map(|queue| queue.name.clone()).collect();
            let watching = run.watch.watch(broker, &run.shared.clock, &names);
            let costs = Costs::new(&run.shared, &run.plan, &fleets);
            let slots = fleets.slots().cloned().collect();
            tokio::select! {
                biased;
                outcome = run.load_to_audit(&mut fleets, (&drivers, &costs), log, course) => outcome,
                // Those who watch never end by themselves.
                () = watching => Err(RunError::Interrupted),
                () = listen(slots) => Err(RunError::Interrupted),
                () = costs.watch(), if !run.plan.faults.is_empty() => Err(RunError::Interrupted),
            }
        }
        Err(error) => Err(error),
    };
    let _ = run.stage.send(Stage::Leave);
    fleets.left(LEAVE_WITHIN).await;
    fleets.close().await;
    drivers.stop().await;
    let effects = if outcome.is_ok() { stores.read(run.interruption()).await } else { Vec::new() };
    for error in stores.close().await {
        course.note(format!("could not clean up: {error}")).await;
    }
    let has_restarted = outcome.as_ref().is_ok_and(|(_, ending)| ending.has_restarted_broker());
    let counters = if has_restarted { None } else { run.counters_since(counters_before).await };
    // A broker of our own goes with all that is on it; on somebody else's, what we made goes now.
    if broker.facts().provider == "external" {
        for error in topology::delete(broker.endpoint(), &declared).await {
            course.note(format!("could not clean up: {error}")).await;
        }
    }
    let (sampled, ending) = outcome?;
    if let Some(error) = sampled.log_error {
        return Err(RunError::Log { path: job.log_path, source: error });
    }
    Ok(Evidence { job: &job, run: &run, fleets: &fleets, sampled, ending, counters, effects }.record(course))
}

/// How the load and what follows it went.
struct Ending {
    completeness: Completeness,
    /// Whether every queue was read to its end.
    audited: bool,
    /// When the load ended, in microseconds on the run's clock.
    load_ended_us: u64,
    /// Processor time of this process during the measured load, in microseconds.
    load_cpu_us: u64,
    /// What became of the faults.
    faults: Vec<FaultRow>,
    /// Dead letters that were sent back.
    redrives: Vec<RedriveRow>,
    /// Past messages that were published once more.
    replays: Vec<ReplayRow>,
    /// What all fleets did over the run, where there were faults.
    seen: recovery::Looks,
}

impl Ending {
    /// Whether a fault had the broker start anew, so that its own counters began at 0 again.
    fn has_restarted_broker(&self) -> bool {
        let restarts = [FaultKind::NodeKill, FaultKind::NodeStop].map(|kind| kind.to_string());
        self.faults.iter().any(|row| row.started_us.is_some() && restarts.contains(&row.kind))
    }
}

impl<'a> Run<'a> {
    fn new(job: &Job, broker: &'a Broker, course: &Course) -> Self {
        let plan = Arc::clone(&job.plan);
        let destinations = Arc::new(PlanDestinations::new(&plan));
        let routes = Arc::new(PlanRoutes::new(&plan, &destinations));
        let run: u32 = rand::random();
        let by_plan: Arc<dyn crate::ledger::Routes> = Arc::clone(&routes) as _;
        let ledger = Ledger::new(run, plan.publisher_count(), destinations.destinations.clone(), by_plan)
            .with_effects(stores::destinations(&plan, &destinations));
        let (stage, receiver) = channel::channel(Stage::Ready);
        let shared = Arc::new(Shared {
            ledger: Arc::new(ledger),
            clock: Arc::clone(&course.clock),
            stage: receiver,
            incidents: Arc::new(Incidents::default()),
            load: plan.load.clone(),
            publishers_ready: AtomicU32::new(0),
            publishers_busy: AtomicU32::new(0),
            publishers_sending: AtomicU32::new(0),
            deaths: Deaths::default(),
            fates: Fates::default(),
            chain: Chain::default(),
            tracer: Tracer::new(&plan),
            has_new_ids: plan.replays.iter().any(|replay| replay.new_ids),
            run,
            trouble: OnceLock::new(),
        });
        let watch = Arc::new(Watch::default());
        Self { plan, broker, shared, stage, routes, destinations, watch, interrupt: job.interrupt.clone() }
    }

    /// The phases from the first message to the last.
    async fn load_to_audit(
        &self,
        fleets: &mut Fleets,
        (drivers, costs): (&Drivers<'_>, &Costs),
        log: LogWriter,
        course: &mut Course,
    ) -> Result<(Sampled, Ending), RunError> {
        let wall = SystemTime::now();
        let unix_us = wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, crate::units::micros);
        self.shared.clock.begin(Instant::now(), unix_us);
        let (phases, receiver) = mpsc::channel(8);
        let queue_name = |queue: usize| self.plan.topology.queues[queue].name.clone();
        let log = IntervalLog::begin(log, wall);
        let progress = course.listener();
        let sampler = Sampler::new(&self.shared, &self.watch, fleets, &queue_name, log, progress, self.planned());
        course.enter(Phase::Warmup).await;
        let sampling = tokio::spawn(sampler.run(receiver));
        course.sample_phases(phases);
        let (heal, healing) = channel::channel(false);
        let breakers = Breakers { drivers, lives: fleets.all_lives() };
        let (progress, begun_first) = (course.listener(), Semaphore::new(0));
        let conductor = Conductor { run: self, breakers: &breakers, costs, progress, begun_first };
        let load = async {
            conductor.ready().await;
            self.warm_up_and_load(fleets, heal, course).await
        };
        let (mut faults, (load_ended_us, load_cpu_us)) = tokio::join!(conductor.carry_out(healing), load);
        let (redrives, replays) = self.drain(fleets, course).await;
        let (completeness, audited) = self.wind_up(fleets, course).await;
        let seen = costs.close(&mut faults);
        course.end_sampling();
        let sampled = sampling.await.unwrap_or_default();
        let ending = Ending { completeness, audited, load_ended_us, load_cpu_us, faults, redrives, replays, seen };
        Ok((sampled, ending))
    }

    /// Warms up, loads, and has the faults healed; when the load ended on the run's clock, and the processor time that
    /// it took, both in microseconds.
    async fn warm_up_and_load(
        &self,
        fleets: &mut Fleets,
        heal: channel::Sender<bool>,
        course: &mut Course,
    ) -> (u64, u64) {
        let _ = self.stage.send(Stage::Load);
        self.until(self.plan.load.warmup_us).await;
        let load_cpu = host::cpu_time();
        course.enter(Phase::Load).await;
        self.load(fleets).await;
        let load_ended_us = self.shared.clock.now_us().min(self.plan.load.end_us().unwrap_or(u64::MAX));
        let load_cpu_us = crate::units::micros(host::cpu_time().saturating_sub(load_cpu));
        course.enter(Phase::Heal).await;
        let _ = heal.send(true);
        (load_ended_us, load_cpu_us)
    }

    /// Audits; whether the run came to its end, and whether every queue was read to its end.
    async fn wind_up(&self, fleets: &mut Fleets, course: &mut Course) -> (Completeness, bool) {
        let auditor = self.auditor();
        course.enter(Phase::Audit).await;
        let _ = self.stage.send(Stage::Leave);
        let late = fleets.left(LEAVE_WITHIN).await;
        if let Some(reason) = self.trouble(fleets) {
            return (Completeness::Aborted { reason }, false);
        }
        if late > 0 {
            let reason = format!("{late} fleet members did not leave within {LEAVE_WITHIN:?}");
            return (Completeness::Aborted { reason }, false);
        }
        if interrupted(&self.interrupt) {
            return (Completeness::Interrupted, false);
        }
        let read = tokio::select! {
            read = auditor.read_all(fleets) => read,
            () = self.interruption() => return (Completeness::Interrupted, false),
        };
        match read {
            Ok(true) => {
                auditor.note_held(self.broker).await;
                (Completeness::Complete, true)
            }
            Ok(false) => {
                let reason = "the queues could not be read to their end after the drain".to_owned();
                (Completeness::Aborted { reason }, false)
            }
            Err(error) => {
                let reason = format!("the queues could not be read after the drain: {error}");
                (Completeness::Aborted { reason }, false)
            }
        }
    }

    /// Why the run cannot go on, where it cannot.
    fn trouble(&self, fleets: &mut Fleets) -> Option<String> {
        let panicked = || fleets.has_panicked().then(|| "a fleet member panicked".to_owned());
        self.shared.trouble.get().cloned().or_else(panicked)
    }

    /// The measured load: until its time is over, all messages are sent, a condition to stop holds, an interrupt, or
    /// something that nothing mends.
    async fn load(&self, fleets: &mut Fleets) {
        let has_publishers = self.plan.leaders().next().is_some();
        let mut stop = StopWatch::default();
        loop {
            let now_us = self.shared.clock.now_us();
            let sent = has_publishers && self.shared.publishers_sending.load(Ordering::Acquire) == 0;
            // The last sends of the schedule may wake a moment late.
            let over =
                self.plan.load.end_us().is_some_and(|end| now_us >= end.saturating_add(self.plan.load.max_lag_us));
            if sent || over || interrupted(&self.interrupt) || stop.holds(self, now_us) {
                return;
            }
            if self.trouble(fleets).is_some() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until `at_us` on the run's clock, or an interrupt.
    async fn until(&self, at_us: u64) {
        let at = tokio::time::Instant::from_std(self.shared.clock.instant(at_us));
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            () = self.interruption() => {}
        }
    }

    async fn interruption(&self) {
        interruption(&self.interrupt).await;
    }

    /// Messages that the plan asks for, where that is known beforehand.
    fn planned(&self) -> Option<u64> {
        let until_us = self.plan.load.end_us().unwrap_or(u64::MAX);
        let of_fleet = |fleet: &crate::plan::ProducerFleet| -> Option<u64> {
            let planned = |publisher| match self.plan.schedule(fleet, publisher) {
                Some(_) if until_us == u64::MAX && publisher.messages.is_none() => None,
                Some(schedule) => Some(schedule.planned_before(until_us)),
                None => publisher.messages,
            };
            fleet.publishers.iter().map(planned).sum()
        };
        self.plan.leaders().map(of_fleet).sum()
    }

    /// The broker's own counters.
    async fn counters(&self) -> Option<BTreeMap<String, u64>> {
        self.broker.management()?.counters().await
    }

    async fn counters_since(&self, before: Option<BTreeMap<String, u64>>) -> Option<BTreeMap<String, u64>> {
        let (before, after) = (before?, self.counters().await?);
        // Counters never fall, but where the broker was restarted: then nobody knows what it had counted before.
        if before.iter().any(|(name, then)| after.get(name).copied().unwrap_or(0) < *then) {
            return None;
        }
        let since = |(name, now): (String, u64)| {
            let then = before.get(&name).copied().unwrap_or(0);
            (name, now.saturating_sub(then))
        };
        Some(after.into_iter().map(since).collect())
    }
}

/// When the load may stop early.
#[derive(Default)]
struct StopWatch {
    moved: (u64, u64),
    routed: u64,
    empty_since_us: Option<u64>,
    idle_since_us: Option<u64>,
}

impl StopWatch {
    fn holds(&mut self, run: &Run<'_>, now_us: u64) -> bool {
        let running = run.shared.ledger.running();
        let moved = (running.published - running.pending, running.consumed);
        // A queue that fills as fast as it empties is not empty: nothing more may have come either.
        let all_gone = running.routed > 0 && running.backlog == 0;
        let empty = all_gone && running.routed == self.routed;
        self.routed = running.routed;
        let idle = moved == self.moved;
        self.moved = moved;
        let since = |since: &mut Option<u64>, holds: bool| {
            *since = holds.then(|| since.unwrap_or(now_us));
            since.map_or(0, |since| now_us - since)
        };
        let empty_for = since(&mut self.empty_since_us, empty);
        let idle_for = since(&mut self.idle_since_us, idle);
        let load = &run.plan.load;
        load.stop_when_empty_us.is_some_and(|limit| empty_for >= limit.max(1))
            || load.stop_when_idle_us.is_some_and(|limit| idle_for >= limit.max(1))
    }
}
