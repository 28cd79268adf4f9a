//! Whose doing a late send is: the generator's, or the broker's that held it up.

/// Watches one publisher's lateness.
///
/// A publisher that is held up, by a full confirm window, a blocked or lost connection or a socket that takes nothing,
/// sends late what falls due meanwhile; that lateness is the broker's and belongs into the latency. All other lateness is
/// the generator's own, and too much of it makes the measurement worthless.
#[derive(Debug, Default)]
pub(super) struct Pace {
    held_since_us: Option<u64>,
    /// What was due up to here could not have gone earlier.
    excused_until_us: u64,
    held_us: u64,
    /// It is held up by its own death, which nobody else has to answer for.
    is_stopped: bool,
}

impl Pace {
    /// A message is due and cannot go.
    pub(super) fn hold(&mut self, now_us: u64) {
        self.held_since_us.get_or_insert(now_us);
    }

    /// The publisher dies on purpose: what is due cannot go, and that is no time that anything held it up.
    pub(super) fn stop(&mut self, now_us: u64) {
        self.release(now_us);
        self.hold(now_us);
        self.is_stopped = true;
    }

    /// Messages can go again.
    pub(super) fn release(&mut self, now_us: u64) {
        if let Some(since) = self.held_since_us.take() {
            if !std::mem::take(&mut self.is_stopped) {
                self.held_us += now_us.saturating_sub(since);
            }
            self.excused_until_us = now_us;
        }
    }

    /// Whether messages are held up.
    pub(super) fn is_held(&self) -> bool {
        self.held_since_us.is_some()
    }

    /// The part of a send's lag that is the generator's own doing, in microseconds.
    pub(super) fn own_lag_us(&self, intended_us: u64, sent_us: u64) -> u64 {
        // What goes while others still wait went as soon as it could.
        if self.is_held() {
            return 0;
        }
        // What fell due while held waits no longer by our doing than since the release.
        sent_us.saturating_sub(intended_us.max(self.excused_until_us))
    }

    /// Time held up since the last call, in microseconds.
    pub(super) fn take_held_us(&mut self) -> u64 {
        std::mem::take(&mut self.held_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_excuses_what_fell_due_meanwhile_and_no_more() {
        let mut pace = Pace::default();
        assert_eq!(pace.own_lag_us(100, 150), 50);
        pace.hold(200);
        pace.hold(300);
        assert_eq!(pace.own_lag_us(100, 900), 0, "what trickles through a full window is not late by our doing");
        pace.release(1000);
        assert_eq!(pace.own_lag_us(250, 1000), 0);
        assert_eq!(pace.own_lag_us(250, 1700), 700, "what waits after the release is our own doing");
        assert_eq!(pace.own_lag_us(1200, 1250), 50);
        assert_eq!(pace.take_held_us(), 800);
        assert_eq!(pace.take_held_us(), 0);
    }

    #[test]
    fn who_is_dead_on_purpose_is_excused_and_not_held_up() {
        let mut pace = Pace::default();
        pace.hold(100);
        pace.stop(150);
        pace.hold(200);
        assert!(pace.is_held());
        pace.release(1000);
        assert_eq!((pace.own_lag_us(250, 1000), pace.take_held_us()), (0, 50));
        pace.hold(1000);
        pace.release(1100);
        assert_eq!(pace.take_held_us(), 100);
    }

    #[test]
    fn a_release_without_a_hold_excuses_nothing() {
        let mut pace = Pace::default();
        pace.release(1000);
        assert_eq!(pace.own_lag_us(0, 1000), 1000);
    }
}
