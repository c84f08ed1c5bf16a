//! Measures one setting on the ports: apply, read back, settle, warm up, measure until a count and a time are
//! reached.

use footplate_core::ports::{
    Applied, Clock, ControlError, PowerControl, PowerMeter, Recovery, WindowReading, WorkError, WorkStep,
    Workload,
};
use footplate_core::{PowerMode, Reading, stats};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::predict::Measurement;
use crate::setting::Setting;

/// The machine and the job as a profiler sees them.
pub struct Ports<'a> {
    /// Sets modes.
    pub control: &'a mut dyn PowerControl,
    /// Reads power.
    pub meter: &'a mut dyn PowerMeter,
    /// Makes steps.
    pub workload: &'a mut dyn Workload,
    /// The clock that all of them read.
    pub clock: &'a dyn Clock,
}

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
    /// Watts.
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
    /// Steps that count.
    pub steps: u32,
    /// Their mean duration in seconds.
    pub step_s: f64,
    /// Standard error of that mean.
    pub step_error_s: f64,
    /// Share of the time that steps waited for data, 0 to 1; not a number where it is not known.
    pub stall_share: f64,
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
            stall_share: Some(self.stall_share).filter(|share| share.is_finite()),
        }
    }
}

/// Why a setting was not measured.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ProfileError {
    /// It cannot be set; others may.
    #[error("{setting} cannot be set: {source}")]
    Mode {
        /// Which.
        setting: Box<Setting>,
        /// Why.
        source: ControlError,
    },
    /// Nothing can be set any more.
    #[error("the machine's controls fail: {0}")]
    Control(ControlError),
    /// The job gave no steps.
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// The error of a power is a bound: half steps of all rails, added, and three standard errors of what was not seen.
/// For steps of three rails its third is the standard error exactly.
pub(crate) const POWER_ERRORS: f64 = 3.0;
/// Tries to set one mode.
const TRIES: u32 = 3;
/// Pause between them.
const RETRY_NS: u64 = 200_000_000;
/// Measurements of one setting until one has no pause in it.
const STRETCHES: u32 = 2;
/// More of a step's time than this between two steps is a pause.
const PAUSE: f64 = 0.5;
/// A step longer than this many medians is an interruption of something else and is left out.
const OUTLIER: f64 = 4.0;

/// Measures `setting`. The steps are real ones: they count for the job.
pub fn profile(
    ports: &mut Ports,
    setting: &Setting,
    options: &ProfileOptions,
) -> Result<ProfileRecord, ProfileError> {
    let begin_ns = ports.clock.now_ns();
    let applied = apply(ports, setting)?;
    if let Some(workers) = setting.workers {
        ports.workload.set_workers(workers as usize);
    }
    ports.clock.wait_ns(options.settle_ns);
    if options.warmup_steps > 0 {
        ports.workload.run(options.warmup_steps, 0, options.warmup_steps)?;
    }
    let least_ns = options.time_min_ns.max(ports.meter.least_window_ns().unwrap_or(0));
    let (steps, broken) = unbroken_steps(ports, options, least_ns)?;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return Err(WorkError::Finished.into());
    };
    let (from_ns, to_ns) = (first.end_ns.saturating_sub(first.step_ns), last.end_ns);
    let seen = ports.meter.window(from_ns, to_ns);
    let mut record = record(setting, applied, &steps, seen, to_ns, to_ns.saturating_sub(begin_ns));
    if broken {
        let message =
            "no stretch without a pause (a validation, a checkpoint) was long enough: a shorter one counts";
        record.warnings.push(message.to_owned());
    }
    Ok(record)
}

/// Steps in one stretch that nothing else came into: the power of an evaluation is not that of a step. A stretch
/// that is too short is tried for once more; the longer one counts then, which is told.
fn unbroken_steps(
    ports: &mut Ports,
    options: &ProfileOptions,
    least_ns: u64,
) -> Result<(Vec<WorkStep>, bool), ProfileError> {
    let mut longest: Vec<WorkStep> = Vec::new();
    for _ in 0..STRETCHES {
        let steps = match ports.workload.run(options.steps_min, least_ns, options.steps_max) {
            Ok(steps) => steps,
            Err(WorkError::Finished) if !longest.is_empty() => break,
            Err(error) => return Err(error.into()),
        };
        let count = steps.len();
        let stretch = longest_stretch(&steps);
        let whole = stretch.len() == count;
        if spent_ns(&stretch) >= spent_ns(&longest) {
            longest = stretch;
        }
        if whole || (longest.len() as u64 >= u64::from(options.steps_min) && spent_ns(&longest) >= least_ns) {
            return Ok((longest, false));
        }
    }
    Ok((longest, true))
}

