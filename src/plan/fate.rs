//! What becomes of a message that consumers fail or that nobody consumes: foretold from the plan and the broker's release.
//!
//! Uses `units` through the plan only. A fate is a function of the plan: which attempts fail is ([`super::failing`]), and
//! so is where a dead letter goes ([`super::routing`]). What depends on time (a time to live of a queue that has
//! consumers) or on other messages (a length limit) is not foretold, and said to be so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::failing::{FailRule, FailThen, Failures, Tried};
use super::routing::Router;
use super::topology::RemovalRule;
use super::{
    Arguments, ConsumerFleet, Plan, ProducerFleet, Publisher, QueueKind, QueuePlan, RedrivePlan, ReplayPlan, RetryPlan,
};

/// Stations that a message may come to before its way is called endless.
const STATIONS_MAX: usize = 2_000;
/// The delivery limit of quorum queues that have none of their own, from RabbitMQ 4.0 on.
const DELIVERY_LIMIT: u64 = 20;

/// The rules that differ between releases of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerRules {
    /// Most times that a quorum queue takes a message back, where it says nothing itself.
    pub delivery_limit: Option<u64>,
    /// `basic.nack` with requeue counts toward that limit.
    pub counts_nacks: bool,
}

impl BrokerRules {
    /// Those of a release, such as `4.0.5`; one that cannot be read is taken for 4.0.
    pub fn of(version: &str) -> Self {
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        let release: (u32, u32) = match (parts.next(), parts.next()) {
            (Some(major), minor) if major > 0 => (major, minor.unwrap_or(0)),
            _ => (4, 0),
        };
        Self { delivery_limit: (release >= (4, 0)).then_some(DELIVERY_LIMIT), counts_nacks: release < (4, 3) }
    }
}

/// An entry of `x-death`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FateDeath {
    /// Number of the queue that it left.
    pub queue: usize,
    /// `rejected`, `expired` or `delivery_limit`.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
}

/// Where a copy ends: consumed there, or left there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FateEnd {
    /// Number of the queue.
    pub queue: usize,
    /// The entries of its `x-death` then, by queue and reason.
    pub deaths: Vec<FateDeath>,
    /// The queue that it left last, and why; none: it never died.
    pub died: Option<(usize, &'static str)>,
}

/// What becomes of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fate {
    /// Attempts at it, by number of the queue; only where it fails.
    pub tries: BTreeMap<usize, u64>,
    /// Where its copies end.
    pub ends: BTreeSet<FateEnd>,
    /// Copies that are gone without a trace: the queue that they left, and why.
    pub removed: BTreeSet<(usize, &'static str)>,
    /// It fails for ever in this queue: its attempts have no limit.
    pub endless: Option<usize>,
    /// Dead letters, as they are found: the queue that they left last, the queue that they came to, and why.
    pub letters: BTreeSet<(usize, usize, &'static str)>,
}

impl Fate {
    /// Whether it is worked off in each of its queues at the first attempt.
    pub fn is_ordinary(&self) -> bool {
        let is_plain = |end: &FateEnd| end.deaths.is_empty();
        self.tries.is_empty() && self.removed.is_empty() && self.endless.is_none() && self.ends.iter().all(is_plain)
    }
}

/// Foretells fates.
#[derive(Debug)]
pub struct Foreteller<'a> {
    router: Router<'a>,
    rules: BrokerRules,
    plan: &'a Plan,
    no_headers: Arguments,
    /// By number of the queue.
    queues: Vec<About<'a>>,
}

/// What there is to know of a queue.
#[derive(Debug)]
struct About<'a> {
    plan: &'a QueuePlan,
    /// It has consumers.
    is_consumed: bool,
    /// What they fail.
    failures: Option<Arc<Failures>>,
    retry: Option<&'a RetryPlan>,
    /// Messages that nobody takes expire here, and in time.
    expires: bool,
    /// What becomes of a message here depends on time, or on other messages.
    is_unforeseeable: bool,
}

