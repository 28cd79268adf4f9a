//! The lives of a fleet's members: where they die on purpose, how long they are away, when they stand still, and
//! whether they are whole again.
//!
//! A *member* is what a process would be: its connections, its channels, and all that they hold in memory. Whoever
//! conducts breaks and mends through [`Lives`]; the tasks of a member look at their [`Member`]. A fleet that the plan
//! does nothing to pays one comparison for it.

mod failure;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use self::failure::{Blow, Failures};
use super::slot::{Leaving, Slot};
use super::{Stage, reached};
use crate::client::ClientError;
use crate::plan::{CrashPoint, MemberFailure};
use crate::stamp::{Reading, Stamp};

/// Number of what kills a member and is no fault of the plan's.
const NO_FAULT: u32 = 0;
/// How long connections that are being opened just now may keep a member from dying.
const CUT_WITHIN: Duration = Duration::from_millis(200);

/// Where on its way a message is, for the member that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// At a consumer.
    Consumer(CrashPoint),
    /// At a producer: it was sent, and its confirm has not come.
    Published,
}

/// The members of one fleet.
pub struct Lives {
    fleet: String,
    /// The plan has something in store for this fleet.
    planned: bool,
    lives: Vec<Life>,
    /// Some member is to die.
    armed: AtomicBool,
    failures: Mutex<Failures>,
}

/// One member.
struct Life {
    state: watch::Sender<State>,
    /// How often it has died.
    deaths: AtomicU64,
    /// Its tasks that have no channel at present.
    without_channel: AtomicI64,
    census: Mutex<Census>,
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// The tasks of one member.
#[derive(Debug, Default)]
struct Census {
    tasks: u64,
    /// Those that still live a life that is over.
    behind: u64,
    /// Those that are about to have it die.
    dying: u64,
}

/// What a member has to know of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    /// So many faults have it stand still.
    stalls: u32,
    /// It is away.
    away: Option<Away>,
}

/// For how long a member is away, and by which fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Away {
    until: Instant,
    fault: u32,
}

