//! Puts the plan's fleets together: connections, tasks, meters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::RunError;
use super::routes::PlanDestinations;
use super::stores::Stores;
use super::threads::Threads;
use crate::client::lapin::Lapin;
use crate::client::wire::Wire;
use crate::client::{Client, QueueSubscription};
use crate::endpoint::Endpoint;
use crate::faults::Drivers;
use crate::fleet::{
    ConsumerMeters, Failing, Follower, Lives, MessageMaker, Outlet, ProducerMeters, PublisherTask, Seat, Shared, Slot,
    Source, SubscriberTask,
};
use crate::plan::{Broken, ClientKind, ConsumerFleet, FaultPlan, Plan, ProducerFleet, QueueKind, draw};

/// How long all publishers together may take to open their channels.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Connections that are opened at the same time.
const OPEN_AT_ONCE: usize = 32;

/// The fleets of a run.
pub(super) struct Fleets {
    pub(super) producers: Vec<(String, Arc<ProducerMeters>)>,
    /// Name, meters, and the queues consumed, by number.
    pub(super) consumers: Vec<(String, Arc<ConsumerMeters>, Vec<usize>)>,
    /// Members by the name of their fleet.
    lives: BTreeMap<String, Arc<Lives>>,
    /// What fleets fail on purpose.
    failing: Vec<Arc<Failing>>,
    producer_slots: Vec<Arc<Slot>>,
    /// With the exclusive queues that live on the slot's connection, by number.
    consumer_slots: Vec<(Arc<Slot>, Vec<usize>)>,
    tasks: JoinSet<()>,
    threads: Threads,
    /// Connections that have their thread.
    placed: usize,
    /// Threads on which publishers run.
    publisher_threads: BTreeSet<usize>,
    panicked: bool,
}

/// The client that a plan names.
pub(super) fn client(kind: ClientKind) -> Arc<dyn Client> {
    match kind {
        ClientKind::Wire => Arc::new(Wire),
        ClientKind::Lapin => Arc::new(Lapin),
    }
}

