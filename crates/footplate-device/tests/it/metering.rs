//! What a meter tells of windows of time: energy, temperature, throttling, and records for the log.

use footplate_core::ports::{Clock, PowerMeter};
use footplate_core::record::PowerRecord;
use footplate_core::{Celsius, Reading};
use footplate_device::meter::{INTERVAL_NS, Meter};
use footplate_device::report::Report;
use footplate_device::sim::{Activity, Fault, SimBoard, SimOptions};
use footplate_device::{Device, Root};

use crate::common::boards;

const S: u64 = 1_000_000_000;

const NONE: [&str; 0] = [];

#[test]
fn heat_that_throttles_any_board_is_evidence_in_its_meter_and_its_report() {
    for name in boards() {
        let board = SimBoard::new(&name, SimOptions { air_c: 88.0, ..SimOptions::default() }).unwrap();
        let device = Device::discover(board.root());
        let mut meter = Meter::on_board(&board, &device, INTERVAL_NS);
        board.set_activity(Activity { cpu: 1.0, gpu: 1.0, memory: 1.0 });
        board.clock().wait_ns(600 * S);
        let (from, to) = (board.clock().now_ns() - 10 * S, board.clock().now_ns());
        let reading = meter.window(from, to);
        let hot = reading.temperature_c.value().is_some_and(|celsius| celsius.0 > 85.0);
        assert!(hot, "{name}: {:?}", reading.temperature_c);
        // Events of over-current come besides; a report counts them on their own.
        let cooled = reading.throttled.iter().any(|text| text.starts_with("cooling device"));
        assert_eq!(cooled, !Report::read(&device).throttled.is_empty(), "{name}: {:?}", reading.throttled);
    }
}

#[test]
fn evidence_has_its_time_and_does_not_taint_windows_before_it() {
    let board = SimBoard::new("agx-orin@r35", SimOptions::default()).unwrap();
    let device = Device::discover(board.root());
    let mut meter = Meter::on_board(&board, &device, INTERVAL_NS);
    board.clock().wait_ns(10 * S);
    board.limit_current(5.0);
    board.clock().wait_ns(10 * S);
    let throttled = |meter: &mut Meter, from: u64, to: u64| meter.window(from * S, to * S).throttled;
    assert_eq!(throttled(&mut meter, 2, 8), NONE);
    let seen = throttled(&mut meter, 12, 18);
    assert!(seen.iter().any(|text| text.contains("over-current")), "{seen:?}");
    assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]), "each once: {seen:?}");
}

#[test]
fn a_zone_that_fails_leaves_the_others_and_none_left_is_unreadable() {
    let board = SimBoard::new("nano", SimOptions { heat: false, ..SimOptions::default() }).unwrap();
    let device = Device::discover(board.root());
    let mut meter = Meter::on_board(&board, &device, INTERVAL_NS);
    board.clock().wait_ns(5 * S);
    let before = meter.window(2 * S, 5 * S).temperature_c;
    assert!(matches!(before, Reading::Value(Celsius(celsius)) if celsius > 30.0), "{before:?}");
    for zone in &device.zones[1..] {
        board.inject(Fault::ReadFails { path: format!("{}/temp", zone.path), errno: 11 });
    }
    board.clock().wait_ns(5 * S);
    assert!(meter.window(7 * S, 10 * S).temperature_c.value().is_some());
    board.inject(Fault::ReadFails { path: format!("{}/temp", device.zones[0].path), errno: 11 });
    board.clock().wait_ns(10 * S);
    let none = meter.window(14 * S, 20 * S).temperature_c;
    assert_eq!(none.reason(), Some("no thermal zone gave a temperature"));
    // A machine without zones is another thing.
    let folder = tempfile::tempdir().unwrap();
    let bare = Device::discover(Root::at(folder.path()).unwrap());
    let reading = Meter::on_board(&board, &bare, INTERVAL_NS).window(0, S);
    assert!(reading.temperature_c.is_absent() && reading.total.is_absent() && reading.rails.is_empty());
}

fn watts(record: &PowerRecord) -> f64 {
    record.total_w.value().unwrap_or_else(|| panic!("{record:?}")).0
}

#[test]
fn records_for_the_log_follow_each_other_without_a_gap() {
    let board = SimBoard::new("tx2", SimOptions { heat: false, ..SimOptions::default() }).unwrap();
    let device = Device::discover(board.root());
    let meter = Meter::on_board(&board, &device, INTERVAL_NS);
    board.clock().wait_ns(2 * S);
    let idle = meter.record(board.clock().now_ns()).unwrap();
    board.set_activity(Activity { cpu: 1.0, gpu: 1.0, memory: 1.0 });
    board.clock().wait_ns(5 * S);
    let busy = meter.record(board.clock().now_ns()).unwrap();
    assert_eq!((idle.t_ns, idle.span_ns), (2 * S, 2 * S));
    assert_eq!((busy.t_ns, busy.span_ns), (7 * S, 5 * S));
    assert!(watts(&busy) > 2.0 * watts(&idle), "{busy:?}");
    assert!(busy.simulated && busy.rails.len() == device.rails.len());
    // At once again there is no new value, and no old one is told in its place.
    let nothing = meter.record(board.clock().now_ns()).unwrap();
    assert_eq!(nothing.total_w.reason(), Some("no new value"));
}

#[test]
fn windows_side_by_side_add_up_to_the_whole() {
    for name in ["tx2", "agx-orin@r35", "nano"] {
        let board = SimBoard::new(name, SimOptions { heat: false, ..SimOptions::default() }).unwrap();
        let device = Device::discover(board.root());
        let mut meter = Meter::on_board(&board, &device, INTERVAL_NS);
        board.clock().wait_ns(3 * S);
        for share in [0.2, 0.9, 0.5] {
            board.set_activity(Activity { cpu: share, gpu: share, memory: share });
            board.clock().wait_ns(10 * S);
        }
        board.clock().wait_ns(S);
        let mut energy = |from: u64, to: u64| meter.window(from * S, to * S).total.into_value().unwrap();
        let whole = energy(3, 33);
        let parts: f64 =
            [(3, 13), (13, 23), (23, 33)].map(|(from, to)| energy(from, to).energy_j.0).iter().sum();
        assert!((parts / whole.energy_j.0 - 1.0).abs() < 0.005, "{name}: {parts} J of {whole:?}");
        assert!(whole.peak_power_w.0 >= whole.mean_power_w.0, "{name}: {whole:?}");
    }
}
