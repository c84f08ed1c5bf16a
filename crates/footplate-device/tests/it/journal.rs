//! The journal of what was set before: torn, of another board or version, held by the living, and put back through
//! failures at each call.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use footplate_core::ports::PowerControl;
use footplate_device::control::Control;
use footplate_device::guard::{self, Guard, Journal};
use footplate_device::knob::{Hold, Snapshot};
use footplate_device::memory_tree::MemoryTree;
use footplate_device::sim::SimBoard;
use footplate_device::{Device, DeviceError, Presets, Root, Source};
use proptest::prelude::*;

use crate::common::{Calls, Failing, cold, controls, waiting};

const EIO: i32 = 5;

/// A board whose controls a process changed before it died; what they were before.
fn abandoned(name: &str, folder: &Path) -> (SimBoard, Snapshot) {
    let board = cold(name);
    let device = Device::discover(board.root());
    let before = controls(&device);
    let saved = Snapshot::read(&device.root, &device);
    Guard::take(folder).unwrap().save(device.facts.id, &saved).unwrap();
    let mut control =
        Control::new(device.clone(), &Presets::default(), Hold::Pinned, None).with_wait(waiting(&board));
    let mode = device.space().modes()[0];
    control.apply(&mode).unwrap();
    control.keep().unwrap();
    assert_ne!(controls(&device), before, "{name}: the first mode is not the one that it boots in");
    (board, before)
}

fn put_back(board: &SimBoard, folder: &Path) -> Result<Option<Journal>, DeviceError> {
    guard::put_back_with(&Device::discover(board.root()), folder, &waiting(board))
}

#[test]
fn what_a_dead_process_left_is_put_back_once_on_every_board() {
    for name in SimBoard::names() {
        let folder = tempfile::tempdir().unwrap();
        let (board, before) = abandoned(name, folder.path());
        let journal = put_back(&board, folder.path()).unwrap().unwrap();
        assert_eq!((journal.board.as_str(), journal.owner_pid), (name, std::process::id()));
        assert_eq!(controls(&Device::discover(board.root())), before, "{name}");
        assert_eq!(put_back(&board, folder.path()).unwrap(), None, "{name}: there is none left");
        assert!(!folder.path().join("journal.json").exists());
    }
}

#[test]
fn without_a_journal_nothing_is_put_back_and_no_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let board = cold("tx2");
    let missing = folder.path().join("state");
    assert_eq!(put_back(&board, &missing).unwrap(), None);
    assert!(!missing.exists());
    assert_eq!(put_back(&board, folder.path()).unwrap(), None);
}

#[test]
fn a_journal_of_another_board_is_refused_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _) = abandoned("tx2", folder.path());
    let other = cold("nano");
    let (tree, root) = Failing::of(&other, Calls::Writes, i64::MAX, 0, EIO);
    let error = guard::put_back_with(&Device::discover(root), folder.path(), &waiting(&other)).unwrap_err();
    assert_eq!(error.to_string(), "the journal is of a tx2, this machine is a nano");
    assert!(
        matches!(&error, DeviceError::OtherBoard { journal, machine } if journal == "tx2" && machine == "nano")
    );
    assert_eq!(tree.calls.load(Ordering::Relaxed), 0, "nothing was written to the wrong board");
    assert!(guard::stale(folder.path()).unwrap().is_some());
}

#[test]
fn a_write_that_fails_while_putting_back_leaves_the_journal_for_the_next_try() {
    for name in ["tx2", "xavier-nx", "agx-orin"] {
        let mut at = 0;
        loop {
            let folder = tempfile::tempdir().unwrap();
            let (board, before) = abandoned(name, folder.path());
            let (_, root) = Failing::of(&board, Calls::Writes, at, 1, EIO);
            let device = Device::discover(root);
            let wait = waiting(&board);
            let Err(error) = guard::put_back_with(&device, folder.path(), &wait) else { break };
            assert!(matches!(&error, DeviceError::Control(_)), "{name}, write {at}: {error}");
            assert!(
                guard::stale(folder.path()).unwrap().is_some(),
                "{name}, write {at}: the journal is gone"
            );
            assert!(put_back(&board, folder.path()).unwrap().is_some());
            assert_eq!(controls(&device), before, "{name}, write {at}");
            at += 1;
        }
        assert!(at >= 3, "{name}: only {at} writes were needed");
    }
}

