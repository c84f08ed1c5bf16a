//! What discovery makes of odd machines: it never fails, and each thing that is missing has its cause.

use std::sync::Arc;

use footplate_core::{Bytes, Hertz, Reading};
use footplate_device::board::Soc;
use footplate_device::discover::{RailKind, StorageKind, storage_of};
use footplate_device::memory_tree::{MemoryTree, Node};
use footplate_device::rail::{RailError, RailReader, RailValue, power_now};
use footplate_device::report::Report;
use footplate_device::sim::{Fault, SimBoard, SimOptions};
use footplate_device::{Device, Root, Source, state_now};

use crate::common::{Calls, Failing, boards, cold};

const CPU: &str = "/sys/devices/system/cpu";

fn machine(files: &[(&str, &str)]) -> Device {
    let tree = MemoryTree::new();
    files.iter().for_each(|(path, text)| tree.file(path, text, 0o644));
    Device::discover(Root::from_tree(Arc::new(tree), Source::Capture("x".into())))
}

fn causes(device: &Device, what: &str) -> Vec<String> {
    device.problems.iter().filter(|p| p.what == what).map(|p| p.cause.clone()).collect()
}

#[test]
fn a_read_that_fails_anywhere_never_ends_the_search() {
    for name in ["tx2", "agx-orin@r35", "thor"] {
        let whole = Device::discover(cold(name).root());
        for at in (0..400).step_by(3) {
            let board = cold(name);
            let (_, root) = Failing::of(&board, Calls::Reads, at, 1, 5);
            let device = Device::discover(root);
            // One node less: something may be missing, and then it is said or the rest is whole.
            let told = device.problems.len() > whole.problems.len();
            let same = device.tables() == whole.tables() && device.rails.len() == whole.rails.len();
            let board_known = device.facts.id == whole.facts.id;
            assert!(told || same || !board_known, "{name}, read {at}: {:?}", device.problems);
        }
    }
}

#[test]
fn an_empty_machine_is_generic_and_says_what_it_lacks() {
    let device = machine(&[]);
    assert_eq!((device.facts.id, device.facts.soc), ("generic", Soc::Other));
    assert_eq!(device.space().modes().len(), 1, "the one mode without any knob");
    assert_eq!(device.identity.memory, Reading::Absent);
    assert!(!causes(&device, "CPU").is_empty() && !causes(&device, "power").is_empty());
    assert_eq!(device.no_power().unwrap(), "no rail here measures the whole board");
    assert!(device.gpu.is_none() && device.emc.is_none());
}

#[test]
fn a_board_tells_its_power_and_a_machine_without_a_total_why_not() {
    for name in boards() {
        assert_eq!(Device::discover(cold(&name).root()).no_power(), None, "{name}");
    }
    let board = cold("agx-orin@r35");
    let path = Device::discover(board.root())
        .rails
        .iter()
        .find(|r| r.label == "VDD_CPU_CV")
        .map(|rail| rail.volts.clone().unwrap().replace("_input", "_label"));
    board.inject(Fault::Vanishes { path: path.unwrap() });
    let reason = Device::discover(board.root()).no_power().unwrap();
    assert!(reason.contains("rails are missing: VDD_CPU_CV"), "{reason}");
}

#[test]
fn lists_of_cpus_that_make_no_sense_are_told_and_folders_counted_instead() {
    let device = machine(&[
        (&format!("{CPU}/present"), "all of them"),
        (&format!("{CPU}/cpu0/topology/core_id"), "0"),
        (&format!("{CPU}/cpu1/online"), "1"),
        (&format!("{CPU}/cpufreq/boost"), "1"),
    ]);
    assert_eq!((device.cpu.order.as_slice(), device.cpu.switchable.as_slice()), (&[0, 1][..], &[1][..]));
    assert!(causes(&device, "CPU")[0].contains("a list of CPUs"), "{:?}", device.problems);
    assert!(!causes(&device, "CPU clock").is_empty(), "no policy");
}

