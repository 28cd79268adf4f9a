//! How long a consumer was held up by messages that it fails, and how much of that fell to those behind them.

/// Times at which a consumer took nothing else, in order.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    /// When each began and ended, in microseconds on the run's clock, and how long all up to its end were.
    times: Vec<(u64, u64, u64)>,
}

impl Blocked {
    /// It was held up from `begun_us` to `ended_us`, after all that was noted before.
    pub(super) fn note(&mut self, begun_us: u64, ended_us: u64) {
        let (_, last_us, before_us) = self.times.last().copied().unwrap_or_default();
        let begun_us = begun_us.max(last_us);
        if ended_us > begun_us {
            self.times.push((begun_us, ended_us, before_us + (ended_us - begun_us)));
        }
    }

    /// How much of the time from `from_us` to `to_us` it was held up.
    pub(super) fn between(&self, from_us: u64, to_us: u64) -> u64 {
        self.until(to_us).saturating_sub(self.until(from_us))
    }

    /// How long it was held up until `at_us`, all together.
    fn until(&self, at_us: u64) -> u64 {
        let over = self.times.partition_point(|(_, ended_us, _)| *ended_us <= at_us);
        let whole = over.checked_sub(1).map_or(0, |last| self.times[last].2);
        let part = self.times.get(over).map_or(0, |(begun_us, _, _)| at_us.saturating_sub(*begun_us));
        whole + part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_between_is_charged_with_its_part() {
        let mut blocked = Blocked::default();
        blocked.note(100, 200);
        blocked.note(300, 350);
        for (from, to, expected) in
            [(0, 50, 0), (0, 150, 50), (0, 400, 150), (150, 320, 70), (200, 300, 0), (310, 340, 30), (360, 400, 0)]
        {
            assert_eq!(blocked.between(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn no_time_counts_twice() {
        let mut blocked = Blocked::default();
        blocked.note(100, 200);
        blocked.note(150, 250);
        blocked.note(240, 245);
        assert_eq!(blocked.between(0, 1_000), 150);
    }
}
