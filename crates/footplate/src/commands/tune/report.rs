//! What a tune came to, as text and as JSON.

use std::path::Path;

use footplate_core::Reading;
use footplate_tune::choose::{Candidate, duration_text as duration};
use footplate_tune::goal::{Goal, Objective};
use footplate_tune::predict::Estimate;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::{Outcome, Purpose, Tuned, cost_of};
use footplate_tune::{Knobs, Setting};
use serde_json::{Value, json};

use super::machine::Machine;
use super::{JobSize, presets_in};
use crate::failure::{Failure, Kind};

/// Rows of the front that the text shows.
const FRONT_ROWS: usize = 16;

/// What is reported of.
pub(crate) struct View<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) size: JobSize,
    pub(crate) goal: &'a Goal,
    pub(crate) tuned: &'a Tuned,
    pub(crate) records: &'a [(ProfileRecord, Purpose)],
    pub(crate) kept: bool,
    pub(crate) nvpmodel: Option<&'a str>,
    /// The run whose steps were measured.
    pub(crate) run_dir: Option<&'a Path>,
}

/// A goal in words.
pub(crate) fn goal_text(goal: &Goal) -> String {
    let objective = match goal.objective {
        Objective::Time => "least time".to_owned(),
        Objective::Energy => "least energy".to_owned(),
        Objective::Power => "least power".to_owned(),
        Objective::Zeus { eta, .. } => format!("least {eta} × energy + {} × power × time", 1.0 - eta),
    };
    let limits = &goal.limits;
    let mut parts = Vec::new();
    parts.extend(limits.power_w.map(|w| format!("at most {w} W")));
    parts.extend(limits.time_s.map(|s| format!("at most {} a step", duration(s))));
    parts.extend(limits.energy_j.map(|j| format!("at most {j:.4} J a step")));
    parts.extend(limits.slowdown.map(|s| format!("at most {:.0} % slower than the fastest", 100.0 * s)));
    parts.extend(limits.temperature_c.map(|c| format!("at most {c} °C")));
    if parts.is_empty() {
        objective
    } else {
        format!("{objective} with {} ({:.0} % sure)", parts.join(", "), 100.0 * goal.confidence)
    }
}

/// The knobs of a space in words.
pub(crate) fn knobs_text(space: &[Setting]) -> String {
    let names: Vec<&str> = Knobs::of(space).varying().map(footplate_tune::Knob::name).collect();
    if names.is_empty() { "no knob".to_owned() } else { names.join(", ") }
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
    let tuned = view.tuned;
    let candidates = &tuned.outlook.candidates;
    let mut lines = Vec::new();
    if view.machine.simulated {
        lines.push(format!("{}: all figures are simulated or from a table", view.machine.name));
    }
    lines.push(format!("front of time and power ({} settings; figures for one step)", tuned.front.len()));
    let every = tuned.front.len().div_ceil(FRONT_ROWS).max(1);
    let shown = tuned.front.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == tuned.front.len());
    lines.extend(shown.map(|(_, index)| row("", &candidates[*index])));
    lines.push(String::new());
    let presets = view.machine.presets();
    if let Some(largest) = largest(candidates) {
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
    let tuned = view.tuned;
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
                let (epoch, all) = (view.size.steps_per_epoch, view.size.steps);
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
    if let Some(regret) = regret(view) {
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

/// By how much the choice exceeds the table's best under the same limits; `None` without a table.
fn regret(view: &View) -> Option<f64> {
    let Outcome::Chosen { choice, .. } = &view.tuned.outcome else { return None };
    let goal = &view.tuned.outlook.goal;
    let score = |time_s: f64, power_w: Option<f64>| {
        let exact = |value: f64| Estimate { value, log_sd: 0.0 };
        let prediction = footplate_tune::predict::Prediction {
            time_s: Some(exact(time_s)),
            power_w: power_w.map(exact),
            energy_j: power_w.map(|p| exact(p * time_s)),
        };
        let holds = goal.excess(&prediction) <= 1.0;
        goal.objective_of(&prediction).filter(|_| holds).map(|e| e.value)
    };
    let best = view.machine.true_best(score)?;
    Some(100.0 * (choice.objective.value / best - 1.0))
}

fn settings(candidates: &[Candidate]) -> Vec<Setting> {
    candidates.iter().map(|c| c.setting).collect()
}

/// The setting with every knob at its largest.
fn largest(candidates: &[Candidate]) -> Option<&Candidate> {
    let knobs = Knobs::of(&settings(candidates));
    let sum = |c: &Candidate| knobs.position(&knobs.point(&c.setting)).iter().sum::<f64>();
    candidates.iter().max_by(|a, b| sum(a).total_cmp(&sum(b)))
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

/// The report for programs.
pub(crate) fn json(view: &View) -> Result<String, Failure> {
    let tuned = view.tuned;
    let candidates = &tuned.outlook.candidates;
    let presets: Vec<Value> = presets_in(view.machine.presets(), &settings(candidates))
        .into_iter()
        .map(|(preset, _)| {
            let cost = cost_of(&tuned.outlook, &preset.mode).as_ref().map(candidate);
            json!({"name": preset.name, "mode": preset.mode, "cost": cost})
        })
        .collect();
    let outcome = match &tuned.outcome {
        Outcome::Chosen { choice, verified } => json!({
            "feasible": true,
            "verified": verified,
            "probability": choice.probability,
            "choice": candidate(&candidates[choice.index]),
            "regret_pct": regret(view),
        }),
        Outcome::Infeasible(refusal) => json!({
            "feasible": false,
            "probability": refusal.probability,
            "closest": refusal.closest.map(|index| candidate(&candidates[index])),
            "would_do": refusal.would_do,
        }),
    };
    let records: Vec<Value> =
        view.records.iter().map(|(record, purpose)| json!({"purpose": purpose, "profile": record})).collect();
    let document = json!({
        "machine": view.machine.name,
        "simulated": view.machine.simulated,
        "notes": view.machine.notes,
        "goal": view.goal,
        "settings": candidates.len(),
        "profiles": tuned.profiles,
        "outcome": outcome,
        "stall_share": tuned.stall_share,
        "helped_by": {
            "time": tuned.outlook.predictor.helped_by()[0],
            "power": tuned.outlook.predictor.helped_by()[1],
        },
        "front": tuned.front.iter().map(|i| candidate(&candidates[*i])).collect::<Vec<_>>(),
        "maxn": largest(candidates).map(candidate),
        "presets": presets,
        "steps_per_epoch": view.size.steps_per_epoch,
        "steps": view.size.steps,
        "run_dir": view.run_dir,
        "kept": view.kept,
        "nvpmodel": view.nvpmodel,
        "records": records,
    });
    serde_json::to_string_pretty(&document)
        .map_err(|e| Failure::new(Kind::Internal, format!("cannot write JSON: {e}")))
}
