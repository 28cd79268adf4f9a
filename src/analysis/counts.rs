//! The ledger's words looked up: in the totals, per publisher and per queue.

use crate::plan::{Plan, QueueKind, QueuePlan};
use crate::record::{PublisherAccount, QueueAccount, Record, Totals};

/// The total of `word`; none where the ledger has no such word.
pub(super) fn total(totals: &Totals, word: &str) -> Option<u64> {
    Some(match word {
        "planned" => totals.planned,
        "published" => totals.published,
        "confirmed" => totals.confirmed,
        "nacked" => totals.nacked,
        "returned" => totals.returned,
        "unconfirmed" => totals.unconfirmed,
        "sent" => totals.sent,
        "unsent" => totals.unsent,
        "delivered" => totals.delivered,
        "consumed" => totals.consumed,
        "lost" => totals.lost,
        "possibly_lost" => totals.possibly_lost,
        "recovered" => totals.recovered,
        "duplicates" => totals.duplicates,
        "republished" => totals.republished,
        "redelivered" => totals.redelivered,
        "unflagged" => totals.unflagged,
        "redelivered_flag" => totals.redelivered_flag,
        "requeued" => totals.requeued,
        "rejected" => totals.rejected,
        "retried" => totals.retried,
        "phantom" => totals.phantom,
        "corrupt" => totals.corrupt,
        "misordered" => totals.misordered,
        "dead_lettered" => totals.dead_lettered,
        "removed_by_rule" => totals.removed_by_rule,
        "left_in_queue" => totals.left_in_queue,
        "disconnects" => totals.disconnects,
        "blocked" => totals.blocked,
        "effects_applied" => totals.effects_applied?,
        "effects_repeated" => totals.effects_repeated?,
        "effects_missing" => totals.effects_missing?,
        "effects_unknown" => totals.effects_unknown?,
        "fates_foretold" => totals.fates_foretold?,
        "fates_differing" => totals.fates_differing?,
        "fates_unexplained" => totals.fates_unexplained?,
        "attempts" => totals.attempts?,
        "attempts_max" => totals.attempts_max?,
        "follow_ups_missing" => totals.follow_ups_missing?,
        "follow_ups_repeated" => totals.follow_ups_repeated?,
        "ids_missing" => totals.ids_missing?,
        "ids_crossed" => totals.ids_crossed?,
        _ => return None,
    })
}

/// `word` of one publisher; none where it is not counted per publisher.
pub(super) fn of_publisher(publisher: &PublisherAccount, word: &str) -> Option<u64> {
    Some(match word {
        "planned" => publisher.planned,
        "published" => publisher.published,
        "confirmed" => publisher.confirmed,
        "nacked" => publisher.nacked,
        "returned" => publisher.returned,
        "unconfirmed" => publisher.unconfirmed,
        "sent" => publisher.sent,
        "unsent" => publisher.unsent,
        _ => return None,
    })
}

/// `word` of one queue; none where it is not counted per queue. Wide, since the books may come from a broken file.
pub(super) fn of_queue(queue: &QueueAccount, word: &str) -> Option<u128> {
    let wide = u128::from;
    Some(match word {
        "delivered" => wide(queue.delivered),
        "consumed" => wide(queue.consumed),
        "lost" => wide(queue.lost),
        "possibly_lost" => wide(queue.possibly_lost),
        "recovered" => wide(queue.recovered),
        "duplicates" => wide(queue.republished) + wide(queue.redelivered) + wide(queue.unflagged),
        "republished" => wide(queue.republished),
        "redelivered" => wide(queue.redelivered),
        "unflagged" => wide(queue.unflagged),
        "redelivered_flag" => wide(queue.redelivered_flag),
        "requeued" => wide(queue.requeued),
        "rejected" => wide(queue.rejected),
        "retried" => wide(queue.retried),
        "phantom" => wide(queue.phantom),
        "corrupt" => wide(queue.corrupt),
        "misordered" => wide(queue.misordered),
        "dead_lettered" => queue.dead_lettered.values().copied().map(wide).sum(),
        "removed_by_rule" => wide(queue.removed_by_rule),
        "left_in_queue" => wide(queue.left_in_queue),
        "unaccounted" => wide(queue.unaccounted),
        "effects_applied" => wide(queue.effects?.applied),
        "effects_repeated" => wide(queue.effects?.repeated),
        "effects_missing" => wide(queue.effects?.missing),
        "effects_unknown" => wide(queue.effects?.unknown),
        _ => return None,
    })
}

