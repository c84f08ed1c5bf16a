//! Decides what to measure next: first settings that fill the space, then those that tell most about the promising
//! ones, then those that are expected to improve the choice most under its limits.

use crate::choose::{ALIKE, Candidate, Choice, Infeasible, SECOND_LEAST, choose, quantile};
use crate::goal::{Goal, Limits};
use crate::normal;
use crate::predict::{Estimate, Measurement, Predictor, Source};
use crate::rng::Rng;
use crate::setting::{Knobs, Point, Setting};

/// Bounds of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchOptions {
    /// Settings that may be measured, at least 1.
    pub profiles: usize,
    /// Settings that fill the space at the beginning.
    pub starts: usize,
    /// The search ends when the expected improvement of the objective falls below this share of it.
    pub least_gain: f64,
    /// For the draws that break ties.
    pub seed: u64,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { profiles: 12, starts: 4, least_gain: 0.002, seed: 0 }
    }
}

/// What a search wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Measure this setting.
    Profile(Setting),
    /// Nothing more.
    Done(Stop),
}

/// Why a search is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No other setting is expected to be better by enough.
    Settled,
    /// The allowance is used.
    Allowance,
    /// Every setting was measured or cannot be had.
    Exhausted,
    /// No setting has a chance to hold the limits.
    Hopeless,
}

/// The state of a search: its space, its goal, and what was measured.
#[derive(Clone, Debug)]
pub struct Search {
    space: Vec<Setting>,
    knobs: Knobs,
    goal: Goal,
    options: SearchOptions,
    measured: Vec<Measurement>,
    /// What is known of other jobs.
    sources: Vec<Source>,
    /// By setting of the space: cannot be had, or is known to break a limit that is not predicted.
    forbidden: Vec<bool>,
    /// Measurements that were there before this search began and are not counted.
    given: usize,
    /// Settings that got too hot.
    retreats: i32,
    rng: Rng,
}

/// What is known at one moment of a search.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// The fitted model.
    pub predictor: Predictor,
    /// Every setting of the space in its order; measured ones with their measured figures.
    pub candidates: Vec<Candidate>,
    /// The goal with the slowdown told as a time.
    pub goal: Goal,
    /// The best of the measured settings that holds the limits.
    pub verified: Option<Choice>,
    /// The best of all.
    pub best: Result<Choice, Infeasible>,
}

/// Settings that one step of planning looks at closely.
const CLOSE_LOOK: usize = 160;

/// An expected improvement that is worth one more measurement when the choice is checked.
const CHECK_GAIN: f64 = 0.01;

/// Measurements of one setting at most before it is no longer looked at again for its limits.
const LOOKS_MAX: usize = 3;

/// By how much the model's errors are widened before a search ends.
const DOUBT: f64 = 2.5;

impl Search {
    /// A search in `space`, each setting of which should be there once.
    pub fn new(space: Vec<Setting>, goal: Goal, options: SearchOptions) -> Self {
        let knobs = Knobs::of(&space);
        let forbidden = vec![false; space.len()];
        let rng = Rng::new(options.seed);
        Self {
            space,
            knobs,
            goal,
            options,
            measured: Vec::new(),
            sources: Vec::new(),
            forbidden,
            given: 0,
            retreats: 0,
            rng,
        }
    }

    /// Adds what is known of another job: it is believed as far as it helps to predict what is measured of this one.
    pub fn learn_from(&mut self, source: Source) {
        self.sources.push(source);
    }

    /// Adds what was measured.
    pub fn record(&mut self, measurement: Measurement) {
        self.measured.push(measurement);
    }

    /// Adds what was measured before and does not count against the allowance.
    pub fn record_given(&mut self, measurement: Measurement) {
        self.given += 1;
        self.measured.push(measurement);
    }

    /// Leaves a setting out: it cannot be set, or it breaks a limit that is not predicted.
    pub fn forbid(&mut self, setting: &Setting) {
        if let Some(index) = self.space.iter().position(|s| s == setting) {
            self.forbidden[index] = true;
        }
    }

