//! The result of a tune as the run log keeps it, and what a resumed run takes from there.

use footplate_core::power_mode::Preset;
use footplate_core::record::{Estimated, TunePoint, TuneRecord};
use footplate_tune::choose::Candidate;
use footplate_tune::goal::Goal;
use footplate_tune::predict::{Estimate, Prediction, Z90};
use footplate_tune::tuner::{Outcome, Tuned};
use footplate_tune::{Knobs, Setting};

use crate::words::goal_text;

/// The machine on which a tune was made.
#[derive(Clone, Debug)]
pub struct TunedOn {
    /// The vendor's named modes.
    pub presets: Vec<Preset>,
    /// Whether its figures come from a model.
    pub simulated: bool,
}

/// The record of a tune. `message`: what the user should know of it.
pub fn record(
    machine: &TunedOn,
    goal: &Goal,
    tuned: &Tuned,
    message: Option<String>,
    t_ns: u64,
) -> TuneRecord {
    let candidates = &tuned.outlook.candidates;
    let TunedOn { presets, simulated } = machine;
    let largest = largest(candidates);
    let (chosen, verified, probability) = match &tuned.outcome {
        Outcome::Chosen { choice, verified } => (Some(choice.index), *verified, Some(choice.probability)),
        Outcome::Infeasible(_) => (None, false, None),
    };
    let closest = match &tuned.outcome {
        Outcome::Infeasible(refusal) => refusal.closest,
        Outcome::Chosen { .. } => None,
    };
    let is_named = |i: usize| presets.iter().any(|p| p.mode == candidates[i].setting.mode);
    let is_shown = |i: &usize| {
        candidates[*i].measured
            || tuned.front.contains(i)
            || [chosen, closest, largest].contains(&Some(*i))
            || is_named(*i)
    };
    let shown: Vec<usize> = (0..candidates.len()).filter(is_shown).collect();
    let point = |i: &usize| TunePoint {
        on_front: tuned.front.contains(i),
        largest: largest == Some(*i),
        ..point(&candidates[*i], presets)
    };
    let limits = &tuned.outlook.goal.limits;
    TuneRecord {
        t_ns,
        goal: goal_text(goal),
        power_max_w: goal.limits.power_w,
        step_max_s: limits.time_s,
        energy_max_j: limits.energy_j,
        profiles: u32::try_from(tuned.profiles).unwrap_or(u32::MAX),
        points: shown.iter().map(point).collect(),
        space: candidates.len() as u64,
        choice: chosen.and_then(|i| shown.iter().position(|s| *s == i)),
        verified,
        probability,
        message: message.or_else(|| tuned.refusal_text()),
        simulated: *simulated,
    }
}

/// A candidate as a record shows it, but for its place among the others.
fn point(candidate: &Candidate, presets: &[Preset]) -> TunePoint {
    let mode = candidate.setting.mode;
    let named = presets.iter().filter(|preset| preset.mode == mode);
    TunePoint {
        mode,
        workers: candidate.setting.workers.and_then(|n| u32::try_from(n).ok()),
        presets: named.map(|preset| preset.name.clone()).collect(),
        measured: candidate.measured,
        on_front: false,
        largest: false,
        step_s: candidate.prediction.time_s.map(estimated),
        power_w: candidate.prediction.power_w.map(estimated),
        energy_j: candidate.prediction.energy_j.map(estimated),
    }
}

/// The candidate with every knob at its largest, as an index.
pub fn largest(candidates: &[Candidate]) -> Option<usize> {
    let settings: Vec<Setting> = candidates.iter().map(|candidate| candidate.setting).collect();
    let knobs = Knobs::of(&settings);
    let reach = |i: &usize| knobs.position(&knobs.point(&settings[*i])).iter().sum::<f64>();
    (0..candidates.len()).max_by(|a, b| reach(a).total_cmp(&reach(b)))
}

fn estimated(estimate: Estimate) -> Estimated {
    let (low90, high90) = estimate.interval90();
    Estimated { value: estimate.value, low90, high90 }
}

/// The choice of an earlier tune, and what is expected of it.
pub fn choice(record: &TuneRecord) -> Option<(Setting, Prediction)> {
    let point = record.points.get(record.choice?)?;
    let estimate = |e: Option<Estimated>| {
        let e = e.filter(|e| e.low90 > 0.0 && e.high90 >= e.low90)?;
        Some(Estimate { value: e.value, log_sd: (e.high90 / e.low90).ln() / (2.0 * Z90) })
    };
    let setting = Setting { mode: point.mode, batch_size: None, workers: point.workers.map(u64::from) };
    let expected = Prediction {
        time_s: estimate(point.step_s),
        power_w: estimate(point.power_w),
        energy_j: estimate(point.energy_j),
    };
    Some((setting, expected))
}
