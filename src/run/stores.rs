//! The stores of idempotent consumers: opened before the fleets, read after them, and removed with all that was made.
//!
//! Each fleet has one for each of its queues, so that a message which is routed to two of them has two effects.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;

use super::routes::PlanDestinations;
use super::{Job, RunError, noting};
use crate::endpoint::Secret;
use crate::idempotency::{Audit, Discipline, EffectId, Effects, Options, Server, Session, StoreError, StoreKind};
use crate::ledger::effects::{Applied, Beyond, Times};
use crate::plan::{self, ConsumerFleet, IdempotencyPlan, Plan, Store, Subscriber};
use crate::record::StoreRow;
use crate::units::Span;

/// How long reading one store may take.
const READ_WITHIN: Duration = Duration::from_secs(120);
/// How long reading all of them may take after an interrupt.
const READ_AFTER_INTERRUPT: Duration = Duration::from_secs(2);

/// The stores of a run, and the server that several of them share.
pub(super) struct Stores {
    open: Vec<OpenStore>,
    server: Option<Server>,
}

struct OpenStore {
    row: StoreRow,
    queue: usize,
    destination: u32,
    effects: Effects,
}

/// What a store said after the run.
pub(super) struct StoreRead {
    pub(super) row: StoreRow,
    /// The destination of the ledger whose effects these are.
    pub(super) destination: u32,
    /// None where it could not be read; the row says why.
    pub(super) audit: Option<Audit>,
}

/// Destinations whose consumers have effects.
pub(super) fn destinations<'a>(plan: &'a Plan, destinations: &'a PlanDestinations) -> impl Iterator<Item = u32> + 'a {
    let queues = plan.consumers.iter().filter(|fleet| fleet.idempotency.is_some()).flat_map(|fleet| &fleet.queues);
    queues.map(|queue| destinations.by_queue[*queue][0])
}

impl Stores {
    /// Makes them, all empty, and the server that they need.
    pub(super) async fn open(job: &Job, run: u32, destinations: &PlanDestinations) -> Result<Self, RunError> {
        let (plan, urls) = (&*job.plan, &job.store_urls);
        let mut stores = Self { open: Vec::new(), server: None };
        for fleet in &plan.consumers {
            let Some(idempotency) = &fleet.idempotency else { continue };
            let failed = |error| RunError::Store { fleet: fleet.name.clone(), source: Box::new(error) };
            let url = urls.get(&fleet.name);
            if idempotency.store == Store::Postgres && url.is_none() && stores.server.is_none() {
                let started = Server::start(job.postgres_image.as_deref(), &job.id, &noting(job)).await;
                stores.server = Some(started.map_err(failed)?);
            }
            let url = url.or(stores.server.as_ref().map(Server::url));
            for queue in &fleet.queues {
                let options = Options {
                    kind: kind(idempotency, url),
                    discipline: discipline(idempotency.discipline),
                    window: idempotency.window_us.map(|us| Span(Duration::from_micros(us))),
                    run,
                    scope: stores.open.len() as u16,
                };
                let effects = Effects::open(&options).await.map_err(failed)?;
                let queue_name = plan.topology.queues[*queue].name.clone();
                stores.open.push(OpenStore {
                    row: row(fleet, idempotency, queue_name),
                    queue: *queue,
                    destination: destinations.by_queue[*queue][0],
                    effects,
                });
            }
        }
        Ok(stores)
    }

    /// The sessions of a subscriber, none where its fleet has no effects: by destination those of its own queues, and
    /// those that tell the other queues' memories when its member dies.
    pub(super) async fn sessions(
        &self,
        fleet: &ConsumerFleet,
        subscriber: &Subscriber,
    ) -> Result<(Vec<(u32, Session)>, Vec<Session>), StoreError> {
        let (mut sessions, mut beside) = (Vec::new(), Vec::new());
        let has_memory = fleet.idempotency.as_ref().is_some_and(|plan| plan.store == Store::Memory);
        for store in self.open.iter().filter(|store| store.row.fleet == fleet.name) {
            let is_its = subscriber.queues.contains(&store.queue);
            if is_its || has_memory {
                let session = store.effects.session(subscriber.member as usize).await?;
                if is_its { sessions.push((store.destination, session)) } else { beside.push(session) }
            }
        }
        Ok((sessions, beside))
    }

    /// Reads all of them; what has not been read a little after `interruption` is left.
    pub(super) async fn read(&self, interruption: impl Future<Output = ()>) -> Vec<StoreRead> {
        let broken_off = async {
            interruption.await;
            tokio::time::sleep(READ_AFTER_INTERRUPT).await;
        };
        let mut broken_off = std::pin::pin!(broken_off.shared());
        let mut all = Vec::new();
        for OpenStore { row, destination, effects, .. } in &self.open {
            let audit = tokio::select! {
                biased;
                audit = tokio::time::timeout(READ_WITHIN, effects.audit()) => match audit {
                    Ok(audit) => audit.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("it was not read within {READ_WITHIN:?}")),
                },
                () = &mut broken_off => Err("the run was interrupted before it was read".to_owned()),
            };
            let row = StoreRow { error: audit.as_ref().err().cloned(), ..row.clone() };
            all.push(StoreRead { row, destination: *destination, audit: audit.ok() });
        }
        all
    }

    /// Removes all that was made, the newest first: of several in one file, the first one made the file. What stays.
    pub(super) async fn close(self) -> Vec<StoreError> {
        let mut stay = Vec::new();
        for store in self.open.into_iter().rev() {
            stay.extend(store.effects.close().await.err());
        }
        if let Some(server) = self.server {
            stay.extend(server.stop().await.err());
        }
        stay
    }
}

fn kind(idempotency: &IdempotencyPlan, url: Option<&Secret>) -> StoreKind {
    match idempotency.store {
        Store::None => StoreKind::None,
        Store::Memory => StoreKind::Memory,
        Store::Sqlite => StoreKind::Sqlite { path: idempotency.path.as_ref().map(PathBuf::from) },
        Store::Postgres => StoreKind::Postgres { url: url.cloned() },
    }
}

fn discipline(planned: plan::Discipline) -> Discipline {
    match planned {
        plan::Discipline::OneTransaction => Discipline::OneTransaction,
        plan::Discipline::CheckThenAct => Discipline::CheckThenAct,
    }
}

fn row(fleet: &ConsumerFleet, idempotency: &IdempotencyPlan, queue: String) -> StoreRow {
    StoreRow {
        fleet: fleet.name.clone(),
        queue,
        store: idempotency.store.to_string(),
        discipline: idempotency.discipline.to_string(),
        window_us: idempotency.window_us,
        error: None,
    }
}

impl Applied for Audit {
    fn times(&self, publisher: u16, sequence: u64) -> Times {
        let id = EffectId { publisher, sequence };
        if !self.applied().contains(id) {
            Times::Never
        } else if !self.again().contains(id) {
            Times::Once
        } else {
            Times::Again(self.times_listed(id))
        }
    }

    fn beyond(&self, publisher: u16, sequence: u64) -> Beyond<'_> {
        let runs = move || self.applied().present(publisher, sequence..u64::MAX);
        Beyond { count: runs().map(|run| run.end - run.start).sum(), sequences: Box::new(runs().flatten()) }
    }

    fn publishers(&self) -> Vec<u16> {
        self.applied().publishers().collect()
    }
}
