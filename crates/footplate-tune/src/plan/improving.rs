//! The end of a search: settings that are expected to improve the choice under its limits, and those that should be
//! checked beside it.

use footplate_core::stats;

use super::{Next, Outlook, Search, Stop};
use crate::choose::{TIE, TIE_BREAKER_LEAST, quantile};
use crate::goal::{Goal, Limits};
use crate::normal;
use crate::predict::Measurement;
use crate::setting::Setting;

/// An expected improvement that is worth one more measurement when the choice is checked.
const CHECK_GAIN: f64 = 0.01;

/// Measurements of one setting at most before it is no longer looked at again for its limits.
const LOOKS_MAX: usize = 3;

/// By how much the model's errors are widened before a search ends.
const ERROR_FACTOR: f64 = 2.5;

impl Search {
    /// A measured setting that is better than the choice and holds the limits by its figures, but not with the confidence
    /// that is asked for: a second measurement may decide. `None`: no setting would gain enough.
    pub fn worth_second_look(&self, outlook: &Outlook) -> Option<Setting> {
        let goal = &outlook.goal;
        let best = outlook.verified.map_or(f64::INFINITY, |choice| choice.objective.value);
        let better = |index: usize| {
            let candidate = &outlook.candidates[index];
            let prediction = &candidate.prediction;
            let objective = goal.objective_of(prediction)?.value;
            let looks = self.looks(&candidate.setting);
            let may_hold = goal.excess(prediction) <= 1.0 && goal.probability(prediction) < goal.confidence;
            let is_worth_it = objective < best * (1.0 - self.options.least_gain);
            (candidate.measured && !self.forbidden[index] && may_hold && is_worth_it && looks < LOOKS_MAX)
                .then_some((objective, candidate.setting))
        };
        let found = (0..outlook.candidates.len()).filter_map(better);
        found.min_by(|a, b| a.0.total_cmp(&b.0)).map(|best| best.1)
    }

    /// The setting of largest expected improvement under the limits.
    pub(super) fn most_improving(&self, open: &[usize], outlook: &Outlook) -> Next {
        let Some(best) = outlook.verified else {
            return self.most_feasible(open, outlook);
        };
        let best = best.objective.value.ln();
        let gains = self.gains(open, outlook, best);
        let largest = gains.iter().map(|g| g.1).fold(0.0, f64::max);
        if largest < self.options.least_gain {
            return self.widen_errors(open, outlook, best);
        }
        let ties: Vec<usize> = gains.iter().filter(|g| g.1 >= 0.95 * largest).map(|g| g.0).collect();
        Next::Profile(self.space[self.fewest_changes(&ties)])
    }

    /// Expected improvement of the logarithm of the objective beyond `best`, times the probability that a measurement
    /// would show the limits held.
    fn gains(&self, open: &[usize], outlook: &Outlook, best: f64) -> Vec<(usize, f64)> {
        let goal = &self.acceptable(outlook);
        let gain = |index: &usize| {
            let prediction = &outlook.candidates[*index].prediction;
            let objective = goal.objective_of(prediction)?;
            let gain = normal::expected_improvement(objective.value.ln(), objective.log_sd, best);
            Some((*index, gain * goal.probability(prediction)))
        };
        open.iter().filter_map(gain).collect()
    }

    /// A setting that the model expects to be so much better than the choice that it is measured too, although the
    /// allowance is used. `None`: none is.
    pub fn worth_check(&self, outlook: &Outlook) -> Option<Setting> {
        let open: Vec<usize> = self.open();
        let Some(best) = outlook.verified else {
            return match self.most_feasible(&open, outlook) {
                Next::Profile(setting) if !open.is_empty() => Some(setting),
                _ => None,
            };
        };
        let gains = self.gains(&open, outlook, best.objective.value.ln());
        let (index, gain) = gains.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        (gain >= CHECK_GAIN).then(|| self.space[index])
    }