/// The plan's queue that the books of `account` belong to, with its number, and the reader's number for a stream,
/// whose books are kept as `QUEUE#SUBSCRIBER`.
pub(super) fn planned_queue<'a>(plan: &'a Plan, account: &QueueAccount) -> Option<(usize, &'a QueuePlan, Option<u32>)> {
    let named = |name: &str| plan.topology.queues.iter().enumerate().find(|(_, queue)| queue.name == name);
    if let Some((number, queue)) = named(&account.queue) {
        return Some((number, queue, None));
    }
    let (name, reader) = account.queue.rsplit_once('#')?;
    let (number, queue) = named(name).filter(|(_, queue)| queue.kind == QueueKind::Stream)?;
    Some((number, queue, reader.parse().ok()))
}

/// The books of the queue `name`; of a stream one for each reader.
pub(super) fn books_of<'a>(record: &'a Record, name: &str) -> Vec<&'a QueueAccount> {
    let belongs = |account: &&QueueAccount| {
        account.queue == name || planned_queue(&record.plan, account).is_some_and(|(_, queue, _)| queue.name == name)
    };
    record.account.queues.iter().filter(belongs).collect()
}

/// `word` of the whole run, of one queue, or of one reason there (dead letters); none where it is not counted so.
pub(super) fn measured(record: &Record, word: &str, queue: Option<&str>, reason: Option<&str>) -> Option<u128> {
    if queue.is_none() && reason.is_none() {
        return total(&record.totals, word).map(u128::from);
    }
    let books = match queue {
        Some(name) => books_of(record, name),
        None => record.account.queues.iter().collect(),
    };
    if books.is_empty() {
        return None;
    }
    let of = |account: &QueueAccount| match reason {
        Some(reason) => Some(u128::from(account.dead_lettered.get(reason).copied().unwrap_or(0))),
        None => of_queue(account, word),
    };
    books.into_iter().map(of).sum()
}

/// How many messages, copies or deliveries could have been counted under `word`; none where zero says nothing of how
/// often it happens.
pub(super) fn basis(record: &Record, word: &str, queue: Option<&str>) -> Option<u64> {
    let books = queue.map_or_else(|| record.account.queues.iter().collect(), |name| books_of(record, name));
    let sum = |of: fn(&QueueAccount) -> u64| books.iter().fold(0u64, |sum, account| sum.saturating_add(of(account)));
    match word {
        "lost" | "possibly_lost" => {
            let routed = sum(|account| account.routed);
            Some(if routed == 0 && queue.is_none() { record.totals.published } else { routed })
        }
        "duplicates" | "republished" | "redelivered" | "unflagged" | "misordered" => {
            Some(sum(|account| account.consumed))
        }
        // What is left is read by the audit, and would be found out there.
        "phantom" | "corrupt" => Some(sum(|account| account.delivered.saturating_add(account.left_in_queue))),
        "nacked" | "returned" | "unconfirmed" => Some(record.totals.published),
        "fates_differing" | "fates_unexplained" => record.totals.fates_foretold,
        "follow_ups_missing" | "follow_ups_repeated" => {
            Some(record.chains.as_ref()?.rows.iter().fold(0u64, |sum, row| sum.saturating_add(row.worked_off)))
        }
        "ids_missing" | "ids_crossed" => Some(record.chains.as_ref()?.ids_checked),
        // A message that came once could not be applied twice, but nobody could know that before.
        "effects_repeated" | "effects_missing" | "effects_unknown" => {
            let owed = |account: &QueueAccount| {
                account.effects.map_or(0, |effects| effects.applied.saturating_add(effects.missing))
            };
            Some(books.iter().fold(0u64, |sum, account| sum.saturating_add(owed(account))))
        }
        _ => None,
    }
}