/// A copy on its way.
struct Copy<'a> {
    queue: usize,
    key: &'a str,
    deaths: Vec<FateDeath>,
    /// The queue that it left last, and why.
    left: Option<(usize, &'static str)>,
}

/// One message on its way.
struct Way<'a> {
    publisher: u16,
    sequence: u64,
    headers: &'a Arguments,
    /// Copies whose next stop is to be told.
    open: VecDeque<Copy<'a>>,
    /// Queues that it has come to.
    visited: BTreeSet<usize>,
    fate: Fate,
}

impl<'a> Foreteller<'a> {
    /// For a plan that is run on a broker with these rules.
    pub fn new(plan: &'a Arc<Plan>, rules: BrokerRules) -> Self {
        let failures: Vec<_> =
            (0..plan.consumers.len()).map(|fleet| Failures::new(plan, fleet).map(Arc::new)).collect();
        let about = |(number, queue): (usize, &'a QueuePlan)| {
            let fleets = plan.consumers.iter().enumerate().filter(|(_, fleet)| fleet.queues.contains(&number));
            let fleets: Vec<(usize, &ConsumerFleet)> = fleets.collect();
            let ttl_us = queue.arguments.get("x-message-ttl").and_then(serde_json::Value::as_u64).map(|ms| ms * 1_000);
            let own_ttl = |fleet: &ProducerFleet| fleet.properties.expiration_ms.map(|ms| ms.saturating_mul(1_000));
            let sent_here = plan.producers.iter().filter(|it| it.routes.iter().any(|r| r.queues.contains(&number)));
            let ttls: Vec<u64> = sent_here.filter_map(own_ttl).chain(ttl_us).collect();
            let is_consumed = !fleets.is_empty();
            let in_time = |ttl_us: &u64| *ttl_us <= plan.load.drain_us;
            let has = |rule| queue.removal_rules.contains(&rule);
            About {
                plan: queue,
                is_consumed,
                failures: fleets.iter().find_map(|(fleet, _)| failures[*fleet].clone()),
                retry: plan.retries.iter().find(|retry| retry.queue == number),
                expires: !is_consumed && ttls.iter().any(in_time),
                is_unforeseeable: has(RemovalRule::Length)
                    || has(RemovalRule::Expires)
                    || queue.kind == QueueKind::Stream
                    // What else a consumer that dies held goes back too, and counts as a delivery.
                    || queue.kind == QueueKind::Quorum && fleets.iter().any(|(_, fleet)| fleet.crashes())
                    || is_consumed && ttls.iter().any(|ttl_us| *ttl_us < lasts_us(plan))
                    || !is_consumed && ttls.iter().any(|ttl_us| !in_time(ttl_us) && *ttl_us < lasts_us(plan)),
            }
        };
        let queues = plan.topology.queues.iter().enumerate().map(about).collect();
        let (router, no_headers) = (Router::new(&plan.topology), Arguments::new());
        Self { router, rules, plan, no_headers, queues }
    }

    /// What becomes of message `sequence` of a publisher; none where that cannot be foretold.
    pub fn fate(&self, fleet: &'a ProducerFleet, publisher: &Publisher, sequence: u64) -> Option<Fate> {
        let route = &fleet.routes[fleet.route(publisher, sequence)];
        let begin = |queue: &usize| Copy { queue: *queue, key: &route.key, deaths: Vec::new(), left: None };
        let mut way = Way {
            publisher: publisher.id,
            sequence,
            headers: &route.headers,
            open: route.queues.iter().map(begin).collect(),
            visited: BTreeSet::new(),
            fate: Fate::default(),
        };
        let mut stations = 0;
        while let Some(copy) = way.open.pop_front() {
            stations += 1;
            if stations > STATIONS_MAX {
                way.fate.endless = Some(copy.queue);
                break;
            }
            self.stop(copy, &mut way)?;
        }
        for redrive in &self.plan.redrives {
            self.send_back(redrive, &mut way)?;
        }
        for _ in self.plan.replays.iter().filter(|replay| self.is_replayed(replay, fleet, publisher, sequence)) {
            for queue in &route.queues {
                self.comes_mended(Copy { queue: *queue, key: &route.key, deaths: Vec::new(), left: None }, &mut way)?;
            }
        }
        Some(way.fate)
    }

