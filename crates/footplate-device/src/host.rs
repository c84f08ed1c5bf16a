//! What this process holds and may use: cores, memory, time of its children, space of its disks. Not through a
//! [`Root`](crate::Root): a captured or simulated machine has no process of ours. Parsers are pure; one function each
//! reads.
#![expect(
    clippy::disallowed_methods,
    reason = "what the kernel says of this very process has no place in a captured or simulated machine"
)]

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use footplate_core::{Bytes, Reading};

/// The kernel counts time for programs in hundredths of a second, whatever its own tick is.
const TICKS_PER_S: f64 = 100.0;

/// Operating system, architecture and cores, in words.
pub fn description() -> String {
    format!("{} {}, {} cores", std::env::consts::OS, std::env::consts::ARCH, cores())
}

/// Cores that this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Memory that this process may still take: what the kernel calls available, or less if a control group
/// (a container) sets a limit.
pub fn available_memory() -> Reading<Bytes> {
    let host = match fs::read_to_string("/proc/meminfo") {
        Ok(text) => field_kib(&text, "MemAvailable:").map_or(Reading::Absent, Reading::Value),
        Err(error) => unreadable(&error),
    };
    let group = group_headroom();
    match (host, group) {
        (Reading::Value(host), Some(group)) => Reading::Value(host.min(group)),
        (Reading::Absent, Some(group)) => Reading::Value(group),
        (host, _) => host,
    }
}

/// Largest resident memory of this process so far.
pub fn peak_memory() -> Reading<Bytes> {
    own_status("VmHWM:")
}

/// Resident memory of this process now.
pub fn resident_memory() -> Reading<Bytes> {
    own_status("VmRSS:")
}

/// CPU time of the children that have ended, theirs included, in seconds.
pub fn children_cpu_s() -> Option<f64> {
    children_ticks(&fs::read_to_string("/proc/self/stat").ok()?).map(|ticks| ticks as f64 / TICKS_PER_S)
}

/// Fields 16 and 17 (`cutime`, `cstime`). The second field is a name in brackets that may hold anything.
fn children_ticks(stat: &str) -> Option<u64> {
    let after = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    Some(fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?)
}

/// Busy and all time of the machine's cores so far, in ticks.
pub fn cpu_ticks() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).take(8).map_while(|f| f.parse().ok()).collect();
    let all: u64 = fields.iter().sum();
    Some((all.checked_sub(fields.get(3)? + fields.get(4)?)?, all))
}

/// Free space of a folder's file system for this user, and whether it is mounted read-only.
pub fn space(folder: &Path) -> std::io::Result<(Bytes, bool)> {
    let system = rustix::fs::statvfs(folder)?;
    let is_read_only = system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    Ok((Bytes(system.f_bavail.saturating_mul(system.f_frsize)), is_read_only))
}

/// Signals that this process ignores, as `nohup` makes it ignore SIGHUP.
pub fn ignored_signals() -> Vec<i32> {
    fs::read_to_string("/proc/self/status").map(|text| ignored(&text)).unwrap_or_default()
}

/// The line `SigIgn:` of a process's status: bit N-1 is signal N.
fn ignored(status: &str) -> Vec<i32> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (1..=64).filter(|signal| mask >> (signal - 1) & 1 == 1).collect()
}

fn own_status(field: &str) -> Reading<Bytes> {
    match fs::read_to_string("/proc/self/status") {
        Ok(text) => field_kib(&text, field).map_or(Reading::Absent, Reading::Value),
        Err(error) => unreadable(&error),
    }
}

fn unreadable(error: &std::io::Error) -> Reading<Bytes> {
    match error.kind() {
        std::io::ErrorKind::NotFound => Reading::Absent,
        _ => Reading::Unreadable { reason: error.to_string() },
    }
}

/// What the control group (version 2) of this process leaves, if it has a limit. Memory that only caches
/// files counts as free: the kernel takes it back.
fn group_headroom() -> Option<Bytes> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    let folder = format!("/sys/fs/cgroup{}", unified_group(&group)?);
    let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).ok();
    let limit = group_limit(&read("memory.max")?)?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let cache = read("memory.stat").and_then(|text| plain_field(&text, "inactive_file"));
    Some(Bytes(limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0)))))
}

/// The path of the version-2 hierarchy in `/proc/self/cgroup`: the line that begins with `0::`.
fn unified_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(|path| path.trim_end_matches('/'))
}

/// `memory.max`: a number of bytes, or `max`.
fn group_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A line `name value` of a control group's statistics.
fn plain_field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A line `Name:   123 kB` of `/proc`.
fn field_kib(text: &str, name: &str) -> Option<Bytes> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kib * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        3964776 kB\nMemFree:          180484 kB\n\
                           MemAvailable:    2103300 kB\nBuffers:           60808 kB\n";

    #[test]
    fn meminfo_gives_the_available_memory_in_bytes() {
        assert_eq!(field_kib(MEMINFO, "MemAvailable:"), Some(Bytes(2_103_300 * 1024)));
        assert_eq!(field_kib(MEMINFO, "SwapFree:"), None);
        assert_eq!(field_kib("MemAvailable:  many kB\n", "MemAvailable:"), None);
    }

    #[test]
    fn childrens_time_is_found_behind_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 200 0 0 7 8 30 12 20 0 1 0 100 1 1";
        assert_eq!(children_ticks(stat), Some(42));
        assert_eq!(children_ticks("42 (x) S 1"), None);
    }

    #[test]
    fn nohup_makes_signal_1_ignored() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000180014000\n"), [1, 13]);
        assert_eq!(ignored("Name:\tx\n"), [] as [i32; 0]);
    }

    #[test]
    fn a_group_without_a_limit_has_none() {
        assert_eq!(group_limit("max\n"), None);
        assert_eq!(group_limit("536870912\n"), Some(536_870_912));
        assert_eq!(
            unified_group("12:pids:/x\n0::/system.slice/docker-1.scope\n"),
            Some("/system.slice/docker-1.scope")
        );
        assert_eq!(unified_group("0::/\n"), Some(""));
        assert_eq!(unified_group("4:memory:/x\n"), None);
        assert_eq!(plain_field("inactive_file 42\nactive_file 7\n", "active_file"), Some(7));
    }
}
