//! What the machine and this process say of themselves, from the kernel.

use std::time::{Duration, Instant, SystemTime};

use crate::record::HostFacts;

/// Processor time that this process used so far.
pub(super) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Resident memory of this process, now and at its largest, in bytes; 0 where the kernel does not tell.
pub(super) fn memory_bytes() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0)
    };
    (kib("VmRSS:") * 1024, kib("VmHWM:") * 1024)
}

/// The machine.
pub(super) fn facts() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory_kib = value(&read("/proc/meminfo"), "MemTotal");
    let memory_kib = memory_kib.and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok());
    HostFacts {
        os: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
        cpu: value(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        cpus: cpus(),
        memory_bytes: memory_kib.unwrap_or(0) * 1024,
    }
}

/// Processors that this process may use.
pub(super) fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32)
}

/// Watches the wall clock against the monotonic one.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockWatch {
    wall: SystemTime,
    monotonic: Instant,
}

impl ClockWatch {
    pub(super) fn begin() -> Self {
        Self { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    /// How far the wall clock moved against the monotonic one, in microseconds.
    pub(super) fn step_us(&self) -> i64 {
        let monotonic = self.monotonic.elapsed().as_micros() as i64;
        let wall = match SystemTime::now().duration_since(self.wall) {
            Ok(ahead) => ahead.as_micros() as i64,
            Err(behind) => -(behind.duration().as_micros() as i64),
        };
        wall - monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells() {
        let facts = facts();
        assert!(facts.cpus > 0 && facts.memory_bytes > 0, "{facts:?}");
        let (now, peak) = memory_bytes();
        assert!(now > 0 && peak >= now);
        let before = cpu_time();
        let spun: u64 = (0..5_000_000u64).fold(0, |sum, n| sum.wrapping_add(n * n));
        assert!(std::hint::black_box(spun) > 0 && cpu_time() > before);
    }
}