#[test]
fn a_node_that_cannot_be_read_while_putting_back_loses_nothing_that_a_second_try_does_not_find() {
    for at in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        let (board, before) = abandoned("orin-nano", folder.path());
        let device = Device::discover(board.root());
        let (_, root) = Failing::of(&board, Calls::Reads, at, 1, EIO);
        let mut failing = device.clone();
        failing.root = root;
        let _ = guard::put_back_with(&failing, folder.path(), &waiting(&board));
        let _ = put_back(&board, folder.path()).unwrap();
        assert_eq!(controls(&device), before, "read {at}");
    }
}

#[test]
fn who_lives_keeps_the_controls_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (board, before) = abandoned("tx2", folder.path());
    let living = Guard::take(folder.path()).unwrap();
    assert_eq!(guard::stale(folder.path()).unwrap(), None, "its owner may be at work with it");
    // A journal that is there and owned by the living is not put back: there is nothing stale.
    match put_back(&board, folder.path()) {
        Err(DeviceError::Held { owner, path }) => {
            assert_eq!(owner, std::process::id().to_string());
            assert!(path.ends_with("controls.lock"));
        }
        other => panic!("{other:?}"),
    }
    assert_ne!(controls(&Device::discover(board.root())), before);
    drop(living);
    assert!(put_back(&board, folder.path()).unwrap().is_some());
}

#[test]
fn a_dead_process_s_journal_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (board, before) = abandoned("tx2", folder.path());
    let device = Device::discover(board.root());
    let mut guard = Guard::take(folder.path()).unwrap();
    let error = guard.save("tx2", &Snapshot::default()).unwrap_err();
    assert!(
        matches!(error, DeviceError::Stale { owner_pid, .. } if owner_pid == std::process::id()),
        "{error}"
    );
    // The controls refuse as well: setting more would lose what was before.
    let mut control = Control::new(device.clone(), &Presets::default(), Hold::Pinned, Some(guard))
        .with_wait(waiting(&board));
    let most = *device.space().modes().last().unwrap();
    assert!(control.apply(&most).unwrap_err().message.contains("were not put back"));
    drop(control);
    assert!(put_back(&board, folder.path()).unwrap().is_some());
    assert_eq!(controls(&device), before);
}

