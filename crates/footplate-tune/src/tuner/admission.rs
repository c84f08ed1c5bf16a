//! What a measurement does to a search beside being learned from: settings that it shows to be out of reach, too hot
//! or stuck are left out, with a word to the user.

use footplate_core::Reading;

use super::errors::TuneError;
use crate::goal::{Goal, Limits, Objective};
use crate::plan::Search;
use crate::profiler::ProfileRecord;
use crate::setting::{Knob, Setting};

/// Looks at a knob that stays where it is before it counts as stuck.
const STUCK_LOOKS: usize = 2;
/// By how much less than a mode that throttled another must draw.
const CAP_MARGIN: f64 = 0.03;

/// Decides which records a search may learn from, and leaves out what they show to be of no use.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    power_limit_w: Option<f64>,
    /// Modes that could not be used so far.
    failed_modes: usize,
    /// Knobs that did not go where they should: which, where it stayed, whether more was asked for.
    stuck: Vec<(Knob, f64, bool)>,
}

impl Admission {
    pub(super) fn new(goal: &Goal) -> Self {
        Self { power_limit_w: goal.limits.power_w, failed_modes: 0, stuck: Vec::new() }
    }

    pub(super) fn failed_modes(&self) -> usize {
        self.failed_modes
    }

    /// A mode could not be set.
    pub(super) fn refused(&mut self, search: &mut Search, setting: &Setting) {
        search.forbid(setting);
        self.failed_modes += 1;
    }

    /// Whether a record may be learned from; if not, its setting is left out. What the user should know is added to
    /// `words`.
    pub(super) fn admit(
        &mut self,
        search: &mut Search,
        record: &ProfileRecord,
        words: &mut Vec<String>,
    ) -> bool {
        words.extend(record.warnings.iter().map(|warning| format!("{}: {warning}", record.setting)));
        if record.got != record.setting.mode {
            words.push(format!("{} is left out: it was not taken", record.setting));
            self.refused(search, &record.setting);
            self.leave_out_stuck(search, record, words);
            return false;
        }
        if !record.throttled.is_empty() {
            let why = record.throttled.join("; ");
            words.push(format!("{} is left out: the machine throttled ({why})", record.setting));
            search.forbid_from(&record.setting);
            self.failed_modes += 1;
            self.cap(search, mean_power_w(record));
            return false;
        }
        let hot = search.goal().limits.temperature_c;
        if let (Some(limit), Some(seen)) = (hot, record.temperature_c.value())
            && *seen > limit
        {
            let setting = &record.setting;
            words.push(format!("{setting} is left out: {seen:.1} °C is above the limit of {limit:.1} °C"));
            search.forbid_from(setting);
            self.cap(search, mean_power_w(record));
            // The measurement itself is sound, and the model may learn from it.
        }
        true
    }

    /// A knob that stayed at the same value twice, when others were asked for, is taken to be stuck there: settings
    /// that would have it elsewhere on the same side are left out too. A search must not try them one by one.
    fn leave_out_stuck(&mut self, search: &mut Search, record: &ProfileRecord, words: &mut Vec<String>) {
        let got = Setting { mode: record.got, ..record.setting };
        for knob in Knob::ALL {
            let (Some(asked), Some(stays)) = (knob.value(&record.setting), knob.value(&got)) else {
                continue;
            };
            if asked == stays {
                continue;
            }
            let above = asked > stays;
            let before = self.stuck.iter().filter(|s| **s == (knob, stays, above)).count();
            self.stuck.push((knob, stays, above));
            if before + 1 == STUCK_LOOKS {
                let (name, side) = (knob.name(), if above { "above" } else { "below" });
                words
                    .push(format!("the {name} stays at {stays}: settings with one {side} that are left out"));
                search.forbid_where(|setting| {
                    knob.value(setting).is_some_and(|v| if above { v > stays } else { v < stays })
                });
            }
        }
    }

    /// A power that made the machine throttle or get too hot is too much: settings that would draw as much are left
    /// out by a limit. `None`: the power is not known, and there is none.
    pub(super) fn cap(&mut self, search: &mut Search, power_w: Option<f64>) {
        let Some(power_w) = power_w else { return };
        let power_w = power_w * (1.0 - CAP_MARGIN);
        let cap = self.power_limit_w.map_or(power_w, |limit| limit.min(power_w));
        self.power_limit_w = Some(cap);
        let goal = *search.goal();
        search.set_goal(Goal { limits: Limits { power_w: Some(cap), ..goal.limits }, ..goal });
    }
}

fn mean_power_w(record: &ProfileRecord) -> Option<f64> {
    record.power.value().map(|power| power.mean_w)
}

/// A goal that needs power ends with the first measurement that has none: later ones would not either, and a limit
/// that cannot be seen cannot be held.
pub(super) fn need_power(goal: &Goal, record: &ProfileRecord) -> Result<(), TuneError> {
    if !goal.needs_power() {
        return Ok(());
    }
    match &record.power {
        Reading::Value(_) => Ok(()),
        Reading::Absent => {
            let reason = "this machine has no sensor that footplate can read".to_owned();
            Err(TuneError::NoPower { reason })
        }
        Reading::Unreadable { reason } => Err(TuneError::NoPower { reason: reason.clone() }),
    }
}

/// Zeus' objective prices time at the machine's largest power: that of the first, largest setting, where nothing else
/// is known.
pub(super) fn price_time(search: &mut Search, record: &ProfileRecord) {
    let goal = *search.goal();
    if let (Objective::Zeus { eta, largest_power_w }, Some(mean_w)) = (goal.objective, mean_power_w(record))
        && largest_power_w <= 0.0
    {
        let objective = Objective::Zeus { eta, largest_power_w: mean_w };
        search.set_goal(Goal { objective, ..goal });
    }
}
