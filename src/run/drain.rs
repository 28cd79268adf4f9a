//! After the load: queues are emptied, dead letters sent back and past messages published once more, as the plan says.

use super::audit::Auditor;
use super::evidence::Course;
use super::fleets::Fleets;
use super::redrive::Redriver;
use super::replay::Replayer;
use super::{Run, interrupted};
use crate::fleet::Stage;
use crate::record::{Phase, RedriveRow, ReplayRow};

impl Run<'_> {
    pub(super) fn auditor(&self) -> Auditor<'_> {
        Auditor {
            plan: &self.plan,
            endpoint: self.broker.endpoint(),
            shared: &self.shared,
            destinations: &self.destinations,
        }
    }

    /// Waits until the queues are empty, sends back dead letters and publishes past messages as the plan says, and waits
    /// once more.
    pub(super) async fn drain(&self, fleets: &Fleets, course: &mut Course) -> (Vec<RedriveRow>, Vec<ReplayRow>) {
        let (auditor, mut redrives, mut replays) = (self.auditor(), Vec::new(), Vec::new());
        if interrupted(&self.interrupt) {
            return (redrives, replays);
        }
        course.enter(Phase::Drain).await;
        let _ = self.stage.send(Stage::Drain);
        tokio::select! {
            () = auditor.drain(fleets) => {}
            () = self.interruption() => return (redrives, replays),
        }
        if self.plan.redrives.is_empty() && self.plan.replays.is_empty() {
            return (redrives, replays);
        }
        course.enter(Phase::Redrive).await;
        fleets.mend();
        let replayer = Replayer { plan: &self.plan, endpoint: self.broker.endpoint(), shared: &self.shared };
        let redriver = Redriver {
            plan: &self.plan,
            endpoint: self.broker.endpoint(),
            shared: &self.shared,
            destinations: &self.destinations,
        };
        let sent_again = async {
            for redrive in &self.plan.redrives {
                redrives.push(redriver.carry_out(redrive).await);
            }
            for replay in &self.plan.replays {
                replays.push(replayer.carry_out(replay).await);
            }
            auditor.drain(fleets).await;
        };
        tokio::select! {
            () = sent_again => {}
            () = self.interruption() => {}
        }
        (redrives, replays)
    }
}
