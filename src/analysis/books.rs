//! Whether the books agree: outcomes with what was published, queues with what was routed, totals with both.

use super::counts;
use super::phrase::{count, things};
use super::{Finding, Weight};
use crate::plan::expect::{PUBLISHER_COUNTS, QUEUE_COUNTS};
use crate::record::{PublisherAccount, QueueAccount, Record};

/// Most sentences of one kind; what is more is told by its number.
const LISTED: usize = 5;

pub(super) fn findings(record: &Record) -> Vec<Finding> {
    let account = &record.account;
    let publishers = account.publishers.iter().enumerate();
    let groups = [
        account.queues.iter().filter_map(imbalance).collect::<Vec<_>>(),
        account.queues.iter().filter_map(misrouted).collect(),
        publishers.filter_map(|(id, publisher)| outcomes(id, publisher)).collect(),
        totals(record),
    ];
    groups.into_iter().flat_map(listed).map(|sentence| Finding::new(Weight::Invalid, sentence)).collect()
}

fn listed(mut sentences: Vec<String>) -> Vec<String> {
    if sentences.len() > LISTED {
        let more = sentences.len() - LISTED;
        sentences.truncate(LISTED);
        sentences.push(format!("and {} more of the same kind", count(more as u64)));
    }
    sentences
}

fn imbalance(queue: &QueueAccount) -> Option<String> {
    // Not QueueAccount::imbalance: its sum of dead letters may overflow on a file that was tampered with.
    let parts = ["consumed", "dead_lettered", "removed_by_rule", "left_in_queue", "lost", "unaccounted"];
    let accounted: u128 = parts.iter().filter_map(|word| counts::of_queue(queue, word)).sum();
    (accounted != u128::from(queue.routed)).then(|| {
        let parts = parts.map(|word| format!("{} {word}", count(counts::of_queue(queue, word).unwrap_or(0))));
        format!(
            "the books of queue `{}` do not balance: {} routed there, but {} accounted for ({})",
            queue.queue,
            things(queue.routed, "copy"),
            count(accounted),
            parts.join(" + "),
        )
    })
}

fn misrouted(queue: &QueueAccount) -> Option<String> {
    (queue.misrouted > 0).then(|| {
        format!(
            "{} delivered from queue `{}` that the plan routes elsewhere: what belongs there is not known",
            things(queue.misrouted, "message"),
            queue.queue,
        )
    })
}

fn outcomes(id: usize, publisher: &PublisherAccount) -> Option<String> {
    let sum = |words: &[&str]| -> u128 {
        words.iter().filter_map(|word| counts::of_publisher(publisher, word)).map(u128::from).sum()
    };
    let outcomes = sum(&["confirmed", "nacked", "returned", "unconfirmed", "sent"]);
    if outcomes != u128::from(publisher.published) {
        return Some(format!(
            "the books of publisher {id} do not add up: {} published, but {} with an outcome",
            count(publisher.published),
            count(outcomes),
        ));
    }
    let planned = sum(&["published", "unsent"]);
    (planned != u128::from(publisher.planned)).then(|| {
        format!(
            "the books of publisher {id} do not add up: {} planned, but {} published or unsent",
            count(publisher.planned),
            count(planned),
        )
    })
}

/// Where the totals say something else than the account that they are made of.
fn totals(record: &Record) -> Vec<String> {
    let account = &record.account;
    let of_publishers = |word: &&'static str| {
        let sum: u128 = account.publishers.iter().filter_map(|p| counts::of_publisher(p, word)).map(u128::from).sum();
        (*word, sum)
    };
    let of_queues = |word: &&'static str| {
        let sum: u128 = account.queues.iter().filter_map(|queue| counts::of_queue(queue, word)).sum();
        let nowhere = match *word {
            "lost" => account.unroutable,
            "possibly_lost" => account.unroutable_unconfirmed,
            _ => 0,
        };
        (*word, sum + u128::from(nowhere))
    };
    let sums = PUBLISHER_COUNTS.iter().map(of_publishers).chain(QUEUE_COUNTS.iter().map(of_queues));
    sums.filter_map(|(word, sum)| {
        // What no store says is not in the totals at all.
        let total = counts::total(&record.totals, word).unwrap_or(0);
        // It was counted by queue before it was a total.
        let is_older = word == "redelivered_flag" && total == 0;
        (u128::from(total) != sum && !is_older).then(|| {
            format!("the totals disagree with the account: `{word}` is {} there and {} here", count(total), count(sum))
        })
    })
    .collect()
}
