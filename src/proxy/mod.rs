//! A TCP proxy on loopback between clients and a broker that knows AMQP 0-9-1, and disturbs on purpose what passes.
//!
//! May use `units`, `amqp` and `stamp`. Its core is pure: a [`conversation`] judges what came by the rules at work, a
//! [`shaper`] says what goes out when. The shell around it moves bytes between sockets, one task for each connection.
//!
//! With no disturbance bytes pass as they came; frames are told apart, and numbers of unsettled messages kept, so that
//! a disturbance can begin at any time. Memory is bounded: by what is unsettled, and for what is held back by limits at
//! which no more is read.
//!
//! Delivery tags and numbers of publishes are translated from where a disturbance makes both sides count differently to
//! the end of the channel, so that neither side sees anything that AMQP forbids.

mod channel;
mod connection;
mod content;
mod conversation;
mod disturbance;
mod draw;
mod error;
mod held;
mod hub;
mod numbering;
mod rule;
mod shaper;
mod stream;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

pub use disturbance::{Direction, Disturbance, DisturbanceId, FrameAction, FrameClass, Picks, What};
pub use error::ProxyError;
use hub::Hub;
pub use rule::Hit;

/// How long to wait where the system gives no more sockets.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// A proxy. Dropped or stopped, all its connections are cut and nothing of it is left.
///
/// One proxy disturbs all that goes through it, or a share; who wants to disturb one fleet's connections gives that
/// fleet a proxy of its own.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    hub: Arc<Hub>,
    /// Dropped, it tells the task to end.
    running: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, and passes what comes on to `upstream`. Draws come from `seed`. Needs a
    /// runtime of tokio, which the connections run on.
    ///
    /// # Errors
    ///
    /// [`ProxyError::Listen`].
    pub async fn start(upstream: SocketAddr, seed: u64) -> Result<Self, ProxyError> {
        let failed = |source| ProxyError::Listen { source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let hub = Arc::new(Hub::new(seed));
        let (running, stopped) = oneshot::channel();
        let task = tokio::spawn(listen(listener, upstream, Arc::clone(&hub), stopped));
        Ok(Self { address, hub, running, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins a disturbance, for the connections that are open and those to come. Several may overlap.
    pub fn begin(&self, disturbance: Disturbance) -> DisturbanceId {
        self.hub.begin(disturbance)
    }

    /// Ends it: what it held back flows on, in order. Ending it again does nothing.
    pub fn end(&self, id: DisturbanceId) {
        self.hub.end(id);
    }

    /// How often it has acted so far; [`What`] says what counts. Still told after its end.
    pub fn done(&self, id: DisturbanceId) -> u64 {
        self.hub.done(id)
    }

    /// The messages that it has acted on so far, in the order in which it did: of a cut the one whose settlement it
    /// swallowed. Those without a stamp are not told, nor settlements and connections, nor more than the first 10,000.
    pub fn hits(&self, id: DisturbanceId) -> Vec<Hit> {
        self.hub.hits(id)
    }

    /// Whether no open connection has still to carry out what it orders: [`What::Reset`] and [`What::Close`] end theirs a
    /// moment after they began.
    pub fn is_carried_out(&self, id: DisturbanceId) -> bool {
        self.hub.is_carried_out(id)
    }

    /// Whether no disturbance is at work, none has left an order to be carried out, and nothing is held back.
    pub fn is_clear(&self) -> bool {
        self.hub.is_clear()
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.hub.open()
    }

    /// Connections that came so far, refused ones among them.
    pub fn accepted(&self) -> u64 {
        self.hub.accepted()
    }

    /// Cuts all connections and waits until nothing is left.
    pub async fn stop(self) {
        drop(self.running);
        let _ = self.task.await;
    }
}

/// Takes connections until it is told to stop; what it started ends with it.
async fn listen(listener: TcpListener, upstream: SocketAddr, hub: Arc<Hub>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => match hub.admit() {
                    Some(admitted) => drop(connections.spawn(connection::serve(admitted, client, upstream))),
                    None => drop(client.set_zero_linger()),
                },
                Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}
