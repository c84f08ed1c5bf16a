//! A job that runs on a simulated board: its steps let the board's time pass and draw its power.

use footplate_core::ports::{Clock, WorkError, WorkStep, Workload};
use footplate_core::power_mode::PowerMode;
use footplate_core::{Joules, Watts};

use super::SimBoard;
use super::physics::{self, Activity, Clocks, Work};

/// The longest stretch of a step in which clocks are taken as constant.
const STRETCH_S: f64 = 0.05;
/// Host cycles to read, decode and augment one photograph of 500 × 375 pixels: assumed, from 6 ms at 2 GHz.
const LOAD_CYCLES: f64 = 12e6;
/// Host cycles of the launching thread for one layer's kernels, forward and backward: assumed, 30 µs at 2 GHz.
const LAUNCH_CYCLES: f64 = 6e4;

/// What a job asks of a machine in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadProfile {
    /// Its name, under which profiles are filed.
    pub name: String,
    /// Samples in a step.
    pub items: u32,
    /// Host cycles (of an A78AE) to load and prepare them, spread over the cores.
    pub load_cycles: f64,
    /// Host cycles of one core that the device waits for.
    pub launch_cycles: f64,
    /// Operations on the device, a multiplication and an addition being two.
    pub flops: f64,
    /// Bytes to and from memory.
    pub bytes: f64,
    /// Steps in an epoch.
    pub steps_per_epoch: u64,
    /// Steps of the whole job; `None`: it never ends.
    pub steps: Option<u64>,
    /// Threads of the loader; 0: the thread of the step loads; `None`: as many as the board has cores online.
    pub loaders: Option<u32>,
}

impl WorkloadProfile {
    /// Training of a known network on photographs of 224 pixels, by published counts: multiplications and
    /// additions of a forward pass from torchvision's model pages, a backward pass counted as two, parameters
    /// read, written and updated in each step, activations written once and read twice. `lstm` is a small
    /// character model. `None`: not a known network.
    pub fn training(network: &str, batch_size: u32) -> Option<Self> {
        // (giga multiply-adds forward, million parameters, million activations, layers)
        let (gmacs, parameters, activations, layers) = match network {
            "lenet5" => (0.0004, 0.06, 0.01, 5.0),
            "resnet18" => (1.81, 11.7, 2.5, 18.0),
            "resnet50" => (4.09, 25.6, 11.1, 50.0),
            "mobilenet_v3_small" => (0.06, 2.5, 1.4, 52.0),
            "mobilenet_v3_large" => (0.22, 5.5, 4.4, 63.0),
            "lstm" => (0.05, 1.0, 0.3, 64.0),
            _ => return None,
        };
        let items = f64::from(batch_size);
        let load = if matches!(network, "lenet5" | "lstm") { LOAD_CYCLES / 100.0 } else { LOAD_CYCLES };
        Some(Self {
            name: format!("{network}, batch {batch_size}"),
            items: batch_size,
            load_cycles: load * items,
            launch_cycles: LAUNCH_CYCLES * layers,
            flops: gmacs * 1e9 * 2.0 * 3.0 * items,
            bytes: 4.0 * (parameters * 1e6 * 5.0 + activations * 1e6 * 3.0 * items),
            steps_per_epoch: 5_000_u64.div_ceil(u64::from(batch_size.max(1))),
            steps: None,
            loaders: None,
        })
    }

    fn work(&self) -> Work {
        Work {
            load_cycles: self.load_cycles,
            launch_cycles: self.launch_cycles,
            flops: self.flops,
            bytes: self.bytes,
            loaders: self.loaders,
        }
    }
}

/// A job on a simulated board.
pub struct SimWorkload {
    board: SimBoard,
    profile: WorkloadProfile,
    worker_choices: Vec<usize>,
    /// How much longer each step takes than the model says.
    slower: f64,
    done: u64,
}

impl SimWorkload {
    pub(super) fn new(board: SimBoard, profile: WorkloadProfile) -> Self {
        let cores = board.state().clocks().cores_all as usize;
        Self { board, profile, worker_choices: (1..=cores).collect(), slower: 1.0, done: 0 }
    }

