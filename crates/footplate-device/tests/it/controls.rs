//! Controls that fail: at each write in turn, for a while, for ever, and without saying so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use footplate_core::PowerMode;
use footplate_core::ports::{Clock, PowerControl, Recovery};
use footplate_device::control::{Control, Wait, present_mode};
use footplate_device::knob::{Hold, ModeTarget, Snapshot, emc, plan};
use footplate_device::sim::{Activity, Fault, SimBoard, SimOptions};
use footplate_device::{Device, Presets};

use crate::common::{Calls, Failing, boards, cold, controls, waiting};

const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EROFS: i32 = 30;

fn control(device: Device, wait: &Wait) -> Control {
    Control::new(device, &Presets::default(), Hold::Pinned, None).with_wait(wait.clone())
}

/// A mode far from the one that a board boots in.
fn low_mode(device: &Device) -> PowerMode {
    device.space().modes()[device.space().modes().len() / 5]
}

/// Writes that setting a mode takes on a board without faults.
fn writes_of(name: &str, mode: &PowerMode) -> usize {
    let board = cold(name);
    let device = Device::discover(board.root());
    plan(&device, &Snapshot::read(&device.root, &device), &ModeTarget::of(&device, mode, Hold::Pinned)).len()
}

#[test]
fn a_write_that_fails_at_any_place_is_told_with_its_path_and_all_is_put_back() {
    for name in ["tx2", "nano", "xavier-nx", "agx-orin@r35", "agx-orin@r36"] {
        let probe = Device::discover(cold(name).root());
        let mode = low_mode(&probe);
        for at in 0..writes_of(name, &mode) {
            let board = cold(name);
            let plain = Device::discover(board.root());
            let before = controls(&plain);
            let (tree, root) = Failing::of(&board, Calls::Writes, at as i64, 1, EIO);
            let mut control = control(Device::discover(root), &waiting(&board));
            let error = control.apply(&mode).unwrap_err();
            assert_eq!(error.recovery, Recovery::NextMode, "{name}, write {at}: {error}");
            assert!(error.message.contains("/sys/") && !error.permission, "{name}, write {at}: {error}");
            control.restore().unwrap_or_else(|e| panic!("{name}, write {at}: {e}"));
            assert_eq!(controls(&plain), before, "{name}, write {at}: {:?}", tree.written.lock().unwrap());
        }
    }
}

#[test]
fn what_a_failure_means_for_the_next_mode_is_told_by_its_errno() {
    for (errno, recovery, permission) in [
        (EIO, Recovery::NextMode, false),
        (EACCES, Recovery::Fatal, true),
        (EROFS, Recovery::Fatal, false),
        (EBUSY, Recovery::Retry, false),
        (EAGAIN, Recovery::Retry, false),
    ] {
        let board = cold("tx2");
        let (_, root) = Failing::of(&board, Calls::Writes, 0, i64::MAX, errno);
        let device = Device::discover(root);
        let mode = low_mode(&device);
        let mut control = control(device, &waiting(&board));
        let error = control.apply(&mode).unwrap_err();
        assert_eq!((error.recovery, error.permission), (recovery, permission), "{errno}: {error}");
    }
}

#[test]
fn a_busy_file_is_tried_again_within_a_fifth_of_a_second_and_no_longer() {
    let waited = Arc::new(AtomicU64::new(0));
    let apply = |failures: i64| {
        let board = cold("tx2");
        let (tree, root) = Failing::of(&board, Calls::Writes, 0, failures, EBUSY);
        let device = Device::discover(root);
        let mode = low_mode(&device);
        let (sum, moves) = (waited.clone(), waiting(&board));
        let wait: Wait = Arc::new(move |pause: Duration| {
            sum.fetch_add(pause.as_nanos() as u64, Ordering::Relaxed);
            moves(pause);
        });
        waited.store(0, Ordering::Relaxed);
        let result = control(device, &wait).apply(&mode).map(|applied| applied.got == mode);
        (result, tree.calls.load(Ordering::Relaxed))
    };
    let (result, _) = apply(19);
    assert_eq!(result, Ok(true), "the twentieth try is taken");
    assert!(waited.load(Ordering::Relaxed) <= 200_000_000, "{waited:?} ns");
    let (result, _) = apply(i64::MAX);
    assert_eq!(result.unwrap_err().recovery, Recovery::Retry);
}

#[test]
fn without_rights_nothing_is_written_at_all() {
    for name in boards() {
        let board =
            SimBoard::new(&name, SimOptions { root: false, heat: false, ..SimOptions::default() }).unwrap();
        let (tree, root) = Failing::of(&board, Calls::Writes, i64::MAX, 0, EIO);
        let device = Device::discover(root);
        let mode = low_mode(&device);
        let error = control(device, &waiting(&board)).apply(&mode).unwrap_err();
        assert!(error.permission && error.recovery == Recovery::Fatal, "{name}: {error}");
        assert_eq!(tree.calls.load(Ordering::Relaxed), 0, "{name}: refused before anything was changed");
    }
}

