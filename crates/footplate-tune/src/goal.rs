//! What is wanted of a setting: an objective, limits, and how sure it must be that they hold.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::normal;
use crate::predict::{Estimate, Prediction};

/// What is made as small as possible.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Time of a unit of work.
    Time,
    /// Energy of a unit of work.
    Energy,
    /// Mean power of the whole board, in watts.
    Power,
    /// Zeus' mixture (You et al. 2023): η × energy + (1 − η) × `largest_power_w` × time, in joules.
    Zeus {
        /// Weight of the energy, 0 to 1.
        eta: f64,
        /// The power that time is priced at: the largest that the machine draws.
        largest_power_w: f64,
    },
}

/// Upper limits; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Mean power in watts.
    pub power_w: Option<f64>,
    /// Time of a unit of work, in seconds.
    pub time_s: Option<f64>,
    /// Energy of a unit of work, in joules.
    pub energy_j: Option<f64>,
    /// How much longer than in the fastest setting a unit of work may take: 0.1 is a tenth.
    pub slowdown: Option<f64>,
    /// Temperature that no measurement may show, in degrees Celsius.
    pub temperature_c: Option<f64>,
}

impl Limits {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits with the slowdown told as a time.
    pub(crate) fn with_fastest(&self, fastest_s: Option<f64>) -> Self {
        let slow = self.slowdown.zip(fastest_s).map(|(slowdown, fastest)| (1.0 + slowdown) * fastest);
        let time_s = match (self.time_s, slow) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { time_s, slowdown: None, ..*self }
    }
}

/// An objective under limits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// The quantity that is made as small as possible.
    pub objective: Objective,
    /// Upper limits that must hold.
    pub limits: Limits,
    /// With what probability all limits must hold, 0.5 to below 1.
    pub confidence: f64,
}

/// A goal that makes no sense.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GoalError {
    /// A limit that is not a positive number.
    #[error("the limit on {what} must be a number above 0, not {value}")]
    Limit {
        /// Name of the limited quantity.
        what: &'static str,
        /// The value that was given.
        value: f64,
    },
    /// A confidence that is no probability above one half.
    #[error("the confidence must be at least 0.5 and below 1, not {0}")]
    Confidence(f64),
    /// A weight outside 0 to 1.
    #[error("zeus' eta must be from 0 to 1, not {0}")]
    Eta(f64),
}

impl Goal {
    /// The goal itself, if all its numbers are in their ranges.
    pub fn checked(self) -> Result<Self, GoalError> {
        let limits = &self.limits;
        let positive = |v: f64| v.is_finite() && v > 0.0;
        for (what, value) in [
            ("power", limits.power_w),
            ("time", limits.time_s),
            ("energy", limits.energy_j),
            ("temperature", limits.temperature_c),
        ] {
            if let Some(value) = value.filter(|v| !positive(*v)) {
                return Err(GoalError::Limit { what, value });
            }
        }
        if let Some(value) = limits.slowdown.filter(|v| !v.is_finite() || *v < 0.0) {
            return Err(GoalError::Limit { what: "slowdown", value });
        }
        if !(0.5..1.0).contains(&self.confidence) {
            return Err(GoalError::Confidence(self.confidence));
        }
        if let Objective::Zeus { eta, .. } = self.objective
            && !(0.0..=1.0).contains(&eta)
        {
            return Err(GoalError::Eta(eta));
        }
        Ok(self)
    }

    /// Whether power must be known to judge it.
    pub fn needs_power(&self) -> bool {
        !matches!(self.objective, Objective::Time)
            || self.limits.power_w.is_some()
            || self.limits.energy_j.is_some()
    }

