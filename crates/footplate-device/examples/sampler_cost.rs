//! What the meter costs: its CPU time and memory at ten reads a second. `sampler_cost [SECONDS]`, on a tree of
//! plain files with the rails, zones and cooling devices of an AGX Orin (12 cores, 4 rails).
//!
//! Reading a plain file costs the same system call as reading sysfs; what a driver spends on the bus of a real
//! board is a wait and not in here.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool for developers"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footplate_core::ports::Clock;
use footplate_device::meter::{INTERVAL_NS, Meter, RealClock};
use footplate_device::sim::{SimBoard, SimOptions};
use footplate_device::{Device, Root};

const FOLDERS: [&str; 5] = [
    "/sys/bus/i2c/drivers/ina3221/*-00*/hwmon/hwmon*",
    "/sys/class/thermal/thermal_zone*",
    "/sys/class/thermal/cooling_device*",
    "/sys/devices/system/cpu/cpufreq/policy*",
    "/sys/class/hwmon/hwmon*",
];
const FILES: [&str; 5] = [
    "/proc/device-tree/compatible",
    "/proc/device-tree/model",
    "/etc/nv_tegra_release",
    "/proc/stat",
    "/sys/devices/system/cpu/present",
];

fn copy(root: &Root, path: &str, base: &Path) {
    if let Ok(bytes) = root.bytes(path) {
        let to = base.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
}

/// CPU time of this process in ticks of 10 ms, and its resident memory in KiB.
fn used() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib = rss.trim().trim_end_matches("kB").trim().parse().unwrap();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap(), kib)
}

fn main() {
    let seconds: u64 = std::env::args().nth(1).map_or(60, |text| text.parse().unwrap());
    let board = SimBoard::new("agx-orin@r35", SimOptions::default()).unwrap();
    let root = board.root();
    let base = tempfile::tempdir().unwrap();
    for file in FILES {
        copy(&root, file, base.path());
    }
    for folder in FOLDERS.iter().flat_map(|pattern| root.matches(pattern)) {
        for name in root.list(&folder).unwrap() {
            copy(&root, &format!("{folder}/{name}"), base.path());
        }
    }
    drop(board);
    let device = Device::discover(Root::at(base.path()).unwrap());
    let clock = Arc::new(RealClock::since(Instant::now()));
    let before = used();
    let meter = Meter::start(&device, INTERVAL_NS, clock.clone()).unwrap();
    std::thread::sleep(Duration::from_secs(seconds));
    let after = used();
    let reading = meter.between(0, clock.now_ns());
    let rails: Vec<_> =
        reading.rails.iter().map(|(name, rail)| (name, rail.value().map(|e| e.samples))).collect();
    let share = (after.0 - before.0) as f64 / seconds as f64;
    println!("rails and their samples: {rails:?}");
    println!(
        "CPU: {share:.3} % of one core over {seconds} s; memory: {} KiB more",
        after.1.saturating_sub(before.1)
    );
}
