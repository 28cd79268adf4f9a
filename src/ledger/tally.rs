//! Counts of a batch by destination, added to the ledger's in one go.

use super::account::QueueAccount;
use super::gap::{Gaps, Marks};
use super::{Ledger, lock};

/// Destinations that a batch is counted for at the same time. One more, and the counts so far are handed in.
const AT_ONCE: usize = 8;

/// What is counted of one destination.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) account: QueueAccount,
    pub(super) marks: Marks,
    pub(super) gaps: Gaps,
    /// Copies that consumers rejected where no dead-letter exchange takes them.
    pub(super) rejected_for_good: u64,
    /// Copies that the broker holds back.
    pub(super) held: u64,
}

/// What nearly every message changes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) delivered: u64,
    pub(super) redelivered_flag: u64,
    pub(super) acknowledged: u64,
    pub(super) consumed: u64,
}

/// Counts of a batch by destination, added to the ledger's when dropped. It lives on the stack and holds no lock.
pub(super) struct Tallying<'a> {
    ledger: &'a Ledger,
    counted: usize,
    destinations: [u32; AT_ONCE],
    counts: [Counts; AT_ONCE],
    /// When the latest delivery of the batch was observed, on the run's clock.
    pub(super) latest_us: u64,
}

impl<'a> Tallying<'a> {
    pub(super) fn new(ledger: &'a Ledger) -> Self {
        Self { ledger, counted: 0, destinations: [0; AT_ONCE], counts: [Counts::default(); AT_ONCE], latest_us: 0 }
    }

    #[inline]
    pub(super) fn of(&mut self, destination: u32) -> &mut Counts {
        let known = self.destinations[..self.counted].iter().position(|known| *known == destination);
        let place = known.unwrap_or_else(|| {
            if self.counted == AT_ONCE {
                self.hand_in();
            }
            self.destinations[self.counted] = destination;
            self.counted += 1;
            self.counted - 1
        });
        &mut self.counts[place]
    }

    fn hand_in(&mut self) {
        for place in 0..self.counted {
            let counts = std::mem::take(&mut self.counts[place]);
            let Some(tally) = self.ledger.tallies.get(self.destinations[place] as usize) else { continue };
            let Tally { account, marks, .. } = &mut *lock(tally);
            account.delivered += counts.delivered;
            account.redelivered_flag += counts.redelivered_flag;
            account.acknowledged += counts.acknowledged;
            account.consumed += counts.consumed;
            if counts.delivered > 0 {
                marks.note(self.latest_us, account.delivered);
            }
        }
        self.counted = 0;
    }
}

impl Drop for Tallying<'_> {
    fn drop(&mut self) {
        self.hand_in();
    }
}

impl Ledger {
    /// Changes the ledger's own counts of a destination; nothing where there is no such destination.
    pub(super) fn tally(&self, destination: u32, change: impl FnOnce(&mut QueueAccount)) {
        if let Some(tally) = self.tallies.get(destination as usize) {
            change(&mut lock(tally).account);
        }
    }
}
