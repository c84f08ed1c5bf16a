//! How well few measured settings of a table predict all the others, and how good the choices made from them are.

use footplate_core::profile_table::ProfileTable;
use footplate_core::stats;
use serde::Serialize;

use crate::choose::{choose, quantile};
use crate::goal::{Goal, Limits, Objective};
use crate::plan::{Next, Outlook, Search, SearchOptions};
use crate::predict::{Estimate, Measurement, Prediction, Source};
use crate::rng::Rng;
use crate::setting::{Knob, Knobs, Setting};

/// A table's settings with all repeats that were measured of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Which.
    pub setting: Setting,
    /// One or more.
    pub repeats: Vec<Measurement>,
}

impl Truth {
    /// The mean over the repeats: what a prediction is compared with.
    pub fn mean(&self) -> Measurement {
        let mean = |value: &dyn Fn(&Measurement) -> Option<f64>| {
            stats::mean(&self.repeats.iter().filter_map(value).collect::<Vec<f64>>())
        };
        let time_s = mean(&|m| m.time_s);
        // Power as mean energy by mean time, so that the three means agree.
        let power_w = match (mean(&Measurement::energy_j), time_s) {
            (Some(energy), Some(time)) => Some(energy / time),
            _ => mean(&|m| m.power_w),
        };
        measurement(self.setting, time_s, power_w)
    }
}

/// The settings of one workload of a table, each with its repeats, in the order of the table. The error is in words.
pub fn truths(table: &ProfileTable, workload: &str) -> Result<Vec<Truth>, String> {
    let mut truths: Vec<Truth> = Vec::new();
    for row in table.of(workload) {
        let number = |column: &str| table.extra_number(row, column).map_err(|e| e.to_string());
        let batch_size = match number("batch_size")? {
            Some(size) if size >= 1.0 && size.fract() == 0.0 => Some(size as u64),
            Some(size) => return Err(format!("line {}: batch size {size} is no count", row.line)),
            None => None,
        };
        let time_s = match row.time_s {
            Some(time) => Some(time),
            None => number("time_per_epoch_s")?.filter(|t| *t > 0.0),
        };
        let power_w = row.power_w.map(|w| w.0).or_else(|| Some(row.energy_j?.0 / time_s?));
        let setting = Setting { mode: row.mode, batch_size, workers: None };
        let measurement = measurement(setting, time_s, power_w);
        match truths.iter_mut().find(|truth| truth.setting == setting) {
            Some(truth) => truth.repeats.push(measurement),
            None => truths.push(Truth { setting, repeats: vec![measurement] }),
        }
    }
    Ok(truths)
}

/// A measurement of a table, which tells nothing of its own error.
fn measurement(setting: Setting, time_s: Option<f64>, power_w: Option<f64>) -> Measurement {
    Measurement { setting, time_s, power_w, time_error: 0.0, power_error: 0.0, stall_share: None }
}

/// What is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Counts of settings that are measured.
    pub profiles: Vec<usize>,
    /// Draws for each count.
    pub seeds: u64,
    /// Budgets in a sweep across the table's range.
    pub budgets: usize,
    /// With what probability a choice must hold its limit.
    pub confidence: f64,
    /// Settings of another job that are known beforehand, where one is given.
    pub known: usize,
}

/// A table of another job, of which a few settings are known beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Other<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its settings.
    pub table: &'a [Truth],
    /// Whether it was measured on the same machine: its settings are points of the same space.
    pub same_machine: bool,
}

impl<'a> Other<'a> {
    /// A table whose knobs have the same largest values as `target`'s is taken to be of the same machine.
    pub fn of(name: &'a str, table: &'a [Truth], target: &[Truth]) -> Self {
        let knobs = |of: &[Truth]| Knobs::of(&of.iter().map(|t| t.setting).collect::<Vec<Setting>>());
        let (own, theirs) = (knobs(target), knobs(table));
        // Batch sizes are the job's, not the machine's.
        let board = |knob: &Knob| *knob != Knob::BatchSize && own.varies(*knob);
        let same = |knob: Knob| theirs.varies(knob) && own.largest(knob) == theirs.largest(knob);
        Self { name, table, same_machine: Knob::ALL.into_iter().filter(board).all(same) }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { profiles: vec![8, 12, 20, 50], seeds: 20, budgets: 8, confidence: 0.9, known: 24 }
    }
}

/// A quantity that is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Time of a unit of work.
    Time,
    /// Mean power.
    Power,
    /// Energy of a unit of work.
    Energy,
}

/// How the measured settings are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Drawn at random; choices are made on predictions alone.
    Random,
    /// Asked for by the planner; a choice is one of the measured settings.
    Planned,
}

