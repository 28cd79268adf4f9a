//! The ledger against small stories told by hand, and against a naive model that remembers everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const RUN: u32 = 7;

/// Every message of every publisher goes to the destinations of `0`'s n-th list, n being its sequence modulo their number.
struct InTurn(Vec<Vec<u32>>);

impl Routes for InTurn {
    fn destinations(&self, _publisher: u16, sequence: u64) -> &[u32] {
        &self.0[(sequence % self.0.len() as u64) as usize]
    }
}

struct Nothing;

impl Foretold for Nothing {
    fn planned(&self, _publisher: u16) -> Option<u64> {
        None
    }
    fn intended_us(&self, _publisher: u16, sequence: u64) -> Option<u64> {
        Some(sequence * 10)
    }
    fn publisher_name(&self, publisher: u16) -> String {
        format!("fleet/{publisher}")
    }
}

fn destination(name: &str, rules: &[Rule]) -> Destination {
    Destination { name: name.to_owned(), rules: rules.to_vec(), kind: "classic", ..Destination::default() }
}

fn ledger(publishers: usize, routes: Vec<Vec<u32>>) -> Ledger {
    let destinations = vec![destination("a", &[]), destination("b", &[]), destination("dead", &[])];
    Ledger::new(RUN, publishers, destinations, Arc::new(InTurn(routes)))
}

/// What `x-death` says of a message that left destination `from` once.
fn died(from: u32, reason: &str) -> Option<Arc<[DeathEntry]>> {
    Some(Arc::new([DeathEntry { from, reason: reason.into(), count: 1 }]))
}

fn stamp(publisher: u16, sequence: u64, attempt: u8) -> Stamp {
    Stamp { run: RUN, publisher, attempt, sequence, intended_us: sequence * 10, lag_us: 0 }
}

fn arrival(destination: u32, stamp: Stamp, redelivered: bool) -> Arrival {
    Arrival { destination, reading: Reading::Ours(stamp), redelivered, retried: false, observed_us: 99, deaths: None }
}

fn account(ledger: &Ledger) -> Account {
    let removed = RemovalEvidence::Counted(BTreeMap::new());
    ledger.account(&Evidence { foretold: &Nothing, removed, audited: true })
}

fn confirm(ledger: &Ledger, publisher: u16, sequences: std::ops::Range<u64>) {
    ledger.published(publisher, (sequences.end - sequences.start) as usize, true);
    ledger.settled(publisher, sequences.map(|sequence| (sequence, Settled::Confirmed)));
}

fn consume(ledger: &Ledger, destination: u32, stamps: &[Stamp]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let arrivals: Vec<_> = stamps.iter().map(|stamp| arrival(destination, *stamp, false)).collect();
    ledger.delivered(&mut Order::default(), &arrivals, &mut seen);
    ledger.consumed(stamps.iter().map(|stamp| (destination, Reading::Ours(*stamp))));
    seen
}

#[test]
fn all_is_well() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..10_000);
    consume(&ledger, 0, &(0..10_000).map(|n| stamp(0, n, 0)).collect::<Vec<_>>());
    let account = account(&ledger);
    assert_eq!((account.queues[0].routed, account.queues[0].consumed, account.queues[0].lost), (10_000, 10_000, 0));
    assert_eq!(account.violations_total, 0);
    assert_eq!(account.publishers[0].confirmed, 10_000);
    assert_eq!(account.queues[0].imbalance(), 0);
}

#[test]
fn a_confirmed_message_that_never_came_is_lost_and_named() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..5000);
    let but_one: Vec<_> = (0..5000).filter(|n| *n != 4097).map(|n| stamp(0, n, 0)).collect();
    consume(&ledger, 0, &but_one);
    let account = account(&ledger);
    assert_eq!((account.queues[0].lost, account.queues[0].imbalance()), (1, 0));
    let violation = &account.violations[0];
    assert_eq!((violation.class, violation.sequence), (ViolationClass::Lost, Some(4097)));
    assert_eq!(violation.intended_us, Some(40_970));
    assert_eq!(
        &*violation.history,
        "published by fleet/0, confirmed; neither consumed, dead-lettered nor left in the queue"
    );
}

#[test]
fn a_copy_missing_at_one_queue_of_two_is_lost_there_only() {
    let ledger = ledger(1, vec![vec![0, 1]]);
    confirm(&ledger, 0, 0..3);
    consume(&ledger, 0, &[stamp(0, 0, 0), stamp(0, 1, 0), stamp(0, 2, 0)]);
    consume(&ledger, 1, &[stamp(0, 0, 0), stamp(0, 2, 0)]);
    let account = account(&ledger);
    assert_eq!((account.queues[0].lost, account.queues[1].lost), (0, 1));
    assert_eq!(account.violations[0].queue.as_deref(), Some("b"));
}

