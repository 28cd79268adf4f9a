//! Medians, spreads, and whether a target was met. Pure; `tests/bench_peers.rs` holds it to its word.

use serde::Serialize;

/// Several measurements of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many.
    pub count: usize,
}

impl Spread {
    /// None where there is nothing to spread, or where something is not a number.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0;
        Some(Self { median, min: sorted[0], max: sorted[count - 1], count })
    }
}

/// What a ratio, or a figure, has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// How a target was met.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It was.
    Met,
    /// It was not, by this share of the bound.
    MissedBy(f64),
}

impl Bound {
    /// Holds `value` against the bound. What is not a number misses it.
    pub fn judge(self, value: f64) -> Judgement {
        let (met, off) = match self {
            Self::AtLeast(bound) => (value >= bound, (bound - value) / bound),
            Self::AtMost(bound) => (value <= bound, (value - bound) / bound),
        };
        if met { Judgement::Met } else { Judgement::MissedBy(off) }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
        }
    }
}

impl std::fmt::Display for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Met => f.write_str("met"),
            Self::MissedBy(share) if share.is_finite() => write!(f, "missed by {:.1} %", share * 100.0),
            Self::MissedBy(_) => f.write_str("missed: there is no figure"),
        }
    }
}

/// `over ÷ under` within each round that has both: what changes from one round to the next, such as the machine's
/// temper, falls out. Rounds are told by their number, which no side has twice.
pub fn ratios(over: &[(u32, f64)], under: &[(u32, f64)]) -> Vec<f64> {
    let in_round = |round: u32| under.iter().find(|(of, _)| *of == round).map(|(_, value)| *value);
    over.iter().filter_map(|(round, value)| in_round(*round).map(|under| value / under)).collect()
}

/// The order of `count` contenders in a round: each round begins with the next one, and every other round goes the other
/// way around, so that nobody always follows the same one.
pub fn order(round: u32, count: usize) -> Vec<usize> {
    let first = round as usize;
    let place = |place: usize| if round.is_multiple_of(2) { first + place } else { first + count - place };
    (0..count).map(|at| place(at) % count).collect()
}
