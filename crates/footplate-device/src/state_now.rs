//! The machine's state at one moment, for the run log: cores, clocks asked and got, the distance to throttling.
//!
//! Everything is read anew with each look, some dozen short files: what comes and goes (a cluster that is switched
//! off, an engine without power) needs no care then.

use footplate_core::record::{ClockState, MachineRecord};
use footplate_core::{Bytes, Celsius, Hertz, Reading};

use crate::discover::MHZ;
use crate::discover::{Device, EmcKnob, Policy, hertz_of};
use crate::error::reading;
use crate::parse;
use crate::root::content;

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Reads the state of a machine. `memory_bytes` is of the process, which only itself knows.
pub fn read(device: &Device, t_ns: u64, memory_bytes: Reading<Bytes>) -> MachineRecord {
    let online = online(device);
    let mut clocks = cpu_clocks(device, online.value().map(Vec::as_slice));
    clocks.extend(gpu_clocks(device));
    clocks.extend(device.emc.as_ref().map(|knob| emc_clock(device, knob)));
    let (trip_c, trip_distance_c) = nearest_trip(device);
    let cpu_cores = online.map(|cpus| cpus.len() as u32);
    let simulated = device.root.is_simulated();
    MachineRecord { t_ns, cpu_cores, clocks, trip_c, trip_distance_c, memory_bytes, simulated }
}

fn online(device: &Device) -> Reading<Vec<u32>> {
    let cpus = device
        .root
        .text(ONLINE)
        .and_then(|text| parse::cpu_list(&text).ok_or_else(|| content(ONLINE, &text, "a list of CPUs")));
    reading(cpus)
}

/// One clock for each frequency domain with a CPU that is on.
fn cpu_clocks(device: &Device, online: Option<&[u32]>) -> Vec<ClockState> {
    let is_on = |policy: &&Policy| online.is_none_or(|on| policy.cpus.iter().any(|cpu| on.contains(cpu)));
    let policies: Vec<&Policy> = device.cpu.policies.iter().filter(is_on).collect();
    let single = device.cpu.policies.len() == 1;
    let clock = |policy: &&Policy| {
        let first = policy.cpus.first().copied().unwrap_or(0);
        ClockState {
            label: if single { "CPU".to_owned() } else { format!("CPU{first}") },
            asked_hz: hertz_of(&device.root, &format!("{}/scaling_max_freq", policy.path), 1000),
            got_hz: hertz_of(&device.root, &format!("{}/scaling_cur_freq", policy.path), 1000),
        }
    };
    policies.iter().map(clock).collect()
}

fn gpu_clocks(device: &Device) -> Vec<ClockState> {
    let root = &device.root;
    if let Some(gpu) = &device.gpu {
        return vec![ClockState {
            label: "GPU".to_owned(),
            asked_hz: hertz_of(root, &format!("{}/max_freq", gpu.path), 1),
            got_hz: hertz_of(root, &format!("{}/cur_freq", gpu.path), 1),
        }];
    }
    let single = device.gpu_clocks.len() == 1;
    let clocks = device.gpu_clocks.iter().enumerate();
    clocks
        .map(|(index, clock)| ClockState {
            label: if single { "GPU".to_owned() } else { format!("GPU{index}") },
            asked_hz: hertz_of(root, &clock.path, MHZ),
            got_hz: hertz_of(root, &clock.now_path, MHZ),
        })
        .collect()
}

/// The memory controller is held to its cap; without one, to the end of its table.
fn emc_clock(device: &Device, knob: &EmcKnob) -> ClockState {
    let cap = knob.cap.as_ref().and_then(|(path, uncapped)| {
        let text = device.root.text(path).ok()?;
        if text == *uncapped { None } else { text.parse().ok() }
    });
    let limit: Option<u64> = cap.filter(|hz| *hz > 0).or(knob.table_hz.last().copied());
    ClockState {
        label: "EMC".to_owned(),
        asked_hz: limit.map(Hertz).into(),
        got_hz: knob.present(&device.root),
    }
}

