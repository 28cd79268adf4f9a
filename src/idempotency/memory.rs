//! No store, and a store in the memory of each member, which all of its sessions share. The effects are in a world
//! outside of both, which survives.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::session::{Batch, Next, Step, ask};
use super::{Audit, EffectId, IdSet, removed_max};

/// The effects of all members.
#[derive(Debug)]
pub(super) struct World {
    effects: Arc<Mutex<Audit>>,
    /// How long members remember; none: they keep no ids at all.
    memory: Option<Option<u64>>,
    /// What each member's process has in its memory, by the member's number.
    processes: Mutex<BTreeMap<usize, Arc<Mutex<Process>>>>,
}

/// One session of a member's process.
#[derive(Debug)]
pub(super) struct Member {
    effects: Arc<Mutex<Audit>>,
    process: Option<Arc<Mutex<Process>>>,
}

/// A member's process, and those that take its place.
#[derive(Debug)]
struct Process {
    /// How often it has died.
    deaths: u64,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    Forever(IdSet),
    For {
        window_us: u64,
        at_us: FxHashMap<EffectId, u64>,
        /// As they came, to be forgotten in that order.
        order: VecDeque<(u64, EffectId)>,
    },
}

impl World {
    pub(super) fn new(memory: Option<Option<u64>>) -> Self {
        Self { effects: Arc::default(), memory, processes: Mutex::default() }
    }

    pub(super) fn member(&self, number: usize) -> Member {
        let process = self.memory.map(|window_us| {
            let new = || Arc::new(Mutex::new(Process { deaths: 0, seen: Seen::nothing(window_us) }));
            Arc::clone(lock(&self.processes).entry(number).or_insert_with(new))
        });
        Member { effects: Arc::clone(&self.effects), process }
    }

    pub(super) fn audit(&self) -> Audit {
        lock(&self.effects).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    pub(super) fn keeps_no_ids(&self) -> bool {
        self.process.is_none()
    }

    pub(super) fn crash(&mut self) {
        let Some(process) = &self.process else { return };
        let Process { deaths, seen } = &mut *lock(process);
        *deaths += 1;
        *seen = Seen::nothing(match seen {
            Seen::Forever(_) => None,
            Seen::For { window_us, .. } => Some(*window_us),
        });
    }

    /// Applies every delivery; says whether the member is still alive.
    pub(super) async fn apply_all<F, Fut>(&self, ids: &[EffectId], mut hook: Option<F>) -> bool
    where
        F: FnMut(Step) -> Fut,
        Fut: Future<Output = Next>,
    {
        if ask(&mut hook, Step::BeforeEffect).await == Next::Die {
            return false;
        }
        self.apply(ids);
        ask(&mut hook, Step::AfterEffect).await == Next::GoOn && ask(&mut hook, Step::AfterRecord).await == Next::GoOn
    }

    /// The ids whose effects were applied; none where the member died.
    pub(super) async fn handle<F, Fut>(&mut self, batch: Batch, mut hook: Option<F>) -> Option<Vec<EffectId>>
    where
        F: FnMut(Step) -> Fut,
        Fut: Future<Output = Next>,
    {
        let Batch { mut ids, now_us } = batch;
        let handled = ids.len();
        let mut begun_after = 0;
        if let Some(process) = &self.process {
            let process = lock(process);
            begun_after = process.deaths;
            ids.retain(|id| !process.seen.knows(*id, now_us));
        }
        if ask(&mut hook, Step::BeforeEffect).await == Next::Die {
            return None;
        }
        self.apply(&ids);
        if ask(&mut hook, Step::AfterEffect).await == Next::Die {
            return None;
        }
        if let Some(process) = &self.process {
            let Process { deaths, seen } = &mut *lock(process);
            // What another session's crash has ended meanwhile does not write into the memory of its successor.
            if *deaths == begun_after {
                seen.record(&ids, now_us);
                seen.forget(now_us, removed_max(handled));
            }
        }
        (ask(&mut hook, Step::AfterRecord).await == Next::GoOn).then_some(ids)
    }

    fn apply(&self, ids: &[EffectId]) {
        let mut effects = lock(&self.effects);
        ids.iter().for_each(|id| effects.add(*id));
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        let Some(process) = &self.process else { return 0 };
        match &lock(process).seen {
            Seen::Forever(ids) => ids.len() as usize,
            Seen::For { at_us, order, .. } => at_us.len().max(order.len()),
        }
    }
}

impl Seen {
    fn nothing(window_us: Option<u64>) -> Self {
        match window_us {
            None => Self::Forever(IdSet::default()),
            Some(window_us) => Self::For { window_us, at_us: FxHashMap::default(), order: VecDeque::new() },
        }
    }

    fn knows(&self, id: EffectId, now_us: u64) -> bool {
        match self {
            Self::Forever(ids) => ids.contains(id),
            Self::For { window_us, at_us, .. } => {
                at_us.get(&id).is_some_and(|at| *at >= now_us.saturating_sub(*window_us))
            }
        }
    }

    fn record(&mut self, ids: &[EffectId], now_us: u64) {
        match self {
            Self::Forever(known) => ids.iter().for_each(|id| _ = known.insert(*id)),
            Self::For { at_us, order, .. } => {
                at_us.extend(ids.iter().map(|id| (*id, now_us)));
                order.extend(ids.iter().map(|id| (now_us, *id)));
            }
        }
    }

    fn forget(&mut self, now_us: u64, most: usize) {
        let Self::For { window_us, at_us, order } = self else { return };
        let cutoff = now_us.saturating_sub(*window_us);
        for _ in 0..most {
            let Some((at, id)) = order.front().copied().filter(|(at, _)| *at < cutoff) else { return };
            order.pop_front();
            // It may have come again since, and is then remembered from that time on.
            if at_us.get(&id) == Some(&at) {
                at_us.remove(&id);
            }
        }
    }
}
