//! A measured table in place of a board's physics: its rows are the modes, its times and powers what is found.
//!
//! Control, meter, job and clock are handed out together and move one manual clock. What they give was measured
//! once, on the board of the table; here it is replayed, and is labelled as simulated.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use footplate_core::ports::{
    Applied, Clock, ControlError, PowerControl, PowerMeter, Recovery, WindowEnergy, WindowReading, WorkError,
    WorkStep, Workload,
};
use footplate_core::power_mode::Preset;
use footplate_core::profile_table::ProfileTable;
use footplate_core::stats::mean;
use footplate_core::{Joules, ModeSpace, PowerMode, Reading, Watts};

use crate::error::DeviceError;

/// Stretches of the past that are kept for the meter.
const PAST_MAX: usize = 65_536;
/// The pretended sensor's period.
const PERIOD_NS: u64 = 100_000_000;
/// Least window: enough for any of the table's units of work.
const LEAST_WINDOW_NS: u64 = 4 * PERIOD_NS;

/// What is made of a mode's repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replay {
    /// Every step is their mean.
    #[default]
    Mean,
    /// They come one after the other, over and over: the table's own noise.
    InTurn,
}

/// One measurement that can be replayed.
#[derive(Clone, Copy, Debug)]
struct Entry {
    time_s: f64,
    power_w: Option<f64>,
}

/// What one unit of a table's work truly takes in a mode: the means over the mode's repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrueCost {
    /// The mode of these figures.
    pub mode: PowerMode,
    /// Mean of the times, in seconds.
    pub time_s: f64,
    /// Mean energy by mean time, in watts, so that the three means agree; `None`: the mode has no power.
    pub power_w: Option<f64>,
}

#[derive(Debug)]
struct ReplayState {
    entries: BTreeMap<PowerMode, Vec<Entry>>,
    turns: BTreeMap<PowerMode, usize>,
    replay: Replay,
    now_ns: u64,
    present: PowerMode,
    before: PowerMode,
    past: VecDeque<(u64, u64, f64)>,
    has_power: bool,
    done: u64,
}

/// A table that stands in for a machine.
pub struct Surface {
    shared: Arc<Mutex<ReplayState>>,
    space: ModeSpace,
    name: String,
}

impl Surface {
    /// The rows of one workload of a table; `None` if it has one only. Rows without a time cannot be replayed.
    pub fn new(table: &ProfileTable, workload: Option<&str>, replay: Replay) -> Result<Self, DeviceError> {
        let names = table.workloads();
        let listed = || names.join(", ");
        let name = match (workload, names.as_slice()) {
            (Some(name), _) if names.contains(&name) => name,
            (Some(name), _) => {
                let text = format!("the table has no workload `{name}`; it has {}", listed());
                return Err(DeviceError::Other(text));
            }
            (None, [only]) => only,
            (None, _) => {
                let text = format!("the table has {} workloads: name one of {}", names.len(), listed());
                return Err(DeviceError::Other(text));
            }
        };
        let mut entries: BTreeMap<PowerMode, Vec<Entry>> = BTreeMap::new();
        for row in table.of(name) {
            let Some(time_s) = row.time_s else { continue };
            let entry = Entry { time_s, power_w: row.mean_power().map(|watts| watts.0) };
            entries.entry(row.mode).or_default().push(entry);
        }
        let Some(first) = entries.keys().next_back().copied() else {
            return Err(DeviceError::Other(format!(
                "no row of {name} has a time_s: nothing can be replayed"
            )));
        };
        let space = ModeSpace::listed(entries.keys().copied().collect());
        let has_power = entries.values().flatten().any(|entry| entry.power_w.is_some());
        let state = ReplayState {
            entries,
            turns: BTreeMap::new(),
            replay,
            now_ns: 0,
            present: first,
            before: first,
            past: VecDeque::new(),
            has_power,
            done: 0,
        };
        Ok(Self { shared: Arc::new(Mutex::new(state)), space, name: name.to_owned() })
    }

    /// The workload that is replayed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What each mode truly takes, in ascending order of mode.
    pub fn true_costs(&self) -> Vec<TrueCost> {
        let cost = |(mode, entries): (&PowerMode, &Vec<Entry>)| {
            let times: Vec<f64> = entries.iter().map(|entry| entry.time_s).collect();
            let energies: Vec<f64> =
                entries.iter().filter_map(|entry| Some(entry.power_w? * entry.time_s)).collect();
            let time_s = mean(&times)?;
            Some(TrueCost { mode: *mode, time_s, power_w: mean(&energies).map(|joules| joules / time_s) })
        };
        lock(&self.shared).entries.iter().filter_map(cost).collect()
    }

