#![expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]

use std::fs;
use std::path::Path;

use footplate_core::Bytes;
use footplate_core::ports::Clock;

use super::*;
use crate::guard::Journal;
use crate::knob::Snapshot;
use crate::root::Root;
use crate::sim::{Activity, Fault, SimBoard, SimOptions};

/// A machine with these files, with the kernel's text.
fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Device) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = Root::at(folder.path()).unwrap();
    let device = Device::discover(root);
    (folder, device)
}

fn found(files: &[(&str, &str)], check: &str) -> Vec<(Level, String)> {
    let (_folder, device) = machine(files);
    let findings = examine(&device, Outside::default()).into_iter().filter(|f| f.check == check);
    findings.map(|f| (f.level, f.message)).collect()
}

fn one(files: &[(&str, &str)], check: &str) -> (Level, String) {
    let all = found(files, check);
    assert_eq!(all.len(), 1, "{check}: {all:?}");
    all[0].clone()
}

const SWAPS: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

#[test]
fn swap_is_told_by_its_kind_and_use() {
    assert_eq!(one(&[("/proc/swaps", SWAPS)], "swap").0, Level::Note);
    let zram = format!("{SWAPS}/dev/zram0                              partition\t1015108\t\t0\t\t5\n");
    let (level, message) = one(&[("/proc/swaps", &zram)], "swap");
    assert_eq!((level, message.contains("zram")), (Level::Ok, true), "{message}");
    let full = zram.replace("\t\t0\t\t5", "\t\t900000\t\t5");
    assert_eq!(one(&[("/proc/swaps", &full)], "swap").0, Level::Warning);
    let card = format!("{SWAPS}/dev/mmcblk0p2  partition\t4194300\t\t0\t\t-2\n");
    let (level, message) = one(&[("/proc/swaps", &card)], "swap");
    assert_eq!((level, message.contains("wears")), (Level::Note, true), "{message}");
    assert!(found(&[], "swap").is_empty());
}

#[test]
fn little_memory_is_a_warning() {
    let text = |available: u32| {
        format!("MemTotal:        3964776 kB\nMemFree:          180484 kB\nMemAvailable:    {available} kB\n")
    };
    let level = |available| one(&[("/proc/meminfo", &text(available))], "memory").0;
    assert_eq!(
        [level(3_000_000), level(1_400_000), level(600_000)],
        [Level::Ok, Level::Note, Level::Warning]
    );
    let (level, _) = one(&[("/proc/meminfo", "MemTotal: 3964776 kB\n")], "memory");
    assert_eq!(level, Level::Ok);
}

#[test]
fn a_groups_limits_are_told() {
    let group = [
        ("/proc/self/cgroup", "0::/system.slice/docker-1.scope\n"),
        ("/sys/fs/cgroup/system.slice/docker-1.scope/memory.max", "536870912\n"),
        ("/sys/fs/cgroup/system.slice/docker-1.scope/cpu.max", "50000 100000\n"),
    ];
    let all = found(&group, "limits");
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|(level, _)| *level == Level::Warning), "{all:?}");
    let free = [
        ("/proc/self/cgroup", "0::/\n"),
        ("/sys/fs/cgroup/memory.max", "max\n"),
        ("/sys/fs/cgroup/cpu.max", "max 100000\n"),
    ];
    assert!(found(&free, "limits").is_empty());
}

#[test]
fn a_governor_that_keeps_the_cpu_slow_is_a_warning_but_not_with_every_driver() {
    let policy = |governor: &'static str, driver: &'static str| {
        one(
            &[
                ("/sys/devices/system/cpu/present", "0-3\n"),
                ("/sys/devices/system/cpu/online", "0-3\n"),
                ("/sys/devices/system/cpu/cpufreq/policy0/related_cpus", "0 1 2 3\n"),
                (
                    "/sys/devices/system/cpu/cpufreq/policy0/scaling_available_frequencies",
                    "102000 1479000 \n",
                ),
                ("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", governor),
                ("/sys/devices/system/cpu/cpufreq/policy0/scaling_driver", driver),
            ],
            "cpu governor",
        )
        .0
    };
    assert_eq!(policy("powersave\n", "tegra-cpufreq\n"), Level::Warning);
    assert_eq!(policy("powersave\n", "intel_pstate\n"), Level::Ok);
    assert_eq!(policy("schedutil\n", "tegra194\n"), Level::Ok);
}

#[test]
fn cores_that_are_off_are_named() {
    let files = [("/sys/devices/system/cpu/present", "0-5\n"), ("/sys/devices/system/cpu/online", "0,3-5\n")];
    assert_eq!(one(&files, "cpu cores"), (Level::Note, "4 of 6 on; off: 1-2".to_owned()));
}