    /// A setting that the model expects to be a tie with the choice, and clearly better in the second quantity, such as a
    /// lower GPU clock for a job that waits for its data. `None`: none is.
    pub fn lower_power_tie(&self, outlook: &Outlook) -> Option<Setting> {
        let goal = &outlook.goal;
        let chosen = outlook.verified?;
        let most = goal.tie_breaker_of(&outlook.candidates[chosen.index].prediction)?.value
            * (1.0 - 2.0 * TIE_BREAKER_LEAST);
        let found = self.open().into_iter().filter_map(|index| {
            let prediction = &outlook.candidates[index].prediction;
            let objective = goal.objective_of(prediction)?;
            let second = goal.tie_breaker_of(prediction)?.value;
            let alike = objective.value <= chosen.objective.value * (1.0 + TIE);
            (alike && second <= most && goal.probability(prediction) >= goal.confidence)
                .then_some((second, index))
        });
        found.min_by(|a, b| a.0.total_cmp(&b.0)).map(|best| self.space[best.1])
    }

    /// The goal with limits that are tightened by the error of a measurement: a setting just at a limit would not be taken
    /// even if it truly held it, because its measurement has an error.
    fn acceptable(&self, outlook: &Outlook) -> Goal {
        let (time_noise, power_noise) = outlook.predictor.noise();
        let mean = |error: &dyn Fn(&Measurement) -> f64, noise: Option<f64>| {
            let errors: Vec<f64> = self.measured.iter().map(error).filter(|e| *e > 0.0).collect();
            stats::mean(&errors).or(noise).unwrap_or(0.0)
        };
        let (time, power) = (mean(&|m| m.time_error, time_noise), mean(&|m| m.power_error, power_noise));
        let z = quantile(outlook.goal.confidence);
        let limits = &outlook.goal.limits;
        let drawn_in = |limit: Option<f64>, error: f64| limit.map(|limit| limit * (-z * error).exp());
        let limits = Limits {
            power_w: drawn_in(limits.power_w, power),
            time_s: drawn_in(limits.time_s, time),
            energy_j: drawn_in(limits.energy_j, time.hypot(power)),
            ..*limits
        };
        Goal { limits, ..outlook.goal }
    }

    /// The model expects no more gain, but it may be wrong where it saw little: settings that differ from the choice
    /// in one knob are considered with larger errors, while the allowance lasts.
    fn widen_errors(&self, open: &[usize], outlook: &Outlook, best: f64) -> Next {
        let Some(choice) = outlook.verified else { return Next::Done(Stop::Settled) };
        let goal = &self.acceptable(outlook);
        let chosen = &self.space[choice.index];
        let mut gains: Vec<(usize, f64)> = Vec::new();
        for index in open {
            let setting = &self.space[*index];
            let differ = self.knobs.varying().filter(|knob| knob.value(setting) != knob.value(chosen));
            let prediction = outlook.candidates[*index].prediction.widened(ERROR_FACTOR);
            let Some(objective) = goal.objective_of(&prediction).filter(|_| differ.count() == 1) else {
                continue;
            };
            let gain = normal::expected_improvement(objective.value.ln(), objective.log_sd, best);
            gains.push((*index, gain * goal.probability(&prediction)));
        }
        match gains.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
            Some((index, gain)) if gain >= self.options.least_gain => Next::Profile(self.space[index]),
            _ => Next::Done(Stop::Settled),
        }
    }

    /// Nothing measured holds the limits yet: the setting that most probably does.
    fn most_feasible(&self, open: &[usize], outlook: &Outlook) -> Next {
        let goal = &self.acceptable(outlook);
        let chance = |i: &usize| goal.probability(&outlook.candidates[*i].prediction);
        let best = open.iter().map(chance).fold(0.0, f64::max);
        if best < 0.02 || open.is_empty() {
            return Next::Done(Stop::Hopeless);
        }
        // Of those nearly as likely, the one that serves the objective best.
        let objective = |i: &usize| {
            let prediction = &outlook.candidates[*i].prediction;
            goal.objective_of(prediction).map_or(f64::INFINITY, |e| e.value)
        };
        let likely = open.iter().filter(|i| chance(i) >= 0.9 * best);
        let index = likely.min_by(|a, b| objective(a).total_cmp(&objective(b))).copied();
        Next::Profile(self.space[index.unwrap_or(open[0])])
    }

    /// Of settings with nearly the same gain, the one that changes fewest knobs of the last measured setting.
    fn fewest_changes(&self, ties: &[usize]) -> usize {
        let Some(present) = self.measured.last() else { return ties[0] };
        let changes = |i: &usize| {
            let (here, there) = (&self.space[*i], &present.setting);
            self.knobs.varying().filter(|knob| knob.value(here) != knob.value(there)).count()
        };
        ties.iter().min_by_key(|i| changes(i)).copied().unwrap_or(ties[0])
    }
}
