//! A directory for temporary files that ends with its owner.
//!
//! The owner holds a lock on a file in it, which the kernel gives back when the owner ends, however it ends. Whoever
//! makes such a directory removes those first whose lock can be taken: a killed run left them.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;

const PREFIX: &str = "lurcher-store-";
const LOCK_FILE: &str = "owner.lock";

/// A text of 32 hexadecimal digits from the system's randomness: a password must not be a function of a seed.
pub(super) fn secret_text() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| StoreError::system("read the system's random numbers")(std::io::Error::other(error)))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// One directory, removed when dropped.
#[derive(Debug)]
pub(super) struct OwnDirectory {
    path: PathBuf,
    _lock: File,
}

impl OwnDirectory {
    /// Makes one that nobody else may look into. `users` own such directories too, where a server runs as another user.
    pub(super) fn create(users: &[u32]) -> Result<Self, StoreError> {
        sweep(&std::env::temp_dir(), users);
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(parent: &Path) -> Result<Self, StoreError> {
        let name = secret_text()?;
        let path = parent.join(format!("{PREFIX}{}", &name[..12]));
        let action = || format!("create {}", path.display());
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(StoreError::system(action()))?;
        let lock = File::create_new(path.join(LOCK_FILE)).map_err(StoreError::system(action()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| StoreError::system(action())(error.into()))?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, and says if it stays.
    pub(super) fn remove(&self) -> Result<(), StoreError> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::Remains {
                what: format!("the directory {}", self.path.display()),
                reason: error.to_string(),
                fix: format!("remove it with `rm -r {}`", self.path.display()),
            }),
            _ => Ok(()),
        }
    }
}

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        let _left_for_the_next_run = self.remove();
    }
}

/// Removes what killed runs left in `parent`.
fn sweep(parent: &Path, users: &[u32]) {
    let us = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok) {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // Not following links: the directory for temporary files is everybody's.
        let is_ours = |data: std::fs::Metadata| data.is_dir() && (data.uid() == us || users.contains(&data.uid()));
        if !named || !entry.metadata().is_ok_and(is_ours) {
            continue;
        }
        // Without the file it is being made at this moment, or being removed.
        let Ok(lock) = File::open(entry.path().join(LOCK_FILE)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _another_run_is_faster = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_owns_any_more_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let owned = OwnDirectory::create_in(parent.path()).unwrap();
        let left = parent.path().join(format!("{PREFIX}left"));
        let anothers = parent.path().join("another-store-left");
        for directory in [&left, &anothers] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join(LOCK_FILE), "").unwrap();
        }
        sweep(parent.path(), &[]);
        assert_eq!((owned.path().exists(), left.exists(), anothers.exists()), (true, false, true));
        drop(owned);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
