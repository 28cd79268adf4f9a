//! Who started a container or a local broker: enough to tell, later and from another process, whether the one who did
//! still runs.
//!
//! A process id alone is not enough: ids are used again. The start time of the process, counted by the kernel since
//! boot, and the id of the boot tell the two apart.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::procfs;

/// Label of a container: the run that started it.
pub const LABEL_RUN: &str = "lurcher.run";
const LABEL_PID: &str = "lurcher.pid";
const LABEL_START: &str = "lurcher.start";
const LABEL_BOOT: &str = "lurcher.boot";
const LABEL_HOST: &str = "lurcher.host";

/// A process on a machine, told apart from every other one that has been or will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub run: String,
    pub pid: u32,
    /// In clock ticks since boot; 0 where the system does not tell.
    pub start: u64,
    pub boot: String,
    pub host: String,
}

impl Owner {
    /// This process.
    pub fn this(run: &str) -> Self {
        let pid = std::process::id();
        Self {
            run: run.to_owned(),
            pid,
            start: procfs::stat(pid).map_or(0, |stat| stat.start_ticks),
            boot: boot_id(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    pub fn labels(&self) -> [(&'static str, String); 5] {
        [
            (LABEL_RUN, self.run.clone()),
            (LABEL_PID, self.pid.to_string()),
            (LABEL_START, self.start.to_string()),
            (LABEL_BOOT, self.boot.clone()),
            (LABEL_HOST, self.host.clone()),
        ]
    }

    pub fn from_labels(labels: &HashMap<String, String>) -> Option<Self> {
        let text = |key: &str| labels.get(key).cloned();
        Some(Self {
            run: text(LABEL_RUN)?,
            pid: text(LABEL_PID)?.parse().ok()?,
            start: text(LABEL_START)?.parse().ok()?,
            // An empty label is not kept by every engine.
            boot: text(LABEL_BOOT).unwrap_or_default(),
            host: text(LABEL_HOST).unwrap_or_default(),
        })
    }

    /// Whether it is certain that the owner no longer runs. An owner on another machine, which a shared engine may
    /// show, is never gone as far as we can tell.
    pub fn is_gone(&self) -> bool {
        // A process that has ended and was not yet waited for does nothing any more.
        let running = |pid| procfs::stat(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X'));
        self.is_gone_seen_from(&Self::this(""), |pid| running(pid).map(|stat| stat.start_ticks))
    }

    fn is_gone_seen_from(&self, here: &Self, start_of: impl Fn(u32) -> Option<u64>) -> bool {
        if self.host != here.host || here.start == 0 {
            return false;
        }
        self.boot != here.boot || start_of(self.pid) != Some(self.start)
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pid: u32, start: u64, boot: &str, host: &str) -> Owner {
        Owner { run: "r".to_owned(), pid, start, boot: boot.to_owned(), host: host.to_owned() }
    }

    #[test]
    fn a_recycled_pid_is_told_apart() {
        let here = owner(1, 5, "b", "h");
        let alive = |pid: u32| (pid == 42).then_some(700);
        assert!(!owner(42, 700, "b", "h").is_gone_seen_from(&here, alive), "it runs");
        assert!(owner(42, 699, "b", "h").is_gone_seen_from(&here, alive), "another process has its id");
        assert!(owner(43, 700, "b", "h").is_gone_seen_from(&here, alive), "nobody has its id");
        assert!(owner(42, 700, "a", "h").is_gone_seen_from(&here, alive), "the machine was booted since");
        assert!(!owner(43, 700, "b", "other").is_gone_seen_from(&here, alive), "another machine's");
    }

    #[test]
    fn labels_read_back() {
        let this = Owner::this("run-1");
        let labels = this.labels().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(Owner::from_labels(&labels), Some(this.clone()));
        assert!(!this.is_gone(), "this process runs");
    }
}
