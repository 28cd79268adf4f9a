//! Fates: foretold by the plan for the broker that there was, and held against the ledger's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::routes::PlanDestinations;
use crate::fleet::Shared;
use crate::ledger::fates::{DeathEntry, Deviation, FatesAccount, Foretelling, Journey};
use crate::plan::Plan;
use crate::plan::fate::{BrokerRules, Fate, Foreteller};
use crate::record::{Account, FateRow, FatesReport, Violation, ViolationClass};

/// Most messages with another fate than foretold that are listed as violations.
const LISTED: usize = 10_000;
/// Most kinds of fates that are told.
const ROWS_MAX: usize = 1_000;

/// How many dead letters there are, by the queue that they left last, the one that they were found in, and why.
type Letters = BTreeMap<(usize, usize, &'static str), u64>;

/// Fates, foretold and seen.
pub(super) struct Compared {
    pub(super) report: FatesReport,
    /// The dead letters that there should be; none where some cannot be foretold.
    pub(super) letters: Option<Letters>,
}

/// What is needed to foretell.
pub(super) struct Fates<'a> {
    pub(super) plan: &'a Arc<Plan>,
    pub(super) shared: &'a Shared,
    pub(super) destinations: &'a PlanDestinations,
    /// Release of the broker.
    pub(super) version: &'a str,
}

/// What was foretold, what came of it, and how many messages that is so for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    foretold: String,
    outcome: String,
    seen: String,
}

