//! Runs to compare: what they were run with, and repeats of the same in groups.

use std::collections::BTreeMap;

use footplate_core::record::ModePurpose;

use super::figures::number;
use super::log_data::RunView;
use super::settings::Flat;
use super::totals::{Energy, peak_memory, wall_s};
use crate::spread::Spread;

/// What a study varies, in the order of a grid from outside to inside.
pub(crate) const FACTORS: [&str; 7] =
    ["model", "data", "storage", "page cache", "mode", "batch size", "workers"];

/// A setting's words are no longer than this.
const WORDS_MAX: usize = 90;

/// What a run comes to. Missing is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    ItemsPerS,
    StepMs,
    StallPercent,
    TimeS,
    EnergyJ,
    EnergyEachJ,
    PowerW,
    PeakMib,
    AccuracyPercent,
}

impl Metric {
    pub(crate) const ALL: [Self; 9] = [
        Self::ItemsPerS,
        Self::StepMs,
        Self::StallPercent,
        Self::TimeS,
        Self::EnergyJ,
        Self::EnergyEachJ,
        Self::PowerW,
        Self::PeakMib,
        Self::AccuracyPercent,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ItemsPerS => "speed (items/s)",
            Self::StepMs => "step, mean (ms)",
            Self::StallPercent => "waiting for data (%)",
            Self::TimeS => "time of the run (s)",
            Self::EnergyJ => "energy of the run (J)",
            Self::EnergyEachJ => "energy per image (J)",
            Self::PowerW => "power, mean (W)",
            Self::PeakMib => "peak memory (MiB)",
            Self::AccuracyPercent => "validation accuracy (%)",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::ItemsPerS => "items/s",
            Self::StepMs => "ms",
            Self::StallPercent | Self::AccuracyPercent => "%",
            Self::TimeS => "s",
            Self::EnergyJ | Self::EnergyEachJ => "J",
            Self::PowerW => "W",
            Self::PeakMib => "MiB",
        }
    }

    pub(crate) fn of(self, view: &RunView) -> Option<f64> {
        let totals = &view.log.totals;
        let energy = || Energy::of(&view.log.processes).into_value().map(|energy| energy.joules);
        match self {
            Self::ItemsPerS => view.summary.images_per_s,
            Self::StepMs => view.summary.step_ms_mean,
            Self::StallPercent => totals.share(totals.stall_ns()).map(|share| share * 100.0),
            Self::TimeS => Some(wall_s(&view.log.processes)),
            Self::EnergyJ => energy(),
            Self::EnergyEachJ => {
                energy().filter(|_| totals.items > 0).map(|joules| joules / totals.items as f64)
            }
            Self::PowerW => view.log.total_w.series.range(0).map(|(_, mean, _)| mean),
            Self::PeakMib => {
                peak_memory(&view.log.processes).value().map(|b| b.0 as f64 / f64::from(1 << 20))
            }
            Self::AccuracyPercent => view.summary.val_accuracy.map(|share| share * 100.0),
        }
    }
}

/// The mean, and the standard deviation where there are several runs.
pub(crate) fn spread_text(spread: Spread) -> String {
    match spread.sd {
        None => number(spread.mean),
        Some(sd) => format!("{} ± {}", number(spread.mean), number(sd)),
    }
}

/// Runs with the same settings; only the seed may differ.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) runs: Vec<&'a RunView>,
    /// By the order of [`FACTORS`].
    pub(crate) factors: [String; FACTORS.len()],
}

