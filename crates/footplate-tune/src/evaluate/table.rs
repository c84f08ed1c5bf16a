//! Measured tables, and how exactly they can be known.

use footplate_core::profile_table::{ProfileTable, TableError};
use footplate_core::stats;
use serde::Serialize;
use thiserror::Error;

use crate::predict::Measurement;
use crate::setting::Setting;

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

/// Why a table's rows are no settings.
#[derive(Debug, Error)]
pub enum TruthError {
    /// A column that should hold numbers holds something else.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A minibatch has a whole number of samples, at least one.
    #[error("line {line}: batch size {size} is no count")]
    BatchSize {
        /// Line of the table, from 1.
        line: u64,
        /// What stands there.
        size: f64,
    },
}

/// The settings of one workload of a table, each with its repeats, in the order of the table.
pub fn truths(table: &ProfileTable, workload: &str) -> Result<Vec<Truth>, TruthError> {
    let mut truths: Vec<Truth> = Vec::new();
    for row in table.of(workload) {
        let number = |column: &str| table.extra_number(row, column);
        let batch_size = match number("batch_size")? {
            Some(size) if size >= 1.0 && size.fract() == 0.0 => Some(size as u64),
            Some(size) => return Err(TruthError::BatchSize { line: row.line, size }),
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
