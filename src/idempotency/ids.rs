//! A set of ids in little memory: one bit for each sequence, chunk by chunk, and nothing for a chunk that is full.
//!
//! A hundred million ids of a publisher with few gaps take about a megabyte; with gaps everywhere, as one member of
//! several sees them, 12.5 MB.

use std::collections::BTreeMap;
use std::ops::Range;

use super::EffectId;

const WORDS: usize = 64;
const CHUNK: u64 = (WORDS * u64::BITS as usize) as u64;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Chunk {
    Full,
    Bits { words: Box<[u64; WORDS]>, count: u16 },
}

impl Chunk {
    /// The first place at or after `from` whose bit is `value`.
    fn next(&self, from: u64, value: bool) -> Option<u64> {
        let words = match self {
            Self::Full => return value.then_some(from),
            Self::Bits { words, .. } => words,
        };
        let first = (from / 64) as usize;
        (first..WORDS).find_map(|at| {
            let mut word = if value { words[at] } else { !words[at] };
            if at == first {
                word &= u64::MAX << (from % 64);
            }
            (word != 0).then(|| at as u64 * 64 + u64::from(word.trailing_zeros()))
        })
    }
}

/// A set of ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdSet {
    chunks: BTreeMap<(u16, u64), Chunk>,
    len: u64,
}

impl IdSet {
    /// Adds one whose sequence is at most [`super::MAX_SEQUENCE`]; says whether it is new.
    pub(super) fn insert(&mut self, id: EffectId) -> bool {
        let empty = || Chunk::Bits { words: Box::new([0; WORDS]), count: 0 };
        let chunk = self.chunks.entry((id.publisher, id.sequence / CHUNK)).or_insert_with(empty);
        let Chunk::Bits { words, count } = chunk else { return false };
        let (word, bit) = ((id.sequence % CHUNK / 64) as usize, 1 << (id.sequence % 64));
        if words[word] & bit != 0 {
            return false;
        }
        words[word] |= bit;
        *count += 1;
        self.len += 1;
        if u64::from(*count) == CHUNK {
            *chunk = Chunk::Full;
        }
        true
    }

    /// Whether an id is in the set.
    pub fn contains(&self, id: EffectId) -> bool {
        self.next(id.publisher, id.sequence, true) == Some(id.sequence)
    }

    /// How many ids are in the set.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no id is in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Publishers with at least one id, in order.
    pub fn publishers(&self) -> impl Iterator<Item = u16> {
        let first = |from: u16| self.chunks.range((from, 0)..).next().map(|((publisher, _), _)| *publisher);
        std::iter::successors(first(0), move |last| first(last.checked_add(1)?))
    }

    /// Runs of a publisher's sequences that are in the set, within `within`, in order.
    pub fn present(&self, publisher: u16, within: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        self.runs(publisher, within, true)
    }

    /// Runs of a publisher's sequences that are not in the set, within `within`, in order.
    pub fn absent(&self, publisher: u16, within: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        self.runs(publisher, within, false)
    }

    fn runs(&self, publisher: u16, within: Range<u64>, value: bool) -> impl Iterator<Item = Range<u64>> {
        let mut at = within.start;
        std::iter::from_fn(move || {
            let start = self.next(publisher, at, value).filter(|start| *start < within.end)?;
            let end = self.next(publisher, start, !value).map_or(within.end, |end| end.min(within.end));
            at = end;
            Some(start..end)
        })
    }

    /// The first sequence at or after `from` that is in the set, or is not.
    fn next(&self, publisher: u16, from: u64, value: bool) -> Option<u64> {
        let (mut number, mut place) = (from / CHUNK, from % CHUNK);
        let later = self.chunks.range((publisher, number)..=(publisher, u64::MAX));
        for ((_, found), chunk) in later {
            if *found != number {
                if !value {
                    break;
                }
                (number, place) = (*found, 0);
            }
            if let Some(place) = chunk.next(place, value) {
                return Some(number * CHUNK + place);
            }
            (number, place) = (number + 1, 0);
        }
        (!value).then_some(number * CHUNK + place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(publisher: u16, sequence: u64) -> EffectId {
        EffectId { publisher, sequence }
    }

    #[test]
    fn a_hundred_million_ids_take_no_memory_to_speak_of() {
        let mut set = IdSet::default();
        for sequence in 0..3 * CHUNK + 5 {
            set.insert(id(7, sequence));
        }
        let full = set.chunks.values().filter(|chunk| matches!(chunk, Chunk::Full)).count();
        assert_eq!((full, set.chunks.len()), (3, 4), "a full chunk keeps no bits");
        assert_eq!(set.absent(7, 0..4 * CHUNK).collect::<Vec<_>>(), vec![3 * CHUNK + 5..4 * CHUNK]);
        assert_eq!(set.len(), 3 * CHUNK + 5);
    }

    #[test]
    fn a_publisher_of_whom_nothing_is_known_is_absent_as_a_whole() {
        let mut set = IdSet::default();
        set.insert(id(1, 3));
        set.insert(id(3, 3));
        assert_eq!(set.absent(2, 5..9).collect::<Vec<_>>(), vec![5..9]);
        assert_eq!(set.present(2, 0..u64::MAX).count(), 0);
        assert_eq!(set.publishers().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(set.absent(1, 0..0).count(), 0);
    }

    proptest! {
        #[test]
        fn is_a_set(
            runs in prop::collection::vec((0u16..3, 0u64..4 * CHUNK, 1u64..2 * CHUNK), 0..8),
            within in (0u64..5 * CHUNK, 0u64..3 * CHUNK),
        ) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            for (publisher, first, length) in runs {
                for sequence in first..first + length {
                    prop_assert_eq!(set.insert(id(publisher, sequence)), model.insert(id(publisher, sequence)));
                }
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            let within = within.0..within.0 + within.1;
            for publisher in 0..3 {
                let present: BTreeSet<u64> = set.present(publisher, within.clone()).flatten().collect();
                let absent: BTreeSet<u64> = set.absent(publisher, within.clone()).flatten().collect();
                for sequence in within.clone() {
                    let held = model.contains(&id(publisher, sequence));
                    prop_assert_eq!(set.contains(id(publisher, sequence)), held);
                    prop_assert_eq!(present.contains(&sequence), held);
                    prop_assert_eq!(absent.contains(&sequence), !held);
                }
                let runs: Vec<_> = set.present(publisher, within.clone()).collect();
                prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?} could be merged", runs);
            }
        }
    }
}
