//! The figures of `footplate measure`: time, energy, heat and throttling of one or several runs of a command, for people
//! and as JSON.

mod repeats;

use std::fmt::Write;

use footplate_core::Reading;
use footplate_core::ports::{WindowEnergy, WindowReading};
use serde_json::{Map, Value, json};

use self::repeats::Repeats;
use crate::spread::Spread;
use crate::text::{explained, known, percent, shown};

/// A warning is given if samples cover a smaller share of the window than this.
const COVERAGE_LOW: f64 = 0.95;

/// One run of the command.
#[derive(Clone, Debug)]
pub struct Run {
    /// Of the command; 0 is success.
    pub exit_code: u8,
    /// From its start to its end, in seconds.
    pub wall_s: f64,
    /// CPU time of the command and its children, in seconds; `None` if the system does not report it.
    pub cpu_s: Option<f64>,
    /// Share of the machine's CPU time that was used by anyone, 0 to 1.
    pub cpu_use: Reading<f64>,
    /// Share of the time that the GPU was busy, 0 to 1.
    pub gpu_use: Reading<f64>,
    /// What the sensors say of it.
    pub window: WindowReading,
}

impl Run {
    fn total(&self) -> Option<&WindowEnergy> {
        self.window.total.value()
    }

    /// What makes this run's figures doubtful.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        match &self.window.total {
            Reading::Unreadable { reason } => warnings.push(format!("no energy: {reason}")),
            Reading::Value(total) if total.coverage < COVERAGE_LOW => {
                let share = percent(total.coverage);
                warnings.push(format!("samples cover only {share} of the time; the energy is of that part"));
            }
            Reading::Value(_) | Reading::Absent => {}
        }
        warnings.extend(self.window.throttled.iter().map(|evidence| format!("throttled: {evidence}")));
        warnings
    }

    fn json(&self) -> Value {
        let mut fields = window_json(&self.window);
        fields.insert("exit_code".into(), json!(self.exit_code));
        fields.insert("wall_s".into(), json!(self.wall_s));
        fields.insert("cpu_s".into(), json!(self.cpu_s));
        fields.insert("cpu_use".into(), json!(self.cpu_use.value()));
        fields.insert("gpu_use".into(), json!(self.gpu_use.value()));
        Value::Object(fields)
    }
}

fn energy_json(energy: &Reading<WindowEnergy>) -> Map<String, Value> {
    let value = energy.value();
    let mut fields = Map::new();
    fields.insert("energy_j".into(), json!(value.map(|e| e.energy_j)));
    fields.insert("energy_error_j".into(), json!(value.map(|e| e.error_j)));
    fields.insert("coverage".into(), json!(value.map(|e| e.coverage)));
    fields.insert("mean_power_w".into(), json!(value.map(|e| e.mean_power_w)));
    fields.insert("peak_power_w".into(), json!(value.map(|e| e.peak_power_w)));
    fields.insert("samples".into(), json!(value.map(|e| e.samples)));
    if let Reading::Unreadable { reason } = energy {
        fields.insert("reason".into(), json!(reason));
    }
    fields
}

fn window_json(window: &WindowReading) -> Map<String, Value> {
    let mut fields = energy_json(&window.total);
    let rails = window.rails.iter().map(|(name, rail)| (name.clone(), Value::Object(energy_json(rail))));
    fields.insert("rails".into(), Value::Object(rails.collect()));
    fields.insert("temperature_c".into(), json!(window.temperature_c.value()));
    fields.insert("throttled".into(), json!(window.throttled));
    fields
}

/// The figures of all runs. There is one at least.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The machine's name, with "(simulated)" for a simulated board.
    pub machine: String,
    /// Whether power and heat are those of a simulated board.
    pub simulated: bool,
    /// What the power of the whole machine is made of, where it is measured.
    pub total_note: Option<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// All runs, in their order.
    pub runs: Vec<Run>,
    /// What the user should know of the figures.
    pub warnings: Vec<String>,
}

impl Figures {
    /// A figure over all runs; `None` if one of them lacks it.
    fn spread(&self, figure: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        Spread::of_all(self.runs.iter().map(figure))
    }

