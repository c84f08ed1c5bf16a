//! Looks whether a running job still does what was predicted, and decides when a new plan is worth its time.

use footplate_core::Reading;
use serde::Serialize;

use crate::predict::{Estimate, Prediction};
use crate::profiler::{POWER_ERRORS, ProfileRecord};

/// Looks whether a running job still does what was predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftCheck {
    expected: Prediction,
    power_max_w: Option<f64>,
}

/// What a look at a running job says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As predicted, to within its error.
    AsPredicted,
    /// Steps take longer or shorter than predicted, by this factor.
    Time(f64),
    /// Power is higher or lower than predicted, by this factor.
    Power(f64),
    /// The machine lowered its clocks by itself.
    Throttled,
}

impl Verdict {
    /// Whether two looks say the same: the same quantity has moved to the same side.
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Throttled, Self::Throttled) => true,
            (Self::Time(a), Self::Time(b)) | (Self::Power(a), Self::Power(b)) => (*a > 1.0) == (*b > 1.0),
            _ => false,
        }
    }

    /// The verdict as the user reads it, such as "a step takes 30 % more than predicted".
    pub fn text(&self) -> String {
        let percent = |factor: f64| {
            let word = if factor > 1.0 { "more" } else { "less" };
            format!("{:.0} % {word} than predicted", 100.0 * (factor - 1.0).abs())
        };
        match self {
            Self::AsPredicted => "as predicted".to_owned(),
            Self::Time(factor) => format!("a step takes {}", percent(*factor)),
            Self::Power(factor) => format!("the power is {}", percent(*factor)),
            Self::Throttled => "the machine throttles".to_owned(),
        }
    }
}

/// Deviations below this are not worth a new plan, however sure the prediction was.
const DRIFT_LEAST: f64 = 0.05;

/// A power limit that is exceeded by less than this share is held, as far as sensors can tell.
const LIMIT_SLACK: f64 = 0.01;

impl DriftCheck {
    /// Expects what was predicted or measured for the choice.
    pub fn new(expected: Prediction) -> Self {
        Self { expected, power_max_w: None }
    }

    /// Also sees when this power is exceeded, however little more than predicted it is: a chip that warms up leaks more.
    pub fn with_power_max(self, power_max_w: Option<f64>) -> Self {
        Self { power_max_w, ..self }
    }

    /// Compares a window of the running job. Three standard errors and a twentieth are allowed.
    pub fn look(&self, step_s: f64, power_w: Option<f64>, throttled: bool) -> Verdict {
        if throttled {
            return Verdict::Throttled;
        }
        let off = |estimate: Option<Estimate>, seen: Option<f64>| {
            let (estimate, seen) = (estimate?, seen?);
            let factor = seen / estimate.value;
            (factor.ln().abs() > (3.0 * estimate.log_sd).max(DRIFT_LEAST)).then_some(factor)
        };
        let broken =
            self.power_max_w.zip(power_w).is_some_and(|(most, seen)| seen > most * (1.0 + LIMIT_SLACK));
        if let (true, Some(expected), Some(seen)) = (broken, self.expected.power_w, power_w) {
            return Verdict::Power(seen / expected.value);
        }
        if let Some(factor) = off(self.expected.power_w, power_w) {
            return Verdict::Power(factor);
        }
        off(self.expected.time_s, Some(step_s)).map_or(Verdict::AsPredicted, Verdict::Time)
    }
}

/// What is to be done after a look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Nothing: the job is as predicted, or too few looks agree that it is not.
    CarryOn,
    /// A new plan from what is known.
    Replan(Verdict),
    /// The job is not as predicted, and enough new plans were made: the user is told, once.
    Tell(Verdict),
}

/// Bounds of one look at a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookOptions {
    /// A look has at least so many steps,
    pub steps_min: u32,
    /// and takes at least so long, in nanoseconds.
    pub time_min_ns: u64,
}

impl Default for LookOptions {
    fn default() -> Self {
        Self { steps_min: 6, time_min_ns: 10_000_000_000 }
    }
}

/// New plans in one run at most: each costs the time of a few measurements, and a machine that is never as
/// predicted must not be planned for for ever.
pub const REPLANS_MAX: u32 = 3;
/// Looks that must agree before the first new plan; twice as many before each further one.
const LOOKS: u32 = 2;

/// Decides when to plan anew. It comes to rest: the number of plans is bounded, and each must have more looks that
/// agree than the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replanner {
    check: DriftCheck,
    last: Verdict,
    agreeing: u32,
    replans: u32,
    told: bool,
}

impl Replanner {
    /// Watches a job of which this is expected.
    pub fn new(expected: Prediction, power_max_w: Option<f64>) -> Self {
        let check = DriftCheck::new(expected).with_power_max(power_max_w);
        Self { check, last: Verdict::AsPredicted, agreeing: 0, replans: 0, told: false }
    }

