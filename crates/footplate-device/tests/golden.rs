//! Discovery and write plans on the trees of many boards, against what a person looked over.
//! After a wanted change run once with `FOOTPLATE_UPDATE_GOLDEN=1` and read the difference.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make the files that are looked at"
)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use footplate_core::{Hertz, PowerMode, Reading};
use footplate_device::discover::Device;
use footplate_device::knob::{Hold, ModeTarget, Snapshot, plan, plan_restore};
use footplate_device::preset::Presets;
use footplate_device::rail::power_now;
use footplate_device::report::Report;
use footplate_device::{Root, capture};

/// Each board with the total's rails and its value where this user can read them.
const BOARDS: [(&str, &str, Option<f64>); 15] = [
    ("tx1-r28", "VDD_IN", Some(2.517)),
    ("tx2-r32", "VDD_IN", Some(1.983)),
    ("nano-r32", "POM_5V_IN", Some(0.922)),
    ("nano-r32-a01", "POM_5V_IN", Some(0.922)),
    ("xavier-nx-r32", "VDD_IN", Some(3.904)),
    ("xavier-nx-r35", "VDD_IN", None),
    ("agx-xavier-r32", "GPU + CPU + SOC + CV + VDDRQ + SYS5V", Some(6.914)),
    ("agx-xavier-r35", "GPU + CPU + SOC + CV + VDDRQ + SYS5V", Some(6.916)),
    ("orin-nano-r36", "VDD_IN", Some(4.775)),
    ("orin-nx-r36", "VDD_IN", Some(6.220)),
    // VDDQ_VDD2_1V8AO is not added: VIN_SYS_5V0 holds it.
    ("agx-orin-r35", "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", Some(6.707)),
    ("agx-orin-r36", "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", Some(6.707)),
    ("thor-r38", "VIN", Some(19.78)),
    ("laptop-x86", "battery", Some(9.379)),
    ("nothing", "", None),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn discover(name: &str) -> Device {
    Device::discover(Root::at(&fixtures().join(format!("{name}.txt"))).unwrap())
}

/// Compares with the file, or writes it when asked to.
fn golden(file: &str, shown: &str) {
    let path = fixtures().join(file);
    if std::env::var_os("FOOTPLATE_UPDATE_GOLDEN").is_some() {
        fs::write(&path, shown).unwrap();
    }
    assert_eq!(shown, fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
}

#[test]
fn every_fixture_is_tested() {
    let mut files: Vec<String> = fs::read_dir(fixtures())
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".txt").map(str::to_owned)
        })
        .collect();
    files.sort();
    let mut names: Vec<String> = BOARDS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn totals_follow_the_board_s_rule() {
    for (name, rails, watts) in BOARDS {
        let device = discover(name);
        let total = device.total.as_ref().map(|total| total.rails.join(" + ")).unwrap_or_default();
        assert_eq!(total, rails, "{name}");
        let labels = device.total.iter().flat_map(|total| total.rails.iter());
        let power = labels.map(|label| {
            let rail = device.rails.iter().find(|rail| rail.label == *label).unwrap();
            match power_now(&device, rail) {
                Reading::Value(watts) => Some(watts.0),
                _ => None,
            }
        });
        let sum: Option<f64> = power.sum();
        match watts {
            Some(watts) => assert!((sum.unwrap() - watts).abs() < 0.002, "{name}: {sum:?}"),
            None => assert!(sum.is_none() || rails.is_empty(), "{name}: {sum:?}"),
        }
    }
}

#[test]
fn discovery_is_what_it_was() {
    for (name, ..) in BOARDS {
        let device = discover(name);
        golden(&format!("{name}.found"), &found(&device));
    }
}

