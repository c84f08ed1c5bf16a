//! Tests of the whole simulated board: the kernel's rules by generation, power, heat, sensors and faults.

use footplate_core::ports::Workload;
use proptest::prelude::*;

use super::*;

const CPU: &str = "/sys/devices/system/cpu";

fn board(name: &str) -> SimBoard {
    SimBoard::new(name, SimOptions::default()).unwrap()
}

fn text(root: &Root, path: &str) -> String {
    root.text(path).unwrap_or_else(|e| panic!("{e}"))
}

fn errno(result: Result<(), DeviceError>) -> Option<i32> {
    result.err().and_then(|e| e.io().and_then(io::Error::raw_os_error))
}

fn every_board() -> Vec<String> {
    let releases =
        |facts: &'static BoardFacts| facts.releases.iter().map(move |r| format!("{}@{}", facts.id, r.id));
    board::BOARDS.into_iter().flat_map(releases).collect()
}

#[test]
fn every_board_and_release_can_be_made_and_all_its_nodes_be_read() {
    assert_eq!(SimBoard::names().len(), 9);
    for name in every_board() {
        let board = board(&name);
        let root = board.root();
        assert!(root.is_simulated());
        for (path, _) in board.inner.tree.nodes() {
            if root.tree().link(&path).is_ok() || root.tree().list(&path).is_ok() {
                assert!(root.exists(&path), "{name}: {path} leads nowhere");
                continue;
            }
            let result = root.bytes(&path);
            let is_off = path.ends_with("/temp") || path.contains("hwmon");
            assert!(result.is_ok() || is_off, "{name}: {path}: {result:?}");
        }
    }
    assert!(SimBoard::new("tx3", SimOptions::default()).is_err_and(|e| e.to_string().contains("agx-orin")));
    assert!(SimBoard::new("tx2@r99", SimOptions::default()).is_err());
}

#[test]
fn old_kernels_refuse_a_minimum_above_the_maximum_and_new_ones_let_the_maximum_win() {
    let old = board("tx2").root();
    let (min, max) = (
        format!("{CPU}/cpufreq/policy0/scaling_min_freq"),
        format!("{CPU}/cpufreq/policy0/scaling_max_freq"),
    );
    old.write(&max, "1113600").unwrap();
    assert_eq!(errno(old.write(&min, "1267200")), Some(22));
    old.write(&min, "806400").unwrap();
    assert_eq!(errno(old.write(&max, "499200")), Some(22));
    assert_eq!((text(&old, &min), text(&old, &max)), ("806400".into(), "1113600".into()));
    let new = board("agx-orin").root();
    new.write(&max, "1113600").unwrap();
    new.write(&min, "1267200").unwrap();
    assert_eq!((text(&new, &min), text(&new, &max)), ("1113600".into(), "1113600".into()));
    let gpu = |name: &str| format!("/sys/class/devfreq/{name}");
    let tx2 = gpu("17000000.gp10b");
    old.write(&format!("{tx2}/max_freq"), "600000000").unwrap();
    assert_eq!(errno(old.write(&format!("{tx2}/min_freq"), "700000000")), Some(22));
    assert_eq!(errno(old.write(&format!("{tx2}/min_freq"), "much")), Some(22));
}

#[test]
fn hotplug_is_busy_on_new_kernels_and_resets_a_policy_that_was_all_off() {
    let root = board("agx-orin").root();
    let (min, max) = (
        format!("{CPU}/cpufreq/policy8/scaling_min_freq"),
        format!("{CPU}/cpufreq/policy8/scaling_max_freq"),
    );
    root.write(&max, "1113600").unwrap();
    for cpu in 8..12 {
        root.write(&format!("{CPU}/cpu{cpu}/online"), "0").unwrap();
    }
    assert_eq!(text(&root, &format!("{CPU}/online")), "0-7");
    assert_eq!(errno(root.write(&max, "1113600")), Some(22), "a policy without cores takes no store");
    root.write(&format!("{CPU}/cpu8/online"), "1").unwrap();
    assert_eq!(errno(root.write(&min, "729600")), Some(16));
    assert_eq!(errno(root.write(&min, "729600")), Some(16));
    root.write(&min, "729600").unwrap();
    assert_eq!(text(&root, &max), "2201600");
    assert!(!root.exists(&format!("{CPU}/cpu0/online")), "5.10 does not let cpu0 go");
    let old = board("nano").root();
    assert_eq!(errno(old.write(&format!("{CPU}/cpu0/online"), "0")), Some(1));
}

