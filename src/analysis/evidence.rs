//! Whether there is enough evidence, and the harm that is told whether or not an expectation forbids it.

use std::collections::BTreeSet;

use super::counts::{self, planned_queue};
use super::phrase::{count, things};
use super::{Finding, Weight, is_audited};
use crate::plan::{ConsumerFleet, Expectation, Metric, PrefetchScope, QueueKind};
use crate::record::{Check, Completeness, QueueAccount, Record, Verdict};

/// Most queues that one sentence names.
const NAMED: usize = 3;

pub(super) fn findings(record: &Record, checks: &[Check]) -> Vec<Finding> {
    let mut findings = harm(record, checks);
    let missing = [completeness(record), nothing_published(record), undrained(record)];
    findings.extend(missing.into_iter().flatten().map(|sentence| Finding::new(Weight::Inconclusive, sentence)));
    let notes = [
        unread_streams(record),
        removed_by_rule_unverified(record),
        lost_among_several(record),
        prefetch_not_shared(record),
    ];
    findings.extend(notes.into_iter().flatten().map(|sentence| Finding::new(Weight::Note, sentence)));
    findings
}

fn completeness(record: &Record) -> Option<String> {
    let so_far =
        if is_audited(record) { "" } else { ", and the queues were not read: what is missing is not yet lost" };
    match &record.completeness {
        Completeness::Complete => None,
        Completeness::Interrupted => Some(format!("the run was interrupted; the books are those up to then{so_far}")),
        Completeness::Aborted { reason } => Some(format!("the run could not go on: {reason}{so_far}")),
    }
}

fn nothing_published(record: &Record) -> Option<String> {
    (record.totals.published == 0).then(|| "no message was published: there is nothing to judge".to_owned())
}

/// Queues that a fleet consumes and that it did not empty: whether what is left would have arrived is not known.
fn undrained(record: &Record) -> Option<String> {
    let consumed: BTreeSet<usize> = record
        .plan
        .consumers
        .iter()
        .flat_map(|fleet| &fleet.subscribers)
        .flat_map(|subscriber| &subscriber.queues)
        .copied()
        .collect();
    let is_undrained = |account: &&QueueAccount| {
        let planned = planned_queue(&record.plan, account);
        let is_consumed =
            planned.is_some_and(|(number, queue, _)| queue.kind != QueueKind::Stream && consumed.contains(&number));
        account.left_in_queue > 0 && is_consumed && !expects_left(record, &account.queue)
    };
    let left: Vec<_> = record.account.queues.iter().filter(is_undrained).collect();
    let copies: u128 = left.iter().map(|account| u128::from(account.left_in_queue)).sum();
    (copies > 0).then(|| {
        format!(
            "{} still in queues that the consumers should have emptied: {}; a longer `load.drain` or a lower rate would tell",
            things(copies, "copy"),
            by_queue(&left, |account| u128::from(account.left_in_queue)),
        )
    })
}

/// Whether the scenario says itself how much may be left in `queue`.
fn expects_left(record: &Record, queue: &str) -> bool {
    record.plan.expect.iter().any(|expectation| match expectation {
        Expectation::Bound { metric: Metric::Count { word, queue: named, .. }, .. } => {
            word == "left_in_queue" && named.as_deref().is_none_or(|named| named == queue)
        }
        _ => false,
    })
}

/// Losses and impostors, where no failed check tells them already.
fn harm(record: &Record, checks: &[Check]) -> Vec<Finding> {
    let told = |word: &str| {
        let is_about = |metric: &str| {
            let (name, _) = metric.split_once('.').unwrap_or((metric, ""));
            name == word || (metric == "guarantee" && matches!(word, "lost" | "possibly_lost"))
        };
        checks.iter().any(|check| check.verdict == Verdict::Fail && is_about(&check.metric))
    };
    let unclosed = if is_audited(record) { "" } else { ", as far as the books go" };
    let sentence = |word: &str| {
        let number = counts::total(&record.totals, word).filter(|number| *number > 0)?;
        let queues = || {
            let books: Vec<_> = record.account.queues.iter().collect();
            by_queue(&books, |account| counts::of_queue(account, word).unwrap_or(0))
        };
        Some(match word {
            "lost" if record.account.unroutable >= number => {
                format!(
                    "{} confirmed by the broker and routed to no queue: nobody can receive them",
                    things(number, "message")
                )
            }
            "lost" => format!("{} confirmed by the broker and gone{unclosed}: {}", things(number, "copy"), queues()),
            "possibly_lost" => {
                format!("{} never confirmed, and missing{unclosed}: {}", things(number, "copy"), queues())
            }
            "phantom" => format!("{} of messages that this run never sent: {}", deliveries(number), queues()),
            _ => format!("{} of messages whose checksum does not match: {}", deliveries(number), queues()),
        })
    };
    let words = ["lost", "possibly_lost", "corrupt", "phantom"].into_iter().filter(|word| !told(word));
    words.filter_map(sentence).map(|sentence| Finding::new(Weight::Harm, sentence)).collect()
}