#[test]
fn delivered_but_never_acknowledged_is_not_consumed() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..1);
    ledger.delivered(&mut Order::default(), &[arrival(0, stamp(0, 0, 0), false)], &mut Vec::new());
    assert_eq!(account(&ledger).queues[0].lost, 1);
}

#[test]
fn what_the_audit_finds_is_left_not_lost() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..4);
    consume(&ledger, 0, &[stamp(0, 0, 0)]);
    ledger.found(&[arrival(0, stamp(0, 1, 0), false), arrival(0, stamp(0, 3, 0), true)]);
    let queue = &account(&ledger).queues[0];
    assert_eq!((queue.consumed, queue.left_in_queue, queue.lost, queue.imbalance()), (1, 2, 1, 0));
    assert_eq!(queue.delivered, 1, "the audit is no consumer");
}

#[test]
fn duplicates_are_attributed() {
    let ledger = ledger(1, vec![vec![0]]);
    ledger.published(0, 3, true);
    // 0 goes out twice and arrives twice; 1 comes again with the flag; 2 without it.
    ledger.settled(0, [(0, Settled::Unconfirmed)]);
    ledger.published_again(0, 0);
    ledger.settled(0, (0..3).map(|n| (n, Settled::Confirmed)));
    let mut seen = Vec::new();
    let arrivals = [
        arrival(0, stamp(0, 0, 0), false),
        arrival(0, stamp(0, 0, 1), false),
        arrival(0, stamp(0, 0, 1), true),
        arrival(0, stamp(0, 1, 0), false),
        arrival(0, stamp(0, 1, 0), true),
        arrival(0, stamp(0, 2, 0), false),
        arrival(0, stamp(0, 2, 0), false),
    ];
    ledger.delivered(&mut Order::default(), &arrivals, &mut seen);
    use Cause::{Redelivered, Republished, Unflagged};
    use Seen::{First, Repeated};
    assert_eq!(
        seen,
        [First, Repeated(Republished), Repeated(Redelivered), First, Repeated(Redelivered), First, Repeated(Unflagged)]
    );
    let queue = &account(&ledger).queues[0];
    assert_eq!((queue.republished, queue.redelivered, queue.unflagged, queue.redelivered_flag), (1, 2, 1, 2));
}

#[test]
fn what_a_consumer_takes_again_is_an_attempt_and_no_duplicate() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..2);
    let again = |sequence, attempt| Arrival { retried: true, ..arrival(0, stamp(0, sequence, attempt), true) };
    let arrivals = [
        arrival(0, stamp(0, 0, 0), false),
        again(0, 0),
        // Back by way of a dead-letter exchange: the broker does not say so.
        Arrival { redelivered: false, ..again(0, 0) },
        // Nobody asked for this one.
        arrival(0, stamp(0, 0, 0), true),
        // The first time that the ledger hears of it.
        again(1, 0),
    ];
    let mut seen = Vec::new();
    ledger.delivered(&mut Order::default(), &arrivals, &mut seen);
    use Seen::{First, Repeated, Retried};
    assert_eq!(seen, [First, Retried, Retried, Repeated(Cause::Redelivered), First]);
    ledger.refused(0, &Reading::Ours(stamp(0, 0, 0)), true);
    ledger.refused(0, &Reading::Ours(stamp(0, 0, 0)), true);
    ledger.refused(0, &Reading::Ours(stamp(0, 1, 0)), false);
    let account = account(&ledger);
    let queue = &account.queues[0];
    assert_eq!((queue.requeued, queue.rejected, queue.retried, queue.redelivered), (2, 1, 2, 1));
    assert_eq!((queue.delivered, queue.redelivered_flag), (5, 3));
    assert!(account.violations.iter().filter(|offence| offence.class == ViolationClass::Duplicate).count() == 1);
}

#[test]
fn what_consumers_rejected_is_removed_as_far_as_they_and_the_broker_agree() {
    // Rejected by the consumers, as the broker counts; removed and lost.
    for (rejected, counted, expected) in [
        (30, Some(30), (30, 70)),
        (30, Some(100), (30, 70)),
        (100, Some(20), (20, 80)),
        (30, None, (30, 70)),
        (0, None, (0, 100)),
    ] {
        let ledger = Ledger::new(RUN, 1, vec![destination("a", &[Rule::Rejected])], Arc::new(InTurn(vec![vec![0]])));
        confirm(&ledger, 0, 0..100);
        (0..rejected).for_each(|n| ledger.refused(0, &Reading::Ours(stamp(0, 99 - n, 0)), false));
        let by_rule = |count: u64| BTreeMap::from([((Rule::Rejected, "classic".to_owned()), count)]);
        let removed = counted.map_or(RemovalEvidence::Unknown, |count| RemovalEvidence::Counted(by_rule(count)));
        let account = ledger.account(&Evidence { foretold: &Nothing, removed, audited: true });
        let queue = &account.queues[0];
        assert_eq!((queue.removed_by_rule, queue.lost), expected, "{rejected} rejected");
        assert_eq!((queue.imbalance(), queue.removed_unverified), (0, 0));
    }
}

