//! A broker that is already there: reached, never started, never removed.

use std::time::Duration;

use super::address::{self, ExternalUrls};
use super::error::BrokerError;
use super::facts::Facts;
use super::handshake;
use super::management::Management;
use super::node::Node;
use super::{Note, Removal, Started, tls};
use crate::plan::BrokerPlan;

/// Logs in once, to AMQP and where it is known to the management API.
pub(super) async fn reach(plan: &BrokerPlan, urls: &ExternalUrls, note: Note<'_>) -> Result<Started, BrokerError> {
    let files = plan.tls.as_ref().map(tls::files);
    let heartbeat = plan.heartbeat_us.map(Duration::from_micros);
    let endpoint = address::amqp(&urls.amqp, files, plan.auth_external, heartbeat)?;
    let management = match &urls.management {
        Some(url) => Some(Management::new(address::management(url, &endpoint)?, None)?),
        None => None,
    };
    note(format!("reaching {endpoint}"));
    handshake::attempt(&endpoint).await?;
    let mut facts = Facts::new("external", &endpoint);
    if let Some(management) = &management {
        facts.ask(management, &[]).await?;
    }
    let nodes = facts.nodes.iter().cloned().map(Node::external).collect();
    Ok(Started { endpoint, management, facts, nodes, root: None, removal: Removal::None, _ports: None })
}