    /// A look at a window of the running job.
    pub fn look(&mut self, step_s: f64, power_w: Option<f64>, throttled: bool) -> Action {
        let verdict = self.check.look(step_s, power_w, throttled);
        if verdict == Verdict::AsPredicted {
            (self.last, self.agreeing) = (verdict, 0);
            return Action::CarryOn;
        }
        self.agreeing = if verdict.agrees(&self.last) { self.agreeing + 1 } else { 1 };
        self.last = verdict;
        if self.agreeing < LOOKS << self.replans.min(REPLANS_MAX) {
            return Action::CarryOn;
        }
        if self.replans < REPLANS_MAX {
            return Action::Replan(verdict);
        }
        if std::mem::replace(&mut self.told, true) { Action::CarryOn } else { Action::Tell(verdict) }
    }

    /// The same after a new plan was made: this is expected from now on.
    #[must_use]
    pub fn replanned(self, expected: Prediction) -> Self {
        let check = DriftCheck { expected, ..self.check };
        Self { check, last: Verdict::AsPredicted, agreeing: 0, replans: self.replans + 1, told: self.told }
    }

    /// New plans so far.
    pub fn replans(&self) -> u32 {
        self.replans
    }
}

/// How unsure a record becomes, by how much the quantity has moved since.
const SPREAD_PER_SHIFT: f64 = 0.3;