#[test]
fn what_was_rejected_again_and_again_hides_nothing_that_was_lost() {
    let ledger = Ledger::new(RUN, 1, vec![destination("a", &[Rule::Rejected])], Arc::new(InTurn(vec![vec![0]])));
    confirm(&ledger, 0, 0..100);
    // Each of every third came five times, and was rejected each time.
    for n in (0..100).step_by(3) {
        (0..5).for_each(|_| ledger.refused(0, &Reading::Ours(stamp(0, n, 0)), false));
    }
    let counted = BTreeMap::from([((Rule::Rejected, "classic".to_owned()), 34 * 5)]);
    let removed = RemovalEvidence::Counted(counted);
    let account = ledger.account(&Evidence { foretold: &Nothing, removed, audited: true });
    let queue = &account.queues[0];
    assert_eq!((queue.rejected, queue.removed_by_rule, queue.lost, queue.imbalance()), (170, 34, 66, 0));
    let named: Vec<_> = account.violations.iter().map(|lost| (lost.cause, lost.sequence)).collect();
    let others: Vec<_> = (0..100).filter(|n| n % 3 != 0).map(|n| (None, Some(n))).collect();
    assert_eq!(named, others, "exactly those that nobody rejected");
}

#[test]
fn what_is_gone_is_no_backlog() {
    // Rejected where there is no dead-letter exchange, and where there is one.
    for (rules, left) in [(vec![Rule::Rejected], 1), (Vec::new(), 4)] {
        let ledger = Ledger::new(RUN, 1, vec![destination("a", &rules)], Arc::new(InTurn(vec![vec![0]])));
        confirm(&ledger, 0, 0..10);
        consume(&ledger, 0, &(0..6).map(|n| stamp(0, n, 0)).collect::<Vec<_>>());
        // One of them twice.
        for n in [6, 7, 8, 8] {
            ledger.refused(0, &Reading::Ours(stamp(0, n, 0)), false);
        }
        ledger.refused(0, &Reading::Ours(stamp(0, 9, 0)), true);
        assert_eq!((ledger.backlog(), ledger.running().backlog), (left, left));
    }
    // Dead letters wait where they came to, until they are consumed there.
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..10);
    consume(&ledger, 0, &(0..6).map(|n| stamp(0, n, 0)).collect::<Vec<_>>());
    let dead = |n| Arrival { deaths: died(0, "rejected"), ..arrival(2, stamp(0, n, 0), false) };
    ledger.delivered(&mut Order::default(), &[dead(6), dead(7)], &mut Vec::new());
    assert_eq!(ledger.backlog(), 4, "two of them at each");
    ledger.consumed([6, 7].map(|n| (2, Reading::Ours(stamp(0, n, 0)))));
    assert_eq!(ledger.backlog(), 2);
}

#[test]
fn the_audit_can_tell_what_was_delivered_before() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..2);
    ledger.delivered(&mut Order::default(), &[arrival(0, stamp(0, 0, 0), false)], &mut Vec::new());
    let delivered = [0, 1, 7].map(|n| ledger.has_delivered(&arrival(0, stamp(0, n, 0), true)));
    assert_eq!(delivered, [true, false, false]);
}

#[test]
fn a_resend_of_a_delivered_message_knows_its_first_attempt() {
    let ledger = ledger(1, vec![vec![0]]);
    ledger.published(0, 1, true);
    consume(&ledger, 0, &[stamp(0, 0, 0)]);
    ledger.settled(0, [(0, Settled::Unconfirmed)]);
    ledger.published_again(0, 0);
    ledger.settled(0, [(0, Settled::Confirmed)]);
    assert_eq!(consume(&ledger, 0, &[stamp(0, 0, 1)]), [Seen::Repeated(Cause::Republished)]);
    let account = account(&ledger);
    assert_eq!((account.publishers[0].resends, account.publishers[0].confirmed), (1, 1));
    assert_eq!((account.queues[0].consumed, account.queues[0].imbalance()), (1, 0));
}

#[test]
fn a_confirm_stands_though_the_message_is_sent_again() {
    // Whether its chunk has been compacted or not.
    for messages in [1, 4096] {
        let ledger = ledger(1, vec![vec![0]]);
        confirm(&ledger, 0, 0..messages);
        ledger.published_again(0, 0);
        let account = account(&ledger);
        let publisher = &account.publishers[0];
        assert_eq!((publisher.confirmed, publisher.unconfirmed, publisher.resends), (messages, 0, 1));
        assert_eq!((account.queues[0].lost, account.queues[0].possibly_lost), (messages, 0));
    }
}

