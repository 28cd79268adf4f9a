//! Offending messages as they are observed: listed up to a limit for each class, counted without one.

use std::collections::BTreeMap;

use super::account::{Cause, ViolationClass};
use crate::stamp::Stamp;

/// Most offences that are listed, for each class. The counts are exact beyond it.
pub(super) const LISTED_PER_CLASS: usize = 100_000;

/// One offence, small enough to keep many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offence {
    pub(super) class: ViolationClass,
    pub(super) cause: Option<Cause>,
    pub(super) destination: Option<u32>,
    pub(super) stamp: Option<Stamp>,
    pub(super) observed_us: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Offences {
    listed: BTreeMap<ViolationClass, Vec<Offence>>,
    total: u64,
}

impl Offences {
    pub(super) fn push(&mut self, offence: Offence) {
        self.total += 1;
        let listed = self.listed.entry(offence.class).or_default();
        if listed.len() < LISTED_PER_CLASS {
            listed.push(offence);
        }
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = &Offence> {
        self.listed.values().flatten()
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }
}