    fn is_replayed(&self, replay: &ReplayPlan, fleet: &ProducerFleet, publisher: &Publisher, sequence: u64) -> bool {
        let is_of_fleet = self.plan.producers.get(replay.producer).is_some_and(|of| of.name == fleet.name);
        let due_us =
            || self.plan.schedule(fleet, publisher).and_then(|schedule| schedule.due_us(sequence)).unwrap_or(0);
        let (from_us, to_us) = (replay.from_us.unwrap_or(0), replay.to_us.unwrap_or(u64::MAX));
        is_of_fleet && (from_us..to_us).contains(&due_us())
    }

    /// A copy comes to a queue once nothing fails any more. None where it cannot be foretold what becomes of it.
    fn comes_mended(&self, copy: Copy<'a>, way: &mut Way<'a>) -> Option<()> {
        let about = &self.queues[copy.queue];
        let tried = Tried { publisher: way.publisher, sequence: way.sequence, queue: copy.queue };
        let rule = about.failures.as_ref().and_then(|failures| failures.rule(tried));
        if !rule.is_some_and(|rule| rule.fails(0)) {
            return self.stop(copy, way);
        }
        *way.fate.tries.entry(copy.queue).or_default() += 1;
        way.end(copy);
        Some(())
    }

    /// Dead letters are sent back, once nothing fails any more. None where it cannot be foretold what becomes of them.
    fn send_back(&self, redrive: &'a RedrivePlan, way: &mut Way<'a>) -> Option<()> {
        let is_meant = |end: &FateEnd| {
            let died = end.died.as_ref().filter(|_| end.queue == redrive.queue);
            died.is_some_and(|(_, reason)| redrive.reason.as_ref().is_none_or(|meant| meant == reason))
        };
        let (meant, others) = std::mem::take(&mut way.fate.ends).into_iter().partition(is_meant);
        way.fate.ends = others;
        let meant: BTreeSet<FateEnd> = meant;
        for (from, _) in meant.iter().filter_map(|end| end.died) {
            let (queues, key) = match &redrive.to {
                None => (vec![from], self.queues[from].plan.name.as_str()),
                Some((exchange, key)) => (self.router.reach(exchange, key, &self.no_headers), key.as_str()),
            };
            for queue in queues {
                self.comes_mended(Copy { queue, key, deaths: Vec::new(), left: None }, way)?;
            }
        }
        Some(())
    }

    /// A copy is in a queue: what becomes of it there. None where that cannot be foretold.
    fn stop(&self, copy: Copy<'a>, way: &mut Way<'a>) -> Option<()> {
        let about = &self.queues[copy.queue];
        if about.is_unforeseeable {
            return None;
        }
        if !about.is_consumed && about.expires {
            self.die(copy, "expired", way);
            return Some(());
        }
        let is_new_here = way.visited.insert(copy.queue);
        if let Some((from, reason)) = copy.left.filter(|_| is_new_here) {
            way.fate.letters.insert((from, copy.queue, reason));
        }
        if !about.is_consumed {
            way.end(copy);
            return Some(());
        }
        let tried = Tried { publisher: way.publisher, sequence: way.sequence, queue: copy.queue };
        match about.failures.as_ref().and_then(|failures| failures.rule(tried)).filter(|rule| rule.fails(0)) {
            None => way.end(copy),
            Some(rule) => self.fail(copy, rule, way),
        }
        Some(())
    }

