//! One producer and one consumer of a fleet's own, ledger and histograms on, over the broker in memory.

// Each binary that includes this uses a part of it.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lurcher::client::QueueSubscription;
use lurcher::fleet::{
    Clock, ConsumerMeters, Deaths, Destinations, Lives, MessageMaker, ProducerMeters, PublisherTask, Seat, Shared,
    Slot, Source, Stage, SubscriberTask,
};
use lurcher::ledger::incidents::Incidents;
use lurcher::ledger::{Destination, Ledger, Routes};
use lurcher::plan::{Plan, resolve};
use tokio::sync::{oneshot, watch};

use super::Looped;

/// The same as the peers' bench: 24 bytes unless said otherwise, a window of 192, a prefetch of 200, each message acked.
fn plan(body_bytes: u32, messages: Option<u64>) -> Plan {
    let limit = messages.map_or(String::new(), |messages| format!("messages = {messages}"));
    let text = format!(
        r#"
        schema = 1
        name = "looped"
        seed = 1
        [[queue]]
        name = "q"
        [[producer]]
        name = "p"
        routing_key = "q"
        rate = "max"
        size = "{body_bytes} B"
        confirm = {{ window = 192, timeout = "60s" }}
        {limit}
        [[consumer]]
        name = "c"
        queue = "q"
        prefetch = 200
        ack = {{ mode = "manual", batch = 1 }}
        [load]
        duration = "1h"
        "#
    );
    let scenario = toml::from_str(&text).expect("a scenario");
    resolve(&scenario, &|_| Err(std::io::ErrorKind::NotFound.into())).expect("a plan")
}

struct One;

impl Routes for One {
    fn destinations(&self, _: u16, _: u64) -> &[u32] {
        &[0]
    }
}

impl Destinations for One {
    fn of(&self, _: u32, _: usize) -> u32 {
        0
    }
    fn named(&self, _: &str) -> Option<u32> {
        None
    }
}

/// Both, running.
pub struct Pair {
    pub shared: Arc<Shared>,
    stage: watch::Sender<Stage>,
    producer: Arc<ProducerMeters>,
    consumer: Arc<ConsumerMeters>,
    tasks: tokio::task::JoinSet<()>,
}

impl Pair {
    /// Connects them. Needs a runtime of one thread, on whose own tasks they run.
    pub async fn start(broker: &Looped, body_bytes: u32) -> Self {
        Self::start_plan(broker, plan(body_bytes, None)).await
    }

    /// The same for so many messages and no more.
    pub async fn start_limited(broker: &Looped, body_bytes: u32, messages: u64) -> Self {
        Self::start_plan(broker, plan(body_bytes, Some(messages))).await
    }

    async fn start_plan(broker: &Looped, plan: Plan) -> Self {
        let (stage, receiver) = watch::channel(Stage::Ready);
        let queue = Destination { name: "q".to_owned(), kind: "classic", ..Destination::default() };
        let shared = Arc::new(Shared {
            ledger: Arc::new(Ledger::new(1, 1, vec![queue], Arc::new(One))),
            clock: Arc::new(Clock::new(Instant::now())),
            stage: receiver,
            incidents: Arc::new(Incidents::default()),
            load: plan.load.clone(),
            publishers_ready: AtomicU32::new(0),
            publishers_busy: AtomicU32::new(0),
            publishers_sending: AtomicU32::new(0),
            deaths: Deaths::default(),
            fates: Default::default(),
            chain: Default::default(),
            tracer: None,
            has_new_ids: false,
            run: 1,
            trouble: std::sync::OnceLock::new(),
        });
        let slot = |fleet| {
            let client = Arc::new(broker.clone());
            let source = Source { client, endpoint: Looped::endpoint(), exclusive: Vec::new() };
            Arc::new(Slot::new(Arc::clone(&shared), source, fleet, 0, 0, 1))
        };
        let (producer, consumer) = (Arc::new(ProducerMeters::default()), Arc::new(ConsumerMeters::default()));
        let (consuming, producing) = (slot("c"), slot("p"));
        consuming.open_first().await.expect("a connection");
        producing.open_first().await.expect("a connection");
        let fleet = Arc::new(plan.consumers[0].clone());
        let me = fleet.subscribers[0].clone();
        let queue = |number| QueueSubscription { number, name: "q".to_owned(), offset: None };
        let seat = Seat {
            slot: consuming,
            lives: Lives::new("c", 1, false),
            failing: None,
            outlet: None,
            followers: Vec::new(),
        };
        let subscriber = SubscriberTask::new(&shared, seat, &fleet, me, Arc::clone(&consumer), Arc::new(One), queue);
        let fleet = Arc::new(plan.producers[0].clone());
        let me = fleet.publishers[0].clone();
        let messages = Arc::new(MessageMaker::new(&fleet).expect("no field to fill in"));
        let publisher =
            PublisherTask::new(&shared, producing, &messages, me, Arc::clone(&producer), &Lives::new("p", 1, false));
        let (told, tell) = oneshot::channel();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(subscriber.run(told));
        tasks.spawn(publisher.run());
        tell.await.expect("an answer").expect("a subscription");
        Self { shared, stage, producer, consumer, tasks }
    }

    /// The load begins.
    pub fn begin(&self) {
        self.shared.clock.begin(Instant::now(), 1_700_000_000_000_000);
        let _ = self.stage.send(Stage::Load);
    }

    /// Messages consumed so far.
    pub fn consumed(&self) -> u64 {
        self.consumer.counters.consumed.load(Ordering::Relaxed)
    }

    /// Lets them run until so many messages are consumed.
    pub async fn run_until(&mut self, consumed: u64) {
        while self.consumed() < consumed {
            if let Some(ended) = self.tasks.try_join_next() {
                panic!("one of them left before {consumed} messages were consumed: {ended:?}");
            }
            tokio::task::yield_now().await;
        }
    }

    /// Stops them; all that was published is confirmed and consumed.
    pub async fn stop(self) -> u64 {
        let _ = self.stage.send(Stage::Drain);
        self.finish().await
    }

    /// Waits until all is published, confirmed and consumed; how many there were.
    pub async fn finish(mut self) -> u64 {
        let producer = Arc::clone(&self.producer);
        let published = || producer.counters.published.load(Ordering::Relaxed);
        while self.shared.publishers_busy.load(Ordering::Acquire) > 0 || self.consumed() < published() {
            // The publisher leaves once all is answered; a panic is told at once.
            if let Some(ended) = self.tasks.try_join_next() {
                ended.expect("no panic");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _ = self.stage.send(Stage::Leave);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic");
        }
        assert_eq!(self.producer.counters.confirmed.load(Ordering::Relaxed), published());
        assert_eq!(self.shared.incidents.total(), 0);
        published()
    }
}
