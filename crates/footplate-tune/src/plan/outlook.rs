//! What a search knows at one moment: the fitted model, and all settings with measured or predicted figures.

use footplate_core::stats;

use super::Search;
use crate::choose::{Candidate, Choice, Infeasible, choose};
use crate::goal::Goal;
use crate::predict::{Estimate, Measurement, Predictor};
use crate::setting::Setting;

/// What is known at one moment of a search.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// The model, fitted to all measurements.
    pub predictor: Predictor,
    /// Every setting of the space in its order; measured ones with their measured figures.
    pub candidates: Vec<Candidate>,
    /// The goal, with a limit on the slowdown as one on the time.
    pub goal: Goal,
    /// The best of the measured settings that holds the limits.
    pub verified: Option<Choice>,
    /// The best of all settings, measured or predicted.
    pub best: Result<Choice, Infeasible>,
}

impl Search {
    /// Fits what was measured.
    pub fn predictor(&self) -> Predictor {
        Predictor::fit_with(&self.knobs, &self.measured, &self.sources)
    }

    /// Fits the model to all measurements and predicts every setting.
    pub fn outlook(&self) -> Outlook {
        let predictor = self.predictor();
        let predictions = predictor.predict(&self.space);
        let mut candidates: Vec<Candidate> = self
            .space
            .iter()
            .zip(&predictions)
            .map(|(setting, prediction)| Candidate {
                setting: *setting,
                prediction: *prediction,
                measured: false,
            })
            .collect();
        for (index, candidate) in candidates.iter_mut().enumerate() {
            if let Some(measurement) = self.merged(&self.space[index]) {
                *candidate = with_errors(&measurement, candidate, &predictor);
            }
        }
        let fastest = candidates
            .iter()
            .zip(&self.forbidden)
            .filter(|(_, forbidden)| !**forbidden)
            .filter_map(|(c, _)| c.prediction.time_s)
            .map(|e| e.value)
            .min_by(f64::total_cmp);
        let goal = Goal { limits: self.goal.limits.with_fastest(fastest), ..self.goal };
        let among = |wanted: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
            (0..candidates.len()).filter(|i| !self.forbidden[*i] && wanted(&candidates[*i])).collect()
        };
        let pick = |of: Vec<usize>| {
            let few: Vec<Candidate> = of.iter().map(|i| candidates[*i]).collect();
            match choose(&goal, &few) {
                Ok(choice) => Ok(Choice { index: of[choice.index], ..choice }),
                Err(refusal) => Err(Infeasible { closest: refusal.closest.map(|i| of[i]), ..refusal }),
            }
        };
        let verified = pick(among(&|c| c.measured)).ok();
        let best = pick(among(&|_| true));
        Outlook { predictor, candidates, goal, verified, best }
    }

    /// The measurements of one setting as one, weighted by their errors; `None` if there is none.
    fn merged(&self, setting: &Setting) -> Option<Measurement> {
        let same: Vec<&Measurement> = self.measured.iter().filter(|m| m.setting == *setting).collect();
        if same.len() < 2 {
            return same.first().map(|m| **m);
        }
        let (time_s, time_error) = weighted(same.iter().filter_map(|m| Some((m.time_s?, m.time_error))));
        let (power_w, power_error) = weighted(same.iter().filter_map(|m| Some((m.power_w?, m.power_error))));
        let shares: Vec<f64> = same.iter().filter_map(|m| m.stall_share).collect();
        let stall_share = stats::mean(&shares);
        Some(Measurement { setting: *setting, time_s, power_w, time_error, power_error, stall_share })
    }
}

/// A measured setting's figures, each with the smaller of the model's error there and the noise of one measurement.
fn with_errors(measurement: &Measurement, predicted: &Candidate, predictor: &Predictor) -> Candidate {
    let (time_noise, power_noise) = predictor.noise();
    let error = |own: f64, noise: Option<f64>, estimate: Option<Estimate>| {
        // What all measurements together say of this setting may be surer than the one that was made there.
        let model = estimate.map_or(f64::INFINITY, |e| e.log_sd);
        let alone = if own > 0.0 { own } else { noise.unwrap_or(0.0) };
        alone.min(model)
    };
    let prediction = &predicted.prediction;
    Candidate::measured(&Measurement {
        time_error: error(measurement.time_error, time_noise, prediction.time_s),
        power_error: error(measurement.power_error, power_noise, prediction.power_w),
        ..*measurement
    })
}

/// The mean of values with relative errors, and its own; errors that are not known (0) count as equal.
fn weighted(values: impl Iterator<Item = (f64, f64)> + Clone) -> (Option<f64>, f64) {
    let known = values.clone().all(|(_, error)| error > 0.0);
    let weight = |error: f64| if known { 1.0 / (error * error) } else { 1.0 };
    let sum: f64 = values.clone().map(|(_, error)| weight(error)).sum();
    if sum <= 0.0 {
        return (None, 0.0);
    }
    let mean = values.map(|(value, error)| value * weight(error)).sum::<f64>() / sum;
    (Some(mean), if known { sum.sqrt().recip() } else { 0.0 })
}
