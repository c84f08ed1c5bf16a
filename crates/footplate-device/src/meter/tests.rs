//! Tests of the meter on simulated boards, whose true energy is known.

use proptest::prelude::*;

use footplate_core::ports::{WindowEnergy, Workload};

use std::time::Instant;

use super::*;
use crate::rail::timing;
use crate::sim::{Activity, Fault, SimOptions, WorkloadProfile};

const S: u64 = 1_000_000_000;
const BOARDS: [&str; 13] = [
    "tx1@r28",
    "tx1",
    "tx2",
    "nano",
    "xavier-nx@r32",
    "xavier-nx",
    "agx-xavier@r32",
    "agx-xavier",
    "orin-nano",
    "orin-nx",
    "agx-orin@r35",
    "agx-orin@r36",
    "thor",
];

fn board(name: &str, options: SimOptions) -> (SimBoard, Device) {
    let board = SimBoard::new(name, options).unwrap_or_else(|e| panic!("{e}"));
    let device = Device::discover(board.root());
    (board, device)
}

/// The longest period of the rails that make up the total.
fn period_ns(device: &Device) -> u64 {
    let labels = &device.total.as_ref().unwrap().rails;
    let rails = device.rails.iter().filter(|rail| labels.contains(&rail.label));
    rails.map(|rail| timing(device, rail).period_ns).max().unwrap()
}

fn busy(share: f64) -> Activity {
    Activity { cpu: share, gpu: share, memory: share }
}

/// Runs a load in pieces of (nanoseconds, activity) with idle time around it; the reading and the true energy.
fn measured(board: &SimBoard, device: &Device, interval_ns: u64, load: &[(u64, f64)]) -> (WindowEnergy, f64) {
    let clock = board.clock();
    let mut meter = Meter::on_board(board, device, interval_ns);
    // As `measure` does: the meter runs before the command starts.
    clock.wait_ns(2 * S);
    let (from, before) = (clock.now_ns(), board.true_energy().0);
    for (duration, share) in load {
        board.set_activity(busy(*share));
        clock.wait_ns(*duration);
    }
    let (to, truth) = (clock.now_ns(), board.true_energy().0 - before);
    board.set_activity(Activity::default());
    clock.wait_ns(S);
    let reading = meter.window(from, to);
    assert!(reading.simulated);
    let total = *reading.total.value().unwrap_or_else(|| panic!("{}: {reading:?}", board.name()));
    (total, truth)
}

fn assert_agrees(name: &str, found: &WindowEnergy, truth: f64) {
    let off = found.energy_j.0 / truth - 1.0;
    assert!(off.abs() < 0.02, "{name}: {found:?} against {truth} J ({:+.2} %)", off * 100.0);
    assert!(
        (found.energy_j.0 - truth).abs() <= found.error_j.0 + 0.002 * truth,
        "{name}: {found:?} against {truth}"
    );
    assert!(found.coverage > 0.99, "{name}: {found:?}");
}

#[test]
fn constant_loads_agree_with_the_truth_on_every_board() {
    for name in BOARDS {
        let (board, device) = board(name, SimOptions::default());
        let period = period_ns(&device);
        let (found, truth) = measured(&board, &device, period, &[(20 * period, 0.8)]);
        assert_agrees(name, &found, truth);
    }
}

/// Whether the sensors show a moment: then a step between two values can lie anywhere between them.
fn shows_moments(device: &Device) -> bool {
    device.rails.iter().any(|rail| timing(device, rail).average_ns < timing(device, rail).period_ns)
}

/// Twenty periods with the step in their middle, begun at any moment of the sensors' cycle.
#[test]
fn stepped_loads_agree_with_the_truth_on_every_board() {
    for name in BOARDS {
        for load in [[0.2, 0.9], [0.9, 0.2], [0.5, 1.0]] {
            for phase in 0..6 {
                let (board, device) = board(name, SimOptions::default());
                let period = period_ns(&device);
                board.clock().wait_ns(period * phase / 6);
                let load = load.map(|share| (10 * period, share));
                let (found, truth) = measured(&board, &device, period, &load);
                assert_agrees(name, &found, truth);
            }
        }
    }
}

