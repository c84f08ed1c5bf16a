//! Pure plans: from the present state and a wanted mode to the ordered list of writes. Nothing is written here.
//!
//! Kernels up to 4.9 refuse a minimum above the maximum, later ones let the maximum win; a store to a policy
//! whose CPUs are off fails everywhere. The order is right for all of them: after each single write the minimum
//! is not above the maximum, and no policy without an online CPU is written.

pub mod clock;
pub mod cpu;
pub mod emc;
pub mod gpu;
pub mod limit;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use footplate_core::PowerMode;

use crate::discover::Device;
use crate::root::Root;

/// A value that is to be written to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The node, as seen from the root.
    pub path: String,
    /// The value as text, without a newline.
    pub value: String,
}

impl Write {
    pub(crate) fn new(path: impl Into<String>, value: impl std::fmt::Display) -> Self {
        Self { path: path.into(), value: value.to_string() }
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{} > {}", self.value, self.path))
    }
}

/// The values of all nodes that a plan may write, as they were read. A node that could not be read is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Snapshot {
    /// The texts of the nodes by their paths.
    pub values: BTreeMap<String, String>,
}

impl Snapshot {
    /// Reads all nodes that a plan for this device may write.
    pub fn read(root: &Root, device: &Device) -> Self {
        let mut paths = cpu::nodes(&device.cpu);
        paths.extend(device.gpu.iter().flat_map(gpu::nodes));
        paths.extend(device.emc.iter().flat_map(emc::nodes));
        paths.extend(device.settable_limits().iter().map(|limit| limit.path.clone()));
        paths.extend(device.settable_clocks().iter().map(|clock| clock.path.clone()));
        let value = |path: String| root.text(&path).ok().map(|value| (path, value));
        Self { values: paths.into_iter().filter_map(value).collect() }
    }

    /// A node's text; `None`: it was not read.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.values.get(path).map(String::as_str)
    }

    /// A node's value as a number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }
}

/// A range of clocks, in the unit of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lower limit, not above `max`.
    pub min: u64,
    /// The upper limit, not below `min`.
    pub max: u64,
}

/// How a mode's clocks are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// The lower limit is raised to the upper one and the EMC is locked: clocks stand still, as measuring needs.
    #[default]
    Pinned,
    /// Only upper limits are set, as the vendor's presets do: the kernel's governors go on below them.
    Limited,
}

/// What is wanted, knob by knob; `None`: left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModeTarget {
    /// CPUs that are on.
    pub online: Option<Vec<u32>>,
    /// CPU limits in kHz; each policy takes what its table allows.
    pub cpu_khz: Option<Range>,
    /// GPU limits in Hz.
    pub gpu_hz: Option<Range>,
    /// The memory controller's clock: locked, capped or free.
    pub emc: Option<emc::EmcTarget>,
    /// Power limit of discrete GPUs in milliwatts.
    pub gpu_limit_mw: Option<u64>,
}

impl ModeTarget {
    /// What a mode means on a device. A preset with its own list of CPUs gives it in `online`.
    pub fn of(device: &Device, mode: &PowerMode, hold: Hold) -> Self {
        let low = |table: &[u64], max: u64| match hold {
            Hold::Pinned => max,
            Hold::Limited => table.first().copied().unwrap_or(max).min(max),
        };
        let khz = |hz: u64| hz / 1000;
        let table = device.cpu.table_khz();
        let gpu_table = device.gpu.as_ref().map(|gpu| gpu.table_hz.as_slice()).unwrap_or_default();
        Self {
            online: mode.cpu_cores.map(|count| device.cpu.first(count)),
            cpu_khz: mode.cpu_hz.map(|hz| Range { min: low(&table, khz(hz.0)), max: khz(hz.0) }),
            gpu_hz: mode.gpu_hz.map(|hz| Range { min: low(gpu_table, hz.0), max: hz.0 }),
            emc: mode.emc_hz.map(|hz| match hold {
                Hold::Pinned => emc::EmcTarget::Lock(hz.0),
                Hold::Limited => emc::EmcTarget::Cap(hz.0),
            }),
            gpu_limit_mw: mode.gpu_power_limit_mw,
        }
    }
}

/// The ordered writes that bring a device from `present` to `target`: cores, CPU clocks, the GPU's power and
/// clocks, the EMC.
pub fn plan(device: &Device, present: &Snapshot, target: &ModeTarget) -> Vec<Write> {
    let mut writes = cpu::plan(&device.cpu, present, target.online.as_deref(), target.cpu_khz);
    if let (Some(gpu), Some(range)) = (&device.gpu, target.gpu_hz) {
        writes.extend(gpu::plan(gpu, present, range));
    }
    if let (Some(emc), Some(wanted)) = (&device.emc, target.emc) {
        writes.extend(emc::plan(emc, present, wanted));
    }
    writes.extend(target.gpu_limit_mw.into_iter().flat_map(|mw| limit::plan(device.settable_limits(), mw)));
    let clock = target.gpu_hz.into_iter();
    writes.extend(clock.flat_map(|range| clock::plan(device.settable_clocks(), range.max)));
    writes
}

/// The ordered writes that put back what a snapshot holds: the reverse order of [`plan`].
pub fn plan_restore(device: &Device, present: &Snapshot, saved: &Snapshot) -> Vec<Write> {
    let mut writes = clock::restore(device.settable_clocks(), present, saved);
    writes.extend(limit::restore(device.settable_limits(), present, saved));
    if let Some(emc) = &device.emc {
        writes.extend(emc::restore(emc, present, saved));
    }
    if let Some(gpu) = &device.gpu {
        writes.extend(gpu::restore(gpu, present, saved));
    }
    writes.extend(cpu::restore(&device.cpu, present, saved));
    writes
}

/// The writes for one pair of limits. `present`: as it is now; `None`: not known, as after a core came online.
/// `ceiling` is a maximum that no present minimum is above.
fn range(min_path: &str, max_path: &str, present: Option<Range>, wanted: Range, ceiling: u64) -> Vec<Write> {
    let min = Write::new(min_path, wanted.min);
    let max = Write::new(max_path, wanted.max);
    match present {
        // Raising: the maximum first. Lowering: the minimum first.
        Some(present) if wanted.max >= present.max => vec![max, min],
        Some(_) => vec![min, max],
        None if wanted.max == ceiling => vec![max, min],
        None => vec![Write::new(max_path, ceiling), min, max],
    }
}

fn range_of(snapshot: &Snapshot, min_path: &str, max_path: &str) -> Option<Range> {
    Some(Range { min: snapshot.number(min_path)?, max: snapshot.number(max_path)? })
}
