//! A timer finer than the runtime's, whose step is a millisecond: at 20,000 messages a second each would be late by it.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep_until};

/// One alarm, used again and again.
pub(super) enum Alarm {
    /// The kernel's own timer.
    Fine(AsyncFd<OwnedFd>),
    /// The runtime's, where the process may not open another file.
    Coarse(Pin<Box<Sleep>>),
}

impl Alarm {
    /// An alarm that is not set. Needs a runtime.
    pub(super) fn new() -> Self {
        match fine() {
            Ok(timer) => Self::Fine(timer),
            Err(_) => Self::Coarse(Box::pin(sleep_until(Instant::now()))),
        }
    }

    /// Sets it to go off after `pause`, in place of what it was set to.
    pub(super) fn set(&mut self, pause: Duration) {
        match self {
            Self::Fine(timer) => {
                // Zero would turn it off.
                let pause = pause.max(Duration::from_nanos(1));
                let after = Timespec {
                    tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: pause.subsec_nanos().into(),
                };
                let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: after };
                // The only errors are a bad descriptor and a time that is none; both are excluded here.
                let _ = rustix::time::timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once);
            }
            Self::Coarse(sleep) => sleep.as_mut().reset(Instant::now() + pause),
        }
    }

    /// Ready once it has gone off. Ask only after [`Self::set`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = match self {
            Self::Fine(timer) => timer,
            Self::Coarse(sleep) => return sleep.as_mut().poll(cx),
        };
        loop {
            // A runtime that shuts down ends this task as well.
            let Ok(mut ready) = ready!(timer.poll_read_ready(cx)) else { return Poll::Ready(()) };
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0; 8])?));
            // An alarm that was set anew meanwhile has nothing to read: its readiness was that of the old one.
            if let Ok(Ok(_)) = read {
                return Poll::Ready(());
            }
        }
    }
}

// What took its place is `unsafe`: it asks its caller to vouch for what an `OwnedFd` guarantees by its type.
#[expect(deprecated)]
fn fine() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    AsyncFd::new(rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn goes_off_after_its_pause_and_not_before(mut alarm: Alarm) {
        for pause in [0, 300, 2_000] {
            let pause = Duration::from_micros(pause);
            let set_at = std::time::Instant::now();
            alarm.set(pause);
            poll_fn(|cx| alarm.poll(cx)).await;
            assert!(set_at.elapsed() >= pause);
        }
        // Set anew before it goes off, only the new time counts.
        alarm.set(Duration::from_millis(1));
        let _ = poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await;
        std::thread::sleep(Duration::from_millis(5));
        let set_at = std::time::Instant::now();
        alarm.set(Duration::from_millis(20));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert!(set_at.elapsed() >= Duration::from_millis(20), "the old alarm went off");
    }

    #[tokio::test]
    async fn both_kinds_go_off_in_time() {
        let fine = Alarm::new();
        assert!(matches!(fine, Alarm::Fine(_)));
        goes_off_after_its_pause_and_not_before(fine).await;
        goes_off_after_its_pause_and_not_before(Alarm::Coarse(Box::pin(sleep_until(Instant::now())))).await;
    }
}
