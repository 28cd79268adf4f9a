//! The peer: the `amqprs` crate as its own examples use it. One connection publishes, with a confirm window that is a
//! counter; another consumes through a callback and acks each message. No ledger, no histogram.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use amqprs::callbacks::{ChannelCallback, DefaultChannelCallback, DefaultConnectionCallback};
use amqprs::channel::{
    BasicAckArguments, BasicConsumeArguments, BasicPublishArguments, BasicQosArguments, Channel,
    ConfirmSelectArguments, QueueDeclareArguments, QueueDeleteArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::consumer::AsyncConsumer;
use amqprs::{Ack, BasicProperties, Cancel, CloseChannel, Deliver, Nack, Return};
use async_trait::async_trait;
use tokio::sync::Notify;

use super::contender::{Job, Timed};
use super::frames::Confirms;
use super::outcome::{CONFIRM_WINDOW, PREFETCH};
use super::stand::{Address, Failure};

const QUEUE: &str = "peers.amqprs";
type AmqprsResult<T> = Result<T, amqprs::error::Error>;

/// Publishes and consumes the job's messages.
pub fn run(job: &Job, address: &Address) -> Result<Timed, Failure> {
    // What `#[tokio::main]` makes.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (consumers, consumer) = runtime.block_on(open(address, DefaultChannelCallback))?;
    let answers = Arc::new(Answers::default());
    let callback = Confirming { confirms: Confirms::new(), answers: Arc::clone(&answers) };
    let (producers, producer) = runtime.block_on(open(address, callback))?;
    let arrivals = Arc::new(Arrivals { awaited: job.messages, ..Arrivals::default() });
    runtime.block_on(async {
        // What a run that was killed left in it would be taken for this one's.
        consumer.queue_delete(QueueDeleteArguments::new(QUEUE)).await?;
        consumer.queue_declare(QueueDeclareArguments::durable_client_named(QUEUE)).await?;
        consumer.basic_qos(BasicQosArguments::new(0, PREFETCH, false)).await?;
        let counting = Counting { consumed: 0, arrivals: Arc::clone(&arrivals) };
        consumer.basic_consume(counting, BasicConsumeArguments::new(QUEUE, "amqprs")).await?;
        producer.confirm_select(ConfirmSelectArguments::new(false)).await
    })?;

    let timed = Timed::measure(|| {
        runtime.block_on(async {
            publish(&producer, job, &answers).await?;
            arrivals.all().await
        })
    })?;

    runtime.block_on(async {
        consumer.queue_delete(QueueDeleteArguments::new(QUEUE)).await?;
        producer.close().await?;
        producers.close().await?;
        consumer.close().await?;
        consumers.close().await
    })?;
    Ok(timed)
}

async fn open(
    address: &Address,
    callback: impl ChannelCallback + Send + 'static,
) -> AmqprsResult<(Connection, Channel)> {
    let arguments = OpenConnectionArguments::new(&address.host, address.port, &address.user, &address.password);
    let connection = Connection::open(&arguments).await?;
    connection.register_callback(DefaultConnectionCallback).await?;
    let channel = connection.open_channel(None).await?;
    channel.register_callback(callback).await?;
    Ok((connection, channel))
}

async fn publish(channel: &Channel, job: &Job, answers: &Answers) -> Result<(), Failure> {
    let properties = BasicProperties::default().with_delivery_mode(amqprs::DELIVERY_MODE_PERSISTENT).finish();
    let arguments = BasicPublishArguments::new("", QUEUE);
    for sent in 0..job.messages {
        answers.reach((sent + 1).saturating_sub(CONFIRM_WINDOW)).await?;
        channel.basic_publish(properties.clone(), vec![b'x'; job.size], arguments.clone()).await?;
    }
    answers.reach(job.messages).await
}

/// How many messages are confirmed.
#[derive(Default)]
struct Answers {
    confirmed: AtomicU64,
    refused: AtomicU64,
    news: Notify,
}

impl Answers {
    /// Waits until so many are.
    async fn reach(&self, count: u64) -> Result<(), Failure> {
        while self.confirmed.load(Ordering::Acquire) < count {
            if self.refused.load(Ordering::Acquire) > 0 {
                return Err("the broker refused a message, or closed the channel".into());
            }
            self.news.notified().await;
        }
        Ok(())
    }

    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Release);
        self.news.notify_one();
    }
}

struct Confirming {
    confirms: Confirms,
    answers: Arc<Answers>,
}

#[async_trait]
impl ChannelCallback for Confirming {
    async fn close(&mut self, _: &Channel, _: CloseChannel) -> AmqprsResult<()> {
        self.answers.refuse();
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, _: Cancel) -> AmqprsResult<()> {
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> AmqprsResult<bool> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        if self.confirms.acked(ack.delivery_tag(), ack.mutiple()).is_err() {
            self.answers.refuse();
        }
        self.answers.confirmed.store(self.confirms.count(), Ordering::Release);
        self.answers.news.notify_one();
    }

    async fn publish_nack(&mut self, _: &Channel, _: Nack) {
        self.answers.refuse();
    }

    async fn publish_return(&mut self, _: &Channel, _: Return, _: BasicProperties, _: Vec<u8>) {
        self.answers.refuse();
    }
}

/// When the last message came.
#[derive(Default)]
struct Arrivals {
    awaited: u64,
    last: Mutex<Option<AmqprsResult<Instant>>>,
    news: Notify,
}

impl Arrivals {
    async fn all(&self) -> Result<Instant, Failure> {
        self.news.notified().await;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(last.ok_or("nothing was delivered")??)
    }

    fn end(&self, last: AmqprsResult<Instant>) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(last);
        self.news.notify_one();
    }
}

struct Counting {
    consumed: u64,
    arrivals: Arc<Arrivals>,
}

#[async_trait]
impl AsyncConsumer for Counting {
    async fn consume(&mut self, channel: &Channel, deliver: Deliver, _: BasicProperties, _: Vec<u8>) {
        self.consumed += 1;
        let last = (self.consumed == self.arrivals.awaited).then(Instant::now);
        let acked = channel.basic_ack(BasicAckArguments::new(deliver.delivery_tag(), false)).await;
        match (acked, last) {
            (Err(error), _) => self.arrivals.end(Err(error)),
            (Ok(()), Some(last)) => self.arrivals.end(Ok(last)),
            (Ok(()), None) => {}
        }
    }
}