/// A member is to die: until it has, it is not whole.
pub(super) struct Death {
    blow: Blow,
    lives: Arc<Lives>,
    number: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lives {
    /// `members` members, none of whom lives yet; `planned` where the plan has something in store for them.
    pub fn new(fleet: &str, members: u32, planned: bool) -> Arc<Self> {
        let life = |_| Life {
            state: watch::Sender::new(State::default()),
            deaths: AtomicU64::new(0),
            without_channel: AtomicI64::new(0),
            census: Mutex::default(),
            slots: Mutex::default(),
        };
        Arc::new(Self {
            fleet: fleet.to_owned(),
            planned,
            lives: (0..members).map(life).collect(),
            armed: AtomicBool::new(false),
            failures: Mutex::default(),
        })
    }

    /// A connection of member `number`.
    pub fn attach(&self, number: u32, slot: &Arc<Slot>) {
        if let Some(life) = self.lives.get(number as usize) {
            lock(&life.slots).push(Arc::clone(slot));
        }
    }

    /// A task of member `number`.
    pub(super) fn member(self: &Arc<Self>, number: u32) -> Member {
        let number = (number as usize).min(self.lives.len().saturating_sub(1));
        let life = &self.lives[number];
        life.without_channel.fetch_add(1, Ordering::AcqRel);
        let mut census = lock(&life.census);
        census.tasks += 1;
        let deaths = life.deaths.load(Ordering::Acquire);
        drop(census);
        Member { state: life.state.subscribe(), lives: Arc::clone(self), number, deaths, has_channel: false }
    }

    /// From now on fault `id` happens to these members.
    pub fn begin(&self, id: u32, members: &[u32], what: &MemberFailure) {
        lock(&self.failures).begin(id, members, what);
        match what {
            MemberFailure::Stall => self.each(members, |state| state.stalls += 1),
            _ => self.armed.store(true, Ordering::Release),
        }
    }

    /// Fault `id` happens no more; who is away comes back, who stands still goes on. How often it has happened so far:
    /// who is about to die still does, and is counted then.
    pub fn end(&self, id: u32) -> u64 {
        let mut failures = lock(&self.failures);
        let Some(failure) = failures.end(id) else { return failures.happened(id).done };
        self.armed.store(failures.any_strikes(), Ordering::Release);
        let done = failures.happened(id).done;
        drop(failures);
        let members: Vec<u32> = failure.members.into_iter().collect();
        match failure.what {
            MemberFailure::Stall => self.each(&members, |state| state.stalls = state.stalls.saturating_sub(1)),
            // Who is away by another fault stays away.
            _ => self.each(&members, |state| state.away = state.away.filter(|away| away.fault != id)),
        }
        done
    }

    /// How often fault `id` has happened so far, whether it goes on or not.
    pub fn done(&self, id: u32) -> u64 {
        lock(&self.failures).happened(id).done
    }

    /// Publisher and sequence of the messages at which fault `id` has happened so far, of the first 10,000.
    pub fn struck(&self, id: u32) -> Vec<(u16, u64)> {
        lock(&self.failures).happened(id).messages
    }

    /// Whether all these members are there, with all of their tasks, and none of them stands still or is about to die.
    pub fn are_whole(&self, members: &[u32]) -> bool {
        let now = Instant::now();
        members.iter().filter_map(|number| self.lives.get(*number as usize)).all(|life| {
            let state = *life.state.borrow();
            let census = lock(&life.census);
            let is_settled = census.behind == 0 && census.dying == 0;
            is_settled && life.without_channel.load(Ordering::Acquire) <= 0 && state.stalls == 0 && !state.is_away(now)
        })
    }

    fn each(&self, members: &[u32], change: impl Fn(&mut State)) {
        let lives = members.iter().filter_map(|number| self.lives.get(*number as usize));
        lives.for_each(|life| life.state.send_modify(&change));
    }

    /// Whether member `number` dies at this step of some messages.
    fn strikes<'a>(
        self: &Arc<Self>,
        number: usize,
        step: Step,
        messages: impl Iterator<Item = (&'a Stamp, bool)>,
    ) -> Option<Death> {
        let mut failures = lock(&self.failures);
        let blow = failures.strike(u32::try_from(number).ok()?, step, messages)?;
        lock(&self.lives.get(number)?.census).dying += 1;
        Some(Death { blow, lives: Arc::clone(self), number })
    }

    /// A member dies, so far after `known` deaths; whether that is one more: it may have died meanwhile. Whoever notices
    /// finds it away, and the failure counts as done once it has happened.
    fn fall(&self, known: u64, death: &Death) -> bool {
        let Death { blow, number, .. } = death;
        let Some(life) = self.lives.get(*number) else { return false };
        let mut failures = lock(&self.failures);
        let goes_on = failures.happens(blow);
        let mut is_one_more = false;
        life.state.send_modify(|state| {
            let until = Instant::now() + blow.away;
            if goes_on && state.away.is_none_or(|away| away.until < until) {
                state.away = Some(Away { until, fault: blow.fault });
            }
            let mut census = lock(&life.census);
            is_one_more = life.deaths.load(Ordering::Acquire) == known;
            if is_one_more {
                census.behind = census.tasks;
                life.deaths.store(known + 1, Ordering::Release);
            }
        });
        is_one_more
    }
}

impl Drop for Death {
    fn drop(&mut self) {
        if let Some(life) = self.lives.lives.get(self.number) {
            lock(&life.census).dying -= 1;
        }
    }
}

impl State {
    fn is_away(self, now: Instant) -> bool {
        self.away.is_some_and(|away| away.until > now)
    }
}

/// One task's view of its member.
pub(super) struct Member {
    lives: Arc<Lives>,
    number: usize,
    state: watch::Receiver<State>,
    /// So many deaths of its member the task has died too.
    deaths: u64,
    has_channel: bool,
}

impl Member {
    fn life(&self) -> &Life {
        &self.lives.lives[self.number]
    }

    /// Whether the plan has something in store for the fleet: then it takes one message at a time, so that what happens
    /// at a message happens there.
    pub(super) fn is_planned(&self) -> bool {
        self.lives.planned
    }

    /// The states of the member, for whoever waits for a change.
    pub(super) fn states(&self) -> &watch::Receiver<State> {
        &self.state
    }

