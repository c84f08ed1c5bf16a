//! Write plans for the chip's GPU: its power first, then its limits; the reverse on the way back.

use crate::discover::GpuKnob;

use super::{Range, Snapshot, Write, range, range_of};

fn min_path(gpu: &GpuKnob) -> String {
    format!("{}/min_freq", gpu.path)
}

fn max_path(gpu: &GpuKnob) -> String {
    format!("{}/max_freq", gpu.path)
}

/// All nodes that a plan may write.
pub fn nodes(gpu: &GpuKnob) -> Vec<String> {
    let power = gpu.power.iter().map(|power| power.path.clone());
    power.chain([min_path(gpu), max_path(gpu)]).collect()
}

/// The limits in a snapshot, in Hz.
pub fn limits(gpu: &GpuKnob, snapshot: &Snapshot) -> Option<Range> {
    range_of(snapshot, &min_path(gpu), &max_path(gpu))
}

fn ceiling(gpu: &GpuKnob) -> u64 {
    gpu.table_hz.last().copied().unwrap_or(u64::MAX)
}

/// The GPU is on while its limits are written, and stays on where they hold its clock still.
pub(super) fn plan(gpu: &GpuKnob, present: &Snapshot, wanted: Range) -> Vec<Write> {
    let limits = range(&min_path(gpu), &max_path(gpu), limits(gpu, present), wanted, ceiling(gpu));
    let Some(power) = gpu.power.as_ref().filter(|power| present.text(&power.path) != Some(power.on)) else {
        return limits;
    };
    let mut writes = vec![Write::new(&power.path, power.on)];
    writes.extend(limits);
    if wanted.min < wanted.max {
        writes.push(Write::new(&power.path, present.text(&power.path).unwrap_or(power.auto)));
    }
    writes
}

pub(super) fn restore(gpu: &GpuKnob, present: &Snapshot, saved: &Snapshot) -> Vec<Write> {
    let mut writes = Vec::new();
    let now = limits(gpu, present);
    if let Some(old) = limits(gpu, saved)
        && now != Some(old)
    {
        writes.extend(range(&min_path(gpu), &max_path(gpu), now, old, ceiling(gpu)));
    }
    if let Some(power) = &gpu.power
        && let Some(old) = saved.text(&power.path)
        && present.text(&power.path) != Some(old)
    {
        writes.push(Write::new(&power.path, old));
    }
    writes
}
