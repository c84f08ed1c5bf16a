//! What a tune came to, as text and as JSON.

use std::path::Path;

use footplate_core::Reading;
use footplate_core::power_mode::Preset;
use footplate_run::tune_record;
use footplate_run::tuned_run::TuneReport;
use footplate_tune::Setting;
use footplate_tune::choose::{Candidate, duration_text as duration};
use footplate_tune::predict::Estimate;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::{Outcome, Purpose, Tuned, cost_of};
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};

/// Rows of the front that the text shows.
const FRONT_ROWS: usize = 16;

/// What is reported of.
pub(crate) struct View<'a> {
    pub(crate) report: &'a TuneReport,
    pub(crate) kept: bool,
    pub(crate) nvpmodel: Option<&'a str>,
    /// The run whose steps were measured.
    pub(crate) run_dir: Option<&'a Path>,
}

/// One measurement in a line.
pub(crate) fn progress(number: usize, record: &ProfileRecord, purpose: Purpose) -> String {
    let what = match purpose {
        Purpose::Search => "profile",
        Purpose::Verify => "verify ",
    };
    let power = match &record.power {
        Reading::Value(power) => format!("{:.2} W", power.mean_w),
        Reading::Absent => "-".to_owned(),
        Reading::Unreadable { reason } => format!("x ({reason})"),
    };
    format!(
        "{what} {number:>2}  {}: {} a step, {power}, {} steps",
        record.setting,
        duration(record.step_s),
        record.steps
    )
}

fn row(name: &str, candidate: &Candidate) -> String {
    let p = &candidate.prediction;
    let error = |e: Option<Estimate>| e.map_or(String::new(), |e| format!("±{:.0} %", 164.5 * e.log_sd));
    let (time, power) = (p.time_s, p.power_w);
    format!(
        "{name:<10} {:>11} {:>6}  {:>8} {:>6}  {:>10}  {:<9} {}",
        time.map_or("-".into(), |e| duration(e.value)),
        error(time),
        power.map_or("-".into(), |e| format!("{:.2} W", e.value)),
        error(power),
        p.energy_j.map_or("-".into(), |e| format!("{:.3} J", e.value)),
        if candidate.measured { "measured" } else { "estimate" },
        candidate.setting
    )
}

/// The report for people.
pub(crate) fn text(view: &View) -> String {
    let tuned = &view.report.tuned;
    let candidates = &tuned.outlook.candidates;
    let mut lines = Vec::new();
    if view.report.machine.is_simulated() {
        lines.push(format!("{}: all figures are simulated or from a table", view.report.machine.name()));
    }
    lines.push(format!("front of time and power ({} settings; figures for one step)", tuned.front.len()));
    let every = tuned.front.len().div_ceil(FRONT_ROWS).max(1);
    let shown = tuned.front.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == tuned.front.len());
    lines.extend(shown.map(|(_, index)| row("", &candidates[*index])));
    lines.push(String::new());
    let presets = view.report.machine.machine().presets();
    if let Some(largest) = tune_record::largest(candidates).map(|index| &candidates[index]) {
        // Where the vendor names this mode, its preset's line is enough.
        if !presets.iter().any(|preset| preset.mode == largest.setting.mode) {
            lines.push(row("largest", largest));
        }
    }
    for (preset, inside) in presets_in(presets, &settings(candidates)) {
        match cost_of(&tuned.outlook, &preset.mode).filter(|_| inside) {
            Some(candidate) => lines.push(row(&preset.name, &candidate)),
            None => lines.push(format!("{:<10} not among the settings: {}", preset.name, preset.mode)),
        }
    }
    lines.push(String::new());
    lines.extend(outcome_lines(view));
    if let Some(block) = view.nvpmodel {
        lines.push(String::new());
        lines.push(block.trim_end().to_owned());
    }
    lines.join("\n")
}

fn outcome_lines(view: &View) -> Vec<String> {
    let tuned = &view.report.tuned;
    let candidates = &tuned.outlook.candidates;
    let mut lines = Vec::new();
    match &tuned.outcome {
        Outcome::Chosen { choice, verified } => {
            let chosen = &candidates[choice.index];
            lines.push(row("choice", chosen));
            let state = if *verified {
                "measured again and confirmed"
            } else if chosen.measured {
                "measured, not confirmed by a second measurement"
            } else {
                "predicted, not measured"
            };
            lines.push(format!(
                "{state}; the limits hold with a probability of {:.1} %; {} profiles",
                100.0 * choice.probability,
                tuned.profiles
            ));
            if let Some(time) = chosen.prediction.time_s {
                let (epoch, all) = (view.report.size.steps_per_epoch, view.report.size.steps);
                lines.push(format!(
                    "an epoch of {epoch} steps takes {}, all {all} steps {}",
                    duration(time.value * epoch as f64),
                    duration(time.value * all as f64)
                ));
            }
            if let Some(share) = tuned.stall_share.filter(|s| *s > 0.05) {
                lines.push(format!("{:.0} % of the time waits for data", 100.0 * share));
            }
            lines.extend(helped(tuned));
            lines.push(
                if view.kept { "it stays set" } else { "the mode from before is set again" }.to_owned(),
            );
        }
        Outcome::Infeasible(refusal) => {
            lines.push("no setting holds the limits".to_owned());
            lines.extend(refusal.closest.map(|index| row("closest", &candidates[index])));
            let would = footplate_tune::tuner::would_do_text(&refusal.would_do);
            if !would.is_empty() {
                lines.push(format!("a budget that would do: {}", would.join(", ")));
            }
        }
    }
    if let Some(regret) = view.report.regret_pct() {
        lines.push(format!("the table's true best is {regret:.2} % better"));
    }
    lines
}

