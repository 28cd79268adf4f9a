//! When a broker last took no publishes.

use std::time::Instant;

use super::Notice;

/// What the notices so far say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Blocking {
    is_blocked: bool,
    /// When it last ended.
    ended: Option<Instant>,
}

impl Blocking {
    /// The broker said this at `now`.
    pub(super) fn note(&mut self, notice: &Notice, now: Instant) {
        let was_blocked = std::mem::replace(&mut self.is_blocked, matches!(notice, Notice::Blocked { .. }));
        if was_blocked && !self.is_blocked {
            self.ended = Some(now);
        }
    }

    /// The last moment up to `now` at which it took none.
    pub(super) fn last(&self, now: Instant) -> Option<Instant> {
        if self.is_blocked { Some(now) } else { self.ended }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_now_as_long_as_it_lasts_and_then_the_moment_of_its_end() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut blocking = Blocking::default();
        assert_eq!(blocking.last(at(1)), None);
        blocking.note(&Notice::Unblocked, at(1));
        assert_eq!(blocking.last(at(1)), None, "it never was");
        blocking.note(&Notice::Blocked { reason: "low on memory".to_owned() }, at(2));
        assert_eq!((blocking.last(at(3)), blocking.last(at(4))), (Some(at(3)), Some(at(4))));
        blocking.note(&Notice::Unblocked, at(5));
        blocking.note(&Notice::Unblocked, at(6));
        assert_eq!(blocking.last(at(9)), Some(at(5)));
    }
}
