//! `[[fault]]`: what is broken on purpose, when, and for how long.

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// One `[[fault]]`. Times are on the run's clock, which is 0 at the start of the warm-up.
///
/// Exactly one of `at`, `when` and `random` says when. What still lasts when the load ends is healed then, before the
/// consumers empty their queues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What is broken.
    pub kind: FaultKind,
    /// When, on the run's clock: the warm-up counts.
    pub at: Option<Span>,
    /// When so many messages are reached, those of the warm-up among them.
    pub when: Option<When>,
    /// After `at`, again each time so much later; needs `times`.
    pub every: Option<Span>,
    /// How often in all, with `every`.
    pub times: Option<u32>,
    /// At times that are drawn from the seed.
    pub random: Option<RandomTimes>,
    /// How long it lasts. Default: until the load ends. Of a crash: how long a member that crashed stays away; by default
    /// it is back at once.
    #[serde(rename = "for")]
    pub lasting: Option<Span>,
    /// Queue that is purged or deleted.
    pub queue: Option<String>,
    /// Fleets that it is for: their connections, or, of a crash or a stall, their members. Default: all that it can act
    /// on.
    pub fleets: Option<Vec<String>>,
    /// Share of these connections or members, from 0 to 1; which ones is drawn from the seed. Default 1.
    pub share: Option<f64>,
    /// Which of the two streams of a connection. Default `both`.
    pub direction: Option<Direction>,
    /// By how much what passes is late (`net-latency`, `delay-…`).
    pub delay: Option<Span>,
    /// Up to so much more, drawn for each read (`net-latency`). Default none.
    pub jitter: Option<Span>,
    /// Most that passes in a second, of each connection and stream (`net-bandwidth`).
    pub bytes_per_second: Option<ByteSize>,
    /// Largest piece (`net-slice`).
    pub bytes: Option<ByteSize>,
    /// Time between two pieces (`net-slice`). Default none.
    pub pause: Option<Span>,
    /// Which frames, counted from the start of the fault over all connections of a fleet. Default: all.
    ///
    /// Of a cut or a crash: at which messages, each counted once however often it is sent or delivered. A crash without it
    /// comes to each member at its next one.
    pub pick: Option<Pick>,
    /// The one message at which a member crashes, in place of `pick`.
    pub message: Option<MessageName>,
    /// When, on a message's way through a consumer, it crashes (`consumer-crash`).
    pub point: Option<CrashPoint>,
}

/// One message, by its publisher and its number there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageName {
    /// Its publisher as `FLEET/PLACE`, such as `checkout/0`.
    pub publisher: String,
    /// Its number among those of its publisher, from 0.
    pub sequence: u64,
}

/// Where on a message's way through a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CrashPoint {
    /// It is taken in hand; nothing was done for it.
    BeforeEffect,
    /// Its work is done; no ack was sent.
    AfterEffect,
    /// The broker has its ack.
    AfterAck,
}

impl CrashPoint {
    /// The word of the scenario.
    pub fn word(self) -> &'static str {
        match self {
            Self::BeforeEffect => "before-effect",
            Self::AfterEffect => "after-effect",
            Self::AfterAck => "after-ack",
        }
    }
}

/// A count of messages of all fleets together; exactly one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Messages published.
    pub published: Option<u64>,
    /// Messages that the broker confirmed.
    pub confirmed: Option<u64>,
    /// Deliveries to consumers.
    pub delivered: Option<u64>,
}

/// Times drawn from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomTimes {
    /// Not before, on the run's clock.
    pub from: Span,
    /// Not after, on the run's clock.
    pub to: Span,
    /// How many. Default 1.
    pub times: Option<u32>,
}

/// Which of many events: the one numbered `first`, then one of `every` so many, `times` of them in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// The first, counted from 1. Default 1.
    pub first: Option<u64>,
    /// One of so many. Default 1.
    pub every: Option<u64>,
    /// How many in all; fewer, and the run is invalid. Default: no limit.
    pub times: Option<u64>,
}

/// Which of the two streams of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// What the client sends.
    ToBroker,
    /// What the broker sends.
    ToClient,
    /// Both.
    Both,
}

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The broker is killed (SIGKILL), and started again.
    NodeKill,
    /// RabbitMQ is stopped in good order (`stop_app`), and started again.
    NodeStop,
    /// The broker stands still, its connections open, and goes on.
    NodePause,
    /// The broker has no memory left: it blocks publishers.
    MemoryAlarm,
    /// The broker has no disk left: it blocks publishers.
    DiskAlarm,
    /// The broker closes the fleets' connections, as an operator would.
    CloseConnections,
    /// All messages that are ready in a queue are removed.
    QueuePurge,
    /// A queue is deleted with what is in it, and declared again.
    QueueDelete,
    /// All bytes come later.
    NetLatency,
    /// Only so many bytes pass in a second.
    NetBandwidth,
    /// Nothing passes, and goes on later where it stopped.
    NetStall,
    /// What is sent is lost, and nobody is told.
    NetHalfOpen,
    /// Connections are reset.
    NetReset,
    /// Connections end, without a word of AMQP.
    NetClose,
    /// New connections are refused.
    NetRefuse,
    /// Bytes come in small pieces.
    NetSlice,
    /// Publishes do not reach the broker.
    DropPublishes,
    /// Publishes are overtaken.
    DelayPublishes,
    /// Publishes wait until the fault is over.
    HoldPublishes,
    /// Confirms do not reach the producer.
    DropConfirms,
    /// Confirms are overtaken.
    DelayConfirms,
    /// Confirms wait until the fault is over.
    HoldConfirms,
    /// Deliveries do not reach the consumer.
    DropDeliveries,
    /// Deliveries are overtaken.
    DelayDeliveries,
    /// Deliveries wait until the fault is over.
    HoldDeliveries,
    /// Acks do not reach the broker.
    DropAcks,
    /// Acks are overtaken.
    DelayAcks,
    /// Acks wait until the fault is over.
    HoldAcks,
    /// Heartbeats are lost.
    DropHeartbeats,
    /// A publish arrives; its confirm does not, and the connection is reset in its place.
    CutBeforeConfirm,
    /// A delivery arrives; its ack does not, and the connection is reset in its place.
    CutBeforeAck,
    /// A consumer dies with all that it had in memory, and starts again.
    ConsumerCrash,
    /// Consumers take nothing and ack nothing; their connections stay.
    ConsumerStall,
    /// A producer dies between a publish and its confirm, and starts again; what was not confirmed it sends again only
    /// where its fleet republishes.
    ProducerCrash,
}

