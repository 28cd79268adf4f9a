//! The next change of a stage or of a state, as something that a wait can poll beside others without an allocation each time.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::watch;

type Change<T> = Pin<Box<dyn Future<Output = watch::Receiver<T>> + Send>>;

/// Watches for changes.
pub(super) struct Changes<T>(Change<T>);

impl<T: Send + Sync + 'static> Changes<T> {
    /// Changes after the one that `seen` has seen last.
    pub(super) fn of(seen: &watch::Receiver<T>) -> Self {
        Self(change(seen.clone()))
    }

    /// Ready once for each change. Never again where nobody is left to change anything.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx).map(|seen| self.0 = change(seen))
    }
}

fn change<T: Send + Sync + 'static>(mut seen: watch::Receiver<T>) -> Change<T> {
    Box::pin(async move {
        if seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        seen
    })
}