    /// Whether the table has powers or energies.
    pub fn has_power(&self) -> bool {
        lock(&self.shared).has_power
    }

    /// Sets the modes of the table.
    pub fn control(&self) -> SurfaceControl {
        SurfaceControl { shared: self.shared.clone(), space: self.space.clone() }
    }

    /// Tells the table's power.
    pub fn meter(&self) -> SurfaceMeter {
        SurfaceMeter { shared: self.shared.clone() }
    }

    /// The clock that steps and waits move.
    pub fn clock(&self) -> SurfaceClock {
        SurfaceClock { shared: self.shared.clone() }
    }

    /// The table's job. `steps`: how many there are in all; `None`: no end.
    pub fn workload(&self, steps_per_epoch: u64, steps: Option<u64>) -> SurfaceWorkload {
        SurfaceWorkload { shared: self.shared.clone(), name: self.name.clone(), steps_per_epoch, steps }
    }
}

fn lock(shared: &Mutex<ReplayState>) -> MutexGuard<'_, ReplayState> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReplayState {
    /// The next measurement of the present mode.
    fn next(&mut self) -> Option<Entry> {
        let entries = self.entries.get(&self.present)?;
        let turn = self.turns.entry(self.present).or_default();
        *turn += 1;
        if self.replay == Replay::InTurn {
            return entries.get((*turn - 1) % entries.len()).copied();
        }
        let count = entries.len() as f64;
        let powers: Vec<f64> = entries.iter().filter_map(|entry| entry.power_w).collect();
        Some(Entry {
            time_s: entries.iter().map(|entry| entry.time_s).sum::<f64>() / count,
            power_w: mean(&powers),
        })
    }

    fn step(&mut self) -> Option<WorkStep> {
        let entry = self.next()?;
        let step_ns = ((entry.time_s * 1e9).round() as u64).max(1);
        let start = self.now_ns;
        self.now_ns += step_ns;
        if let Some(watts) = entry.power_w {
            self.past.push_back((start, self.now_ns, watts));
            if self.past.len() > PAST_MAX {
                self.past.pop_front();
            }
        }
        self.done += 1;
        Some(WorkStep { end_ns: self.now_ns, step_ns, stall_ns: 0, items: 1 })
    }
}

/// The table's modes as a machine's controls.
pub struct SurfaceControl {
    shared: Arc<Mutex<ReplayState>>,
    space: ModeSpace,
}

impl PowerControl for SurfaceControl {
    fn space(&self) -> &ModeSpace {
        &self.space
    }

    fn presets(&self) -> &[Preset] {
        &[]
    }

    fn present(&mut self) -> Result<PowerMode, ControlError> {
        Ok(lock(&self.shared).present)
    }

    fn apply(&mut self, mode: &PowerMode) -> Result<Applied, ControlError> {
        if !self.space.contains(mode) {
            let message = format!("{mode}: not a row of the table");
            return Err(ControlError { recovery: Recovery::NextMode, permission: false, message });
        }
        lock(&self.shared).present = *mode;
        Ok(Applied { asked: *mode, got: *mode, warnings: Vec::new() })
    }

    fn restore(&mut self) -> Result<(), ControlError> {
        let mut state = lock(&self.shared);
        state.present = state.before;
        Ok(())
    }
}

/// The table's powers as a machine's sensors.
pub struct SurfaceMeter {
    shared: Arc<Mutex<ReplayState>>,
}

impl PowerMeter for SurfaceMeter {
    fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading {
        let state = lock(&self.shared);
        let (mut energy, mut covered, mut peak) = (0.0, 0.0, 0.0_f64);
        for (start, end, watts) in state.past.iter().rev() {
            if *end <= from_ns {
                break;
            }
            let width = (*end).min(to_ns).saturating_sub((*start).max(from_ns)) as f64 / 1e9;
            energy += width * watts;
            covered += width;
            peak = if width > 0.0 { peak.max(*watts) } else { peak };
        }
        let length = to_ns.saturating_sub(from_ns) as f64 / 1e9;
        let total = if !state.has_power {
            Reading::Absent
        } else if covered <= 0.0 {
            Reading::unreadable("insufficient: the table has no power here")
        } else {
            Reading::Value(WindowEnergy {
                energy_j: Joules(energy),
                error_j: Joules(0.0),
                coverage: (covered / length).clamp(0.0, 1.0),
                mean_power_w: Watts(energy / covered),
                peak_power_w: Watts(peak),
                samples: (covered * 1e9 / PERIOD_NS as f64) as u32,
            })
        };
        WindowReading {
            total,
            rails: Vec::new(),
            temperature_c: Reading::Absent,
            throttled: Vec::new(),
            simulated: true,
        }
    }

