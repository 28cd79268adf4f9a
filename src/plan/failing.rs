//! Which messages a fleet of consumers fails on purpose, how often, and what it does with them then.
//!
//! Everything is a function of the plan: whether a message fails depends on the seed, its publisher, its number there,
//! its routing key and the queue that it is taken from, and whether this attempt does, on how often it has failed there
//! before. So the fate of each message can be foretold, and nothing has to be remembered to judge it afterwards.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::draw::{self, Lane};
use super::routing::{Router, topic};
use super::{Arguments, ExchangeKind, Picks, Plan, TopologyPlan};
pub use crate::scenario::failing::FailThen;

/// What a fleet of consumers fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailPlan {
    /// Where its random choices come from.
    pub seed: u64,
    /// Rules; of those that are for a message each takes its share of what the ones before it have left.
    pub rules: Vec<FailRule>,
}

/// One rule by which messages fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailRule {
    /// Share of the messages that it is for.
    pub rate: f64,
    /// Pattern of the routing keys that it is for; none: all.
    pub routing_key: Option<String>,
    /// Messages of each publisher that it is for, counted from 1; none: all.
    pub picks: Option<Picks>,
    /// How often it fails.
    pub lasts: FailLasts,
    /// What becomes of a message that failed.
    pub then: FailThen,
}

/// How often a message fails that is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailLasts {
    /// So many times; then it works.
    Transient {
        /// How many.
        times: u32,
    },
    /// Each time.
    Permanent,
    /// Never, but it takes so much longer than others.
    Slow {
        /// How long, in microseconds.
        us: u64,
    },
}

/// A message as far as failing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tried {
    /// Number of its publisher.
    pub publisher: u16,
    /// Its number there, from 0.
    pub sequence: u64,
    /// Number of the queue that it is taken from.
    pub queue: usize,
}

impl FailRule {
    /// Whether an attempt fails before which so many have failed.
    pub fn fails(&self, failed_before: u32) -> bool {
        match self.lasts {
            FailLasts::Transient { times } => failed_before < times,
            FailLasts::Permanent => true,
            FailLasts::Slow { .. } => false,
        }
    }
}

impl FailPlan {
    /// The rule by which a message fails; `has_key` says whether it has a routing key that rule number so-and-so is for.
    pub fn rule(&self, tried: Tried, has_key: impl Fn(usize) -> bool) -> Option<&FailRule> {
        let mut drawn = None;
        for (number, rule) in self.rules.iter().enumerate() {
            let is_picked = rule.picks.is_none_or(|picks| picks.holds(tried.sequence + 1));
            if !is_picked || (rule.routing_key.is_some() && !has_key(number)) {
                continue;
            }
            // One draw for all rules: their shares are parts of the same messages, and add up.
            let left = drawn.get_or_insert_with(|| self.draw(tried));
            if *left < rule.rate {
                return Some(rule);
            }
            *left -= rule.rate;
        }
        None
    }

    fn draw(&self, tried: Tried) -> f64 {
        let of_publisher = draw::bits(self.seed, Lane::Fail, u64::from(tried.publisher));
        let of_queue = draw::bits(of_publisher, Lane::Fail, tried.queue as u64);
        draw::unit(of_queue, Lane::Fail, tried.sequence)
    }
}

/// The failures of one fleet of a plan, ready to be asked often.
#[derive(Debug)]
pub struct Failures {
    plan: Arc<Plan>,
    fleet: usize,
    /// Whether a rule is for a routing key, by rule, fleet of producers and route.
    has_key: Vec<Vec<Vec<bool>>>,
}

impl Failures {
    /// Those of the fleet of consumers that stands at `fleet` in the plan; none where it fails nothing.
    pub fn new(plan: &Arc<Plan>, fleet: usize) -> Option<Self> {
        let rules = &plan.consumers.get(fleet)?.fail.as_ref()?.rules;
        let has_key = rules.iter().map(|rule| {
            let fits = |key: &str| rule.routing_key.as_ref().is_none_or(|pattern| is_key_of(pattern, key));
            plan.producers.iter().map(|fleet| fleet.routes.iter().map(|route| fits(&route.key)).collect()).collect()
        });
        let has_key = has_key.collect();
        Some(Self { plan: Arc::clone(plan), fleet, has_key })
    }

    /// The rule by which a message fails in this fleet; none: it works.
    pub fn rule(&self, tried: Tried) -> Option<&FailRule> {
        let fails = self.plan.consumers.get(self.fleet)?.fail.as_ref()?;
        fails.rule(tried, |number| self.fits(number, tried).unwrap_or(false))
    }