/// The trip of the zone that is nearest to its own, and how far it is from it.
fn nearest_trip(device: &Device) -> (Reading<Celsius>, Reading<Celsius>) {
    let mut nearest: Option<(f64, f64)> = None;
    let mut why_not = None;
    for zone in device.zones.iter().filter(|zone| zone.is_measured()) {
        let Some(trip) = zone.passive else { continue };
        match zone.temperature(&device.root) {
            Reading::Value(now) => {
                let distance = trip.0 - now.0;
                if nearest.is_none_or(|(_, least)| distance < least) {
                    nearest = Some((trip.0, distance));
                }
            }
            Reading::Unreadable { reason } => why_not = Some(reason),
            Reading::Absent => {}
        }
    }
    match (nearest, why_not) {
        (Some((trip, distance)), _) => (Reading::Value(Celsius(trip)), Reading::Value(Celsius(distance))),
        (None, Some(reason)) => {
            let unreadable = || Reading::unreadable(&reason);
            (unreadable(), unreadable())
        }
        (None, None) => (Reading::Absent, Reading::Absent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;
    use crate::sim::{Fault, SimBoard, SimOptions};

    fn look(board: &SimBoard) -> MachineRecord {
        read(&Device::discover(board.root()), 7, Reading::Absent)
    }

    #[test]
    fn every_simulated_board_tells_its_clocks_and_its_distance_to_throttling() {
        for name in SimBoard::names() {
            let board = SimBoard::new(name, SimOptions::default()).unwrap();
            let record = look(&board);
            assert!(record.simulated, "{name}");
            assert!(record.cpu_cores.value().is_some_and(|n| *n > 0), "{name}: {record:?}");
            for clock in &record.clocks {
                let (asked, got) = (clock.asked_hz.value(), clock.got_hz.value());
                assert!(asked.is_some() && got.is_some(), "{name}: {clock:?}");
            }
            assert!(record.clocks.iter().any(|clock| clock.label == "GPU"), "{name}");
            let trips = Device::discover(board.root()).zones.iter().any(|zone| zone.passive.is_some());
            assert_eq!(record.trip_distance_c.value().is_some(), trips, "{name}");
        }
    }

    #[test]
    fn a_cluster_that_is_off_has_no_clock() {
        let board = SimBoard::new("agx-orin", SimOptions::default()).unwrap();
        let before = look(&board);
        let clusters = before.clocks.iter().filter(|clock| clock.label.starts_with("CPU")).count();
        for cpu in 8..12 {
            board.root().write(&format!("/sys/devices/system/cpu/cpu{cpu}/online"), "0").unwrap();
        }
        let after = look(&board);
        assert_eq!(after.cpu_cores, Reading::Value(8));
        let left = after.clocks.iter().filter(|clock| clock.label.starts_with("CPU")).count();
        assert_eq!((clusters, left), (3, 2));
    }

    #[test]
    fn a_limit_is_asked_for_and_what_cannot_be_read_says_why() {
        let board = SimBoard::new("xavier-nx", SimOptions::default()).unwrap();
        let device = Device::discover(board.root());
        let policy = &device.cpu.policies[0];
        let low = policy.table_khz[2];
        board.root().write(&format!("{}/scaling_max_freq", policy.path), &low.to_string()).unwrap();
        let cpu = look(&board).clocks.remove(0);
        assert_eq!(cpu.asked_hz, Reading::Value(Hertz(low * 1000)));
        assert!(cpu.got_hz.value().is_some_and(|hz| hz.0 <= low * 1000), "{cpu:?}");
        board.inject(Fault::ReadFails { path: format!("{}/scaling_cur_freq", policy.path), errno: 5 });
        let cpu = look(&board).clocks.remove(0);
        assert!(matches!(cpu.got_hz, Reading::Unreadable { .. }), "{cpu:?}");
    }

    #[test]
    fn a_machine_that_tells_nothing_has_nothing_rather_than_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::discover(Root::at(folder.path()).unwrap());
        let record = read(&device, 0, Reading::Value(Bytes(5)));
        assert_eq!((record.cpu_cores, record.clocks.len()), (Reading::Absent, 0));
        assert_eq!((record.trip_c, record.trip_distance_c), (Reading::Absent, Reading::Absent));
        assert_eq!(record.memory_bytes, Reading::Value(Bytes(5)));
    }
}
