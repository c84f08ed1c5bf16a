//! How well few measured settings of a table predict all the others, and how good the choices made from them are.

mod bench;
mod table;

use footplate_core::stats;
use serde::Serialize;

pub use self::table::{NoiseFloor, Truth, TruthError, noise_floor, truths};

use self::bench::{Bench, Errors, Regrets};
use crate::setting::{Knob, Knobs, Setting};

/// How many settings are measured, how often, and what choices made from them must hold.
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
    /// Its settings with their measurements.
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
pub enum Metric {
    /// Time of a unit of work.
    Time,
    /// Mean power of the whole board, in watts.
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
    pub target: Metric,
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
    pub limit: Option<Metric>,
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
            for target in bench.metrics() {
                let regrets = bench.regrets(target, sampling, *profiles, options);
                let row = row(workload, target, sampling, *profiles, &draws, &regrets);
                rows.push(Row { known: other.map(|other| other.name.to_owned()), ..row });
            }
        }
    }
    rows
}

fn row(
    workload: &str,
    target: Metric,
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