/// A step anywhere in twenty periods. Where values are means over the whole period nothing is lost. Where they show
/// moments, no reading tells where between two of them the step was, nor how old they are: the energy cannot be
/// better known than a period of the change, and the stated error says so.
#[test]
fn a_step_anywhere_is_within_what_the_sensors_can_tell() {
    for name in BOARDS {
        let mut off = Vec::new();
        for (load, at) in [([0.2, 0.9], 525), ([0.9, 0.2], 525), ([0.5, 1.0], 1313), ([0.9, 0.2], 1037)] {
            for phase in 0..8 {
                let (board, device) = board(name, SimOptions::default());
                let period = period_ns(&device);
                board.clock().wait_ns(period * phase / 8);
                let pieces = [(at * period / 100, load[0]), ((2000 - at) * period / 100, load[1])];
                let (found, truth) = measured(&board, &device, period, &pieces);
                let limit =
                    if shows_moments(&device) { found.error_j.0.min(0.04 * truth) } else { 0.02 * truth };
                assert!((found.energy_j.0 - truth).abs() < limit, "{name}: {found:?} against {truth}");
                off.push((found.energy_j.0 / truth - 1.0).abs());
            }
        }
        off.sort_by(f64::total_cmp);
        assert!(off[off.len() * 9 / 10] < 0.02, "{name}: {off:?}");
    }
}

#[test]
fn noisy_loads_agree_with_the_truth_on_every_board() {
    for name in BOARDS {
        let options = SimOptions { seed: 7, power_noise: 0.1, time_noise: 0.1, ..SimOptions::default() };
        let (board, device) = board(name, options);
        let period = period_ns(&device);
        let clock = board.clock();
        let mut meter = Meter::on_board(&board, &device, period);
        clock.wait_ns(2 * S);
        let (from, before) = (clock.now_ns(), board.true_energy().0);
        let mut job = board.workload(WorkloadProfile::training("resnet18", 4).unwrap());
        job.run(20, 20 * period, 10_000).unwrap();
        let (to, truth) = (clock.now_ns(), board.true_energy().0 - before);
        clock.wait_ns(S);
        let total = *meter.window(from, to).total.value().unwrap();
        assert_agrees(name, &total, truth);
    }
}

