//! Write plans for the application clocks of discrete GPUs: one clock for all, within each one's table.

use crate::discover::{GpuClock, MHZ};

use super::{Snapshot, Write};

pub(super) fn plan(clocks: &[GpuClock], wanted_hz: u64) -> Vec<Write> {
    let write = |clock: &GpuClock| Some(Write::new(&clock.path, clock.at_most(wanted_hz)? / MHZ));
    clocks.iter().filter_map(write).collect()
}

pub(super) fn restore(clocks: &[GpuClock], present: &Snapshot, saved: &Snapshot) -> Vec<Write> {
    let old = |clock: &GpuClock| {
        let old = saved.text(&clock.path)?;
        (present.text(&clock.path) != Some(old)).then(|| Write::new(&clock.path, old))
    };
    clocks.iter().filter_map(old).collect()
}

/// The clock in a snapshot, in Hz: the highest of all GPUs.
pub fn present(clocks: &[GpuClock], snapshot: &Snapshot) -> Option<u64> {
    clocks.iter().filter_map(|clock| snapshot.number(&clock.path)).max().map(|mhz| mhz * MHZ)
}