/// The figures of one target, sampling and count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Which workload of the table.
    pub workload: String,
    /// The other job of which some settings were known beforehand; `None`: nothing was.
    pub known: Option<String>,
    /// What is predicted; for the regret: what is minimised.
    pub target: Target,
    /// How settings were picked.
    pub sampling: Sampling,
    /// How many were measured.
    pub profiles: usize,
    /// Median over the draws of the mean absolute percentage error on the hidden settings.
    pub mape_pct_median: Option<f64>,
    /// Mean over the draws of the same.
    pub mape_pct_mean: Option<f64>,
    /// Median over the draws of the median of the relative errors.
    pub p50_pct: Option<f64>,
    /// Median over the draws of the 95th percentile of the relative errors.
    pub p95_pct: Option<f64>,
    /// Share of hidden values inside their 90 % interval.
    pub coverage90: Option<f64>,
    /// By how much the choices' true objective exceeds the true best under the same budget, over all draws and
    /// budgets; `None` where the table gives nothing to choose by.
    pub regret_pct_mean: Option<f64>,
    /// The 95th percentile of the same.
    pub regret_pct_p95: Option<f64>,
    /// The same mean, against the best that one measurement can show to hold the budget: with its error (as fitted)
    /// it must lie below by a margin for the confidence that was asked for.
    pub regret_to_shown_pct_mean: Option<f64>,
    /// What a budget limits; `None`: there is none, and the objective alone decides.
    pub limit: Option<Target>,
    /// Share of the budgets under which nothing was chosen: no measured (or for random settings, predicted) one held it
    /// surely enough. The other figures are of choices; a refusal is none.
    pub refused_fraction: Option<f64>,
    /// Share of the choices that truly break their limit; `None` without a limit.
    pub limit_broken_fraction: Option<f64>,
    /// By how much those break it, on average; `None` if none does.
    pub limit_excess_pct_mean: Option<f64>,
    /// Settings that the choices measured on average: the planner stops early when it expects no gain.
    pub profiles_used_mean: Option<f64>,
}

/// What repeats of one setting differ by: a bound on what any prediction of single measurements can reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NoiseFloor {
    /// Settings that were measured more than once.
    pub settings: usize,
    /// Mean absolute deviation of a measurement from the mean of the others, in percent of it.
    pub time_pct: Option<f64>,
    /// The same for power.
    pub power_pct: Option<f64>,
    /// The same for energy.
    pub energy_pct: Option<f64>,
}

/// The noise floor of a table; `None` if nothing was measured twice.
pub fn noise_floor(table: &[Truth]) -> Option<NoiseFloor> {
    let repeated: Vec<&Truth> = table.iter().filter(|t| t.repeats.len() > 1).collect();
    if repeated.is_empty() {
        return None;
    }
    let deviation = |value: &dyn Fn(&Measurement) -> Option<f64>| {
        let mut deviations = Vec::new();
        for truth in &repeated {
            let values: Vec<f64> = truth.repeats.iter().filter_map(value).collect();
            let sum: f64 = values.iter().sum();
            for v in values.iter().filter(|_| values.len() > 1) {
                let others = (sum - v) / (values.len() - 1) as f64;
                deviations.push(100.0 * (v - others).abs() / v);
            }
        }
        stats::mean(&deviations)
    };
    Some(NoiseFloor {
        settings: repeated.len(),
        time_pct: deviation(&|m| m.time_s),
        power_pct: deviation(&|m| m.power_w),
        energy_pct: deviation(&Measurement::energy_j),
    })
}

/// Evaluates one workload's table. Counts that leave fewer than five settings hidden are left out.
pub fn evaluate(workload: &str, table: &[Truth], options: &Options) -> Vec<Row> {
    evaluate_with(workload, table, None, options)
}

/// The same with some settings of another job known beforehand.
pub fn evaluate_with(
    workload: &str,
    table: &[Truth],
    other: Option<Other<'_>>,
    options: &Options,
) -> Vec<Row> {
    let bench = Bench::new(table, other, options.known);
    let mut rows = Vec::new();
    for sampling in [Sampling::Random, Sampling::Planned] {
        for profiles in &options.profiles {
            if *profiles == 0 || profiles + 5 > table.len() {
                continue;
            }
            let draws: Vec<Errors> = (0..options.seeds)
                .map(|seed| match sampling {
                    Sampling::Random => bench.random_errors(*profiles, seed),
                    Sampling::Planned => bench.planned_errors(*profiles, seed),
                })
                .collect();
            for target in bench.targets() {
                let regrets = bench.regrets(target, sampling, *profiles, options);
                let row = row(workload, target, sampling, *profiles, &draws, &regrets);
                rows.push(Row { known: other.map(|other| other.name.to_owned()), ..row });
            }
        }
    }
    rows
}

