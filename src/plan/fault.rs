//! What is broken on purpose: each fault with its number, when it begins, how long it lasts and what exactly it does.

use serde::{Deserialize, Serialize};

use crate::scenario::fault::{CrashPoint, Direction, FaultKind};

/// One fault. What a scenario says to happen several times is several of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultPlan {
    /// Its number, from 1; the earliest first, those that wait for a count last.
    pub id: u32,
    /// What it is called.
    pub kind: FaultKind,
    /// When it begins.
    pub trigger: Trigger,
    /// How long it lasts; none: it is over as soon as it is done, or lasts until the load ends.
    pub lasting_us: Option<u64>,
    /// What is broken.
    pub broken: Broken,
}

/// When a fault begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// At this time on the run's clock.
    AtUs(u64),
    /// When so many messages were published, by all fleets.
    Published(u64),
    /// When so many were confirmed.
    Confirmed(u64),
    /// When so many were delivered.
    Delivered(u64),
}

impl Trigger {
    /// The time, where it is one.
    pub fn at_us(self) -> Option<u64> {
        match self {
            Self::AtUs(at_us) => Some(at_us),
            _ => None,
        }
    }
}

/// What is broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// The broker's node.
    Node,
    /// Connections of these fleets, by the broker.
    Connections {
        /// Fleets by name.
        fleets: Vec<String>,
    },
    /// A queue.
    Queue {
        /// Its name.
        queue: String,
    },
    /// What passes between these fleets and the broker.
    Network {
        /// Fleets by name.
        fleets: Vec<String>,
        /// Share of their connections.
        share: f64,
        /// How it is disturbed.
        disturbance: Disturbance,
    },
    /// Members of fleets.
    Members {
        /// Which.
        members: Vec<Members>,
        /// What happens to them.
        failure: MemberFailure,
    },
}

/// Members of one fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Fleet by name.
    pub fleet: String,
    /// Members by number, ascending.
    pub members: Vec<u32>,
}

/// What happens to a member of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberFailure {
    /// It dies at a message that it has received.
    ConsumerCrash {
        /// How far it had come with it.
        point: CrashPoint,
        /// At which message.
        at: Strike,
        /// How long it stays away.
        away_us: u64,
    },
    /// It dies between a message that it has sent and the confirm.
    ProducerCrash {
        /// At which message.
        at: Strike,
        /// How long it stays away.
        away_us: u64,
    },
    /// It takes nothing and acks nothing.
    Stall,
}

/// At which message a member dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strike {
    /// Each member at its next.
    Next,
    /// Counted over the fleet's members, repetitions left out.
    Picked(Picks),
    /// At this one.
    Message {
        /// Number of its publisher.
        publisher: u16,
        /// The same as people call it.
        name: String,
        /// Its number there, from 0.
        sequence: u64,
    },
}

/// How the network is disturbed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// Bytes come later.
    Latency {
        /// Of which stream.
        direction: Direction,
        /// By so much.
        delay_us: u64,
        /// And by up to so much more.
        jitter_us: u64,
    },
    /// So many bytes a second.
    Bandwidth {
        /// Of which stream.
        direction: Direction,
        /// Of each connection and stream.
        bytes_per_s: u64,
    },
    /// Nothing passes for a while.
    Stall {
        /// Of which stream.
        direction: Direction,
    },
    /// What comes is lost.
    HalfOpen {
        /// Of which stream.
        direction: Direction,
    },
    /// Bytes come in pieces.
    Slice {
        /// Of which stream.
        direction: Direction,
        /// Most bytes of a piece.
        bytes: u64,
        /// Time between two pieces.
        pause_us: u64,
    },
    /// Connections are reset.
    Reset,
    /// Connections end.
    Close,
    /// New connections are refused.
    Refuse,
    /// Frames of one class.
    Frames {
        /// Which class.
        class: FrameClass,
        /// What is done to them.
        action: FrameAction,
        /// To which.
        picks: Picks,
    },
    /// A publish arrives and its confirm does not: the connection is reset in its place.
    CutBeforeConfirm {
        /// Which publishes.
        picks: Picks,
    },
    /// A delivery arrives and its ack does not.
    CutBeforeAck {
        /// Which deliveries.
        picks: Picks,
    },
}

/// A class of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameClass {
    /// Messages to the broker.
    Publishes,
    /// The broker's answers to them.
    Confirms,
    /// Messages to consumers.
    Deliveries,
    /// What consumers settle with.
    Acks,
    /// Heartbeats, of both streams.
    Heartbeats,
}

/// What is done to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameAction {
    /// It is gone.
    Drop,
    /// It comes so much later.
    DelayUs(u64),
    /// It comes when the fault is over.
    Hold,
}

/// Which of many events, from 1: `first`, `first + every`, …, `times` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picks {
    /// The first.
    pub first: u64,
    /// One of so many.
    pub every: u64,
    /// At most so many; none: no limit.
    pub times: Option<u64>,
}