    fn repeats(&self) -> Repeats<'_> {
        Repeats::new(self.runs.iter().map(|run| &run.window))
    }

    fn energy(&self) -> Option<Spread> {
        self.repeats().total(|total| total.energy_j.0)
    }

    fn power(&self) -> Option<Spread> {
        self.repeats().total(|total| total.mean_power_w.0)
    }

    /// One JSON document: the figures of the run, or the means of several with each of them besides.
    pub fn json(&self) -> String {
        let Some(first) = self.runs.first() else { return "{}".to_owned() };
        let mut fields = match first.json() {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        if self.runs.len() > 1 {
            self.put_means(&mut fields);
        }
        fields.insert("command".into(), json!(self.command));
        fields.insert("machine".into(), json!(self.machine));
        fields.insert("simulated".into(), json!(self.simulated));
        fields.insert("total_note".into(), json!(self.total_note));
        fields.insert("repeat".into(), json!(self.runs.len()));
        fields.insert("exit_code".into(), json!(self.runs.last().map(|run| run.exit_code)));
        fields.insert("warnings".into(), json!(self.warnings));
        // A map of numbers, texts and lists: it can always be written.
        serde_json::to_string_pretty(&Value::Object(fields)).unwrap_or_default()
    }

    fn put_means(&self, fields: &mut Map<String, Value>) {
        let repeats = self.repeats();
        let spreads = [
            ("wall_s", self.spread(|run| Some(run.wall_s))),
            ("cpu_s", self.spread(|run| run.cpu_s)),
            ("cpu_use", self.spread(|run| run.cpu_use.value().copied())),
            ("gpu_use", self.spread(|run| run.gpu_use.value().copied())),
            ("energy_j", self.energy()),
            ("energy_error_j", repeats.total(|total| total.error_j.0)),
            ("mean_power_w", self.power()),
        ];
        let mut told = Map::new();
        for (name, spread) in spreads {
            fields.insert(name.into(), json!(spread.as_ref().map(|s| s.mean)));
            if let Some(s) = spread {
                told.insert(name.into(), json!({"sd": s.sd, "min": s.min, "max": s.max}));
            }
        }
        fields.insert("coverage".into(), json!(repeats.total(|total| total.coverage).map(|s| s.min)));
        let peak = repeats.total(|total| total.peak_power_w.0).map(|s| s.max);
        fields.insert("peak_power_w".into(), json!(peak));
        fields.insert("temperature_c".into(), json!(repeats.temperature_max()));
        fields.insert("throttled".into(), json!(repeats.throttled()));
        let rails = self.runs[0].window.rails.iter().enumerate().map(|(index, (name, _))| {
            let mean = |figure: fn(&WindowEnergy) -> f64| repeats.rail(index, figure).map(|s| s.mean);
            let energy = mean(|e| e.energy_j.0);
            (name.clone(), json!({"energy_j": energy, "mean_power_w": mean(|e| e.mean_power_w.0)}))
        });
        fields.insert("rails".into(), Value::Object(rails.collect()));
        fields.insert("spread".into(), Value::Object(told));
        fields.insert("runs".into(), Value::Array(self.runs.iter().map(Run::json).collect()));
    }

    /// The figures for people. What was not measured is "-", what could not be read "x".
    pub fn text(&self) -> String {
        let Some(run) = self.runs.first() else { return String::new() };
        let mut out = String::from("\n");
        let longest = run.window.rails.iter().map(|(name, _)| name.chars().count() + 4).max();
        let width = longest.unwrap_or(0).max(14);
        let mut row = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name:<width$}{value}");
        };
        let code = self.runs.last().map_or(0, |run| run.exit_code);
        row("command", format!("{} (exit code {code})", self.command.join(" ")));
        row("machine", self.machine.clone());
        row("time", told(self.spread(|run| Some(run.wall_s)).as_ref(), "s", 3));
        row("energy", self.energy_text(run));
        row("power", self.power_text(run));
        for (index, (name, _)) in run.window.rails.iter().enumerate() {
            row(&format!("  {name}"), self.rail_text(index));
        }
        row("temperature", explained(&run.window.temperature_c, |celsius| format!("{celsius} at most")));
        let throttled = run.window.throttled.is_empty();
        row("throttling", if throttled { "none seen".to_owned() } else { run.window.throttled.join("; ") });
        row("use", usage(run));
        for warning in &self.warnings {
            row("warning", warning.clone());
        }
        out.trim_end().to_owned()
    }

    fn energy_text(&self, run: &Run) -> String {
        match (self.energy(), run.total()) {
            (Some(energy), Some(total)) => {
                let error = total.error_j.0;
                let share = percent(total.coverage);
                format!("{}, ± {error:.1} J, coverage {share}", told(Some(&energy), "J", 1))
            }
            _ => explained(&run.window.total, |_| "-".to_owned()),
        }
    }

    fn power_text(&self, run: &Run) -> String {
        match (self.power(), run.total()) {
            (Some(power), Some(total)) => {
                format!("mean {}, peak {:.2} W", told(Some(&power), "W", 2), total.peak_power_w.0)
            }
            _ => explained(&run.window.total, |_| "-".to_owned()),
        }
    }

    fn rail_text(&self, index: usize) -> String {
        let figure = |figure: fn(&WindowEnergy) -> f64| self.repeats().rail(index, figure);
        match (figure(|e| e.energy_j.0), figure(|e| e.mean_power_w.0)) {
            (Some(energy), Some(power)) => format!("{:.1} J, mean {:.2} W", energy.mean, power.mean),
            _ => explained(&self.runs[0].window.rails[index].1, |_| "-".to_owned()),
        }
    }
}

