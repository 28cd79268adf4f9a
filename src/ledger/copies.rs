//! A set of copies, of few among many: by destination, and 64 sequences of a publisher at a time.

use std::collections::BTreeMap;

/// Copies of one publisher's messages.
#[derive(Debug, Default)]
pub(super) struct Copies(BTreeMap<(u32, u64), u64>);

fn place(sequence: u64) -> (u64, u64) {
    (sequence / 64, 1 << (sequence % 64))
}

impl Copies {
    /// Adds one; whether it was not there.
    #[cold]
    pub(super) fn insert(&mut self, destination: u32, sequence: u64) -> bool {
        let (at, bit) = place(sequence);
        let word = self.0.entry((destination, at)).or_default();
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Takes one out; whether it was there.
    pub(super) fn remove(&mut self, destination: u32, sequence: u64) -> bool {
        let (at, bit) = place(sequence);
        let Some(word) = self.0.get_mut(&(destination, at)).filter(|word| **word & bit != 0) else { return false };
        *word &= !bit;
        true
    }

    pub(super) fn contains(&self, destination: u32, sequence: u64) -> bool {
        let (at, bit) = place(sequence);
        self.0.get(&(destination, at)).is_some_and(|word| word & bit != 0)
    }

    /// All of them, as destination and sequence.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        let of = |(&(destination, at), &word): (&(u32, u64), &u64)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| (destination, at * 64 + bit))
        };
        self.0.iter().flat_map(of)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set(changes in prop::collection::vec((any::<bool>(), 0u32..3, 0u64..200), 0..300)) {
            let (mut copies, mut model) = (Copies::default(), BTreeSet::new());
            for (adds, destination, sequence) in changes {
                let (changed, expected) = match adds {
                    true => (copies.insert(destination, sequence), model.insert((destination, sequence))),
                    false => (copies.remove(destination, sequence), model.remove(&(destination, sequence))),
                };
                prop_assert_eq!(changed, expected);
                prop_assert_eq!(copies.contains(destination, sequence), adds);
            }
            prop_assert_eq!(copies.iter().collect::<BTreeSet<_>>(), model);
        }
    }
}
