//! The arithmetic of a window of steps: the same for a measurement and for a look at a running job.

use footplate_core::ports::{WindowReading, WorkStep};
use footplate_core::{Reading, stats};

use crate::predict::{Estimate, Prediction};
use crate::profiler::MeanPower;

/// A step longer than this many medians is an interruption by something else and is left out of the mean.
pub(crate) const OUTLIER: f64 = 4.0;
/// If steps fill less than this share of a window, its mean power is not that of a step.
const FILLED: f64 = 0.9;

/// What a window of steps came to.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowStats {
    /// Steps in the window.
    pub steps: usize,
    /// Steps whose time counts: the others took longer than four medians.
    pub counted: usize,
    /// Mean time of the steps that count, in seconds.
    pub step_s: f64,
    /// Standard error of that mean, in seconds.
    pub step_error_s: f64,
    /// Share of the steps' time that waited for data, 0 to 1; `None` if the steps took no time.
    pub stall_share: Option<f64>,
    /// Mean number of samples in a step.
    pub items: f64,
    /// Whether steps fill at least nine tenths of the window. A pause has a power of its own.
    pub filled: bool,
    /// Mean power of the whole machine in the window.
    pub power: Reading<MeanPower>,
    /// The highest temperature in the window, in degrees Celsius.
    pub temperature_c: Reading<f64>,
    /// Evidence that the machine lowered its clocks by itself; empty: none.
    pub throttled: Vec<String>,
    /// Whether the figures come from a simulated board.
    pub simulated: bool,
}

impl WindowStats {
    /// The window that `steps` span: from the beginning of the first to the end of the last, in nanoseconds of the
    /// common clock. `None` without a step.
    pub fn span(steps: &[WorkStep]) -> Option<(u64, u64)> {
        let (first, last) = (steps.first()?, steps.last()?);
        Some((first.end_ns.saturating_sub(first.step_ns), last.end_ns))
    }

    /// What `steps` and the sensors' reading of their window come to. `None` without a step.
    pub fn of(steps: &[WorkStep], reading: WindowReading) -> Option<Self> {
        let (from_ns, to_ns) = Self::span(steps)?;
        let seconds: Vec<f64> = steps.iter().map(|s| s.step_ns as f64 / 1e9).collect();
        let median = stats::quantile(&seconds, 0.5).unwrap_or(0.0);
        let kept: Vec<f64> = seconds.iter().copied().filter(|s| *s <= OUTLIER * median).collect();
        let step_s = stats::mean(&kept).unwrap_or(median);
        let spread: f64 = kept.iter().map(|s| (s - step_s).powi(2)).sum();
        let count = kept.len() as f64;
        let step_error_s = if count > 1.0 { (spread / (count - 1.0) / count).sqrt() } else { 0.0 };
        let total: f64 = seconds.iter().sum();
        let stalled: f64 = steps.iter().map(|s| s.stall_ns as f64 / 1e9).sum();
        Some(Self {
            steps: steps.len(),
            counted: kept.len(),
            step_s,
            step_error_s,
            stall_share: (total > 0.0).then(|| stalled / total),
            items: steps.iter().map(|s| f64::from(s.items)).sum::<f64>() / steps.len() as f64,
            filled: total * 1e9 >= FILLED * to_ns.saturating_sub(from_ns) as f64,
            power: mean_power(reading.total),
            temperature_c: celsius(reading.temperature_c),
            throttled: reading.throttled,
            simulated: reading.simulated,
        })
    }

    /// Mean power of a step, in watts. `None`: there is no reading, or something else came between the steps.
    pub fn step_power_w(&self) -> Option<f64> {
        self.power.value().filter(|_| self.filled).map(|power| power.mean_w)
    }

    /// What is to be expected from now on of a job that stays as this window shows it.
    pub fn expected(&self) -> Prediction {
        let exact = |value| Estimate { value, log_sd: 0.0 };
        let power_w = self.step_power_w();
        Prediction {
            time_s: Some(exact(self.step_s)),
            power_w: power_w.map(exact),
            energy_j: power_w.map(|power| exact(power * self.step_s)),
        }
    }
}

fn mean_power(total: Reading<footplate_core::ports::WindowEnergy>) -> Reading<MeanPower> {
    match total {
        Reading::Value(energy) => {
            let mean_w = energy.mean_power_w.0;
            let share = if energy.energy_j.0 > 0.0 { energy.error_j.0 / energy.energy_j.0 } else { 0.0 };
            Reading::Value(MeanPower { mean_w, error_w: mean_w * share, coverage: energy.coverage })
        }
        Reading::Absent => Reading::Absent,
        Reading::Unreadable { reason } => Reading::Unreadable { reason },
    }
}

fn celsius(temperature: Reading<footplate_core::Celsius>) -> Reading<f64> {
    match temperature {
        Reading::Value(celsius) => Reading::Value(celsius.0),
        Reading::Absent => Reading::Absent,
        Reading::Unreadable { reason } => Reading::Unreadable { reason },
    }
}
