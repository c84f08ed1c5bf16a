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
    use proptest::prelude::*;

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

    /// Half a cosine over 8 steps: 8 · (1 + cos(π · n / 8)) / 2.
    #[test]
    fn cosine_has_the_values_of_the_formula() {
        assert_eq!(rates(ScheduleKind::Cosine, 0), [8.0, 7.696, 6.828, 5.531, 4.0, 2.469, 1.172, 0.304]);
        assert_eq!(rates(ScheduleKind::Cosine, 4), [2.0, 4.0, 6.0, 8.0, 8.0, 6.828, 4.0, 1.172]);
    }

    #[test]
    fn what_is_zero_by_mistake_divides_nothing() {
        let zero = ScheduleSettings {
            learning_rate: 8.0,
            kind: ScheduleKind::Step,
            warmup_steps: 0,
            step_epochs: 0,
            step_gamma: 0.5,
        };
        assert_eq!(learning_rate(&zero, 0, 0, 0), 8.0);
        assert_eq!(learning_rate(&zero, 3, 0, 0), 1.0);
        let cosine = ScheduleSettings { kind: ScheduleKind::Cosine, ..zero };
        assert_eq!(learning_rate(&cosine, 0, 0, 0), 8.0);
    }

    proptest! {
        /// The rate is reached and never exceeded, is never negative, and no step is wasted on a rate of 0 but a
        /// cosine's after its end.
        #[test]
        fn the_rate_is_a_ceiling(step in 0u64..200, total in 1u64..150, warmup_steps in 0u64..150, kind in 0usize..3) {
            let kind = [ScheduleKind::Constant, ScheduleKind::Step, ScheduleKind::Cosine][kind];
            let schedule =
                ScheduleSettings { learning_rate: 0.3, kind, warmup_steps, step_epochs: 2, step_gamma: 0.5 };
            let rate = learning_rate(&schedule, step, total, 10);
            prop_assert!((0.0..=0.3).contains(&rate));
            prop_assert!(rate > 0.0 || kind == ScheduleKind::Cosine && step >= total);
            if step + 1 < warmup_steps {
                prop_assert!(rate < learning_rate(&schedule, step + 1, total, 10));
            }
        }
    }
}
