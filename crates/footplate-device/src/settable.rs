//! Which knobs of a machine can be set by this process, and why the others cannot. Nothing is written here.

use footplate_core::PowerMode;
use footplate_core::power_mode::ModeSpace;

use crate::discover::{Device, Problem};
use crate::knob::{Hold, ModeTarget, Snapshot, plan};
use crate::perform::first_refusal;

/// Why a discrete GPU is not set: it may serve others too, so the user has to allow it.
pub(crate) const NEEDS_WORD: &str = "the GPU is set only with --allow-gpu-settings";

/// What can be chosen on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settable {
    /// All modes of the knobs that can be set; a single one without any knob if nothing can.
    pub(crate) space: ModeSpace,
    /// Knobs that are not there or may not be set, each with its cause.
    pub(crate) missing: Vec<Problem>,
}

impl Settable {
    /// Whether there is more than one mode.
    pub(crate) fn is_something(&self) -> bool {
        self.space.modes().len() > 1
    }
}

/// One knob: its name, words in which a problem speaks of it, how a mode without it looks, its values as modes.
struct Knob {
    name: &'static str,
    words: &'static [&'static str],
    remove: fn(&mut PowerMode),
    modes: Vec<PowerMode>,
}

/// Looks at each knob by itself: whether some value of it differs from the present one, and whether the writes that
/// this takes would be let through.
pub(crate) fn look(device: &Device) -> Settable {
    let present = Snapshot::read(&device.root, device);
    let mut missing = Vec::new();
    let mut modes = device.space().modes().to_vec();
    for knob in knobs(device) {
        if let Some(cause) = cause(device, &present, &knob) {
            modes.iter_mut().for_each(knob.remove);
            missing.push(Problem::new(knob.name, cause));
        }
    }
    Settable { space: ModeSpace::listed(modes), missing }
}

fn knobs(device: &Device) -> Vec<Knob> {
    let tables = device.tables();
    let with = |set: &dyn Fn(&mut PowerMode)| {
        let mut mode = PowerMode::default();
        set(&mut mode);
        mode
    };
    let mut knobs = vec![
        Knob {
            name: "the number of CPU cores",
            words: &["core", "online"],
            remove: |mode| mode.cpu_cores = None,
            modes: tables.cpu_cores.iter().map(|n| with(&|m| m.cpu_cores = Some(*n))).collect(),
        },
        Knob {
            name: "the CPU clock",
            words: &["cpu clock", "cpufreq", "cpu frequency"],
            remove: |mode| mode.cpu_hz = None,
            modes: tables.cpu_hz.iter().map(|hz| with(&|m| m.cpu_hz = Some(*hz))).collect(),
        },
        Knob {
            name: "the GPU clock",
            words: &["gpu"],
            remove: |mode| mode.gpu_hz = None,
            modes: tables.gpu_hz.iter().map(|hz| with(&|m| m.gpu_hz = Some(*hz))).collect(),
        },
        Knob {
            name: "the memory clock",
            words: &["emc", "memory clock"],
            remove: |mode| mode.emc_hz = None,
            modes: tables.emc_hz.iter().map(|hz| with(&|m| m.emc_hz = Some(*hz))).collect(),
        },
    ];
    if !device.gpu_limits.is_empty() {
        let limits = tables.gpu_power_limit_mw.iter();
        knobs.push(Knob {
            name: "the GPU's power limit",
            words: &["limit"],
            remove: |mode| mode.gpu_power_limit_mw = None,
            modes: limits.map(|mw| with(&|m| m.gpu_power_limit_mw = Some(*mw))).collect(),
        });
    }
    knobs
}

/// Why a knob cannot be set; `None`: it can.
fn cause(device: &Device, present: &Snapshot, knob: &Knob) -> Option<String> {
    if knob.modes.is_empty() {
        let discrete = !device.gpu_limits.is_empty() || !device.gpu_clocks.is_empty();
        if knob.words.contains(&"limit") || (knob.words.contains(&"gpu") && discrete) {
            return Some("settings of discrete GPUs need --allow-gpu-settings".to_owned());
        }
        let speaks = |problem: &&Problem| {
            let what = problem.what.to_lowercase();
            knob.words.iter().any(|word| what.contains(word))
        };
        let known = device.problems.iter().find(speaks).map(|problem| problem.cause.clone());
        return Some(known.unwrap_or_else(|| "this machine offers no file that sets it".to_owned()));
    }
    let plans =
        knob.modes.iter().map(|mode| plan(device, present, &ModeTarget::of(device, mode, Hold::default())));
    let refused = plans.filter(|writes| !writes.is_empty()).map(|writes| first_refusal(device, &writes));
    // One value that can be set is enough; the search finds out about the others.
    let refused: Vec<_> = refused.collect();
    if refused.is_empty() {
        return Some("it has one value only".to_owned());
    }
    if refused.iter().any(Option::is_none) {
        None
    } else {
        refused.into_iter().flatten().next().map(|e| e.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Fault, SimBoard, SimOptions};

    #[test]
    fn root_can_set_every_knob_of_a_board() {
        let board = SimBoard::new("tx2", SimOptions::default()).unwrap();
        let device = Device::discover(board.root());
        let found = look(&device);
        assert_eq!(found.space, device.space());
        assert_eq!(found.missing, []);
        assert!(found.is_something());
    }

    #[test]
    fn a_knob_that_may_not_be_set_drops_out_with_its_cause() {
        let board = SimBoard::new("tx2", SimOptions::default()).unwrap();
        let device = Device::discover(board.root());
        for path in device.gpu.iter().flat_map(crate::knob::gpu::nodes) {
            board.inject(Fault::WriteDenied { path });
        }
        let found = look(&device);
        // A fault shows itself when it is written to: nothing is sure to be refused before.
        assert_eq!(found.space, device.space());

        let board = SimBoard::new("tx2", SimOptions { root: false, ..SimOptions::default() }).unwrap();
        let found = look(&Device::discover(board.root()));
        assert!(!found.is_something(), "{:?}", found.space.modes().len());
        assert_eq!(found.space.modes(), [PowerMode::default()]);
        assert!(found.missing.len() >= 4, "{:?}", found.missing);
        assert!(found.missing.iter().all(|problem| !problem.cause.is_empty()));
    }
}
