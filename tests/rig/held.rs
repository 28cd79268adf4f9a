//! A broker that a test holds while runs use it: for several of them, or to do things behind a run's back.

use std::future::Future;

use lurcher::broker::{Broker, Management, ManagementError, QueueDepth};

use super::{Rig, broker};

/// The broker, and the runtime that waits for it. It is removed with this.
pub struct Held {
    runtime: tokio::runtime::Runtime,
    broker: Option<Broker>,
}

impl Held {
    /// Starts one.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let broker = runtime.block_on(broker::start(&broker::plan()));
        Self { runtime, broker: Some(broker) }
    }

    /// The broker itself.
    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("a broker")
    }

    /// Waits for `work` on it.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn management(&self) -> &Management {
        self.broker().management().expect("a management API")
    }

    /// What tells `lurcher run` to use it.
    pub fn arguments(&self) -> [String; 4] {
        let management = self.management().endpoint().base_url.clone();
        ["--broker-url".to_owned(), broker::url(self.broker()), "--management-url".to_owned(), management]
    }

    /// A rig that runs on it, and says little.
    pub fn rig(&self, scenario: &str) -> Rig {
        Rig::new(scenario).with(&self.arguments().each_ref().map(String::as_str)).with(&["--quiet"])
    }

    /// Its queues.
    pub fn queues(&self) -> Result<Vec<QueueDepth>, ManagementError> {
        self.wait(self.management().queues())
    }

    /// Whether it says that it has queues.
    pub fn has_queues(&self) -> bool {
        self.queues().is_ok_and(|queues| !queues.is_empty())
    }

    /// Messages that are ready in a queue; 0 where it does not say.
    pub fn ready(&self, queue: &str) -> u64 {
        let queues = self.queues().unwrap_or_default();
        queues.iter().find(|found| found.name == queue).map_or(0, |found| found.ready)
    }

    /// Exchanges that somebody declared.
    pub fn exchanges(&self) -> Vec<String> {
        let exchanges = self.wait(self.management().exchanges()).expect("the broker's exchanges");
        let names = exchanges.into_iter().map(|exchange| exchange.name);
        names.filter(|name| !name.is_empty() && !name.starts_with("amq.")).collect()
    }

    /// Deletes what is ready in a queue.
    pub fn purge(&self, queue: &str) {
        self.wait(self.management().purge(queue)).expect("purged");
    }

    /// Publishes something that no run sent.
    pub fn inject(&self, queue: &str, body: &[u8]) {
        self.wait(async {
            let connection = self.connect().await;
            let channel = connection.create_channel().await.expect("a channel");
            publish(&channel, queue, body).await;
            connection.close(200, "done".into()).await.expect("closed");
        });
    }

    /// Takes a message out of a queue and puts its body into another one.
    pub fn move_one(&self, from: &str, to: &str) {
        self.wait(async {
            let connection = self.connect().await;
            let channel = connection.create_channel().await.expect("a channel");
            let got = channel.basic_get(from.into(), lapin::options::BasicGetOptions { no_ack: true }).await;
            let got = got.expect("an answer").expect("a message");
            publish(&channel, to, &got.delivery.data).await;
            connection.close(200, "done".into()).await.expect("closed");
        });
    }

    /// Takes so many messages of a queue, as a consumer that never settles them; they are held as long as the connection.
    pub fn hold(&self, queue: &str, count: u16) -> lapin::Connection {
        use futures_util::StreamExt;
        self.wait(async {
            let connection = self.connect().await;
            let channel = connection.create_channel().await.expect("a channel");
            channel.basic_qos(count, lapin::options::BasicQosOptions::default()).await.expect("a prefetch");
            let options = lapin::options::BasicConsumeOptions::default();
            let consumer =
                channel.basic_consume(queue.into(), "holder".into(), options, lapin::types::FieldTable::default());
            let mut consumer = consumer.await.expect("a consumer");
            for _ in 0..count {
                consumer.next().await.expect("a message").expect("a delivery");
            }
            // Neither the consumer nor its channel is to end with these.
            std::mem::forget((consumer, channel));
            connection
        })
    }

    async fn connect(&self) -> lapin::Connection {
        let url = broker::url(self.broker());
        lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.expect("connected")
    }
}

async fn publish(channel: &lapin::Channel, queue: &str, body: &[u8]) {
    let (options, properties) = (lapin::options::BasicPublishOptions::default(), lapin::BasicProperties::default());
    channel.basic_publish("".into(), queue.into(), options, body, properties).await.expect("published");
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            let _ = self.runtime.block_on(broker.stop());
        }
    }
}