#[test]
fn a_write_that_seems_to_work_and_does_not_is_found_by_reading_back() {
    let board = cold("tx2");
    let device = Device::discover(board.root());
    let mode = low_mode(&device);
    let policy = device.cpu.policies[0].path.clone();
    let gpu = device.gpu.as_ref().unwrap().path.clone();
    let emc = device.emc.as_ref().unwrap();
    let cap = emc.cap.as_ref().unwrap().0.clone();
    for (paths, word) in [
        (vec![format!("{policy}/scaling_max_freq")], "kHz"),
        (vec![format!("{gpu}/max_freq")], "GPU: asked for"),
        // The clock comes out right as long as one of lock and cap holds it.
        (vec![emc.rate_path(), cap], "EMC: asked for"),
    ] {
        let board = cold("tx2");
        paths.iter().for_each(|path| board.inject(Fault::DoesNotStick { path: path.clone() }));
        let mut control = control(Device::discover(board.root()), &waiting(&board));
        match control.apply(&mode) {
            Ok(applied) => {
                assert_ne!(applied.got, mode, "{paths:?}");
                assert!(
                    applied.warnings.iter().any(|w| w.contains(word)),
                    "{paths:?}: {:?}",
                    applied.warnings
                );
            }
            // On 4.9 a minimum above the maximum that did not move is refused.
            Err(error) => assert_eq!(error.recovery, Recovery::NextMode, "{paths:?}: {error}"),
        }
        control.restore().unwrap();
    }
}

#[test]
fn a_core_that_does_not_come_back_fails_the_mode_and_the_board_is_put_back() {
    let board = cold("nano");
    let device = Device::discover(board.root());
    let cores = |n| PowerMode { cpu_cores: Some(n), ..PowerMode::default() };
    let mut control = control(device.clone(), &waiting(&board));
    assert_eq!(control.apply(&cores(1)).unwrap().got, cores(1));
    board.inject(Fault::CoreStaysOff { cpu: 2 });
    let error = control.apply(&cores(4)).unwrap_err();
    assert_eq!(error.recovery, Recovery::NextMode);
    assert!(error.message.contains("cpu2/online"), "{error}");
    assert!(control.restore().is_err(), "cpu2 is still dead: what was before cannot come back");
    board.heal();
    board.root().write("/sys/devices/system/cpu/cpu2/online", "1").unwrap();
    assert_eq!(present_mode(&device, &Snapshot::read(&device.root, &device)).cpu_cores, Some(3));
}

#[test]
fn heat_is_named_as_the_cause_of_a_lower_clock() {
    let board = SimBoard::new("nano", SimOptions { air_c: 90.0, ..SimOptions::default() }).unwrap();
    board.set_activity(Activity { cpu: 1.0, gpu: 1.0, memory: 1.0 });
    board.clock().wait_ns(3_000_000_000_000);
    let device = Device::discover(board.root());
    let most = *device.space().modes().last().unwrap();
    let applied = control(device, &waiting(&board)).apply(&most).unwrap();
    assert!(applied.got < most, "{}", applied.got);
    assert!(applied.warnings.iter().any(|w| w.contains("thermal limit (")), "{:?}", applied.warnings);
}

#[test]
fn only_the_knobs_of_a_mode_are_read_back() {
    let board = cold("agx-orin");
    let mut control = control(Device::discover(board.root()), &waiting(&board));
    let gpu = control.space().modes()[0].gpu_hz;
    let mode = PowerMode { gpu_hz: gpu, ..PowerMode::default() };
    let applied = control.apply(&mode).unwrap();
    assert_eq!((applied.asked, applied.got), (mode, mode));
    let present = control.present().unwrap();
    assert_eq!(present.gpu_hz, gpu);
    assert!(present.cpu_cores.is_some() && present.cpu_hz.is_some() && present.emc_hz.is_some());
}

#[test]
fn what_was_set_first_is_what_comes_back_after_many_changes() {
    for name in boards() {
        let board = cold(&name);
        let device = Device::discover(board.root());
        let before = controls(&device);
        let mut control = control(device.clone(), &waiting(&board));
        let modes = control.space().modes().to_vec();
        for at in [0, modes.len() / 2, modes.len() - 1, modes.len() / 3] {
            control.apply(&modes[at]).unwrap();
        }
        control.restore().unwrap();
        assert_eq!(controls(&device), before, "{name}");
        control.restore().unwrap();
        assert_eq!(controls(&device), before, "{name}: a second time does nothing");
    }
}

#[test]
fn dropping_the_controls_puts_back_and_keeping_does_not() {
    let board = cold("xavier-nx");
    let device = Device::discover(board.root());
    let before = controls(&device);
    let mode = low_mode(&device);
    let mut dropped = control(device.clone(), &waiting(&board));
    dropped.apply(&mode).unwrap();
    assert_ne!(controls(&device), before);
    drop(dropped);
    assert_eq!(controls(&device), before);
    let mut kept = control(device.clone(), &waiting(&board));
    kept.apply(&mode).unwrap();
    kept.keep().unwrap();
    drop(kept);
    assert_eq!(present_mode(&device, &Snapshot::read(&device.root, &device)), mode);
}

#[test]
fn where_the_emc_cannot_be_locked_it_is_capped_and_that_is_told() {
    let board = cold("nano");
    let mut device = Device::discover(board.root());
    device.emc.as_mut().unwrap().can_lock = false;
    let mode = PowerMode { emc_hz: device.tables().emc_hz.first().copied(), ..PowerMode::default() };
    let applied = control(device.clone(), &waiting(&board)).apply(&mode).unwrap();
    assert!(applied.warnings.iter().any(|w| w.contains("capped") && w.contains("not locked")), "{applied:?}");
    assert!(!emc::is_locked(device.emc.as_ref().unwrap(), &Snapshot::read(&device.root, &device)));
}

#[test]
fn a_plan_is_shown_without_a_write() {
    let board = cold("tx1");
    let (tree, root) = Failing::of(&board, Calls::Writes, i64::MAX, 0, EIO);
    let device = Device::discover(root);
    let target = ModeTarget::of(&device, &low_mode(&device), Hold::Pinned);
    assert!(control(device, &waiting(&board)).plan(&target).len() > 4);
    assert_eq!(tree.calls.load(Ordering::Relaxed), 0);
}