    fn fits(&self, rule: usize, tried: Tried) -> Option<bool> {
        let (fleet, producers, publisher) = self.plan.publisher(tried.publisher)?;
        let route = producers.route(publisher, tried.sequence);
        self.has_key.get(rule)?.get(fleet)?.get(route).copied()
    }
}

/// Whether a routing key fits a pattern as topic exchanges have them.
pub fn is_key_of(pattern: &str, key: &str) -> bool {
    topic::matches(&topic::words(pattern), &topic::words(key))
}

/// Whether what is dead-lettered from a queue may come back to it, by the `router` of its topology; see
/// [`dead_letter_queues`].
pub fn comes_back(topology: &TopologyPlan, router: &Router<'_>, queue: usize) -> bool {
    dead_letter_queues(topology, router, queue)[queue]
}

/// Which queues, by number, what is dead-lettered from a queue may come to, also by further ones, by the `router` of their
/// topology. Where messages keep their routing key that is left out of account, and so are headers: it may be said to come
/// where it does not, never the other way round.
pub fn dead_letter_queues(topology: &TopologyPlan, router: &Router<'_>, queue: usize) -> Vec<bool> {
    let has_headers = router.exchanges().any(|(name, kind)| kind == ExchangeKind::Headers && !name.starts_with("amq."));
    let next = |number: usize| -> Vec<usize> {
        let Some((exchange, key)) = topology.queues.get(number).and_then(|queue| queue.dead_letter.as_ref()) else {
            return Vec::new();
        };
        if let Some(key) = key.as_ref().filter(|_| !has_headers) {
            return router.reach(exchange, key, &Arguments::default());
        }
        let to = |name: &str| match (exchange.as_str(), key) {
            ("", Some(key)) => key == name,
            ("", None) => true,
            _ => is_reachable(topology, exchange, name),
        };
        topology.queues.iter().enumerate().filter(|(_, queue)| to(&queue.name)).map(|(number, _)| number).collect()
    };
    let mut seen = vec![false; topology.queues.len()];
    let mut open = next(queue);
    while let Some(number) = open.pop() {
        if !std::mem::replace(&mut seen[number], true) {
            open.extend(next(number));
        }
    }
    seen
}