#[test]
fn drivers_without_a_table_get_tenths_of_their_range() {
    let policy = format!("{CPU}/cpufreq/policy0");
    let device = machine(&[
        (&format!("{CPU}/present"), "0"),
        (&format!("{policy}/related_cpus"), "0"),
        (&format!("{policy}/cpuinfo_min_freq"), "400000"),
        (&format!("{policy}/cpuinfo_max_freq"), "4400000"),
    ]);
    let table = device.cpu.table_khz();
    assert_eq!((table.len(), table[0], table[1], table[10]), (11, 400_000, 800_000, 4_400_000));
    // Without a range as well, there is no clock to set.
    let bare = machine(&[(&format!("{CPU}/present"), "0"), (&format!("{policy}/related_cpus"), "0")]);
    assert!(bare.cpu.policies.is_empty() && bare.tables().cpu_hz.is_empty());
}

#[test]
fn a_policy_that_is_off_takes_the_table_of_the_first() {
    let policy = |n| format!("{CPU}/cpufreq/policy{n}");
    let tree = MemoryTree::new();
    tree.file(&format!("{CPU}/present"), "0-3", 0o444);
    for n in [0, 2] {
        tree.file(&format!("{}/related_cpus", policy(n)), &format!("{n} {}", n + 1), 0o444);
    }
    tree.file(&format!("{}/scaling_available_frequencies", policy(0)), "100 200", 0o444);
    tree.insert(&format!("{}/scaling_available_frequencies", policy(2)), Node::Failing { errno: 16 });
    let device = Device::discover(Root::from_tree(Arc::new(tree), Source::Capture("x".into())));
    assert_eq!(device.cpu.policies.len(), 2);
    assert_eq!(device.cpu.policies[1].table_khz, [100, 200]);
    assert!(causes(&device, "CPU clock")[0].contains("the first policy's table"), "{:?}", device.problems);
}

#[test]
fn storage_is_named_by_its_disk() {
    let root = |files: &[(&str, &str)], target: &str| {
        let tree = MemoryTree::new();
        tree.insert("/sys/dev/block/179:1", Node::Link(target.to_owned()));
        files.iter().for_each(|(path, text)| tree.file(path, text, 0o444));
        Root::from_tree(Arc::new(tree), Source::Capture("x".into()))
    };
    let card = "../../devices/sdhci/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0p1";
    for (files, target, kind) in [
        (&[("/sys/block/mmcblk0/device/type", "SD")][..], card, StorageKind::Sd),
        (&[("/sys/block/mmcblk0/device/type", "MMC")], card, StorageKind::Emmc),
        (&[], "../../devices/pci/nvme/nvme0/block/nvme0n1/nvme0n1p1", StorageKind::Nvme),
        (
            &[("/sys/block/sda/queue/rotational", "1")],
            "../../devices/ata1/block/sda",
            StorageKind::Rotational,
        ),
        (
            &[("/sys/block/sda/queue/rotational", "0")],
            "../../devices/ata1/block/sda/sda2",
            StorageKind::SolidState,
        ),
    ] {
        let storage = storage_of(&root(files, target), 179, 1).into_value().unwrap();
        assert_eq!(storage.kind, kind, "{target}");
    }
    assert!(storage_of(&root(&[], card), 0, 46).is_absent(), "a file system in memory");
    assert!(storage_of(&root(&[], card), 179, 1).reason().is_some(), "a card that does not say its type");
    assert!(storage_of(&root(&[], "../../odd"), 179, 1).reason().unwrap().contains("names no disk"));
}

fn battery(status: &str, files: &[(&str, &str)]) -> (Device, Reading<footplate_core::Watts>) {
    let folder = "/sys/class/power_supply/BAT0";
    let mut all = vec![(format!("{folder}/type"), "Battery"), (format!("{folder}/status"), status)];
    all.extend(files.iter().map(|(file, text)| (format!("{folder}/{file}"), *text)));
    let files: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let device = machine(&files);
    let power = power_now(&device, &device.rails[0]);
    (device, power)
}