    /// Leaves out a setting that got too hot, and all that have every knob at least as high.
    pub fn forbid_from(&mut self, setting: &Setting) {
        let floor = self.knobs.point(setting);
        let (knobs, space) = (&self.knobs, &self.space);
        let is_above = |other: &Setting| {
            let point = knobs.point(other);
            knobs.varying().all(|knob| point[knob as usize] >= floor[knob as usize])
        };
        let out: Vec<bool> = space.iter().map(is_above).collect();
        self.forbidden.iter_mut().zip(out).for_each(|(forbidden, out)| *forbidden |= out);
        self.retreats += 1;
    }

    /// Leaves out all settings of a kind.
    pub fn forbid_where(&mut self, is_out: impl Fn(&Setting) -> bool) {
        let out = self.space.iter().map(is_out);
        self.forbidden.iter_mut().zip(out).for_each(|(forbidden, out)| *forbidden |= out);
    }

    /// Whether a setting was left out.
    pub fn is_forbidden(&self, index: usize) -> bool {
        self.forbidden[index]
    }

    /// Tightens or loosens the goal while searching.
    pub fn set_goal(&mut self, goal: Goal) {
        self.goal = goal;
    }

    /// The goal.
    pub fn goal(&self) -> &Goal {
        &self.goal
    }

    /// All settings.
    pub fn space(&self) -> &[Setting] {
        &self.space
    }

    /// The knobs that vary.
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// What was measured so far.
    pub fn measured(&self) -> &[Measurement] {
        &self.measured
    }

    /// How often a setting was measured.
    pub fn looks(&self, setting: &Setting) -> usize {
        self.measured.iter().filter(|m| m.setting == *setting).count()
    }

    /// Measurements that count against the allowance.
    pub fn used(&self) -> usize {
        self.measured.len() - self.given
    }

    fn is_measured(&self, setting: &Setting) -> bool {
        self.measured.iter().any(|m| m.setting == *setting)
    }

    /// Fits what was measured.
    pub fn predictor(&self) -> Predictor {
        Predictor::fit_with(&self.knobs, &self.measured, &self.sources)
    }

    /// Fits and predicts.
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

    /// The measurements of one setting as one, each by its own error; `None` if there is none.
    fn merged(&self, setting: &Setting) -> Option<Measurement> {
        let same: Vec<&Measurement> = self.measured.iter().filter(|m| m.setting == *setting).collect();
        if same.len() < 2 {
            return same.first().map(|m| **m);
        }
        let (time_s, time_error) = weighted(same.iter().filter_map(|m| Some((m.time_s?, m.time_error))));
        let (power_w, power_error) = weighted(same.iter().filter_map(|m| Some((m.power_w?, m.power_error))));
        let shares: Vec<f64> = same.iter().filter_map(|m| m.stall_share).collect();
        let stall_share = footplate_core::stats::mean(&shares);
        Some(Measurement { setting: *setting, time_s, power_w, time_error, power_error, stall_share })
    }

