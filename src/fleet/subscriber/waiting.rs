//! What a subscriber waits for.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use crate::client::{ClientError, Deliveries, SubscriberLink};
use crate::fleet::Stage;
use crate::fleet::changes::Changes;
use crate::fleet::lives::{Member, State};

/// An ack batch that does not fill is sent after this long.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// What a subscriber waits for beside deliveries.
pub(super) struct Waits {
    changes: Changes<Stage>,
    /// Of the member's state, where the plan has something in store for it.
    states: Option<Changes<State>>,
    flush: Pin<Box<Sleep>>,
    /// The flush is set: something waits for its ack batch to fill.
    filling: bool,
}

/// Why a subscriber woke.
pub(super) enum Woken {
    Received,
    Flush,
    Changed,
}

impl Waits {
    pub(super) fn new(stage: &watch::Receiver<Stage>, member: &Member) -> Self {
        let states = member.is_planned().then(|| Changes::of(member.states()));
        Self { changes: Changes::of(stage), states, flush: Box::pin(sleep(FLUSH_AFTER)), filling: false }
    }

    /// Waits for deliveries, takes up to `limit`, and where an ack batch is `filling`, waits only so long.
    pub(super) async fn wait(
        &mut self,
        link: &mut dyn SubscriberLink,
        deliveries: &mut Deliveries,
        (limit, filling): (usize, bool),
        member: &Member,
    ) -> Result<Woken, ClientError> {
        if filling && !self.filling {
            self.flush.as_mut().reset(Instant::now() + FLUSH_AFTER);
        }
        self.filling = filling;
        deliveries.clear();
        poll_fn(|cx| {
            // Who stands still, or is dead, takes nothing.
            if member.is_stalled() || member.has_died() {
                return Poll::Ready(Ok(Woken::Changed));
            }
            match link.poll_receive(cx, deliveries, limit) {
                Poll::Ready(received) => Poll::Ready(received.map(|()| Woken::Received)),
                Poll::Pending => self.poll_others(cx).map(Ok),
            }
        })
        .await
    }

    fn poll_others(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        if self.filling && self.flush.as_mut().poll(cx).is_ready() {
            self.filling = false;
            return Poll::Ready(Woken::Flush);
        }
        let state_changed = self.states.as_mut().is_some_and(|states| states.poll(cx).is_ready());
        if self.changes.poll(cx).is_ready() || state_changed {
            return Poll::Ready(Woken::Changed);
        }
        Poll::Pending
    }
}
