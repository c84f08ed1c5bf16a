//! What there is: the board, its knobs, rails, zones and counters, found by pattern. What is missing is listed
//! as a problem with its cause and never ends the search.

mod cpu;
mod discrete_gpu;
mod emc;
mod gpu;
mod heat;
mod identity;
mod nvidia;
mod rails;

use serde::Serialize;

use footplate_core::power_mode::{KnobTables, ModeSpace};
use footplate_core::{Hertz, PowerMode, Reading};

use crate::board::{BoardFacts, Module, TotalRule};
use crate::error::DeviceError;
use crate::root::Root;

pub use cpu::{CpuKnob, Policy};
pub(crate) use discrete_gpu::MHZ;
pub use discrete_gpu::{GpuClock, GpuLimit};
pub use emc::{BWMGR_HALT, EmcControl, EmcKnob};
pub use gpu::{GpuKnob, Mask, PowerSwitch};
pub(crate) use heat::celsius;
pub use heat::{CoolingDevice, Counter, ThermalZone};
pub use identity::{Identity, Storage, StorageKind, storage_of, storage_of_folder};
pub use rails::{RailKind, RailSource};

/// Something that is missing or odd, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is affected, such as `GPU clock`.
    pub what: String,
    /// Why, in a sentence for the user.
    pub cause: String,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { what: what.into(), cause: cause.into() }
    }
}

/// What makes up the board's total power on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Labels of the rails to add; a single one is the total by itself.
    pub rails: Vec<String>,
    /// What the total leaves out.
    pub note: String,
}

/// A machine as it was found.
#[derive(Clone, Debug)]
pub struct Device {
    /// The gate to its control files.
    pub root: Root,
    /// Facts of its board; those of the generic machine if it is none that is known.
    pub facts: &'static BoardFacts,
    /// Its module, where known.
    pub module: Option<&'static Module>,
    /// What it says it is.
    pub identity: Identity,
    /// Cores that can be switched, and the clocks of the CPU.
    pub cpu: CpuKnob,
    /// The chip's own GPU; `None`: it has none that can be set.
    pub gpu: Option<GpuKnob>,
    /// The memory controller's knobs.
    pub emc: Option<EmcKnob>,
    /// Power limits of discrete GPUs.
    pub gpu_limits: Vec<GpuLimit>,
    /// Application clocks of discrete GPUs.
    pub gpu_clocks: Vec<GpuClock>,
    /// Whether the user allowed to set them; else they are no knobs.
    pub gpu_settings_allowed: bool,
    /// Where power can be read.
    pub rails: Vec<RailSource>,
    /// What makes up the total; `None`: nothing does.
    pub total: Option<Total>,
    /// Thermal zones, with their trips.
    pub zones: Vec<ThermalZone>,
    /// Cooling devices, whether they mean throttling or not.
    pub cooling: Vec<CoolingDevice>,
    /// Counters of over-current events.
    pub over_current: Vec<Counter>,
    /// What is missing or odd.
    pub problems: Vec<Problem>,
}

impl Device {
    /// Looks at a machine. Never fails: what cannot be found out is among the problems.
    pub fn discover(root: Root) -> Self {
        let mut problems = Vec::new();
        let identity = Identity::read(&root, &mut problems);
        let (facts, module) = identity.board();
        let cpu = cpu::find(&root, facts, &mut problems);
        let gpu = gpu::find(&root, facts, &mut problems);
        let emc = emc::find(&root, facts, &identity, &mut problems);
        let gpu_limits = discrete_gpu::limits(&root, facts);
        let gpu_clocks = discrete_gpu::clocks(&root, facts);
        let rails = rails::find(&root, facts, &identity, &mut problems);
        let total = total(facts, &rails, &mut problems);
        let (zones, cooling, over_current) = heat::find(&root, &mut problems);
        Self {
            root,
            facts,
            module,
            identity,
            cpu,
            gpu,
            emc,
            gpu_limits,
            gpu_clocks,
            gpu_settings_allowed: false,
            rails,
            total,
            zones,
            cooling,
            over_current,
            problems,
        }
    }

