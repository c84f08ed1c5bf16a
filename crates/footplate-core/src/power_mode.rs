//! Power modes: the settings of a machine's knobs that decide time and power, and the space of all of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::Hertz;

/// A setting of every knob that a machine has; `None`: it has no such knob, or it is left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerMode {
    /// CPU cores that are on.
    pub cpu_cores: Option<u32>,
    /// Upper limit of the CPU clock.
    pub cpu_hz: Option<Hertz>,
    /// Upper limit of the GPU clock.
    pub gpu_hz: Option<Hertz>,
    /// The memory controller's clock.
    pub emc_hz: Option<Hertz>,
    /// A discrete GPU's power limit, in milliwatts.
    pub gpu_power_limit_mw: Option<u64>,
}

impl fmt::Display for PowerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.cpu_cores.map(|n| format!("{n} {}", if n == 1 { "core" } else { "cores" })),
            self.cpu_hz.map(|hz| format!("CPU {hz}")),
            self.gpu_hz.map(|hz| format!("GPU {hz}")),
            self.emc_hz.map(|hz| format!("EMC {hz}")),
            self.gpu_power_limit_mw.map(|mw| format!("GPU limit {} W", mw as f64 / 1e3)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.pad(&if parts.is_empty() { "no knobs".to_owned() } else { parts.join(", ") })
    }
}

/// All power modes that a machine allows, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModeSpace {
    modes: Vec<PowerMode>,
}

impl ModeSpace {
    /// The modes of a list, such as the rows of a measured table.
    pub fn listed(mut modes: Vec<PowerMode>) -> Self {
        modes.sort_unstable();
        modes.dedup();
        Self { modes }
    }

    /// Every combination of the tables that `allowed` lets pass. An empty table is a knob that is not there.
    pub fn product(tables: &KnobTables, allowed: impl Fn(&PowerMode) -> bool) -> Self {
        let mut modes = vec![PowerMode::default()];
        fn cross<T: Copy>(modes: &mut Vec<PowerMode>, table: &[T], set: impl Fn(&mut PowerMode, T)) {
            if table.is_empty() {
                return;
            }
            *modes = modes
                .iter()
                .flat_map(|mode| table.iter().map(|value| (*mode, *value)))
                .map(|(mut mode, value)| {
                    set(&mut mode, value);
                    mode
                })
                .collect();
        }
        cross(&mut modes, &tables.cpu_cores, |mode, n| mode.cpu_cores = Some(n));
        cross(&mut modes, &tables.cpu_hz, |mode, hz| mode.cpu_hz = Some(hz));
        cross(&mut modes, &tables.gpu_hz, |mode, hz| mode.gpu_hz = Some(hz));
        cross(&mut modes, &tables.emc_hz, |mode, hz| mode.emc_hz = Some(hz));
        cross(&mut modes, &tables.gpu_power_limit_mw, |mode, mw| mode.gpu_power_limit_mw = Some(mw));
        modes.retain(allowed);
        Self::listed(modes)
    }

    /// The modes in ascending order.
    pub fn modes(&self) -> &[PowerMode] {
        &self.modes
    }

    /// Whether `mode` is one of them.
    pub fn contains(&self, mode: &PowerMode) -> bool {
        self.modes.binary_search(mode).is_ok()
    }
}

/// The values that each knob can take; empty: there is no such knob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnobTables {
    /// Counts of cores online.
    pub cpu_cores: Vec<u32>,
    /// Upper limits of the CPU clock.
    pub cpu_hz: Vec<Hertz>,
    /// Upper limits of the GPU clock.
    pub gpu_hz: Vec<Hertz>,
    /// Rates of the memory controller's clock.
    pub emc_hz: Vec<Hertz>,
    /// Power limits of a discrete GPU, in milliwatts.
    pub gpu_power_limit_mw: Vec<u64>,
}

/// A mode with a name, such as an entry of nvpmodel's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preset {
    /// Its name, such as `MAXN`.
    pub name: String,
    /// The knobs' values that it stands for.
    pub mode: PowerMode,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_product_leaves_out_what_is_not_there_and_what_is_not_allowed() {
        let tables = KnobTables {
            cpu_cores: vec![2, 1],
            gpu_hz: vec![Hertz(100), Hertz(200), Hertz(300)],
            ..KnobTables::default()
        };
        let space = ModeSpace::product(&tables, |m| m.cpu_cores == Some(2) || m.gpu_hz < Some(Hertz(300)));
        assert_eq!(space.modes().len(), 5);
        assert!(space.modes().iter().all(|m| m.cpu_hz.is_none() && m.emc_hz.is_none()));
        assert!(space.modes().is_sorted());
        assert!(space.contains(&space.modes()[3]) && !space.contains(&PowerMode::default()));
    }

    #[test]
    fn a_mode_names_its_knobs() {
        let mode = PowerMode { cpu_cores: Some(4), gpu_hz: Some(Hertz(114_750_000)), ..PowerMode::default() };
        assert_eq!(mode.to_string(), "4 cores, GPU 114.75 MHz");
        assert_eq!(PowerMode::default().to_string(), "no knobs");
    }

    #[test]
    fn a_settings_file_with_a_knob_that_is_not_known_is_refused() {
        let read = |json: &str| serde_json::from_str::<PowerMode>(json);
        assert_eq!(read("{}").unwrap(), PowerMode::default());
        assert_eq!(read(r#"{"cpu_cores":2}"#).unwrap().cpu_cores, Some(2));
        assert!(read(r#"{"gpu_mhz":600}"#).unwrap_err().to_string().contains("gpu_mhz"));
    }

    proptest! {
        #[test]
        fn a_space_holds_each_mode_once_in_order(
            cores in prop::collection::vec(1u32..5, 0..4), clocks in prop::collection::vec(1u64..6, 0..5)
        ) {
            let tables = KnobTables {
                cpu_cores: cores.clone(),
                cpu_hz: clocks.iter().copied().map(Hertz).collect(),
                ..KnobTables::default()
            };
            let space = ModeSpace::product(&tables, |_| true);
            let distinct = |values: std::collections::BTreeSet<u64>| values.len().max(1);
            let expected = distinct(cores.iter().map(|n| u64::from(*n)).collect()) * distinct(clocks.iter().copied().collect());
            prop_assert_eq!(space.modes().len(), expected);
            prop_assert!(space.modes().windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(space.modes().iter().all(|mode| space.contains(mode)));
            prop_assert_eq!(ModeSpace::listed(space.modes().iter().rev().copied().collect()), space);
        }
    }
}
