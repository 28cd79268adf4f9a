//! The ledger's words over a whole run: `totals` of `run.json`.

use serde::{Deserialize, Serialize};

use super::{Account, ChainsReport, EffectsAccount};
use crate::ledger::fates::FatesAccount;

/// The ledger's words over all publishers and queues. Counts of messages, except where they say deliveries or copies:
/// a message that is routed to two queues is one message and two copies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Messages that the plan asked for.
    pub planned: u64,
    /// Messages sent at least once.
    pub published: u64,
    /// Acked by the broker.
    pub confirmed: u64,
    /// Nacked by the broker.
    pub nacked: u64,
    /// Unroutable and returned.
    pub returned: u64,
    /// No answer came.
    pub unconfirmed: u64,
    /// Sent with confirms off.
    pub sent: u64,
    /// Planned, not sent.
    pub unsent: u64,
    /// Deliveries to consumers, repetitions included.
    pub delivered: u64,
    /// Copies consumed.
    pub consumed: u64,
    /// Copies confirmed and gone; a message routed nowhere counts once.
    pub lost: u64,
    /// Copies not confirmed and gone.
    pub possibly_lost: u64,
    /// Copies not confirmed and seen.
    pub recovered: u64,
    /// Repeated deliveries: the three below together.
    pub duplicates: u64,
    /// Repeated deliveries because the producer sent again.
    pub republished: u64,
    /// Repeated deliveries that the broker flagged.
    pub redelivered: u64,
    /// Repeated deliveries that the broker did not flag.
    pub unflagged: u64,
    /// Deliveries that the broker flagged as redelivered, repeated or not.
    #[serde(default)]
    pub redelivered_flag: u64,
    /// Deliveries that consumers failed and gave back.
    #[serde(default)]
    pub requeued: u64,
    /// Deliveries that consumers failed for good.
    #[serde(default)]
    pub rejected: u64,
    /// Deliveries of what consumers had failed before: no duplicates.
    #[serde(default)]
    pub retried: u64,
    /// Deliveries of messages never sent in this run.
    pub phantom: u64,
    /// Deliveries whose checksum does not match.
    pub corrupt: u64,
    /// First deliveries out of order.
    pub misordered: u64,
    /// Copies dead-lettered.
    pub dead_lettered: u64,
    /// Copies removed by a rule of the topology.
    pub removed_by_rule: u64,
    /// Copies still in a queue after the drain.
    pub left_in_queue: u64,
    /// Connections that ended before they should have.
    pub disconnects: u64,
    /// Times that the broker blocked a connection.
    pub blocked: u64,
    /// Effects that were applied, once or more often; none where no fleet has effects, or none could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects_applied: Option<u64>,
    /// Of these, effects that were applied more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects_repeated: Option<u64>,
    /// Effects that consumers owed, for messages that they consumed or that were lost, and never applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects_missing: Option<u64>,
    /// Effects that were applied for messages that were never sent, or never came to that queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects_unknown: Option<u64>,
    /// Messages whose fate was foretold, those that just work left out; none where no message has a fate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fates_foretold: Option<u64>,
    /// Messages whose fate was another one than foretold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fates_differing: Option<u64>,
    /// Of these, those for which nothing that was seen accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fates_unexplained: Option<u64>,
    /// Attempts at messages that were to fail, those that worked in the end included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// Most attempts at one message in one queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u64>,
    /// Messages that consumers worked off, and that led to none of those that they should have led to; none where no
    /// message leads to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_ups_missing: Option<u64>,
    /// Messages that led to more than one of the same fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_ups_repeated: Option<u64>,
    /// Deliveries of messages without their message id, correlation id or causation id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids_missing: Option<u64>,
    /// Deliveries of messages with such an id of another message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids_crossed: Option<u64>,
}

impl Totals {
    /// Takes over what was foretold and seen of fates.
    pub fn count_fates(&mut self, fates: &FatesAccount) {
        self.fates_foretold = Some(fates.foretold);
        self.fates_differing = Some(fates.differing_total());
        self.fates_unexplained = Some(fates.unexplained());
        self.attempts = Some(fates.attempts);
        self.attempts_max = Some(fates.attempts_max);
    }

    /// Takes over what led to what, and with which ids.
    pub fn count_chains(&mut self, chains: &ChainsReport) {
        self.follow_ups_missing = Some(chains.rows.iter().map(|row| row.missing).sum());
        self.follow_ups_repeated = Some(chains.rows.iter().map(|row| row.repeated).sum());
        self.ids_missing = Some(chains.ids_missing);
        self.ids_crossed = Some(chains.ids_crossed);
    }

    /// Adds up what the stores say; nothing where none could be read.
    pub fn count_effects(&mut self, account: &Account) {
        let read = || account.queues.iter().filter_map(|queue| queue.effects);
        let sum = |of: fn(EffectsAccount) -> u64| read().map(of).reduce(u64::saturating_add);
        self.effects_applied = sum(|effects| effects.applied);
        self.effects_repeated = sum(|effects| effects.repeated);
        self.effects_missing = sum(|effects| effects.missing);
        self.effects_unknown = sum(|effects| effects.unknown);
    }
}
