//! What happened to connections and channels: journaled in order, listed up to a limit, counted without one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::lock;

/// Most incidents that are listed. The counts are exact beyond it.
const LISTED: usize = 10_000;

/// Something that happened to a connection or a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When, in microseconds on the run's clock.
    pub at_us: i64,
    /// Fleet.
    pub fleet: String,
    /// Member of the fleet.
    pub member: u32,
    /// What happened.
    pub kind: IncidentKind,
    /// The broker's reply or the system's error.
    pub detail: String,
}

/// What happened to a connection or a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// The connection ended.
    Disconnected,
    /// It was opened again.
    Reconnected,
    /// Opening it again failed.
    ReconnectFailed,
    /// The broker closed the channel.
    ChannelClosed,
    /// The broker cancelled a subscription.
    Cancelled,
    /// The broker blocked the connection.
    Blocked,
    /// The broker unblocked it.
    Unblocked,
    /// A confirm did not come in time.
    ConfirmTimeout,
    /// The store of an idempotent consumer could not be used.
    StoreFailed,
    /// It could be used again.
    StoreRecovered,
}

/// The journal of incidents of a run.
#[derive(Debug, Default)]
pub struct Incidents(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    listed: Vec<Incident>,
    counts: BTreeMap<IncidentKind, u64>,
}

impl Incidents {
    /// Journals one.
    pub fn push(&self, incident: Incident) {
        let mut inner = lock(&self.0);
        *inner.counts.entry(incident.kind).or_default() += 1;
        if inner.listed.len() < LISTED {
            inner.listed.push(incident);
        }
    }

    /// How many there were of a kind.
    pub fn count(&self, kind: IncidentKind) -> u64 {
        lock(&self.0).counts.get(&kind).copied().unwrap_or(0)
    }

    /// How many there were of all kinds.
    pub fn total(&self) -> u64 {
        lock(&self.0).counts.values().sum()
    }

    /// Those that are listed, in order.
    pub fn listed(&self) -> Vec<Incident> {
        lock(&self.0).listed.clone()
    }

    /// Those listed since the first `known`, in order.
    pub fn listed_since(&self, known: usize) -> Vec<Incident> {
        lock(&self.0).listed.iter().skip(known).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_where_the_list_ends() {
        let incidents = Incidents::default();
        for at_us in 0..LISTED as i64 + 5 {
            let (fleet, detail) = ("f".to_owned(), String::new());
            incidents.push(Incident { at_us, fleet, member: 0, kind: IncidentKind::Disconnected, detail });
        }
        assert_eq!((incidents.listed().len(), incidents.total()), (LISTED, LISTED as u64 + 5));
        assert_eq!(incidents.count(IncidentKind::Blocked), 0);
    }
}
