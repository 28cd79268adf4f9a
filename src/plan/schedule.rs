//! When each message is to be sent: a function of its number, not a clock that ticks.
//!
//! A fleet's send number `k` is due when the offered load, summed since the start, first reaches `k`. Its publishers
//! take the sends in turn, so that the fleet's rate holds whatever its size, and a publisher that falls behind still
//! knows when each message should have gone: latency is measured from there.

use serde::{Deserialize, Serialize};

/// Offered load of a fleet over time, from the start of the measured load. Before it, during the warm-up, and where
/// nothing is said, the rate is that of the nearest segment's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RateProfile {
    /// Straight pieces, one after the other.
    pub segments: Vec<RateSegment>,
    /// Whether the segments repeat; else the last rate stays.
    pub cycle: bool,
}

/// A piece of a rate that changes in a straight line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RateSegment {
    /// How long it lasts, in microseconds.
    pub lasting_us: u64,
    /// Messages per second at its beginning.
    pub from_per_s: f64,
    /// Messages per second at its end.
    pub to_per_s: f64,
}

impl RateSegment {
    fn seconds(&self) -> f64 {
        self.lasting_us as f64 / 1e6
    }

    /// Sends in the whole piece.
    fn sends(&self) -> f64 {
        (self.from_per_s + self.to_per_s) / 2.0 * self.seconds()
    }

    /// Seconds into the piece until `sends` were made; `sends` is at most those of the piece.
    fn seconds_until(&self, sends: f64) -> f64 {
        let slope = (self.to_per_s - self.from_per_s) / self.seconds();
        if slope == 0.0 {
            return sends / self.from_per_s;
        }
        // sends = from·t + slope·t²/2, solved in the form that does not cancel for small slopes.
        let root = (self.from_per_s * self.from_per_s + 2.0 * slope * sends).max(0.0).sqrt();
        2.0 * sends / (self.from_per_s + root)
    }
}

impl RateProfile {
    /// The same rate for ever.
    pub fn constant(per_second: f64) -> Self {
        Self {
            segments: vec![RateSegment { lasting_us: 1_000_000, from_per_s: per_second, to_per_s: per_second }],
            cycle: false,
        }
    }

    /// Messages per second at the beginning, which is also the rate of the warm-up.
    pub fn initial_per_s(&self) -> f64 {
        self.segments.first().map_or(0.0, |segment| segment.from_per_s)
    }

    fn last_per_s(&self) -> f64 {
        self.segments.last().map_or(0.0, |segment| segment.to_per_s)
    }

    /// Largest rate that it ever asks for, in messages per second.
    pub fn peak_per_s(&self) -> f64 {
        self.segments.iter().fold(0.0, |peak, segment| peak.max(segment.from_per_s).max(segment.to_per_s))
    }

    /// Seconds from the start of the measured load until send number `sends` is due; none: never.
    fn seconds_until(&self, mut sends: f64) -> Option<f64> {
        let per_round: f64 = self.segments.iter().map(RateSegment::sends).sum();
        let mut seconds = 0.0;
        if self.cycle && per_round > 0.0 {
            let rounds = (sends / per_round).floor();
            seconds += rounds * self.segments.iter().map(RateSegment::seconds).sum::<f64>();
            sends -= rounds * per_round;
        }
        for segment in &self.segments {
            if sends < segment.sends() {
                return Some(seconds + segment.seconds_until(sends));
            }
            sends -= segment.sends();
            seconds += segment.seconds();
        }
        let rest = self.last_per_s();
        (rest > 0.0 && !self.cycle).then(|| seconds + sends / rest)
    }

    /// When send number `k` of the fleet is due, in microseconds after the start of a warm-up that lasts
    /// `warmup_us`; none: never.
    pub fn due_us(&self, k: u64, warmup_us: u64) -> Option<u64> {
        let initial = self.initial_per_s();
        let in_warmup = initial * warmup_us as f64 / 1e6;
        let sends = k as f64;
        if sends < in_warmup {
            return Some((sends / initial * 1e6).round() as u64);
        }
        self.seconds_until(sends - in_warmup).map(|seconds| warmup_us.saturating_add((seconds * 1e6).round() as u64))
    }
}

/// The sends of one publisher, in order.
#[derive(Debug, Clone)]
pub struct Schedule<'a> {
    profile: &'a RateProfile,
    warmup_us: u64,
    /// First send of the fleet that is this publisher's, and how many publishers take turns.
    place: u64,
    publishers: u64,
    /// All sends are later by this much: the publisher's random start.
    start_us: u64,
    end_us: Option<u64>,
    messages: Option<u64>,
}