/// Which other jobs' profiles were of use; nothing if none was.
fn helped(tuned: &Tuned) -> Option<String> {
    let [time, power] = tuned.outlook.predictor.helped_by();
    let of = |what: &str, name: Option<&str>| {
        name.map(|name| format!("{what} with the help of profiles of {name}"))
    };
    let parts: Vec<String> = [of("time", time), of("power", power)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("predicted: {}", parts.join(", ")))
}

fn settings(candidates: &[Candidate]) -> Vec<Setting> {
    candidates.iter().map(|c| c.setting).collect()
}

/// Presets that lie in a space, and those that do not.
fn presets_in<'a>(presets: &'a [Preset], space: &[Setting]) -> Vec<(&'a Preset, bool)> {
    presets.iter().map(|p| (p, space.iter().any(|s| s.mode == p.mode))).collect()
}

fn estimate(estimate: Option<Estimate>) -> Value {
    match estimate {
        Some(e) => {
            let (low, high) = e.interval90();
            json!({"value": e.value, "low90": low, "high90": high})
        }
        None => Value::Null,
    }
}

fn candidate(c: &Candidate) -> Value {
    json!({
        "setting": c.setting,
        "measured": c.measured,
        "time_s": estimate(c.prediction.time_s),
        "power_w": estimate(c.prediction.power_w),
        "energy_j": estimate(c.prediction.energy_j),
    })
}

fn outcome(report: &TuneReport) -> Value {
    let candidates = &report.tuned.outlook.candidates;
    match &report.tuned.outcome {
        Outcome::Chosen { choice, verified } => json!({
            "feasible": true,
            "verified": verified,
            "probability": choice.probability,
            "choice": candidate(&candidates[choice.index]),
            "regret_pct": report.regret_pct(),
        }),
        Outcome::Infeasible(refusal) => json!({
            "feasible": false,
            "probability": refusal.probability,
            "closest": refusal.closest.map(|index| candidate(&candidates[index])),
            "would_do": refusal.would_do,
        }),
    }
}

/// The report for programs.
pub(crate) fn json(view: &View) -> Result<String, Failure> {
    let tuned = &view.report.tuned;
    let candidates = &tuned.outlook.candidates;
    let presets: Vec<Value> = presets_in(view.report.machine.machine().presets(), &settings(candidates))
        .into_iter()
        .map(|(preset, _)| {
            let cost = cost_of(&tuned.outlook, &preset.mode).as_ref().map(candidate);
            json!({"name": preset.name, "mode": preset.mode, "cost": cost})
        })
        .collect();
    let records: Vec<Value> = view
        .report
        .records
        .iter()
        .map(|(record, purpose)| json!({"purpose": purpose, "profile": record}))
        .collect();
    let document = json!({
        "machine": view.report.machine.name(),
        "simulated": view.report.machine.is_simulated(),
        "notes": view.report.machine.notes(),
        "goal": view.report.goal,
        "settings": candidates.len(),
        "profiles": tuned.profiles,
        "outcome": outcome(view.report),
        "stall_share": tuned.stall_share,
        "helped_by": {
            "time": tuned.outlook.predictor.helped_by()[0],
            "power": tuned.outlook.predictor.helped_by()[1],
        },
        "front": tuned.front.iter().map(|i| candidate(&candidates[*i])).collect::<Vec<_>>(),
        "maxn": tune_record::largest(candidates).map(|index| candidate(&candidates[index])),
        "presets": presets,
        "steps_per_epoch": view.report.size.steps_per_epoch,
        "steps": view.report.size.steps,
        "run_dir": view.run_dir,
        "kept": view.kept,
        "nvpmodel": view.nvpmodel,
        "records": records,
    });
    serde_json::to_string_pretty(&document)
        .map_err(|e| Failure::new(Kind::Internal, format!("cannot write JSON: {e}")))
}