    /// The objective of a prediction; `None` if it lacks a quantity.
    pub fn objective_of(&self, prediction: &Prediction) -> Option<Estimate> {
        match self.objective {
            Objective::Time => prediction.time_s,
            Objective::Energy => prediction.energy_j,
            Objective::Power => prediction.power_w,
            Objective::Zeus { eta, largest_power_w } => {
                let (energy, time) = (prediction.energy_j?, prediction.time_s?);
                let (by_energy, by_time) = (eta * energy.value, (1.0 - eta) * largest_power_w * time.value);
                let value = by_energy + by_time;
                let log_sd = (by_energy * energy.log_sd + by_time * time.log_sd) / value;
                Some(Estimate { value, log_sd })
            }
        }
    }

    /// What decides between settings that serve the objective alike; `None` if a prediction lacks it, or nothing does.
    pub fn tie_breaker_of(&self, prediction: &Prediction) -> Option<Estimate> {
        match self.objective {
            Objective::Time => prediction.power_w,
            Objective::Energy | Objective::Power => prediction.time_s,
            Objective::Zeus { .. } => None,
        }
    }

    /// Probability that a prediction holds all limits (as if their errors were independent).
    pub fn probability(&self, prediction: &Prediction) -> f64 {
        let limits = &self.limits;
        [
            (limits.power_w, prediction.power_w),
            (limits.time_s, prediction.time_s),
            (limits.energy_j, prediction.energy_j),
        ]
        .into_iter()
        .filter_map(|(limit, estimate)| Some(holds(estimate, limit?)))
        .product()
    }

    /// By what factor the median of a prediction exceeds the tightest limit; at most 1: it holds all.
    pub fn excess(&self, prediction: &Prediction) -> f64 {
        let limits = &self.limits;
        [
            (limits.power_w, prediction.power_w),
            (limits.time_s, prediction.time_s),
            (limits.energy_j, prediction.energy_j),
        ]
        .into_iter()
        .filter_map(|(limit, estimate)| Some(estimate.map_or(f64::INFINITY, |e| e.value) / limit?))
        .fold(0.0, f64::max)
    }
}

