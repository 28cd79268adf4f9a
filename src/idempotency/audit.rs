//! What the store itself says: how often each effect was applied. Pure: the stores feed it their rows.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{EffectId, IdSet, NEW_ID};

/// So many ids of those that were applied more than once are listed; all of them are counted.
pub const LISTED_MAX: usize = 10_000;

/// The effects in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    applied: IdSet,
    applied_again: IdSet,
    /// How often, for those that are listed.
    listed: BTreeMap<EffectId, u32>,
    applications: u64,
}

impl Audit {
    /// One more effect was found, whose sequence is at most [`super::MAX_SEQUENCE`].
    pub(super) fn add(&mut self, id: EffectId) {
        let id = EffectId { sequence: id.sequence & !NEW_ID, ..id };
        self.applications += 1;
        if self.applied.insert(id) {
            return;
        }
        if self.applied_again.insert(id) {
            if self.listed.len() < LISTED_MAX {
                self.listed.insert(id, 2);
            }
        } else if let Some(times) = self.listed.get_mut(&id) {
            *times = times.saturating_add(1);
        }
    }

    /// Effects that were applied, each counted as often as it was.
    pub fn applications(&self) -> u64 {
        self.applications
    }

    /// Ids whose effect was applied exactly once.
    pub fn applied_once(&self) -> u64 {
        self.applied.len() - self.applied_again.len()
    }

    /// Ids whose effect was applied twice or more; exact, also above [`LISTED_MAX`].
    pub fn applied_again(&self) -> u64 {
        self.applied_again.len()
    }

    /// How often the effects of the first [`LISTED_MAX`] ids that were applied again were applied, in order of ids.
    pub fn listed(&self) -> impl Iterator<Item = (EffectId, u32)> {
        self.listed.iter().map(|(id, times)| (*id, *times))
    }

    /// How often the effect of one of those that are listed was applied; none for any other.
    pub fn times_listed(&self, id: EffectId) -> Option<u32> {
        self.listed.get(&id).copied()
    }

    /// All ids whose effect was applied at least once.
    pub fn applied(&self) -> &IdSet {
        &self.applied
    }

    /// All ids whose effect was applied twice or more.
    pub fn again(&self) -> &IdSet {
        &self.applied_again
    }

    /// Runs of a publisher's sequences whose effects were never applied.
    pub fn never(&self, publisher: u16, sequences: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        self.applied.absent(publisher, sequences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_under_another_id_is_the_same_message() {
        let mut audit = Audit::default();
        [3, 3 | NEW_ID].into_iter().for_each(|sequence| audit.add(EffectId { publisher: 1, sequence }));
        assert_eq!((audit.applied_again(), audit.applications()), (1, 2));
        assert_eq!(audit.times_listed(EffectId { publisher: 1, sequence: 3 }), Some(2));
    }

    #[test]
    fn totals_stay_exact_where_the_list_ends() {
        let mut audit = Audit::default();
        let doubled = LISTED_MAX as u64 + 7;
        for _ in 0..3 {
            (0..doubled).for_each(|sequence| audit.add(EffectId { publisher: 1, sequence }));
        }
        audit.add(EffectId { publisher: 2, sequence: 9 });
        assert_eq!((audit.applied_again(), audit.applied_once()), (doubled, 1));
        assert_eq!(audit.applications(), 3 * doubled + 1);
        assert_eq!(audit.listed().count(), LISTED_MAX);
        assert!(audit.listed().all(|(_, times)| times == 3));
        assert_eq!(audit.again().present(1, 0..u64::MAX).collect::<Vec<_>>(), vec![0..doubled]);
        assert_eq!(audit.never(2, 0..12).collect::<Vec<_>>(), vec![0..9, 10..12]);
    }
}