#[test]
fn a_journal_that_is_cut_anywhere_is_told_and_not_acted_on() {
    let folder = tempfile::tempdir().unwrap();
    let (board, _) = abandoned("nano", folder.path());
    let path = folder.path().join("journal.json");
    let whole = fs::read(&path).unwrap();
    let changed = controls(&Device::discover(board.root()));
    for cut in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = put_back(&board, folder.path()).unwrap_err().to_string();
        assert!(error.contains("journal.json") && error.contains("no journal"), "{cut}: {error}");
        assert_eq!(controls(&Device::discover(board.root())), changed, "{cut}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(put_back(&board, folder.path()).unwrap().is_some(), "whole again");
}

#[test]
fn a_journal_of_another_version_is_told_with_both() {
    let folder = tempfile::tempdir().unwrap();
    let (board, _) = abandoned("nano", folder.path());
    let path = folder.path().join("journal.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"version\": 1", "\"version\": 7");
    fs::write(&path, text).unwrap();
    let error = put_back(&board, folder.path()).unwrap_err().to_string();
    assert!(error.contains("version 7 is not known; this program writes 1"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_keeps_everyone_from_the_controls() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not-a-folder");
    fs::write(&file, "").unwrap();
    let error = Guard::take(&file).unwrap_err();
    assert!(error.to_string().contains("not-a-folder"), "{error}");
    assert!(error.io().is_some());
}

#[test]
fn a_guard_that_saved_nothing_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let (board, before) = abandoned("tx1", folder.path());
    let device = Device::discover(board.root());
    let guard = Guard::take(folder.path()).unwrap();
    assert!(!guard.has_saved() && guard.stale().unwrap().is_some());
    // Controls that were never used are dropped with it: the dead process's journal stays.
    drop(Control::new(device.clone(), &Presets::default(), Hold::Pinned, Some(guard)));
    assert!(guard::stale(folder.path()).unwrap().is_some());
    Guard::take(folder.path()).unwrap().clear().unwrap();
    assert!(guard::stale(folder.path()).unwrap().is_some());
    assert!(put_back(&board, folder.path()).unwrap().is_some());
    assert_eq!(controls(&device), before);
}

#[test]
fn a_journal_lives_from_the_first_write_to_the_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let board = cold("agx-xavier");
    let device = Device::discover(board.root());
    let path = folder.path().join("journal.json");
    let guard = Guard::take(folder.path()).unwrap();
    let modes = device.space().modes().to_vec();
    let mut control =
        Control::new(device, &Presets::default(), Hold::Pinned, Some(guard)).with_wait(waiting(&board));
    assert!(!path.exists(), "nothing is set");
    control.apply(&modes[0]).unwrap();
    let first = fs::read(&path).unwrap();
    control.apply(&modes[modes.len() - 1]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first, "it holds what was before the first change");
    control.restore().unwrap();
    assert!(!path.exists());
    // The controls are still ours, and the next change is written down anew.
    assert!(matches!(Guard::take(folder.path()), Err(DeviceError::Held { .. })));
    control.apply(&modes[0]).unwrap();
    assert!(path.exists());
    drop(control);
    assert!(!path.exists());
    assert!(Guard::take(folder.path()).is_ok());
}

#[test]
fn the_state_folder_is_that_of_the_system_or_of_the_captured_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(guard::state_folder(&Root::system()).as_deref(), Some(Path::new("/var/lib/footplate")));
    let inside = guard::state_folder(&Root::at(folder.path()).unwrap()).unwrap();
    assert_eq!(inside, folder.path().join("var/lib/footplate"));
    let text = folder.path().join("t.txt");
    fs::write(&text, "# footplate tree 1\n/x = 1\n").unwrap();
    assert_eq!(guard::state_folder(&Root::at(&text).unwrap()), None, "a text cannot be written to");
    assert_eq!(guard::state_folder(&cold("tx2").root()), None);
}

/// Who set a discrete GPU's limit was allowed to; putting it back needs no further word.
#[test]
fn a_gpu_s_limit_is_put_back_without_being_allowed_again() {
    let folder = tempfile::tempdir().unwrap();
    let tree = MemoryTree::new();
    for (file, value) in
        [("power_limit_mw", "250000"), ("power_limit_min_mw", "100000"), ("power_limit_max_mw", "250000")]
    {
        tree.file(&format!("/nvml/0/{file}"), value, 0o644);
    }
    let root = Root::from_tree(std::sync::Arc::new(tree), Source::System);
    let allowed = Device::discover(root.clone()).allow_gpu_settings();
    let saved = Snapshot::read(&root, &allowed);
    Guard::take(folder.path()).unwrap().save("generic", &saved).unwrap();
    root.write("/nvml/0/power_limit_mw", "125000").unwrap();
    guard::put_back(&Device::discover(root.clone()), folder.path()).unwrap().unwrap();
    assert_eq!(root.number::<u64>("/nvml/0/power_limit_mw").unwrap(), 250_000);
}

proptest! {
    /// Any snapshot comes back from its journal as it was.
    #[test]
    fn a_journal_holds_any_values(values in proptest::collection::btree_map("/[a-z0-9/_.@-]{1,30}", "\\PC{0,30}", 0..20)) {
        let folder = tempfile::tempdir().unwrap();
        let saved = Snapshot { values };
        Guard::take(folder.path()).unwrap().save("tx2", &saved).unwrap();
        let journal = guard::stale(folder.path()).unwrap().unwrap();
        prop_assert_eq!(journal.saved, saved);
    }
}
