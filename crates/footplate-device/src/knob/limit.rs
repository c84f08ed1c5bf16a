//! Write plans for power limits of discrete GPUs: one value for all, within each one's range.

use crate::discover::GpuLimit;

use super::{Snapshot, Write};

pub(super) fn plan(limits: &[GpuLimit], wanted_mw: u64) -> Vec<Write> {
    let within = |limit: &GpuLimit| wanted_mw.clamp(limit.min_mw, limit.max_mw);
    limits.iter().map(|limit| Write::new(&limit.path, within(limit))).collect()
}

pub(super) fn restore(limits: &[GpuLimit], present: &Snapshot, saved: &Snapshot) -> Vec<Write> {
    let old = |limit: &GpuLimit| {
        let old = saved.text(&limit.path)?;
        (present.text(&limit.path) != Some(old)).then(|| Write::new(&limit.path, old))
    };
    limits.iter().filter_map(old).collect()
}

/// The limit in a snapshot, in milliwatts: the largest of all GPUs.
pub fn present(limits: &[GpuLimit], snapshot: &Snapshot) -> Option<u64> {
    limits.iter().filter_map(|limit| snapshot.number(&limit.path)).max()
}