/// One hidden value: relative error in percent, and whether its interval holds it.
type Miss = (f64, bool);

/// The misses of one draw, by target.
#[derive(Default)]
struct Errors([Vec<Miss>; 3]);

/// One choice under one budget.
struct Regret {
    regret_pct: f64,
    to_shown_pct: f64,
    /// Percent above the limit; `None` without a limit.
    excess_pct: Option<f64>,
    used: usize,
}

/// Choices under a sweep of budgets.
#[derive(Default)]
struct Regrets {
    limit: Option<Target>,
    made: Vec<Regret>,
    refused: usize,
}

fn row(
    workload: &str,
    target: Target,
    sampling: Sampling,
    profiles: usize,
    draws: &[Errors],
    regrets: &Regrets,
) -> Row {
    let of = |f: &dyn Fn(&[f64]) -> Option<f64>| -> Vec<f64> {
        let errors = |draw: &Errors| draw.0[target as usize].iter().map(|m| m.0).collect::<Vec<f64>>();
        draws.iter().filter_map(|draw| f(&errors(draw))).collect()
    };
    let mapes = of(&stats::mean);
    let median = |values: &[f64]| stats::quantile(values, 0.5);
    let inside: Vec<f64> =
        draws.iter().flat_map(|d| &d.0[target as usize]).map(|m| f64::from(u8::from(m.1))).collect();
    let Regrets { limit, made: regrets, refused } = regrets;
    let asked = regrets.len() + refused;
    let regret: Vec<f64> = regrets.iter().map(|r| r.regret_pct).collect();
    let to_shown: Vec<f64> = regrets.iter().map(|r| r.to_shown_pct).collect();
    // A tenth of a percent above is within what figures are told to.
    let broken: Vec<f64> = regrets.iter().filter_map(|r| r.excess_pct).filter(|e| *e > 0.1).collect();
    let used: Vec<f64> = regrets.iter().map(|r| r.used as f64).collect();
    Row {
        workload: workload.to_owned(),
        known: None,
        target,
        sampling,
        profiles,
        mape_pct_median: median(&mapes),
        mape_pct_mean: stats::mean(&mapes),
        p50_pct: median(&of(&|e| stats::quantile(e, 0.5))),
        p95_pct: median(&of(&|e| stats::quantile(e, 0.95))),
        coverage90: stats::mean(&inside),
        regret_pct_mean: stats::mean(&regret),
        regret_pct_p95: stats::quantile(&regret, 0.95),
        regret_to_shown_pct_mean: stats::mean(&to_shown),
        limit: *limit,
        refused_fraction: limit.filter(|_| asked > 0).map(|_| *refused as f64 / asked as f64),
        limit_broken_fraction: limit
            .filter(|_| !regrets.is_empty())
            .map(|_| broken.len() as f64 / regrets.len() as f64),
        limit_excess_pct_mean: stats::mean(&broken),
        profiles_used_mean: stats::mean(&used),
    }
}

/// A table ready to be asked.
struct Bench<'a> {
    table: &'a [Truth],
    means: Vec<Measurement>,
    settings: Vec<Setting>,
    knobs: Knobs,
    other: Option<Other<'a>>,
    /// Settings of the other job that are known.
    known: usize,
}

impl<'a> Bench<'a> {
    fn new(table: &'a [Truth], other: Option<Other<'a>>, known: usize) -> Self {
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
    fn targets(&self) -> Vec<Target> {
        let has = |target: Target| self.means.iter().any(|m| value(m, target).is_some());
        [Target::Time, Target::Power, Target::Energy].into_iter().filter(|t| has(*t)).collect()
    }

    /// One measurement of a setting: one of its repeats.
    fn measure(&self, index: usize, rng: &mut Rng) -> Measurement {
        one_of(&self.table[index].repeats, rng)
    }

    fn random_errors(&self, profiles: usize, seed: u64) -> Errors {
        let mut rng = Rng::new(seed);
        let picked = rng.sample(self.table.len(), profiles);
        let options = SearchOptions { profiles, seed, ..SearchOptions::default() };
        let mut search = self.search(goal(Target::Time, None, 0.9), options);
        picked.iter().for_each(|i| search.record(self.measure(*i, &mut rng)));
        self.errors(&search)
    }

    /// The planner without a goal: a start that fills the space, then what tells most about the whole of it.
    fn planned_errors(&self, profiles: usize, seed: u64) -> Errors {
        let mut rng = Rng::new(seed);
        let options = SearchOptions { profiles, seed, ..SearchOptions::default() };
        let mut search = self.search(goal(Target::Time, None, 0.9), options);
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
            for target in [Target::Time, Target::Power, Target::Energy] {
                if let (Some(truth), Some(estimate)) = (value(truth, target), estimate(&seen, target)) {
                    let (low, high) = estimate.interval90();
                    let error = 100.0 * (estimate.value / truth - 1.0).abs();
                    errors.0[target as usize].push((error, (low..=high).contains(&truth)));
                }
            }
        }
        errors
    }

