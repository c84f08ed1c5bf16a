//! A machine whose times and powers are those of a measured table: the whole path of `tune` on real data.

use std::cell::RefCell;
use std::rc::Rc;

use footplate_core::ports::{
    Applied, Clock, ControlError, PowerControl, PowerMeter, Recovery, WindowEnergy, WindowReading, WorkError,
    WorkStep, Workload,
};
use footplate_core::power_mode::{ModeSpace, Preset};
use footplate_core::{Joules, PowerMode, Reading, Watts};
use footplate_tune::evaluate::Truth;

/// What one mode of a table costs.
struct Cost {
    mode: PowerMode,
    time_s: f64,
    power_w: Option<f64>,
}

/// The state that control, meter, clock and job share.
struct State {
    costs: Vec<Cost>,
    now_ns: u64,
    mode: PowerMode,
    /// Powers while the job ran: from, to, watts.
    drawn: Vec<(u64, u64, f64)>,
}

/// All four ports of a table.
#[derive(Clone)]
pub(crate) struct Surface {
    state: Rc<RefCell<State>>,
    space: Rc<ModeSpace>,
    name: Rc<str>,
}

impl Surface {
    /// A surface of the table's modes that have a time; a mode's power is the table's, or else what `power` says.
    pub(crate) fn new(
        name: &str,
        table: &[Truth],
        power: impl Fn(&PowerMode) -> Option<f64>,
    ) -> Option<Self> {
        let cost = |truth: &Truth| {
            let mean = truth.mean();
            let mode = mean.setting.mode;
            Some(Cost { mode, time_s: mean.time_s?, power_w: mean.power_w.or_else(|| power(&mode)) })
        };
        let costs: Vec<Cost> = table.iter().filter_map(cost).collect();
        let space = ModeSpace::listed(costs.iter().map(|cost| cost.mode).collect());
        let mode = *space.modes().last()?;
        let state = State { costs, now_ns: 0, mode, drawn: Vec::new() };
        Some(Self { state: Rc::new(RefCell::new(state)), space: Rc::new(space), name: name.into() })
    }

    /// The best time under a limit of power: what a perfect search would find.
    pub(crate) fn true_best(&self, score: impl Fn(f64, Option<f64>) -> Option<f64>) -> Option<f64> {
        let state = self.state.borrow();
        let scores = state.costs.iter().filter_map(|cost| score(cost.time_s, cost.power_w));
        scores.min_by(f64::total_cmp)
    }
}

impl Clock for Surface {
    fn now_ns(&self) -> u64 {
        self.state.borrow().now_ns
    }

    fn wait_ns(&self, duration_ns: u64) {
        self.state.borrow_mut().now_ns += duration_ns;
    }
}

impl PowerControl for Surface {
    fn space(&self) -> &ModeSpace {
        &self.space
    }

    fn presets(&self) -> &[Preset] {
        &[]
    }

    fn present(&mut self) -> Result<PowerMode, ControlError> {
        Ok(self.state.borrow().mode)
    }

    fn apply(&mut self, mode: &PowerMode) -> Result<Applied, ControlError> {
        if !self.space.contains(mode) {
            let message = format!("the table has no row for {mode}");
            return Err(ControlError { recovery: Recovery::NextMode, permission: false, message });
        }
        self.state.borrow_mut().mode = *mode;
        Ok(Applied { asked: *mode, got: *mode, warnings: Vec::new() })
    }

    fn restore(&mut self) -> Result<(), ControlError> {
        Ok(())
    }
}

impl PowerMeter for Surface {
    fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading {
        let state = self.state.borrow();
        let (mut energy, mut covered, mut peak, mut samples) = (0.0, 0.0, 0.0f64, 0);
        for (from, to, watts) in &state.drawn {
            let seconds = (*to).min(to_ns).saturating_sub((*from).max(from_ns)) as f64 / 1e9;
            if seconds > 0.0 {
                energy += watts * seconds;
                covered += seconds;
                peak = peak.max(*watts);
                samples += 1;
            }
        }
        let total = if samples > 0 {
            Reading::Value(WindowEnergy {
                energy_j: Joules(energy),
                error_j: Joules(0.0),
                coverage: (covered / ((to_ns - from_ns) as f64 / 1e9)).min(1.0),
                mean_power_w: Watts(energy / covered),
                peak_power_w: Watts(peak),
                samples,
            })
        } else {
            Reading::Absent
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
        None
    }
}

impl Workload for Surface {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        let mut state = self.state.borrow_mut();
        let mode = state.mode;
        let (time_s, power_w) = match state.costs.iter().find(|cost| cost.mode == mode) {
            Some(cost) => (cost.time_s, cost.power_w),
            None => return Err(WorkError::Failed(format!("the table has no row for {mode}"))),
        };
        let step_ns = ((time_s * 1e9) as u64).max(1);
        // All steps take as long as the table says: a few tell as much as many.
        let by_time = time_min_ns.div_ceil(step_ns).min(u64::from(steps_min) * 2) as u32;
        let count = steps_min.max(by_time).min(steps_max);
        let mut steps = Vec::new();
        for _ in 0..count {
            let from = state.now_ns;
            state.now_ns += step_ns;
            let end_ns = state.now_ns;
            if let Some(watts) = power_w {
                state.drawn.push((from, end_ns, watts));
            }
            steps.push(WorkStep { end_ns, step_ns, stall_ns: 0, items: 1 });
        }
        Ok(steps)
    }

    fn steps_left(&self) -> Option<u64> {
        None
    }

    fn steps_per_epoch(&self) -> u64 {
        1
    }

    fn worker_choices(&self) -> &[usize] {
        &[]
    }

    fn set_workers(&mut self, _workers: usize) {}
}
