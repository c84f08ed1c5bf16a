//! The vendor's presets: what nvpmodel's configuration means for the knobs, and blocks that are written for it.

use std::sync::Arc;

use footplate_core::{Hertz, PowerMode};
use footplate_device::board::{BOARDS, conf};
use footplate_device::knob::emc::EmcTarget;
use footplate_device::knob::{Range, Snapshot, plan};
use footplate_device::memory_tree::MemoryTree;
use footplate_device::nvpmodel::{Conf, ParamType, status_id};
use footplate_device::preset::{ExportError, export, nearest};
use footplate_device::{Device, Presets, Root, Source};

use crate::common::{boards, cold};

fn presets(device: &Device) -> Presets {
    let mut problems = Vec::new();
    let presets = Presets::read(device, &mut problems);
    assert_eq!(problems, []);
    presets
}

#[test]
fn each_stock_mode_means_what_the_boards_facts_say() {
    for board in BOARDS {
        for release in board.releases.iter().filter(|release| !release.stock_modes.is_empty()) {
            let name = format!("{}@{}", board.id, release.id);
            let device = Device::discover(cold(&name).root());
            let presets = presets(&device);
            let tables = device.tables();
            for stock in release.stock_modes {
                let what = format!("{name}, {}", stock.name);
                let preset = presets.named(stock.name).unwrap_or_else(|| panic!("{what}"));
                assert_eq!((preset.id, preset.default), (i64::from(stock.id), stock.default), "{what}");
                assert_eq!(preset.mode.cpu_cores, Some(stock.cores.len() as u32), "{what}");
                assert_eq!(preset.online.as_deref(), Some(stock.cores), "{what}");
                let top = |table: &[Hertz]| table.last().copied();
                let limit = |asked: Option<u64>, table: &[Hertz]| match asked {
                    None => top(table),
                    Some(hz) => nearest(&table.iter().map(|hz| hz.0).collect::<Vec<_>>(), hz).map(Hertz),
                };
                let cpu = stock.cpu_khz.1.map(|khz| khz * 1000);
                assert_eq!(preset.mode.cpu_hz, limit(cpu, &tables.cpu_hz), "{what}");
                assert_eq!(preset.mode.gpu_hz, limit(stock.gpu_hz.1, &tables.gpu_hz), "{what}");
                assert_eq!(preset.emc_uncapped, stock.emc_hz.is_none(), "{what}");
                let masks = usize::from(stock.tpc_mask.is_some()) + usize::from(stock.fbp_mask.is_some());
                assert!(preset.masks.len() <= masks, "{what}: {:?}", preset.masks);
                assert_eq!(preset.left_out, [""; 0], "{what}");
            }
        }
    }
}

#[test]
fn the_active_preset_is_found_by_the_number_in_the_status_file() {
    for (text, expected) in [
        ("pmode:0000", Some("MAXN")),
        ("pmode:0001 fmode:quiet", Some("5W")),
        ("pmode:0099", None),
        ("fmode:quiet", None),
        ("", None),
    ] {
        let board = cold("nano");
        let tree =
            MemoryTree::parse(&board_text(&board), "t", footplate_device::memory_tree::Reader::Root).unwrap();
        tree.file("/var/lib/nvpmodel/status", text, 0o644);
        let device = Device::discover(Root::from_tree(Arc::new(tree), Source::System));
        assert_eq!(presets(&device).active.as_deref(), expected, "{text}");
    }
}

/// The board's files as a text: what a capture of it would be.
fn board_text(board: &footplate_device::SimBoard) -> String {
    footplate_device::capture::text(&board.root())
}

#[test]
fn names_are_found_in_any_case_and_the_exact_one_first() {
    let device = Device::discover(cold("nano").root());
    let presets = presets(&device);
    assert_eq!(presets.named("maxn").map(|mode| mode.name.as_str()), Some("MAXN"));
    assert_eq!(presets.named("5w").map(|mode| mode.name.as_str()), Some("5W"));
    assert!(presets.named("10W").is_none());
}

#[test]
fn a_preset_asks_for_limits_and_leaves_the_governors_alone() {
    let device = Device::discover(cold("nano").root());
    let presets = presets(&device);
    let five = presets.named("5W").unwrap().target();
    let (cpu, gpu) = (five.cpu_khz.unwrap(), five.gpu_hz.unwrap());
    assert!(cpu.min < cpu.max && gpu.min < gpu.max, "{cpu:?} {gpu:?}");
    assert_eq!(five.online.as_deref(), Some(&[0, 1][..]));
    let free = presets.named("MAXN").unwrap().target();
    assert_eq!(free.emc, Some(EmcTarget::Free));
    assert_eq!(free.cpu_khz.unwrap().max, device.cpu.table_khz()[device.cpu.table_khz().len() - 1]);
    assert_eq!(free.gpu_limit_mw, None);
    let present = Snapshot::read(&device.root, &device);
    assert!(!plan(&device, &present, &five).is_empty());
}