/// What was measured before a job changed, as far as it can still be believed: the quantity that has moved is taken
/// to have moved by the same factor everywhere, and less surely so. What was measured while it throttled is left out.
pub fn still_known(records: &[ProfileRecord], verdict: &Verdict) -> Vec<ProfileRecord> {
    let mut known: Vec<ProfileRecord> = records.iter().filter(|r| r.is_sound()).cloned().collect();
    for record in &mut known {
        match verdict {
            Verdict::Time(factor) => {
                record.step_s *= factor;
                let doubt = SPREAD_PER_SHIFT * factor.ln().abs() * record.step_s;
                record.step_error_s = (record.step_error_s * factor).hypot(doubt);
                // Whether it waits for data more or less than before is not known.
                record.stall_share = None;
            }
            Verdict::Power(factor) => {
                if let Reading::Value(power) = &mut record.power {
                    power.mean_w *= factor;
                    let doubt = POWER_ERRORS * SPREAD_PER_SHIFT * factor.ln().abs() * power.mean_w;
                    power.error_w = (power.error_w * factor).hypot(doubt);
                }
            }
            Verdict::AsPredicted | Verdict::Throttled => {}
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiler::MeanPower;
    use proptest::prelude::*;

    fn expected() -> Prediction {
        let estimate = |value| Some(Estimate { value, log_sd: 0.01 });
        Prediction { time_s: estimate(1.0), power_w: estimate(10.0), energy_j: estimate(10.0) }
    }

    #[test]
    fn one_odd_window_is_no_reason_and_two_are() {
        let mut replanner = Replanner::new(expected(), None);
        assert_eq!(replanner.look(1.3, Some(10.0), false), Action::CarryOn);
        assert_eq!(replanner.look(1.0, Some(10.0), false), Action::CarryOn);
        assert_eq!(replanner.look(1.3, Some(10.0), false), Action::CarryOn);
        // The other side is another matter.
        assert_eq!(replanner.look(0.7, Some(10.0), false), Action::CarryOn);
        assert!(matches!(replanner.look(0.7, Some(10.0), false), Action::Replan(Verdict::Time(_))));
    }

    #[test]
    fn a_limit_that_is_broken_by_little_is_seen_too() {
        let mut replanner = Replanner::new(expected(), Some(10.1));
        assert_eq!(replanner.look(1.0, Some(10.15), false), Action::CarryOn);
        assert_eq!(replanner.look(1.0, Some(10.15), false), Action::CarryOn);
        assert_eq!(replanner.look(1.0, Some(10.3), false), Action::CarryOn);
        assert!(
            matches!(replanner.look(1.0, Some(10.3), false), Action::Replan(Verdict::Power(f)) if f > 1.02)
        );
    }

    #[test]
    fn a_job_that_is_never_as_predicted_is_told_once_and_left_alone() {
        let mut replanner = Replanner::new(expected(), None);
        let (mut plans, mut tells) = (0, 0);
        for i in 0..1000 {
            // It swings between two states, each for some windows.
            let step_s = if i / 20 % 2 == 0 { 1.5 } else { 0.6 };
            match replanner.look(step_s, Some(10.0), false) {
                Action::CarryOn => {}
                Action::Replan(_) => {
                    plans += 1;
                    replanner = replanner.replanned(expected());
                }
                Action::Tell(_) => tells += 1,
            }
        }
        assert_eq!((plans, tells), (REPLANS_MAX, 1));
    }

    #[test]
    fn a_look_tells_which_quantity_moved_and_by_how_much() {
        let check = DriftCheck::new(expected());
        let limited = check.with_power_max(Some(10.1));
        for (check, step_s, power_w, throttled, verdict) in [
            (check, 1.04, Some(10.4), false, Verdict::AsPredicted),
            (check, 1.06, Some(10.0), false, Verdict::Time(1.06)),
            (check, 0.5, None, false, Verdict::Time(0.5)),
            (check, 1.0, Some(8.0), false, Verdict::Power(0.8)),
            // Power is looked at first; throttling before all.
            (check, 2.0, Some(20.0), false, Verdict::Power(2.0)),
            (check, 1.0, Some(10.0), true, Verdict::Throttled),
            (limited, 1.0, Some(10.2), false, Verdict::AsPredicted),
            (limited, 1.0, Some(10.3), false, Verdict::Power(1.03)),
            (limited, 1.0, None, false, Verdict::AsPredicted),
        ] {
            match (check.look(step_s, power_w, throttled), verdict) {
                (Verdict::Time(seen), Verdict::Time(told)) | (Verdict::Power(seen), Verdict::Power(told)) => {
                    assert!((seen - told).abs() < 1e-12, "{seen} for {told}");
                }
                (seen, told) => assert_eq!(seen, told, "{step_s} s, {power_w:?}"),
            }
        }
        // Nothing was known: nothing has moved.
        assert_eq!(DriftCheck::new(Prediction::default()).look(9.0, Some(9.0), false), Verdict::AsPredicted);
    }

    #[test]
    fn verdicts_are_told_in_percent() {
        for (verdict, text) in [
            (Verdict::Time(1.304), "a step takes 30 % more than predicted"),
            (Verdict::Power(0.8), "the power is 20 % less than predicted"),
            (Verdict::Throttled, "the machine throttles"),
            (Verdict::AsPredicted, "as predicted"),
        ] {
            assert_eq!(verdict.text(), text);
        }
    }

    fn record(cores: u32, throttled: &[&str]) -> ProfileRecord {
        use footplate_core::PowerMode;
        let mode = PowerMode { cpu_cores: Some(cores), ..PowerMode::default() };
        ProfileRecord {
            setting: crate::Setting::of(mode),
            got: mode,
            steps: 6,
            step_s: 0.2,
            step_error_s: 0.002,
            stall_share: Some(0.3),
            items: 8.0,
            power: Reading::Value(MeanPower { mean_w: 8.0, error_w: 0.24, coverage: 1.0 }),
            temperature_c: Reading::Absent,
            throttled: throttled.iter().map(|&t| t.to_owned()).collect(),
            warnings: Vec::new(),
            simulated: true,
            t_ns: 1,
            duration_ns: 1,
        }
    }

    #[test]
    fn what_has_moved_is_believed_by_less_and_the_rest_as_before() {
        let before = [record(1, &[]), record(2, &["hot"])];
        let [slower] = still_known(&before, &Verdict::Time(1.5)).try_into().unwrap();
        assert!((slower.step_s - 0.3).abs() < 1e-12);
        // The error grows with the time, and by 0.3 of the logarithm of the factor.
        let error = (0.003f64).hypot(0.3 * 1.5f64.ln() * 0.3);
        assert!((slower.step_error_s - error).abs() < 1e-12, "{}", slower.step_error_s);
        assert_eq!((slower.stall_share, &slower.power), (None, &before[0].power));

        let [hungrier] = still_known(&before, &Verdict::Power(1.25)).try_into().unwrap();
        assert_eq!((hungrier.step_s, hungrier.stall_share), (0.2, Some(0.3)));
        let power = hungrier.power.value().unwrap();
        assert!((power.mean_w - 10.0).abs() < 1e-12 && power.error_w > 0.3, "{power:?}");

        assert_eq!(still_known(&before, &Verdict::Throttled), before[..1]);
    }

    proptest! {
        #[test]
        fn a_record_of_a_changed_job_is_never_surer_than_before(factor in 0.2f64..5.0) {
            let before = record(1, &[]);
            let relative = |r: &ProfileRecord| {
                let measurement = r.measurement();
                (measurement.time_error, measurement.power_error)
            };
            for verdict in [Verdict::Time(factor), Verdict::Power(factor)] {
                let after = &still_known(std::slice::from_ref(&before), &verdict)[0];
                prop_assert!(relative(after).0 >= relative(&before).0 - 1e-12);
                prop_assert!(relative(after).1 >= relative(&before).1 - 1e-12);
            }
        }

        #[test]
        fn plans_are_bounded_whatever_is_seen(
            looks in proptest::collection::vec((0.1f64..10.0, 1.0f64..100.0, proptest::bool::ANY), 0..300),
        ) {
            let mut replanner = Replanner::new(expected(), None);
            for (step_s, power_w, throttled) in looks {
                if let Action::Replan(_) = replanner.look(step_s, Some(power_w), throttled) {
                    replanner = replanner.replanned(expected());
                }
            }
            prop_assert!(replanner.replans() <= REPLANS_MAX);
        }
    }
}
