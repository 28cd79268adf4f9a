//! What is known of each offending message, as a person reads it.

use super::account::{Cause, PublisherAccount, Texts, Violation, ViolationClass};
use super::offences::{Offence, Offences};
use super::standings::Standing;
use super::{Foretold, Ledger};

impl Ledger {
    /// The offences that are listed, with all that is known of each.
    pub(super) fn violations(
        &self,
        offences: &Offences,
        foretold: &dyn Foretold,
        publishers: &[PublisherAccount],
    ) -> Vec<Violation> {
        let mut texts = Texts::default();
        offences.listed().map(|offence| self.violation(offence, foretold, publishers, &mut texts)).collect()
    }

    fn violation(
        &self,
        offence: &Offence,
        foretold: &dyn Foretold,
        publishers: &[PublisherAccount],
        texts: &mut Texts,
    ) -> Violation {
        let gone = matches!(offence.class, ViolationClass::Lost | ViolationClass::PossiblyLost);
        let stamp = offence.stamp;
        let known = stamp.filter(|stamp| usize::from(stamp.publisher) < publishers.len());
        let intended_us = match stamp {
            Some(stamp) if gone => foretold.intended_us(stamp.publisher, stamp.sequence),
            stamp => stamp.map(|stamp| stamp.intended_us),
        };
        Violation {
            class: offence.class,
            cause: offence.cause,
            queue: offence.destination.map(|to| texts.keep(&self.destinations[to as usize].name)),
            publisher: stamp.map(|stamp| stamp.publisher),
            sequence: stamp.map(|stamp| stamp.sequence),
            attempt: stamp.filter(|_| !gone).map(|stamp| stamp.attempt),
            intended_us,
            observed_us: offence.observed_us,
            history: texts.keep(&self.history(offence, known.map(|stamp| foretold.publisher_name(stamp.publisher)))),
        }
    }

    /// What is known of an offending message, as a sentence.
    fn history(&self, offence: &Offence, publisher: Option<String>) -> String {
        let message = offence.stamp.map(|stamp| (stamp.publisher, stamp.sequence));
        let publish = self.publish_history(message, publisher.as_deref());
        format!("{publish}; {}", end(offence))
    }

    /// Who published a message, by publisher and sequence, and how that ended.
    pub(super) fn publish_history(&self, message: Option<(u16, u64)>, publisher: Option<&str>) -> String {
        match (message, publisher) {
            (Some((number, sequence)), Some(name)) => {
                let standing = self.book(number).map(|book| book.standing(sequence));
                let outcome = match standing {
                    Some(Standing::Confirmed) => "confirmed",
                    Some(Standing::Nacked) => "nacked",
                    Some(Standing::Returned) => "returned",
                    Some(Standing::Sent) => "sent without confirms",
                    Some(Standing::Pending | Standing::Unconfirmed) => "never answered",
                    Some(Standing::Unpublished) | None => "never sent",
                };
                format!("published by {name}, {outcome}")
            }
            _ => "not published by this run".to_owned(),
        }
    }
}

/// What became of it.
fn end(offence: &Offence) -> &'static str {
    match (offence.class, offence.cause) {
        (ViolationClass::Lost | ViolationClass::PossiblyLost, Some(Cause::Unroutable)) => {
            "routed to no queue by the topology"
        }
        (ViolationClass::Lost | ViolationClass::PossiblyLost, Some(Cause::OneOfMany)) => {
            "neither consumed, dead-lettered nor left in the queue; others that are missing there were removed by a \
                 rule, and which of them were cannot be told"
        }
        (ViolationClass::Lost | ViolationClass::PossiblyLost, _) => {
            "neither consumed, dead-lettered nor left in the queue"
        }
        (ViolationClass::Duplicate, Some(Cause::Republished)) => "delivered again because the producer sent it again",
        (ViolationClass::Duplicate, Some(Cause::Redelivered)) => "delivered again with the redelivered flag",
        (ViolationClass::Duplicate, _) => "delivered again without the redelivered flag",
        (ViolationClass::Phantom, Some(Cause::NoStamp)) => "it carries no stamp of this run",
        (ViolationClass::Phantom, _) => "its stamp names a message that was never sent",
        (ViolationClass::Corrupt, _) => "its checksum does not match what its stamp claims",
        (ViolationClass::Misordered, _) => "delivered after a later message of its publisher",
        (ViolationClass::Misrouted, _) => "the topology does not route it here",
        // Of these the store's audit tells, not the journal.
        (ViolationClass::EffectRepeated, _) => "its effect was applied more than once",
        (ViolationClass::EffectMissing, _) => "its effect was never applied",
        (ViolationClass::Fate, _) => "its fate is another one than foretold",
        // Of these the chain tells.
        (ViolationClass::FollowUpMissing, _) => "the message that should follow it was never published",
        (ViolationClass::FollowUpRepeated, _) => "more than one message follows it",
        (ViolationClass::IdMissing, _) => "it came without one of its ids",
        (ViolationClass::IdCrossed, _) => "it came with an id of another message",
        (ViolationClass::EffectUnknown, _) => "an effect was applied for it, though it never came here",
    }
}
