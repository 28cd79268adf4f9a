//! The ledger's result: counts per publisher and per queue, and each offending message.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::effects::EffectsAccount;

/// The reconciled books of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// One per publisher, by number.
    pub publishers: Vec<PublisherAccount>,
    /// One per queue (and one per subscriber of a stream), in the plan's order.
    pub queues: Vec<QueueAccount>,
    /// Messages that were confirmed though the topology routes them nowhere: nobody can ever receive them.
    pub unroutable: u64,
    /// The same without a confirm.
    pub unroutable_unconfirmed: u64,
    /// The first offending messages, up to a limit, by class and order of observation. A record keeps them in
    /// `violations.csv`, not in `run.json`.
    #[serde(skip)]
    pub violations: Vec<Violation>,
    /// All offending messages, listed or not.
    pub violations_total: u64,
}

/// What became of one publisher's messages. Each message that was sent has exactly one of the outcomes `confirmed`,
/// `nacked`, `returned`, `unconfirmed` and `sent`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublisherAccount {
    /// Messages that the plan asked for; in a closed loop without a limit, those that were sent.
    pub planned: u64,
    /// Messages handed to the client at least once.
    pub published: u64,
    /// The broker acked.
    pub confirmed: u64,
    /// The broker nacked, and it was not sent again.
    pub nacked: u64,
    /// Unroutable and returned.
    pub returned: u64,
    /// Sent, but the connection or the time ran out before an answer.
    pub unconfirmed: u64,
    /// Sent with confirms off.
    pub sent: u64,
    /// Planned, but not sent before the load ended.
    pub unsent: u64,
    /// Sends beyond each message's first.
    pub resends: u64,
}

/// What became of the copies that the topology routed to one queue.
///
/// `routed = consumed + dead_lettered + removed_by_rule + left_in_queue + lost` (`+ unaccounted` in a run that was cut
/// short), or the books do not balance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAccount {
    /// Queue; for a stream `QUEUE#SUBSCRIBER`, since each reader has copies of its own.
    pub queue: String,
    /// Distinct messages that belong here: confirmed ones the topology routes here, and others that showed up. The books
    /// of a stream's reader begin with the first message that it was given.
    pub routed: u64,
    /// Deliveries, repetitions included.
    pub delivered: u64,
    /// Deliveries that carried the redelivered flag, whether or not they were repetitions.
    pub redelivered_flag: u64,
    /// Acks by consumers, repetitions included.
    pub acknowledged: u64,
    /// Distinct messages consumed.
    pub consumed: u64,
    /// Distinct messages that left for a dead-letter exchange and were seen where it leads, by `x-death` reason.
    pub dead_lettered: BTreeMap<String, u64>,
    /// Distinct messages removed by a rule of the topology: a time to live, a length limit, or, where there is
    /// no dead-letter exchange, a delivery limit or the consumers that rejected them.
    pub removed_by_rule: u64,
    /// Of these, how many no counter of the broker bears out, because none could be read.
    pub removed_unverified: u64,
    /// Distinct messages still there after the drain.
    pub left_in_queue: u64,
    /// Confirmed, and none of the above.
    pub lost: u64,
    /// The broker counts what a rule removes for all queues of a kind together: so many of the copies that queues with the
    /// same rule lost may be this one's or another's.
    #[serde(default)]
    pub lost_among_several: u64,
    /// Unconfirmed or sent without confirms, and missing.
    pub possibly_lost: u64,
    /// Missing in a run whose queues were not read to their end: nobody can tell what became of them.
    pub unaccounted: u64,
    /// Unconfirmed, and seen here all the same.
    pub recovered: u64,
    /// Repeated deliveries because the producer sent the message again.
    pub republished: u64,
    /// Repeated deliveries that the broker flagged.
    pub redelivered: u64,
    /// Repeated deliveries that the broker did not flag.
    pub unflagged: u64,
    /// Deliveries that a consumer failed and gave back to the queue.
    #[serde(default)]
    pub requeued: u64,
    /// Deliveries that a consumer failed for good: dead-lettered, or dropped where there is no dead-letter exchange.
    #[serde(default)]
    pub rejected: u64,
    /// Repeated deliveries of messages that the consumer had failed before: attempts, and no duplicates.
    #[serde(default)]
    pub retried: u64,
    /// Deliveries of messages that this run never sent.
    pub phantom: u64,
    /// Deliveries whose checksum does not match.
    pub corrupt: u64,
    /// First deliveries of a lower sequence after a higher one of the same publisher, at one consumer.
    pub misordered: u64,
    /// Messages delivered here that the topology should not have routed here.
    pub misrouted: u64,
    /// What the store of its consumers says they applied; none: they have no effects, or it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<EffectsAccount>,
}