#[test]
fn events_of_the_supply_are_a_warning() {
    let chip = "/sys/class/hwmon/hwmon3";
    let files = |count: &'static str| {
        vec![
            ("/sys/class/hwmon/hwmon3/name", "soctherm_oc\n"),
            ("/sys/class/hwmon/hwmon3/oc1_event_cnt", count),
            ("/sys/class/hwmon/hwmon3/oc3_event_cnt", "0\n"),
        ]
    };
    let (level, message) = one(&files("2\n"), "power supply");
    assert_eq!((level, message.contains("oc1 2")), (Level::Warning, true), "{chip}: {message}");
    assert_eq!(one(&files("0\n"), "power supply").0, Level::Ok);
    let pi =
        [("/sys/class/hwmon/hwmon1/name", "rpi_volt\n"), ("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")];
    let (level, message) = one(&pi, "power supply");
    assert_eq!((level, message.starts_with("rpi_volt")), (Level::Warning, true), "{message}");
    assert!(found(&[], "power supply").is_empty());
}

#[test]
fn a_containers_needs_are_named() {
    let jetson = [
        ("/.dockerenv", ""),
        (
            "/proc/device-tree/compatible",
            "nvidia,p3737-0000+p3701-0000\0nvidia,p3701-0000\0nvidia,tegra234\0",
        ),
    ];
    let (level, message) = one(&jetson, "container");
    assert_eq!(level, Level::Warning);
    for word in ["--runtime nvidia", "nv_tegra_release", "/sys"] {
        assert!(message.contains(word), "{message}");
    }
    let (level, message) = one(&[("/run/.containerenv", "")], "container");
    assert_eq!((level, message.contains("Podman")), (Level::Note, true), "{message}");
    let nvidia = [
        ("/proc/1/cgroup", "12:pids:/docker/0123\n"),
        (
            "/proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n",
        ),
    ];
    let (level, message) = one(&nvidia, "container");
    assert_eq!((level, message.contains("--gpus all")), (Level::Warning, true), "{message}");
    assert!(found(&[], "container").is_empty());
}

#[test]
fn drivers_are_named_or_missed() {
    let version =
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n";
    let (level, message) = one(&[("/proc/driver/nvidia/version", version)], "gpu driver");
    // The driver is there, and no GPU behind its library.
    assert_eq!((level, message.contains("535.104.05")), (Level::Warning, true), "{message}");
    assert_eq!(one(&[], "gpu driver").0, Level::Note);
    assert_eq!(one(&[("/dev/dri/renderD128", "")], "gpu driver").0, Level::Ok);
    let bare = [("/proc/device-tree/compatible", "nvidia,p3450-0000\0nvidia,jetson-nano\0nvidia,tegra210\0")];
    assert_eq!(one(&bare, "gpu driver").0, Level::Problem);
}

#[test]
fn a_clock_that_was_never_set_is_a_warning() {
    assert_eq!(system::clock(1_790_000_000).level, Level::Ok);
    assert_eq!(system::clock(0).level, Level::Warning);
    // 2018-01-28: the date of a Jetson's image.
    assert_eq!(system::clock(1_517_097_600).level, Level::Warning);
}

#[test]
fn a_stale_journal_and_a_full_disk_are_told() {
    assert_eq!(journal(Ok(None)).level, Level::Ok);
    let saved = Snapshot::default();
    let left = Journal { version: 1, owner_pid: 42, board: "nano".into(), saved };
    let finding = journal(Ok(Some(left)));
    assert_eq!(finding.level, Level::Warning);
    assert!(finding.repair.is_some_and(|repair| repair.contains("mode restore")));
    let level = |free, read_only| folder_space("runs", Bytes(free), read_only).level;
    let levels =
        [level(50 << 30, false), level(1 << 30, false), level(1 << 20, false), level(50 << 30, true)];
    assert_eq!(levels, [Level::Ok, Level::Warning, Level::Problem, Level::Problem]);
}

fn level_of(board: &SimBoard, check: &str) -> Vec<(Level, String)> {
    let findings = examine(&Device::discover(board.root()), Outside::default());
    findings.into_iter().filter(|f| f.check == check).map(|f| (f.level, f.message)).collect()
}

#[test]
fn heat_is_judged_by_its_distance_to_throttling() {
    let at = |air_c: f64| {
        let board = SimBoard::new("nano", SimOptions { air_c, ..SimOptions::default() }).unwrap();
        level_of(&board, "heat").remove(0)
    };
    let (level, message) = at(20.0);
    assert_eq!(level, Level::Ok, "{message}");
    let (level, message) = at(82.0);
    assert_eq!((level, message.contains("below throttling")), (Level::Warning, true), "{message}");
    let board = SimBoard::new("nano", SimOptions { air_c: 92.0, ..SimOptions::default() }).unwrap();
    board.set_activity(Activity { cpu: 1.0, gpu: 1.0, memory: 1.0 });
    board.clock().wait_ns(600_000_000_000);
    let (level, message) = level_of(&board, "heat").remove(0);
    assert_eq!((level, message.contains("has lowered its clocks")), (Level::Warning, true), "{message}");
    // Temperatures without a trip say nothing of throttling, and no temperature is no finding.
    let zone = [
        ("/sys/class/thermal/thermal_zone0/type", "acpitz\n"),
        ("/sys/class/thermal/thermal_zone0/temp", "48000\n"),
    ];
    assert_eq!(one(&zone, "heat").0, Level::Note);
    assert!(found(&[], "heat").is_empty());
}