impl Group<'_> {
    pub(crate) fn spread(&self, metric: Metric) -> Option<Spread> {
        let values: Vec<f64> = self.runs.iter().filter_map(|run| metric.of(run)).collect();
        Spread::of(&values)
    }

    /// "x" where a figure could not be read in some run, "-" where none has it.
    pub(crate) fn missing(&self, metric: Metric) -> &'static str {
        let failed = |run: &&RunView| Energy::of(&run.log.processes).reason().is_some();
        let is_energy = matches!(metric, Metric::EnergyJ | Metric::EnergyEachJ);
        if is_energy && self.runs.iter().any(failed) { "x" } else { "-" }
    }

    /// A figure with its spread.
    pub(crate) fn shown(&self, metric: Metric) -> String {
        self.spread(metric).map_or_else(|| self.missing(metric).to_owned(), spread_text)
    }

    /// Mean milliseconds of a step's parts over all steps of all runs.
    pub(crate) fn parts_ms(&self) -> Option<[f64; 5]> {
        let steps: u64 = self.runs.iter().map(|run| run.log.totals.steps).sum();
        let sum = |part: usize| -> u64 {
            self.runs
                .iter()
                .map(|run| super::curves::parts_ns(&run.log.totals)[part])
                .fold(0, u64::saturating_add)
        };
        (steps > 0).then(|| std::array::from_fn(|part| sum(part) as f64 / steps as f64 / 1e6))
    }

    /// The factors that vary among the groups, in words; the run's name where none does, or where that would be long.
    pub(crate) fn label(&self, varying: &[usize]) -> String {
        let parts: Vec<String> = varying
            .iter()
            .map(|factor| match FACTORS[*factor] {
                "workers" if self.factors[*factor] == "1" => "1 worker".to_owned(),
                "workers" => format!("{} workers", self.factors[*factor]),
                "batch size" => format!("batch {}", self.factors[*factor]),
                "page cache" => format!("{} cache", self.factors[*factor]),
                _ => self.factors[*factor].clone(),
            })
            .collect();
        let words = parts.join(", ");
        if words.is_empty() || words.chars().count() > WORDS_MAX { self.name() } else { words }
    }

    /// The name of its first run, and how many more there are.
    fn name(&self) -> String {
        match self.runs.len() {
            1 => self.runs[0].name.clone(),
            n => format!("{} and {} more", self.runs[0].name, n - 1),
        }
    }
}

/// The value of each factor in a run.
pub(crate) fn factors(view: &RunView) -> [String; FACTORS.len()] {
    let flat = Flat::parse(&view.start.settings_toml);
    FACTORS.map(|name| view.labels.get(name).cloned().unwrap_or_else(|| told(view, &flat, name)))
}

fn told(view: &RunView, flat: &Flat, factor: &str) -> String {
    let missing = || "-".to_owned();
    match factor {
        "model" => view.start.model.clone(),
        "data" => view.start.data.clone(),
        "batch size" => view.start.batch_size.to_string(),
        "workers" => match (flat.get("workers"), flat.get("workers-max")) {
            (Some(_), Some(most)) => format!("up to {most}"),
            (Some(workers), None) => workers.to_owned(),
            (None, _) => missing(),
        },
        "mode" => {
            let modes = view.log.modes.kept.iter().rev();
            let trained = modes.map(|(_, mode)| mode).find(|mode| mode.purpose == ModePurpose::Train);
            trained.map_or_else(missing, |mode| mode.got.to_string())
        }
        _ => missing(),
    }
}

/// Everything that must be the same in a group.
fn key(view: &RunView) -> (Vec<String>, BTreeMap<String, String>, String) {
    let mut settings = Flat::parse(&view.start.settings_toml).0;
    settings.remove("seed");
    (factors(view).to_vec(), settings, view.start.device.clone())
}

/// Groups in the order of their first runs.
pub(crate) fn groups(views: &[RunView]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known = Vec::new();
    for view in views {
        let key = key(view);
        match known.iter().position(|other| *other == key) {
            Some(index) => groups[index].runs.push(view),
            None => {
                known.push(key);
                groups.push(Group { runs: vec![view], factors: factors(view) });
            }
        }
    }
    groups
}

