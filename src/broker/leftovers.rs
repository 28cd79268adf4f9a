//! What a killed run left behind: found by its marks, removed where its owner is certainly gone.

use std::path::PathBuf;

use super::error::BrokerError;
use super::process;
use crate::engine::{self, LABEL_RUN, Owner};

/// A broker, or another server of a run, whose owner is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The run that started it.
    pub run: String,
    /// Process id that the owner had.
    pub pid: u32,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Container(String),
    Directory(PathBuf),
}

impl std::fmt::Display for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.what {
            What::Container(id) => write!(f, "the container {}", id.get(..12).unwrap_or(id))?,
            What::Directory(path) => write!(f, "the local broker in {}", path.display())?,
        }
        write!(f, " of run {} (process {}, which is gone)", self.run, self.pid)
    }
}

/// Finds them. Where Docker cannot be reached there are no containers to find.
pub async fn leftovers() -> Vec<Leftover> {
    let mut found = Vec::new();
    if let Ok(docker) = engine::connect().await {
        for container in engine::labelled(&docker, LABEL_RUN.to_owned()).await.unwrap_or_default() {
            if let Some(owner) = Owner::from_labels(&container.labels).filter(Owner::is_gone) {
                found.push(Leftover { run: owner.run, pid: owner.pid, what: What::Container(container.id) });
            }
        }
    }
    for (directory, owner) in process::directories() {
        if owner.is_gone() {
            found.push(Leftover { run: owner.run, pid: owner.pid, what: What::Directory(directory) });
        }
    }
    found
}

/// Removes one.
///
/// # Errors
/// Where it is still there afterwards.
pub async fn remove(leftover: &Leftover) -> Result<(), BrokerError> {
    match &leftover.what {
        What::Container(id) => Ok(engine::remove(&engine::connect().await?, id).await?),
        What::Directory(path) => {
            let path = path.clone();
            let removed = tokio::task::spawn_blocking(move || process::remove_directory(&path)).await;
            removed.unwrap_or_else(|error| {
                Err(BrokerError::system("remove a broker's directory")(std::io::Error::other(error)))
            })
        }
    }
}