    /// Consumers have a copy that is to fail.
    fn fail(&self, mut copy: Copy<'a>, rule: &FailRule, way: &mut Way<'a>) {
        let about = &self.queues[copy.queue];
        // Deliveries of this stay in the queue that were given back, and waits that are over.
        let (mut returned, mut retried) = (0, 0);
        loop {
            let tries = way.fate.tries.entry(copy.queue).or_default();
            let failed_before = u32::try_from(*tries).unwrap_or(u32::MAX);
            *tries += 1;
            if !rule.fails(failed_before) {
                return way.end(copy);
            }
            if *tries > STATIONS_MAX as u64 {
                way.fate.endless = Some(copy.queue);
                return;
            }
            match rule.then {
                // On quorum queues that is not foretold.
                FailThen::Crash => {}
                FailThen::Requeue | FailThen::RejectRequeue => {
                    let counts = about.plan.kind == QueueKind::Quorum
                        && (rule.then == FailThen::RejectRequeue || self.rules.counts_nacks);
                    returned += u64::from(counts);
                    if self.limit(about.plan).is_some_and(|limit| returned > limit) {
                        return self.die(copy, "delivery_limit", way);
                    }
                }
                FailThen::Reject | FailThen::Nack => return self.die(copy, "rejected", way),
                FailThen::Retry => {
                    let step = about.retry.and_then(|retry| retry.steps.get(retried));
                    let Some(step) = step else { return self.die(copy, "rejected", way) };
                    retried += 1;
                    if about.retry.is_some_and(|retry| retry.is_delayed) {
                        // It is published anew, and no queue says where it was meanwhile.
                        (copy.deaths, copy.left, copy.key) = (Vec::new(), None, &about.plan.name);
                        returned = 0;
                    }
                    if let Some(wait) = step.queue {
                        // It is published anew, without what happened to it before, waits there and comes back.
                        copy.deaths = vec![FateDeath { queue: wait, reason: "expired", count: 1 }];
                        copy.left = Some((wait, "expired"));
                        returned = 0;
                        copy.key = &about.plan.name;
                    }
                }
            }
        }
    }

    fn limit(&self, queue: &QueuePlan) -> Option<u64> {
        if queue.kind != QueueKind::Quorum {
            return None;
        }
        match queue.arguments.get("x-delivery-limit").and_then(serde_json::Value::as_i64) {
            // -1 says that there is none.
            Some(limit) => u64::try_from(limit).ok(),
            None => self.rules.delivery_limit,
        }
    }

    /// A copy leaves a queue for its dead-letter exchange, or for good.
    fn die(&self, mut copy: Copy<'a>, reason: &'static str, way: &mut Way<'a>) {
        let plan: &'a QueuePlan = self.queues[copy.queue].plan;
        let to = plan.dead_letter.as_ref().map(|(exchange, key)| {
            let key = key.as_deref().unwrap_or(copy.key);
            (self.router.reach(exchange, key, way.headers), key)
        });
        let Some((queues, key)) = to.filter(|(queues, _)| !queues.is_empty()) else {
            way.fate.removed.insert((copy.queue, reason));
            return;
        };
        let known = copy.deaths.iter_mut().find(|death| death.queue == copy.queue && death.reason == reason);
        match known {
            Some(death) => death.count += 1,
            None => copy.deaths.push(FateDeath { queue: copy.queue, reason, count: 1 }),
        }
        let left = Some((copy.queue, reason));
        way.open.extend(queues.into_iter().map(|queue| Copy { queue, key, deaths: copy.deaths.clone(), left }));
    }

    /// Whether the plan gives any message a fate of its own: consumers fail some, or nobody takes them and they expire.
    pub fn foretells(&self) -> bool {
        self.queues.iter().any(|about| about.failures.is_some() || about.expires)
    }
}

impl Way<'_> {
    /// A copy is worked off, or stays where it is.
    fn end(&mut self, copy: Copy<'_>) {
        let mut deaths = copy.deaths;
        deaths.sort_unstable();
        self.fate.ends.insert(FateEnd { queue: copy.queue, deaths, died: copy.left });
    }
}