    /// Whether the member dies at this step of some messages, which have come to it together; each with whether it comes
    /// there for the first time. Ask once for each delivery and step.
    pub(super) fn strikes<'a>(&self, step: Step, messages: impl Iterator<Item = (&'a Reading, bool)>) -> Option<Death> {
        if !self.lives.armed.load(Ordering::Acquire) {
            return None;
        }
        let ours = messages.filter_map(|(reading, is_first)| match reading {
            Reading::Ours(stamp) => Some((stamp, is_first)),
            _ => None,
        });
        self.lives.strikes(self.number, step, ours)
    }

    /// The member dies: its connections are cut without a word, and all of its tasks end what they do.
    pub(super) async fn die(&self, death: Death) -> ClientError {
        let error = self.death();
        let slots = if self.has_died() { Vec::new() } else { lock(&self.life().slots).clone() };
        // Nobody opens a connection of the next life while those of this one are not cut yet.
        let deadline = Instant::now() + CUT_WITHIN;
        let mut grips = Vec::with_capacity(slots.len());
        for slot in &slots {
            // One that is busy opening a connection has none to cut.
            grips.extend(timeout_at(deadline, slot.grip()).await);
        }
        if self.lives.fall(self.deaths, &death) {
            grips.into_iter().for_each(|grip| grip.cut(&error.to_string()));
        }
        error
    }

    /// The member is to die by what it was given, and by no fault.
    pub(super) fn kill(&self) -> Death {
        let (lives, number) = (Arc::clone(&self.lives), self.number);
        lock(&self.life().census).dying += 1;
        Death { blow: Blow { fault: NO_FAULT, messages: Vec::new(), away: Duration::ZERO }, lives, number }
    }

    /// What a task of a member that has died fails with.
    pub(super) fn death(&self) -> ClientError {
        ClientError::ConnectionLost { reason: format!("{}/{} crashed on purpose", self.lives.fleet, self.number) }
    }

    /// Whether the member has died, and this task has not noticed yet.
    pub(super) fn has_died(&self) -> bool {
        self.lives.planned && self.life().deaths.load(Ordering::Acquire) != self.deaths
    }

    /// The member starts anew, once it is no longer away.
    pub(super) async fn revive(&mut self, stage: &mut watch::Receiver<Stage>) -> Result<(), Leaving> {
        loop {
            let away = {
                let state = self.state.borrow_and_update();
                // While nobody changes it: who sees a death sees how long it is away by it.
                let life = &self.lives.lives[self.number];
                let mut census = lock(&life.census);
                let deaths = life.deaths.load(Ordering::Acquire);
                census.behind -= u64::from(deaths != self.deaths);
                self.deaths = deaths;
                state.away
            };
            let Some(until) = away.map(|away| away.until).filter(|until| *until > Instant::now()) else {
                return Ok(());
            };
            tokio::select! {
                () = sleep_until(until) => {}
                _ = self.state.changed() => {}
                () = reached(stage, Stage::Leave) => return Err(Leaving),
            }
        }
    }

    /// Whether the member stands still.
    pub(super) fn is_stalled(&self) -> bool {
        self.lives.planned && self.state.borrow().stalls > 0
    }

    /// Stands still for as long as the member does.
    pub(super) async fn stand_still(&mut self, stage: &mut watch::Receiver<Stage>) {
        lock(&self.lives.failures).stands_still(self.number as u32);
        let (deaths, life) = (self.deaths, &self.lives.lives[self.number]);
        let goes_on = |state: &State| state.stalls == 0 || life.deaths.load(Ordering::Acquire) != deaths;
        tokio::select! {
            _ = self.state.wait_for(goes_on) => {}
            () = reached(stage, Stage::Leave) => {}
        }
    }

    /// The task has a channel, or has none any more.
    pub(super) fn has_channel(&mut self, has: bool) {
        if std::mem::replace(&mut self.has_channel, has) != has {
            self.life().without_channel.fetch_add(if has { -1 } else { 1 }, Ordering::AcqRel);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // A task that has ended is not missing.
        self.has_channel(true);
        let mut census = lock(&self.life().census);
        census.tasks -= 1;
        census.behind -= u64::from(self.life().deaths.load(Ordering::Acquire) != self.deaths);
    }
}

#[cfg(test)]
mod tests;
