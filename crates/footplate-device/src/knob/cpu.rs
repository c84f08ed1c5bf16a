//! Write plans for cores and CPU clocks.

use crate::discover::{CpuKnob, Policy};

use super::{Range, Snapshot, Write, range, range_of};

fn min_path(policy: &Policy) -> String {
    format!("{}/scaling_min_freq", policy.path)
}

fn max_path(policy: &Policy) -> String {
    format!("{}/scaling_max_freq", policy.path)
}

/// All nodes that a plan may write.
pub fn nodes(knob: &CpuKnob) -> Vec<String> {
    let online = knob.switchable.iter().map(|cpu| CpuKnob::online_path(*cpu));
    online.chain(knob.policies.iter().flat_map(|policy| [min_path(policy), max_path(policy)])).collect()
}

/// CPUs that are on in a snapshot: those without an `online` file always are.
pub fn online(knob: &CpuKnob, snapshot: &Snapshot) -> Vec<u32> {
    let is_on = |cpu: &u32| {
        !knob.switchable.contains(cpu) || snapshot.text(&CpuKnob::online_path(*cpu)).is_none_or(|v| v != "0")
    };
    let mut cpus: Vec<u32> = knob.order.iter().copied().filter(is_on).collect();
    cpus.sort_unstable();
    cpus
}

/// The limits of a policy in a snapshot, in kHz.
pub fn limits(policy: &Policy, snapshot: &Snapshot) -> Option<Range> {
    range_of(snapshot, &min_path(policy), &max_path(policy))
}

fn ceiling(policy: &Policy) -> u64 {
    policy.table_khz.last().copied().unwrap_or(u64::MAX)
}

/// Cores that are wanted come on, the others go off, then the clocks of the policies that have a core on.
pub(super) fn plan(
    knob: &CpuKnob,
    present: &Snapshot,
    wanted: Option<&[u32]>,
    clocks: Option<Range>,
) -> Vec<Write> {
    let now = online(knob, present);
    let wanted = wanted.unwrap_or(&now);
    let mut writes = switches(knob, &now, wanted, true);
    writes.extend(switches(knob, &now, wanted, false));
    let Some(clocks) = clocks else { return writes };
    for policy in &knob.policies {
        let has = |cpus: &[u32]| policy.cpus.iter().any(|cpu| cpus.contains(cpu));
        let is_on = has(wanted) || policy.cpus.iter().any(|cpu| !knob.switchable.contains(cpu));
        let (Some(min), Some(max)) = (policy.at_most(clocks.min), policy.at_most(clocks.max)) else {
            continue;
        };
        if !is_on {
            continue;
        }
        // What a policy has after its first core came on is not known beforehand.
        let present = if has(&now) { limits(policy, present) } else { None };
        let (min_path, max_path) = (min_path(policy), max_path(policy));
        writes.extend(range(&min_path, &max_path, present, Range { min, max }, ceiling(policy)));
    }
    writes
}

/// Writes that switch CPUs on (ascending) or off (descending).
fn switches(knob: &CpuKnob, now: &[u32], wanted: &[u32], on: bool) -> Vec<Write> {
    let (from, to) = if on { (wanted, now) } else { (now, wanted) };
    let changed = from.iter().filter(|cpu| !to.contains(cpu) && knob.switchable.contains(cpu));
    let value = u8::from(on);
    let mut writes: Vec<Write> = changed.map(|cpu| Write::new(CpuKnob::online_path(*cpu), value)).collect();
    if !on {
        writes.reverse();
    }
    writes
}

/// Cores that were on come on, then the clocks of all policies that have a core on, then the others go off: a
/// policy whose cores were off gets its old limits while it still can be written. One whose cores are off now and were
/// before, but whose limits were changed in between, gets them while a core of it is on for a moment.
pub(super) fn restore(knob: &CpuKnob, present: &Snapshot, saved: &Snapshot) -> Vec<Write> {
    let now = online(knob, present);
    let before = online(knob, saved);
    let mut writes = switches(knob, &now, &before, true);
    for policy in &knob.policies {
        let has = |cpus: &[u32]| policy.cpus.iter().any(|cpu| cpus.contains(cpu));
        let Some(old) = limits(policy, saved) else { continue };
        let changed = limits(policy, present).is_some_and(|now| now != old);
        let present = if has(&now) { limits(policy, present) } else { None };
        let back = range(&min_path(policy), &max_path(policy), present, old, ceiling(policy));
        if has(&now) || has(&before) {
            writes.extend(Some(back).filter(|_| present != Some(old)).into_iter().flatten());
        } else if let Some(cpu) = policy.cpus.iter().find(|cpu| changed && knob.switchable.contains(cpu)) {
            let switch = |on: u8| Write::new(CpuKnob::online_path(*cpu), on);
            writes.extend([vec![switch(1)], back, vec![switch(0)]].concat());
        }
    }
    writes.extend(switches(knob, &now, &before, false));
    writes
}
