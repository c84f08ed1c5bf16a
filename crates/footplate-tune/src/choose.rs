//! Chooses the setting that serves a goal best among predicted and measured ones.

use serde::Serialize;

use crate::goal::{Goal, Objective};
use crate::predict::{Estimate, Measurement, Prediction};
use crate::setting::Setting;

/// One setting with all that is known of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The knobs' values.
    pub setting: Setting,
    /// Measured figures for a measured setting, predicted ones for the others.
    pub prediction: Prediction,
    /// Whether it was measured.
    pub measured: bool,
}

impl Candidate {
    /// A measured setting, with the errors of its measurement.
    pub fn measured(measurement: &Measurement) -> Self {
        let estimate = |value: Option<f64>, log_sd: f64| value.map(|value| Estimate { value, log_sd });
        let (time, power) = (measurement.time_error, measurement.power_error);
        let prediction = Prediction {
            time_s: estimate(measurement.time_s, time),
            power_w: estimate(measurement.power_w, power),
            energy_j: estimate(measurement.energy_j(), time.hypot(power)),
        };
        Self { setting: measurement.setting, prediction, measured: true }
    }

    /// The setting and its figures in a few words.
    pub fn brief(&self) -> String {
        let Prediction { time_s, power_w, .. } = &self.prediction;
        let kind = if self.measured { "measured" } else { "estimate" };
        let time = time_s.map_or("-".to_owned(), |e| duration_text(e.value));
        let power = power_w.map_or("-".to_owned(), |e| format!("{:.2} W", e.value));
        format!("{}: {time} a step, {power} ({kind})", self.setting)
    }
}

/// The setting that serves a goal best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its place among the candidates.
    pub index: usize,
    /// The objective there, in the unit that [`unit()`] names.
    pub objective: Estimate,
    /// Probability that all limits hold there.
    pub probability: f64,
}

/// No setting holds the limits with the confidence that was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Infeasible {
    /// The candidate that comes closest; `None` if no candidate's quantities are known.
    pub closest: Option<usize>,
    /// The probability that the limits hold there.
    pub probability: f64,
    /// Limits, each as tight as the closest candidate could hold with the confidence that was asked for.
    pub would_do: WouldDo,
}

/// Limits that the closest setting could hold; `None` for a quantity without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct WouldDo {
    /// Mean power, in watts.
    pub power_w: Option<f64>,
    /// Seconds for a unit of work.
    pub time_s: Option<f64>,
    /// Joules for a unit of work.
    pub energy_j: Option<f64>,
}

/// Settings are ties if their objectives differ by less than this share.
pub(crate) const TIE: f64 = 0.005;
/// A tie is decided by the second quantity if it differs by at least this share.
pub(crate) const TIE_BREAKER_LEAST: f64 = 0.03;

/// Candidates are equally close to a limit if their excess differs by less than this share.
const CLOSE: f64 = 0.01;

/// Chooses by the objective among the candidates that hold all limits. Ties are
/// decided by the second quantity ([`Goal::tie_breaker_of`]): a job that waits for its data is as fast at a lower GPU
/// clock.
pub fn choose(goal: &Goal, candidates: &[Candidate]) -> Result<Choice, Infeasible> {
    let mut best: Option<Choice> = None;
    let mut holding: Vec<Choice> = Vec::new();
    let mut breaking: Vec<(usize, f64)> = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let Some(objective) = goal.objective_of(&candidate.prediction) else { continue };
        let probability = goal.probability(&candidate.prediction);
        // A limit that the candidate's own figures break is broken, however unsure they are.
        let holds = probability >= goal.confidence && goal.excess(&candidate.prediction) <= 1.0;
        if holds {
            let choice = Choice { index, objective, probability };
            holding.push(choice);
            best = best.filter(|b| b.objective.value <= objective.value).or(Some(choice));
        }
        breaking.push((index, goal.excess(&candidate.prediction)));
    }
    let second = |choice: &Choice| goal.tie_breaker_of(&candidates[choice.index].prediction).map(|e| e.value);
    let thrifty = |best: Choice| {
        let most = second(&best)? * (1.0 - TIE_BREAKER_LEAST);
        let alike = holding.iter().filter(|c| c.objective.value <= best.objective.value * (1.0 + TIE));
        let better = alike.filter_map(|c| Some((second(c).filter(|s| *s <= most)?, *c)));
        better.min_by(|a, b| a.0.total_cmp(&b.0)).map(|found| found.1)
    };
    best.map(|best| thrifty(best).unwrap_or(best)).ok_or_else(|| {
        let closest = closest(goal, candidates, &breaking);
        let z = quantile(goal.confidence);
        let would_do = closest.map_or(WouldDo::default(), |index| {
            let prediction = &candidates[index].prediction;
            let enough = |limit: Option<f64>, estimate: Option<Estimate>| {
                let limit = limit?;
                Some(estimate?.quantile(z).max(limit))
            };
            WouldDo {
                power_w: enough(goal.limits.power_w, prediction.power_w),
                time_s: enough(goal.limits.time_s, prediction.time_s),
                energy_j: enough(goal.limits.energy_j, prediction.energy_j),
            }
        });
        let probability = closest.map_or(0.0, |index| goal.probability(&candidates[index].prediction));
        Infeasible { closest, probability, would_do }
    })
}

/// Of the candidates that are equally close to the limits, the one with the best objective. `None`: no quantity of any
/// candidate is known.
fn closest(goal: &Goal, candidates: &[Candidate], breaking: &[(usize, f64)]) -> Option<usize> {
    let least = breaking.iter().map(|b| b.1).fold(f64::INFINITY, f64::min);
    let near = breaking.iter().filter(|b| b.1 <= least * (1.0 + CLOSE));
    let objective = |index: usize| goal.objective_of(&candidates[index].prediction).map(|e| e.value);
    let scored = near.filter_map(|b| Some((objective(b.0)?, b.0)));
    scored.min_by(|a, b| a.0.total_cmp(&b.0)).map(|best| best.1)
}

