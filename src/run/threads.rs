//! The threads that fleets run on.
//!
//! Each has a runtime of its own, and a connection stays on one thread with all that use it: to hand a message from
//! thread to thread costs more than the message. Where the broker runs on the same machine it gets half of the
//! processors to itself.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Threads, each with its runtime. They end when this is dropped.
pub(super) struct Threads(Vec<Thread>);

struct Thread {
    handle: Handle,
    /// Dropped, it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Threads {
    /// Threads for fleets that share the machine with their broker, or have it to themselves.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(super) fn start(beside_broker: bool) -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if beside_broker { (processors / 2).max(1) } else { processors };
        (0..count).map(Thread::start).collect::<io::Result<_>>().map(Self)
    }

    /// Which thread connection number `number` is on.
    pub(super) fn place(&self, number: usize) -> usize {
        // There is at least one.
        number % self.0.len()
    }

    /// The thread of connection number `number`.
    pub(super) fn of(&self, number: usize) -> &Handle {
        &self.0[self.place(number)].handle
    }

    /// Does `work` on the thread of connection number `number`; none where it panicked.
    pub(super) async fn on<T: Send + 'static>(
        &self,
        number: usize,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let mut task = JoinSet::new();
        task.spawn_on(work, self.of(number));
        task.join_next().await?.ok()
    }
}

impl Thread {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name(format!("fleet-{number}")).spawn(move || {
            // An error says that the other end is gone, which is the signal.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, _stop: stop })
    }
}
