//! What `/proc` says about processes: start times, trees, CPU and memory. Empty answers where there is no `/proc`.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One line of `/proc/<pid>/stat`, what is used of it (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub parent: u32,
    /// `Z` is a process that has ended and was not yet waited for.
    pub state: char,
    /// Own CPU time and that of children that were waited for, in clock ticks.
    pub cpu_ticks: u64,
    /// In clock ticks since boot.
    pub start_ticks: u64,
    pub resident_pages: u64,
}

pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(line: &str) -> Option<Stat> {
    // The name in parentheses may itself hold spaces and parentheses.
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        state: fields.first()?.chars().next()?,
        // Children's times can be negative in proc(5)'s types only; the kernel counts up.
        cpu_ticks: number(14)? + number(15)? + number(16)? + number(17)?,
        start_ticks: number(22)?,
        resident_pages: number(24)?,
    })
}

fn pids() -> Vec<u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// CPU time and memory of a process and its descendants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeUse {
    pub cpu_ticks: u64,
    pub resident_pages: u64,
}

/// Adds up `root` and its descendants; none where `root` is gone.
pub fn tree_use(root: u32) -> Option<TreeUse> {
    let stats: HashMap<u32, Stat> = pids().into_iter().filter_map(|pid| Some((pid, stat(pid)?))).collect();
    sum_tree(root, &stats)
}

fn sum_tree(root: u32, stats: &HashMap<u32, Stat>) -> Option<TreeUse> {
    stats.get(&root)?;
    let mut members = HashSet::from([root]);
    loop {
        let before = members.len();
        members.extend(
            stats.iter().filter(|(_, stat)| members.contains(&stat.parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if members.len() == before {
            break;
        }
    }
    let mut total = TreeUse::default();
    for stat in members.iter().filter_map(|pid| stats.get(pid)) {
        total.cpu_ticks += stat.cpu_ticks;
        total.resident_pages += stat.resident_pages;
    }
    Some(total)
}

/// Processes that were started with `variable=value` in their environment, ended ones left out. Only those that we
/// may look into: our own, or all for root.
pub fn with_environment(variable: &str, value: &Path) -> Vec<u32> {
    let mut wanted = format!("{variable}=").into_bytes();
    wanted.extend_from_slice(value.as_os_str().as_bytes());
    pids()
        .into_iter()
        .filter(|pid| stat(*pid).is_some_and(|stat| stat.state != 'Z'))
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted))
        })
        .collect()
}

/// Whether process `pid` is in the control group of the container `id`, which proves that the engine's process ids
/// are this system's.
pub fn in_container(pid: u32, id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(id))
}

/// Sockets of this system that listen; none where there is no `/proc`.
pub fn listening() -> Option<Vec<SocketAddr>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    if tables[0].is_err() {
        return None;
    }
    Some(tables.iter().flatten().flat_map(|table| table.lines().filter_map(parse_listening)).collect())
}

/// Where a line of `/proc/net/tcp` or `/proc/net/tcp6` listens (proc(5)).
fn parse_listening(line: &str) -> Option<SocketAddr> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    // Each 32 bits are printed as one number in the machine's byte order.
    let bytes: Vec<u8> = (0..address.len() / 8)
        .filter_map(|word| u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok())
        .flat_map(u32::to_ne_bytes)
        .collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_whose_name_has_parentheses() {
        let line = "1133 (beam (x) smp) S 1100 1 1 0 -1 4194560 10 9 0 0 100 20 3 4 20 0 1 0 272822 1044480 131 184 0";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.state, stat.cpu_ticks), (1100, 'S', 127));
        assert_eq!((stat.start_ticks, stat.resident_pages), (272_822, 131));
    }

    #[test]
    fn adds_up_a_tree_and_nothing_else() {
        let stat = |parent| Stat { parent, state: 'S', cpu_ticks: 10, start_ticks: 0, resident_pages: 1 };
        let stats = HashMap::from([(5, stat(1)), (6, stat(5)), (3, stat(6)), (9, stat(1))]);
        assert_eq!(sum_tree(5, &stats), Some(TreeUse { cpu_ticks: 30, resident_pages: 3 }));
        assert_eq!(sum_tree(4, &stats), None);
    }

    #[test]
    fn sees_what_listens_and_where() {
        for (address, loopback) in [("127.0.0.1:0", true), ("0.0.0.0:0", false), ("[::1]:0", true), ("[::]:0", false)] {
            let Ok(socket) = std::net::TcpListener::bind(address) else { continue };
            let port = socket.local_addr().unwrap().port();
            let seen = listening().unwrap().into_iter().find(|address| address.port() == port).unwrap();
            assert_eq!(seen.ip().is_loopback(), loopback, "{address}: {seen}");
        }
    }

    #[test]
    fn finds_this_process() {
        let pid = std::process::id();
        assert!(stat(pid).is_some_and(|stat| stat.start_ticks > 0));
        assert!(tree_use(pid).is_some_and(|used| used.resident_pages > 0));
    }
}
