//! Queues and connections, broken through the broker's management API. Uses `plan`, `broker` and `client`.

use std::time::{Duration, Instant};

use super::{Drivers, FaultError, LOOK_EVERY};
use crate::broker::Management;
use crate::plan::{FaultKind, Plan};

/// How long a new connection may take to be listed: the statistics of a broker that is not ours are 5 s old.
const LISTED_WITHIN: Duration = Duration::from_secs(12);

/// Waits until the API lists the connections of `fleets`, which it does only a while after they were opened.
pub(super) async fn listed(management: &Management, plan: &Plan, fleets: &[String]) {
    let start = Instant::now();
    while start.elapsed() < LISTED_WITHIN {
        // Where the API does not answer, closing them will say so.
        if open(management, fleets).await.is_ok_and(|open| open.len() >= planned(plan, fleets)) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Names of the connections of `fleets`, and of nobody else: others of the same broker are none of ours.
async fn open(management: &Management, fleets: &[String]) -> Result<Vec<String>, FaultError> {
    let of_fleet = |name: &str| {
        let rest = name.strip_prefix("lurcher ").unwrap_or_default();
        rest.rsplit_once('/').is_some_and(|(fleet, _)| fleets.iter().any(|named| named == fleet))
    };
    let mut open = management.connections().await?;
    open.retain(|connection| connection.user_provided_name.as_deref().is_some_and(of_fleet));
    Ok(open.into_iter().map(|connection| connection.name).collect())
}

/// Closes the connections of `fleets`; how many.
pub(super) async fn close_connections(management: &Management, fleets: &[String]) -> Result<u64, FaultError> {
    let mut closed = 0;
    for connection in open(management, fleets).await? {
        closed += u64::from(management.close_connection(&connection).await?);
    }
    match closed {
        0 => Err(FaultError::Nothing { what: format!("no open connection of {}", fleets.join(", ")) }),
        closed => Ok(closed),
    }
}

/// Connections that `fleets` have in the plan.
fn planned(plan: &Plan, fleets: &[String]) -> usize {
    let named = |name: &String| fleets.contains(name);
    let producers = plan.producers.iter().filter(|fleet| named(&fleet.name));
    let consumers = plan.consumers.iter().filter(|fleet| named(&fleet.name));
    let of_producers = producers.filter_map(|fleet| fleet.publishers.iter().map(|one| one.connection + 1).max());
    let of_consumers = consumers.filter_map(|fleet| fleet.subscribers.iter().map(|one| one.connection + 1).max());
    of_producers.chain(of_consumers).sum::<u32>() as usize
}

/// Purges or deletes a queue.
pub(super) async fn empty(management: &Management, kind: FaultKind, queue: &str) -> Result<(), FaultError> {
    match kind {
        FaultKind::QueueDelete => Ok(management.delete_queue(queue).await?),
        _ => Ok(management.purge(queue).await?),
    }
}

/// Declares a queue again with its bindings, as it was; it stays as it is where it is there.
pub(super) async fn declare(drivers: &Drivers<'_>, name: &str) -> Result<(), FaultError> {
    let (queue, bindings) = declaration(&drivers.plan, name)?;
    let connection = drivers.client.connect(drivers.broker.endpoint(), "lurcher heal").await?;
    let declared = connection.declare(&queue, &bindings).await;
    connection.close(Duration::from_secs(2)).await;
    Ok(declared?)
}

fn declaration(plan: &Plan, name: &str) -> Result<(crate::plan::QueuePlan, Vec<crate::plan::BindingPlan>), FaultError> {
    let nothing = || FaultError::Nothing { what: format!("the plan has no queue `{name}`") };
    let queue = plan.topology.queues.iter().find(|queue| queue.name == name).cloned().ok_or_else(nothing)?;
    let bindings = plan.topology.bindings.iter();
    let bindings = bindings.filter(|binding| !binding.to_exchange && binding.destination == name);
    Ok((queue, bindings.cloned().collect()))
}
