//! The knobs of the chip's own GPU: its devfreq folder, what keeps it powered, and masks of gated units.

use crate::board::{BoardFacts, Soc};
use crate::parse;
use crate::root::{Root, content};

use super::Problem;

/// What keeps a GPU powered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerSwitch {
    /// The node, `railgate_enable` or `power/control`.
    pub path: String,
    /// What keeps it on.
    pub on: &'static str,
    /// What lets it power down by itself.
    pub auto: &'static str,
}

/// A mask of units that are gated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Its file's name, such as `tpc_pg_mask`.
    pub name: String,
    /// The node, in the folder of the GPU's device.
    pub path: String,
}

/// The GPU of the chip.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuKnob {
    /// Its devfreq folder, with `min_freq` and `max_freq`.
    pub path: String,
    /// The folder of its device, with `load` and its masks.
    pub device: String,
    /// Its clocks in Hz, ascending.
    pub table_hz: Vec<u64>,
    /// What keeps it powered, if there is something.
    pub power: Option<PowerSwitch>,
    /// Masks of gated units.
    pub masks: Vec<Mask>,
}

/// Folders for kernels whose devfreq class cannot be listed.
const FOLDERS: [&str; 7] = [
    "/sys/devices/57000000.gpu/devfreq/57000000.gpu",
    "/sys/devices/17000000.gp10b/devfreq/17000000.gp10b",
    "/sys/devices/17000000.gv11b/devfreq/17000000.gv11b",
    "/sys/devices/platform/17000000.gv11b/devfreq/17000000.gv11b",
    "/sys/devices/17000000.ga10b/devfreq/17000000.ga10b",
    "/sys/devices/platform/17000000.ga10b/devfreq/17000000.ga10b",
    "/sys/devices/platform/17000000.gpu/devfreq/17000000.gpu",
];

pub(super) fn find(root: &Root, facts: &BoardFacts, problems: &mut Vec<Problem>) -> Option<GpuKnob> {
    let Some(path) = folder(root) else {
        if facts.soc != Soc::Other {
            problems.push(Problem::new("GPU clock", "no GPU among /sys/class/devfreq"));
        }
        return None;
    };
    let file = format!("{path}/available_frequencies");
    let table_hz = match root.text(&file) {
        Ok(text) => parse::numbers(&text).unwrap_or_else(|| {
            problems.push(Problem::new("GPU clock", content(&file, &text, "clocks in Hz").to_string()));
            Vec::new()
        }),
        Err(error) => {
            problems.push(Problem::new("GPU clock", error.to_string()));
            Vec::new()
        }
    };
    let device = format!("{path}/device");
    let railgate = format!("{device}/railgate_enable");
    let control = format!("{device}/power/control");
    let power = if root.exists(&railgate) {
        Some(PowerSwitch { path: railgate, on: "0", auto: "1" })
    } else if root.exists(&control) {
        Some(PowerSwitch { path: control, on: "on", auto: "auto" })
    } else {
        None
    };
    let masks = ["tpc_pg_mask", "fbp_pg_mask", "gpc_pg_mask"]
        .map(|name| Mask { name: name.to_owned(), path: format!("{device}/{name}") })
        .into_iter()
        .filter(|mask| root.exists(&mask.path))
        .collect();
    Some(GpuKnob { path, device, table_hz, power, masks })
}

fn folder(root: &Root) -> Option<String> {
    let entries = root.matches("/sys/class/devfreq/*");
    let of_name = |path: &&String| {
        let name = root.text(&format!("{path}/device/of_node/name")).unwrap_or_default();
        matches!(name.as_str(), "gpu" | "gp10b" | "gv11b" | "ga10b")
    };
    let by_own_name = |path: &&String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let tail = name.rsplit('.').next().unwrap_or_default();
        name.starts_with("gpu-gpc-") || name != tail && matches!(tail, "gpu" | "gp10b" | "gv11b" | "ga10b")
    };
    let in_class = entries.iter().find(of_name).or_else(|| entries.iter().find(by_own_name));
    in_class.cloned().or_else(|| FOLDERS.into_iter().find(|path| root.exists(path)).map(str::to_owned))
}