    /// Why the machine's whole power cannot be measured; `None`: it can.
    pub fn no_power(&self) -> Option<String> {
        if self.total.is_some() {
            return None;
        }
        let about = self.problems.iter().find(|p| p.what.contains("total") || p.what.contains("rail"));
        Some(match about {
            Some(problem) => problem.cause.clone(),
            None => "this machine has no power sensor that footplate can read".to_owned(),
        })
    }

    /// All modes that can be held. Where the EMC cannot be locked, a CPU clock brings its own least EMC clock.
    pub fn space(&self) -> ModeSpace {
        let can_lock = self.emc.as_ref().is_none_or(|emc| emc.can_lock);
        let floors = if can_lock { &[] } else { self.facts.emc_floors_khz };
        ModeSpace::product(&self.tables(), |mode| above_floor(floors, mode))
    }

    /// The same machine, whose discrete GPUs may be set.
    pub fn allow_gpu_settings(mut self) -> Self {
        self.gpu_settings_allowed = true;
        self
    }

    /// Power limits that may be set.
    pub fn settable_limits(&self) -> &[GpuLimit] {
        if self.gpu_settings_allowed { &self.gpu_limits } else { &[] }
    }

    /// Application clocks that may be set. A chip's own GPU leaves none.
    pub fn settable_clocks(&self) -> &[GpuClock] {
        if self.gpu_settings_allowed && self.gpu.is_none() { &self.gpu_clocks } else { &[] }
    }

    /// The tables of all knobs.
    pub fn tables(&self) -> KnobTables {
        let hertz = |table: &[u64], unit: u64| table.iter().map(|v| Hertz(v * unit)).collect();
        KnobTables {
            cpu_cores: (1..=self.cpu.usable().len() as u32).filter(|_| self.cpu.can_switch()).collect(),
            cpu_hz: hertz(&self.cpu.table_khz(), 1000),
            gpu_hz: match &self.gpu {
                Some(gpu) => hertz(&gpu.table_hz, 1),
                None => hertz(&discrete_gpu::clock_table(self.settable_clocks()), 1),
            },
            emc_hz: self.emc.as_ref().map(|emc| hertz(&emc.table_hz, 1)).unwrap_or_default(),
            gpu_power_limit_mw: discrete_gpu::limit_table(self.settable_limits()),
        }
    }
}

fn above_floor(floors_khz: &[(u64, u64)], mode: &PowerMode) -> bool {
    let (Some(cpu), Some(emc)) = (mode.cpu_hz, mode.emc_hz) else { return true };
    let floor = floors_khz.iter().rev().find(|(khz, _)| cpu.0 >= khz * 1000);
    floor.is_none_or(|(_, khz)| emc.0 >= khz * 1000)
}

fn total(facts: &BoardFacts, rails: &[RailSource], problems: &mut Vec<Problem>) -> Option<Total> {
    let has = |label: &&&str| rails.iter().any(|rail| rail.label == **label);
    let found: Vec<&str> = match facts.total {
        TotalRule::Rail(labels) => labels.iter().find(has).copied().into_iter().collect(),
        TotalRule::Sum(labels) if labels.iter().all(|label| has(&label)) => labels.to_vec(),
        TotalRule::Sum(labels) => {
            let missing: Vec<&str> = labels.iter().filter(|label| !has(label)).copied().collect();
            problems.push(Problem::new("board total", format!("rails are missing: {}", missing.join(", "))));
            return None;
        }
        TotalRule::None => Vec::new(),
    };
    if found.is_empty() {
        problems.push(Problem::new("board total", "no rail here measures the whole board"));
        return None;
    }
    let rails = found.into_iter().map(str::to_owned).collect();
    Some(Total { rails, note: facts.total_note.to_owned() })
}

/// Notes a failure unless the node is just not there.
fn note<T>(problems: &mut Vec<Problem>, what: &str, result: Result<T, DeviceError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            if !error.is_absent() {
                problems.push(Problem::new(what, error.to_string()));
            }
            None
        }
    }
}

/// A number node as a reading in Hz.
pub(crate) fn hertz_of(root: &Root, path: &str, unit: u64) -> Reading<Hertz> {
    crate::error::reading(root.number::<u64>(path).map(|value| Hertz(value.saturating_mul(unit))))
}
