//! The first process of a broker on this system, whose descendants are the broker, as far as it can be found.

use std::sync::Arc;

use super::container::Container;
use super::process::Process;
use crate::engine::procfs;

/// Where to look for the process; looked up again when it is gone, because a node may be started again.
#[derive(Debug, Clone)]
pub(super) enum RootProcess {
    Container {
        container: Container,
        /// Whether the engine's process ids are this system's.
        local: bool,
    },
    Process(Arc<Process>),
}

impl RootProcess {
    pub(super) async fn find(&self) -> Option<u32> {
        match self {
            Self::Container { local: false, .. } => None,
            Self::Container { container, local: true } => {
                let pid = container.pid().await?;
                procfs::in_container(pid, container.id()).then_some(pid)
            }
            Self::Process(process) => process.pid(),
        }
    }
}
