//! The lives of a fleet's members: where they die on purpose, how long they are away, when they stand still, and
//! whether they are whole again.
//!
//! A *member* is what a process would be: its connections, its channels, and all that they hold in memory. Whoever
//! conducts breaks and mends through [`Lives`]; the tasks of a member look at their [`Member`]. A fleet that the plan
//! does nothing to pays one comparison for it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::slot::{Leaving, Slot};
use super::{Stage, reached};
use crate::client::ClientError;
use crate::plan::{CrashPoint, MemberFailure, Strike};
use crate::stamp::{Reading, Stamp};

/// How long a connection that is being opened just now may keep a member from dying.
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
    failures: Mutex<Vec<Failure>>,
}

/// One member.
struct Life {
    state: watch::Sender<State>,
    /// How often it has died.
    deaths: AtomicU64,
    /// Its tasks that have no channel at present.
    without_channel: AtomicI64,
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// What a member has to know of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    /// So many faults have it stand still.
    stalls: u32,
    /// It is away until then.
    away_until: Option<Instant>,
}

/// A failure that goes on.
struct Failure {
    /// Number of the fault.
    id: u32,
    members: BTreeSet<u32>,
    what: MemberFailure,
    /// Messages that came to the point in question, each once.
    seen: u64,
    /// Members that it has happened to, once for each time.
    done: Vec<u32>,
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
        Member {
            state: life.state.subscribe(),
            lives: Arc::clone(self),
            number,
            deaths: life.deaths.load(Ordering::Acquire),
            has_channel: false,
        }
    }

    /// From now on fault `id` happens to these members.
    pub fn begin(&self, id: u32, members: &[u32], what: &MemberFailure) {
        let failure =
            Failure { id, members: members.iter().copied().collect(), what: what.clone(), seen: 0, done: Vec::new() };
        lock(&self.failures).push(failure);
        match what {
            MemberFailure::Stall => self.each(members, |state| state.stalls += 1),
            _ => self.armed.store(true, Ordering::Release),
        }
    }

    /// Fault `id` happens no more; who is away comes back, who stands still goes on. How often it has happened.
    pub fn end(&self, id: u32) -> u64 {
        let mut failures = lock(&self.failures);
        let Some(place) = failures.iter().position(|failure| failure.id == id) else { return 0 };
        let failure = failures.remove(place);
        self.armed.store(failures.iter().any(|other| other.what.strike().is_some()), Ordering::Release);
        drop(failures);
        let members: Vec<u32> = failure.members.into_iter().collect();
        match failure.what {
            MemberFailure::Stall => self.each(&members, |state| state.stalls = state.stalls.saturating_sub(1)),
            _ => self.each(&members, |state| state.away_until = None),
        }
        failure.done.len() as u64
    }

    /// How often fault `id` has happened so far.
    pub fn done(&self, id: u32) -> u64 {
        lock(&self.failures).iter().find(|failure| failure.id == id).map_or(0, |failure| failure.done.len() as u64)
    }

    /// Whether all these members are there, and none of them stands still.
    pub fn are_whole(&self, members: &[u32]) -> bool {
        let now = Instant::now();
        members.iter().filter_map(|number| self.lives.get(*number as usize)).all(|life| {
            let state = *life.state.borrow();
            life.without_channel.load(Ordering::Acquire) <= 0 && state.stalls == 0 && !state.is_away(now)
        })
    }

    fn each(&self, members: &[u32], change: impl Fn(&mut State)) {
        let lives = members.iter().filter_map(|number| self.lives.get(*number as usize));
        lives.for_each(|life| life.state.send_modify(&change));
    }

    /// Whether member `number` dies at this step of a message, and how long it stays away then.
    fn strikes(&self, number: usize, step: Step, stamp: &Stamp) -> Option<Duration> {
        let number = u32::try_from(number).ok()?;
        let mut failures = lock(&self.failures);
        failures.iter_mut().find_map(|failure| failure.strikes(number, step, stamp))
    }
}