    /// Choices that minimise `target` under a sweep of budgets of another quantity.
    fn regrets(&self, target: Target, sampling: Sampling, profiles: usize, options: &Options) -> Regrets {
        let has = |t: Target| self.targets().contains(&t);
        let limit = match target {
            Target::Time if has(Target::Power) => Some(Target::Power),
            Target::Power | Target::Energy if has(Target::Time) => Some(Target::Time),
            _ => None,
        };
        let budgets = limit.map_or(vec![None], |limit| self.budgets(target, limit, options.budgets));
        let mut regrets = Regrets { limit, ..Regrets::default() };
        for seed in 0..options.seeds {
            // Random settings do not depend on the budget: one fit serves all.
            let drawn = (sampling == Sampling::Random).then(|| self.drawn(profiles, seed));
            for budget in &budgets {
                let limit = limit.zip(*budget);
                let goal = goal(target, limit, options.confidence);
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
                match chosen.and_then(|choice| self.regret(choice.index, target, limit, margin)) {
                    Some(regret) => regrets.made.push(Regret { used, ..regret }),
                    None => regrets.refused += 1,
                }
            }
        }
        regrets
    }

    /// Budgets in equal ratios between the least that any setting needs and what the best setting without a limit
    /// needs.
    fn budgets(&self, target: Target, limit: Target, count: usize) -> Vec<Option<f64>> {
        let needs = |m: &Measurement| value(m, limit).unwrap_or(f64::INFINITY);
        let least = self.means.iter().map(needs).fold(f64::INFINITY, f64::min);
        let objective = |m: &Measurement| value(m, target).unwrap_or(f64::INFINITY);
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
        target: Target,
        limit: Option<(Target, f64)>,
        margin: f64,
    ) -> Option<Regret> {
        let chosen = &self.means[chosen];
        let best = |margin: f64| {
            let allowed = |m: &&Measurement| {
                limit.is_none_or(|(limit, budget)| value(m, limit).is_some_and(|v| v <= margin * budget))
            };
            let best = self.means.iter().filter(allowed).filter_map(|m| value(m, target));
            best.fold(f64::INFINITY, f64::min)
        };
        let excess_pct =
            limit.and_then(|(limit, budget)| Some(100.0 * (value(chosen, limit)? / budget - 1.0)));
        // A choice that breaks its limit may be "better" than the best that does not: that is no merit.
        let regret = |best: f64| Some((100.0 * (value(chosen, target)? / best - 1.0)).max(0.0));
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
        let mut search = self.search(goal(Target::Time, None, 0.9), options);
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
fn margin(outlook: &Outlook, limit: Target, confidence: f64) -> f64 {
    let (time, power) = outlook.predictor.noise();
    let (time, power) = (time.unwrap_or(0.0), power.unwrap_or(0.0));
    let error = match limit {
        Target::Time => time,
        Target::Power => power,
        Target::Energy => time.hypot(power),
    };
    (-quantile(confidence) * error).exp()
}

fn one_of(repeats: &[Measurement], rng: &mut Rng) -> Measurement {
    repeats[rng.below(repeats.len())]
}

fn goal(target: Target, limit: Option<(Target, f64)>, confidence: f64) -> Goal {
    let objective = match target {
        Target::Time => Objective::Time,
        Target::Power => Objective::Power,
        Target::Energy => Objective::Energy,
    };
    let mut limits = Limits::default();
    match limit {
        Some((Target::Time, budget)) => limits.time_s = Some(budget),
        Some((Target::Power, budget)) => limits.power_w = Some(budget),
        Some((Target::Energy, budget)) => limits.energy_j = Some(budget),
        None => {}
    }
    Goal { objective, limits, confidence }
}

fn value(measurement: &Measurement, target: Target) -> Option<f64> {
    match target {
        Target::Time => measurement.time_s,
        Target::Power => measurement.power_w,
        Target::Energy => measurement.energy_j(),
    }
}

fn estimate(prediction: &Prediction, target: Target) -> Option<Estimate> {
    match target {
        Target::Time => prediction.time_s,
        Target::Power => prediction.power_w,
        Target::Energy => prediction.energy_j,
    }
}