#[test]
fn masks_refuse_and_a_gated_gpu_has_no_clock() {
    let orin = board("agx-orin@r35");
    let root = orin.root();
    let gpu = "/sys/devices/17000000.ga10b";
    assert_eq!(text(&root, &format!("{gpu}/devfreq/17000000.ga10b/cur_freq")), "0");
    root.write(&format!("{gpu}/railgate_enable"), "0").unwrap();
    assert_eq!(text(&root, &format!("{gpu}/devfreq/17000000.ga10b/cur_freq")), "114750000");
    assert_eq!(errno(root.write(&format!("{gpu}/tpc_pg_mask"), "252")), Some(16));
    let same = text(&root, &format!("{gpu}/tpc_pg_mask"));
    root.write(&format!("{gpu}/tpc_pg_mask"), &same).unwrap();
    let xavier = board("agx-xavier@r32").root();
    let mask = "/sys/devices/17000000.gv11b/tpc_pg_mask";
    if xavier.exists(mask) {
        assert_eq!(errno(xavier.write(mask, "5")), Some(19));
    }
}

#[test]
fn the_emc_follows_floors_until_it_is_locked_or_capped() {
    let root = board("agx-orin@r35").root();
    let emc = "/sys/kernel/debug/bpmp/debug/clk/emc";
    let floor = format!("{CPU}/cpufreq/policy0/scaling_min_freq");
    root.write(&floor, "2201600").unwrap();
    assert_eq!(text(&root, &format!("{emc}/rate")), "2133000000", "the floor of a fast CPU");
    root.write(&format!("{emc}/mrq_rate_locked"), "1").unwrap();
    root.write(&format!("{emc}/state"), "1").unwrap();
    root.write(&format!("{emc}/rate"), "665600000").unwrap();
    assert_eq!(text(&root, &format!("{emc}/rate")), "2133000000", "the bandwidth manager still asks");
    root.write("/sys/kernel/debug/bpmp/debug/bwmgr/bwmgr_halt", "1").unwrap();
    assert_eq!(text(&root, &format!("{emc}/rate")), "665600000");
    root.write("/sys/kernel/nvpmodel_emc_cap/emc_iso_cap", "204000000").unwrap();
    assert_eq!(text(&root, &format!("{emc}/rate")), "204000000", "a lock does not pass the cap");
}

#[test]
fn who_is_not_root_sees_what_the_release_lets_him_see() {
    let options = SimOptions { root: false, ..SimOptions::default() };
    let seen = |name: &str, pattern: &str| {
        let root = SimBoard::new(name, options).unwrap().root();
        let path = root.matches(pattern).first().cloned().unwrap_or_else(|| panic!("{name}: {pattern}"));
        root.text(&path).map_err(|e| e.is_permission())
    };
    let current = "/sys/class/hwmon/hwmon*/curr1_input";
    assert_eq!(seen("agx-orin@r35", current), Err(true));
    assert!(seen("agx-orin@r36", current).is_ok());
    assert_eq!(seen("tx2", "/sys/bus/iio/devices/iio:device*/in_power0_input"), Err(true));
    assert!(seen("tx2", &format!("{CPU}/cpufreq/policy0/scaling_max_freq")).is_ok());
    let root = SimBoard::new("tx2", options).unwrap().root();
    let write = root.write(&format!("{CPU}/cpufreq/policy0/scaling_max_freq"), "1113600");
    assert!(write.is_err_and(|e| e.is_permission()));
}

