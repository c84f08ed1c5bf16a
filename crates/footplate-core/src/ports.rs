//! The ports through which a tuner sees a machine and a job: who implements them is not known here.

use serde::{Deserialize, Serialize};

use crate::power_mode::{ModeSpace, PowerMode, Preset};
use crate::reading::Reading;
use crate::units::{Celsius, Joules, Watts};

/// A monotonic clock: the training loop, the sensors and the tuner read the same one.
pub trait Clock {
    /// Nanoseconds since a fixed moment.
    fn now_ns(&self) -> u64;
    /// Lets time pass: sleeps in the program, advances a manual clock in a test or a simulation.
    fn wait_ns(&self, duration_ns: u64);
}

/// What became of a mode that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What was asked for.
    pub asked: PowerMode,
    /// What was read back.
    pub got: PowerMode,
    /// Why they differ, and what else the user should know.
    pub warnings: Vec<String>,
}

/// What is to be done about a control that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The same may work in a moment.
    Retry,
    /// This mode cannot be had; others can.
    NextMode,
    /// Nothing more can be set.
    Fatal,
}

/// Why a mode was not set. The text tells the path, the value and a hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What is to be done.
    pub recovery: Recovery,
    /// Whether it is for want of permission.
    pub permission: bool,
    /// What happened, with the path and the value.
    pub message: String,
}

/// Sets a machine's knobs.
pub trait PowerControl {
    /// All modes that can be set.
    fn space(&self) -> &ModeSpace;
    /// The vendor's named modes.
    fn presets(&self) -> &[Preset];
    /// Reads the present mode from the machine.
    fn present(&mut self) -> Result<PowerMode, ControlError>;
    /// Sets a mode and reads it back.
    fn apply(&mut self, mode: &PowerMode) -> Result<Applied, ControlError>;
    /// Puts back what was set before the first `apply`.
    fn restore(&mut self) -> Result<(), ControlError>;
}

/// An energy over a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowEnergy {
    /// Integrated over the samples that there are, scaled to nothing that there is not.
    pub energy_j: Joules,
    /// Half the width of the interval that holds the true energy, from the sensor's period, steps and skew.
    pub error_j: Joules,
    /// Share of the window that samples cover, 0 to 1.
    pub coverage: f64,
    /// Energy by covered time.
    pub mean_power_w: Watts,
    /// The largest single sample of the window.
    pub peak_power_w: Watts,
    /// Samples in the window.
    pub samples: u32,
}

/// What the sensors say of a window of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowReading {
    /// The whole board; too few samples are `Unreadable` with the reason "insufficient…".
    pub total: Reading<WindowEnergy>,
    /// Each rail or GPU by name.
    pub rails: Vec<(String, Reading<WindowEnergy>)>,
    /// The highest temperature of all zones in the window.
    pub temperature_c: Reading<Celsius>,
    /// Evidence that the machine lowered its clocks by itself; empty: none was seen.
    pub throttled: Vec<String>,
    /// Whether the figures come from a simulated board.
    pub simulated: bool,
}

/// Reads a machine's power on its own schedule.
pub trait PowerMeter {
    /// What was seen from one moment of the common clock to another; both must be past.
    fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading;
    /// The least window over which an energy makes sense, in nanoseconds; `None` without any sensor.
    fn least_window_ns(&self) -> Option<u64>;
}

/// One training step as a tuner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkStep {
    /// When it ended, on the common clock.
    pub end_ns: u64,
    /// How long it took.
    pub step_ns: u64,
    /// The part of it that waited for data.
    pub stall_ns: u64,
    /// Samples that the step trained on.
    pub items: u32,
}

/// Why a job gives no more steps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The job is done: all its steps were made.
    #[error("the job has ended")]
    Finished,
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// It failed, with the cause in words.
    #[error("{0}")]
    Failed(String),
}

/// Steps that [`Workload::train`] makes in one call at most, where a job has no way of its own: a bound of memory.
const TRAIN_STEPS_MAX: u32 = 100_000;

/// A job whose steps can be made a few at a time. Steps made while profiling are real ones.
pub trait Workload {
    /// What it is, as records are filed under: network, batch, data and device.
    fn name(&self) -> &str;
    /// Makes steps, each to its end on the device, until there are `steps_min` of them and `time_min_ns` has
    /// passed, and at most `steps_max`.
    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError>;
    /// Trains on as the job does by itself, without waiting for each step's end on the device, until at least
    /// `steps_min` steps are made and `time_min_ns` has passed.
    fn train(&mut self, steps_min: u32, time_min_ns: u64) -> Result<Vec<WorkStep>, WorkError> {
        self.run(steps_min, time_min_ns, TRAIN_STEPS_MAX)
    }
    /// Steps that remain, if the job knows its end.
    fn steps_left(&self) -> Option<u64>;
    /// Steps in one epoch.
    fn steps_per_epoch(&self) -> u64;
    /// Loader's workers that can be chosen; empty if it cannot be changed while running.
    fn worker_choices(&self) -> &[usize];
    /// Changes the number of loader's workers.
    fn set_workers(&mut self, workers: usize);
}