fn deliveries(number: u64) -> String {
    if number == 1 { "1 delivery".to_owned() } else { format!("{} deliveries", count(number)) }
}

/// Readers of streams that did not get to the end. What they did not read is safe in the stream, so it is no doubt.
fn unread_streams(record: &Record) -> Option<String> {
    let is_unread = |account: &&QueueAccount| {
        account.left_in_queue > 0
            && planned_queue(&record.plan, account).is_some_and(|(_, queue, _)| queue.kind == QueueKind::Stream)
    };
    let unread: Vec<_> = record.account.queues.iter().filter(is_unread).collect();
    (!unread.is_empty()).then(|| {
        format!("not read to the end of the stream: {}", by_queue(&unread, |account| u128::from(account.left_in_queue)))
    })
}

/// A removal is inferred from the topology's rules; only the broker's own counters prove it.
fn removed_by_rule_unverified(record: &Record) -> Option<String> {
    let unverified: u128 = record.account.queues.iter().map(|queue| u128::from(queue.removed_unverified)).sum();
    (unverified > 0).then(|| {
        format!(
            "{} taken as removed by a rule of the topology, which no counter of the broker could confirm",
            things(unverified, "copy")
        )
    })
}

/// The broker counts removals for all queues of a kind together.
fn lost_among_several(record: &Record) -> Option<String> {
    let among: Vec<&QueueAccount> = record.account.queues.iter().filter(|queue| queue.lost_among_several > 0).collect();
    (!among.is_empty()).then(|| {
        format!(
            "which of {} lost how many cannot be told: the broker counts what a rule removes for all queues of a kind \
             together",
            things(among.len() as u64, "queue"),
        )
    })
}

/// From 4.3 on RabbitMQ takes a prefetch for a whole channel for one of each subscription, and does not say so, unless its
/// configuration permits the deprecated feature `global_qos`.
fn prefetch_not_shared(record: &Record) -> Option<String> {
    let mut numbers = record.broker.version.split('.').map_while(|part| part.parse::<u32>().ok());
    let release = numbers.next().zip(numbers.next())?;
    let is_permitted = record.plan.broker.config.iter().any(|line| line.contains("global_qos"));
    if record.broker.product != "RabbitMQ" || release < (4, 3) || is_permitted {
        return None;
    }
    let asks = |fleet: &&ConsumerFleet| {
        let is_shared = fleet.prefetch_scope == PrefetchScope::Channel && fleet.prefetch > 0;
        is_shared && fleet.poll_us.is_none() && fleet.subscribers.iter().any(|subscriber| subscriber.queues.len() > 1)
    };
    let fleets: Vec<&str> = record.plan.consumers.iter().filter(asks).map(|fleet| fleet.name.as_str()).collect();
    (!fleets.is_empty()).then(|| {
        format!(
            "RabbitMQ {} gives each subscription of {} a prefetch of its own, though one for the channel was asked for: \
             it would take `deprecated_features.permit.global_qos = true` in `broker.config`",
            record.broker.version,
            fleets.join(", "),
        )
    })
}

/// "`orders`: 12, `billing`: 3 and 4 more queues", the largest first.
fn by_queue(books: &[&QueueAccount], number: impl Fn(&QueueAccount) -> u128) -> String {
    let mut queues: Vec<_> =
        books.iter().map(|account| (number(account), &account.queue)).filter(|(number, _)| *number > 0).collect();
    queues.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let named: Vec<_> =
        queues.iter().take(NAMED).map(|(number, queue)| format!("`{queue}`: {}", count(*number))).collect();
    match queues.len().saturating_sub(NAMED) {
        0 if named.is_empty() => "routed to no queue".to_owned(),
        0 => named.join(", "),
        more => format!("{} and {}", named.join(", "), things(more as u64, "more queue")),
    }
}
