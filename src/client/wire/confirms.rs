//! Which message a confirm means: the broker counts the publishes of a channel from 1.

use std::collections::VecDeque;

use super::super::{Outcome, Settlement};
use crate::amqp::CodecError;

/// The publishes of a channel that wait for the broker's word, and the word on those before.
#[derive(Default)]
pub(super) struct Confirms {
    /// The broker was asked to confirm.
    expected: bool,
    /// In the order of their delivery tags, the first of which is `first`. The front one is never settled.
    waiting: VecDeque<Waiting>,
    first: u64,
    settled: Vec<Settlement>,
}

struct Waiting {
    token: u64,
    state: State,
}

enum State {
    Sent,
    /// Returned: told already, and the broker's ack will follow.
    Returned,
    Settled,
}

impl Confirms {
    pub(super) fn new(expected: bool) -> Self {
        Self { expected, first: 1, ..Self::default() }
    }

    /// A message is sent.
    pub(super) fn sent(&mut self, token: u64) {
        if self.expected {
            self.waiting.push_back(Waiting { token, state: State::Sent });
        }
    }

    /// A message came back. The ack that follows it is not told.
    pub(super) fn returned(&mut self, token: u64, outcome: Outcome) {
        if self.expected {
            // The broker returns a message before it confirms it, and in the order of their publishes: it is near the front.
            let sent = |waiting: &&mut Waiting| waiting.token == token && matches!(waiting.state, State::Sent);
            let Some(waiting) = self.waiting.iter_mut().find(sent) else { return };
            waiting.state = State::Returned;
        }
        self.settled.push(Settlement { token, outcome });
    }

    /// The broker settles a message, or all up to it.
    ///
    /// # Errors
    /// It settles what it was not sent, or has settled before.
    pub(super) fn settle(&mut self, tag: u64, multiple: bool, outcome: &Outcome) -> Result<(), CodecError> {
        const UNKNOWN: CodecError = CodecError::Unexpected { what: "a confirm of a message that waits for none" };
        let sent = self.waiting.len() as u64;
        // Tag 0 with `multiple` means all that there are.
        let tag = if tag == 0 && multiple { self.first + sent - 1 } else { tag };
        let place = tag.checked_sub(self.first).filter(|place| *place < sent);
        match (place, multiple) {
            (Some(place), true) => (0..=place as usize).for_each(|place| self.settle_at(place, outcome)),
            (Some(place), false) if self.is_settled(place as usize) => return Err(UNKNOWN),
            (Some(place), false) => self.settle_at(place as usize, outcome),
            // All of them were settled one by one before.
            (None, true) if tag < self.first => {}
            (None, _) => return Err(UNKNOWN),
        }
        while let Some(Waiting { state: State::Settled, .. }) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
        Ok(())
    }

    fn is_settled(&self, place: usize) -> bool {
        matches!(self.waiting[place].state, State::Settled)
    }

    fn settle_at(&mut self, place: usize, outcome: &Outcome) {
        let waiting = &mut self.waiting[place];
        if let State::Sent = std::mem::replace(&mut waiting.state, State::Settled) {
            self.settled.push(Settlement { token: waiting.token, outcome: outcome.clone() });
        }
    }

    /// Moves out what is settled; false where nothing is.
    pub(super) fn take(&mut self, to: &mut Vec<Settlement>) -> bool {
        let any = !self.settled.is_empty();
        to.append(&mut self.settled);
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(tokens: impl IntoIterator<Item = u64>) -> Confirms {
        let mut confirms = Confirms::new(true);
        tokens.into_iter().for_each(|token| confirms.sent(token));
        confirms
    }

    fn told(confirms: &mut Confirms) -> Vec<(u64, Outcome)> {
        let mut settled = Vec::new();
        confirms.take(&mut settled);
        settled.into_iter().map(|settlement| (settlement.token, settlement.outcome)).collect()
    }

    fn returned() -> Outcome {
        Outcome::Returned { code: 312, reason: "NO_ROUTE".to_owned() }
    }

    #[test]
    fn a_confirm_of_many_settles_all_up_to_it_that_are_not() {
        let mut confirms = sent(100..110);
        confirms.settle(3, false, &Outcome::Nacked).unwrap();
        confirms.settle(5, true, &Outcome::Confirmed).unwrap();
        let confirmed = [100, 101, 103, 104].map(|token| (token, Outcome::Confirmed));
        assert_eq!(told(&mut confirms), [&[(102, Outcome::Nacked)], confirmed.as_slice()].concat());
        confirms.settle(0, true, &Outcome::Confirmed).unwrap();
        assert_eq!(told(&mut confirms).len(), 5);
    }

    #[test]
    fn a_return_is_told_once_and_its_ack_is_not() {
        let mut confirms = sent([7, 8]);
        confirms.returned(8, returned());
        confirms.settle(2, true, &Outcome::Confirmed).unwrap();
        assert_eq!(told(&mut confirms), [(8, returned()), (7, Outcome::Confirmed)]);
        // A return that names no message in flight is a stranger's.
        confirms.returned(99, returned());
        assert_eq!(told(&mut confirms), []);
    }

    #[test]
    fn a_confirm_of_nothing_is_refused() {
        let mut confirms = sent([7, 8]);
        for tag in [0, 3, u64::MAX] {
            assert!(confirms.settle(tag, false, &Outcome::Confirmed).is_err(), "{tag}");
        }
        assert!(confirms.settle(3, true, &Outcome::Confirmed).is_err());
        confirms.settle(2, false, &Outcome::Confirmed).unwrap();
        assert!(confirms.settle(2, false, &Outcome::Confirmed).is_err(), "confirmed twice");
        confirms.settle(1, false, &Outcome::Confirmed).unwrap();
        assert!(confirms.settle(1, false, &Outcome::Confirmed).is_err(), "confirmed twice");
        assert_eq!(told(&mut confirms).len(), 2);
    }

    #[test]
    fn without_confirms_only_returns_are_told() {
        let mut confirms = Confirms::new(false);
        confirms.sent(1);
        confirms.returned(1, returned());
        assert_eq!(told(&mut confirms), [(1, returned())]);
        assert!(confirms.settle(1, false, &Outcome::Confirmed).is_err());
    }

    proptest! {
        #[test]
        fn each_message_is_settled_exactly_once(
            count in 1u64..200,
            confirms_of in proptest::collection::vec((0u64..200, any::<bool>()), 0..100),
        ) {
            let mut confirms = sent(0..count);
            for (tag, multiple) in confirms_of {
                // A wrong confirm is refused and changes nothing.
                let _ = confirms.settle(tag, multiple, &Outcome::Confirmed);
            }
            // Nothing is left to settle, or the rest is.
            let _ = confirms.settle(0, true, &Outcome::Confirmed);
            let mut tokens: Vec<u64> = told(&mut confirms).into_iter().map(|(token, _)| token).collect();
            tokens.sort_unstable();
            prop_assert_eq!(tokens, (0..count).collect::<Vec<_>>());
        }
    }
}