    /// A measured setting that is better than the choice and holds the limits by its figures, but not surely enough: a
    /// second look may tell. `None`: there is none by more than a trifle.
    pub fn doubtful(&self, outlook: &Outlook) -> Option<Setting> {
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

    /// What to measure next. The same seed and measurements give the same answer.
    #[expect(clippy::should_implement_trait, reason = "a search ends with a reason, an iterator without one")]
    pub fn next(&mut self) -> Next {
        let open = self.open();
        if open.is_empty() {
            return Next::Done(Stop::Exhausted);
        }
        if self.used() >= self.options.profiles {
            return Next::Done(Stop::Allowance);
        }
        if self.measured.len() < self.options.starts {
            let index = self.filling(&open, self.goal.needs_power());
            return Next::Profile(self.space[index]);
        }
        let outlook = self.outlook();
        let explore_until =
            self.options.starts + self.options.profiles.saturating_sub(self.options.starts) / 3;
        if self.measured.len() < explore_until {
            let index = self.telling(&open, &outlook);
            return Next::Profile(self.space[index]);
        }
        self.improving(&open, &outlook)
    }

    /// What to measure next if the whole space is to be known and there is no goal; `None` when the allowance is
    /// used.
    pub fn next_to_explore(&mut self) -> Option<Setting> {
        let open: Vec<usize> = (0..self.space.len()).filter(|i| !self.is_measured(&self.space[*i])).collect();
        if open.is_empty() || self.used() >= self.options.profiles {
            return None;
        }
        if self.measured.len() < self.options.starts {
            let index = self.filling(&open, false);
            return Some(self.space[index]);
        }
        let predictor = self.predictor();
        let everywhere: Vec<usize> = (0..self.space.len()).collect();
        let index = self.most_telling(&open, &everywhere, &predictor);
        Some(self.space[index])
    }

    /// Fills the space: the largest setting first, then perhaps the smallest, then what is farthest from all that was measured.
    fn filling(&mut self, open: &[usize], both_ends: bool) -> usize {
        let position = |setting: &Setting| self.knobs.position(&self.knobs.point(setting));
        let largest = |i: &usize| position(&self.space[*i]).iter().sum::<f64>();
        if self.measured.is_empty() && self.retreats > 0 {
            // The largest could not be held: the middle, then a quarter.
            let share = 0.5f64.powi(self.retreats.min(8));
            let away = |i: &usize| {
                let here = position(&self.space[*i]);
                self.knobs.varying().map(|k| (here[k as usize] - share).powi(2)).sum::<f64>()
            };
            let nearest = open.iter().min_by(|a, b| away(a).total_cmp(&away(b)).then(a.cmp(b)));
            return nearest.copied().unwrap_or(open[0]);
        }
        if self.measured.is_empty() {
            let best = open.iter().max_by(|a, b| largest(a).total_cmp(&largest(b)).then(b.cmp(a)));
            return best.copied().unwrap_or(open[0]);
        }
        if self.measured.len() == 1 && both_ends {
            // The other end: whether the limits can be held at all.
            let least = open.iter().min_by(|a, b| largest(a).total_cmp(&largest(b)).then(a.cmp(b)));
            return least.copied().unwrap_or(open[0]);
        }
        let there: Vec<Point> = self.measured.iter().map(|m| position(&m.setting)).collect();
        let nearest = |i: usize| {
            let here = position(&self.space[i]);
            there.iter().map(|point| distance(&here, point)).fold(f64::MAX, f64::min)
        };
        let pool: Vec<usize> =
            self.rng.clone().sample(open.len(), CLOSE_LOOK).into_iter().map(|i| open[i]).collect();
        self.rng.next_u64();
        pool.into_iter().max_by(|a, b| nearest(*a).total_cmp(&nearest(*b))).unwrap_or(open[0])
    }

    /// The setting whose measurement would tell most about the promising ones.
    fn telling(&mut self, open: &[usize], outlook: &Outlook) -> usize {
        self.most_telling(open, &promising(outlook, open), &outlook.predictor)
    }

    fn most_telling(&mut self, open: &[usize], about: &[usize], predictor: &Predictor) -> usize {
        let mut draw = |from: &[usize]| -> Vec<usize> {
            self.rng.sample(from.len(), CLOSE_LOOK).into_iter().map(|i| from[i]).collect()
        };
        let (pool, over) = (draw(open), draw(about));
        let settings = |of: &[usize]| -> Vec<Setting> { of.iter().map(|i| self.space[*i]).collect() };
        let gains = predictor.gain(&settings(&pool), &settings(&over));
        let order = (0..pool.len()).max_by(|a, b| gains[*a].total_cmp(&gains[*b]));
        order.map_or(open[0], |i| pool[i])
    }

    /// The setting of largest expected improvement under the limits.
    fn improving(&self, open: &[usize], outlook: &Outlook) -> Next {
        let Some(best) = outlook.verified else {
            return self.hoping(open, outlook);
        };
        let best = best.objective.value.ln();
        let gains = self.gains(open, outlook, best);
        let largest = gains.iter().map(|g| g.1).fold(0.0, f64::max);
        if largest < self.options.least_gain {
            return self.doubting(open, outlook, best);
        }
        let ties: Vec<usize> = gains.iter().filter(|g| g.1 >= 0.95 * largest).map(|g| g.0).collect();
        Next::Profile(self.space[self.cheapest(&ties)])
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

    /// A setting that is so much better than the choice, as far as the model can tell, that it should be checked beside
    /// it although the allowance is used. `None`: none is.
    pub fn unchecked(&self, outlook: &Outlook) -> Option<Setting> {
        let open: Vec<usize> = self.open();
        let Some(best) = outlook.verified else {
            return match self.hoping(&open, outlook) {
                Next::Profile(setting) if !open.is_empty() => Some(setting),
                _ => None,
            };
        };
        let gains = self.gains(&open, outlook, best.objective.value.ln());
        let (index, gain) = gains.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        (gain >= CHECK_GAIN).then(|| self.space[index])
    }

    /// A setting that serves the objective as well as the choice, as far as the model can tell, and is clearly better in the
    /// second quantity, such as a lower GPU clock for a job that waits for its data. `None`: none is.
    pub fn thriftier(&self, outlook: &Outlook) -> Option<Setting> {
        let goal = &outlook.goal;
        let chosen = outlook.verified?;
        let most =
            goal.second_of(&outlook.candidates[chosen.index].prediction)?.value * (1.0 - 2.0 * SECOND_LEAST);
        let found = self.open().into_iter().filter_map(|index| {
            let prediction = &outlook.candidates[index].prediction;
            let objective = goal.objective_of(prediction)?;
            let second = goal.second_of(prediction)?.value;
            let alike = objective.value <= chosen.objective.value * (1.0 + ALIKE);
            (alike && second <= most && goal.probability(prediction) >= goal.confidence)
                .then_some((second, index))
        });
        found.min_by(|a, b| a.0.total_cmp(&b.0)).map(|best| self.space[best.1])
    }

    fn open(&self) -> Vec<usize> {
        (0..self.space.len()).filter(|i| !self.forbidden[*i] && !self.is_measured(&self.space[*i])).collect()
    }

    /// The goal as a measurement can meet it: a setting right at a limit would not be taken even if it truly held it,
    /// because its measurement has an error of its own. So the limits are drawn in by that error.
    fn acceptable(&self, outlook: &Outlook) -> Goal {
        let (time_noise, power_noise) = outlook.predictor.noise();
        let mean = |error: &dyn Fn(&Measurement) -> f64, noise: Option<f64>| {
            let errors: Vec<f64> = self.measured.iter().map(error).filter(|e| *e > 0.0).collect();
            footplate_core::stats::mean(&errors).or(noise).unwrap_or(0.0)
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
    /// in one knob are looked at as if its errors were larger, while the allowance lasts.
    fn doubting(&self, open: &[usize], outlook: &Outlook, best: f64) -> Next {
        let Some(choice) = outlook.verified else { return Next::Done(Stop::Settled) };
        let goal = &self.acceptable(outlook);
        let chosen = &self.space[choice.index];
        let mut gains: Vec<(usize, f64)> = Vec::new();
        for index in open {
            let setting = &self.space[*index];
            let differ = self.knobs.varying().filter(|knob| knob.value(setting) != knob.value(chosen));
            let prediction = outlook.candidates[*index].prediction.widened(DOUBT);
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

    /// Nothing measured holds the limits yet: what most probably does.
    fn hoping(&self, open: &[usize], outlook: &Outlook) -> Next {
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

    /// Of settings that tell as much, the one that changes fewest knobs.
    fn cheapest(&self, ties: &[usize]) -> usize {
        let Some(present) = self.measured.last() else { return ties[0] };
        let changes = |i: &usize| {
            let (here, there) = (&self.space[*i], &present.setting);
            self.knobs.varying().filter(|knob| knob.value(here) != knob.value(there)).count()
        };
        ties.iter().min_by_key(|i| changes(i)).copied().unwrap_or(ties[0])
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

/// Open settings that may turn out best: those with a fair chance to hold the limits, the best fifth by objective.
fn promising(outlook: &Outlook, open: &[usize]) -> Vec<usize> {
    let goal = &outlook.goal;
    let mut scored: Vec<(f64, usize)> = Vec::new();
    for index in open {
        let prediction = &outlook.candidates[*index].prediction;
        let Some(objective) = goal.objective_of(prediction) else { continue };
        if goal.probability(prediction) > 0.05 {
            scored.push((objective.quantile(-1.0), *index));
        }
    }
    scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    scored.truncate((scored.len() / 5).max(40));
    if scored.is_empty() { open.to_vec() } else { scored.into_iter().map(|s| s.1).collect() }
}

fn distance(a: &Point, b: &Point) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}
