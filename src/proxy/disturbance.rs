//! What can be disturbed, as values. Uses no room.

use std::time::Duration;

/// Something that is to go wrong, and for which of the connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Disturbance {
    /// Share of the connections, from 0 to 1. Which ones is drawn from the proxy's seed and the connection's number, so
    /// that a larger share holds all connections of a smaller one.
    pub share: f64,
    /// What goes wrong.
    pub what: What,
}

impl Disturbance {
    /// For all connections.
    pub fn of_all(what: What) -> Self {
        Self { share: 1.0, what }
    }
}

/// A disturbance that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DisturbanceId(pub(super) u64);

/// Which of the two streams of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What the client sends.
    ToBroker,
    /// What the broker sends.
    ToClient,
    /// Both.
    Both,
}

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// What the client sends.
    ToBroker = 0,
    /// What the broker sends.
    ToClient = 1,
}

/// Both streams.
pub(super) const WAYS: [Way; 2] = [Way::ToBroker, Way::ToClient];

impl Direction {
    pub(super) fn covers(self, way: Way) -> bool {
        match self {
            Self::ToBroker => way == Way::ToBroker,
            Self::ToClient => way == Way::ToClient,
            Self::Both => true,
        }
    }
}

/// What goes wrong.
///
/// What works on bytes (the first part of the list) works on any connection, TLS too. The rest has to read AMQP, and
/// leaves alone what it cannot read, and channels that are being closed.
///
/// Of each is said what [`done`](super::Proxy::done) counts, and for those with [`Picks`] what an event is.
/// Disturbances of the same events act in the order in which they began: what one has taken away is no event for the
/// next.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// All bytes come later; their order is kept. Counts connections.
    Latency {
        /// Of which stream.
        direction: Direction,
        /// By so much.
        delay: Duration,
        /// And by up to so much more, drawn for each read.
        jitter: Duration,
    },
    /// No more than so many bytes pass in a second, of each connection and stream. Counts connections.
    Bandwidth {
        /// Of which stream.
        direction: Direction,
        /// Bytes a second; 0 is a [`What::Stall`].
        bytes_per_s: u64,
    },
    /// Nothing passes, and no socket is closed: the proxy does not read, and the sender's own buffers fill. Goes on
    /// where it stopped. Counts connections.
    Stall {
        /// Of which stream.
        direction: Direction,
    },
    /// Half-open: what comes is read and thrown away, an end of the stream too. A connection that lost something is
    /// reset when this ends. Counts connections that lost something.
    Silence {
        /// Of which stream.
        direction: Direction,
    },
    /// Bytes come in pieces. Counts connections.
    Slice {
        /// Of which stream.
        direction: Direction,
        /// Most bytes of a piece; 0 counts as 1.
        bytes: usize,
        /// Time between two pieces.
        pause: Duration,
    },
    /// The connections that are open when it begins are cut, once, by a reset on both sides. Counts connections.
    Reset,
    /// The connections that are open when it begins are ended, once, on both sides and without a word of AMQP. Counts
    /// connections.
    Close,
    /// Connections that come while it lasts are reset at once. Counts connections.
    Refuse,
    /// Something is done to frames of one class. Counts frames; a message counts as one, whatever the frames it takes.
    ///
    /// Numbers of publishes and delivery tags are translated, so that both sides go on understanding each other: what
    /// was dropped or is held is not settled by a later settlement of many. A held frame of a channel that closes, or
    /// of a stream that ends, is gone.
    Frames {
        /// Which.
        class: FrameClass,
        /// What is done.
        action: FrameAction,
        /// To which of them.
        picks: Picks,
    },
    /// A publish is forwarded; when the broker's answer that settles it arrives, that answer is swallowed, and the
    /// connection reset. Counts connections. Events are publishes on channels with confirms, each message once however
    /// often it is published, also one that was lost before it came here; a picked one of a connection that is about to be cut by this already leaves its turn to the
    /// next message of another.
    CutBeforeConfirm {
        /// Which publishes.
        picks: Picks,
    },
    /// A delivery is forwarded; when the client settles it, that is swallowed, and the connection reset. Counts
    /// connections. Events are deliveries that are to be settled, each message once however often it is delivered; a
    /// picked one of a connection that is about to be cut by this already leaves its turn to the next message of another.
    CutBeforeAck {
        /// Which deliveries.
        picks: Picks,
    },
    /// A publish never reaches the broker, and is confirmed all the same, once all sent before it on its channel are
    /// settled. Counts publishes. Events are publishes on channels with confirms.
    LoseConfirmed {
        /// Which publishes.
        picks: Picks,
    },
    /// A delivery never reaches the client, and is acked to the broker where it is to be settled; who asked for it with
    /// `basic.get` is told that the queue is empty. Counts deliveries, which are the events.
    LoseDelivered {
        /// Which deliveries.
        picks: Picks,
    },
    /// A delivery is handed over twice, the second time right after the first; the broker sees one settlement: that of
    /// the first. Counts deliveries. Events are deliveries to consumers, not answers to `basic.get`.
    Duplicate {
        /// Which deliveries.
        picks: Picks,
        /// Whether the second has `redelivered` set.
        flagged: bool,
    },
    /// One bit of a delivered body is flipped: of one with a stamp any bit but those that name the run, so that it
    /// stays recognisable. Counts deliveries. Events are deliveries whose body has at least one byte.
    Corrupt {
        /// Which deliveries.
        picks: Picks,
    },
    /// A delivery and the next one on its channel change places; without a next one it waits until this ends. Counts
    /// swaps. Events are deliveries to consumers, but not those that have changed places with one before them.
    Swap {
        /// Which deliveries.
        picks: Picks,
    },
    /// Before a delivery comes another that was never sent: a copy, whose stamp has a sequence that no run reaches, and
    /// a checksum that fits. The broker does not see it settled. Counts deliveries. Events are deliveries to consumers
    /// whose body begins with a stamp.
    Invent {
        /// Which deliveries.
        picks: Picks,
    },
}