fn spent_ns(steps: &[WorkStep]) -> u64 {
    steps.iter().map(|step| step.step_ns).sum()
}

/// The longest run of steps of which each begins where the one before ended, but for a small share of its time.
fn longest_stretch(steps: &[WorkStep]) -> Vec<WorkStep> {
    let mut cuts = vec![0];
    for (index, pair) in steps.windows(2).enumerate() {
        let pause = pair[1].end_ns.saturating_sub(pair[1].step_ns).saturating_sub(pair[0].end_ns);
        if pause as f64 > PAUSE * pair[1].step_ns.max(pair[0].step_ns) as f64 {
            cuts.push(index + 1);
        }
    }
    cuts.push(steps.len());
    let parts = cuts.windows(2).map(|cut| &steps[cut[0]..cut[1]]);
    parts.max_by_key(|part| spent_ns(part)).unwrap_or(steps).to_vec()
}

fn apply(ports: &mut Ports, setting: &Setting) -> Result<Applied, ProfileError> {
    let mut tries = 0;
    loop {
        let error = match ports.control.apply(&setting.mode) {
            Ok(applied) => return Ok(applied),
            Err(error) => error,
        };
        tries += 1;
        match error.recovery {
            Recovery::Retry if tries < TRIES => ports.clock.wait_ns(RETRY_NS),
            Recovery::Retry | Recovery::NextMode => {
                return Err(ProfileError::Mode { setting: Box::new(*setting), source: error });
            }
            Recovery::Fatal => return Err(ProfileError::Control(error)),
        }
    }
}

fn record(
    setting: &Setting,
    applied: Applied,
    steps: &[WorkStep],
    seen: WindowReading,
    t_ns: u64,
    duration_ns: u64,
) -> ProfileRecord {
    let mut warnings = applied.warnings;
    if applied.got != applied.asked {
        warnings.push(format!("asked for {}, got {}", applied.asked, applied.got));
    }
    let seconds: Vec<f64> = steps.iter().map(|s| s.step_ns as f64 / 1e9).collect();
    let median = stats::quantile(&seconds, 0.5).unwrap_or(0.0);
    let kept: Vec<f64> = seconds.iter().copied().filter(|s| *s <= OUTLIER * median).collect();
    if kept.len() < seconds.len() {
        let count = seconds.len() - kept.len();
        warnings.push(format!("{count} of {} steps took over {OUTLIER} medians: left out", seconds.len()));
    }
    let step_s = stats::mean(&kept).unwrap_or(median);
    let spread: f64 = kept.iter().map(|s| (s - step_s).powi(2)).sum();
    let count = kept.len() as f64;
    let step_error_s = if count > 1.0 { (spread / (count - 1.0) / count).sqrt() } else { 0.0 };
    let total: f64 = seconds.iter().sum();
    let stalled: f64 = steps.iter().map(|s| s.stall_ns as f64 / 1e9).sum();
    let power = match seen.total {
        Reading::Value(energy) => {
            let mean_w = energy.mean_power_w.0;
            let share = if energy.energy_j.0 > 0.0 { energy.error_j.0 / energy.energy_j.0 } else { 0.0 };
            Reading::Value(MeanPower { mean_w, error_w: mean_w * share, coverage: energy.coverage })
        }
        Reading::Absent => Reading::Absent,
        Reading::Unreadable { reason } => Reading::Unreadable { reason },
    };
    let temperature_c = match seen.temperature_c {
        Reading::Value(celsius) => Reading::Value(celsius.0),
        Reading::Absent => Reading::Absent,
        Reading::Unreadable { reason } => Reading::Unreadable { reason },
    };
    ProfileRecord {
        setting: *setting,
        got: applied.got,
        steps: kept.len() as u32,
        step_s,
        step_error_s,
        stall_share: if total > 0.0 { stalled / total } else { 0.0 },
        items: steps.iter().map(|s| f64::from(s.items)).sum::<f64>() / steps.len() as f64,
        power,
        temperature_c,
        throttled: seen.throttled,
        warnings,
        simulated: seen.simulated,
        t_ns,
        duration_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(ends: &[(u64, u64)]) -> Vec<WorkStep> {
        let step = |&(end_ns, step_ns)| WorkStep { end_ns, step_ns, stall_ns: 0, items: 1 };
        ends.iter().map(step).collect()
    }

    #[test]
    fn a_pause_cuts_and_the_longer_part_counts() {
        let all = steps(&[(10, 10), (20, 10), (90, 10), (101, 10), (111, 10), (300, 10)]);
        let stretch = longest_stretch(&all);
        assert_eq!(stretch.iter().map(|s| s.end_ns).collect::<Vec<_>>(), [90, 101, 111]);
        assert_eq!(longest_stretch(&[]), []);
    }
}
