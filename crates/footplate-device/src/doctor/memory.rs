//! Memory, swap, and what a control group leaves of them.

use footplate_core::Bytes;

use crate::parse;
use crate::root::Root;

use super::{Finding, Level};

const GIB: u64 = 1 << 30;
/// Less than this is too little for a network of photographs.
const AVAILABLE_LOW: u64 = GIB;
/// Less of the memory than this is available: something else has it.
const AVAILABLE_SHARE_LOW: f64 = 0.4;
/// Swap that is filled further than this is in use.
const SWAP_USED_HIGH: f64 = 0.25;

/// What is available of the memory.
pub(super) fn memory(root: &Root) -> Option<Finding> {
    let check = "memory";
    let text = match root.text("/proc/meminfo") {
        Ok(text) => text,
        Err(error) if error.is_absent() => return None,
        Err(error) => return Some(Finding::new(check, Level::Note, error.to_string())),
    };
    let total = parse::meminfo(&text, "MemTotal")?;
    // Kernels before 3.14 and captures may lack it.
    let Some(available) = parse::meminfo(&text, "MemAvailable") else {
        return Some(Finding::new(check, Level::Ok, format!("{} in all", Bytes(total))));
    };
    let told = format!("{} of {} available", Bytes(available), Bytes(total));
    let share = available as f64 / total.max(1) as f64;
    Some(if available < AVAILABLE_LOW {
        Finding::new(check, Level::Warning, told).repair(
            "end other programs; on a Jetson the desktop takes about 1 GiB: sudo systemctl isolate multi-user.target",
        )
    } else if share < AVAILABLE_SHARE_LOW {
        Finding::new(check, Level::Note, format!("{told}: other programs hold the rest"))
    } else {
        Finding::new(check, Level::Ok, told)
    })
}

/// One line of `/proc/swaps`: name, kind, and sizes in KiB.
struct Swap {
    name: String,
    bytes: u64,
    used: u64,
}

/// The lines below the heading `Filename Type Size Used Priority`.
fn swaps(text: &str) -> Vec<Swap> {
    let one = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let size: u64 = words.nth(1)?.parse().ok()?;
        let used: u64 = words.next()?.parse().ok()?;
        Some(Swap { name, bytes: size.checked_mul(1024)?, used: used.checked_mul(1024)? })
    };
    text.lines().skip(1).filter_map(one).collect()
}

/// Swap: where it is, and whether it is in use.
pub(super) fn swap(root: &Root) -> Option<Finding> {
    let check = "swap";
    let text = match root.text("/proc/swaps") {
        Ok(text) => text,
        Err(error) if error.is_absent() => return None,
        Err(error) => return Some(Finding::new(check, Level::Note, error.to_string())),
    };
    let all = swaps(&text);
    let (bytes, used) = all.iter().fold((0, 0), |(bytes, used), swap| (bytes + swap.bytes, used + swap.used));
    if all.is_empty() {
        return Some(
            Finding::new(check, Level::Note, "none: a run that outgrows the memory is killed").repair(
                "the memory plan of `footplate train` refuses such runs; leave room for other programs",
            ),
        );
    }
    let is_zram = |swap: &&Swap| swap.name.contains("zram");
    let on_card = |swap: &&Swap| {
        let disk = swap.name.strip_prefix("/dev/").unwrap_or_default();
        disk.starts_with("mmcblk")
    };
    let zram: u64 = all.iter().filter(is_zram).map(|swap| swap.bytes).sum();
    let kinds = if zram == bytes {
        "all of it compressed memory (zram)".to_owned()
    } else if zram > 0 {
        format!("{} of it compressed memory (zram)", Bytes(zram))
    } else {
        "on disk".to_owned()
    };
    let told = format!("{} used of {}, {kinds}", Bytes(used), Bytes(bytes));
    let is_used = used as f64 > bytes as f64 * SWAP_USED_HIGH;
    Some(if is_used {
        Finding::new(check, Level::Warning, format!("{told}: steps may wait for it"))
            .repair("end other programs, choose a smaller --batch-size, or set --memory-max")
    } else if all.iter().any(|swap| on_card(&swap)) {
        Finding::new(
            check,
            Level::Note,
            format!("{told}; on an SD card or eMMC it is slow and wears the card"),
        )
    } else {
        Finding::new(check, Level::Ok, told)
    })
}

/// What a control group (version 2) allows this process.
pub(super) fn limits(root: &Root) -> Vec<Finding> {
    let group = root.text("/proc/self/cgroup").ok();
    let path = group.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::")));
    let Some(path) = path else { return Vec::new() };
    let read = |name: &str| root.text(&format!("/sys/fs/cgroup{}/{name}", path.trim_end_matches('/'))).ok();
    let mut findings = Vec::new();
    if let Some(max) = read("memory.max").and_then(|text| text.parse::<u64>().ok()) {
        let told = format!("this process and its group may use {} of memory (memory.max)", Bytes(max));
        let level = if max < AVAILABLE_LOW { Level::Warning } else { Level::Note };
        findings.push(
            Finding::new("limits", level, told).repair("docker run --memory, or the unit's MemoryMax="),
        );
    }
    // `MAX PERIOD` in microseconds, or `max PERIOD`.
    let quota = read("cpu.max").and_then(|text| {
        let (max, period) = text.split_once(' ')?;
        Some(max.parse::<f64>().ok()? / period.trim().parse::<f64>().ok()?)
    });
    if let Some(cores) = quota {
        let told = format!("this process and its group may use {cores:.1} cores' time (cpu.max)");
        let level = if cores < 1.0 { Level::Warning } else { Level::Note };
        findings
            .push(Finding::new("limits", level, told).repair("docker run --cpus, or the unit's CPUQuota="));
    }
    findings
}
