//! What the connections of a proxy share: the disturbances at work, and orders to single connections. Uses no room.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use super::disturbance::{Disturbance, DisturbanceId, What};
use super::rule::{Hit, Rule, Rules, locked};

/// A way to end a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Reset,
    Close,
}

/// A connection, as the hub sees it.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub number: u64,
    order: Mutex<Option<(Cut, Arc<Rule>)>>,
    ordered: Notify,
    holds: AtomicBool,
}

impl Entry {
    /// Ready when there is an order.
    pub async fn ordered(&self) {
        self.ordered.notified().await;
    }

    /// The order to end, where there is one.
    pub fn order(&self) -> Option<(Cut, Arc<Rule>)> {
        locked(&self.order).clone()
    }

    /// Says whether something is held back on it.
    pub fn set_holds(&self, holds: bool) {
        self.holds.store(holds, Ordering::Release);
    }

    fn is_clear(&self) -> bool {
        !self.holds.load(Ordering::Acquire) && locked(&self.order).is_none()
    }
}

#[derive(Debug, Default)]
struct Register {
    rules: Vec<Arc<Rule>>,
    open: BTreeMap<u64, Arc<Entry>>,
}

/// What the connections share.
#[derive(Debug)]
pub(super) struct Hub {
    pub seed: u64,
    register: Mutex<Register>,
    accepted: AtomicU64,
    /// The rules at work, in the order in which they began.
    at_work: watch::Sender<Vec<Arc<Rule>>>,
}

impl Hub {
    pub fn new(seed: u64) -> Self {
        let at_work = watch::Sender::new(Vec::new());
        Self { seed, register: Mutex::default(), accepted: AtomicU64::new(0), at_work }
    }

    /// Tells of changes to the rules at work.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Arc<Rule>>> {
        self.at_work.subscribe()
    }

    /// The rules among `at_work` that a connection is subject to.
    pub fn rules_of(&self, connection: u64, at_work: &[Arc<Rule>]) -> Rules {
        Rules::new(at_work.iter().filter(|rule| rule.covers(self.seed, connection)).cloned().collect())
    }

    pub fn begin(&self, disturbance: Disturbance) -> DisturbanceId {
        let mut register = locked(&self.register);
        let id = register.rules.len() as u64;
        let rule = Arc::new(Rule::new(id, disturbance));
        register.rules.push(Arc::clone(&rule));
        let cut = match rule.what() {
            What::Reset => Some(Cut::Reset),
            What::Close => Some(Cut::Close),
            _ => None,
        };
        if let Some(cut) = cut {
            for entry in register.open.values().filter(|entry| rule.covers(self.seed, entry.number)) {
                locked(&entry.order).get_or_insert((cut, Arc::clone(&rule)));
                entry.ordered.notify_one();
            }
        }
        self.at_work.send_modify(|rules| rules.push(rule));
        DisturbanceId(id)
    }

    pub fn end(&self, id: DisturbanceId) {
        if let Some(rule) = locked(&self.register).rules.get(id.0 as usize) {
            rule.end();
            self.at_work.send_modify(|rules| rules.retain(|rule| rule.id != id.0));
        }
    }

    pub fn done(&self, id: DisturbanceId) -> u64 {
        locked(&self.register).rules.get(id.0 as usize).map_or(0, |rule| rule.done())
    }

    pub fn hits(&self, id: DisturbanceId) -> Vec<Hit> {
        locked(&self.register).rules.get(id.0 as usize).map_or_else(Vec::new, |rule| rule.hits())
    }

    pub fn is_carried_out(&self, id: DisturbanceId) -> bool {
        locked(&self.register).open.values().all(|entry| entry.order().is_none_or(|(_, rule)| rule.id != id.0))
    }

    pub fn is_clear(&self) -> bool {
        // One lock at a time: a rule begins and ends under both.
        let is_idle = self.at_work.borrow().is_empty();
        is_idle && locked(&self.register).open.values().all(|entry| entry.is_clear())
    }

    pub fn open(&self) -> usize {
        locked(&self.register).open.len()
    }

    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// A connection came: its entry, or none where it is refused.
    pub fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let mut register = locked(&self.register);
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        let refused = |rule: &Arc<Rule>| *rule.what() == What::Refuse && rule.covers(self.seed, number);
        if let Some(rule) = self.at_work.borrow().iter().find(|rule| refused(rule)) {
            rule.acted();
            return None;
        }
        let entry = Arc::new(Entry { number, ..Entry::default() });
        register.open.insert(number, Arc::clone(&entry));
        Some(Admitted { hub: Arc::clone(self), entry })
    }
}

/// A connection that is open; leaves the register when it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    pub hub: Arc<Hub>,
    pub entry: Arc<Entry>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        locked(&self.hub.register).open.remove(&self.entry.number);
    }
}
