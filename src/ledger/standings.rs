//! Where the publishes of one chunk of messages stand: a byte for each, and next to nothing once they are answered.

use std::ops::Range;

use super::lane::CHUNK;

/// Where a message's publish stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Standing {
    Unpublished = 0,
    Pending = 1,
    Confirmed = 2,
    Nacked = 3,
    Returned = 4,
    Unconfirmed = 5,
    Sent = 6,
}

impl Standing {
    /// All of them, by number.
    const ALL: [Self; Self::COUNT] = [
        Self::Unpublished,
        Self::Pending,
        Self::Confirmed,
        Self::Nacked,
        Self::Returned,
        Self::Unconfirmed,
        Self::Sent,
    ];
    /// How many there are.
    pub(super) const COUNT: usize = 7;
}

/// A chunk with more exceptions than this keeps a byte for each message; a list would save too little.
const EXCEPTIONS: usize = CHUNK / 8;

#[derive(Debug)]
enum Form {
    Each(Box<[Standing; CHUNK]>),
    /// All stand alike, but for those in the list, which is in order.
    Alike(Standing, Vec<(u16, Standing)>),
}

/// Where each message of a chunk stands.
#[derive(Debug)]
pub(super) struct Standings {
    form: Form,
    counts: [u16; Standing::COUNT],
}

impl Standings {
    /// Nothing is published yet.
    pub(super) fn new() -> Self {
        let mut counts = [0; Standing::COUNT];
        counts[Standing::Unpublished as usize] = CHUNK as u16;
        Self { form: Form::Each(Box::new([Standing::Unpublished; CHUNK])), counts }
    }

    /// The next messages are published.
    pub(super) fn publish(&mut self, at: Range<usize>, standing: Standing) {
        let count = at.len() as u16;
        if let Form::Each(each) = &mut self.form {
            each[at].fill(standing);
        }
        self.counts[Standing::Unpublished as usize] -= count;
        self.counts[standing as usize] += count;
        if self.is_answered() {
            self.compact();
        }
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Standing {
        match &self.form {
            Form::Each(each) => each[at],
            Form::Alike(most, but) if but.is_empty() => *most,
            Form::Alike(most, but) => {
                but.binary_search_by_key(&at, |(at, _)| usize::from(*at)).map_or(*most, |place| but[place].1)
            }
        }
    }

    /// Changes where one message stands; returns where it stood.
    #[inline]
    pub(super) fn set(&mut self, at: usize, to: Standing) -> Standing {
        let from = match &mut self.form {
            Form::Each(each) => std::mem::replace(&mut each[at], to),
            Form::Alike(most, but) => set_exception(*most, but, at, to),
        };
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
        if self.is_answered() {
            self.compact();
        }
        from
    }

    /// All are published, and none waits for an answer.
    #[inline]
    fn is_answered(&self) -> bool {
        self.counts[Standing::Pending as usize] == 0 && self.counts[Standing::Unpublished as usize] == 0
    }

    fn compact(&mut self) {
        let Form::Each(each) = &self.form else { return };
        let count = |standing: &Standing| self.counts[*standing as usize];
        let most = Standing::ALL.into_iter().max_by_key(count).unwrap_or(Standing::Confirmed);
        let exceptions = CHUNK - usize::from(count(&most));
        if exceptions <= EXCEPTIONS {
            // An exact length: the iterator could not tell, and would leave room for more.
            let mut but = Vec::with_capacity(exceptions);
            but.extend((0..CHUNK as u16).zip(each.iter().copied()).filter(|(_, standing)| *standing != most));
            self.form = Form::Alike(most, but);
        }
    }

    /// Every message is confirmed.
    pub(super) fn is_all_confirmed(&self) -> bool {
        usize::from(self.counts[Standing::Confirmed as usize]) == CHUNK
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Each(_) => CHUNK,
            Form::Alike(_, but) => but.capacity() * size_of::<(u16, Standing)>(),
        }
    }
}

fn set_exception(most: Standing, but: &mut Vec<(u16, Standing)>, at: usize, to: Standing) -> Standing {
    match but.binary_search_by_key(&at, |(at, _)| usize::from(*at)) {
        Ok(place) if to == most => but.remove(place).1,
        Ok(place) => std::mem::replace(&mut but[place].1, to),
        Err(_) if to == most => most,
        Err(place) => {
            but.insert(place, (at as u16, to));
            most
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn published(as_standing: Standing) -> Standings {
        let mut standings = Standings::new();
        standings.publish(0..1000, as_standing);
        standings.publish(1000..CHUNK, as_standing);
        standings
    }

    #[test]
    fn an_answered_chunk_keeps_its_exceptions_only() {
        let mut standings = published(Standing::Pending);
        let outcome = |at: usize| if at % 1000 == 7 { Standing::Unconfirmed } else { Standing::Confirmed };
        for at in (0..CHUNK).rev() {
            assert_eq!(standings.heap_bytes(), CHUNK, "one still waits");
            standings.set(at, outcome(at));
        }
        assert_eq!(standings.heap_bytes(), 5 * size_of::<(u16, Standing)>());
        assert!((0..CHUNK).all(|at| standings.get(at) == outcome(at)));
        assert!(!standings.is_all_confirmed());
        for at in (7..CHUNK).step_by(1000) {
            standings.set(at, Standing::Confirmed);
        }
        assert!(standings.is_all_confirmed());
    }

    #[test]
    fn confirms_that_are_off_are_as_small() {
        assert_eq!(published(Standing::Sent).heap_bytes(), 0);
        assert_eq!(published(Standing::Pending).heap_bytes(), CHUNK);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_change_is_kept_whatever_the_form(
            confirms: bool,
            unanswered in prop::collection::vec(0..CHUNK, 0..2 * EXCEPTIONS),
            changes in prop::collection::vec((0..CHUNK, 1..Standing::COUNT), 0..300),
        ) {
            let first = if confirms { Standing::Pending } else { Standing::Sent };
            let (mut standings, mut model) = (published(first), vec![first; CHUNK]);
            let answers = (0..CHUNK).filter(|_| confirms).map(|at| (at, Standing::Confirmed));
            let gone = unanswered.into_iter().map(|at| (at, Standing::Unconfirmed));
            for (at, to) in answers.chain(gone).chain(changes.into_iter().map(|(at, to)| (at, Standing::ALL[to]))) {
                prop_assert_eq!(standings.set(at, to), std::mem::replace(&mut model[at], to));
            }
            prop_assert!((0..CHUNK).all(|at| standings.get(at) == model[at]));
            for standing in Standing::ALL {
                let count = model.iter().filter(|known| **known == standing).count();
                prop_assert_eq!(usize::from(standings.counts[standing as usize]), count);
            }
        }
    }
}