#[test]
fn strangers_are_phantoms_and_changed_messages_corrupt() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..1);
    let with = |reading| Arrival { reading, ..arrival(0, stamp(0, 0, 0), false) };
    let arrivals = [
        with(Reading::Foreign),
        with(Reading::Ours(stamp(0, 5, 0))),
        with(Reading::Ours(stamp(9, 0, 0))),
        with(Reading::Corrupt(stamp(0, 0, 0))),
    ];
    ledger.delivered(&mut Order::default(), &arrivals, &mut Vec::new());
    let account = account(&ledger);
    assert_eq!((account.queues[0].phantom, account.queues[0].corrupt, account.queues[0].lost), (3, 1, 1));
    let causes: BTreeSet<_> =
        account.violations.iter().filter(|v| v.class == ViolationClass::Phantom).map(|v| v.cause).collect();
    assert_eq!(causes, BTreeSet::from([Some(Cause::NoStamp), Some(Cause::NeverSent)]));
}

#[test]
fn order_is_watched_for_each_publisher_and_subscriber() {
    let ledger = ledger(2, vec![vec![0]]);
    confirm(&ledger, 0, 0..4);
    confirm(&ledger, 1, 0..4);
    let of = |publisher, sequence| arrival(0, stamp(publisher, sequence, 0), false);
    let mut order = Order::default();
    ledger.delivered(&mut order, &[of(0, 0), of(1, 3), of(0, 2), of(0, 1), of(1, 0)], &mut Vec::new());
    // Another subscriber sees a lower sequence: competing consumers are no disorder.
    ledger.delivered(&mut Order::default(), &[of(1, 1)], &mut Vec::new());
    // A repeated delivery of a lower sequence is a duplicate, not a disorder.
    ledger.delivered(&mut order, &[of(0, 0)], &mut Vec::new());
    let queue = &account(&ledger).queues[0];
    assert_eq!((queue.misordered, queue.unflagged), (2, 1));
}

#[test]
fn nobody_owes_a_nacked_or_returned_message() {
    let ledger = ledger(1, vec![vec![0]]);
    ledger.published(0, 4, true);
    let returned = [(0, Settled::Nacked), (1, Settled::Returned), (1, Settled::Confirmed), (2, Settled::Nacked)];
    ledger.settled(0, returned);
    // A nacked message that shows up all the same is accounted for.
    consume(&ledger, 0, &[stamp(0, 2, 0)]);
    let account = account(&ledger);
    let publisher = &account.publishers[0];
    assert_eq!((publisher.nacked, publisher.returned, publisher.unconfirmed, publisher.confirmed), (2, 1, 1, 0));
    let queue = &account.queues[0];
    assert_eq!((queue.routed, queue.consumed, queue.lost, queue.possibly_lost), (1, 1, 0, 1));
    assert_eq!(queue.imbalance(), 0);
}

#[test]
fn unconfirmed_is_possibly_lost_or_recovered() {
    let ledger = ledger(1, vec![vec![0]]);
    ledger.published(0, 2, true);
    ledger.settled(0, [(0, Settled::Unconfirmed), (1, Settled::Unconfirmed)]);
    consume(&ledger, 0, &[stamp(0, 1, 0)]);
    let queue = &account(&ledger).queues[0];
    assert_eq!((queue.possibly_lost, queue.recovered, queue.lost, queue.imbalance()), (1, 1, 0, 0));
}

#[test]
fn a_message_routed_nowhere_is_lost_once() {
    let ledger = ledger(1, vec![vec![], vec![0]]);
    confirm(&ledger, 0, 0..4);
    consume(&ledger, 0, &[stamp(0, 1, 0), stamp(0, 3, 0)]);
    let account = account(&ledger);
    assert_eq!((account.unroutable, account.queues[0].lost), (2, 0));
    assert_eq!(account.violations[0].cause, Some(Cause::Unroutable));
}

