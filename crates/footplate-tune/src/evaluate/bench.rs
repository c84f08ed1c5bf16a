//! A table as a bench: settings of it are picked as a tuner would, the rest stays hidden until it is compared.

use super::table::Truth;
use super::{Metric, Options, Other, Sampling};
use crate::choose::{choose, quantile};
use crate::goal::{Goal, Limits, Objective};
use crate::plan::{Next, Outlook, Search, SearchOptions};
use crate::predict::{Estimate, Measurement, Prediction, Source};
use crate::rng::Rng;
use crate::setting::{Knobs, Setting};

/// One hidden value: relative error in percent, and whether its interval holds it.
pub(super) type Miss = (f64, bool);

/// The misses of one draw, by metric.
#[derive(Default)]
pub(super) struct Errors(pub(super) [Vec<Miss>; 3]);

/// One choice under one budget.
pub(super) struct Regret {
    pub(super) regret_pct: f64,
    pub(super) to_shown_pct: f64,
    /// Percent above the limit; `None` without a limit.
    pub(super) excess_pct: Option<f64>,
    pub(super) used: usize,
}

/// Choices under a sweep of budgets.
#[derive(Default)]
pub(super) struct Regrets {
    pub(super) limit: Option<Metric>,
    pub(super) made: Vec<Regret>,
    pub(super) refused: usize,
}

/// A table ready to be asked.
pub(super) struct Bench<'a> {
    table: &'a [Truth],
    means: Vec<Measurement>,
    settings: Vec<Setting>,
    knobs: Knobs,
    other: Option<Other<'a>>,
    /// Settings of the other job that are known.
    known: usize,
}

impl<'a> Bench<'a> {
    pub(super) fn new(table: &'a [Truth], other: Option<Other<'a>>, known: usize) -> Self {
        let settings: Vec<Setting> = table.iter().map(|t| t.setting).collect();
        let knobs = Knobs::of(&settings);
        Self { table, means: table.iter().map(Truth::mean).collect(), settings, knobs, other, known }
    }

    /// A search that begins with what is known of the other job.
    fn search(&self, goal: Goal, options: SearchOptions) -> Search {
        let mut search = Search::new(self.settings.clone(), goal, options);
        if let Some(source) = self.other.and_then(|other| self.source(&other, options.seed)) {
            search.learn_from(source);
        }
        search
    }

    /// Random settings of the other job, measured once each.
    fn source(&self, other: &Other<'_>, seed: u64) -> Option<Source> {
        // Not the draws that this job's settings are picked with.
        let mut rng = Rng::new(seed ^ 0x0b5e_55ed);
        let picked = rng.sample(other.table.len(), self.known);
        let measured: Vec<Measurement> =
            picked.iter().map(|i| one_of(&other.table[*i].repeats, &mut rng)).collect();
        if other.same_machine {
            Source::same_machine(other.name, &self.knobs, &measured)
        } else {
            Source::other_machine(other.name, &measured)
        }
    }

