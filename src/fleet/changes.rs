//! The next change of stage, as something that a wait can poll beside others without an allocation each time.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::watch;

use super::Stage;

type Change = Pin<Box<dyn Future<Output = watch::Receiver<Stage>> + Send>>;

/// Watches for changes of stage.
pub(super) struct Changes(Change);

impl Changes {
    /// Changes after the one that `stage` has seen last.
    pub(super) fn of(stage: &watch::Receiver<Stage>) -> Self {
        Self(change(stage.clone()))
    }

    /// Ready once for each time that the stage changed. Never again where the conductor is gone.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx).map(|stage| self.0 = change(stage))
    }
}

fn change(mut stage: watch::Receiver<Stage>) -> Change {
    Box::pin(async move {
        if stage.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        stage
    })
}