impl State {
    fn is_away(self, now: Instant) -> bool {
        self.away_until.is_some_and(|until| until > now)
    }
}

impl Failure {
    fn strikes(&mut self, number: u32, step: Step, stamp: &Stamp) -> Option<Duration> {
        let (at, away_us) = match (&self.what, step) {
            (MemberFailure::ConsumerCrash { point, at, away_us }, Step::Consumer(here)) if *point == here => {
                (at, *away_us)
            }
            (MemberFailure::ProducerCrash { at, away_us }, Step::Published) => (at, *away_us),
            _ => return None,
        };
        if !self.members.contains(&number) {
            return None;
        }
        let is_now = match at {
            Strike::Next => !self.done.contains(&number),
            Strike::Picked(picks) => {
                self.seen += 1;
                picks.holds(self.seen)
            }
            Strike::Message { publisher, sequence, .. } => {
                self.done.is_empty() && (stamp.publisher, stamp.sequence) == (*publisher, *sequence)
            }
        };
        is_now.then(|| {
            self.done.push(number);
            Duration::from_micros(away_us)
        })
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

    /// Whether the member dies here, and how long it stays away then. Ask it once for each message and step: repeated
    /// deliveries are none of its business.
    pub(super) fn strikes(&self, step: Step, reading: &Reading) -> Option<Duration> {
        let Reading::Ours(stamp) = reading else { return None };
        if !self.lives.armed.load(Ordering::Acquire) {
            return None;
        }
        self.lives.strikes(self.number, step, stamp)
    }

    /// The member dies: its connections are cut without a word, and all of its tasks end what they do.
    pub(super) async fn die(&self, away: Duration) -> ClientError {
        let error = self.death();
        let life = self.life();
        life.deaths.fetch_add(1, Ordering::AcqRel);
        life.state.send_modify(|state| state.away_until = Some(Instant::now() + away));
        let slots = lock(&life.slots).clone();
        for slot in slots {
            // A slot that is busy opening a connection has none to cut.
            let _ = tokio::time::timeout(CUT_WITHIN, slot.cut(&error.to_string())).await;
        }
        error
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
        self.deaths = self.life().deaths.load(Ordering::Acquire);
        loop {
            let Some(until) = self.state.borrow_and_update().away_until.filter(|until| *until > Instant::now()) else {
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
        let number = self.number as u32;
        for failure in lock(&self.lives.failures).iter_mut() {
            let is_new = failure.what == MemberFailure::Stall && !failure.done.contains(&number);
            if is_new && failure.members.contains(&number) {
                failure.done.push(number);
            }
        }
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Picks;

    fn stamp(publisher: u16, sequence: u64) -> Reading {
        Reading::Ours(Stamp { run: 1, publisher, attempt: 0, sequence, intended_us: 0, lag_us: 0 })
    }

    fn crash(at: Strike) -> MemberFailure {
        MemberFailure::ConsumerCrash { point: CrashPoint::AfterEffect, at, away_us: 7 }
    }

    const HERE: Step = Step::Consumer(CrashPoint::AfterEffect);

    #[test]
    fn nobody_dies_unless_told_and_at_another_step_neither() {
        let lives = Lives::new("in", 2, true);
        let member = lives.member(0);
        assert_eq!(member.strikes(HERE, &stamp(0, 0)), None);
        lives.begin(1, &[0], &crash(Strike::Next));
        assert_eq!(member.strikes(Step::Consumer(CrashPoint::BeforeEffect), &stamp(0, 0)), None);
        assert_eq!(member.strikes(Step::Published, &stamp(0, 0)), None);
        assert_eq!(member.strikes(HERE, &Reading::Foreign), None);
        assert_eq!(lives.member(1).strikes(HERE, &stamp(0, 0)), None, "it is for another member");
        assert_eq!(member.strikes(HERE, &stamp(0, 0)), Some(Duration::from_micros(7)));
        assert_eq!(member.strikes(HERE, &stamp(0, 1)), None, "once each");
        assert_eq!(lives.end(1), 1);
    }

    #[test]
    fn picks_are_counted_over_the_members_together() {
        let lives = Lives::new("in", 2, true);
        let members = [lives.member(0), lives.member(1)];
        let picks = Picks { first: 3, every: 2, times: Some(2) };
        lives.begin(4, &[0, 1], &crash(Strike::Picked(picks)));
        let struck: Vec<u64> =
            (1..=10).filter(|n| members[*n as usize % 2].strikes(HERE, &stamp(0, *n)).is_some()).collect();
        assert_eq!(struck, [3, 5]);
        assert_eq!((lives.done(4), lives.end(4), lives.end(4)), (2, 2, 0));
        assert_eq!(members[0].strikes(HERE, &stamp(0, 11)), None, "it has ended");
    }

    #[test]
    fn a_message_is_hit_once_whoever_has_it() {
        let lives = Lives::new("in", 2, true);
        let members = [lives.member(0), lives.member(1)];
        let name = "out/1".to_owned();
        lives.begin(1, &[0, 1], &crash(Strike::Message { publisher: 1, name, sequence: 5 }));
        assert_eq!(members[1].strikes(HERE, &stamp(0, 5)), None);
        assert!(members[1].strikes(HERE, &stamp(1, 5)).is_some());
        assert_eq!(members[0].strikes(HERE, &stamp(1, 5)), None);
    }

    #[tokio::test]
    async fn a_member_that_died_is_away_and_all_its_tasks_know() {
        let lives = Lives::new("in", 1, true);
        let (_stage, mut stage) = watch::channel(Stage::Load);
        let (mut first, mut second) = (lives.member(0), lives.member(0));
        assert!(!lives.are_whole(&[0]), "it has no channel yet");
        first.has_channel(true);
        second.has_channel(true);
        assert!(lives.are_whole(&[0]));
        lives.begin(1, &[0], &crash(Strike::Next));
        let away = Duration::from_secs(3600);
        assert!(first.die(away).await.to_string().contains("in/0 crashed on purpose"));
        assert!(first.has_died() && second.has_died() && !lives.are_whole(&[0]));
        {
            let mut back = std::pin::pin!(second.revive(&mut stage));
            assert!(futures_util::poll!(&mut back).is_pending());
            lives.end(1);
            assert_eq!(back.await, Ok(()));
        }
        assert!(first.has_died() && !second.has_died());
        second.has_channel(false);
        assert!(!lives.are_whole(&[0]));
        drop(second);
        assert!(lives.are_whole(&[0]), "a task that has ended is not missing");
    }

    #[tokio::test]
    async fn who_stands_still_goes_on_when_all_stalls_are_over() {
        let lives = Lives::new("in", 2, true);
        let (stage, receiver) = watch::channel(Stage::Load);
        let mut member = lives.member(0);
        lives.begin(1, &[0, 1], &MemberFailure::Stall);
        lives.begin(2, &[0], &MemberFailure::Stall);
        assert!(member.is_stalled() && !lives.are_whole(&[0]));
        let mut here = receiver.clone();
        {
            let mut still = std::pin::pin!(member.stand_still(&mut here));
            assert!(futures_util::poll!(&mut still).is_pending());
            assert_eq!((lives.done(1), lives.done(2)), (1, 1), "member 1 did not get there");
            assert_eq!(lives.end(1), 1);
            assert!(futures_util::poll!(&mut still).is_pending());
            lives.end(2);
            still.await;
        }
        assert!(!member.is_stalled());
        lives.begin(3, &[0], &MemberFailure::Stall);
        stage.send(Stage::Leave).unwrap();
        member.stand_still(&mut receiver.clone()).await;
    }

    #[test]
    fn a_fleet_without_a_plan_stands_still_for_nobody() {
        let lives = Lives::new("in", 1, false);
        assert!(!lives.member(0).is_stalled() && !lives.member(0).has_died());
    }
}
