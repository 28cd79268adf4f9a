//! What a member of a fleet holds of a store: it hands over its deliveries, and learns which were applied.

use std::future::{Future, Ready};

use rustc_hash::FxHashSet;

use super::error::StoreError;
use super::{EffectId, MAX_SEQUENCE, memory, postgres, sqlite};

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// Its effect was applied.
    Applied,
    /// Its id was known: nothing was done.
    Repeated,
}

/// A point between the steps of a batch, at which a member can wait, work or die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The ids were looked up; nothing was applied. Within one transaction they are recorded, and not yet committed.
    BeforeEffect,
    /// The effects were applied: committed under [`super::Discipline::CheckThenAct`], not yet within one transaction.
    AfterEffect,
    /// All is committed; the ack is still to come.
    AfterRecord,
}

/// What a member does at a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    GoOn,
    /// Its process dies: see [`Session::crash`].
    Die,
}

/// A connection of a member's own to the store, or its own memory.
#[derive(Debug)]
pub struct Session {
    member: Member,
    handled: Vec<Handled>,
}

#[derive(Debug)]
pub(super) enum Member {
    Memory(memory::Member),
    Sqlite(sqlite::Member),
    Postgres(Box<postgres::Member>),
}

/// Each id of a batch once, in order, so that members who record the same ids never wait for each other in a ring.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) ids: Vec<EffectId>,
    pub(super) now_us: u64,
}

/// Asks a hook, where there is one.
pub(super) async fn ask<F, Fut>(hook: &mut Option<F>, step: Step) -> Next
where
    F: FnMut(Step) -> Fut,
    Fut: Future<Output = Next>,
{
    match hook {
        Some(hook) => hook(step).await,
        None => Next::GoOn,
    }
}

impl Session {
    pub(super) fn new(member: Member) -> Self {
        Self { member, handled: Vec::new() }
    }

    /// Looks up, applies and records a batch, and says of each delivery what became of it. A batch that holds an id
    /// twice applies it once, whatever the discipline: the member sees that itself. Without a store every delivery is
    /// applied. After an error it is unknown what was applied; the next batch starts over with a new connection.
    ///
    /// # Errors
    /// Where the store cannot be reached or refuses.
    pub async fn handle(&mut self, ids: &[EffectId], now_us: u64) -> Result<&[Handled], StoreError> {
        let _never_died = self.run(ids, now_us, None::<fn(Step) -> Ready<Next>>).await?;
        Ok(&self.handled)
    }

    /// Like [`Session::handle`], with `hook` between the steps: for simulated work, and for faults. None where the hook
    /// let the member die.
    ///
    /// # Errors
    /// Where the store cannot be reached or refuses.
    pub async fn handle_with<F, Fut>(
        &mut self,
        ids: &[EffectId],
        now_us: u64,
        hook: F,
    ) -> Result<Option<&[Handled]>, StoreError>
    where
        F: FnMut(Step) -> Fut,
        Fut: Future<Output = Next>,
    {
        let alive = self.run(ids, now_us, Some(hook)).await?;
        Ok(alive.then_some(self.handled.as_slice()))
    }

    /// Works on a batch up to `step`, and dies there.
    ///
    /// # Errors
    /// Where the store cannot be reached or refuses.
    pub async fn handle_until(&mut self, ids: &[EffectId], now_us: u64, step: Step) -> Result<(), StoreError> {
        let hook = |reached| std::future::ready(if reached == step { Next::Die } else { Next::GoOn });
        self.handle_with(ids, now_us, hook).await?;
        Ok(())
    }

    /// The member's process dies: what it kept in its own memory is gone, an open transaction is rolled back, and the
    /// connection is cut without a farewell. The next batch is one of the process that took its place.
    pub fn crash(&mut self) {
        match &mut self.member {
            Member::Memory(member) => member.crash(),
            Member::Sqlite(member) => member.crash(),
            Member::Postgres(member) => member.crash(),
        }
    }

    /// The connection goes with the member's process, whose memory another session's [`Session::crash`] has ended: once
    /// for each death, or it would end that of the process which took its place.
    pub fn cut(&mut self) {
        match &mut self.member {
            Member::Memory(_) => {}
            Member::Sqlite(member) => member.crash(),
            Member::Postgres(member) => member.crash(),
        }
    }

    /// Ids that the member's own memory holds.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        match &self.member {
            Member::Memory(member) => member.remembered(),
            Member::Sqlite(_) | Member::Postgres(_) => 0,
        }
    }

    /// Whether the member is still alive after the batch.
    async fn run<F, Fut>(&mut self, ids: &[EffectId], now_us: u64, hook: Option<F>) -> Result<bool, StoreError>
    where
        F: FnMut(Step) -> Fut,
        Fut: Future<Output = Next>,
    {
        self.handled.clear();
        let batch = Batch::of(ids, now_us)?;
        let applied = match &mut self.member {
            Member::Memory(member) if member.keeps_no_ids() => {
                let alive = member.apply_all(ids, hook).await;
                self.handled.resize(if alive { ids.len() } else { 0 }, Handled::Applied);
                return Ok(alive);
            }
            Member::Memory(member) => member.handle(batch, hook).await,
            Member::Sqlite(member) => member.handle(batch, hook).await?,
            Member::Postgres(member) => member.handle(batch, hook).await?,
        };
        let Some(applied) = applied else {
            self.crash();
            return Ok(false);
        };
        let mut applied: FxHashSet<EffectId> = applied.into_iter().collect();
        let of = |id: &EffectId| if applied.remove(id) { Handled::Applied } else { Handled::Repeated };
        self.handled.extend(ids.iter().map(of));
        Ok(true)
    }
}

impl Batch {
    fn of(ids: &[EffectId], now_us: u64) -> Result<Self, StoreError> {
        if let Some(id) = ids.iter().find(|id| id.sequence > MAX_SEQUENCE) {
            return Err(StoreError::IdTooLarge { id: *id });
        }
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        Ok(Self { ids, now_us })
    }
}