/// How long a run lasts at the most, in microseconds; without a duration nobody knows.
fn lasts_us(plan: &Plan) -> u64 {
    plan.load.end_us().map_or(u64::MAX, |end_us| end_us.saturating_add(plan.load.drain_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4_0: BrokerRules = BrokerRules { delivery_limit: Some(20), counts_nacks: true };
    const V4_3: BrokerRules = BrokerRules { delivery_limit: Some(20), counts_nacks: false };
    const V3_10: BrokerRules = BrokerRules { delivery_limit: None, counts_nacks: true };

    fn plan(text: &str) -> Arc<Plan> {
        let text = format!(
            "schema = 1\nname = \"f\"\n{text}\n[[producer]]\nname = \"out\"\nrouting_key = \"q\"\n\
             [load]\nduration = \"1s\"\n"
        );
        let scenario = toml::from_str(&text).unwrap();
        Arc::new(crate::plan::resolve(&scenario, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap())
    }

    /// A queue `q` of some kind, and what its consumers fail.
    fn failing(queue: &str, fail: &str, more: &str) -> Arc<Plan> {
        plan(&format!(
            "[[queue]]\nname = \"q\"\n{queue}\n{more}\n\
             [[consumer]]\nname = \"in\"\nqueue = \"q\"\nfail = {fail}\n"
        ))
    }

    fn fate(plan: &Arc<Plan>, rules: BrokerRules) -> Option<Fate> {
        let foreteller = Foreteller::new(plan, rules);
        assert!(foreteller.foretells());
        let fleet = &plan.producers[0];
        foreteller.fate(fleet, &fleet.publishers[0], 0)
    }

    /// Name of a queue, and the deaths of what ends there.
    type Told = (String, Vec<(String, &'static str, u64)>);

    /// Attempts in `q`, and where it ends: queue, and its deaths as queue, reason and count.
    fn told(plan: &Arc<Plan>, fate: &Fate) -> (u64, Vec<Told>) {
        let name = |queue: usize| plan.topology.queues[queue].name.clone();
        let death = |death: &FateDeath| (name(death.queue), death.reason, death.count);
        let ends = fate.ends.iter().map(|end| (name(end.queue), end.deaths.iter().map(death).collect()));
        (fate.tries.get(&0).copied().unwrap_or(0), ends.collect())
    }

    const DEAD: &str = "dead_letter = { exchange = \"\", key = \"dead\" }";
    const DEAD_QUEUE: &str = "[[queue]]\nname = \"dead\"";

    #[test]
    fn what_is_given_back_is_tried_until_it_works_or_a_limit_says_stop() {
        let twice = failing("", "{ times = 2 }", "");
        assert_eq!(told(&twice, &fate(&twice, V4_0).unwrap()), (3, vec![("q".to_owned(), vec![])]));
        let loops = failing("", "{ kind = \"permanent\" }", "");
        assert_eq!(fate(&loops, V4_0).unwrap().endless, Some(0), "a classic queue has no limit");

        let poison = failing(&format!("kind = \"quorum\"\n{DEAD}"), "{ kind = \"permanent\" }", DEAD_QUEUE);
        let dead = |count| vec![("dead".to_owned(), vec![("q".to_owned(), "delivery_limit", count)])];
        assert_eq!(told(&poison, &fate(&poison, V4_0).unwrap()), (21, dead(1)));
        assert_eq!(fate(&poison, V3_10).unwrap().endless, Some(0), "there was no limit by itself");
        assert_eq!(fate(&poison, V4_3).unwrap().endless, Some(0), "a nack does not count any more");
        let rejects = "{ kind = \"permanent\", then = \"reject-requeue\" }";
        let poison = failing(&format!("kind = \"quorum\"\ndelivery_limit = 3\n{DEAD}"), rejects, DEAD_QUEUE);
        for rules in [V3_10, V4_0, V4_3] {
            let fate = fate(&poison, rules).unwrap();
            assert_eq!(told(&poison, &fate), (4, dead(1)));
            assert_eq!(fate.letters, BTreeSet::from([(0, 1, "delivery_limit")]));
        }
        let dropped = failing("kind = \"quorum\"\ndelivery_limit = 3", rejects, "");
        let fate = fate(&dropped, V4_0).unwrap();
        assert_eq!((fate.removed, fate.ends.len()), (BTreeSet::from([(0, "delivery_limit")]), 0));
    }

    #[test]
    fn a_ladder_of_dead_letters_counts_its_rounds() {
        let wait = "[[queue]]\nname = \"wait\"\nmessage_ttl = \"1s\"\ndead_letter = { exchange = \"\", key = \"q\" }";
        let to_wait = "dead_letter = { exchange = \"\", key = \"wait\" }";
        let ladder = failing(to_wait, "{ times = 2, then = \"reject\" }", wait);
        let fate_of = |plan| fate(plan, V4_0).unwrap();
        let deaths = vec![("q".to_owned(), "rejected", 2), ("wait".to_owned(), "expired", 2)];
        assert_eq!(told(&ladder, &fate_of(&ladder)), (3, vec![("q".to_owned(), deaths)]));
        let endless = failing(to_wait, "{ kind = \"permanent\", then = \"reject\" }", wait);
        assert!(fate_of(&endless).endless.is_some());
    }

    #[test]
    fn what_is_published_anew_begins_anew_and_is_rejected_after_the_last_step() {
        let retry = "[[retry]]\nqueue = \"q\"\nkind = \"ladder\"\ndelays = [\"1s\", \"2s\", \"3s\"]";
        let transient = failing("kind = \"quorum\"", "{ times = 2, then = \"retry\" }", retry);
        let expired = |queue: &str| (queue.to_owned(), "expired", 1);
        let ends = vec![("q".to_owned(), vec![expired("q.wait.2")])];
        assert_eq!(told(&transient, &fate(&transient, V4_0).unwrap()), (3, ends));
        let poison = failing("kind = \"quorum\"", "{ kind = \"permanent\", then = \"retry\" }", retry);
        let ends = vec![("q.dead".to_owned(), vec![("q".to_owned(), "rejected", 1), expired("q.wait.3")])];
        assert_eq!(told(&poison, &fate(&poison, V4_0).unwrap()), (4, ends));
        let here = "[[retry]]\nqueue = \"q\"\nkind = \"in-consumer\"\nbackoff = { first = \"1ms\", steps = 2 }";
        let poison = failing("", "{ kind = \"permanent\", then = \"retry\" }", here);
        let ends = vec![("q.dead".to_owned(), vec![("q".to_owned(), "rejected", 1)])];
        assert_eq!(told(&poison, &fate(&poison, V4_0).unwrap()), (3, ends));
    }

    #[test]
    fn a_dead_letter_that_goes_nowhere_is_gone() {
        let gone = failing("dead_letter = { exchange = \"amq.direct\", key = \"x\" }", "{ then = \"reject\" }", "");
        let fate = fate(&gone, V4_0).unwrap();
        assert_eq!((fate.removed, fate.ends.len()), (BTreeSet::from([(0, "rejected")]), 0));
    }

    #[test]
    fn what_nobody_takes_expires_where_that_is_in_time_and_what_depends_on_time_is_not_foretold() {
        let plan_of = |ttl: &str, consumer: &str| {
            plan(&format!("[[queue]]\nname = \"q\"\nmessage_ttl = \"{ttl}\"\n{DEAD}\n{DEAD_QUEUE}\n{consumer}"))
        };
        let expires = plan_of("1s", "");
        let ends = vec![("dead".to_owned(), vec![("q".to_owned(), "expired", 1)])];
        assert_eq!(told(&expires, &fate(&expires, V4_0).unwrap()), (0, ends));
        let consumer = "[[consumer]]\nname = \"in\"\nqueue = \"q\"\nfail = { then = \"reject\" }";
        assert_eq!(fate(&plan_of("1s", consumer), V4_0), None, "it may expire before it is taken");
        assert!(fate(&plan_of("2h", consumer), V4_0).is_some(), "the run is over before");
    }

    #[test]
    fn releases_have_their_rules() {
        for (version, rules) in [("3.10.8", V3_10), ("4.0.5", V4_0), ("4.2.0", V4_0), ("4.3.6", V4_3), ("?", V4_0)] {
            assert_eq!(BrokerRules::of(version), rules, "{version}");
        }
        assert_eq!(BrokerRules::of("3.13.1"), V3_10);
    }
}