#[test]
fn a_block_that_is_exported_is_read_back_as_the_same_mode_on_every_board() {
    for name in boards() {
        let device = Device::discover(cold(&name).root());
        let presets = presets(&device);
        let Some(conf) = &presets.conf else { continue };
        let space = device.space();
        for mode in [space.modes()[0], space.modes()[space.modes().len() / 2], *space.modes().last().unwrap()]
        {
            let block = export(&device, &presets, "QUIET", &mode).unwrap();
            let tree = MemoryTree::parse(
                &footplate_device::capture::text(&device.root),
                "t",
                footplate_device::memory_tree::Reader::Root,
            )
            .unwrap();
            tree.file(conf::CONF_PATH, &format!("{conf}\n{block}"), 0o644);
            let again = Device::discover(Root::from_tree(Arc::new(tree), Source::System));
            let read = Presets::read(&again, &mut Vec::new());
            let quiet = read.named("QUIET").unwrap_or_else(|| panic!("{name}: {block}"));
            assert_eq!(quiet.mode, mode, "{name}: {block}");
            assert!(presets.modes.iter().all(|other| other.id < quiet.id), "{name}: a number of its own");
            assert_eq!(quiet.reboot_needed(&again.root), [], "{name}: gated units stay as they are");
        }
    }
}

#[test]
fn names_of_presets_are_letters_digits_and_dashes() {
    let device = Device::discover(cold("tx2").root());
    let presets = presets(&device);
    let mode = device.space().modes()[0];
    for good in ["QUIET", "resnet18-15W", "a_b"] {
        assert!(export(&device, &presets, good, &mode).is_ok(), "{good}");
    }
    for bad in ["", "TWO WORDS", "A>", "é", "NAME=X"] {
        assert_eq!(export(&device, &presets, bad, &mode), Err(ExportError::Name(bad.to_owned())));
    }
    let none = Presets::default();
    assert_eq!(export(&device, &none, "QUIET", &mode), Err(ExportError::NoConf));
}

#[test]
fn masks_that_differ_need_a_reboot() {
    let device = Device::discover(cold("agx-orin@r35").root());
    let presets = presets(&device);
    let needs: Vec<&str> = presets
        .modes
        .iter()
        .filter(|mode| !mode.reboot_needed(&device.root).is_empty())
        .map(|mode| mode.name.as_str())
        .collect();
    assert!(!needs.contains(&"MAXN") && !needs.is_empty(), "{needs:?}");
    let one = presets.modes.iter().find(|mode| needs.contains(&mode.name.as_str())).unwrap();
    let mask = &one.reboot_needed(&device.root)[0];
    assert!(mask.path.ends_with("_pg_mask") && mask.present != mask.wanted, "{mask:?}");
}

/// A machine with a configuration of our own.
fn with_conf(text: &str, nodes: &[(&str, &str)]) -> Device {
    let tree = MemoryTree::new();
    tree.file(conf::CONF_PATH, text, 0o644);
    tree.file("/sys/devices/system/cpu/present", "0-1", 0o444);
    tree.file("/sys/devices/system/cpu/cpu1/online", "1", 0o644);
    let policy = "/sys/devices/system/cpu/cpufreq/policy0";
    tree.file(&format!("{policy}/related_cpus"), "0 1", 0o444);
    tree.file(&format!("{policy}/scaling_available_frequencies"), "100000 200000 300000", 0o444);
    for (path, value) in nodes {
        tree.file(path, value, 0o644);
    }
    Device::discover(Root::from_tree(Arc::new(tree), Source::System))
}

#[test]
fn the_oldest_files_name_paths_instead_of_parameters() {
    let device = with_conf(
        "< POWER_MODEL ID=0 NAME=OLD >\n/sys/devices/system/cpu/cpu1/online 0\n\
         /sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq 190000\n/sys/kernel/other 5\n< PM_CONFIG DEFAULT=OLD >\n",
        &[],
    );
    let presets = presets(&device);
    let old = presets.named("OLD").unwrap();
    assert!(old.default, "a default may be a name");
    assert_eq!((old.mode.cpu_cores, old.online.as_deref()), (Some(1), Some(&[0][..])));
    assert_eq!(old.mode.cpu_hz, Some(Hertz(200_000_000)), "the nearest entry");
    assert_eq!(old.left_out.len(), 1, "{:?}", old.left_out);
    assert_eq!(old.target().cpu_khz, Some(Range { min: 0, max: 200_000 }));
}

