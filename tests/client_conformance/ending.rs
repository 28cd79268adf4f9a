//! Checks of how connections begin badly and end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lurcher::client::{ClientError, Notice, PublisherSetup, Settle, SubscriberSetup};
use lurcher::endpoint::{Credentials, Endpoint, Secret};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::bench::*;

pub async fn a_lost_connection_is_noticed_while_idle(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let mut confirmed = connection.open_publisher(&setup()).await.unwrap();
    let unconfirmed = PublisherSetup { confirms: false, ..setup() };
    let mut unconfirmed = connection.open_publisher(&unconfirmed).await.unwrap();
    let mut subscriber = connection.open_subscriber(&subscription(&[&queue.name])).await.unwrap();
    let poll = SubscriberSetup { poll: Some(Duration::from_secs(600)), ..subscription(&[&queue.name]) };
    let mut poller = connection.open_subscriber(&poll).await.unwrap();
    let waits = async {
        tokio::join!(
            publisher_failure(confirmed.as_mut()),
            publisher_failure(unconfirmed.as_mut()),
            subscriber_failure(subscriber.as_mut()),
            subscriber_failure(poller.as_mut()),
        )
    };
    let (errors, _) = tokio::join!(waits, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tokio::task::block_in_place(|| bench.broker.ctl(&["close_all_connections", "conformance test"]))
    });
    for error in [errors.0, errors.1, errors.2, errors.3] {
        let ClientError::ConnectionLost { reason } = &error else { panic!("{error:?}") };
        assert!(reason.starts_with("320 ") && reason.contains("conformance test"), "{reason}");
        assert!(!error.is_channel_only());
    }
    // Later calls say so at once.
    let error = connection.open_publisher(&setup()).await.err().expect("refused");
    assert!(matches!(error, ClientError::ConnectionLost { .. }), "{error:?}");
    assert!(publish(confirmed.as_mut(), vec![message(&queue.name, 1)]).await.is_err());
    connection.close(PATIENCE).await;
}

pub async fn a_lost_connection_fails_what_is_in_flight(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let gate = Gate::open(bench.broker.amqp_port).await;
    let connection = bench.client.connect(&gate.endpoint(bench), "conformance").await.unwrap();
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    publish(link.as_mut(), vec![message(&queue.name, 1)]).await.unwrap();
    settled(link.as_mut(), 1).await;
    gate.stop();
    publish(link.as_mut(), vec![message(&queue.name, 2)]).await.unwrap();
    gate.cut();
    let error = publisher_failure(link.as_mut()).await;
    assert!(matches!(error, ClientError::ConnectionLost { .. }), "{error:?}");
    connection.close(PATIENCE).await;
}

/// A process that dies: what it had flushed is with the broker, and nothing else of it is. Its prefetch window comes
/// again, flagged.
pub async fn what_was_flushed_outlives_a_cut(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    for poll in [None, Some(Duration::from_millis(1))] {
        bench.fill(&queue.name, 10).await;
        let connection = bench.connect().await;
        let with = SubscriberSetup { poll, ..subscription(&[&queue.name]) };
        let mut link = connection.open_subscriber(&with).await.unwrap();
        received(link.as_mut(), 10).await;
        link.settle(4, true, Settle::Ack).unwrap();
        within("the broker's answer", link.flush()).await.unwrap();
        connection.cut("dead");
        let error = subscriber_failure(link.as_mut()).await;
        assert!(matches!(&error, ClientError::ConnectionLost { reason } if reason == "dead"), "{error:?}");
        assert!(link.settle(10, true, Settle::Ack).is_err() || link.flush().await.is_err(), "it is dead");
        bench.wait_ready(&queue.name, 6).await;
        let (next, mut link) = bench.subscribe(&queue.name).await;
        assert!(received(link.as_mut(), 6).await.iter().all(|delivery| delivery.redelivered));
        link.settle_in_time(6, true, Settle::Ack).await.unwrap();
        link.flush().await.unwrap();
        next.close(PATIENCE).await;
    }

    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    publish(link.as_mut(), (0..100).map(|n| message(&queue.name, n))).await.unwrap();
    within("the broker's answer", link.flush()).await.unwrap();
    connection.cut("dead");
    drop(link);
    bench.wait_ready(&queue.name, 100).await;
}