#[test]
fn fewer_than_three_samples_are_insufficient() {
    for name in BOARDS {
        let (board, device) = board(name, SimOptions::default());
        let period = period_ns(&device);
        let mut meter = Meter::on_board(&board, &device, period);
        let clock = board.clock();
        clock.wait_ns(2 * S);
        let from = clock.now_ns();
        clock.wait_ns(2 * period);
        let to = clock.now_ns();
        clock.wait_ns(S);
        let total = meter.window(from, to).total;
        let Reading::Unreadable { reason } = total else { panic!("{name}: {total:?}") };
        assert!(reason.starts_with("insufficient"), "{name}: {reason}");
        assert!(meter.least_window_ns().is_some_and(|least| least >= 3 * period), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_steps_agree(
        board_name in prop_oneof![Just("nano"), Just("tx2"), Just("orin-nano")],
        shares in proptest::collection::vec(0.1f64..1.0, 2..6),
        wait_ns in 0u64..500_000_000,
    ) {
        let (board, device) = board(board_name, SimOptions::default());
        let period = period_ns(&device);
        board.clock().wait_ns(wait_ns);
        let periods = if shows_moments(&device) { 60 } else { 20 };
        let each = periods * period / shares.len() as u64;
        let load: Vec<(u64, f64)> = shares.iter().map(|share| (each, *share)).collect();
        let (found, truth) = measured(&board, &device, period, &load);
        let off = found.energy_j.0 / truth - 1.0;
        prop_assert!(off.abs() < 0.02, "{:?} against {} J", found, truth);
    }
}

/// The real path of the file that gives a rail's power or current.
fn file_of(device: &Device, label: &str) -> String {
    let rail = device.rails.iter().find(|rail| rail.label == label).unwrap();
    rail.watts.clone().or(rail.amps.clone()).unwrap()
}

#[test]
fn one_rail_that_fails_leaves_the_others() {
    for (errno, reason) in
        [(13, "permission denied"), (61, "no data available"), (11, "temporarily unavailable")]
    {
        let (board, device) = board("tx2", SimOptions::default());
        let mut meter = Meter::on_board(&board, &device, INTERVAL_NS);
        board.clock().wait_ns(5 * S);
        board.inject(Fault::ReadFails { path: file_of(&device, "VDD_SYS_GPU"), errno });
        let from = board.clock().now_ns();
        board.clock().wait_ns(10 * S);
        let reading = meter.window(from, board.clock().now_ns());
        let rail = |name: &str| reading.rails.iter().find(|(label, _)| label == name).unwrap().1.clone();
        let Reading::Unreadable { reason: told } = rail("VDD_SYS_GPU") else { panic!("{reading:?}") };
        assert!(told.contains(reason), "{told}");
        assert!(rail("VDD_SYS_CPU").value().is_some() && reading.total.value().is_some());
        assert!(meter.notes().iter().any(|note| note.contains("VDD_SYS_GPU")));
        board.heal();
        let from = board.clock().now_ns() + 3 * S;
        board.clock().wait_ns(10 * S);
        let healed = meter.window(from, board.clock().now_ns());
        assert!(healed.rails.iter().all(|(_, rail)| rail.value().is_some()), "{healed:?}");
    }
}

#[test]
fn a_total_without_one_of_its_rails_is_no_total() {
    let (board, device) = board("agx-orin@r35", SimOptions::default());
    board.inject(Fault::Vanishes { path: file_of(&device, "VDD_CPU_CV") });
    let mut meter = Meter::on_board(&board, &device, INTERVAL_NS);
    let from = board.clock().now_ns();
    board.clock().wait_ns(5 * S);
    let reading = meter.window(from, board.clock().now_ns());
    let Reading::Unreadable { reason } = &reading.total else { panic!("{reading:?}") };
    assert!(reason.contains("VDD_CPU_CV"), "{reason}");
    let good = reading.rails.iter().filter(|(_, rail)| rail.value().is_some()).count();
    assert_eq!(good, 3, "{reading:?}");
}

#[test]
fn a_stalled_reader_lowers_the_coverage_and_a_jump_is_not_taken() {
    let (board, device) = board("nano", SimOptions::default());
    let mut meter = Meter::on_board(&board, &device, INTERVAL_NS);
    let clock = board.clock();
    clock.wait_ns(2 * S);
    let path = file_of(&device, "POM_5V_IN");
    let from = clock.now_ns();
    clock.wait_ns(5 * S);
    board.inject(Fault::SensorJumps { path: path.clone(), factor: 1e4, until_ns: clock.now_ns() + S });
    clock.wait_ns(5 * S);
    let total = *meter.window(from, clock.now_ns()).total.value().unwrap();
    assert!(total.coverage > 0.6 && total.coverage < 0.95, "{total:?}");
    assert!(total.peak_power_w.0 < 20.0, "{total:?}");
    // A value that stays the same is a value: an idle board does not move its sensor either.
    board.heal();
    let from = clock.now_ns();
    board.inject(Fault::SensorStalls { path, since_ns: 0, watts: 0.0 });
    board.set_activity(busy(1.0));
    clock.wait_ns(10 * S);
    assert!(meter.window(from, clock.now_ns()).total.value().is_some());
    assert!(
        meter.notes().iter().any(|note| note.contains("POM_5V_IN has shown the same")),
        "{:?}",
        meter.notes()
    );
}

#[test]
fn use_of_cpu_and_gpu_is_told() {
    let (board, device) = board("agx-xavier", SimOptions::default());
    let meter = Meter::on_board(&board, &device, INTERVAL_NS);
    board.clock().wait_ns(S);
    board.set_activity(Activity { cpu: 0.25, gpu: 0.9, memory: 0.5 });
    let from = board.clock().now_ns();
    board.clock().wait_ns(20 * S);
    let (cpu, gpu) = meter.usage(from, board.clock().now_ns());
    assert!((cpu.value().unwrap() - 0.25).abs() < 0.02, "{cpu:?}");
    assert!(*gpu.value().unwrap() > 0.9, "{gpu:?}");
    assert!(matches!(meter.usage(5, 5).0, Reading::Unreadable { .. }));
}

#[test]
fn a_thread_meters_in_real_time_and_ends_when_it_is_dropped() {
    let origin = Instant::now();
    let board = SimBoard::in_real_time("orin-nano", SimOptions::default(), origin).unwrap();
    let device = Device::discover(board.root());
    let clock = Arc::new(board.clock());
    let mut meter = Meter::start(&device, 5_000_000, clock.clone()).unwrap();
    let from = clock.now_ns();
    clock.wait_ns(300_000_000);
    let reading = meter.window(from, clock.now_ns());
    // Under load from other work samples may be late: what must hold is that there are some.
    assert!(reading.rails.iter().all(|(_, rail)| !matches!(rail, Reading::Absent)), "{reading:?}");
    assert!(meter.record(clock.now_ns()).is_some_and(|record| record.simulated));
    drop(meter);
}
