//! Whatever can be broken, in one hand: the drivers' part, and the fleets' own members, which no driver knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::costs::LOOK_EVERY;
use crate::faults::{self, Drivers, Turn};
use crate::fleet::Lives;
use crate::plan::{Broken, FaultPlan, MemberFailure, Members};

/// How long a member may take until it is there again.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);

/// Breaks things.
pub(super) struct Breakers<'a> {
    pub(super) drivers: &'a Drivers<'a>,
    /// Members by the name of their fleet.
    pub(super) lives: BTreeMap<String, Arc<Lives>>,
}

/// Something that is broken now.
pub(super) enum Active<'a> {
    Driven(faults::Active<'a>),
    Members(Failing<'a>),
}

/// Members to whom something happens.
pub(super) struct Failing<'a> {
    fault: &'a FaultPlan,
    failure: &'a MemberFailure,
    members: Vec<(Arc<Lives>, &'a Members)>,
    /// How often it has happened, once it has ended.
    done: u64,
}

impl<'a> Breakers<'a> {
    /// Waits until nothing stands in the way of this fault.
    pub(super) async fn turn(&self, fault: &FaultPlan) -> Turn<'_> {
        self.drivers.turn(fault).await
    }

    /// Breaks it.
    ///
    /// # Errors
    /// Why that failed, as a fragment.
    pub(super) async fn begin(&'a self, fault: &'a FaultPlan, turn: Turn<'a>) -> Result<Active<'a>, String> {
        let Broken::Members { members, failure } = &fault.broken else {
            return self.drivers.begin(fault, turn).await.map(Active::Driven).map_err(|error| error.to_string());
        };
        let lives = |of: &'a Members| {
            let known = self.lives.get(&of.fleet).ok_or_else(|| format!("there is no fleet `{}`", of.fleet));
            known.map(|lives| (Arc::clone(lives), of))
        };
        let members: Vec<_> = members.iter().map(lives).collect::<Result<_, _>>()?;
        members.iter().for_each(|(lives, of)| lives.begin(fault.id, &of.members, failure));
        Ok(Active::Members(Failing { fault, failure, members, done: 0 }))
    }
}

impl Active<'_> {
    /// Waits until there is nothing left to happen; for ever where only time ends it.
    pub(super) async fn spent(&self) {
        match self {
            Self::Members(failing) if failing.failure.strike().is_some() => failing.spent().await,
            _ => std::future::pending().await,
        }
    }

    /// Mends it, and waits until it is whole again.
    ///
    /// # Errors
    /// Why it is not, as a fragment.
    pub(super) async fn heal(&mut self) -> Result<(), String> {
        match self {
            Self::Driven(active) => active.heal().await.map_err(|error| error.to_string()),
            Self::Members(failing) => failing.heal().await,
        }
    }

    /// Publisher and sequence of the messages that it has acted on, as far as they are known.
    pub(super) fn messages(&self) -> Vec<(u16, u64)> {
        match self {
            Self::Driven(active) => active.messages(),
            Self::Members(failing) => failing.messages(),
        }
    }

    /// How often it has acted.
    pub(super) fn done(&self) -> u64 {
        match self {
            Self::Driven(active) => active.done(),
            Self::Members(failing) => failing.done,
        }
    }
}

impl Failing<'_> {
    async fn spent(&self) {
        let least = self.fault.least_done();
        // Who is to stay away for a while does so while the fault lasts.
        while self.happened() < least || !self.are_whole() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn happened(&self) -> u64 {
        self.members.iter().map(|(lives, _)| lives.done(self.fault.id)).sum()
    }

    fn messages(&self) -> Vec<(u16, u64)> {
        self.members.iter().flat_map(|(lives, _)| lives.struck(self.fault.id)).collect()
    }

    fn are_whole(&self) -> bool {
        self.members.iter().all(|(lives, of)| lives.are_whole(&of.members))
    }

    async fn heal(&mut self) -> Result<(), String> {
        let _so_far: u64 = self.members.iter().map(|(lives, _)| lives.end(self.fault.id)).sum();
        let begun = Instant::now();
        // Who was about to die does, and is there again at once.
        while !self.are_whole() && begun.elapsed() <= WHOLE_WITHIN {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.done = self.happened();
        if self.are_whole() { Ok(()) } else { Err(format!("not all members were there again after {WHOLE_WITHIN:?}")) }
    }
}