/// A class of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameClass {
    /// Messages on their way to the broker.
    Publishes,
    /// The broker's answers to publishes: `basic.ack` and `basic.nack`, each frame one event, whatever it settles.
    Confirms,
    /// Messages on their way to consumers, answers to `basic.get` among them.
    Deliveries,
    /// What consumers settle with: `basic.ack`, `basic.nack`, `basic.reject`.
    Acks,
    /// Heartbeats, of both streams.
    Heartbeats,
}

/// What is done to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameAction {
    /// It is gone.
    Drop,
    /// It comes so much later; what is not picked overtakes it.
    Delay(Duration),
    /// It comes when the disturbance ends, held ones in their order.
    Hold,
}

/// Which events, by their number since the disturbance began, the first being 1: `first`, `first + every`, …, `times`
/// of them. Counted over all connections that the disturbance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picks {
    /// The first one; 0 counts as 1.
    pub first: u64,
    /// One of so many; 0 counts as 1.
    pub every: u64,
    /// At most so many.
    pub times: u64,
}

impl Picks {
    /// Each event.
    pub const ALL: Self = Self { first: 1, every: 1, times: u64::MAX };

    /// One event.
    pub const fn only(number: u64) -> Self {
        Self { first: number, every: 1, times: 1 }
    }

    pub(super) fn include(self, number: u64) -> bool {
        let (first, every) = (self.first.max(1), self.every.max(1));
        number.checked_sub(first).is_some_and(|since| since % every == 0 && since / every < self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_are_counted_from_one() {
        let picked = |picks: Picks| (0..12).filter(|number| picks.include(*number)).collect::<Vec<_>>();
        assert_eq!(picked(Picks { first: 3, every: 4, times: 2 }), [3, 7]);
        assert_eq!(picked(Picks { first: 3, every: 4, times: u64::MAX }), [3, 7, 11]);
        assert_eq!(picked(Picks { first: 0, every: 0, times: 3 }), [1, 2, 3]);
        assert_eq!(picked(Picks::only(5)), [5]);
        assert!(picked(Picks { first: 1, every: 1, times: 0 }).is_empty());
        assert_eq!(picked(Picks::ALL).len(), 11);
    }
}
