//! The kinds of harm, and how much of each is done to which messages: drawn from the seed. Uses `plan` and `proxy`. Pure.

use crate::plan::draw::{self, Lane};
use crate::proxy::{Picks, What};

/// Messages of each run.
pub(super) const MESSAGES: u64 = 2_600;
/// How many of a kind there can be: primes, so that no sum of some passes for another.
const TIMES: [u64; 9] = [3, 5, 7, 11, 13, 17, 19, 23, 29];
/// Events before the first that is picked: a connection that has just been opened is nobody's business.
const QUIET: u64 = 100;
/// Each kind acts within so many events of its own, so that no message is hit twice.
pub(super) const WINDOW: u64 = 330;
/// Most events of a window that are used. What is left is for kinds that do not see all events: a lost delivery is none
/// for those after it, a corrupt one none for inventions, one that was swapped none for swaps.
pub(super) const USED: u64 = WINDOW - 3 * TIMES[TIMES.len() - 1];

/// A kind of harm, in the order in which the proxy begins them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A publish never reaches the broker, and is confirmed all the same.
    LoseConfirmed,
    /// A delivery never reaches the consumer, and is acknowledged.
    LoseDelivered,
    /// A delivery comes twice, the second time without the redelivered flag.
    Duplicate,
    /// A delivery comes twice, the second time with the redelivered flag.
    DuplicateFlagged,
    /// One bit of a delivery is flipped.
    Corrupt,
    /// A delivery comes that nobody sent.
    Invent,
    /// A delivery and the next one change places.
    Swap,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::LoseConfirmed,
        Self::LoseDelivered,
        Self::Duplicate,
        Self::DuplicateFlagged,
        Self::Corrupt,
        Self::Invent,
        Self::Swap,
    ];

    /// What the proxy is told.
    pub fn what(self, picks: Picks) -> What {
        match self {
            Self::LoseConfirmed => What::LoseConfirmed { picks },
            Self::LoseDelivered => What::LoseDelivered { picks },
            Self::Duplicate => What::Duplicate { picks, flagged: false },
            Self::DuplicateFlagged => What::Duplicate { picks, flagged: true },
            Self::Corrupt => What::Corrupt { picks },
            Self::Invent => What::Invent { picks },
            Self::Swap => What::Swap { picks },
        }
    }
}

/// So much harm of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which kind.
    pub sabotage: Sabotage,
    /// Which events of it.
    pub picks: Picks,
}

/// How much of each of `kinds` is done: another number of each. The same seed draws the same.
pub(super) fn orders(kinds: &[Sabotage], seed: u64) -> Vec<Order> {
    let mut times = TIMES;
    let drawn = |number: u64, limit: u64| draw::below(seed, Lane::Proxy, number, limit);
    // The shuffle of Fisher and Yates.
    for last in (1..times.len()).rev() {
        times.swap(last, drawn(last as u64, last as u64 + 1) as usize);
    }
    let order = |(place, (sabotage, times)): (usize, (&Sabotage, u64))| {
        let (place, number) = (place as u64, 100 + 2 * place as u64);
        // At least three apart: what changes places with the next one must not meet another of its kind.
        let every = 3 + drawn(number, (USED / times).min(9) - 2);
        let room = USED - every * (times - 1);
        let first = QUIET + WINDOW * place + drawn(number + 1, room);
        Order { sabotage: *sabotage, picks: Picks { first, every, times } }
    };
    kinds.iter().zip(times).enumerate().map(order).collect()
}