#[test]
fn a_preset_that_holds_clocks_down_is_told_with_the_fastest() {
    let conf = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=5W >\n< PM_CONFIG DEFAULT=0 >\n";
    let told = |status: &'static str| {
        one(&[("/etc/nvpmodel.conf", conf), ("/var/lib/nvpmodel/status", status)], "power mode")
    };
    assert_eq!(told("pmode:0000\n"), (Level::Ok, "MAXN".to_owned()));
    let (level, message) = told("pmode:0001\n");
    assert_eq!((level, message.contains("MAXN is the fastest")), (Level::Note, true), "{message}");
    let (level, message) = told("pmode:0007\n");
    assert_eq!((level, message.contains("does not say which of MAXN, 5W")), (Level::Note, true), "{message}");
    let slow = conf.replace("MAXN", "15W");
    let only = [("/etc/nvpmodel.conf", slow.as_str()), ("/var/lib/nvpmodel/status", "pmode:0001\n")];
    assert_eq!(one(&only, "power mode"), (Level::Ok, "5W".to_owned()), "no unlimited one to name");
    assert!(found(&[], "power mode").is_empty(), "a PC has no presets, which is no finding");
    let broken = [("/etc/nvpmodel.conf", "nonsense\n")];
    assert!(found(&broken, "power mode").is_empty(), "nor has one with a file of that name");
}

#[test]
fn rails_that_cannot_be_read_are_named_with_the_first_reason() {
    let board = SimBoard::new("tx2", SimOptions::default()).unwrap();
    let path = Device::discover(board.root()).rails[1].watts.clone().unwrap();
    board.inject(Fault::ReadFails { path, errno: 5 });
    let findings = level_of(&board, "sensors");
    assert_eq!(findings.len(), 1, "{findings:?}");
    let (level, message) = &findings[0];
    assert_eq!(*level, Level::Warning);
    assert!(message.starts_with("power of ") && message.contains("cannot be read"), "{message}");
    // A PC without sensors is as it is; one whose rails measure a part only is told so.
    assert_eq!(one(&[], "sensors").0, Level::Note);
    let part = [
        ("/sys/class/powercap/intel-rapl:0/name", "package-0\n"),
        ("/sys/class/powercap/intel-rapl:0/energy_uj", "5\n"),
    ];
    let notes = found(&part, "sensors");
    assert!(
        notes.iter().any(|(level, text)| *level == Level::Note && text.contains("whole board")),
        "{notes:?}"
    );
    let bare = [("/proc/device-tree/compatible", "nvidia,p3450-0000\0nvidia,jetson-nano\0nvidia,tegra210\0")];
    assert_eq!(one(&bare, "sensors").0, Level::Warning, "a Jetson has sensors");
}

#[test]
fn who_may_set_everything_is_told_that_nothing_is_out_of_reach() {
    for name in SimBoard::names() {
        let board = SimBoard::new(name, SimOptions::default()).unwrap();
        let expected = vec![(Level::Ok, "nothing is out of reach".to_owned())];
        assert_eq!(level_of(&board, "permissions"), expected, "{name}");
    }
}

/// A board that is as it was delivered has no problem, and each of its findings below `ok` but the notes a repair.
#[test]
fn simulated_boards_have_no_problems() {
    for name in SimBoard::names() {
        let board = SimBoard::new(name, SimOptions::default()).unwrap();
        let findings = examine(&Device::discover(board.root()), Outside::default());
        for finding in &findings {
            assert!(finding.level < Level::Problem, "{name}: {finding:?}");
            assert!(finding.level < Level::Warning || finding.repair.is_some(), "{name}: {finding:?}");
        }
        for check in ["gpu driver", "sensors", "heat", "cpu cores"] {
            assert!(findings.iter().any(|finding| finding.check == check), "{name} lacks {check}");
        }
    }
}

#[test]
fn a_user_who_is_not_root_is_told_what_is_out_of_reach() {
    let options = SimOptions { root: false, ..SimOptions::default() };
    let board = SimBoard::new("agx-orin@r35", options).unwrap();
    let findings = examine(&Device::discover(board.root()), Outside::default());
    let of = |check: &str| findings.iter().filter(|f| f.check == check).map(|f| f.level).max();
    assert_eq!((of("sensors"), of("permissions")), (Some(Level::Warning), Some(Level::Note)), "{findings:?}");
}

/// The captured boards of the tests are looked at without a fault.
#[test]
fn captures_are_examined() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let device = Device::discover(Root::at(&path).unwrap());
            assert!(!examine(&device, Outside::default()).is_empty(), "{}", path.display());
            count += 1;
        }
    }
    assert!(count > 8);
}