impl Fleets {
    /// No fleet yet, and the threads for those of a broker at `endpoint`.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, RunError> {
        let beside_broker = match endpoint.host.parse::<std::net::IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => endpoint.host == "localhost",
        };
        Ok(Self {
            producers: Vec::new(),
            consumers: Vec::new(),
            lives: BTreeMap::new(),
            failing: Vec::new(),
            producer_slots: Vec::new(),
            consumer_slots: Vec::new(),
            tasks: JoinSet::new(),
            threads: Threads::start(beside_broker).map_err(RunError::Threads)?,
            placed: 0,
            publisher_threads: BTreeSet::new(),
            panicked: false,
        })
    }

    /// Connects all members, each where its fleet reaches the broker, and subscribes the consumers. The clock stands
    /// still meanwhile.
    pub(super) async fn connect(
        &mut self,
        plan: &Arc<Plan>,
        (drivers, stores): (&Drivers<'_>, &Stores),
        shared: &Arc<Shared>,
        destinations: &Arc<PlanDestinations>,
    ) -> Result<(), RunError> {
        for (place, fleet) in plan.consumers.iter().enumerate() {
            let endpoint = drivers.endpoint(&fleet.name);
            let failing = Failing::new(plan, place);
            self.failing.extend(failing.clone());
            let following = self.following(plan, place, drivers, shared).await?;
            let with = (fleet, failing, following);
            self.subscribe(plan, with, (&endpoint, stores), shared, destinations).await?;
        }
        for fleet in plan.leaders() {
            self.attach_publishers(plan, fleet, &drivers.endpoint(&fleet.name), shared).await?;
        }
        let publishers = plan.leaders().map(|fleet| fleet.publishers.len() as u32).sum::<u32>();
        let failed = |reason: String| RunError::Fleet { fleet: "producers".to_owned(), reason };
        let ready = async {
            while shared.publishers_ready.load(Ordering::Acquire) < publishers {
                if let Some(trouble) = shared.trouble.get() {
                    return Err(failed(trouble.clone()));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        let late = |_| failed(format!("not all of {publishers} channels were open after {READY_WITHIN:?}"));
        tokio::time::timeout(READY_WITHIN, ready).await.map_err(late)?
    }

    async fn subscribe(
        &mut self,
        plan: &Arc<Plan>,
        (fleet, failing, following): (&ConsumerFleet, Option<Arc<Failing>>, Vec<Following>),
        (endpoint, stores): (&Endpoint, &Stores),
        shared: &Arc<Shared>,
        destinations: &Arc<PlanDestinations>,
    ) -> Result<(), RunError> {
        let fleet = Arc::new(fleet.clone());
        let meters = Arc::new(ConsumerMeters::default());
        let exclusive: Vec<usize> =
            fleet.queues.iter().copied().filter(|queue| plan.topology.queues[*queue].exclusive).collect();
        let members = fleet.subscribers.last().map_or(0, |last| last.member + 1);
        let lives = self.lives(plan, &fleet.name, members);
        let mut slots = Vec::new();
        for subscriber in &fleet.subscribers {
            if slots.len() <= subscriber.connection as usize {
                let source = Source {
                    client: client(fleet.client),
                    endpoint: endpoint.clone(),
                    exclusive: exclusive.iter().map(|queue| declaration(plan, *queue)).collect(),
                };
                let seed = draw::bits(subscriber.seed, draw::Lane::Backoff, u64::from(subscriber.connection));
                let slot =
                    Slot::new(Arc::clone(shared), source, &fleet.name, subscriber.member, subscriber.connection, seed);
                let slot = Arc::new(slot);
                lives.attach(subscriber.member, &slot);
                slots.push(slot);
            }
        }
        let placed = self.open(&slots, &fleet.name).await?;
        // Who publishes what it fails does so on a connection of its own.
        let publishes = plan.retries.iter().any(|retry| retry.is_published() && fleet.retries(retry.queue));
        let first_id = fleet.subscribers.first().map_or(0, |first| first.id as usize);
        let mut outlets = Vec::new();
        for (number, subscriber) in fleet.subscribers.iter().enumerate().filter(|_| publishes) {
            let source = Source { client: client(fleet.client), endpoint: endpoint.clone(), exclusive: Vec::new() };
            let seed = draw::bits(subscriber.seed, draw::Lane::Backoff, u64::MAX);
            let connection = (slots.len() + number) as u32;
            let slot = Slot::new(Arc::clone(shared), source, &fleet.name, subscriber.member, connection, seed);
            let slot = Arc::new(slot);
            lives.attach(subscriber.member, &slot);
            outlets.push(slot);
        }
        self.open(&outlets, &fleet.name).await?;
        let mut ready = Vec::new();
        for subscriber in &fleet.subscribers {
            let queue = |number: usize| QueueSubscription {
                number,
                name: plan.topology.queues[number].name.clone(),
                offset: (plan.topology.queues[number].kind == QueueKind::Stream).then(|| fleet.offset.clone()),
            };
            let slot = Arc::clone(&slots[subscriber.connection as usize]);
            let outlet = outlets.get(subscriber.id as usize - first_id).cloned().map(Outlet::new);
            let followers = following.iter().map(|it| it.of(subscriber.id as usize - first_id, &lives)).collect();
            let seat = Seat { slot, lives: Arc::clone(&lives), failing: failing.clone(), outlet, followers };
            let of: Arc<dyn crate::fleet::Destinations> = Arc::clone(destinations) as _;
            let (me, meters) = (subscriber.clone(), Arc::clone(&meters));
            let task = SubscriberTask::new(shared, seat, &fleet, me, meters, of, queue);
            let sessions = stores.sessions(&fleet, subscriber).await;
            let failed = |error| RunError::Store { fleet: fleet.name.clone(), source: Box::new(error) };
            let (sessions, beside) = sessions.map_err(failed)?;
            let task = task.with_effects(sessions, beside);
            let (told, tell) = oneshot::channel();
            self.tasks.spawn_on(task.run(told), self.threads.of(placed + subscriber.connection as usize));
            ready.push(tell);
        }
        for tell in ready {
            let failed = |reason: String| RunError::Fleet { fleet: fleet.name.clone(), reason };
            let subscribed = tell.await.map_err(|_| failed("a member ended before it subscribed".to_owned()))?;
            subscribed.map_err(|error| failed(error.to_string()))?;
        }
        self.consumer_slots.extend(slots.into_iter().map(|slot| (slot, exclusive.clone())));
        let of_followers = following.into_iter().flat_map(|following| following.slots);
        self.consumer_slots.extend(outlets.into_iter().chain(of_followers).map(|slot| (slot, Vec::new())));
        self.consumers.push((fleet.name.clone(), meters, fleet.queues.clone()));
        Ok(())
    }

    /// What the members of the fleet of consumers at `place` publish for each message that they work off, each on a
    /// connection of its own.
    async fn following(
        &mut self,
        plan: &Plan,
        place: usize,
        drivers: &Drivers<'_>,
        shared: &Arc<Shared>,
    ) -> Result<Vec<Following>, RunError> {
        let mut all = Vec::new();
        for (number, fleet) in plan.producers.iter().enumerate().filter(|(_, fleet)| fleet.follows == Some(place)) {
            let fleet = Arc::new(fleet.clone());
            let defect = |error: crate::plan::FieldError| RunError::Fleet {
                fleet: fleet.name.clone(),
                reason: error.to_string(),
            };
            let messages = Arc::new(MessageMaker::new(&fleet).map_err(defect)?);
            let slots = fleet.publishers.iter().map(|publisher| {
                let endpoint = drivers.endpoint(&fleet.name);
                let source = Source { client: client(fleet.client), endpoint, exclusive: Vec::new() };
                let seed = draw::bits(publisher.seed, draw::Lane::Backoff, 0);
                Arc::new(Slot::new(
                    Arc::clone(shared),
                    source,
                    &fleet.name,
                    publisher.member,
                    publisher.connection,
                    seed,
                ))
            });
            let slots: Vec<_> = slots.collect();
            self.open(&slots, &fleet.name).await?;
            let meters = Arc::new(ProducerMeters::default());
            self.producers.push((fleet.name.clone(), Arc::clone(&meters)));
            all.push(Following { number, messages, meters, slots });
        }
        Ok(all)
    }

    async fn attach_publishers(
        &mut self,
        plan: &Arc<Plan>,
        fleet: &ProducerFleet,
        endpoint: &Endpoint,
        shared: &Arc<Shared>,
    ) -> Result<(), RunError> {
        let fleet = Arc::new(fleet.clone());
        let messages = MessageMaker::new(&fleet)
            .map_err(|error| RunError::Fleet { fleet: fleet.name.clone(), reason: error.to_string() })?;
        let messages = Arc::new(messages);
        let meters = Arc::new(ProducerMeters::default());
        let members = fleet.publishers.last().map_or(0, |last| last.member + 1);
        let lives = self.lives(plan, &fleet.name, members);
        let mut slots = Vec::new();
        for publisher in &fleet.publishers {
            if slots.len() <= publisher.connection as usize {
                let source = Source { client: client(fleet.client), endpoint: endpoint.clone(), exclusive: Vec::new() };
                let seed = draw::bits(plan.seed ^ publisher.seed, draw::Lane::Backoff, 0);
                let slot =
                    Slot::new(Arc::clone(shared), source, &fleet.name, publisher.member, publisher.connection, seed);
                let slot = Arc::new(slot);
                lives.attach(publisher.member, &slot);
                slots.push(slot);
            }
        }
        let placed = self.open(&slots, &fleet.name).await?;
        for publisher in &fleet.publishers {
            let slot = Arc::clone(&slots[publisher.connection as usize]);
            let task = PublisherTask::new(shared, slot, &messages, publisher.clone(), Arc::clone(&meters), &lives);
            let number = placed + publisher.connection as usize;
            self.publisher_threads.insert(self.threads.place(number));
            self.tasks.spawn_on(task.run(), self.threads.of(number));
        }
        self.producer_slots.extend(slots);
        self.producers.push((fleet.name.clone(), meters));
        Ok(())
    }

    /// The members of a fleet, for those who live them and those who break them.
    fn lives(&mut self, plan: &Plan, fleet: &str, members: u32) -> Arc<Lives> {
        let is_meant = |fault: &FaultPlan| match &fault.broken {
            Broken::Members { members, .. } => members.iter().any(|of| of.fleet == fleet),
            _ => false,
        };
        let crashes = |of: &&ConsumerFleet| of.name == fleet && of.crashes();
        let is_planned = plan.faults.iter().any(is_meant) || plan.consumers.iter().any(|of| crashes(&of));
        let lives = Lives::new(fleet, members, is_planned);
        self.lives.insert(fleet.to_owned(), Arc::clone(&lives));
        lives
    }

    /// The members of all fleets, by the name of their fleet.
    pub(super) fn all_lives(&self) -> BTreeMap<String, Arc<Lives>> {
        self.lives.clone()
    }

    /// From now on no consumer fails anything on purpose.
    pub(super) fn mend(&self) {
        self.failing.iter().for_each(|failing| failing.mend());
    }

    /// Opens the first connections of a fleet, some at a time, each on its thread; the first one's number.
    async fn open(&mut self, slots: &[Arc<Slot>], fleet: &str) -> Result<usize, RunError> {
        let first = self.placed;
        self.placed += slots.len();
        for (place, some) in slots.chunks(OPEN_AT_ONCE).enumerate() {
            let opening = some.iter().enumerate().map(|(n, slot)| {
                let slot = Arc::clone(slot);
                let work = async move { slot.open_first().await.map_err(|error| error.to_string()) };
                self.threads.on(first + place * OPEN_AT_ONCE + n, work)
            });
            for opened in futures_util::future::join_all(opening).await {
                let opened = opened.unwrap_or_else(|| Err("its task panicked".to_owned()));
                opened.map_err(|reason| RunError::Fleet { fleet: fleet.to_owned(), reason })?;
            }
        }
        Ok(first)
    }

    /// Deliveries that were received and not settled yet.
    pub(super) fn unsettled(&self) -> i64 {
        self.consumers.iter().map(|(_, meters, _)| meters.counters.unsettled.load(Ordering::Acquire)).sum()
    }

    /// Connections that hold exclusive queues, with their numbers.
    pub(super) fn exclusive(&self) -> impl Iterator<Item = (&Arc<Slot>, &[usize])> {
        self.consumer_slots.iter().filter(|(_, queues)| !queues.is_empty()).map(|(slot, queues)| (slot, &queues[..]))
    }

    /// Waits until every member has left, at most `within`; how many had to be broken off.
    pub(super) async fn left(&mut self, within: Duration) -> usize {
        let (tasks, panicked) = (&mut self.tasks, &mut self.panicked);
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                *panicked |= ended.is_err_and(|error| error.is_panic());
            }
        };
        let _ = tokio::time::timeout(within, all).await;
        let late = self.tasks.len();
        self.tasks.abort_all();
        late
    }

    /// Whether a member has panicked.
    pub(super) fn has_panicked(&mut self) -> bool {
        while let Some(ended) = self.tasks.try_join_next() {
            self.panicked |= ended.is_err_and(|error| error.is_panic());
        }
        self.panicked
    }

    /// Threads on which publishers run.
    pub(super) fn publisher_threads(&self) -> usize {
        self.publisher_threads.len()
    }

    /// The connections of all fleets.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.producer_slots.iter().chain(self.consumer_slots.iter().map(|(slot, _)| slot))
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        futures_util::future::join_all(self.slots().map(|slot| slot.close())).await;
    }
}

/// A fleet whose messages a fleet of consumers publishes.
struct Following {
    /// Its number in the plan.
    number: usize,
    messages: Arc<MessageMaker>,
    meters: Arc<ProducerMeters>,
    /// By the place of a subscriber in its fleet.
    slots: Vec<Arc<Slot>>,
}

impl Following {
    /// What the subscriber at `place` in its fleet, whose members are `lives`, publishes of it.
    fn of(&self, place: usize, lives: &Lives) -> Follower {
        let (publisher, slot) = (self.messages.fleet().publishers[place].clone(), &self.slots[place]);
        lives.attach(publisher.member, slot);
        Follower::new(self.number, &self.messages, publisher, &self.meters, Arc::clone(slot))
    }
}

fn declaration(plan: &Plan, queue: usize) -> (crate::plan::QueuePlan, Vec<crate::plan::BindingPlan>) {
    let queue = plan.topology.queues[queue].clone();
    let bindings = &plan.topology.bindings;
    let bindings = bindings.iter().filter(|binding| !binding.to_exchange && binding.destination == queue.name).cloned();
    let bindings = bindings.collect();
    (queue, bindings)
}
