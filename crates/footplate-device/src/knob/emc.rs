//! Write plans for the memory controller's clock, by generation: cap, lock, and the bandwidth manager's halt.

use crate::discover::{BWMGR_HALT, EmcControl, EmcKnob};

use super::{Snapshot, Write};

/// What is wanted of the EMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmcTarget {
    /// This clock, in Hz, held.
    Lock(u64),
    /// Not above this clock, in Hz.
    Cap(u64),
    /// Neither locked nor capped: the kernel's governors choose.
    Free,
}

/// The nodes of the lock in the order in which they are written, with what locks.
fn lock_nodes(emc: &EmcKnob, hz: u64) -> Vec<Write> {
    let folder = emc.folder();
    match emc.control {
        EmcControl::ClkOverride => vec![
            Write::new(format!("{folder}/clk_update_rate"), hz),
            Write::new(format!("{folder}/clk_state"), 1),
        ],
        EmcControl::Bpmp | EmcControl::BpmpHalt => {
            let mut writes = vec![
                Write::new(format!("{folder}/mrq_rate_locked"), 1),
                Write::new(format!("{folder}/state"), 1),
                Write::new(format!("{folder}/rate"), hz),
            ];
            if emc.control == EmcControl::BpmpHalt {
                writes.insert(0, Write::new(BWMGR_HALT, 1));
            }
            writes
        }
    }
}

/// The nodes that release the lock, in order.
fn release_nodes(emc: &EmcKnob) -> Vec<Write> {
    let folder = emc.folder();
    match emc.control {
        EmcControl::ClkOverride => vec![Write::new(format!("{folder}/clk_state"), 0)],
        EmcControl::Bpmp | EmcControl::BpmpHalt => {
            let mut writes = vec![
                Write::new(format!("{folder}/mrq_rate_locked"), 0),
                Write::new(format!("{folder}/state"), 0),
            ];
            if emc.control == EmcControl::BpmpHalt {
                writes.push(Write::new(BWMGR_HALT, 0));
            }
            writes
        }
    }
}

/// The node that says whether the clock is locked.
fn lock_path(emc: &EmcKnob) -> String {
    match emc.control {
        EmcControl::ClkOverride => format!("{}/clk_state", emc.folder()),
        EmcControl::Bpmp | EmcControl::BpmpHalt => format!("{}/mrq_rate_locked", emc.folder()),
    }
}

/// All nodes that a plan may write.
pub fn nodes(emc: &EmcKnob) -> Vec<String> {
    let mut paths: Vec<String> = lock_nodes(emc, 0).into_iter().map(|write| write.path).collect();
    paths.push(emc.rate_path());
    paths.extend(emc.cap.iter().map(|(path, _)| path.clone()));
    paths.dedup();
    paths
}

/// Whether the clock is locked in a snapshot.
pub fn is_locked(emc: &EmcKnob, snapshot: &Snapshot) -> bool {
    snapshot.number(&lock_path(emc)) == Some(1)
}

pub(super) fn plan(emc: &EmcKnob, present: &Snapshot, wanted: EmcTarget) -> Vec<Write> {
    let cap =
        |value: &dyn ToString| emc.cap.iter().map(|(path, _)| Write::new(path, value.to_string())).collect();
    let uncapped = emc.cap.as_ref().map_or("0", |(_, uncapped)| *uncapped);
    match wanted {
        EmcTarget::Lock(hz) if emc.can_lock => {
            // Raising: lift the cap, then the clock. Lowering: the clock, then the cap.
            let raises = present.number(&emc.rate_path()).is_none_or(|now| hz >= now);
            let cap: Vec<Write> = cap(&hz);
            let lock = lock_nodes(emc, hz);
            if raises { [cap, lock].concat() } else { [lock, cap].concat() }
        }
        EmcTarget::Lock(hz) => cap(&hz),
        EmcTarget::Cap(hz) => {
            let is_top = emc.table_hz.last().is_none_or(|top| hz >= *top);
            let cap: Vec<Write> = if is_top { cap(&uncapped) } else { cap(&hz) };
            [unlock(emc, present), cap].concat()
        }
        EmcTarget::Free => [unlock(emc, present), cap(&uncapped)].concat(),
    }
}

fn unlock(emc: &EmcKnob, present: &Snapshot) -> Vec<Write> {
    if emc.can_lock && is_locked(emc, present) { release_nodes(emc) } else { Vec::new() }
}

pub(super) fn restore(emc: &EmcKnob, present: &Snapshot, saved: &Snapshot) -> Vec<Write> {
    let mut writes = Vec::new();
    if is_locked(emc, saved) {
        // It was held by someone else before: its clock is put back as it was held.
        if let Some(hz) = saved.number(&emc.rate_path()) {
            let differs = |write: &Write| present.text(&write.path) != Some(write.value.as_str());
            let lock = lock_nodes(emc, hz);
            if lock.iter().any(differs) {
                writes = lock;
            }
        }
    } else {
        // In the order of a release; a node that has its old value already is left alone.
        for node in release_nodes(emc) {
            let old = saved.text(&node.path).unwrap_or(&node.value);
            if present.text(&node.path).is_some_and(|now| now != old) {
                writes.push(Write::new(&node.path, old));
            }
        }
        writes.extend(old_request(emc, present, saved));
    }
    if let Some((path, _)) = &emc.cap
        && let Some(old) = saved.text(path)
        && present.text(path) != Some(old)
    {
        writes.push(Write::new(path, old));
    }
    writes
}

/// The rate that the override would ask for if it were on is a value of its own where it has a node of its own. It does
/// nothing while the override is off, so it is put back last, and every node reads as before.
fn old_request(emc: &EmcKnob, present: &Snapshot, saved: &Snapshot) -> Option<Write> {
    if emc.control != EmcControl::ClkOverride {
        return None;
    }
    let path = format!("{}/clk_update_rate", emc.folder());
    let old = saved.text(&path)?;
    let write = Write::new(&path, old);
    present.text(&path).is_some_and(|now| now != old).then_some(write)
}