#[test]
fn a_path_of_newer_kernels_counts_where_the_other_is_not_there() {
    let text = "< PARAM TYPE=CLOCK NAME=GPU >\nMAX_FREQ /sys/old/devfreq/gpu/max_freq\n\
                MAX_FREQ_KNEXT /sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq\n\
                < POWER_MODEL ID=0 NAME=A >\nGPU MAX_FREQ 100000\n";
    let new = with_conf(text, &[("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "300000")]);
    assert_eq!(presets(&new).named("A").unwrap().mode.cpu_hz, Some(Hertz(100_000_000)));
    let old = with_conf(text, &[("/sys/old/devfreq/gpu/max_freq", "1")]);
    assert_eq!(presets(&old).named("A").unwrap().mode, PowerMode::default());
}

#[test]
fn a_configuration_that_is_none_is_a_problem_with_its_line() {
    let device = with_conf("< POWER_MODEL ID=0 NAME=A >\nGPU MAX_FREQ\n", &[]);
    let mut problems = Vec::new();
    let presets = Presets::read(&device, &mut problems);
    assert_eq!(presets, Presets::default());
    assert_eq!(problems.len(), 1);
    assert!(problems[0].cause.starts_with("/etc/nvpmodel.conf, line 2: "), "{problems:?}");
}

#[test]
fn malformed_lines_of_a_configuration_are_told_each_with_its_line_and_word() {
    let head = "< POWER_MODEL ID=1 NAME=X >\n";
    for (text, line, part) in [
        ("GPU MAX_FREQ 1\n".to_owned(), 1, "before the first section"),
        ("<>\n".to_owned(), 1, "has no kind"),
        ("< POWER_MODEL NAME=X >\n".to_owned(), 1, "has no ID"),
        ("< POWER_MODEL ID=1 >\n".to_owned(), 1, "has no NAME"),
        ("< POWER_MODEL ID=1 NAME= >\n".to_owned(), 1, "has no NAME"),
        ("< POWER_MODEL ID=1.5 NAME=X >\n".to_owned(), 1, "not a whole number"),
        ("< POWER_MODEL ID 1 >\n".to_owned(), 1, "`ID` is not NAME=VALUE"),
        ("< PARAM TYPE=file NAME=X >\n".to_owned(), 1, "none of FILE"),
        ("< FAN_CONFIG >\n".to_owned(), 1, "has no DEFAULT"),
        ("# comment\n\n< PARAM TYPE=FILE NAME=X\n".to_owned(), 3, "ends with `>`"),
        ("< PARAM TYPE=FILE NAME=X >\nA\n".to_owned(), 2, "has 0 words after it"),
        ("< PARAM TYPE=FILE NAME=X >\nA /p /q /r\n".to_owned(), 2, "has 3 words after it"),
        ("< PARAM TYPE=HWMON NAME=X >\nA /p hwmon\n".to_owned(), 2, "has 2 words after it"),
        (format!("{head}GPU MAX_FREQ 1 2\n"), 2, "is not PARAM ARGUMENT VALUE"),
        (format!("{head}GPU\n"), 2, "is not PARAM ARGUMENT VALUE"),
    ] {
        let error = Conf::parse(&text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.problem.contains(part), "{text:?}: {error}");
    }
}

#[test]
fn odd_but_good_lines_are_read() {
    let text = "  <PARAM   NAME=GPU TYPE=CLOCK>  # any order\n\tMAX_FREQ\t/a/max_freq  second\r\n\
                < PM_STATUS DEFAULT_CONFIG >\nanything at all\n< PM_CONFIG DEFAULT=7 >\n";
    // PM_STATUS has attributes of its own in some releases, each NAME=VALUE.
    let text = text.replace("DEFAULT_CONFIG", "X=1");
    let conf = Conf::parse(&text).unwrap();
    assert_eq!(conf.to_string(), text);
    let gpu = conf.param("GPU").unwrap();
    assert_eq!(
        (gpu.kind, gpu.path("MAX_FREQ"), gpu.path("MIN_FREQ")),
        (ParamType::Clock, Some("/a/max_freq"), None)
    );
    assert!(conf.default_mode().is_none(), "a default that names no mode");
    assert!(conf.param("CPU").is_none());
    for (text, id) in [("pmode:0003\n", Some(3)), ("pmode:-1", Some(-1)), ("pmode:", None), ("mode:3", None)]
    {
        assert_eq!(status_id(text), id, "{text}");
    }
}

#[test]
fn the_nearest_entry_is_taken_and_the_lower_of_two_as_near() {
    let table = [100, 200, 300];
    for (asked, expected) in [(0, 100), (149, 100), (150, 100), (151, 200), (9999, 300)] {
        assert_eq!(nearest(&table, asked), Some(expected), "{asked}");
    }
    assert_eq!(nearest(&[], 5), None);
}