#[test]
fn what_waits_to_be_tried_again_balances_where_nobody_sees_it() {
    // 0 is worked off, and 1 is where its dead letters wait; 2 is where they end.
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..3);
    consume(&ledger, 0, &[stamp(0, 0, 0)]);
    let entry = |from, reason: &str, count| DeathEntry { from, reason: reason.into(), count };
    let back = |sequence, count| {
        let deaths = Some(Arc::from([entry(1, "expired", count), entry(0, "rejected", count)]));
        Arrival { deaths, retried: true, ..arrival(0, stamp(0, sequence, 0), false) }
    };
    for sequence in [1, 2] {
        for came in [arrival(0, stamp(0, sequence, 0), false), back(sequence, 1), back(sequence, 2)] {
            ledger.delivered(&mut Order::default(), &[came], &mut Vec::new());
        }
    }
    ledger.consumed([(0, Reading::Ours(stamp(0, 1, 0)))]);
    let deaths = Some(Arc::from([entry(0, "rejected", 3), entry(1, "expired", 2)]));
    ledger.found(&[Arrival { deaths, ..arrival(2, stamp(0, 2, 0), false) }]);
    let account = account(&ledger);
    let counts = |queue: usize| {
        let queue = &account.queues[queue];
        let dead = |reason: &str| queue.dead_lettered.get(reason).copied().unwrap_or(0);
        (queue.routed, queue.consumed, queue.left_in_queue, dead("rejected"), dead("expired"))
    };
    assert_eq!([0, 1, 2].map(counts), [(3, 2, 0, 1, 0), (2, 0, 0, 0, 2), (1, 0, 1, 0, 0)]);
    assert!(account.queues.iter().all(|queue| queue.imbalance() == 0 && queue.lost == 0), "{account:?}");
    assert_eq!(account.queues[0].retried, 4);
}

#[test]
fn what_its_consumer_published_to_wait_has_left_its_queue() {
    let mut destinations = vec![destination("a", &[]), destination("wait", &[])];
    destinations[1].waits_for = Some(0);
    let ledger = Ledger::new(RUN, 1, destinations, Arc::new(InTurn(vec![vec![0]])));
    confirm(&ledger, 0, 0..1);
    ledger.delivered(&mut Order::default(), &[arrival(0, stamp(0, 0, 0), false)], &mut Vec::new());
    ledger.found(&[arrival(1, stamp(0, 0, 0), false)]);
    let account = account(&ledger);
    assert_eq!(account.queues[0].dead_lettered, BTreeMap::from([(RETRIED.to_owned(), 1)]));
    assert_eq!((account.queues[1].routed, account.queues[1].left_in_queue, account.queues[1].misrouted), (1, 1, 0));
    assert!(account.queues.iter().all(|queue| queue.imbalance() == 0 && queue.lost == 0));
}

#[test]
fn dead_letters_leave_one_queue_and_reach_another() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..3);
    consume(&ledger, 0, &[stamp(0, 0, 0)]);
    let dead = |sequence| Arrival { deaths: died(0, "expired"), ..arrival(2, stamp(0, sequence, 0), false) };
    ledger.found(&[dead(1), dead(2)]);
    let account = account(&ledger);
    assert_eq!(account.queues[0].dead_lettered, BTreeMap::from([("expired".to_owned(), 2)]));
    assert_eq!((account.queues[2].routed, account.queues[2].left_in_queue), (2, 2));
    assert!(account.queues.iter().all(|queue| queue.imbalance() == 0 && queue.lost == 0));
}

#[test]
fn a_stray_unbalances_the_books() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..1);
    consume(&ledger, 0, &[stamp(0, 0, 0)]);
    consume(&ledger, 1, &[stamp(0, 0, 0)]);
    let account = account(&ledger);
    assert_eq!((account.queues[1].misrouted, account.queues[1].imbalance()), (1, 1));
}

#[test]
fn a_rule_explains_what_the_broker_counted_and_no_more() {
    let destinations = vec![destination("bounded", &[Rule::Length])];
    let ledger = Ledger::new(RUN, 1, destinations, Arc::new(InTurn(vec![vec![0]])));
    confirm(&ledger, 0, 0..100);
    ledger.found(&(90..100).map(|n| arrival(0, stamp(0, n, 0), false)).collect::<Vec<_>>());
    let of_kind = |rule, kind: &str| (rule, kind.to_owned());
    let elsewhere = [(of_kind(Rule::Length, "quorum"), 50), (of_kind(Rule::Expiry, "classic"), 50)];
    let counted = |n| {
        RemovalEvidence::Counted(elsewhere.iter().cloned().chain([(of_kind(Rule::Length, "classic"), n)]).collect())
    };
    let account = ledger.account(&Evidence { foretold: &Nothing, removed: counted(88), audited: true });
    let queue = &account.queues[0];
    assert_eq!((queue.removed_by_rule, queue.lost, queue.left_in_queue, queue.imbalance()), (88, 2, 10, 0));
    assert_eq!((account.violations_total, account.violations[0].sequence), (2, Some(88)));
    assert_eq!(account.violations[0].cause, Some(Cause::OneOfMany), "which two of the 90 were lost is a guess");
    assert_eq!(queue.lost_among_several, 0, "no other queue can have lost them");
    let believed = ledger.account(&Evidence { foretold: &Nothing, removed: RemovalEvidence::Unknown, audited: true });
    assert_eq!((believed.queues[0].removed_by_rule, believed.queues[0].removed_unverified), (90, 90));
}

