//! `ledger.csv`: the books in long form. The counts of one class add up to the total of that name.

use super::{LEDGER, table};
use crate::record::{EffectsAccount, PublisherAccount, QueueAccount, Record};
use crate::report::OutputError;
use crate::report::figure::plain;

/// Scope, name, fleet, member, class, count.
///
/// The scopes: `publisher` (its name is its number), `queue`, and `nowhere` for messages that the topology routes to
/// no queue. A class `dead_lettered.REASON` is a part of `dead_lettered`, and `republished`, `redelivered` and
/// `unflagged` are the parts of `duplicates`.
pub(in crate::report) fn ledger(record: &Record) -> Result<String, OutputError> {
    let account = &record.account;
    let publishers = account.publishers.iter().zip(0u16..).flat_map(|(publisher, id)| {
        let (fleet, member) = record
            .plan
            .publisher(id)
            .map_or_else(Default::default, |(_, fleet, publisher)| (fleet.name.clone(), publisher.member.to_string()));
        publisher_classes(publisher).map(move |(class, count)| {
            ["publisher".to_owned(), id.to_string(), fleet.clone(), member.clone(), class.to_owned(), plain(count)]
        })
    });
    let queues = account.queues.iter().flat_map(|queue| {
        queue_classes(queue).into_iter().map(|(class, count)| {
            ["queue".to_owned(), queue.queue.clone(), String::new(), String::new(), class, plain(count)]
        })
    });
    let nowhere =
        [("lost", account.unroutable), ("possibly_lost", account.unroutable_unconfirmed)].map(|(class, count)| {
            ["nowhere".to_owned(), String::new(), String::new(), String::new(), class.to_owned(), plain(count)]
        });
    table(LEDGER, ["scope", "name", "fleet", "member", "class", "count"], publishers.chain(queues).chain(nowhere))
}

/// The ledger's words for a publisher, with their counts.
pub(in crate::report) fn publisher_classes(account: &PublisherAccount) -> [(&'static str, u64); 9] {
    let PublisherAccount { planned, published, confirmed, nacked, returned, unconfirmed, sent, unsent, resends } =
        *account;
    [
        ("planned", planned),
        ("published", published),
        ("confirmed", confirmed),
        ("nacked", nacked),
        ("returned", returned),
        ("unconfirmed", unconfirmed),
        ("sent", sent),
        ("unsent", unsent),
        ("resends", resends),
    ]
}

fn queue_classes(account: &QueueAccount) -> Vec<(String, u64)> {
    let duplicates = account.republished + account.redelivered + account.unflagged;
    let before = [
        ("routed", account.routed),
        ("delivered", account.delivered),
        ("redelivered_flag", account.redelivered_flag),
        ("acknowledged", account.acknowledged),
        ("consumed", account.consumed),
        ("dead_lettered", account.dead_lettered_total()),
    ];
    let after = [
        ("removed_by_rule", account.removed_by_rule),
        ("left_in_queue", account.left_in_queue),
        ("lost", account.lost),
        ("unaccounted", account.unaccounted),
        ("possibly_lost", account.possibly_lost),
        ("recovered", account.recovered),
        ("duplicates", duplicates),
        ("republished", account.republished),
        ("redelivered", account.redelivered),
        ("unflagged", account.unflagged),
        ("requeued", account.requeued),
        ("rejected", account.rejected),
        ("retried", account.retried),
        ("phantom", account.phantom),
        ("corrupt", account.corrupt),
        ("misordered", account.misordered),
        ("misrouted", account.misrouted),
    ];
    let named = |(class, count): (&str, u64)| (class.to_owned(), count);
    let reasons = account.dead_lettered.iter().map(|(reason, count)| (format!("dead_lettered.{reason}"), *count));
    let effects = account.effects.map(|EffectsAccount { applied, repeated, missing, unknown }| {
        [
            ("effects_applied", applied),
            ("effects_repeated", repeated),
            ("effects_missing", missing),
            ("effects_unknown", unknown),
        ]
    });
    let after = after.into_iter().chain(effects.into_iter().flatten());
    before.into_iter().map(named).chain(reasons).chain(after.map(named)).collect()
}
