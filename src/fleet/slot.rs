//! One connection of a fleet, shared by the channels on it, and opened again when it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard, watch};

use super::{Shared, Stage, backoff, reached};
use crate::client::{Client, ClientError, Connection, Notice};
use crate::endpoint::Endpoint;
use crate::ledger::incidents::IncidentKind;
use crate::plan::{BindingPlan, QueuePlan};

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Where a fleet's connections come from.
pub struct Source {
    /// Opens connections.
    pub client: Arc<dyn Client>,
    /// Where to.
    pub endpoint: Endpoint,
    /// Queues that live and die with their connection, each with its bindings, by the fleet that consumes them.
    pub exclusive: Vec<(QueuePlan, Vec<BindingPlan>)>,
}

/// One connection of a fleet.
pub struct Slot {
    shared: Arc<Shared>,
    source: Source,
    fleet: String,
    member: u32,
    name: String,
    seed: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Rises with each connection, so that several channels can report the loss of one, and it counts once.
    generation: u64,
    connection: Option<Arc<dyn Connection>>,
}

/// A connection, and which of the slot's it is.
#[derive(Clone)]
pub struct Held {
    pub(super) generation: u64,
    /// The connection itself.
    pub connection: Arc<dyn Connection>,
}

/// A slot that opens no connection for as long as this is held.
pub(super) struct Grip<'a> {
    slot: &'a Slot,
    state: MutexGuard<'a, State>,
}

impl Grip<'_> {
    /// Cuts the connection, if there is one, without a word to the broker. Its channels will tell of it.
    pub(super) fn cut(mut self, reason: &str) {
        if let Some(connection) = self.state.connection.take() {
            connection.cut(reason);
            self.slot.journal(IncidentKind::Disconnected, reason.to_owned());
        }
    }
}

/// Why a slot gives no connection any more: it is time to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving;

impl Slot {
    /// A slot without a connection yet. `name` is what the broker shows.
    pub fn new(shared: Arc<Shared>, source: Source, fleet: &str, member: u32, connection: u32, seed: u64) -> Self {
        let name = format!("lurcher {fleet}/{member} #{connection}");
        let fleet = fleet.to_owned();
        Self { shared, source, fleet, member, name, seed, state: Mutex::default() }
    }

    async fn open(&self) -> Result<Arc<dyn Connection>, ClientError> {
        let connection: Arc<dyn Connection> =
            Arc::from(self.source.client.connect(&self.source.endpoint, &self.name).await?);
        for (queue, bindings) in &self.source.exclusive {
            connection.declare(queue, bindings).await?;
        }
        Ok(connection)
    }

    /// Opens the slot's first connection. What fails here ends the run: nothing was sent yet.
    ///
    /// # Errors
    /// What the broker or the system says.
    pub async fn open_first(&self) -> Result<(), ClientError> {
        let connection = self.open().await?;
        let mut state = self.state.lock().await;
        *state = State { generation: state.generation + 1, connection: Some(connection) };
        Ok(())
    }

    /// The connection; after `failed` a new one, once that is open. `reason` says why the old one failed.
    pub(super) async fn get(
        &self,
        failed: Option<(u64, &ClientError)>,
        stage: &mut watch::Receiver<Stage>,
    ) -> Result<Held, Leaving> {
        tokio::select! {
            biased;
            held = self.get_however_long(failed) => Ok(held),
            () = reached(stage, Stage::Leave) => Err(Leaving),
        }
    }

    async fn get_however_long(&self, failed: Option<(u64, &ClientError)>) -> Held {
        let mut state = self.state.lock().await;
        if let Some((generation, reason)) = failed
            && generation == state.generation
            && state.connection.take().is_some()
        {
            self.journal(IncidentKind::Disconnected, reason.to_string());
        }
        let mut attempt = 0;
        loop {
            if let Some(connection) = &state.connection {
                return Held { generation: state.generation, connection: Arc::clone(connection) };
            }
            tokio::time::sleep(backoff::wait(self.seed, attempt)).await;
            match self.open().await {
                Ok(connection) => {
                    *state = State { generation: state.generation + 1, connection: Some(connection) };
                    self.journal(IncidentKind::Reconnected, format!("after {} attempts", attempt + 1));
                }
                Err(error) => {
                    self.journal(IncidentKind::ReconnectFailed, error.to_string());
                    attempt += 1;
                }
            }
        }
    }

    /// Keeps the slot from opening a connection, to cut the one that is there.
    pub(super) async fn grip(&self) -> Grip<'_> {
        Grip { state: self.state.lock().await, slot: self }
    }

    /// The connection as it is, without waiting for a new one.
    pub async fn current(&self) -> Option<Arc<dyn Connection>> {
        self.state.lock().await.connection.clone()
    }

    /// Journals what the connection says of itself. One that is being opened has nothing to say.
    pub fn listen(&self) {
        let connection = self.state.try_lock().ok().and_then(|state| state.connection.clone());
        if let Some(connection) = connection {
            self.journal_notices(&*connection);
        }
    }

    /// Journals what the connection says of itself.
    pub(super) fn journal_notices(&self, connection: &dyn Connection) {
        for (at, notice) in connection.take_notices() {
            let (kind, reason) = match notice {
                Notice::Blocked { reason } => (IncidentKind::Blocked, reason),
                Notice::Unblocked => (IncidentKind::Unblocked, String::new()),
            };
            self.shared.incident(at, &self.fleet, self.member, kind, reason);
        }
    }

    pub(super) fn journal(&self, kind: IncidentKind, detail: String) {
        self.shared.incident(Instant::now(), &self.fleet, self.member, kind, detail);
    }

    /// Closes the connection with a goodbye.
    pub async fn close(&self) {
        let connection = self.state.lock().await.connection.take();
        if let Some(connection) = connection {
            self.journal_notices(&*connection);
            connection.close(GOODBYE).await;
        }
    }
}