pub async fn alarms_are_noticed(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    assert_eq!((connection.take_notices(), connection.last_blocked()), (Vec::new(), None));
    bench.broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    // The broker tells a connection only once it publishes.
    let _ = publish(link.as_mut(), vec![message(&queue.name, 1)]).await;
    let wait = |expected: usize| {
        let connection = &connection;
        async move {
            let mut notices = Vec::new();
            within("a notice", async {
                while notices.len() < expected {
                    notices.extend(connection.take_notices().into_iter().map(|(_, notice)| notice));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
            notices
        }
    };
    let blocked = wait(1).await;
    assert!(matches!(&blocked[..], [Notice::Blocked { reason }] if reason.contains("memory")), "{blocked:?}");
    let while_blocked = connection.last_blocked().expect("the broker takes nothing");
    bench.broker.ctl(&["set_vm_memory_high_watermark", "0.6"]);
    assert_eq!(wait(1).await, [Notice::Unblocked]);
    let ended = connection.last_blocked().expect("it took nothing");
    assert!(ended > while_blocked, "it was blocked until now");
    assert_eq!(connection.last_blocked(), Some(ended), "it is over");
    settled(link.as_mut(), 1).await;
    connection.close(PATIENCE).await;
}

/// A blocked connection writes nothing, not even its goodbye.
pub async fn a_blocked_connection_closes_in_time(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let connection = bench.connect().await;
    let mut link = connection.open_publisher(&setup()).await.unwrap();
    bench.broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let _ = publish(link.as_mut(), vec![message(&queue.name, 1)]).await;
    within("the notice", async {
        while connection.take_notices().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    within("the close", connection.close(Duration::from_millis(200))).await;
    drop((link, connection));
    bench.broker.ctl(&["set_vm_memory_high_watermark", "0.6"]);
}

pub async fn a_refused_login_is_told(bench: &Bench<'_>) {
    let password = Secret::new("wrong-password-7f3a");
    let wrong =
        Endpoint { credentials: Credentials::Plain { user: "tester".to_owned(), password }, ..bench.broker.endpoint() };
    let error = bench.client.connect(&wrong, "conformance").await.err().expect("refused");
    let ClientError::Refused { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.starts_with("403 ACCESS_REFUSED"), "{reason}");
    assert!(!format!("{error} {error:?} {wrong:?} {wrong}").contains("7f3a"), "the password is printed");

    let elsewhere = Endpoint { vhost: "no such vhost".to_owned(), ..bench.broker.endpoint() };
    let error = bench.client.connect(&elsewhere, "conformance").await.err().expect("refused");
    let ClientError::Refused { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("no such vhost"), "{reason}");

    let external = Endpoint { credentials: Credentials::External, ..bench.broker.endpoint() };
    let error = bench.client.connect(&external, "conformance").await.err().expect("refused");
    assert!(error.to_string().contains("SASL EXTERNAL"), "{error}");
}

pub async fn nothing_listening_is_told(bench: &Bench<'_>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let nobody = Endpoint { port, ..bench.broker.endpoint() };
    let error = bench.client.connect(&nobody, "conformance").await.err().expect("refused");
    let ClientError::Connect { endpoint, reason } = &error else { panic!("{error:?}") };
    assert_eq!(endpoint, &format!("amqp://127.0.0.1:{port}/%2f"));
    assert!(reason.to_lowercase().contains("refused"), "{reason}");
}

/// Docker's proxy accepts before the broker listens: that means "not ready yet".
pub async fn an_end_in_the_handshake_is_no_refusal(bench: &Bench<'_>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let closing = Endpoint { port, ..bench.broker.endpoint() };
    let error = within("the answer", bench.client.connect(&closing, "conformance")).await.err().expect("refused");
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
    server.abort();
}

pub async fn a_silent_peer_is_given_up(bench: &Bench<'_>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = Endpoint { port: listener.local_addr().unwrap().port(), ..bench.broker.endpoint() };
    let error = within("the answer", bench.client.connect(&silent, "conformance")).await.err().expect("refused");
    let ClientError::Connect { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("no answer"), "{reason}");
    // It stays silent to the end of the test: what was begun must end without its help.
    std::mem::forget(listener);
}

/// A peer whose packets are lost: the socket stays open and nothing comes.
pub async fn a_vanished_peer_does_not_hold_up_the_end(bench: &Bench<'_>) {
    let queue = bench.queue(json!({})).await;
    let gate = Gate::open(bench.broker.amqp_port).await;
    let endpoint = gate.endpoint(bench);
    let closed = bench.client.connect(&endpoint, "conformance").await.unwrap();
    let dropped = bench.client.connect(&endpoint, "conformance").await.unwrap();
    let mut link = closed.open_publisher(&setup()).await.unwrap();
    let _subscriber = dropped.open_subscriber(&subscription(&[&queue.name])).await.unwrap();
    gate.stop();
    publish(link.as_mut(), vec![message(&queue.name, 1)]).await.unwrap();
    let began = Instant::now();
    within("the close", closed.close(Duration::from_millis(300))).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "it said goodbye to nobody");
    let error = publisher_failure(link.as_mut()).await;
    assert!(matches!(error, ClientError::ConnectionLost { .. }), "{error:?}");
    drop(dropped);
    // It stays stopped to the end of the test: both connections must end without its help.
    std::mem::forget(gate);
}

/// The threads of a client that has let go of all its connections end.
pub async fn no_thread_is_left(name: &str) {
    let running = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|comm| comm.trim_end().starts_with(name)).count()
    };
    within("the client's threads to end", async {
        while running() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// A way to the broker that can be stopped without a word, and cut.
struct Gate {
    port: u16,
    stopped: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Gate {
    async fn open(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stopped = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stopped);
        let task = tokio::spawn(async move {
            let mut pipes = tokio::task::JoinSet::new();
            loop {
                let (inner, _) = listener.accept().await.unwrap();
                let outer = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                pipes.spawn(pipe(inner, outer, Arc::clone(&seen)));
            }
        });
        Self { port, stopped, task }
    }

    fn endpoint(&self, bench: &Bench<'_>) -> Endpoint {
        Endpoint { port: self.port, ..bench.broker.endpoint() }
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn cut(&self) {
        self.task.abort();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pipe(inner: TcpStream, outer: TcpStream, stopped: Arc<AtomicBool>) {
    let way = async |from: &TcpStream, to: &TcpStream| {
        let mut buffer = vec![0; 64 * 1_024];
        loop {
            from.readable().await.unwrap();
            if stopped.load(Ordering::SeqCst) {
                return std::future::pending::<()>().await;
            }
            match from.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    let mut rest = &buffer[..n];
                    while !rest.is_empty() {
                        to.writable().await.unwrap();
                        match to.try_write(rest) {
                            Ok(n) => rest = &rest[n..],
                            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                            Err(_) => return,
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    tokio::select! {
        () = way(&inner, &outer) => {}
        () = way(&outer, &inner) => {}
    }
}