    /// The quantities that the table has.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let has = |metric: Metric| self.means.iter().any(|m| value(m, metric).is_some());
        [Metric::Time, Metric::Power, Metric::Energy].into_iter().filter(|t| has(*t)).collect()
    }

    /// One measurement of a setting: one of its repeats.
    fn measure(&self, index: usize, rng: &mut Rng) -> Measurement {
        one_of(&self.table[index].repeats, rng)
    }

    pub(super) fn random_errors(&self, profiles: usize, seed: u64) -> Errors {
        let mut rng = Rng::new(seed);
        let picked = rng.sample(self.table.len(), profiles);
        let options = SearchOptions { profiles, seed, ..SearchOptions::default() };
        let mut search = self.search(goal(Metric::Time, None, 0.9), options);
        picked.iter().for_each(|i| search.record(self.measure(*i, &mut rng)));
        self.errors(&search)
    }

    /// The planner without a goal: a start that fills the space, then what tells most about the whole of it.
    pub(super) fn planned_errors(&self, profiles: usize, seed: u64) -> Errors {
        let mut rng = Rng::new(seed);
        let options = SearchOptions { profiles, seed, ..SearchOptions::default() };
        let mut search = self.search(goal(Metric::Time, None, 0.9), options);
        while let Some(setting) = search.next_to_explore() {
            let Some(index) = self.settings.iter().position(|s| *s == setting) else { break };
            search.record(self.measure(index, &mut rng));
        }
        self.errors(&search)
    }

    fn errors(&self, search: &Search) -> Errors {
        let (predictor, known) = (search.predictor(), search.measured());
        let predictions = predictor.predict(&self.settings);
        let mut errors = Errors::default();
        for (index, truth) in self.means.iter().enumerate() {
            if known.iter().any(|m| m.setting == truth.setting) {
                continue;
            }
            let seen = predictor.with_noise(&predictions[index], self.table[index].repeats.len());
            for metric in [Metric::Time, Metric::Power, Metric::Energy] {
                if let (Some(truth), Some(estimate)) = (value(truth, metric), estimate(&seen, metric)) {
                    let (low, high) = estimate.interval90();
                    let error = 100.0 * (estimate.value / truth - 1.0).abs();
                    errors.0[metric as usize].push((error, (low..=high).contains(&truth)));
                }
            }
        }
        errors
    }

    /// Choices that minimise `metric` under a sweep of budgets of another quantity.
    pub(super) fn regrets(
        &self,
        metric: Metric,
        sampling: Sampling,
        profiles: usize,
        options: &Options,
    ) -> Regrets {
        let has = |t: Metric| self.metrics().contains(&t);
        let limit = match metric {
            Metric::Time if has(Metric::Power) => Some(Metric::Power),
            Metric::Power | Metric::Energy if has(Metric::Time) => Some(Metric::Time),
            _ => None,
        };
        let budgets = limit.map_or(vec![None], |limit| self.budgets(metric, limit, options.budgets));
        let mut regrets = Regrets { limit, ..Regrets::default() };
        for seed in 0..options.seeds {
            // Random settings do not depend on the budget: one fit serves all.
            let drawn = (sampling == Sampling::Random).then(|| self.drawn(profiles, seed));
            for budget in &budgets {
                let limit = limit.zip(*budget);
                let goal = goal(metric, limit, options.confidence);
                let searched;
                let (chosen, outlook, used) = match &drawn {
                    Some(outlook) => (choose(&goal, &outlook.candidates).ok(), outlook, profiles),
                    None => {
                        let (outlook, used) = self.searched(&goal, profiles, seed);
                        searched = outlook;
                        (searched.verified, &searched, used)
                    }
                };
                let margin = limit.map_or(1.0, |(limit, _)| margin(outlook, limit, options.confidence));
                match chosen.and_then(|choice| self.regret(choice.index, metric, limit, margin)) {
                    Some(regret) => regrets.made.push(Regret { used, ..regret }),
                    None => regrets.refused += 1,
                }
            }
        }
        regrets
    }

    /// Budgets in equal ratios between the least that any setting needs and what the best setting without a limit
    /// needs.
    fn budgets(&self, metric: Metric, limit: Metric, count: usize) -> Vec<Option<f64>> {
        let needs = |m: &Measurement| value(m, limit).unwrap_or(f64::INFINITY);
        let least = self.means.iter().map(needs).fold(f64::INFINITY, f64::min);
        let objective = |m: &Measurement| value(m, metric).unwrap_or(f64::INFINITY);
        let best = self.means.iter().min_by(|a, b| objective(a).total_cmp(&objective(b)));
        let most = best.map_or(least, needs);
        (1..=count)
            .map(|i| least * (most / least).powf((i as f64 - 0.5) / count as f64))
            .map(|budget| Some(budget.max(least * 1.01)))
            .collect()
    }

    fn regret(
        &self,
        chosen: usize,
        metric: Metric,
        limit: Option<(Metric, f64)>,
        margin: f64,
    ) -> Option<Regret> {
        let chosen = &self.means[chosen];
        let best = |margin: f64| {
            let allowed = |m: &&Measurement| {
                limit.is_none_or(|(limit, budget)| value(m, limit).is_some_and(|v| v <= margin * budget))
            };
            let best = self.means.iter().filter(allowed).filter_map(|m| value(m, metric));
            best.fold(f64::INFINITY, f64::min)
        };
        let excess_pct =
            limit.and_then(|(limit, budget)| Some(100.0 * (value(chosen, limit)? / budget - 1.0)));
        // A choice that breaks its limit may be "better" than the best that does not: that is no merit.
        let regret = |best: f64| Some((100.0 * (value(chosen, metric)? / best - 1.0)).max(0.0));
        Some(Regret {
            regret_pct: regret(best(1.0))?,
            to_shown_pct: regret(best(margin))?,
            excess_pct,
            used: 0,
        })
    }

    /// What is known of all settings after measuring random ones.
    fn drawn(&self, profiles: usize, seed: u64) -> Outlook {
        let mut rng = Rng::new(seed);
        let picked = rng.sample(self.table.len(), profiles);
        let options = SearchOptions { seed, ..SearchOptions::default() };
        let mut search = self.search(goal(Metric::Time, None, 0.9), options);
        for index in picked {
            search.record(self.measure(index, &mut rng));
        }
        search.outlook()
    }

    /// The whole search, and how many settings it measured; its choice is one of these.
    fn searched(&self, goal: &Goal, profiles: usize, seed: u64) -> (Outlook, usize) {
        let mut rng = Rng::new(seed);
        let options = SearchOptions { profiles, seed, ..SearchOptions::default() };
        let mut search = self.search(*goal, options);
        while let Next::Profile(setting) = search.next() {
            let Some(index) = self.settings.iter().position(|s| *s == setting) else { break };
            search.record(self.measure(index, &mut rng));
        }
        (search.outlook(), search.used())
    }
}

