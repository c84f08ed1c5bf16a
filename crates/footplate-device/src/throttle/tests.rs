//! What counts as evidence that a machine lowered its clocks by itself, and what does not.
#![expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]

use std::fs;
use std::path::Path;

use footplate_core::ports::Clock;

use super::*;
use crate::root::Root;
use crate::sim::{Activity, SimBoard, SimOptions};

const BUSY: Activity = Activity { cpu: 1.0, gpu: 1.0, memory: 1.0 };

fn watched(name: &str, air_c: f64) -> (SimBoard, ThrottleWatch) {
    let board = SimBoard::new(name, SimOptions { air_c, ..SimOptions::default() }).unwrap();
    let watch = ThrottleWatch::new(&Device::discover(board.root()));
    assert!(watch.sees_something());
    (board, watch)
}

#[test]
fn a_cool_board_shows_none() {
    for name in ["tx1", "tx2", "nano", "xavier-nx", "agx-xavier", "orin-nano", "agx-orin@r35", "agx-orin"] {
        let (board, mut watch) = watched(name, 20.0);
        for _ in 0..3 {
            board.clock().wait_ns(1_000_000_000);
            assert_eq!(watch.look(), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn heat_shows_by_the_boards_own_devices_and_warm_memory_is_no_throttling() {
    for (name, device) in [
        ("nano", "cpu-balanced"),
        ("agx-orin@r35", "cpu-throttle-alert"),
        ("agx-orin@r36", "thermal-cpufreq-0"),
    ] {
        let (board, mut watch) = watched(name, 72.0);
        board.clock().wait_ns(1_000_000_000);
        // Above 70 °C: memory refresh and surface alerts are on, and the clocks are as asked.
        assert_eq!(watch.look(), Vec::<String>::new(), "{name}");
        board.set_activity(BUSY);
        board.clock().wait_ns(2_000_000_000_000);
        let evidence = watch.look();
        assert!(evidence.iter().any(|e| e.contains(device)), "{name}: {evidence:?}");
    }
}

#[test]
fn over_current_shows_in_counters_and_in_the_real_clock() {
    let (board, mut watch) = watched("agx-orin@r35", 20.0);
    assert_eq!(watch.look(), Vec::<String>::new());
    board.limit_current(20.0);
    board.set_activity(BUSY);
    let mut seen = Vec::new();
    for _ in 0..3 {
        board.clock().wait_ns(1_000_000_000);
        seen = watch.look();
    }
    assert!(seen.iter().any(|e| e.contains("over-current events (oc2)")), "{seen:?}");
    assert!(seen.iter().any(|e| e.contains("real clock of policy0")), "{seen:?}");
}

/// A captured folder whose files can be changed between two looks.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        files.iter().for_each(|(path, text)| machine.put(path, text));
        machine
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn watch(&self) -> ThrottleWatch {
        ThrottleWatch::new(&Device::discover(Root::at(self.folder.path()).unwrap()))
    }
}

const NONE: [&str; 0] = [];
const COOLING: &str = "/sys/class/thermal/cooling_device0";
const POLICY: &str = "/sys/devices/system/cpu/cpufreq/policy0";

fn clocks(asked: &str, real: &str) -> Machine {
    Machine::new(&[
        ("/sys/devices/system/cpu/present", "0-3\n"),
        (&format!("{POLICY}/related_cpus"), "0 1 2 3\n"),
        (&format!("{POLICY}/scaling_available_frequencies"), "100000 1000000\n"),
        (&format!("{POLICY}/scaling_cur_freq"), asked),
        (&format!("{POLICY}/cpuinfo_cur_freq"), real),
    ])
}

#[test]
fn a_cooling_device_counts_while_it_is_active_and_if_its_kind_does() {
    for (kind, counts) in
        [("Processor", true), ("thermal-cpufreq-0", true), ("Fan", false), ("LCD", false), ("pwm-fan", false)]
    {
        let machine =
            Machine::new(&[(&format!("{COOLING}/type"), kind), (&format!("{COOLING}/cur_state"), "0\n")]);
        let mut watch = machine.watch();
        assert_eq!(watch.look(), NONE, "{kind}");
        machine.put(&format!("{COOLING}/cur_state"), "3\n");
        let seen = watch.look();
        assert_eq!(!seen.is_empty(), counts, "{kind}: {seen:?}");
        assert!(seen.iter().all(|text| *text == format!("cooling device {kind} is active")), "{seen:?}");
        machine.put(&format!("{COOLING}/cur_state"), "0\n");
        assert_eq!(watch.look(), NONE, "{kind}: over again");
    }
}

#[test]
fn events_before_the_first_look_are_history() {
    let counter = "/sys/class/hwmon/hwmon3/oc1_event_cnt";
    let machine = Machine::new(&[("/sys/class/hwmon/hwmon3/name", "soctherm_oc\n"), (counter, "7\n")]);
    let mut watch = machine.watch();
    assert_eq!(watch.look(), NONE);
    assert_eq!(watch.look(), NONE, "nothing was added");
    machine.put(counter, "8\n");
    assert_eq!(watch.look(), ["over-current events (oc1)"]);
    machine.put(counter, "2\n");
    assert_eq!(watch.look(), NONE, "a counter that begins anew is no event");
    machine.put(counter, "3\n");
    assert_eq!(watch.look().len(), 1);
    machine.put(counter, "many\n");
    assert_eq!(watch.look(), NONE, "what cannot be read is no evidence");
}

#[test]
fn a_real_clock_must_be_low_at_two_looks_in_a_row() {
    let machine = clocks("1000000\n", "900000\n");
    let mut watch = machine.watch();
    assert_eq!(watch.look(), NONE, "one look may fall into a change of clocks");
    assert_eq!(watch.look(), ["the real clock of policy0 is below the asked one"]);
    machine.put(&format!("{POLICY}/cpuinfo_cur_freq"), "980000\n");
    assert_eq!(watch.look(), NONE, "within 3 %");
    machine.put(&format!("{POLICY}/cpuinfo_cur_freq"), "900000\n");
    assert_eq!(watch.look(), NONE, "the count begins anew");
    machine.put(&format!("{POLICY}/cpuinfo_cur_freq"), "<unknown>\n");
    assert_eq!(watch.look(), NONE);
}

#[test]
fn a_machine_that_offers_nothing_to_watch_says_so() {
    let nothing = Machine::new(&[]);
    assert!(!nothing.watch().sees_something());
    assert!(clocks("1\n", "1\n").watch().sees_something());
    // Without the hardware's counter (which the kernel shows to root only) clocks say nothing.
    let machine = clocks("1000000\n", "1\n");
    fs::remove_file(machine.folder.path().join(format!("{}/cpuinfo_cur_freq", &POLICY[1..]))).unwrap();
    assert!(!machine.watch().sees_something());
}

#[test]
fn every_fixture_can_be_watched() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for (name, sees) in [("tx2-r32", true), ("agx-orin-r36", true), ("laptop-x86", true), ("nothing", false)]
    {
        let device = Device::discover(Root::at(&fixtures.join(format!("{name}.txt"))).unwrap());
        let mut watch = ThrottleWatch::new(&device);
        assert_eq!(watch.sees_something(), sees, "{name}");
        assert_eq!(watch.look(), NONE, "{name}: a cool machine");
    }
}
