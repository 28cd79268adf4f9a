//! No store, and a store in the memory of each member. The effects are in a world outside of both, which survives.

use std::collections::VecDeque;
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
}

/// One member's process.
#[derive(Debug)]
pub(super) struct Member {
    effects: Arc<Mutex<Audit>>,
    seen: Option<Seen>,
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
        Self { effects: Arc::default(), memory }
    }

    pub(super) fn member(&self) -> Member {
        Member { effects: Arc::clone(&self.effects), seen: self.memory.map(Seen::nothing) }
    }

    pub(super) fn audit(&self) -> Audit {
        lock(&self.effects).clone()
    }
}

fn lock(effects: &Mutex<Audit>) -> MutexGuard<'_, Audit> {
    effects.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    pub(super) fn keeps_no_ids(&self) -> bool {
        self.seen.is_none()
    }

    pub(super) fn crash(&mut self) {
        if let Some(seen) = &mut self.seen {
            *seen = Seen::nothing(match seen {
                Seen::Forever(_) => None,
                Seen::For { window_us, .. } => Some(*window_us),
            });
        }
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
        ids.retain(|id| !self.seen.as_ref().is_some_and(|seen| seen.knows(*id, now_us)));
        if ask(&mut hook, Step::BeforeEffect).await == Next::Die {
            return None;
        }
        self.apply(&ids);
        if ask(&mut hook, Step::AfterEffect).await == Next::Die {
            return None;
        }
        if let Some(seen) = &mut self.seen {
            seen.record(&ids, now_us);
            seen.forget(now_us, removed_max(handled));
        }
        (ask(&mut hook, Step::AfterRecord).await == Next::GoOn).then_some(ids)
    }

    fn apply(&self, ids: &[EffectId]) {
        let mut effects = lock(&self.effects);
        ids.iter().for_each(|id| effects.add(*id));
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        match &self.seen {
            None => 0,
            Some(Seen::Forever(ids)) => ids.len() as usize,
            Some(Seen::For { at_us, order, .. }) => at_us.len().max(order.len()),
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
