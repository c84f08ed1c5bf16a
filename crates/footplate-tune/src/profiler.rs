//! What measuring one setting gives, and how a measurement is bounded.

use footplate_core::ports::{ControlError, WorkError};
use footplate_core::{PowerMode, Reading};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::predict::Measurement;
use crate::setting::Setting;

/// Bounds of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileOptions {
    /// Wait after a mode was set, before the first step.
    pub settle_ns: u64,
    /// Steps that are made and not counted: caches, clocks and queues find their level.
    pub warmup_steps: u32,
    /// Least steps that are counted.
    pub steps_min: u32,
    /// Least time over which they are counted; more if the sensors need it.
    pub time_min_ns: u64,
    /// Most steps that are counted: a bound of memory. The time must end a measurement, or a sensor sees too little.
    pub steps_max: u32,
}

impl Default for ProfileOptions {
    fn default() -> Self {
        Self {
            settle_ns: 300_000_000,
            warmup_steps: 2,
            steps_min: 6,
            time_min_ns: 3_000_000_000,
            steps_max: 100_000,
        }
    }
}

/// A mean of what one measurement's sensors saw, with the half width of its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanPower {
    /// Energy by covered time, in watts.
    pub mean_w: f64,
    /// Half the width of the interval that holds the true mean.
    pub error_w: f64,
    /// Share of the window that samples cover, 0 to 1.
    pub coverage: f64,
}

/// What measuring one setting gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileRecord {
    /// What was asked for.
    pub setting: Setting,
    /// The mode that was read back.
    pub got: PowerMode,
    /// Number of steps that the figures are of.
    pub steps: u32,
    /// Their mean duration in seconds.
    pub step_s: f64,
    /// Standard error of that mean.
    pub step_error_s: f64,
    /// Share of the time that steps waited for data, 0 to 1; `None` (`null` in JSON): not known.
    pub stall_share: Option<f64>,
    /// Samples in a step, on average.
    pub items: f64,
    /// The whole machine's power meanwhile.
    pub power: Reading<MeanPower>,
    /// The highest temperature, in degrees Celsius.
    pub temperature_c: Reading<f64>,
    /// Evidence that the machine lowered its clocks by itself.
    pub throttled: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Whether the figures come from a simulated board.
    pub simulated: bool,
    /// When it was complete, on the common clock.
    pub t_ns: u64,
    /// From applying the mode to the last step.
    pub duration_ns: u64,
}

impl ProfileRecord {
    /// Whether it tells of the setting that was asked for: the mode was taken and held.
    pub fn is_sound(&self) -> bool {
        self.got == self.setting.mode && self.throttled.is_empty()
    }

    /// The record as a predictor takes it.
    pub fn measurement(&self) -> Measurement {
        let power = self.power.value();
        Measurement {
            setting: self.setting,
            time_s: Some(self.step_s),
            power_w: power.map(|p| p.mean_w),
            time_error: self.step_error_s / self.step_s,
            power_error: power.map_or(0.0, |p| p.error_w / POWER_ERRORS / p.mean_w),
            stall_share: self.stall_share,
        }
    }
}

/// Why a setting was not measured.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ProfileError {
    /// It cannot be set; others may.
    #[error("{setting} cannot be set: {source}")]
    Mode {
        /// The setting that was asked for.
        setting: Box<Setting>,
        /// What the controls said.
        source: ControlError,
    },
    /// Nothing can be set any more.
    #[error("power modes cannot be set any more: {0}")]
    Control(ControlError),
    /// The job gave no steps.
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// The error of a power is a bound: half steps of all rails, added, and three standard errors of what was not seen.
/// For steps of three rails its third is the standard error exactly.
pub(crate) const POWER_ERRORS: f64 = 3.0;
