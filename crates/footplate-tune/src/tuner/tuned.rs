//! The bounds of a tune and the result of its search.

use footplate_core::PowerMode;
use serde::Serialize;

use crate::choose::{Candidate, Choice, Infeasible, WouldDo};
use crate::drift::LookOptions;
use crate::pareto;
use crate::plan::{Outlook, Search, SearchOptions, Stop};
use crate::predict::{Estimate, Prediction};
use crate::profiler::{ProfileOptions, ProfileRecord};
use crate::setting::Setting;

/// Bounds of a tune.
#[derive(Clone, Debug, PartialEq)]
pub struct TuneOptions {
    /// Which settings are measured, and how many.
    pub search: SearchOptions,
    /// How long each measurement settles, warms up and counts.
    pub profile: ProfileOptions,
    /// All measurements of a search together end after this time; the one in progress is completed. `None`: no bound.
    pub profile_time_ns: Option<u64>,
    /// Of the looks at the job once it trains in the choice.
    pub look: LookOptions,
    /// Settings that a new plan may measure, beside the present one and the check of its choice.
    pub replan_profiles: usize,
}

impl Default for TuneOptions {
    fn default() -> Self {
        Self {
            search: SearchOptions::default(),
            profile: ProfileOptions::default(),
            profile_time_ns: None,
            look: LookOptions::default(),
            replan_profiles: 3,
        }
    }
}

/// Why a setting is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The search asked for it.
    Search,
    /// It is the choice, or may become it, and is checked.
    Verify,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The verified choice, or that there is none.
    pub outcome: Outcome,
    /// All that is known at the end.
    pub outlook: Outlook,
    /// Settings that no other beats in time and power together, as indices into the outlook's candidates.
    pub front: Vec<usize>,
    /// Settings that were measured, without verification.
    pub profiles: usize,
    /// Why the search ended; `None`: the time was up, the job ended, or too many modes failed.
    pub stop: Option<Stop>,
    /// Share of time that the choice waited for data, 0 to 1, in its last measurement; `None`: not known.
    pub stall_share: Option<f64>,
}

/// By how much another setting must be better than the present one to be worth a change in a running job.
const CHANGE_LEAST: f64 = 0.02;

impl Tuned {
    /// What `outlook` comes to at the end of a search. `records`: all that was measured or resumed from, in order.
    pub(super) fn new(
        search: &Search,
        outlook: Outlook,
        records: &[ProfileRecord],
        profiles: usize,
        stop: Option<Stop>,
        verified: bool,
    ) -> Self {
        let outcome = match (outlook.verified, outlook.best) {
            (Some(choice), _) => Outcome::Chosen { choice, verified },
            (None, Ok(choice)) => Outcome::Chosen { choice, verified: false },
            (None, Err(refusal)) => Outcome::Infeasible(refusal),
        };
        let stall_share = match outcome {
            Outcome::Chosen { choice, .. } => {
                let setting = search.space()[choice.index];
                records.iter().rev().find(|r| r.setting == setting).and_then(|r| r.stall_share)
            }
            Outcome::Infeasible(_) => None,
        };
        let front = front(search, &outlook);
        Self { outcome, outlook, front, profiles, stop, stall_share }
    }

    /// The chosen setting; `None`: no setting holds the limits.
    pub fn chosen(&self) -> Option<Setting> {
        self.choice().map(|candidate| candidate.setting)
    }

    /// The choice with what is known of it; `None`: no setting holds the limits.
    pub fn choice(&self) -> Option<&Candidate> {
        match &self.outcome {
            Outcome::Chosen { choice, .. } => self.outlook.candidates.get(choice.index),
            Outcome::Infeasible(_) => None,
        }
    }

    /// The same with `present` as the choice, if it holds the limits and is not worse by more than a trifle.
    pub(super) fn keeping(mut self, present: &Setting) -> Self {
        let goal = self.outlook.goal;
        let candidates = &self.outlook.candidates;
        let Outcome::Chosen { choice, .. } = &self.outcome else { return self };
        let Some(index) = candidates.iter().position(|c| c.setting == *present && c.measured) else {
            return self;
        };
        let prediction = &candidates[index].prediction;
        let probability = goal.probability(prediction);
        let holds = probability >= goal.confidence && goal.excess(prediction) <= 1.0;
        if let Some(objective) = goal.objective_of(prediction).filter(|_| holds)
            && objective.value <= choice.objective.value * (1.0 + CHANGE_LEAST)
        {
            let choice = Choice { index, objective, probability };
            self.outcome = Outcome::Chosen { choice, verified: true };
        }
        self
    }

    /// Why nothing was chosen, with the closest setting and a budget that would do; `None` after a choice.
    pub fn refusal_text(&self) -> Option<String> {
        let Outcome::Infeasible(refusal) = &self.outcome else { return None };
        let mut text = "no mode holds the limits".to_owned();
        if let Some(closest) = refusal.closest.and_then(|index| self.outlook.candidates.get(index)) {
            text += &format!("; the closest is {}", closest.brief());
        }
        let would = would_do_text(&refusal.would_do);
        if !would.is_empty() {
            text += &format!("; a budget that would do: {}", would.join(", "));
        }
        Some(text)
    }
}