impl QueueAccount {
    /// Messages dead-lettered from here, for any reason.
    pub fn dead_lettered_total(&self) -> u64 {
        self.dead_lettered.values().sum()
    }

    /// Copies that a rule of the topology may have removed without a consumer's rejecting them: when, nobody saw. Where
    /// rejections are not as many as removals, some of them were of one copy, and which removals are theirs is not told here.
    pub fn removed_unseen(&self) -> u64 {
        if self.removed_by_rule == self.rejected { 0 } else { self.removed_by_rule }
    }

    /// Right side less left side of the conservation: 0 where the books balance.
    pub fn imbalance(&self) -> i128 {
        let accounted = [
            self.consumed,
            self.dead_lettered_total(),
            self.removed_by_rule,
            self.left_in_queue,
            self.lost,
            self.unaccounted,
        ];
        accounted.into_iter().map(i128::from).sum::<i128>() - i128::from(self.routed)
    }
}

/// A class of offending message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationClass {
    /// Confirmed and gone.
    Lost,
    /// Not confirmed and gone.
    PossiblyLost,
    /// Delivered more than once.
    Duplicate,
    /// Delivered but never sent in this run.
    Phantom,
    /// The checksum does not match.
    Corrupt,
    /// Overtaken by a later message.
    Misordered,
    /// In a queue that the topology does not route it to.
    Misrouted,
    /// Its effect was applied more than once.
    EffectRepeated,
    /// Its effect was never applied.
    EffectMissing,
    /// An effect was applied for a message that never came.
    EffectUnknown,
    /// Its fate is another one than foretold.
    Fate,
    /// It was worked off, and the message that should follow it was never published.
    FollowUpMissing,
    /// More than one message of the same fleet follows it.
    FollowUpRepeated,
    /// It came without one of its ids.
    IdMissing,
    /// It came with an id of another message.
    IdCrossed,
}

/// Why a message offends, where the ledger can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The producer sent it again.
    Republished,
    /// The broker said that it delivers again.
    Redelivered,
    /// The broker delivered twice and did not say so.
    Unflagged,
    /// The topology routes it to no queue.
    Unroutable,
    /// Others of its queue were removed by a rule: which were removed and which were lost cannot be told.
    OneOfMany,
    /// It carries no stamp of this run.
    NoStamp,
    /// Its stamp names a message that was never sent.
    NeverSent,
}

/// One offending message. A run may list hundreds of thousands, so that texts which many have in common are kept once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its class.
    pub class: ViolationClass,
    /// Why, where the ledger can tell.
    pub cause: Option<Cause>,
    /// Queue by name; none: routed nowhere.
    pub queue: Option<Arc<str>>,
    /// Publisher by number; none for a phantom.
    pub publisher: Option<u16>,
    /// Sequence of the publisher.
    pub sequence: Option<u64>,
    /// Attempt that was seen, from 0.
    pub attempt: Option<u8>,
    /// When it should have been sent, in microseconds on the run's clock.
    pub intended_us: Option<u64>,
    /// When the offence was observed, in microseconds on the run's clock.
    pub observed_us: Option<u64>,
    /// What is known of it, as a sentence.
    pub history: Arc<str>,
}

/// Texts of violations, each kept once.
#[derive(Debug, Default)]
pub struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// The one that reads like `text`.
    pub fn keep(&mut self, text: &str) -> Arc<str> {
        if let Some(kept) = self.0.get(text) {
            return Arc::clone(kept);
        }
        let kept: Arc<str> = Arc::from(text);
        self.0.insert(Arc::clone(&kept));
        kept
    }
}