/// An INA3221 reading in watts through whatever driver the board has.
fn shown_w(root: &Root, label: &str) -> f64 {
    for path in root.matches("/sys/bus/iio/devices/iio:device*/rail_name_*") {
        if text(root, &path) == label {
            let power = path.replace("rail_name_", "in_power") + "_input";
            return text(root, &power).parse::<f64>().unwrap() / 1e3;
        }
    }
    for path in root.matches("/sys/class/hwmon/hwmon*/in*_label") {
        if text(root, &path) == label {
            let volts: f64 = text(root, &path.replace("_label", "_input")).parse().unwrap();
            let current = path.replace("/in", "/curr").replace("_label", "_input");
            return volts * text(root, &current).parse::<f64>().unwrap() / 1e6;
        }
    }
    panic!("no rail {label}");
}

#[test]
fn rails_add_up_to_what_the_board_draws() {
    for (name, rails) in [
        ("tx1", &["VDD_IN"][..]),
        ("nano", &["POM_5V_IN"]),
        ("agx-xavier", &["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]),
        ("agx-orin", &["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]),
        ("orin-nano", &["VDD_IN"]),
    ] {
        let board = board(name);
        board.set_activity(Activity { cpu: 0.7, gpu: 0.8, memory: 0.5 });
        board.clock().wait_ns(2_000_000_000);
        let shown: f64 = rails.iter().map(|rail| shown_w(&board.root(), rail)).sum();
        let now = board.clock().now_ns();
        let truth = board.true_mean_power(now - 100_000_000, now).0;
        assert!((shown / truth - 1.0).abs() < 0.03, "{name}: {shown} against {truth}");
    }
}

#[test]
fn a_hot_board_throttles_and_says_so() {
    let options = SimOptions { air_c: 75.0, ..SimOptions::default() };
    let board = SimBoard::new("nano", options).unwrap();
    let root = board.root();
    let alert = |root: &Root| {
        let kinds = root.matches("/sys/class/thermal/cooling_device*/type");
        let path = kinds.iter().find(|path| text(root, path) == "cpu-balanced").unwrap();
        text(root, &path.replace("/type", "/cur_state"))
    };
    assert_eq!(alert(&root), "0");
    let mut job = board.workload(WorkloadProfile::training("resnet18", 8).unwrap());
    let cool = job.run(1, 0, 1).unwrap()[0].step_ns;
    job.run(1, 900_000_000_000, 100_000).unwrap();
    assert_ne!(alert(&root), "0");
    let warm = job.run(1, 0, 1).unwrap()[0].step_ns;
    assert!(warm > cool, "{warm} {cool}");
    assert!((90.0..101.0).contains(&board.temperature().0), "{}", board.temperature());
}

#[test]
fn steps_take_the_time_and_energy_that_the_truth_says() {
    let options = SimOptions { heat: false, ..SimOptions::default() };
    for name in SimBoard::names() {
        let board = SimBoard::new(name, options).unwrap();
        let mut job = board.workload(WorkloadProfile::training("resnet18", 16).unwrap());
        let before = board.true_energy();
        let steps = job.run(20, 0, 20).unwrap();
        let energy = board.true_energy().0 - before.0;
        board.set_activity(Activity { cpu: 1.0, gpu: 1.0, memory: 1.0 });
        let mode = mode_of(&board.state().clocks());
        let time: f64 = steps.iter().map(|step| step.step_ns as f64 / 1e9).sum();
        assert!((time / (20.0 * job.true_time_s(&mode)) - 1.0).abs() < 1e-3, "{name}");
        assert!((energy / (20.0 * job.true_energy(&mode, 50.0).0) - 1.0).abs() < 1e-3, "{name}");
    }
}

fn mode_of(clocks: &physics::Clocks) -> footplate_core::PowerMode {
    use footplate_core::Hertz;
    footplate_core::PowerMode {
        cpu_cores: Some(clocks.cores),
        cpu_hz: Some(Hertz(clocks.cpu_hz as u64)),
        gpu_hz: Some(Hertz(clocks.gpu_hz as u64)),
        emc_hz: Some(Hertz(clocks.emc_hz as u64)),
        gpu_power_limit_mw: None,
    }
}

#[test]
fn faults_are_what_they_are_called() {
    let board = board("nano");
    let root = board.root();
    let max = format!("{CPU}/cpufreq/policy0/scaling_max_freq");
    let power = "/sys/bus/iio/devices/iio:device0/in_power0_input";
    board.inject(Fault::WriteDenied { path: format!("{CPU}/cpu1/cpufreq/scaling_max_freq") });
    assert!(root.write(&max, "921600").is_err_and(|e| e.is_permission()));
    board.heal();
    board.inject(Fault::DoesNotStick { path: max.clone() });
    root.write(&max, "921600").unwrap();
    assert_eq!(text(&root, &max), "1479000");
    board.heal();
    board.inject(Fault::CoreStaysOff { cpu: 3 });
    root.write(&format!("{CPU}/cpu3/online"), "0").unwrap();
    assert_eq!(errno(root.write(&format!("{CPU}/cpu3/online"), "1")), Some(5));
    board.heal();
    root.write(&format!("{CPU}/cpu3/online"), "1").unwrap();
    board.clock().wait_ns(1_000_000_000);
    let idle = text(&root, power);
    board.inject(Fault::SensorStalls { path: power.into(), since_ns: 0, watts: 0.0 });
    board.set_activity(Activity { cpu: 1.0, gpu: 1.0, memory: 1.0 });
    board.clock().wait_ns(1_000_000_000);
    assert_eq!(text(&root, power), idle);
    board.heal();
    let busy: f64 = text(&root, power).parse().unwrap();
    assert!(busy > 2.0 * idle.parse::<f64>().unwrap());
    let until_ns = board.clock().now_ns() + 1_000_000_000;
    board.inject(Fault::SensorJumps { path: power.into(), factor: 50.0, until_ns });
    assert!(text(&root, power).parse::<f64>().unwrap() > 40.0 * busy);
    board.clock().wait_ns(1_000_000_001);
    assert!(text(&root, power).parse::<f64>().unwrap() < 1.5 * busy);
    board.inject(Fault::ReadFails { path: power.into(), errno: 11 });
    assert_eq!(errno(root.text(power).map(|_| ())), Some(11));
    board.inject(Fault::Vanishes { path: power.into() });
    assert!(root.text(power).is_err_and(|e| e.is_absent()));
}

#[test]
fn the_same_seed_gives_the_same_noise() {
    let run = |seed: u64| {
        let options = SimOptions { seed, power_noise: 0.05, time_noise: 0.05, ..SimOptions::default() };
        let board = SimBoard::new("tx2", options).unwrap();
        let mut job = board.workload(WorkloadProfile::training("resnet18", 8).unwrap());
        job.run(5, 0, 5).unwrap().iter().map(|step| step.step_ns).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

proptest! {
    /// Whatever is written, in whatever order: minimum ≤ maximum, and clocks inside their tables.
    #[test]
    fn no_write_breaks_a_limit(
        name in prop_oneof![Just("tx2"), Just("nano"), Just("xavier-nx"), Just("agx-orin")],
        writes in proptest::collection::vec((0usize..6, 0u64..3_000_000_000), 1..40),
    ) {
        let root = board(name).root();
        let policy = format!("{CPU}/cpufreq/policy0");
        let gpu = root.matches("/sys/class/devfreq/*")[0].clone();
        let number = |path: &str| text(&root, path).parse::<u64>().unwrap();
        for (which, value) in writes {
            let (path, value) = match which {
                0 => (format!("{policy}/scaling_min_freq"), value / 1000),
                1 => (format!("{policy}/scaling_max_freq"), value / 1000),
                2 => (format!("{gpu}/min_freq"), value),
                3 => (format!("{gpu}/max_freq"), value),
                4 => (format!("{CPU}/cpu{}/online", 1 + value % 3), value % 2),
                _ => ("/sys/kernel/nvpmodel_emc_cap/emc_iso_cap".to_owned(), value),
            };
            let _ = root.write(&path, &value.to_string());
            let cpu = [number(&format!("{policy}/scaling_min_freq")), number(&format!("{policy}/scaling_max_freq"))];
            prop_assert!(cpu[0] <= cpu[1], "{:?}", cpu);
            let hz = [number(&format!("{gpu}/min_freq")), number(&format!("{gpu}/max_freq"))];
            prop_assert!(hz[0] <= hz[1], "{:?}", hz);
        }
    }
}
