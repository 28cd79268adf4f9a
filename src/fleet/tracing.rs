//! Whether messages that lead to others come with the ids that they should have.
//!
//! What is to be expected is drawn from the plan and the ledger's chain, and not from what other messages had: a message's
//! own id is a function of its publisher and sequence, its cause is what the ledger says it follows, and its correlation id
//! is that of the first message of the chain.

use std::sync::Arc;

use crate::client::{CAUSATION_HEADER, Deliveries, Delivery, Ids};
use crate::ledger::Arrival;
use crate::ledger::chain::{Cause, Chain, IdFault, WrongIds};
use crate::plan::{Fields, Moment, Plan};
use crate::stamp::{Reading, Stamp};

use super::Clock;

/// Looks at the ids of messages.
pub struct Tracer {
    plan: Arc<Plan>,
    /// What message ids and correlation ids of each fleet are made of, by number.
    texts: Vec<[Option<Fields>; 2]>,
}

impl Tracer {
    /// For a plan in which messages lead to others; none for one in which they do not.
    pub fn new(plan: &Arc<Plan>) -> Option<Self> {
        if !plan.has_chains() {
            return None;
        }
        let parsed = |text: &Option<String>| text.as_deref().and_then(|text| Fields::parse(text).ok());
        let texts = plan.producers.iter().map(|fleet| {
            let properties = &fleet.properties;
            [parsed(&properties.message_id), parsed(&properties.correlation_id)]
        });
        Some(Self { texts: texts.collect(), plan: Arc::clone(plan) })
    }

    /// Looks at deliveries, and writes into the chain what is wrong with their ids.
    pub(super) fn look(&self, chain: &Chain, clock: &Clock, deliveries: &Deliveries, arrivals: &[Arrival]) {
        for ((delivery, _), arrival) in deliveries.iter().zip(arrivals) {
            let Reading::Ours(stamp) = &arrival.reading else { continue };
            let Some(wrong) = self.wrong(chain, clock, stamp, delivery) else {
                chain.not_looked_at();
                continue;
            };
            let is = |fault| wrong.iter().any(|(is, _)| *is == fault);
            chain.looked_at(is(IdFault::Missing), is(IdFault::Crossed), || WrongIds {
                stamp: *stamp,
                destination: arrival.destination,
                observed_us: arrival.observed_us,
                fault: wrong.iter().map(|(fault, _)| *fault).max().unwrap_or(IdFault::Missing),
                about: wrong.iter().map(|(_, about)| about.as_str()).collect::<Vec<_>>().join(", "),
            });
        }
    }

    /// What is wrong with the ids of a message; none where it is not remembered what it follows.
    fn wrong(
        &self,
        chain: &Chain,
        clock: &Clock,
        stamp: &Stamp,
        delivery: &Delivery,
    ) -> Option<Vec<(IdFault, String)>> {
        let none = Ids::default();
        let had = delivery.ids.as_deref().unwrap_or(&none);
        let moment = Moment { unix_us: clock.unix_us(stamp.intended_us), ids: 0 };
        let own = (stamp.publisher, stamp.sequence);
        let cause = cause_of(chain, own)?;
        let mut first = own;
        while let Some(cause) = cause_of(chain, first)? {
            first = cause;
        }
        let of_cause = cause.and_then(|cause| self.id(cause, &moment));
        let expected = [
            ("message-id", &had.message, self.id(own, &moment)),
            ("correlation-id", &had.correlation, self.text(first, 1, &moment)),
            (CAUSATION_HEADER, &had.causation, of_cause),
        ];
        let compare = |(name, had, expected): (&str, &Option<String>, Option<String>)| {
            // Of what an empty text is asked for nothing can be expected.
            let expected = expected.filter(|expected| !expected.is_empty())?;
            match had {
                None => Some((IdFault::Missing, format!("{name} missing"))),
                Some(had) if *had != expected => {
                    Some((IdFault::Crossed, format!("{name} {had} where {expected} belongs")))
                }
                Some(_) => None,
            }
        };
        Some(expected.into_iter().filter_map(compare).collect())
    }