impl Fates<'_> {
    /// Compares, and adds to the `account` each message whose fate differs; none where the plan gives no message a fate of
    /// its own.
    pub(super) fn compare(&self, account: &mut Account) -> Option<Compared> {
        let foreteller = Foreteller::new(self.plan, BrokerRules::of(self.version));
        if !foreteller.foretells() {
            return None;
        }
        let (mut foretold, mut letters, mut unforeseeable) = (BTreeMap::new(), Letters::new(), 0);
        for fleet in &self.plan.producers {
            for publisher in &fleet.publishers {
                let published = account.publishers.get(usize::from(publisher.id)).map_or(0, |it| it.published);
                // What the broker never took has no fate.
                let taken = (0..published).filter(|sequence| self.shared.ledger.was_taken(publisher.id, *sequence));
                for sequence in taken {
                    match foreteller.fate(fleet, publisher, sequence) {
                        Some(fate) if fate.is_ordinary() => {}
                        Some(fate) => {
                            fate.letters.iter().for_each(|letter| *letters.entry(*letter).or_default() += 1);
                            foretold.insert((publisher.id, sequence), self.foretelling(&fate));
                        }
                        None => unforeseeable += 1,
                    }
                }
            }
        }
        let mut deviations = Vec::new();
        let fates = foretold.iter().map(|(message, foretold)| (*message, foretold.clone()));
        let compared = self.shared.fates.compare(fates, |deviation| deviations.push(deviation));
        let compared = FatesAccount { unforeseeable, ..compared };
        let rows = self.rows(&foretold, &deviations);
        self.list(&deviations, account);
        let rows_left_out = rows.len().saturating_sub(ROWS_MAX) as u64;
        let rows = rows.into_iter().take(ROWS_MAX).collect();
        let letters = (unforeseeable == 0).then_some(letters);
        Some(Compared { report: FatesReport { account: compared, rows, rows_left_out }, letters })
    }

    /// What came of which fate, and how many messages that is so for.
    fn rows(&self, foretold: &BTreeMap<(u16, u64), Foretelling>, deviations: &[Deviation]) -> Vec<FateRow> {
        let mut kinds: BTreeMap<Kind, (u64, (u16, u64))> = BTreeMap::new();
        let mut count = |kind: Kind, message| kinds.entry(kind).or_insert((0, message)).0 += 1;
        let differing: BTreeSet<_> = deviations.iter().map(|it| (it.publisher, it.sequence)).collect();
        for (message, foretold) in foretold.iter().filter(|(message, _)| !differing.contains(message)) {
            let outcome = match foretold {
                Foretelling::Journey(_) => "as_foretold",
                Foretelling::Endless(_) => "endless",
            };
            let (outcome, seen) = (outcome.to_owned(), String::new());
            count(Kind { foretold: self.foretold(Some(foretold)), outcome, seen }, *message);
        }
        for deviation in deviations {
            let foretold = self.foretold(deviation.foretold.as_ref());
            let (outcome, seen) = (deviation.difference.to_string(), self.journey(&deviation.seen));
            count(Kind { foretold, outcome, seen }, (deviation.publisher, deviation.sequence));
        }
        let row = |(kind, (messages, (publisher, sequence))): (Kind, (u64, (u16, u64)))| FateRow {
            foretold: kind.foretold,
            outcome: kind.outcome,
            seen: kind.seen,
            messages,
            first: format!("{}:{sequence}", self.plan.publisher_name(publisher)),
        };
        kinds.into_iter().map(row).collect()
    }

    /// Each message whose fate differs is a violation.
    fn list(&self, deviations: &[Deviation], account: &mut Account) {
        account.violations_total += deviations.len() as u64;
        let violation = |deviation: &Deviation| {
            let foretold = self.foretold(deviation.foretold.as_ref());
            let seen = self.journey(&deviation.seen);
            let name = self.plan.publisher_name(deviation.publisher);
            Violation {
                class: ViolationClass::Fate,
                cause: None,
                queue: None,
                publisher: Some(deviation.publisher),
                sequence: Some(deviation.sequence),
                attempt: None,
                intended_us: None,
                observed_us: None,
                history: format!("published by {name}; foretold: {foretold}; seen: {seen}; {}", deviation.difference)
                    .into(),
            }
        };
        account.violations.extend(deviations.iter().take(LISTED).map(violation));
    }

    fn foretelling(&self, fate: &Fate) -> Foretelling {
        let number = |queue: usize| self.destinations.by_queue[queue].first().copied().unwrap_or(u32::MAX);
        if let Some(queue) = fate.endless {
            return Foretelling::Endless(number(queue));
        }
        let entry = |death: &crate::plan::fate::FateDeath| DeathEntry {
            from: number(death.queue),
            reason: death.reason.into(),
            count: death.count,
        };
        let end = |end: &crate::plan::fate::FateEnd| {
            let mut deaths: Vec<_> = end.deaths.iter().map(entry).collect();
            deaths.sort_unstable();
            (number(end.queue), deaths)
        };
        Foretelling::Journey(Journey {
            tries: fate.tries.iter().map(|(queue, tries)| (number(*queue), *tries)).collect(),
            ends: fate.ends.iter().map(end).collect(),
        })
    }

    fn foretold(&self, foretold: Option<&Foretelling>) -> String {
        match foretold {
            Some(Foretelling::Journey(journey)) => self.journey(journey),
            Some(Foretelling::Endless(queue)) => format!("fails in {} for ever", self.name(*queue)),
            None => "works at once".to_owned(),
        }
    }

    fn name(&self, destination: u32) -> &str {
        self.destinations.destinations.get(destination as usize).map_or("?", |about| &about.name)
    }

    /// A journey as a person reads it.
    fn journey(&self, journey: &Journey) -> String {
        let tries = journey.tries.iter().map(|(queue, tries)| match tries {
            1 => format!("1 attempt in {}", self.name(*queue)),
            tries => format!("{tries} attempts in {}", self.name(*queue)),
        });
        let ends = journey.ends.iter().map(|(queue, deaths)| {
            let deaths = deaths.iter().map(|death| {
                let times = if death.count == 1 { String::new() } else { format!(" ×{}", death.count) };
                format!("{} {}{times}", self.name(death.from), death.reason)
            });
            let deaths = deaths.collect::<Vec<_>>().join(", ");
            match deaths.as_str() {
                "" => format!("ends in {}", self.name(*queue)),
                deaths => format!("ends in {} ({deaths})", self.name(*queue)),
            }
        });
        let mut parts: Vec<String> = tries.chain(ends).collect();
        if journey.ends.is_empty() {
            parts.push("ends nowhere".to_owned());
        }
        parts.join(", ")
    }
}