/// Probability that a quantity is at most its limit; an unknown one does not hold any.
fn holds(estimate: Option<Estimate>, limit: f64) -> f64 {
    let Some(estimate) = estimate else { return 0.0 };
    let distance = (limit / estimate.value).ln();
    if estimate.log_sd > 0.0 {
        normal::cdf(distance / estimate.log_sd)
    } else {
        f64::from(u8::from(distance >= 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NO_LIMITS: Limits =
        Limits { power_w: None, time_s: None, energy_j: None, slowdown: None, temperature_c: None };

    fn goal(objective: Objective, limits: Limits) -> Goal {
        Goal { objective, limits, confidence: 0.9 }
    }

    fn prediction(time: f64, power: f64, log_sd: f64) -> Prediction {
        let estimate = |value| Some(Estimate { value, log_sd });
        Prediction { time_s: estimate(time), power_w: estimate(power), energy_j: estimate(time * power) }
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let with = |limits: Limits| goal(Objective::Time, limits).checked();
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            for (limits, what) in [
                (Limits { power_w: Some(bad), ..NO_LIMITS }, "power"),
                (Limits { time_s: Some(bad), ..NO_LIMITS }, "time"),
                (Limits { energy_j: Some(bad), ..NO_LIMITS }, "energy"),
                (Limits { temperature_c: Some(bad), ..NO_LIMITS }, "temperature"),
            ] {
                let text = with(limits).unwrap_err().to_string();
                assert_eq!(text, format!("the limit on {what} must be a number above 0, not {bad}"));
            }
        }
        assert!(with(Limits { slowdown: Some(-0.1), ..NO_LIMITS }).is_err());
        assert!(with(Limits { slowdown: Some(0.0), ..NO_LIMITS }).is_ok());
        for (confidence, good) in [(0.49, false), (0.5, true), (0.999, true), (1.0, false), (f64::NAN, false)]
        {
            let checked = Goal { confidence, ..goal(Objective::Time, NO_LIMITS) }.checked();
            assert_eq!(checked.is_ok(), good, "{confidence}");
        }
        for (eta, good) in [(0.0, true), (1.0, true), (1.1, false), (f64::NAN, false)] {
            let objective = Objective::Zeus { eta, largest_power_w: 10.0 };
            assert_eq!(goal(objective, NO_LIMITS).checked().is_ok(), good, "{eta}");
        }
    }

    #[test]
    fn power_is_needed_for_all_but_a_time_under_limits_of_time() {
        let timed = Limits { time_s: Some(1.0), slowdown: Some(0.1), temperature_c: Some(60.0), ..NO_LIMITS };
        assert!(!goal(Objective::Time, timed).needs_power());
        for needs in [
            goal(Objective::Energy, NO_LIMITS),
            goal(Objective::Power, NO_LIMITS),
            goal(Objective::Zeus { eta: 0.0, largest_power_w: 0.0 }, NO_LIMITS),
            goal(Objective::Time, Limits { power_w: Some(9.0), ..NO_LIMITS }),
            goal(Objective::Time, Limits { energy_j: Some(9.0), ..NO_LIMITS }),
        ] {
            assert!(needs.needs_power(), "{needs:?}");
        }
    }

    #[test]
    fn zeus_goes_from_time_at_the_largest_power_to_energy() {
        let figures = prediction(2.0, 5.0, 0.1);
        for (eta, value) in [(0.0, 2.0 * 20.0), (1.0, 10.0), (0.5, 25.0)] {
            let objective = Objective::Zeus { eta, largest_power_w: 20.0 };
            let estimate = goal(objective, NO_LIMITS).objective_of(&figures).unwrap();
            assert!((estimate.value - value).abs() < 1e-12 && (estimate.log_sd - 0.1).abs() < 1e-12);
        }
        let no_power = Prediction { power_w: None, energy_j: None, ..figures };
        let zeus = goal(Objective::Zeus { eta: 0.5, largest_power_w: 20.0 }, NO_LIMITS);
        assert_eq!(zeus.objective_of(&no_power), None);
        assert_eq!(goal(Objective::Time, NO_LIMITS).tie_breaker_of(&no_power), None);
    }

    #[test]
    fn a_slowdown_is_a_time_once_the_fastest_is_known() {
        let slow = Limits { slowdown: Some(0.1), ..NO_LIMITS };
        assert_eq!(slow.with_fastest(Some(2.0)).time_s, Some(2.2));
        assert_eq!(slow.with_fastest(None).time_s, None);
        let both = Limits { time_s: Some(2.1), ..slow };
        assert_eq!(both.with_fastest(Some(2.0)).time_s, Some(2.1));
        assert_eq!(both.with_fastest(Some(1.0)).time_s, Some(1.1));
        assert!(NO_LIMITS.is_empty() && !slow.is_empty());
    }

    #[test]
    fn an_unknown_quantity_holds_no_limit() {
        let limited = goal(Objective::Time, Limits { power_w: Some(9.0), ..NO_LIMITS });
        let unknown = Prediction { power_w: None, ..prediction(1.0, 5.0, 0.0) };
        assert_eq!((limited.probability(&unknown), limited.excess(&unknown)), (0.0, f64::INFINITY));
        let exact = prediction(1.0, 9.0, 0.0);
        assert_eq!((limited.probability(&exact), limited.excess(&exact)), (1.0, 1.0));
    }

    proptest! {
        #[test]
        fn a_looser_limit_is_held_at_least_as_probably(
            power in 1.0f64..50.0, log_sd in 0.0f64..0.5, limit in 1.0f64..50.0, more in 0.0f64..20.0,
        ) {
            let within = |power_w| goal(Objective::Time, Limits { power_w: Some(power_w), ..NO_LIMITS });
            let (tight, loose) = (within(limit), within(limit + more));
            let figures = prediction(1.0, power, log_sd);
            prop_assert!(loose.probability(&figures) >= tight.probability(&figures));
            prop_assert!(loose.excess(&figures) <= tight.excess(&figures));
            // The median holds a limit exactly if it is as probable as not.
            let holds = tight.probability(&figures) >= 0.5;
            prop_assert!(holds == (power <= limit) || (power / limit - 1.0).abs() < 1e-6);
        }
    }
}
