//! One copy of each message of a publisher: two bits per message and when stretches of them were delivered first; only the
//! latter, and of longer stretches, for a chunk in which all is done.

use super::span::Span;

/// Messages in a chunk.
pub(super) const CHUNK: usize = 4096;
const WORDS: usize = CHUNK / 64;
/// Words whose first deliveries are one stretch once the chunk is done.
const FOLDED: usize = 4;

/// The copies of one chunk of messages at one destination.
#[derive(Debug, Clone, Default)]
pub(super) enum Lane {
    /// Nothing arrived yet.
    #[default]
    Untouched,
    /// Some arrived.
    Open(Box<Bits>),
    /// Every copy that was expected here is delivered and closed, so that the bits need no keeping.
    Done(Box<[Span; WORDS / FOLDED]>),
}

/// Whether each copy was delivered, and whether it is accounted for.
#[derive(Debug, Clone)]
pub(super) struct Bits {
    delivered: [u64; WORDS],
    closed: [u64; WORDS],
    /// When the messages of each word were delivered for the first time.
    first: [Span; WORDS],
    closed_count: u16,
    delivered_count: u16,
}

impl Bits {
    fn folded(&self) -> Box<[Span; WORDS / FOLDED]> {
        let joined = |place: usize| {
            let words = &self.first[place * FOLDED..(place + 1) * FOLDED];
            words.iter().fold(Span::NONE, |joined, span| joined.joined(*span))
        };
        Box::new(std::array::from_fn(joined))
    }
}

#[inline]
fn set(words: &mut [u64; WORDS], at: usize) -> bool {
    let (word, bit) = (&mut words[at / 64], 1u64 << (at % 64));
    let was_set = *word & bit != 0;
    *word |= bit;
    was_set
}

#[inline]
fn get(words: &[u64; WORDS], at: usize) -> bool {
    words[at / 64] & (1 << (at % 64)) != 0
}

impl Lane {
    #[inline]
    fn bits(&mut self) -> Option<&mut Bits> {
        if let Self::Untouched = self {
            *self = Self::Open(Box::new(Bits {
                delivered: [0; WORDS],
                closed: [0; WORDS],
                first: [Span::NONE; WORDS],
                closed_count: 0,
                delivered_count: 0,
            }));
        }
        match self {
            Self::Open(bits) => Some(bits),
            Self::Untouched | Self::Done(_) => None,
        }
    }

    /// Notes a delivery at `now_us`; true where the copy was delivered before.
    #[inline]
    pub(super) fn deliver(&mut self, at: usize, now_us: u64) -> bool {
        self.bits().is_none_or(|bits| {
            let was_delivered = set(&mut bits.delivered, at);
            if !was_delivered {
                bits.delivered_count += 1;
                bits.first[at / 64].take_in(now_us);
            }
            was_delivered
        })
    }

    /// Notes that the copy is accounted for; true where it was before.
    #[inline]
    pub(super) fn close(&mut self, at: usize) -> bool {
        self.bits().is_none_or(|bits| {
            let was_closed = set(&mut bits.closed, at);
            bits.closed_count += u16::from(!was_closed);
            was_closed
        })
    }

    /// When the copy, and others near it, were delivered for the first time.
    pub(super) fn first_delivered(&self, at: usize) -> Span {
        match self {
            Self::Untouched => Span::NONE,
            Self::Open(bits) => bits.first[at / 64],
            Self::Done(folded) => folded[at / (64 * FOLDED)],
        }
    }

    #[inline]
    pub(super) fn is_delivered(&self, at: usize) -> bool {
        match self {
            Self::Untouched => false,
            Self::Open(bits) => get(&bits.delivered, at),
            Self::Done(_) => true,
        }
    }

    #[inline]
    pub(super) fn is_closed(&self, at: usize) -> bool {
        match self {
            Self::Untouched => false,
            Self::Open(bits) => get(&bits.closed, at),
            Self::Done(_) => true,
        }
    }

    /// Drops the bits where all `expected` copies are delivered and closed.
    #[inline]
    pub(super) fn compact(&mut self, expected: u16) {
        if let Self::Open(bits) = self
            && bits.closed_count == expected
            && bits.delivered_count == expected
        {
            *self = Self::Done(bits.folded());
        }
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Untouched => 0,
            Self::Open(bits) => size_of_val(&**bits),
            Self::Done(folded) => size_of_val(&**folded),
        }
    }
}
