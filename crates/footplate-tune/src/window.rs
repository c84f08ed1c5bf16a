//! The arithmetic of a window of steps: the same for a measurement and for a look at a running job.

use footplate_core::ports::{WindowEnergy, WindowReading, WorkStep};
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
            power: reading.total.map(mean_power),
            temperature_c: reading.temperature_c.map(|celsius| celsius.0),
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

fn mean_power(energy: WindowEnergy) -> MeanPower {
    let mean_w = energy.mean_power_w.0;
    let share = if energy.energy_j.0 > 0.0 { energy.error_j.0 / energy.energy_j.0 } else { 0.0 };
    MeanPower { mean_w, error_w: mean_w * share, coverage: energy.coverage }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::{Celsius, Joules, Watts};
    use proptest::prelude::*;

    /// Steps one after the other, of these milliseconds each, half of which waits for data.
    fn steps(ms: &[u64]) -> Vec<WorkStep> {
        let mut end_ns = 5_000_000;
        let step = |ms: &u64| {
            end_ns += ms * 1_000_000;
            WorkStep { end_ns, step_ns: ms * 1_000_000, stall_ns: ms * 500_000, items: 4 }
        };
        ms.iter().map(step).collect()
    }

    fn reading(watts: f64) -> WindowReading {
        let total = WindowEnergy {
            energy_j: Joules(watts),
            error_j: Joules(0.02 * watts),
            coverage: 0.9,
            mean_power_w: Watts(watts),
            peak_power_w: Watts(watts),
            samples: 10,
        };
        WindowReading {
            total: Reading::Value(total),
            rails: Vec::new(),
            temperature_c: Reading::Value(Celsius(41.5)),
            throttled: Vec::new(),
            simulated: false,
        }
    }

    #[test]
    fn a_step_over_four_medians_counts_for_the_window_and_not_for_the_mean() {
        let stats = WindowStats::of(&steps(&[100, 110, 90, 100, 1000]), reading(8.0)).unwrap();
        assert_eq!((stats.steps, stats.counted), (5, 4));
        assert!((stats.step_s - 0.1).abs() < 1e-12, "{}", stats.step_s);
        // The standard error of 0.1, 0.11, 0.09 and 0.1: the root of 2e-4 / 3 / 4.
        assert!((stats.step_error_s - (2e-4f64 / 12.0).sqrt()).abs() < 1e-12, "{}", stats.step_error_s);
        assert_eq!((stats.stall_share, stats.items, stats.filled), (Some(0.5), 4.0, true));
    }

    #[test]
    fn readings_keep_their_kind() {
        let stats = WindowStats::of(&steps(&[100]), reading(8.0)).unwrap();
        assert_eq!(stats.power, Reading::Value(MeanPower { mean_w: 8.0, error_w: 0.16, coverage: 0.9 }));
        assert_eq!((stats.temperature_c, stats.step_error_s), (Reading::Value(41.5), 0.0));
        let dead = WindowReading {
            total: Reading::unreadable("no such device"),
            temperature_c: Reading::Absent,
            ..reading(0.0)
        };
        let stats = WindowStats::of(&steps(&[100]), dead).unwrap();
        assert_eq!((stats.power.reason(), stats.step_power_w()), (Some("no such device"), None));
        assert!(stats.temperature_c.is_absent());
    }

    #[test]
    fn the_power_of_a_window_with_a_pause_in_it_is_not_that_of_a_step() {
        let mut with_pause = steps(&[100, 100, 100]);
        with_pause[2].end_ns += 40_000_000;
        let stats = WindowStats::of(&with_pause, reading(8.0)).unwrap();
        assert_eq!((stats.filled, stats.step_power_w()), (false, None));
        let expected = stats.expected();
        assert!(expected.time_s.is_some() && expected.power_w.is_none() && expected.energy_j.is_none());
        let whole = WindowStats::of(&steps(&[100, 100, 100]), reading(8.0)).unwrap();
        assert!((whole.expected().energy_j.unwrap().value - 0.8).abs() < 1e-12);
    }

    #[test]
    fn without_a_step_there_is_no_window() {
        assert_eq!(WindowStats::span(&[]), None);
        assert_eq!(WindowStats::of(&[], reading(8.0)), None);
        assert_eq!(WindowStats::span(&steps(&[10, 20])), Some((5_000_000, 35_000_000)));
    }

    proptest! {
        #[test]
        fn the_mean_lies_within_what_counts(ms in proptest::collection::vec(1u64..5000, 1..40)) {
            let stats = WindowStats::of(&steps(&ms), reading(5.0)).unwrap();
            let least = *ms.iter().min().unwrap() as f64 / 1e3;
            let most = *ms.iter().max().unwrap() as f64 / 1e3;
            prop_assert!(stats.step_s >= least - 1e-12 && stats.step_s <= most + 1e-12);
            prop_assert!(2 * stats.counted > ms.len(), "{} of {}", stats.counted, ms.len());
            prop_assert!(stats.filled && stats.step_error_s.is_finite());
        }
    }
}