/// The end of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A setting that holds the limits.
    Chosen {
        /// Which of the outlook's candidates, and how well it serves the goal.
        choice: Choice,
        /// Whether the last measurement was a verification (false: the job ended or the time was up before).
        verified: bool,
    },
    /// No setting holds the limits.
    Infeasible(Infeasible),
}

/// The front over the quantities that are known, without settings that cannot be had.
fn front(search: &Search, outlook: &Outlook) -> Vec<usize> {
    let indices: Vec<usize> = (0..outlook.candidates.len()).filter(|i| !search.is_forbidden(*i)).collect();
    let cost = |candidate: &Candidate| {
        let value = |e: Option<Estimate>| e.map_or(0.0, |e| e.value);
        let Prediction { time_s, power_w, .. } = candidate.prediction;
        [value(time_s), value(power_w)]
    };
    let costs: Vec<[f64; 2]> = indices.iter().map(|i| cost(&outlook.candidates[*i])).collect();
    pareto::front(&costs).into_iter().map(|i| indices[i]).collect()
}

/// What a mode would cost, such as MAXN or a preset; `None`: it is not in the space.
pub fn cost_of(outlook: &Outlook, mode: &PowerMode) -> Option<Candidate> {
    outlook.candidates.iter().find(|c| c.setting.mode == *mode).copied()
}

/// Limits that would do, in words; empty without any.
pub fn would_do_text(would: &WouldDo) -> Vec<String> {
    let mut texts = Vec::new();
    texts.extend(would.power_w.map(|w| format!("{w:.2} W")));
    texts.extend(would.time_s.map(|s| format!("{s:.4} s a step")));
    texts.extend(would.energy_j.map(|j| format!("{j:.3} J a step")));
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goal::{Goal, Limits, Objective};
    use crate::predict::Measurement;
    use footplate_core::Hertz;

    fn setting(i: u64) -> Setting {
        Setting::of(PowerMode { gpu_hz: Some(Hertz(i * 100_000_000)), ..PowerMode::default() })
    }

    /// What a search under `power_w` knows after each clock took these seconds and watts.
    fn tuned(power_w: f64, measured: &[(u64, f64, f64)]) -> Tuned {
        let limits = Limits { power_w: Some(power_w), ..Limits::default() };
        let goal = Goal { objective: Objective::Time, limits, confidence: 0.9 };
        let space = measured.iter().map(|m| setting(m.0)).collect();
        let mut search = Search::new(space, goal, SearchOptions::default());
        for (i, time, power) in measured {
            search.record(Measurement {
                setting: setting(*i),
                time_s: Some(*time),
                power_w: Some(*power),
                time_error: 0.001,
                power_error: 0.001,
                stall_share: None,
            });
        }
        let outlook = search.outlook();
        Tuned::new(&search, outlook, &[], measured.len(), None, false)
    }

    const CLOCKS: [(u64, f64, f64); 3] = [(4, 0.20, 5.0), (6, 0.15, 7.0), (10, 0.10, 10.0)];

    #[test]
    fn the_present_setting_stays_unless_another_is_better_by_two_percent() {
        let found = tuned(12.0, &CLOCKS);
        assert_eq!(found.chosen(), Some(setting(10)));
        assert_eq!(found.clone().keeping(&setting(6)).chosen(), Some(setting(10)));
        let close = tuned(12.0, &[(6, 0.1015, 7.0), (10, 0.10, 7.0)]);
        assert_eq!(close.chosen(), Some(setting(10)));
        let kept = close.keeping(&setting(6));
        assert_eq!(kept.chosen(), Some(setting(6)));
        assert!(matches!(kept.outcome, Outcome::Chosen { verified: true, .. }));
    }

    #[test]
    fn a_present_setting_that_breaks_a_limit_or_is_unknown_does_not_stay() {
        let close = tuned(8.0, &[(6, 0.1015, 9.0), (10, 0.10, 7.0)]);
        assert_eq!(close.clone().keeping(&setting(6)).chosen(), Some(setting(10)));
        assert_eq!(close.keeping(&setting(3)).chosen(), Some(setting(10)));
    }

    #[test]
    fn a_refusal_names_the_closest_and_a_budget_that_would_do() {
        let refused = tuned(3.0, &CLOCKS);
        assert_eq!((refused.chosen(), refused.choice()), (None, None));
        let text = refused.refusal_text().unwrap();
        assert!(text.starts_with("no mode holds the limits; the closest is "), "{text}");
        assert!(text.contains("5.00 W (measured); a budget that would do: 5.01 W"), "{text}");
        assert_eq!(refused.clone().keeping(&setting(4)).chosen(), None);
        assert_eq!(tuned(12.0, &CLOCKS).refusal_text(), None);
    }

    #[test]
    fn the_front_has_what_no_other_beats_and_costs_are_found_by_mode() {
        let found = tuned(12.0, &[(4, 0.20, 5.0), (5, 0.21, 6.0), (10, 0.10, 10.0)]);
        let front: Vec<Setting> = found.front.iter().map(|i| found.outlook.candidates[*i].setting).collect();
        assert_eq!(front, [setting(10), setting(4)]);
        let cost = cost_of(&found.outlook, &setting(5).mode).unwrap();
        assert!((cost.prediction.power_w.unwrap().value - 6.0).abs() < 1e-9 && cost.measured);
        assert_eq!(cost_of(&found.outlook, &setting(7).mode), None);
    }
}
