//! The learning rate as a pure function of the step.

use crate::settings::{ScheduleKind, ScheduleSettings};

/// Learning rate of the step number `step` (from 0) of `total_steps`.
///
/// Warm-up is linear: step 0 gets `1 / warmup_steps` of the rate, so that no step is wasted on a rate of 0.
pub(crate) fn learning_rate(
    schedule: &ScheduleSettings,
    step: u64,
    total_steps: u64,
    steps_per_epoch: u64,
) -> f64 {
    if step < schedule.warmup_steps {
        return schedule.learning_rate * (step + 1) as f64 / schedule.warmup_steps as f64;
    }
    let factor = match schedule.kind {
        ScheduleKind::Constant => 1.0,
        ScheduleKind::Step => {
            let epoch = step / steps_per_epoch.max(1);
            let drops = epoch / u64::from(schedule.step_epochs.max(1));
            schedule.step_gamma.powi(i32::try_from(drops).unwrap_or(i32::MAX))
        }
        ScheduleKind::Cosine => {
            let span = total_steps.saturating_sub(schedule.warmup_steps).max(1);
            let progress = (step - schedule.warmup_steps) as f64 / span as f64;
            (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()) / 2.0
        }
    };
    schedule.learning_rate * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(kind: ScheduleKind, warmup_steps: u64) -> Vec<f64> {
        let schedule =
            ScheduleSettings { learning_rate: 8.0, kind, warmup_steps, step_epochs: 2, step_gamma: 0.5 };
        (0..8).map(|step| (learning_rate(&schedule, step, 8, 2) * 1e3).round() / 1e3).collect()
    }

    #[test]
    fn warm_up_rises_to_the_rate() {
        assert_eq!(rates(ScheduleKind::Constant, 4), [2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 8.0, 8.0]);
    }

    #[test]
    fn step_drops_every_second_epoch() {
        assert_eq!(rates(ScheduleKind::Step, 0), [8.0, 8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 4.0]);
    }

    #[test]
    fn cosine_falls_towards_zero() {
        let rates = rates(ScheduleKind::Cosine, 0);
        assert_eq!((rates[0], rates[4]), (8.0, 4.0));
        assert!(rates.is_sorted_by(|a, b| a > b) && rates[7] > 0.0);
    }
}
