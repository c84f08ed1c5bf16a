//! What a person asks for, as an entry of a machine's tables, or why it cannot be had.

use std::sync::Arc;

use footplate_core::{Hertz, Watts};
use footplate_device::memory_tree::MemoryTree;
use footplate_device::wanted::{ClockKnob, WantedError, WantedMode};
use footplate_device::{Device, Root, Source};
use proptest::prelude::*;

use crate::common::cold;

/// A PC with two discrete GPUs.
fn pc(allowed: bool) -> Device {
    let tree = MemoryTree::new();
    for gpu in 0..2 {
        for (file, value) in [
            ("power_limit_mw", "250000"),
            ("power_limit_min_mw", "100000"),
            ("power_limit_max_mw", "250000"),
            ("graphics_clock_mhz", "1410"),
            ("graphics_clock_now_mhz", "210"),
            ("graphics_clocks_mhz", "210 600 1200 1410"),
        ] {
            tree.file(&format!("/nvml/{gpu}/{file}"), value, 0o644);
        }
    }
    let device = Device::discover(Root::from_tree(Arc::new(tree), Source::System));
    if allowed { device.allow_gpu_settings() } else { device }
}

fn limit(watts: f64) -> WantedMode {
    WantedMode { gpu_power_limit: Some(Watts(watts)), ..WantedMode::default() }
}

fn gpu_clock(mhz: u64) -> WantedMode {
    WantedMode { gpu_hz: Some(Hertz(mhz * 1_000_000)), ..WantedMode::default() }
}

#[test]
fn a_discrete_gpu_is_set_only_when_it_was_allowed() {
    for wanted in [limit(150.0), gpu_clock(1200)] {
        let error = wanted.resolve(&pc(false)).unwrap_err();
        assert_eq!(error, WantedError::NotAllowed);
        assert!(error.to_string().contains("--allow-gpu-settings"), "{error}");
    }
    let allowed = pc(true);
    assert_eq!(limit(150.0).resolve(&allowed).unwrap().gpu_power_limit_mw, Some(150_000));
    assert_eq!(gpu_clock(1205).resolve(&allowed).unwrap().gpu_hz, Some(Hertz(1_200_000_000)));
}

#[test]
fn a_limit_may_be_any_within_the_gpus_range() {
    let device = pc(true);
    for watts in [100.0, 137.5, 250.0] {
        let mode = limit(watts).resolve(&device).unwrap();
        assert_eq!(mode.gpu_power_limit_mw, Some((watts * 1e3) as u64));
    }
    for watts in [0.0, 99.9, 250.1, 1e12, -5.0] {
        let error = limit(watts).resolve(&device).unwrap_err();
        assert_eq!(error, WantedError::Limit { min_w: 100, max_w: 250 }, "{watts}");
    }
    assert_eq!(limit(10.0).resolve(&Device::discover(cold("tx2").root())), Err(WantedError::NoLimit));
}

#[test]
fn what_is_not_there_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = Device::discover(Root::at(folder.path()).unwrap());
    let clock = Some(Hertz(1_000_000_000));
    for (wanted, knob) in [
        (WantedMode { cpu_hz: clock, ..WantedMode::default() }, ClockKnob::Cpu),
        (WantedMode { gpu_hz: clock, ..WantedMode::default() }, ClockKnob::Gpu),
        (WantedMode { emc_hz: clock, ..WantedMode::default() }, ClockKnob::Emc),
    ] {
        let error = wanted.resolve(&nothing).unwrap_err();
        assert_eq!(error, WantedError::NoClock { knob });
        assert_eq!(error.to_string(), format!("the {knob}'s clock cannot be set on this machine"));
    }
    let cores = WantedMode { cpu_cores: Some(1), ..WantedMode::default() };
    assert_eq!(cores.resolve(&nothing), Err(WantedError::NoCores));
    assert_eq!(WantedMode::default().resolve(&nothing).unwrap(), footplate_core::PowerMode::default());
}

#[test]
fn a_clock_between_two_entries_is_told_with_the_table() {
    let device = Device::discover(cold("nano").root());
    let error = gpu_clock(350).resolve(&device).unwrap_err();
    assert_eq!(error.to_string(), "the GPU has no clock near 350 MHz");
    let WantedError::NoneNear { knob, asked, table } = error else { panic!("{error}") };
    assert_eq!((knob, asked), (ClockKnob::Gpu, Hertz(350_000_000)));
    assert_eq!(table, device.tables().gpu_hz);
}

proptest! {
    /// Whatever is asked for: the entry that is meant is in the table and within 2 %, or none is.
    #[test]
    fn a_clock_is_within_two_percent_or_refused(mhz in 1u64..3000) {
        let device = Device::discover(cold("tx2").root());
        let asked = mhz * 1_000_000;
        let near = |hz: &Hertz| hz.0.abs_diff(asked) as f64 <= 0.02 * asked as f64;
        let table = device.tables().gpu_hz;
        match gpu_clock(mhz).resolve(&device) {
            Ok(mode) => {
                let hz = mode.gpu_hz.unwrap();
                prop_assert!(table.contains(&hz) && near(&hz));
                prop_assert!(table.iter().all(|other| other.0.abs_diff(asked) >= hz.0.abs_diff(asked)));
            }
            Err(_) => prop_assert!(!table.iter().any(near)),
        }
    }
}
