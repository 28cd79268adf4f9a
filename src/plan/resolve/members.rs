//! What happens to members of fleets: which of them, and at which message.

use super::faults::picks;
use crate::plan::draw::{self, Lane};
use crate::plan::fault::{Broken, MemberFailure, Members, Strike};
use crate::plan::{ConsumerFleet, FaultKind, ProducerFleet};
use crate::scenario::Fault;
use crate::units::Span;

/// The fleets of the plan.
pub(super) struct Fleets<'a> {
    pub(super) producers: &'a [ProducerFleet],
    pub(super) consumers: &'a [ConsumerFleet],
}

impl Fleets<'_> {
    /// How many members a fleet has; none where there is no such fleet.
    fn count(&self, name: &str) -> Option<u32> {
        let producer = self.producers.iter().find(|fleet| fleet.name == name);
        let last = match producer {
            Some(fleet) => fleet.publishers.last().map(|last| last.member),
            None => self.consumers.iter().find(|fleet| fleet.name == name)?.subscribers.last().map(|last| last.member),
        };
        last.map(|last| last + 1)
    }

    /// Number of the publisher called `FLEET/PLACE`.
    fn publisher(&self, name: &str) -> Option<u16> {
        let (fleet, place) = name.rsplit_once('/')?;
        let fleet = self.producers.iter().find(|known| known.name == fleet)?;
        fleet.publishers.get(place.parse::<usize>().ok()?).map(|publisher| publisher.id)
    }
}

/// What the fault that stands at `place` in the scenario does; none where the scenario lacks a key, or names what is not
/// there.
pub(super) fn broken(
    fault: &Fault,
    fleets: &[String],
    (seed, place): (u64, usize),
    all: &Fleets<'_>,
) -> Option<Broken> {
    let share = fault.share.unwrap_or(1.0);
    let seed = draw::bits(seed, Lane::Members, place as u64);
    let members = fleets.iter().enumerate().map(|(number, fleet)| {
        let members = chosen(draw::bits(seed, Lane::Members, number as u64), all.count(fleet)?, share);
        Some(Members { fleet: fleet.clone(), members })
    });
    let members = members.collect::<Option<Vec<_>>>()?;
    let at = match (&fault.message, fault.pick) {
        (Some(message), _) => Strike::Message {
            publisher: all.publisher(&message.publisher)?,
            name: message.publisher.clone(),
            sequence: message.sequence,
        },
        (None, Some(pick)) => Strike::Picked(picks(Some(pick))),
        (None, None) => Strike::Next,
    };
    let away_us = fault.lasting.map_or(0, Span::as_us);
    let failure = match fault.kind {
        FaultKind::ConsumerCrash => MemberFailure::ConsumerCrash { point: fault.point?, at, away_us },
        FaultKind::ProducerCrash => MemberFailure::ProducerCrash { at, away_us },
        _ => MemberFailure::Stall,
    };
    Some(Broken::Members { members, failure })
}

/// The members, of `count`, that make up `share` of them, at least one.
fn chosen(seed: u64, count: u32, share: f64) -> Vec<u32> {
    let how_many = ((f64::from(count) * share).round() as usize).max(1);
    let mut members: Vec<u32> = (0..count).collect();
    members.sort_by_key(|member| draw::bits(seed, Lane::Members, u64::from(*member)));
    members.truncate(how_many);
    members.sort_unstable();
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_share_of_the_members_is_chosen_by_the_seed(seed: u64, count in 1u32..200, share in 0.001f64..=1.0) {
            let members = chosen(seed, count, share);
            prop_assert!(members.is_sorted() && members.windows(2).all(|two| two[0] != two[1]));
            prop_assert!(members.iter().all(|member| *member < count));
            prop_assert!((members.len() as f64 - f64::from(count) * share).abs() <= 1.0);
            prop_assert_eq!(&members, &chosen(seed, count, share));
        }
    }

    #[test]
    fn another_seed_chooses_others() {
        assert_eq!(chosen(1, 4, 1.0), [0, 1, 2, 3]);
        assert_ne!(chosen(1, 100, 0.3), chosen(2, 100, 0.3));
    }
}
