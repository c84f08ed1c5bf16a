//! Runs as JSON, with the figures that a comparison shows.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::groups::{FACTORS, Metric, factors};
use super::log_data::RunView;
use super::totals::peak_memory;

/// The document of `footplate report --json`: where the page is, and the figures of each run.
///
/// # Errors
///
/// If the page's path is not UTF-8.
pub fn json(page: &Path, views: &[RunView]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        report: &'a Path,
        runs: Vec<Value>,
    }
    serde_json::to_string_pretty(&Document { report: page, runs: views.iter().map(RunView::json).collect() })
}

impl RunView {
    /// The figures that a comparison shows, as JSON; `null` is what was not measured. `simulated`: a simulated board
    /// gave at least some of them.
    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("run".to_owned(), self.name.clone().into());
        for (name, value) in FACTORS.iter().zip(factors(self)) {
            object.insert(name.replace(' ', "_"), value.into());
        }
        let figures = [
            ("images_per_s", Metric::ItemsPerS, 1.0),
            ("step_ms_mean", Metric::StepMs, 1.0),
            ("stall_fraction", Metric::StallPercent, 0.01),
            ("time_s", Metric::TimeS, 1.0),
            ("energy_j", Metric::EnergyJ, 1.0),
            ("energy_per_image_j", Metric::EnergyEachJ, 1.0),
            ("power_mean_w", Metric::PowerW, 1.0),
            ("val_accuracy", Metric::AccuracyPercent, 0.01),
        ];
        for (name, metric, scale) in figures {
            object.insert(name.to_owned(), metric.of(self).map(|value| value * scale).into());
        }
        let peak = peak_memory(&self.log.processes);
        object.insert("peak_memory_bytes".to_owned(), peak.value().map(|bytes| bytes.0).into());
        object.insert("steps".to_owned(), self.summary.steps.into());
        object.insert("simulated".to_owned(), (self.log.simulated || self.log.simulated_steps).into());
        object.into()
    }
}

#[cfg(test)]
mod tests {
    use footplate_core::{Joules, Reading};

    use super::*;
    use crate::testing::{RunLog, end, minibatch};

    fn document(views: &[RunView]) -> Value {
        serde_json::from_str(&json(Path::new("runs/a/report.html"), views).unwrap()).unwrap()
    }

    #[test]
    fn every_run_has_its_factors_and_figures_and_null_where_nothing_was_measured() {
        let log = RunLog::new("x").settings("workers = 3\n").steps(4, |step| minibatch(step, 100_000_000));
        let document = document(&[log.push(end(400_000_000, 4)).view()]);
        let run = &document["runs"][0];
        assert_eq!(document["report"], "runs/a/report.html");
        assert_eq!(
            (&run["model"], &run["batch_size"], &run["workers"]),
            (&"lenet5".into(), &"32".into(), &"3".into())
        );
        assert_eq!((run["step_ms_mean"].as_f64(), run["stall_fraction"].as_f64()), (Some(100.0), Some(0.02)));
        assert_eq!(
            (&run["steps"], &run["simulated"], &run["storage"]),
            (&4.into(), &false.into(), &"-".into())
        );
        for unknown in ["energy_j", "energy_per_image_j", "power_mean_w", "val_accuracy"] {
            assert!(run[unknown].is_null(), "{unknown}: {run:#}");
        }
        assert_eq!(run["peak_memory_bytes"], 90 << 20);
    }

    #[test]
    fn an_energy_of_zero_is_a_number() {
        let log = RunLog::new("x").steps(4, |step| minibatch(step, 1));
        let energy = |energy_j| {
            let footplate_core::Record::RunEnd(end) = end(4, 4) else { unreachable!() };
            let end = footplate_core::Record::RunEnd(footplate_core::record::RunEnd { energy_j, ..end });
            document(&[log.clone().push(end).view()])["runs"][0]["energy_j"].clone()
        };
        assert_eq!(energy(Reading::Value(Joules(0.0))), 0.0);
        assert!(energy(Reading::unreadable("denied")).is_null());
    }
}