#[test]
fn what_was_not_read_to_its_end_is_not_called_lost() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..10);
    consume(&ledger, 0, &[stamp(0, 0, 0)]);
    let removed = RemovalEvidence::Unknown;
    let account = ledger.account(&Evidence { foretold: &Nothing, removed, audited: false });
    let queue = &account.queues[0];
    assert_eq!((queue.lost, queue.unaccounted, queue.imbalance()), (0, 9, 0));
}

#[test]
fn what_a_stream_held_before_its_reader_came_is_not_left_for_it() {
    let reader = Destination { may_skip_head: true, kind: "stream", ..destination("stream#0", &[]) };
    let ledger = Ledger::new(RUN, 1, vec![reader], Arc::new(InTurn(vec![vec![0]])));
    confirm(&ledger, 0, 0..10);
    // It came at 4 and read up to 6; the audit then reads the whole stream, but for 2 and 8.
    consume(&ledger, 0, &[stamp(0, 4, 0), stamp(0, 5, 0), stamp(0, 6, 0)]);
    let whole = (0..10).filter(|n| ![2, 8].contains(n)).map(|n| arrival(0, stamp(0, n, 0), false));
    ledger.found(&whole.collect::<Vec<_>>());
    let queue = &account(&ledger).queues[0];
    assert_eq!((queue.consumed, queue.removed_by_rule, queue.left_in_queue, queue.lost), (3, 0, 2, 1));
    // Its books begin at 4.
    assert_eq!((queue.routed, queue.imbalance()), (6, 0));
}

/// Two queues, with copies of 100 messages each, of which none is there any more.
fn two_gone(rules: [&[Rule]; 2], counted: &[(Rule, u64)]) -> Account {
    let destinations = vec![destination("a", rules[0]), destination("b", rules[1])];
    let ledger = Ledger::new(RUN, 1, destinations, Arc::new(InTurn(vec![vec![0, 1]])));
    confirm(&ledger, 0, 0..100);
    let counted = counted.iter().map(|(rule, count)| ((*rule, "classic".to_owned()), *count)).collect();
    let removed = RemovalEvidence::Counted(counted);
    ledger.account(&Evidence { foretold: &Nothing, removed, audited: true })
}

#[test]
fn each_rule_explains_what_its_own_counter_says() {
    let of = |account: &Account| -> Vec<(u64, u64)> {
        account.queues.iter().map(|queue| (queue.removed_by_rule, queue.lost)).collect()
    };
    // `a` can only expire and `b` only overflow: neither can have what the other's rule removed.
    let account = two_gone([&[Rule::Expiry], &[Rule::Length]], &[(Rule::Expiry, 70), (Rule::Length, 100)]);
    assert_eq!(of(&account), [(70, 30), (100, 0)]);
    assert!(account.queues.iter().all(|queue| queue.lost_among_several == 0 && queue.imbalance() == 0));
    // One that can do both takes what the other cannot have taken.
    let account =
        two_gone([&[Rule::Expiry, Rule::Length], &[Rule::Length]], &[(Rule::Expiry, 60), (Rule::Length, 140)]);
    assert_eq!(of(&account), [(100, 0), (100, 0)]);
    // With one rule in both it is known how many are lost, and not whose.
    let account = two_gone([&[Rule::Length], &[Rule::Length]], &[(Rule::Length, 150)]);
    assert_eq!(account.queues.iter().map(|queue| queue.lost).sum::<u64>(), 50);
    assert_eq!(account.queues.iter().map(|queue| queue.lost_among_several).collect::<Vec<_>>(), [50, 50]);
    // Nothing was removed: all that is missing is lost, and whose it is is known.
    let account = two_gone([&[Rule::Length], &[Rule::Length]], &[]);
    assert_eq!(of(&account), [(0, 100), (0, 100)]);
    assert!(account.queues.iter().all(|queue| queue.lost_among_several == 0));
}

#[test]
fn a_stream_s_retention_is_believed_since_nobody_counts_it() {
    let account = two_gone([&[Rule::Retention], &[]], &[]);
    assert_eq!((account.queues[0].removed_by_rule, account.queues[0].removed_unverified), (100, 100));
    assert_eq!((account.queues[1].removed_by_rule, account.queues[1].lost), (0, 100));
}

#[test]
fn what_one_queue_refused_another_may_have_taken_and_removed() {
    let destinations = vec![destination("bounded", &[Rule::Length]), destination("refuses", &[])];
    let ledger = Ledger::new(RUN, 1, destinations, Arc::new(InTurn(vec![vec![0, 1]])));
    ledger.published(0, 100, true);
    ledger.settled(0, (0..100).map(|n| (n, if n < 40 { Settled::Confirmed } else { Settled::Nacked })));
    consume(&ledger, 1, &(0..40).map(|n| stamp(0, n, 0)).collect::<Vec<_>>());
    ledger.found(&(90..100).map(|n| arrival(0, stamp(0, n, 0), false)).collect::<Vec<_>>());
    let counted = BTreeMap::from([((Rule::Length, "classic".to_owned()), 90)]);
    let removed = RemovalEvidence::Counted(counted);
    let account = ledger.account(&Evidence { foretold: &Nothing, removed, audited: true });
    let [bounded, refuses] = &account.queues[..] else { panic!("two queues") };
    assert_eq!((bounded.routed, bounded.removed_by_rule, bounded.left_in_queue, bounded.lost), (100, 90, 10, 0));
    assert_eq!((refuses.routed, refuses.consumed, refuses.lost), (40, 40, 0), "what is refused is not owed");
    assert!(account.queues.iter().all(|queue| queue.imbalance() == 0));
}