    fn id(&self, message: (u16, u64), moment: &Moment) -> Option<String> {
        self.text(message, 0, moment)
    }

    /// The id, or the correlation id, that a message was given.
    fn text(&self, (publisher, sequence): (u16, u64), which: usize, moment: &Moment) -> Option<String> {
        let (number, fleet, publisher) = self.plan.publisher(publisher)?;
        let fields = self.texts.get(number)?[which].as_ref()?;
        Some(fields.fill(&fleet.name, publisher, sequence, moment))
    }
}

/// Publisher and sequence of what a message follows, if it follows any; none where that is not remembered.
fn cause_of(chain: &Chain, (publisher, sequence): (u16, u64)) -> Option<Option<(u16, u64)>> {
    match chain.cause(publisher, sequence) {
        Cause::Nothing => Some(None),
        Cause::Message(cause) => Some(Some((cause.publisher, cause.sequence))),
        Cause::Forgotten => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::chain::Caused;

    fn plan() -> Arc<Plan> {
        let text = "schema = 1\nname = \"t\"\n[[queue]]\nname = \"a\"\n[[queue]]\nname = \"b\"\n\
             [[producer]]\nname = \"first\"\nrouting_key = \"a\"\n\
             [[producer]]\nname = \"second\"\nrouting_key = \"b\"\nfollows = \"in\"\n\
             [[consumer]]\nname = \"in\"\nqueue = \"a\"\n[load]\nduration = \"1s\"\n";
        let scenario = toml::from_str(text).unwrap();
        Arc::new(crate::plan::resolve(&scenario, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap())
    }

    fn stamp(publisher: u16, sequence: u64) -> Stamp {
        Stamp { run: 1, publisher, attempt: 0, sequence, intended_us: 0, lag_us: 0 }
    }

    /// What is wrong where message 0 of the second fleet follows message 7 of the first, and comes with `ids`.
    fn wrong(of: Stamp, ids: impl Fn(&Tracer) -> Ids) -> Vec<IdFault> {
        let plan = plan();
        let tracer = Tracer::new(&plan).unwrap();
        let (chain, clock) = (Chain::default(), Clock::new(std::time::Instant::now()));
        chain.publishes(1, Caused { publisher: 0, sequence: 7, destination: 0 });
        let delivery = Delivery::bare(Some(ids(&tracer)));
        tracer.wrong(&chain, &clock, &of, &delivery).unwrap().into_iter().map(|(fault, _)| fault).collect()
    }

    fn ids(tracer: &Tracer, own: (u16, u64), cause: Option<(u16, u64)>, first: (u16, u64)) -> Ids {
        let moment = Moment::default();
        Ids {
            message: tracer.id(own, &moment),
            correlation: tracer.text(first, 1, &moment),
            causation: cause.and_then(|cause| tracer.id(cause, &moment)),
        }
    }

    #[test]
    fn right_ids_are_right() {
        assert_eq!(wrong(stamp(0, 7), |tracer| ids(tracer, (0, 7), None, (0, 7))), []);
        assert_eq!(wrong(stamp(1, 0), |tracer| ids(tracer, (1, 0), Some((0, 7)), (0, 7))), []);
    }

    #[test]
    fn a_missing_one_and_another_s_are_found() {
        use IdFault::{Crossed, Missing};
        let of = |change: fn(&mut Ids)| {
            wrong(stamp(1, 0), |tracer| {
                let mut ids = ids(tracer, (1, 0), Some((0, 7)), (0, 7));
                change(&mut ids);
                ids
            })
        };
        assert_eq!(of(|ids| ids.message = None), [Missing]);
        assert_eq!(of(|ids| ids.correlation = None), [Missing]);
        assert_eq!(of(|ids| ids.causation = None), [Missing]);
        assert_eq!(of(|ids| ids.correlation.clone_from(&ids.message)), [Crossed]);
        assert_eq!(of(|ids| *ids = Ids::default()), [Missing; 3]);
        // Those of the message beside it.
        let other = |tracer: &Tracer| ids(tracer, (1, 0), Some((0, 8)), (0, 8));
        assert_eq!(wrong(stamp(1, 0), other), [Crossed; 2]);
    }
}
