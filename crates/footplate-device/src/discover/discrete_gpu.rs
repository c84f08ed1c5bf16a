//! The knobs of discrete NVIDIA GPUs: power limits and application clocks.

use crate::board::{BoardFacts, Soc};
use crate::nvml_tree;
use crate::root::Root;

/// Their clocks' nodes count in MHz.
pub(crate) const MHZ: u64 = 1_000_000;

/// The power limit of a discrete GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuLimit {
    /// The node, in milliwatts.
    pub path: String,
    /// The least that it takes.
    pub min_mw: u64,
    /// The most that it takes.
    pub max_mw: u64,
}

/// Limits that can be read; without their range they cannot be set.
pub(super) fn limits(root: &Root, facts: &BoardFacts) -> Vec<GpuLimit> {
    if facts.soc != Soc::Other {
        return Vec::new();
    }
    let limit = |path: String| {
        let gpu = path.strip_suffix(nvml_tree::LIMIT)?;
        let min_mw = root.number(&format!("{gpu}{}", nvml_tree::LIMIT_MIN)).ok()?;
        let max_mw = root.number(&format!("{gpu}{}", nvml_tree::LIMIT_MAX)).ok()?;
        (min_mw <= max_mw).then_some(GpuLimit { path, min_mw, max_mw })
    };
    let pattern = format!("{}/*/{}", nvml_tree::FOLDER, nvml_tree::LIMIT);
    root.matches(&pattern).into_iter().filter_map(limit).collect()
}

/// Limits to choose among: multiples of 25 W (5 W for small GPUs) that every GPU takes, and the ends.
pub(super) fn limit_table(limits: &[GpuLimit]) -> Vec<u64> {
    let (Some(min), Some(max)) =
        (limits.iter().map(|l| l.min_mw).max(), limits.iter().map(|l| l.max_mw).min())
    else {
        return Vec::new();
    };
    let step = if max.saturating_sub(min) >= 100_000 { 25_000 } else { 5_000 };
    let mut table: Vec<u64> = (min.div_ceil(step)..=max / step).map(|k| k * step).collect();
    table.extend([min, max]);
    table.retain(|mw| (min..=max).contains(mw));
    table.sort_unstable();
    table.dedup();
    table
}

/// The application clock of a discrete GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuClock {
    /// The node, in MHz.
    pub path: String,
    /// The node of the clock that it runs at, in MHz.
    pub now_path: String,
    /// The clocks that it takes, ascending, in Hz.
    pub table_hz: Vec<u64>,
}

impl GpuClock {
    /// The highest clock that is not above `hz`, or the lowest of all.
    pub fn at_most(&self, hz: u64) -> Option<u64> {
        self.table_hz.iter().rev().find(|entry| **entry <= hz).or(self.table_hz.first()).copied()
    }
}

/// Clocks that can be read; without a table they cannot be set.
pub(super) fn clocks(root: &Root, facts: &BoardFacts) -> Vec<GpuClock> {
    if facts.soc != Soc::Other {
        return Vec::new();
    }
    let clock = |path: String| {
        let gpu = path.strip_suffix(nvml_tree::CLOCK)?.to_owned();
        let table = root.text(&format!("{gpu}{}", nvml_tree::CLOCKS)).ok()?;
        let table_hz: Vec<u64> =
            table.split_whitespace().filter_map(|mhz| mhz.parse::<u64>().ok()?.checked_mul(MHZ)).collect();
        let now_path = format!("{gpu}{}", nvml_tree::CLOCK_NOW);
        (!table_hz.is_empty() && table_hz.is_sorted()).then_some(GpuClock { path, now_path, table_hz })
    };
    let pattern = format!("{}/*/{}", nvml_tree::FOLDER, nvml_tree::CLOCK);
    let readable = |path: &String| root.number::<u64>(path).is_ok();
    root.matches(&pattern).into_iter().filter(readable).filter_map(clock).collect()
}

/// The clocks that every GPU takes.
pub(super) fn clock_table(clocks: &[GpuClock]) -> Vec<u64> {
    let Some((first, others)) = clocks.split_first() else { return Vec::new() };
    let everywhere = |hz: &&u64| others.iter().all(|other| other.table_hz.contains(*hz));
    first.table_hz.iter().filter(everywhere).copied().collect()
}