/// Bytes that the books take after a million messages, of which `answer` says how each publish ends, and each
/// `missing`-th never arrives.
fn bytes_for_a_million(answer: impl Fn(u64) -> Option<Settled>, missing: u64) -> usize {
    let ledger = ledger(1, vec![vec![0]]);
    ledger.published(0, 1_000_000, true);
    ledger.settled(0, (0..1_000_000).filter_map(|n| Some((n, answer(n)?))));
    for batch in 0..1000u64 {
        let arrived = (batch * 1000..(batch + 1) * 1000).filter(|n| n % missing != missing - 1);
        consume(&ledger, 0, &arrived.map(|n| stamp(0, n, 0)).collect::<Vec<_>>());
    }
    let gone = (1_000_000 / missing) as usize;
    let queue = &account(&ledger).queues[0];
    assert_eq!((queue.lost + queue.possibly_lost) as usize, gone);
    lock(&ledger.books[0]).bytes()
}

#[test]
fn a_settled_stretch_costs_nearly_nothing() {
    let confirmed = |_| Some(Settled::Confirmed);
    let bytes = bytes_for_a_million(confirmed, 1_000_000);
    assert!(bytes < 85_000, "{bytes} bytes for a million messages, one of them lost");
    let unconfirmed = |n| Some(if n % 1000 == 0 { Settled::Unconfirmed } else { Settled::Confirmed });
    let bytes = bytes_for_a_million(unconfirmed, 1_000_000);
    assert!(bytes < 95_000, "{bytes} bytes for a million messages, a thousand of them unconfirmed");
    let bytes = bytes_for_a_million(confirmed, 2000);
    assert!(bytes < 460_000, "{bytes} bytes for a million messages, some of each chunk lost");
    // What the measure is worth: a million messages that wait for their answers take a byte each.
    let bytes = bytes_for_a_million(|_| None, 1_000_000);
    assert!(bytes > 1_000_000, "{bytes} bytes for a million messages that were never answered");
}

/// What happened to one message in the naive model.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Consumed,
    ConsumedTwice,
    DeliveredOnly,
    Left,
    DeadLettered,
    Gone,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Consumed),
        1 => Just(Fate::ConsumedTwice),
        1 => Just(Fate::DeliveredOnly),
        1 => Just(Fate::Left),
        1 => Just(Fate::DeadLettered),
        1 => Just(Fate::Gone),
    ]
}

