//! Producers and consumers: pacing, confirm windows, acks, simulated work, reconnects.
//!
//! May use `units`, `plan`, `endpoint`, `stamp`, `client`, `idempotency`, `ledger` and `latency`; knows no fault. Each
//! publisher and each subscriber is one task that owns its channel and journals what it sees; nothing here prints.

mod alarm;
mod backoff;
mod changes;
mod cost;
mod deaths;
mod failing;
mod flights;
mod lives;
mod message;
mod meters;
mod pace;
mod publisher;
mod slot;
mod subscriber;
mod tracing;
mod work;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use deaths::{DeathCount, DeathKind, Deaths};
pub use failing::Failing;
pub use lives::{Lives, Step};
pub use message::MessageMaker;
pub use meters::{ConsumerMeters, Cost, Counters, ProducerMeters, Retries, Snapshot};
pub use publisher::PublisherTask;
pub use slot::{Slot, Source};
pub use subscriber::{Destinations, Follower, Outlet, Seat, SubscriberTask, arrival};
pub use tracing::Tracer;

use crate::client::ClientError;
use crate::idempotency::{EffectId, NEW_ID};
use crate::ledger::Ledger;
use crate::ledger::chain::Chain;
use crate::ledger::fates::Fates;
use crate::ledger::incidents::{Incident, IncidentKind, Incidents};
use crate::plan::LoadPlan;
use crate::stamp::Stamp;

/// The run's clock: microseconds since the start of the warm-up, from the monotonic clock.
#[derive(Debug)]
pub struct Clock {
    made: Instant,
    begun: OnceLock<(Instant, u64)>,
}

impl Clock {
    /// A clock that has not begun: it stands at 0.
    pub fn new(now: Instant) -> Self {
        Self { made: now, begun: OnceLock::new() }
    }

    /// The warm-up starts at `now`, which is `unix_us` microseconds after 1970 by the wall clock.
    pub fn begin(&self, now: Instant, unix_us: u64) {
        let _ = self.begun.set((now, unix_us));
    }

    /// Microseconds since the start of the warm-up; 0 before it.
    pub fn now_us(&self) -> u64 {
        self.begun.get().map_or(0, |(begun, _)| crate::units::micros(begun.elapsed()))
    }

    /// A moment in microseconds since the start of the warm-up; negative before it.
    pub fn signed_us(&self, at: Instant) -> i64 {
        match self.begun.get() {
            Some((begun, _)) if at >= *begun => crate::units::micros(at.duration_since(*begun)) as i64,
            Some((begun, _)) => -(crate::units::micros(begun.duration_since(at)) as i64),
            // The clock has not begun: that is all that is known.
            None => -1,
        }
    }

    /// Microseconds since the clock was made, which is before the broker was started.
    pub fn since_made_us(&self) -> u64 {
        crate::units::micros(self.made.elapsed())
    }

    /// By how much the run's clock is behind [`Self::since_made_us`]; none before it began.
    pub fn begun_after_us(&self) -> Option<u64> {
        self.begun.get().map(|(begun, _)| crate::units::micros(begun.duration_since(self.made)))
    }

    /// The moment `at_us` of the run's clock.
    pub fn instant(&self, at_us: u64) -> Instant {
        let begun = self.begun.get().map_or(self.made, |(begun, _)| *begun);
        begun + Duration::from_micros(at_us)
    }

    /// The wall-clock time at the moment `at_us` of the run's clock, in microseconds since 1970.
    pub fn unix_us(&self, at_us: u64) -> u64 {
        self.begun.get().map_or(0, |(_, unix_us)| *unix_us).saturating_add(at_us)
    }
}

/// How far a fleet may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Connected; the clock stands still.
    Ready,
    /// Publish and consume.
    Load,
    /// Publish nothing new; wait for answers, consume.
    Drain,
    /// Leave at once: close what is open.
    Leave,
}

/// What all members of all fleets share.
pub struct Shared {
    /// Where everything is journaled.
    pub ledger: Arc<Ledger>,
    /// The run's clock.
    pub clock: Arc<Clock>,
    /// How far to go.
    pub stage: watch::Receiver<Stage>,
    /// What happens to connections.
    pub incidents: Arc<Incidents>,
    /// How long, or how much.
    pub load: LoadPlan,
    /// Publishers whose first channel is open.
    pub publishers_ready: AtomicU32,
    /// Publishers that still have messages to send or answers to wait for.
    pub publishers_busy: AtomicU32,
    /// Publishers that still have messages to send.
    pub publishers_sending: AtomicU32,
    /// Dead letters that were found.
    pub deaths: Deaths,
    /// What becomes of messages that are to fail.
    pub fates: Fates,
    /// Which messages lead to which.
    pub chain: Chain,
    /// Looks at the ids of messages, where some lead to others.
    pub tracer: Option<Tracer>,
    /// Messages that are published once more have new ids.
    pub has_new_ids: bool,
    /// Run, as stamps name it.
    pub run: u32,
    /// Why the run cannot go on, where it cannot.
    pub trouble: OnceLock<String>,
}

impl Shared {
    /// Journals an incident.
    pub fn incident(&self, at: Instant, fleet: &str, member: u32, kind: IncidentKind, detail: impl Into<String>) {
        let (fleet, detail) = (fleet.to_owned(), detail.into());
        self.incidents.push(Incident { at_us: self.clock.signed_us(at), fleet, member, kind, detail });
    }

    /// The id of a message by which a store knows it: another one where it was published once more under a new one.
    fn effect_id(&self, stamp: &Stamp) -> EffectId {
        let is_new = self.has_new_ids && stamp.attempt == ATTEMPT_REPLAYED;
        let sequence = stamp.sequence | if is_new { NEW_ID } else { 0 };
        EffectId { publisher: stamp.publisher, sequence }
    }

    /// Nothing that a member does can mend this: the run ends. The first reason stays.
    fn give_up(&self, fleet: &str, error: &ClientError) {
        let _ = self.trouble.set(format!("{fleet}: {error}"));
    }

    /// Whether a message that was intended for `intended_us` belongs to the measured load.
    pub fn is_measured(&self, intended_us: u64) -> bool {
        intended_us >= self.load.warmup_us && self.load.end_us().is_none_or(|end| intended_us < end)
    }

    fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    fn leave(&self, counter: &AtomicU32) {
        counter.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The attempt of a message that is published once more, long after it was sent.
pub const ATTEMPT_REPLAYED: u8 = u8::MAX;

/// The attempt after `attempt`. After as many as a stamp can tell apart all are the last.
fn next_attempt(attempt: u8) -> u8 {
    attempt.saturating_add(1).min(ATTEMPT_REPLAYED - 1)
}

/// Waits until the stage is at least `stage`. Returns at once where the conductor is gone: then it is time to leave.
async fn reached(receiver: &mut watch::Receiver<Stage>, stage: Stage) {
    let _ = receiver.wait_for(|now| *now >= stage).await;
}