impl<'a> Schedule<'a> {
    /// The schedule of a publisher that takes the sends `place`, `place + publishers`, … of its fleet, each later by
    /// `start_us`, until `end_us` on the run's clock and `messages` of its own.
    pub fn new(
        profile: &'a RateProfile,
        warmup_us: u64,
        (place, publishers): (u64, u64),
        start_us: u64,
        end_us: Option<u64>,
        messages: Option<u64>,
    ) -> Self {
        Self { profile, warmup_us, place, publishers, start_us, end_us, messages }
    }

    /// When message `seq` is due on the run's clock, in microseconds; none: it is not planned.
    pub fn due_us(&self, seq: u64) -> Option<u64> {
        if self.messages.is_some_and(|limit| seq >= limit) {
            return None;
        }
        let k = seq.checked_mul(self.publishers)?.checked_add(self.place)?;
        let due = self.profile.due_us(k, self.warmup_us)?.saturating_add(self.start_us);
        (self.end_us.is_none_or(|end| due < end)).then_some(due)
    }

    /// How many messages are due before `until_us` on the run's clock; none where that has no end.
    pub fn planned_before(&self, until_us: u64) -> u64 {
        // Due times never decrease, so the first message that is not due can be searched for.
        let due = |seq| self.due_us(seq).is_some_and(|due| due < until_us);
        let mut high = 1;
        while due(high - 1) {
            high *= 2;
        }
        let mut low = high / 2;
        while low < high {
            let middle = low + (high - low) / 2;
            if due(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(pieces: &[(u64, f64, f64)], cycle: bool) -> RateProfile {
        let segments = pieces
            .iter()
            .map(|&(seconds, from_per_s, to_per_s)| RateSegment {
                lasting_us: seconds * 1_000_000,
                from_per_s,
                to_per_s,
            })
            .collect();
        RateProfile { segments, cycle }
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        let rate = RateProfile::constant(1000.0);
        assert_eq!([0, 1, 2, 60_000].map(|k| rate.due_us(k, 0)), [0, 1000, 2000, 60_000_000].map(Some));
    }

    #[test]
    fn the_warm_up_uses_the_first_rate() {
        let steps = profile(&[(2, 100.0, 100.0), (2, 200.0, 200.0)], false);
        // One second of warm-up is 100 sends; two seconds of the first step 200 more.
        assert_eq!(steps.due_us(100, 1_000_000), Some(1_000_000));
        assert_eq!(steps.due_us(300, 1_000_000), Some(3_000_000));
        assert_eq!(steps.due_us(302, 1_000_000), Some(3_010_000));
    }

    #[test]
    fn a_ramp_sends_its_area() {
        let ramp = profile(&[(10, 0.0, 1000.0)], false);
        // 5,000 sends under the triangle; then the last rate stays.
        assert_eq!(ramp.due_us(5000, 0), Some(10_000_000));
        assert_eq!(ramp.due_us(6000, 0), Some(11_000_000));
        assert_eq!(ramp.due_us(1250, 0), Some(5_000_000));
    }

    #[test]
    fn a_cycle_comes_round_and_may_pause() {
        let cycle = profile(&[(1, 10.0, 10.0), (1, 0.0, 0.0)], true);
        assert_eq!(cycle.due_us(9, 0), Some(900_000));
        assert_eq!(cycle.due_us(10, 0), Some(2_000_000));
        assert_eq!(profile(&[(1, 0.0, 0.0)], true).due_us(0, 0), None);
    }

    #[test]
    fn publishers_share_the_sends_in_turn() {
        let rate = RateProfile::constant(1000.0);
        let second = Schedule::new(&rate, 0, (1, 4), 0, Some(10_000_000), None);
        assert_eq!(second.due_us(0), Some(1000));
        assert_eq!(second.due_us(1), Some(5000));
        assert_eq!(second.planned_before(u64::MAX), 2500);
    }

    proptest! {
        #[test]
        fn due_times_never_decrease(
            pieces in prop::collection::vec((1u64..5, 0.0f64..5000.0, 0.0f64..5000.0), 1..5),
            cycle: bool,
            warmup_us in 0u64..3_000_000,
            k in 0u64..100_000,
        ) {
            let profile = profile(&pieces, cycle);
            if let (Some(this), Some(next)) = (profile.due_us(k, warmup_us), profile.due_us(k + 1, warmup_us)) {
                prop_assert!(this <= next, "{} then {}", this, next);
            }
        }

        #[test]
        fn publishers_together_plan_the_fleet(
            per_second in 1.0f64..5000.0, publishers in 1u64..9, seconds in 1u64..20,
        ) {
            let rate = RateProfile::constant(per_second);
            let end = Some(seconds * 1_000_000);
            let planned = |place, of| Schedule::new(&rate, 0, (place, of), 0, end, None).planned_before(u64::MAX);
            let apart: u64 = (0..publishers).map(|place| planned(place, publishers)).sum();
            prop_assert_eq!(apart, planned(0, 1));
        }
    }
}