impl FaultPlan {
    /// How often it has to have acted to have happened: in each fleet as often as its `pick` says, else once in all.
    pub fn least_done(&self) -> u64 {
        match &self.broken {
            Broken::Network { fleets, disturbance, .. } => {
                let times = disturbance.picks().and_then(|picks| picks.times);
                times.map_or(1, |times| times.saturating_mul(fleets.len() as u64))
            }
            Broken::Members { members, failure } => {
                let all = members.iter().map(|of| of.members.len() as u64).sum();
                failure.strike().map_or(all, |strike| strike.times(all, members.len() as u64))
            }
            _ => 1,
        }
    }

    /// Fleets that reach the broker through a proxy because of it.
    pub fn proxied(&self) -> &[String] {
        match &self.broken {
            Broken::Network { fleets, .. } => fleets,
            _ => &[],
        }
    }

    /// What is broken, in a few words.
    pub fn detail(&self) -> String {
        match &self.broken {
            Broken::Node => "the broker".to_owned(),
            Broken::Connections { fleets } => format!("connections of {}", fleets.join(", ")),
            Broken::Queue { queue } => queue.clone(),
            Broken::Network { fleets, share, disturbance } => {
                let share = if *share < 1.0 { format!(", {share} of the connections") } else { String::new() };
                let how = disturbance.how();
                let comma = if how.is_empty() { "" } else { ", " };
                format!("{}{share}{comma}{how}", fleets.join(", "))
            }
            Broken::Members { members, failure } => {
                let who: Vec<_> = members.iter().map(Members::who).collect();
                let how = failure.how();
                let comma = if how.is_empty() { "" } else { ", " };
                format!("{}{comma}{how}", who.join(", "))
            }
        }
    }
}

impl Members {
    fn who(&self) -> String {
        let numbers: Vec<_> = self.members.iter().map(u32::to_string).collect();
        format!("{}/{}", self.fleet, numbers.join("+"))
    }
}

impl MemberFailure {
    /// At which message it happens, where it is one.
    pub fn strike(&self) -> Option<&Strike> {
        match self {
            Self::ConsumerCrash { at, .. } | Self::ProducerCrash { at, .. } => Some(at),
            Self::Stall => None,
        }
    }

    /// What its kind does not say.
    fn how(&self) -> String {
        let (point, at, away_us) = match self {
            Self::ConsumerCrash { point, at, away_us } => (Some(point.word()), at, *away_us),
            Self::ProducerCrash { at, away_us } => (None, at, *away_us),
            Self::Stall => return String::new(),
        };
        let away = (away_us > 0).then(|| format!("away for {}", span(away_us)));
        let parts = [point.map(str::to_owned), Some(at.how()), away];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }
}

impl Strike {
    /// How often it has to happen at `members` members of `fleets` fleets.
    fn times(&self, members: u64, fleets: u64) -> u64 {
        match self {
            Self::Next => members,
            Self::Picked(picks) => picks.times.unwrap_or(1).saturating_mul(fleets),
            Self::Message { .. } => 1,
        }
    }

    fn how(&self) -> String {
        match self {
            Self::Next => String::new(),
            Self::Picked(picks) => picks.how(),
            Self::Message { name, sequence, .. } => format!("message {sequence} of {name}"),
        }
    }
}

fn span(us: u64) -> crate::units::Span {
    crate::units::Span(std::time::Duration::from_micros(us))
}

impl Disturbance {
    fn picks(&self) -> Option<Picks> {
        match self {
            Self::Frames { picks, .. } | Self::CutBeforeConfirm { picks } | Self::CutBeforeAck { picks } => {
                Some(*picks)
            }
            _ => None,
        }
    }

    /// What its kind does not say.
    fn how(&self) -> String {
        let way = |direction: &Direction| match direction {
            Direction::ToBroker => " to the broker",
            Direction::ToClient => " to the client",
            Direction::Both => "",
        };
        match self {
            Self::Latency { direction, delay_us, jitter_us } => {
                let jitter = if *jitter_us > 0 { format!(" to {}", span(delay_us + jitter_us)) } else { String::new() };
                format!("{}{jitter}{}", span(*delay_us), way(direction))
            }
            Self::Bandwidth { direction, bytes_per_s } => format!("{bytes_per_s} bytes/s{}", way(direction)),
            Self::Stall { direction } | Self::HalfOpen { direction } => way(direction).trim_start().to_owned(),
            Self::Slice { direction, bytes, pause_us } => {
                format!("{bytes} bytes each {}{}", span(*pause_us), way(direction))
            }
            Self::Reset | Self::Close | Self::Refuse => String::new(),
            Self::Frames { action: FrameAction::DelayUs(us), picks, .. } => [span(*us).to_string(), picks.how()]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(", "),
            Self::Frames { picks, .. } | Self::CutBeforeConfirm { picks } | Self::CutBeforeAck { picks } => picks.how(),
        }
    }
}

impl Picks {
    /// Whether event number `event`, from 1, is one of them.
    pub fn holds(self, event: u64) -> bool {
        let Some(since) = event.checked_sub(self.first) else { return false };
        since % self.every == 0 && self.times.is_none_or(|times| since / self.every < times)
    }

    fn how(self) -> String {
        let Self { first, every, times } = self;
        match (first, every, times) {
            (1, 1, None) => String::new(),
            (first, _, Some(1)) => format!("number {first}"),
            (first, every, None) => format!("from number {first}, one of {every}"),
            (first, every, Some(times)) => format!("from number {first}, one of {every}, {times} times"),
        }
    }
}