    fn least_window_ns(&self) -> Option<u64> {
        lock(&self.shared).has_power.then_some(LEAST_WINDOW_NS)
    }
}

/// The table's clock: only steps and waits move it.
#[derive(Clone)]
pub struct SurfaceClock {
    shared: Arc<Mutex<ReplayState>>,
}

impl Clock for SurfaceClock {
    fn now_ns(&self) -> u64 {
        lock(&self.shared).now_ns
    }

    fn wait_ns(&self, duration_ns: u64) {
        lock(&self.shared).now_ns += duration_ns;
    }
}

/// A job whose steps take what the table says of the present mode.
pub struct SurfaceWorkload {
    shared: Arc<Mutex<ReplayState>>,
    name: String,
    steps_per_epoch: u64,
    steps: Option<u64>,
}

impl Workload for SurfaceWorkload {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        if self.steps_left() == Some(0) {
            return Err(WorkError::Finished);
        }
        let mut steps: Vec<WorkStep> = Vec::new();
        let mut elapsed = 0;
        while (steps.len() as u32) < steps_max && self.steps_left() != Some(0) {
            if steps.len() as u32 >= steps_min && elapsed >= time_min_ns {
                break;
            }
            let step = lock(&self.shared).step();
            let step = step.ok_or_else(|| WorkError::Failed("the mode is not in the table".to_owned()))?;
            elapsed += step.step_ns;
            steps.push(step);
        }
        Ok(steps)
    }

    fn steps_left(&self) -> Option<u64> {
        let done = lock(&self.shared).done;
        self.steps.map(|steps| steps.saturating_sub(done))
    }

    fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    fn worker_choices(&self) -> &[usize] {
        &[]
    }

    fn set_workers(&mut self, _workers: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::Hertz;

    const TABLE: &str = "\
workload,cpu_cores,cpu_hz,gpu_hz,emc_hz,time_s,power_w,energy_j
net,1,345600000,140250000,1062400000,2.0,3.0,
net,1,345600000,140250000,1062400000,1.0,5.0,
net,4,2035200000,1300500000,1866000000,0.5,,6.0
vgg,,,114000000,1062000000,,4.0,
";

    #[test]
    fn rows_are_modes_and_repeats_are_averaged_or_come_in_turn() {
        let table = ProfileTable::parse(TABLE).unwrap();
        let surface = Surface::new(&table, Some("net"), Replay::Mean).unwrap();
        let (mut control, mut meter, clock) = (surface.control(), surface.meter(), surface.clock());
        let mut job = surface.workload(10, Some(6));
        assert_eq!(control.space().modes().len(), 2);
        let slow = control.space().modes()[0];
        control.apply(&slow).unwrap();
        let from = clock.now_ns();
        let steps = job.run(2, 0, 2).unwrap();
        assert!(steps.iter().all(|step| step.step_ns == 1_500_000_000));
        let energy = *meter.window(from, clock.now_ns()).total.value().unwrap();
        assert_eq!((energy.energy_j, energy.coverage), (Joules(12.0), 1.0));
        control.restore().unwrap();
        assert_eq!(control.present().unwrap().gpu_hz, Some(Hertz(1_300_500_000)));
        let from = clock.now_ns();
        job.run(4, 0, 4).unwrap();
        let energy = *meter.window(from, clock.now_ns()).total.value().unwrap();
        assert_eq!((energy.energy_j, energy.mean_power_w), (Joules(24.0), Watts(12.0)));
        assert_eq!(job.run(1, 0, 1), Err(WorkError::Finished));
        let refused = control.apply(&PowerMode::default()).unwrap_err();
        assert_eq!(refused.recovery, Recovery::NextMode);

        let surface = Surface::new(&table, Some("net"), Replay::InTurn).unwrap();
        surface.control().apply(&slow).unwrap();
        let steps = surface.workload(10, None).run(3, 0, 3).unwrap();
        let times: Vec<u64> = steps.iter().map(|step| step.step_ns / 1_000_000).collect();
        assert_eq!(times, [2000, 1000, 2000]);
    }

    #[test]
    fn what_cannot_be_replayed_is_told() {
        let table = ProfileTable::parse(TABLE).unwrap();
        let problem = |workload: Option<&str>| {
            Surface::new(&table, workload, Replay::Mean).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(problem(None), "the table has 2 workloads: name one of net, vgg");
        assert!(problem(Some("vgg")).contains("no row of vgg has a time_s"));
        assert!(problem(Some("resnet")).contains("it has net, vgg"));
    }
}
