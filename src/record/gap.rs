//! How far apart the first and the repeated deliveries of a queue's messages were.

use serde::{Deserialize, Serialize};

/// The gaps between first and repeated deliveries to the consumers of one queue, one for each repeated delivery: those of
/// the warm-up and the drain are among them, those to the audit are not. A queue without repetitions has none.
///
/// When each message was delivered first is known within bounds only: it is one of a stretch of its publisher's messages,
/// of which the earliest and the latest first delivery are kept, and it was not delivered before it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuplicateGap {
    /// Queue; for a stream `QUEUE#SUBSCRIBER`.
    pub queue: String,
    /// Repeated deliveries.
    pub count: u64,
    /// Time between the two deliveries, in microseconds.
    pub time_us: GapLength,
    /// Deliveries to the queue's consumers after the first, up to and with the repeated one: a consumer that keeps the
    /// ids of so many messages still has this one's.
    pub messages: GapLength,
}

/// How long gaps were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapLength {
    /// The longest was no shorter.
    pub longest_at_least: u64,
    /// The longest was no longer.
    pub longest_at_most: u64,
    /// Median of what each was at most, to 1 %.
    pub p50: u64,
    /// 90th percentile of the same.
    pub p90: u64,
    /// 99th percentile of the same.
    pub p99: u64,
}
