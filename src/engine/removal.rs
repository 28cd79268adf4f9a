//! A container's end: removed when its owner says so, else when the owner is dropped, whatever came before.

use std::time::Duration;

use testcontainers::bollard::Docker;
use tokio::task::AbortHandle;

use super::{EngineError, connect, labelled, remove};

/// Removes all containers with a label when dropped.
#[derive(Debug)]
pub struct Removal {
    /// `KEY=VALUE`; the container's id is not known while the engine makes it.
    label: String,
    /// The task in which the engine makes it; once that has ended, there will be no container that is not there now.
    making: AbortHandle,
    done: bool,
}

impl Removal {
    /// Of what `making` makes, with the label `key`, whose value no other container has.
    pub fn new(key: &str, value: &str, making: AbortHandle) -> Self {
        Self { label: format!("{key}={value}"), making, done: false }
    }

    /// Removes it, and checks that it is gone.
    pub async fn remove(mut self) -> Result<(), EngineError> {
        remove_all(&connect().await?, &self.label).await?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        if !self.done {
            let making = self.making.clone();
            remove_all_blocking(&self.label, move || !making.is_finished());
        }
    }
}

/// Removes the containers with a label and checks that none is left.
async fn remove_all(docker: &Docker, label: &str) -> Result<(), EngineError> {
    for container in labelled(docker, label.to_owned()).await? {
        remove(docker, &container.id).await?;
    }
    match labelled(docker, label.to_owned()).await?.first() {
        None => Ok(()),
        Some(container) => Err(EngineError::Remains {
            what: format!("the container {}", container.id),
            reason: "it is still listed".to_owned(),
            fix: format!("remove it with `docker rm -fv {}`", container.id),
        }),
    }
}

/// [`remove_all`] for a destructor: on a thread of its own, because the caller's runtime may be gone or be the one
/// that is blocked. While `is_making` the engine has not yet answered, and the container may be listed only a while
/// later.
fn remove_all_blocking(label: &str, is_making: impl Fn() -> bool + Send + 'static) {
    /// Half a minute; a runtime with one thread makes no progress while that thread waits here.
    const LOOKS: u32 = 150;
    let label = label.to_owned();
    let removal = std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let Ok(docker) = connect().await else { return };
            for _ in 0..LOOKS {
                // Asked before the look: what was made until then is listed.
                let more_may_come = is_making();
                let _left_for_the_next_start = remove_all(&docker, &label).await;
                if !more_may_come {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    });
    let _panicked = removal.join();
}