    /// The board that it runs on.
    pub fn board(&self) -> &SimBoard {
        &self.board
    }

    /// From now on each step takes `factor` times as long as the model says.
    pub fn slow_down(&mut self, factor: f64) {
        self.slower = factor;
    }

    /// The time of one step in a mode without noise and throttling: what a perfect profile would find.
    pub fn true_time_s(&self, mode: &PowerMode) -> f64 {
        let state = self.board.state();
        let clocks = clocks_of(&state.clocks(), mode);
        physics::step(&self.profile.work(), &clocks, &state.peak(), state.physics()).time_s
    }

    /// The board's power in a mode, steady while steps follow each other, at `chip_c` degrees.
    pub fn true_power(&self, mode: &PowerMode, chip_c: f64) -> Watts {
        let state = self.board.state();
        let clocks = clocks_of(&state.clocks(), mode);
        let cost = physics::step(&self.profile.work(), &clocks, &state.peak(), state.physics());
        Watts(physics::power(&clocks, &cost.activity, chip_c, state.physics()).total())
    }

    /// The energy of one step in a mode.
    pub fn true_energy(&self, mode: &PowerMode, chip_c: f64) -> Joules {
        Joules(self.true_power(mode, chip_c).0 * self.true_time_s(mode))
    }

    fn one(&mut self) -> WorkStep {
        let clock = self.board.clock();
        let start = clock.now_ns();
        let work = self.profile.work();
        let noise = self.board.state().time_noise() * self.slower;
        let (mut left, mut stall) = (1.0, 0.0);
        while left > 1e-9 {
            let cost = {
                let mut state = self.board.state();
                // The clocks follow the work: first what the governors make of it, then its cost at that.
                state.set_step_activity(Activity { cpu: 1.0, gpu: 1.0, memory: 1.0 });
                let cost = state.cost(&work);
                state.set_step_activity(cost.activity);
                cost
            };
            let time_s = cost.time_s * noise;
            let part = (STRETCH_S / time_s).min(left);
            // To a nanosecond: a stretch must not vanish.
            clock.wait_ns(((part * time_s * 1e9).round() as u64).max(1));
            left -= part;
            stall += part * cost.stall_s * noise;
        }
        self.done += 1;
        let end_ns = clock.now_ns();
        WorkStep {
            end_ns,
            step_ns: end_ns - start,
            stall_ns: (stall * 1e9) as u64,
            items: self.profile.items,
        }
    }
}

/// A board's clocks with what a mode says of them.
fn clocks_of(present: &Clocks, mode: &PowerMode) -> Clocks {
    Clocks {
        cores: mode.cpu_cores.unwrap_or(present.cores),
        cpu_hz: mode.cpu_hz.map_or(present.cpu_hz, |hz| hz.0 as f64),
        gpu_hz: mode.gpu_hz.map_or(present.gpu_hz, |hz| hz.0 as f64),
        emc_hz: mode.emc_hz.map_or(present.emc_hz, |hz| hz.0 as f64),
        gpu_off: false,
        ..*present
    }
}

impl Workload for SimWorkload {
    fn name(&self) -> &str {
        &self.profile.name
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        if self.steps_left() == Some(0) {
            return Err(WorkError::Finished);
        }
        let start = self.board.clock().now_ns();
        let mut steps: Vec<WorkStep> = Vec::new();
        while (steps.len() as u32) < steps_max && self.steps_left() != Some(0) {
            let elapsed = steps.last().map_or(0, |step| step.end_ns - start);
            if steps.len() as u32 >= steps_min && elapsed >= time_min_ns {
                break;
            }
            steps.push(self.one());
        }
        self.board.set_activity(Activity::default());
        Ok(steps)
    }

    fn steps_left(&self) -> Option<u64> {
        self.profile.steps.map(|steps| steps.saturating_sub(self.done))
    }

    fn steps_per_epoch(&self) -> u64 {
        self.profile.steps_per_epoch
    }

    fn worker_choices(&self) -> &[usize] {
        &self.worker_choices
    }

    fn set_workers(&mut self, workers: usize) {
        self.profile.loaders = u32::try_from(workers).ok();
    }
}
