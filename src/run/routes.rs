//! The plan as the ledger sees it: destinations, routes, and what is foretold of single messages.

use std::collections::HashMap;
use std::sync::Arc;

use crate::fleet::Destinations;
use crate::ledger::{Destination, Foretold, Routes, Rule};
use crate::plan::failing::dead_letter_queues;
use crate::plan::routing::Router;
use crate::plan::topology::RemovalRule;
use crate::plan::{ConsumerFleet, Plan, ProducerFleet, QueueKind, QueuePlan, StreamOffset};

/// Which destinations each message reaches, by publisher.
pub(super) struct PlanRoutes {
    plan: Arc<Plan>,
    /// Destinations of each route of each fleet.
    routes: Vec<Vec<Vec<u32>>>,
}

/// Destinations of the plan: its queues, and each reader of a stream.
pub(super) struct PlanDestinations {
    pub(super) destinations: Vec<Destination>,
    /// Destinations of each queue: one, or one for each reader.
    pub(super) by_queue: Vec<Vec<u32>>,
    by_reader: HashMap<(u32, usize), u32>,
    by_name: HashMap<String, u32>,
}

impl PlanDestinations {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut made =
            Self { destinations: Vec::new(), by_queue: Vec::new(), by_reader: HashMap::new(), by_name: HashMap::new() };
        for (number, queue) in plan.topology.queues.iter().enumerate() {
            let first = made.destinations.len() as u32;
            made.by_name.insert(queue.name.clone(), first);
            if queue.kind == QueueKind::Stream {
                made.add_readers(plan, number, queue);
            }
            if made.destinations.len() as u32 == first {
                let about = destination(queue.name.clone(), queue, false);
                made.destinations.push(Destination { rules: with_failures(plan, number, about.rules), ..about });
            }
            made.by_queue.push((first..made.destinations.len() as u32).collect());
        }
        let router = Router::new(&plan.topology);
        for number in 0..plan.topology.queues.len() {
            let reached = dead_letter_queues(&plan.topology, &router, number);
            let reached = reached.iter().enumerate().filter(|(to, is_reached)| **is_reached && *to != number);
            let ends = reached.map(|(to, _)| made.by_queue[to][0] as usize);
            let rules = ends.flat_map(|to| made.destinations[to].own_rules());
            // What consumers reject there they know.
            let beyond: Vec<_> = rules.filter(|(rule, _)| *rule != Rule::Rejected).collect();
            made.destinations[made.by_queue[number][0] as usize].beyond = beyond;
        }
        for retry in &plan.retries {
            let from = made.by_queue[retry.queue][0];
            for wait in retry.steps.iter().filter_map(|step| step.queue) {
                made.destinations[made.by_queue[wait][0] as usize].waits_for = Some(from);
            }
        }
        made
    }

    /// Each reader of a stream has copies of its own.
    fn add_readers(&mut self, plan: &Plan, number: usize, queue: &QueuePlan) {
        let reads = |fleet: &ConsumerFleet| fleet.offset != StreamOffset::First;
        for fleet in &plan.consumers {
            for subscriber in &fleet.subscribers {
                if subscriber.queues.contains(&number) {
                    self.by_reader.insert((subscriber.id, number), self.destinations.len() as u32);
                    let name = format!("{}#{}", queue.name, subscriber.id);
                    self.destinations.push(destination(name, queue, reads(fleet)));
                }
            }
        }
    }
}

/// The rules of a queue, with those by which what its consumers fail may be gone.
fn with_failures(plan: &Plan, number: usize, mut rules: Vec<Rule>) -> Vec<Rule> {
    let queue = &plan.topology.queues[number];
    let fleets = plan.consumers.iter().filter(|fleet| fleet.queues.contains(&number));
    let thens: Vec<_> = fleets.filter_map(|fleet| fleet.fail.as_ref()).flat_map(|fail| &fail.rules).collect();
    if queue.dead_letter.is_some() {
        return rules;
    }
    // What consumers have rejected they know best: it explains first what is missing.
    if thens.iter().any(|rule| !rule.then.requeues()) {
        rules.insert(0, Rule::Rejected);
    }
    if thens.iter().any(|rule| rule.then.requeues()) && queue.removal_rules.contains(&RemovalRule::DeliveryLimit) {
        rules.push(Rule::DeliveryLimit);
    }
    rules
}

fn destination(name: String, queue: &QueuePlan, may_skip_head: bool) -> Destination {
    let without_trace = |rule: &RemovalRule| match rule {
        RemovalRule::Ttl => Some(Rule::Expiry),
        RemovalRule::Length => Some(Rule::Length),
        RemovalRule::Retention => Some(Rule::Retention),
        RemovalRule::DeliveryLimit | RemovalRule::Expires => None,
    };
    // With a dead-letter exchange what a rule removes must turn up where that leads.
    let rules = match queue.dead_letter {
        Some(_) => Vec::new(),
        None => queue.removal_rules.iter().filter_map(without_trace).collect(),
    };
    let kind = match queue.kind {
        QueueKind::Classic => "classic",
        QueueKind::Quorum => "quorum",
        QueueKind::Stream => "stream",
    };
    Destination { name, rules, kind, may_skip_head, ..Destination::default() }
}

impl Destinations for PlanDestinations {
    fn of(&self, subscriber: u32, queue: usize) -> u32 {
        self.by_reader.get(&(subscriber, queue)).copied().unwrap_or_else(|| self.by_queue[queue][0])
    }

    fn named(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }
}

impl PlanRoutes {
    pub(super) fn new(plan: &Arc<Plan>, destinations: &PlanDestinations) -> Self {
        let of_queue = |queue: &usize| destinations.by_queue[*queue].iter().copied();
        let of_fleet = |fleet: &ProducerFleet| {
            fleet.routes.iter().map(|route| route.queues.iter().flat_map(of_queue).collect()).collect()
        };
        Self { routes: plan.producers.iter().map(of_fleet).collect(), plan: Arc::clone(plan) }
    }
}

impl Routes for PlanRoutes {
    fn destinations(&self, publisher: u16, sequence: u64) -> &[u32] {
        let Some((fleet, about, publisher)) = self.plan.publisher(publisher) else { return &[] };
        &self.routes[fleet][about.route(publisher, sequence)]
    }
}

/// What the plan foretells, for a load that ended at `ended_us`.
pub(super) struct PlanForetold<'a> {
    pub(super) routes: &'a PlanRoutes,
    pub(super) ended_us: u64,
}

impl Foretold for PlanForetold<'_> {
    fn planned(&self, publisher: u16) -> Option<u64> {
        let (_, fleet, publisher) = self.routes.plan.publisher(publisher)?;
        match self.routes.plan.schedule(fleet, publisher) {
            Some(schedule) => Some(schedule.planned_before(self.ended_us)),
            // A closed loop plans its limit, unless the time may end it first.
            None => publisher.messages.filter(|_| self.routes.plan.load.duration_us.is_none()),
        }
    }

    fn intended_us(&self, publisher: u16, sequence: u64) -> Option<u64> {
        let (_, fleet, publisher) = self.routes.plan.publisher(publisher)?;
        self.routes.plan.schedule(fleet, publisher)?.due_us(sequence)
    }

    fn publisher_name(&self, publisher: u16) -> String {
        self.routes.plan.publisher_name(publisher)
    }
}