/// The share of a budget that a single measurement must lie below to show that it is held.
fn margin(outlook: &Outlook, limit: Metric, confidence: f64) -> f64 {
    let (time, power) = outlook.predictor.noise();
    let (time, power) = (time.unwrap_or(0.0), power.unwrap_or(0.0));
    let error = match limit {
        Metric::Time => time,
        Metric::Power => power,
        Metric::Energy => time.hypot(power),
    };
    (-quantile(confidence) * error).exp()
}

fn one_of(repeats: &[Measurement], rng: &mut Rng) -> Measurement {
    repeats[rng.below(repeats.len())]
}

fn goal(metric: Metric, limit: Option<(Metric, f64)>, confidence: f64) -> Goal {
    let objective = match metric {
        Metric::Time => Objective::Time,
        Metric::Power => Objective::Power,
        Metric::Energy => Objective::Energy,
    };
    let mut limits = Limits::default();
    match limit {
        Some((Metric::Time, budget)) => limits.time_s = Some(budget),
        Some((Metric::Power, budget)) => limits.power_w = Some(budget),
        Some((Metric::Energy, budget)) => limits.energy_j = Some(budget),
        None => {}
    }
    Goal { objective, limits, confidence }
}

fn value(measurement: &Measurement, metric: Metric) -> Option<f64> {
    match metric {
        Metric::Time => measurement.time_s,
        Metric::Power => measurement.power_w,
        Metric::Energy => measurement.energy_j(),
    }
}

fn estimate(prediction: &Prediction, metric: Metric) -> Option<Estimate> {
    match metric {
        Metric::Time => prediction.time_s,
        Metric::Power => prediction.power_w,
        Metric::Energy => prediction.energy_j,
    }
}