fn found(device: &Device) -> String {
    let report = Report::read(device);
    let mut text = String::new();
    let line = &mut text;
    writeln!(line, "board {} | module {:?} | soc {:?}", report.board, report.module, report.soc).unwrap();
    writeln!(line, "l4t {:?} | jetpack {:?} | kernel {:?}", report.l4t, report.jetpack, report.kernel)
        .unwrap();
    writeln!(line, "memory {:?} | preset {:?} of {:?}", report.memory_bytes, report.preset, report.presets)
        .unwrap();
    for knob in &report.knobs {
        let range = (knob.table.first().unwrap(), knob.table.last().unwrap(), knob.table.len());
        writeln!(
            line,
            "{} {range:?} present {:?} now {:?} writable {} {:?}",
            knob.name, knob.present, knob.current_hz, knob.writable, knob.not_writable_because
        )
        .unwrap();
    }
    for policy in &device.cpu.policies {
        writeln!(line, "{} has {:?}", policy.path, policy.cpus).unwrap();
    }
    writeln!(line, "order {:?} switchable {:?}", device.cpu.order, device.cpu.switchable).unwrap();
    if let Some(gpu) = &device.gpu {
        writeln!(line, "gpu {} power {:?} masks {:?}", gpu.path, gpu.power, gpu.masks.len()).unwrap();
    }
    if let Some(emc) = &device.emc {
        let (control, read, lock) = (emc.control, emc.table_is_read, emc.can_lock);
        writeln!(line, "emc {control:?} table read {read} lock {lock} cap {:?}", emc.cap).unwrap();
    }
    for rail in &device.rails {
        let power = match power_now(device, rail) {
            Reading::Value(watts) => format!("{:.3} W", watts.0),
            other => format!("{other:?}"),
        };
        writeln!(line, "rail {} {:?} {} {power}", rail.label, rail.kind, rail.folder).unwrap();
    }
    for zone in &report.temperatures {
        writeln!(line, "zone {} {:?} below throttling {:?}", zone.name, zone.celsius, zone.to_throttling)
            .unwrap();
    }
    writeln!(line, "throttled {:?} counters {}", report.throttled, device.over_current.len()).unwrap();
    writeln!(line, "modes {}", device.space().modes().len()).unwrap();
    for problem in &report.problems {
        writeln!(line, "problem {}: {}", problem.what, problem.cause).unwrap();
    }
    writeln!(line, "needs root: {}", report.needs_root.join(", ")).unwrap();
    text
}

/// The lowest, a middle and the highest mode, a preset, and the way back from the middle one.
#[test]
fn write_lists_are_what_they_were() {
    for (name, ..) in BOARDS {
        let device = discover(name);
        let present = Snapshot::read(&device.root, &device);
        let mut presets = Vec::new();
        let presets = Presets::read(&device, &mut presets);
        let mut text = String::new();
        let tables = device.tables();
        let middle = |table: &[Hertz]| table.get(table.len() / 2).copied();
        let mode = PowerMode {
            cpu_cores: tables.cpu_cores.len().checked_div(2).filter(|n| *n > 0).map(|n| n as u32),
            cpu_hz: middle(&tables.cpu_hz),
            gpu_hz: middle(&tables.gpu_hz),
            emc_hz: middle(&tables.emc_hz),
            gpu_power_limit_mw: None,
        };
        let mut add = |title: &str, writes: &[footplate_device::knob::Write]| {
            writeln!(text, "# {title}").unwrap();
            writes.iter().for_each(|write| writeln!(text, "{write}").unwrap());
        };
        let pinned = plan(&device, &present, &ModeTarget::of(&device, &mode, Hold::Pinned));
        add(&format!("hold {mode}"), &pinned);
        let mut after = present.clone();
        pinned.iter().for_each(|write| {
            after.values.insert(write.path.clone(), write.value.clone());
        });
        add("and back", &plan_restore(&device, &after, &present));
        if let Some(preset) = presets.modes.iter().find(|mode| !mode.default) {
            add(&format!("preset {}", preset.name), &plan(&device, &present, &preset.target()));
        }
        golden(&format!("{name}.writes"), &text);
    }
}

/// A capture of a tree, looked at again, is the same machine: whole, unpacked, and as its text.
#[test]
fn a_capture_shows_the_same_machine() {
    let folder = tempfile::tempdir().unwrap();
    for (name, ..) in BOARDS {
        let root = Root::at(&fixtures().join(format!("{name}.txt"))).unwrap();
        let archive = folder.path().join("board.tar.gz");
        let nodes = capture::write(&root, &archive).unwrap();
        assert!(nodes > 0, "{name}");
        let again = Device::discover(Root::at(&archive).unwrap());
        let shown = |device: &Device| found(device).replace(" (os error 1)", "");
        let whole = discover(name);
        // What root alone may do is recorded as what this user could do, so unreadable rails stay unreadable.
        assert_eq!(shown(&again), shown(&whole), "{name}");

        let text = folder.path().join(name);
        fs::create_dir(&text).unwrap();
        let file = fs::File::open(&archive).unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(&text).unwrap();
        let unpacked = Device::discover(Root::at(&text.join("footplate-capture")).unwrap());
        assert_eq!(shown(&unpacked), shown(&whole), "{name}");
    }
}

#[test]
fn a_text_that_is_no_capture_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, part) in [
        ("", "line 1"),
        ("# footplate tree 1\nsys/x = 1\n", "line 2: a line begins with an absolute path"),
        ("# footplate tree 1\n/x ! EWHAT\n", "unknown error name"),
        ("# footplate tree 1\n/x 0444 = a\\q\n", "escape"),
        ("# footplate tree 1\n/../etc = 1\n", "absolute path"),
        ("# footplate tree 2\n", "begins with"),
    ] {
        let path = folder.path().join("t.txt");
        fs::write(&path, text).unwrap();
        let error = Root::at(&path).unwrap_err().to_string();
        assert!(error.contains(part), "{text:?}: {error}");
    }
    assert!(Root::at(&folder.path().join("missing")).unwrap_err().is_absent());
}