#[test]
fn a_battery_is_a_rail_while_it_is_discharged() {
    let watts = |reading: Reading<footplate_core::Watts>| reading.into_value().map(|watts| watts.0);
    assert_eq!(watts(battery("Discharging", &[("power_now", "9379000")]).1), Some(9.379));
    let product = battery("Discharging", &[("voltage_now", "12000000"), ("current_now", "-500000")]);
    assert_eq!(watts(product.1), Some(6.0), "some give their current with a sign");
    let charging = battery("Charging", &[("power_now", "9379000")]).1;
    assert_eq!(charging.reason(), Some("the battery is not being discharged: Charging"));
    let silent = battery("Discharging", &[]).1;
    assert!(silent.reason().unwrap().contains("no file gives its power"), "{silent:?}");
}

#[test]
fn a_rail_that_gives_no_power_says_why_by_kind() {
    let read = |text: &str| {
        let hwmon = "/sys/class/hwmon/hwmon0";
        let device =
            machine(&[(&format!("{hwmon}/name"), "ina238"), (&format!("{hwmon}/power1_input"), text)]);
        let rail = device.rails[0].clone();
        assert_eq!(rail.kind, RailKind::Ina238);
        RailReader::open(&device.root, &rail, Some(200.0)).unwrap().read()
    };
    assert!(matches!(read("5000000"), Ok(RailValue::Power(watts)) if watts == 5.0));
    assert!(matches!(read("-40000"), Ok(RailValue::Power(watts)) if watts == -0.04), "near nothing");
    assert!(matches!(read("200000001"), Err(RailError::Implausible(_))));
    assert!(matches!(read("much"), Err(RailError::NotANumber(text)) if text == "much"));
    assert_eq!(read("").unwrap_err().to_string(), "\"\" is not a number");
}

#[test]
fn supplies_that_feed_others_are_no_rails() {
    let device = machine(&[
        ("/sys/class/power_supply/AC/type", "Mains"),
        ("/sys/class/power_supply/mouse/type", "Battery"),
        ("/sys/class/power_supply/mouse/scope", "Device"),
        ("/sys/class/hwmon/hwmon0/name", "coretemp"),
    ]);
    assert!(device.rails.is_empty(), "{:?}", device.rails);
}

#[test]
fn a_report_names_the_same_tables_as_the_device_on_every_board() {
    for name in boards() {
        let device = Device::discover(cold(&name).root());
        let report = Report::read(&device);
        let tables = device.tables();
        let table = |knob: &str| report.knobs.iter().find(|k| k.name == knob).map(|k| k.table.clone());
        let hz = |table: &[Hertz]| Some(table.iter().map(|hz| hz.0).collect::<Vec<_>>());
        assert_eq!(table("gpu_hz"), hz(&tables.gpu_hz), "{name}");
        assert_eq!(table("cpu_hz"), hz(&tables.cpu_hz), "{name}");
        assert!(report.simulated && report.knobs.iter().all(|knob| knob.writable), "{name}");
        assert!(report.needs_root.is_empty(), "{name}: {:?}", report.needs_root);
        let peak = report.peak.unwrap();
        assert!(peak.fp32_flops > 1e11 && peak.memory_bytes_per_s > 1e10, "{name}: {peak:?}");
    }
}

#[test]
fn who_is_not_root_reads_what_he_may_and_is_told_the_rest() {
    for name in boards() {
        let board = SimBoard::new(&name, SimOptions { root: false, ..SimOptions::default() }).unwrap();
        let device = Device::discover(board.root());
        let report = Report::read(&device);
        for knob in &report.knobs {
            assert!(!knob.writable, "{name}: {}", knob.name);
            let why = knob.not_writable_because.as_deref().unwrap_or_default();
            assert!(why.contains("permission denied"), "{name}, {}: {why}", knob.name);
        }
        let record = state_now::read(&device, 5, Reading::Value(Bytes(1)));
        assert!(record.cpu_cores.value().is_some(), "{name}: cores are open to all");
    }
}