fn any_answer() -> impl Strategy<Value = Option<Settled>> {
    prop_oneof![
        8 => Just(Some(Settled::Confirmed)),
        1 => Just(Some(Settled::Nacked)),
        1 => Just(Some(Settled::Unconfirmed)),
        1 => Just(None),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_a_model_that_remembers_everything(
        messages in prop::collection::vec((any_answer(), any_fate()), 1..9000),
    ) {
        let ledger = ledger(1, vec![vec![0]]);
        ledger.published(0, messages.len(), true);
        let mut expected = QueueAccount { queue: "a".to_owned(), ..QueueAccount::default() };
        let mut order = Order::default();
        for (sequence, (answer, fate)) in messages.iter().enumerate() {
            let stamp = stamp(0, sequence as u64, 0);
            let here = arrival(0, stamp, false);
            ledger.settled(0, answer.map(|answer| (sequence as u64, answer)));
            let deliveries = match fate {
                Fate::Consumed | Fate::DeliveredOnly => 1,
                Fate::ConsumedTwice => 2,
                Fate::Left | Fate::DeadLettered | Fate::Gone => 0,
            };
            for _ in 0..deliveries {
                ledger.delivered(&mut order, std::slice::from_ref(&here), &mut Vec::new());
                if !matches!(fate, Fate::DeliveredOnly) {
                    ledger.consumed([(0, here.reading)]);
                }
            }
            match fate {
                Fate::Left => ledger.found(std::slice::from_ref(&here)),
                Fate::DeadLettered => ledger.found(&[Arrival {
                    destination: 2,
                    deaths: died(0, "rejected"),
                    ..here.clone()
                }]),
                _ => {}
            }
            let accounted = matches!(fate, Fate::Consumed | Fate::ConsumedTwice | Fate::Left | Fate::DeadLettered);
            let confirmed = *answer == Some(Settled::Confirmed);
            let unanswered = matches!(answer, None | Some(Settled::Unconfirmed));
            expected.routed += u64::from(accounted || confirmed);
            expected.delivered += deliveries;
            expected.consumed += u64::from(matches!(fate, Fate::Consumed | Fate::ConsumedTwice));
            expected.acknowledged += if matches!(fate, Fate::DeliveredOnly) { 0 } else { deliveries };
            expected.unflagged += deliveries.saturating_sub(1);
            expected.left_in_queue += u64::from(matches!(fate, Fate::Left));
            if matches!(fate, Fate::DeadLettered) {
                *expected.dead_lettered.entry("rejected".to_owned()).or_default() += 1;
            }
            expected.lost += u64::from(!accounted && confirmed);
            expected.possibly_lost += u64::from(!accounted && unanswered);
            expected.recovered += u64::from(accounted && unanswered);
        }
        let account = account(&ledger);
        prop_assert_eq!(&account.queues[0], &expected);
        prop_assert_eq!(account.queues[0].imbalance(), 0);
        prop_assert_eq!(account.queues[2].imbalance(), 0);
        let publisher = &account.publishers[0];
        let outcomes = publisher.confirmed + publisher.nacked + publisher.returned + publisher.unconfirmed + publisher.sent;
        prop_assert_eq!(outcomes, messages.len() as u64);
        let listed = account.violations.iter().filter(|v| v.class == ViolationClass::Lost).count() as u64;
        prop_assert_eq!(listed, expected.lost);
    }
}

#[test]
fn what_is_sent_back_is_owed_again() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..4);
    consume(&ledger, 0, &[stamp(0, 0, 0)]);
    // Three die. All are sent back: one is consumed, one left in its queue, and one gone.
    let dead = |n| Arrival { deaths: died(0, "rejected"), ..arrival(2, stamp(0, n, 0), false) };
    (1..4).for_each(|n| ledger.redriven(&dead(n), Some(0)));
    let mut seen = Vec::new();
    let back = |n| arrival(0, stamp(0, n, 1), false);
    ledger.delivered(&mut Order::default(), &[arrival(0, stamp(0, 1, 0), false), back(1)], &mut seen);
    assert_eq!(seen, [Seen::First, Seen::Retried], "it was asked for");
    assert_eq!(ledger.consumed([(0, back(1).reading), (0, back(1).reading)]), 1);
    ledger.found(&[back(2)]);
    let account = account(&ledger);
    let queue = &account.queues[0];
    assert_eq!((queue.routed, queue.consumed, queue.left_in_queue, queue.lost), (7, 2, 1, 1));
    assert_eq!(queue.dead_lettered, BTreeMap::from([("rejected".to_owned(), 3)]));
    assert_eq!(account.queues[2].dead_lettered, BTreeMap::from([(REDRIVEN.to_owned(), 3)]));
    assert!(account.queues.iter().all(|queue| queue.imbalance() == 0), "{account:?}");
    let lost = account.violations.iter().find(|violation| violation.class == ViolationClass::Lost);
    assert_eq!(lost.and_then(|violation| violation.sequence), Some(3));
}

#[test]
fn what_was_dead_lettered_and_then_removed_is_not_lost() {
    // What dies in `a` comes to `dead`, which removes it once its time to live is over: the broker counts three.
    let mut destinations = vec![destination("a", &[]), destination("dead", &[Rule::Expiry])];
    destinations[0].beyond = destinations[1].own_rules().collect();
    let ledger = Ledger::new(RUN, 1, destinations, Arc::new(InTurn(vec![vec![0]])));
    confirm(&ledger, 0, 0..10);
    consume(&ledger, 0, &(0..6).map(|n| stamp(0, n, 0)).collect::<Vec<_>>());
    let removed = RemovalEvidence::Counted(BTreeMap::from([((Rule::Expiry, "classic".to_owned()), 3)]));
    let account = ledger.account(&Evidence { foretold: &Nothing, removed, audited: true });
    assert_eq!((account.queues[0].removed_by_rule, account.queues[0].lost), (3, 1));
    assert!(account.queues.iter().all(|queue| queue.imbalance() == 0));
}

#[test]
fn what_the_broker_holds_back_is_left_and_not_lost() {
    let ledger = ledger(1, vec![vec![0]]);
    confirm(&ledger, 0, 0..10);
    consume(&ledger, 0, &(0..6).map(|n| stamp(0, n, 0)).collect::<Vec<_>>());
    ledger.held(0, 3);
    let account = account(&ledger);
    assert_eq!((account.queues[0].left_in_queue, account.queues[0].lost, account.queues[0].imbalance()), (3, 1, 0));
    assert_eq!(account.violations_total, 1);
}
