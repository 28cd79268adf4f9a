//! Queues and connections, broken through the broker's management API. Uses `plan`, `broker` and `client`.

use std::time::Duration;

use super::{Drivers, FaultError};
use crate::broker::Management;
use crate::plan::{FaultKind, Plan};

/// Closes the connections of `fleets`, and of nobody else; how many. Others of the same broker are none of ours.
pub(super) async fn close_connections(management: &Management, fleets: &[String]) -> Result<u64, FaultError> {
    let of_fleet = |name: &str| {
        let rest = name.strip_prefix("lurcher ").unwrap_or_default();
        rest.rsplit_once('/').is_some_and(|(fleet, _)| fleets.iter().any(|named| named == fleet))
    };
    let mut closed = 0;
    for connection in management.connections().await? {
        if connection.user_provided_name.as_deref().is_some_and(of_fleet) {
            management.close_connection(&connection.name).await?;
            closed += 1;
        }
    }
    match closed {
        0 => Err(FaultError::Nothing { what: format!("no open connection of {}", fleets.join(", ")) }),
        closed => Ok(closed),
    }
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