/// Indices of the factors that are not the same everywhere.
pub(crate) fn varying(groups: &[Group<'_>]) -> Vec<usize> {
    let differs = |factor: &usize| groups.iter().any(|g| g.factors[*factor] != groups[0].factors[*factor]);
    (0..FACTORS.len()).filter(differs).collect()
}

/// Settings that are not the same in all runs, by path, with the value in each run.
pub(crate) fn differing(views: &[RunView]) -> Vec<(String, Vec<String>)> {
    let flats: Vec<Flat> = views.iter().map(|view| Flat::parse(&view.start.settings_toml)).collect();
    let mut paths: Vec<&String> = flats.iter().flat_map(|flat| flat.0.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let row = |path: &String| {
        let values: Vec<String> = flats.iter().map(|flat| flat.get(path).unwrap_or("-").to_owned()).collect();
        values.iter().any(|value| *value != values[0]).then(|| (path.clone(), values))
    };
    paths.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use footplate_core::record::RunEnd;
    use footplate_core::{Joules, Reading, Record};

    use super::*;
    use crate::testing::{RunLog, end, minibatch};

    fn run(name: &str, settings: &str, step_ns: u64) -> RunView {
        let log = RunLog::new("linux x86_64, 2 cores").settings(settings);
        RunView { name: name.to_owned(), ..log.steps(4, |step| minibatch(step, step_ns)).view() }
    }

    #[test]
    fn repeats_differ_in_nothing_but_the_seed() {
        let views = [
            run("a", "seed = 1\nworkers = 1\n", 100_000_000),
            run("b", "seed = 2\nworkers = 1\n", 120_000_000),
            run("c", "seed = 1\nworkers = 2\n", 50_000_000),
        ];
        let groups = groups(&views);
        assert_eq!(groups.iter().map(|g| g.runs.len()).collect::<Vec<_>>(), [2, 1]);
        let spread = groups[0].spread(Metric::StepMs).unwrap();
        assert!((spread.mean - 110.0).abs() < 1e-9 && (spread.sd.unwrap() - 200f64.sqrt()).abs() < 1e-9);
        assert_eq!(groups[1].spread(Metric::StepMs).unwrap().sd, None);
        assert_eq!(groups[1].spread(Metric::EnergyJ), None);
        assert_eq!(varying(&groups), [6]);
        assert_eq!(groups[1].label(&[6]), "2 workers");
        let differ = differing(&views);
        assert_eq!(differ.iter().map(|d| d.0.as_str()).collect::<Vec<_>>(), ["seed", "workers"]);
    }

    #[test]
    fn a_label_stands_in_place_of_what_the_log_says() {
        let mut view = run("a", "workers = 1\nworkers-max = 4\n", 1);
        assert_eq!(factors(&view), ["lenet5", "64 images in 8 classes", "-", "-", "-", "32", "up to 4"]);
        view.labels.insert("storage".to_owned(), "SD card".to_owned());
        view.labels.insert("workers".to_owned(), "2".to_owned());
        assert_eq!(factors(&view)[2..], ["SD card", "-", "-", "32", "2"]);
    }

    #[test]
    fn a_group_is_called_by_what_varies_or_by_its_runs() {
        let mut views = [run("a", "workers = 1\n", 1), run("b", "seed = 3\nworkers = 1\n", 1)];
        for view in &mut views {
            view.labels.insert("page cache".to_owned(), "cold".to_owned());
            view.labels.insert("storage".to_owned(), "x".repeat(WORDS_MAX));
        }
        let groups = groups(&views);
        let label = |varying: &[usize]| groups[0].label(varying);
        assert_eq!(label(&[3, 5, 6]), "cold cache, batch 32, 1 worker");
        // Nothing varies, or what varies is too long to be a label.
        assert_eq!((label(&[]), label(&[2, 3])), ("a and 1 more".to_owned(), "a and 1 more".to_owned()));
    }

    #[test]
    fn a_figure_that_is_absent_unreadable_or_zero_looks_different() {
        let with_energy = |energy_j| {
            let Record::RunEnd(end) = end(4, 4) else { unreachable!() };
            let log = RunLog::new("x").steps(4, |step| minibatch(step, 1));
            log.push(Record::RunEnd(RunEnd { energy_j, ..end })).view()
        };
        let readings = [Reading::Value(Joules(0.0)), Reading::Absent, Reading::unreadable("denied")];
        let shown = readings.map(|energy| groups(&[with_energy(energy)])[0].shown(Metric::EnergyJ));
        assert_eq!(shown, ["0", "-", "x"]);
    }

    #[test]
    fn the_parts_of_a_step_add_up_over_all_runs_of_a_group() {
        let views = [run("a", "", 100_000_000), run("b", "seed = 2", 300_000_000)];
        let parts = groups(&views)[0].parts_ms().unwrap();
        assert!((parts.iter().sum::<f64>() - 200.0).abs() < 1e-6, "{parts:?}");
        assert_eq!(groups(&[RunLog::new("x").view()])[0].parts_ms(), None);
    }
}
