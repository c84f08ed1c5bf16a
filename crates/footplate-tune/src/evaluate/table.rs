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
    /// The knobs of the row.
    pub setting: Setting,
    /// Its measurements, at least one.
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
        /// The value in the table.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Truth>, TruthError> {
        truths(&ProfileTable::parse(text).unwrap(), "net")
    }

    #[test]
    fn rows_with_the_same_knobs_are_repeats_and_other_workloads_are_left_out() {
        let table = "workload,gpu_hz,batch_size,time_s,power_w,energy_j\n\
                     net,1e9,8,0.5,10,\n\
                     net,1e9,8,0.7,,7.7\n\
                     other,1e9,8,9,9,\n\
                     net,1e9,16,1.0,10,\n";
        let truths = read(table).unwrap();
        assert_eq!(truths.iter().map(|t| t.repeats.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(truths[1].setting.batch_size, Some(16));
        // Power is energy by time where it is not measured, and the means of time and energy give that of power.
        assert!((truths[0].repeats[1].power_w.unwrap() - 11.0).abs() < 1e-9);
        let mean = truths[0].mean();
        assert!((mean.time_s.unwrap() - 0.6).abs() < 1e-12);
        assert!((mean.power_w.unwrap() - 6.35 / 0.6).abs() < 1e-9, "{mean:?}");
    }

    #[test]
    fn an_epochs_time_stands_for_a_missing_one() {
        let truths =
            read("workload,gpu_hz,time_per_epoch_s,energy_j\nnet,1e9,50,100\nnet,2e9,0,100\n").unwrap();
        let repeat = truths[0].repeats[0];
        assert_eq!((repeat.time_s, repeat.power_w), (Some(50.0), Some(2.0)));
        assert_eq!((truths[1].repeats[0].time_s, truths[1].repeats[0].power_w), (None, None));
    }

    #[test]
    fn a_batch_that_is_no_count_is_refused_with_its_line() {
        for (batch, text) in [
            ("2.5", "line 2: batch size 2.5 is no count"),
            ("0", "line 2: batch size 0 is no count"),
            ("-4", "line 2: batch size -4 is no count"),
        ] {
            let error = read(&format!("workload,time_s,batch_size\nnet,1,{batch}\n")).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
        let error = read("workload,time_s,batch_size\nnet,1,many\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("many"), "{error}");
    }

    #[test]
    fn the_noise_floor_is_what_repeats_differ_by() {
        let once = read("workload,gpu_hz,time_s\nnet,1e9,1\nnet,2e9,1\n").unwrap();
        assert_eq!(noise_floor(&once), None);
        let twice = read("workload,gpu_hz,time_s\nnet,1e9,1\nnet,1e9,1.25\nnet,2e9,7\n").unwrap();
        let floor = noise_floor(&twice).unwrap();
        // 25 % of 1 and 20 % of 1.25: each against the other.
        assert!((floor.time_pct.unwrap() - 22.5).abs() < 1e-9, "{floor:?}");
        assert_eq!((floor.settings, floor.power_pct, floor.energy_pct), (1, None, None));
    }
}