/// What a fleet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It publishes.
    Producer,
    /// It consumes.
    Consumer,
}

/// Who breaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Whoever runs the broker's node.
    Node,
    /// The broker's management API.
    Management,
    /// A proxy between fleet and broker that counts bytes.
    Bytes,
    /// The same, and it reads AMQP.
    Frames,
    /// The fleet itself.
    Fleet,
}

impl FaultKind {
    /// Who breaks it.
    pub fn family(self) -> Family {
        match self {
            Self::NodeKill | Self::NodeStop | Self::NodePause | Self::MemoryAlarm | Self::DiskAlarm => Family::Node,
            Self::CloseConnections | Self::QueuePurge | Self::QueueDelete => Family::Management,
            Self::NetLatency
            | Self::NetBandwidth
            | Self::NetStall
            | Self::NetHalfOpen
            | Self::NetReset
            | Self::NetClose
            | Self::NetRefuse
            | Self::NetSlice => Family::Bytes,
            Self::ConsumerCrash | Self::ConsumerStall | Self::ProducerCrash => Family::Fleet,
            _ => Family::Frames,
        }
    }

    /// Whether it is over as soon as it is done.
    pub fn is_instant(self) -> bool {
        matches!(self, Self::CloseConnections | Self::QueuePurge | Self::NetReset | Self::NetClose)
    }

    /// Whether a member of a fleet dies of it.
    pub fn is_crash(self) -> bool {
        matches!(self, Self::ConsumerCrash | Self::ProducerCrash)
    }

    /// Whether it needs a proxy between fleet and broker.
    pub fn is_network(self) -> bool {
        matches!(self.family(), Family::Bytes | Family::Frames)
    }

    /// The one kind of fleet that it can act on; none: on all.
    pub fn acts_on(self) -> Option<Role> {
        match self {
            Self::CutBeforeConfirm
            | Self::DropConfirms
            | Self::DelayConfirms
            | Self::HoldConfirms
            | Self::DropPublishes
            | Self::DelayPublishes
            | Self::HoldPublishes
            | Self::ProducerCrash => Some(Role::Producer),
            Self::CutBeforeAck
            | Self::DropAcks
            | Self::DelayAcks
            | Self::HoldAcks
            | Self::DropDeliveries
            | Self::DelayDeliveries
            | Self::HoldDeliveries
            | Self::ConsumerCrash
            | Self::ConsumerStall => Some(Role::Consumer),
            _ => None,
        }
    }

    /// Keys beside those of its time: which it can have, and whether it needs them.
    pub fn keys(self) -> &'static [(&'static str, bool)] {
        const FLEETS: (&str, bool) = ("fleets", false);
        const SHARE: (&str, bool) = ("share", false);
        const DIRECTION: (&str, bool) = ("direction", false);
        match self {
            Self::QueuePurge | Self::QueueDelete => &[("queue", true)],
            Self::CloseConnections => &[FLEETS],
            Self::NetLatency => &[FLEETS, SHARE, DIRECTION, ("delay", true), ("jitter", false)],
            Self::NetBandwidth => &[FLEETS, SHARE, DIRECTION, ("bytes_per_second", true)],
            Self::NetSlice => &[FLEETS, SHARE, DIRECTION, ("bytes", true), ("pause", false)],
            Self::NetStall | Self::NetHalfOpen => &[FLEETS, SHARE, DIRECTION],
            Self::CutBeforeConfirm | Self::CutBeforeAck => &[FLEETS, SHARE, ("pick", true)],
            Self::ConsumerCrash => &[FLEETS, SHARE, ("point", true), ("pick", false), ("message", false)],
            Self::ProducerCrash => &[FLEETS, SHARE, ("pick", false), ("message", false)],
            Self::DelayPublishes | Self::DelayConfirms | Self::DelayDeliveries | Self::DelayAcks => {
                &[FLEETS, SHARE, ("delay", true), ("pick", false)]
            }
            _ => match self.family() {
                Family::Node | Family::Management => &[],
                Family::Bytes | Family::Fleet => &[FLEETS, SHARE],
                Family::Frames => &[FLEETS, SHARE, ("pick", false)],
            },
        }
    }
}

impl std::fmt::Display for FaultKind {
    /// The word of the scenario.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}
