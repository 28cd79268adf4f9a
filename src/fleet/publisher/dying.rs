//! A publisher whose member dies between a publish and its confirm.

use std::time::Duration;

use super::PublisherTask;
use crate::client::{ClientError, PublisherLink};
use crate::fleet::Step;
use crate::plan::Again;
use crate::stamp::{Reading, Stamp};

/// A broker that takes nothing does not keep a producer alive.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

impl PublisherTask {
    /// Of the messages that are due, those up to and including the one at which the member dies.
    pub(super) fn cut_due_at_death(&mut self) {
        if !self.member.is_planned() {
            return;
        }
        for place in 0..self.due.len() {
            let sequence = self.next + place as u64;
            let stamp =
                Stamp { run: self.shared.run, publisher: self.me.id, attempt: 0, sequence, intended_us: 0, lag_us: 0 };
            self.doomed = self.member.strikes(Step::Published, std::iter::once((&Reading::Ours(stamp), true)));
            if self.doomed.is_some() {
                self.due.truncate(place + 1);
                return;
            }
        }
    }

    /// Whether what the broker says comes too late for this incarnation.
    pub(super) fn is_dying(&self) -> bool {
        self.doomed.is_some() || self.member.has_died()
    }

    /// Dies, where it is to: what it has published is with the broker, and no answer to it was taken.
    pub(super) async fn die(&mut self, link: &mut dyn PublisherLink, is_published: bool) -> Option<ClientError> {
        let error = match self.doomed.take() {
            Some(death) => {
                if is_published {
                    // Should that fail, the connection is gone or hangs: then it dies all the same.
                    let _ = tokio::time::timeout(FLUSH_WITHIN, link.flush()).await;
                }
                self.member.die(death).await
            }
            None if self.member.has_died() => self.member.death(),
            None => return None,
        };
        self.answers.told().clear();
        if self.fleet.on_unconfirmed == Again::Abandon {
            // Only an outbox would outlive the process.
            self.again.clear();
        }
        Some(error)
    }
}