fn told(spread: Option<&Spread>, unit: &str, decimals: usize) -> String {
    known(spread, |Spread { mean, sd, min, max, .. }| match sd {
        None => format!("{mean:.decimals$} {unit}"),
        Some(sd) => format!(
            "mean {mean:.decimals$} {unit} (standard deviation {sd:.decimals$}, {min:.decimals$} to {max:.decimals$})"
        ),
    })
}

fn usage(run: &Run) -> String {
    let share = |reading: &Reading<f64>| shown(reading, |share| percent(*share));
    let own = known(run.cpu_s, |s| format!("{s:.2} s"));
    format!("CPU {} of the machine, {own} by the command; GPU {}", share(&run.cpu_use), share(&run.gpu_use))
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::{Celsius, Joules, Watts};

    fn energy(energy_j: f64) -> WindowEnergy {
        WindowEnergy {
            energy_j: Joules(energy_j),
            error_j: Joules(0.5),
            coverage: 0.9,
            mean_power_w: Watts(energy_j / 2.0),
            peak_power_w: Watts(energy_j),
            samples: 20,
        }
    }

    fn figures(energies: &[Option<f64>]) -> Figures {
        let run = |joules: &Option<f64>| {
            let reading = joules.map_or(Reading::Absent, |joules| Reading::Value(energy(joules)));
            Run {
                exit_code: 0,
                wall_s: 2.0,
                cpu_s: Some(0.25),
                cpu_use: Reading::Value(0.125),
                gpu_use: Reading::Absent,
                window: WindowReading {
                    total: reading.clone(),
                    rails: vec![
                        ("VDD_IN".into(), reading),
                        ("VDD_SOC".into(), Reading::unreadable("permission denied")),
                    ],
                    temperature_c: Reading::Value(Celsius(45.5)),
                    throttled: vec!["cooling device cpu-balanced is active".into()],
                    simulated: true,
                },
            }
        };
        let runs: Vec<Run> = energies.iter().map(run).collect();
        let warnings = runs.iter().flat_map(Run::warnings).collect();
        Figures {
            machine: "nano@r32 (simulated)".into(),
            simulated: true,
            total_note: None,
            command: vec!["sleep".into(), "2".into()],
            runs,
            warnings,
        }
    }

    fn document(energies: &[Option<f64>]) -> Value {
        serde_json::from_str(&figures(energies).json()).unwrap()
    }

    #[test]
    fn one_run_has_all_its_figures() {
        let document = document(&[Some(8.0)]);
        for key in [
            "wall_s",
            "energy_j",
            "coverage",
            "mean_power_w",
            "peak_power_w",
            "rails",
            "throttled",
            "warnings",
        ] {
            assert!(!document[key].is_null(), "{key}: {document:#}");
        }
        assert_eq!(document["energy_j"], 8.0);
        assert_eq!(document["rails"]["VDD_IN"]["mean_power_w"], 4.0);
        assert!(document["rails"]["VDD_SOC"]["energy_j"].is_null());
        assert_eq!(document["rails"]["VDD_SOC"]["reason"], "permission denied");
        assert!(document["gpu_use"].is_null() && document["simulated"] == true);
        assert!(document["warnings"][0].as_str().unwrap().contains("90.0 %"), "{document:#}");
    }

    #[test]
    fn several_runs_have_means_and_spread() {
        let document = document(&[Some(8.0), Some(10.0)]);
        assert_eq!((document["energy_j"].as_f64(), document["repeat"].as_u64()), (Some(9.0), Some(2)));
        assert_eq!(document["spread"]["energy_j"]["max"], 10.0);
        assert!((document["spread"]["energy_j"]["sd"].as_f64().unwrap() - 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(document["runs"].as_array().unwrap().len(), 2);
        assert_eq!(document["peak_power_w"], 10.0);
    }

    #[test]
    fn without_a_sensor_there_is_the_time() {
        let document = document(&[None, None]);
        assert!(document["energy_j"].is_null() && document["coverage"].is_null());
        assert_eq!(document["wall_s"], 2.0);
        let text = figures(&[None]).text();
        assert!(text.contains("energy        -\n") && text.contains("time          2.000 s\n"), "{text}");
        assert!(text.contains("  VDD_SOC     x (permission denied)"), "{text}");
    }

    #[test]
    fn one_run_without_a_figure_leaves_no_mean_of_the_others() {
        let document = document(&[Some(8.0), None]);
        assert!(document["energy_j"].is_null() && document["spread"]["energy_j"].is_null());
        assert_eq!((&document["wall_s"], document["runs"][0]["energy_j"].as_f64()), (&json!(2.0), Some(8.0)));
        assert!(figures(&[None, Some(8.0)]).text().contains("\nenergy        -\n"));
    }

    #[test]
    fn readings_that_are_zero_unreadable_or_absent_look_different() {
        let shown = |total: Reading<WindowEnergy>, share: Reading<f64>| {
            let mut figures = figures(&[None]);
            (figures.runs[0].window.total, figures.runs[0].gpu_use) = (total.clone(), share);
            figures.runs[0].window.temperature_c = total.map(|_| Celsius(0.0));
            let text = figures.text();
            let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
            ["energy ", "power ", "temperature ", "use "].map(line)
        };
        let zero = shown(Reading::Value(energy(0.0)), Reading::Value(0.0));
        let unreadable = shown(Reading::unreadable("denied"), Reading::unreadable("denied"));
        let absent = shown(Reading::Absent, Reading::Absent);
        assert_eq!(zero[0], "energy        0.0 J, ± 0.5 J, coverage 90.0 %");
        assert_eq!(unreadable[0], "energy        x (denied)");
        assert_eq!(absent[0], "energy        -");
        for ((zero, unreadable), absent) in zero.iter().zip(&unreadable).zip(&absent) {
            assert!(
                zero != unreadable && unreadable != absent && zero != absent,
                "{zero} {unreadable} {absent}"
            );
        }
    }

    #[test]
    fn each_doubt_about_a_run_is_a_warning() {
        let mut run = figures(&[Some(8.0)]).runs.remove(0);
        assert_eq!(run.warnings().len(), 2);
        run.window.throttled.clear();
        run.window.total = Reading::unreadable("insufficient samples");
        assert_eq!(run.warnings(), ["no energy: insufficient samples"]);
        run.window.total = Reading::Absent;
        assert_eq!(run.warnings(), Vec::<String>::new());
    }

    #[test]
    fn no_run_has_an_empty_document() {
        assert_eq!((figures(&[]).json(), figures(&[]).text()), ("{}".to_owned(), String::new()));
    }
}
