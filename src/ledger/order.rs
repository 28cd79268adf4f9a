//! In which order one subscriber saw the messages of each publisher.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::stamp::Stamp;

/// The highest sequence that one subscriber saw, of each publisher at each destination.
#[derive(Debug, Clone, Default)]
pub struct Order {
    highest: HashMap<u64, u64, BuildHasherDefault<Spread>>,
}

impl Order {
    /// Notes a first delivery; true where a higher sequence came before it.
    #[inline]
    pub(super) fn is_overtaken(&mut self, destination: u32, stamp: &Stamp) -> bool {
        let key = u64::from(destination) << 16 | u64::from(stamp.publisher);
        let Some(highest) = self.highest.get_mut(&key) else {
            self.highest.insert(key, stamp.sequence);
            return false;
        };
        let overtaken = stamp.sequence < *highest;
        *highest = (*highest).max(stamp.sequence);
        overtaken
    }
}

/// Spreads small numbers over 64 bits by a multiplication with the golden ratio. Nobody chooses these keys to collide,
/// and the standard hasher, which guards against that, would cost more than all the rest of a delivery.
#[derive(Debug, Clone, Copy, Default)]
struct Spread(u64);

impl Hasher for Spread {
    #[inline]
    fn write_u64(&mut self, n: u64) {
        let product = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The table takes its place from the low bits and its tag from the high ones.
        self.0 = product ^ (product >> 32);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 << 8 | u64::from(*byte)));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