/// Whether bindings, or alternate exchanges, lead from an exchange to a queue.
fn is_reachable(topology: &TopologyPlan, exchange: &str, queue: &str) -> bool {
    let mut seen = vec![exchange];
    let mut at = 0;
    while let Some(from) = seen.get(at).copied() {
        at += 1;
        for binding in topology.bindings.iter().filter(|binding| binding.source == from) {
            if !binding.to_exchange && binding.destination == queue {
                return true;
            }
            if binding.to_exchange && !seen.contains(&binding.destination.as_str()) {
                seen.push(&binding.destination);
            }
        }
        let alternate =
            topology.exchanges.iter().find(|known| known.name == from).and_then(|known| known.alternate.as_deref());
        if let Some(alternate) = alternate.filter(|alternate| !seen.contains(alternate)) {
            seen.push(alternate);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(rate: f64, lasts: FailLasts) -> FailRule {
        FailRule { rate, routing_key: None, picks: None, lasts, then: FailThen::Requeue }
    }

    fn tried(publisher: u16, sequence: u64, queue: usize) -> Tried {
        Tried { publisher, sequence, queue }
    }

    const ONCE: FailLasts = FailLasts::Transient { times: 1 };

    fn plan(seed: u64) -> FailPlan {
        FailPlan { seed, rules: vec![rule(0.05, ONCE), rule(0.01, FailLasts::Permanent)] }
    }

    #[test]
    fn shares_are_shares_of_all_messages() {
        let plan = plan(7);
        let mut counts = [0; 2];
        for sequence in 0..100_000 {
            if let Some(rule) = plan.rule(tried(0, sequence, 0), |_| true) {
                counts[usize::from(rule.lasts == FailLasts::Permanent)] += 1;
            }
        }
        assert!((4_700..5_300).contains(&counts[0]) && (870..1_130).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn a_message_fails_in_one_queue_and_not_in_another_and_so_do_publishers() {
        let plan = plan(7);
        let failing = |publisher, queue| -> Vec<u64> {
            (0..2_000).filter(|n| plan.rule(tried(publisher, *n, queue), |_| true).is_some()).collect()
        };
        assert_eq!(failing(0, 0), failing(0, 0));
        assert_ne!(failing(0, 0), failing(0, 1));
        assert_ne!(failing(0, 0), failing(1, 0));
    }

    #[test]
    fn what_is_transient_works_in_the_end() {
        let three = rule(1.0, FailLasts::Transient { times: 3 });
        assert_eq!((0..5).map(|before| three.fails(before)).collect::<Vec<_>>(), [true, true, true, false, false]);
        assert!(rule(1.0, FailLasts::Permanent).fails(u32::MAX));
    }

    #[test]
    fn picks_and_keys_say_which_messages_a_rule_is_for() {
        let picks = Some(Picks { first: 10, every: 10, times: Some(2) });
        let picked = FailPlan { seed: 1, rules: vec![FailRule { picks, ..rule(1.0, ONCE) }] };
        let hit: Vec<u64> = (0..100).filter(|n| picked.rule(tried(3, *n, 0), |_| true).is_some()).collect();
        assert_eq!(hit, [9, 19], "the tenth and the twentieth");
        let keyed = FailRule { routing_key: Some("order.#".to_owned()), ..rule(1.0, FailLasts::Permanent) };
        let keyed = FailPlan { seed: 1, rules: vec![keyed, rule(0.5, ONCE)] };
        assert_eq!(keyed.rule(tried(0, 0, 0), |_| true).map(|rule| rule.lasts), Some(FailLasts::Permanent));
        assert!((0..100).filter_map(|n| keyed.rule(tried(0, n, 0), |_| false)).all(|rule| rule.lasts == ONCE));
        assert!(is_key_of("order.#", "order.created.eu") && !is_key_of("order.*", "order.created.eu"));
    }

    fn topology(text: &str) -> TopologyPlan {
        let text = format!("schema = 1\nname = \"f\"\n{text}\n[load]\nduration = \"1s\"\n");
        let scenario = toml::from_str(&text).unwrap();
        crate::plan::resolve(&scenario, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap().topology
    }

    #[test]
    fn a_ladder_comes_back_and_a_final_queue_does_not() {
        let ladder = topology(
            "[[exchange]]\nname = \"dlx\"\nkind = \"direct\"\n\
             [[queue]]\nname = \"work\"\ndead_letter = { exchange = \"dlx\", key = \"wait\" }\n\
             [[queue]]\nname = \"wait\"\nmessage_ttl = \"1s\"\nbind = [{ exchange = \"dlx\", key = \"wait\" }]\n\
             dead_letter = { exchange = \"\", key = \"work\" }\n",
        );
        let comes = |topology: &TopologyPlan, queue| comes_back(topology, &Router::new(topology), queue);
        assert!(comes(&ladder, 0) && comes(&ladder, 1));
        let last = topology(
            "[[exchange]]\nname = \"dlx\"\nkind = \"fanout\"\n\
             [[queue]]\nname = \"work\"\ndead_letter = { exchange = \"dlx\" }\n\
             [[queue]]\nname = \"dead\"\nbind = [{ exchange = \"dlx\" }]\n",
        );
        assert!(!comes(&last, 0) && !comes(&last, 1));
        // The exchange leads back too, and with another key.
        let keyed = topology(
            "[[exchange]]\nname = \"x\"\nkind = \"direct\"\n\
             [[queue]]\nname = \"work\"\nbind = [{ exchange = \"x\", key = \"work\" }]\n\
             dead_letter = { exchange = \"x\", key = \"dead\" }\n\
             [[queue]]\nname = \"dead\"\nbind = [{ exchange = \"x\", key = \"dead\" }]\n",
        );
        assert!(!comes(&keyed, 0) && !comes(&keyed, 1));
    }

    proptest! {
        #[test]
        fn the_same_message_always_meets_the_same_rule(seed: u64, publisher: u16, sequence: u64, queue in 0usize..100) {
            let tried = tried(publisher, sequence % (1 << 48), queue);
            let (one, other) = (plan(seed), plan(seed));
            prop_assert_eq!(one.rule(tried, |_| true), other.rule(tried, |_| true));
        }

        #[test]
        fn a_rule_of_all_messages_spares_none(seed: u64, publisher: u16, sequence in 0u64..1 << 40) {
            let all = FailPlan { seed, rules: vec![rule(0.3, ONCE), rule(0.7, FailLasts::Permanent)] };
            prop_assert!(all.rule(tried(publisher, sequence, 0), |_| true).is_some());
        }
    }
}