/// The quantile of the standard normal distribution at `probability`, at least 0.5, by bisection.
pub(crate) fn quantile(probability: f64) -> f64 {
    let (mut low, mut high) = (0.0, 8.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if crate::normal::cdf(middle) < probability { low = middle } else { high = middle }
    }
    high
}

/// A duration in milliseconds, seconds, minutes or hours, such as "12.50 ms".
pub fn duration_text(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.2} ms", 1e3 * seconds)
    } else if seconds < 120.0 {
        format!("{seconds:.2} s")
    } else if seconds < 7200.0 {
        format!("{:.1} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

/// The unit of an objective: s, J or W.
pub fn unit(objective: Objective) -> &'static str {
    match objective {
        Objective::Time => "s",
        Objective::Energy | Objective::Zeus { .. } => "J",
        Objective::Power => "W",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goal::Limits;
    use proptest::prelude::*;

    fn candidate(time: f64, power: f64, sd: f64) -> Candidate {
        let estimate = |value| Some(Estimate { value, log_sd: sd });
        let prediction =
            Prediction { time_s: estimate(time), power_w: estimate(power), energy_j: estimate(time * power) };
        Candidate { setting: Setting::default(), prediction, measured: false }
    }

    fn under(power_w: f64) -> Goal {
        let limits = Limits { power_w: Some(power_w), ..Limits::default() };
        Goal { objective: Objective::Time, limits, confidence: 0.9 }
    }

    #[test]
    fn a_margin_keeps_the_limit_with_the_stated_confidence() {
        let candidates = [candidate(1.0, 19.9, 0.05), candidate(2.0, 18.0, 0.05), candidate(3.0, 10.0, 0.05)];
        assert_eq!(choose(&under(20.0), &candidates).unwrap().index, 1);
        let sure = [candidate(1.0, 19.9, 0.0), candidates[1]];
        assert_eq!(choose(&under(20.0), &sure).unwrap().index, 0);
    }

    #[test]
    fn infeasible_names_the_closest_and_the_budget_that_would_do() {
        let candidates = [candidate(1.0, 19.9, 0.05), candidate(3.0, 10.0, 0.05)];
        let refusal = choose(&under(8.0), &candidates).unwrap_err();
        assert_eq!(refusal.closest, Some(1));
        let would = refusal.would_do.power_w.unwrap();
        assert!((would - 10.66).abs() < 0.01, "{would}");
        assert_eq!(choose(&under(would * 1.0001), &candidates).unwrap().index, 1);
        assert_eq!(choose(&under(8.0), &[]).unwrap_err().closest, None);
        // Of two as close the faster one.
        let near = [candidate(3.0, 10.0, 0.05), candidate(2.0, 10.05, 0.05), candidate(1.0, 10.2, 0.05)];
        assert_eq!(choose(&under(8.0), &near).unwrap_err().closest, Some(1));
    }

    #[test]
    fn of_settings_that_are_alike_the_one_that_draws_less_is_taken() {
        let candidates =
            [candidate(1.0, 15.0, 0.0), candidate(1.004, 12.0, 0.0), candidate(1.004, 14.9, 0.0)];
        assert_eq!(choose(&under(20.0), &candidates).unwrap().index, 1);
        assert_eq!(choose(&under(20.0), &[candidates[0], candidates[2]]).unwrap().index, 0);
        let slower = candidate(1.02, 8.0, 0.0);
        assert_eq!(choose(&under(20.0), &[candidates[0], slower]).unwrap().index, 0);
    }

    #[test]
    fn a_candidate_is_told_with_its_figures_and_where_they_are_from() {
        let known = Candidate { measured: true, ..candidate(0.0125, 9.876, 0.0) };
        assert_eq!(known.brief(), "no knobs: 12.50 ms a step, 9.88 W (measured)");
        let unknown = Candidate { prediction: Prediction::default(), measured: false, ..known };
        assert_eq!(unknown.brief(), "no knobs: - a step, - (estimate)");
        for (seconds, text) in [
            (0.5, "500.00 ms"),
            (1.0, "1.00 s"),
            (119.994, "119.99 s"),
            (120.0, "2.0 min"),
            (9000.0, "2.5 h"),
        ] {
            assert_eq!(duration_text(seconds), text);
        }
    }

    proptest! {
        #[test]
        fn the_choice_never_breaks_a_limit_that_its_own_prediction_breaks(
            figures in proptest::collection::vec((0.1f64..10.0, 1.0f64..50.0, 0.0f64..0.3), 1..40),
            budget in 1.0f64..60.0,
            confidence in 0.5f64..0.99,
        ) {
            let candidates: Vec<Candidate> = figures.iter().map(|f| candidate(f.0, f.1, f.2)).collect();
            let goal = Goal { confidence, ..under(budget) };
            match choose(&goal, &candidates) {
                Ok(choice) => {
                    let chosen = &candidates[choice.index].prediction;
                    prop_assert!(chosen.power_w.unwrap().value <= budget);
                    prop_assert!(goal.probability(chosen) >= confidence);
                }
                Err(refusal) => {
                    let sure = |c: &Candidate| goal.probability(&c.prediction) >= confidence;
                    prop_assert!(!candidates.iter().any(sure));
                    prop_assert!(refusal.would_do.power_w.unwrap() >= budget);
                }
            }
        }
    }
}
