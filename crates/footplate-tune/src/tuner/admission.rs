//! What a measurement does to a search beside being learned from: settings that it shows to be out of reach, too hot
//! or stuck are left out, which is told to the user.

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
    /// `warnings`.
    pub(super) fn admit(
        &mut self,
        search: &mut Search,
        record: &ProfileRecord,
        warnings: &mut Vec<String>,
    ) -> bool {
        warnings.extend(record.warnings.iter().map(|warning| format!("{}: {warning}", record.setting)));
        if record.got != record.setting.mode {
            warnings.push(format!("{} is left out: it was not taken", record.setting));
            self.refused(search, &record.setting);
            self.leave_out_stuck(search, record, warnings);
            return false;
        }
        if !record.throttled.is_empty() {
            let why = record.throttled.join("; ");
            warnings.push(format!("{} is left out: the machine throttled ({why})", record.setting));
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
            warnings.push(format!("{setting} is left out: {seen:.1} °C is above the limit of {limit:.1} °C"));
            search.forbid_from(setting);
            self.cap(search, mean_power_w(record));
            // The measurement itself is sound, and the model may learn from it.
        }
        true
    }

    /// A knob that stayed at the same value twice, when others were asked for, is taken to be stuck there: settings
    /// that would have it elsewhere on the same side are left out too. A search must not try them one by one.
    fn leave_out_stuck(&mut self, search: &mut Search, record: &ProfileRecord, warnings: &mut Vec<String>) {
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
                warnings
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
            let reason = "this machine has none that footplate can read".to_owned();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SearchOptions;
    use crate::profiler::MeanPower;
    use footplate_core::{Hertz, PowerMode};

    const GOAL: Goal = Goal {
        objective: Objective::Time,
        limits: Limits {
            power_w: Some(9.0),
            time_s: None,
            energy_j: None,
            slowdown: None,
            temperature_c: Some(60.0),
        },
        confidence: 0.9,
    };

    fn mode(cores: u32, mhz: u64) -> PowerMode {
        PowerMode { cpu_cores: Some(cores), gpu_hz: Some(Hertz(mhz * 1_000_000)), ..PowerMode::default() }
    }

    /// Two counts of cores by four clocks.
    fn space() -> Vec<Setting> {
        [1, 2].iter().flat_map(|c| [100, 200, 300, 400].map(|mhz| Setting::of(mode(*c, mhz)))).collect()
    }

    fn record(asked: PowerMode, got: PowerMode) -> ProfileRecord {
        ProfileRecord {
            setting: Setting::of(asked),
            got,
            steps: 6,
            step_s: 0.1,
            step_error_s: 0.001,
            stall_share: None,
            items: 8.0,
            power: Reading::Value(MeanPower { mean_w: 8.0, error_w: 0.1, coverage: 1.0 }),
            temperature_c: Reading::Value(50.0),
            throttled: Vec::new(),
            warnings: Vec::new(),
            simulated: true,
            t_ns: 1,
            duration_ns: 1,
        }
    }

    /// Admits each record in turn; the indices that are left out afterwards, and what was said.
    fn admit(records: &[ProfileRecord]) -> (Vec<bool>, Vec<usize>, Vec<String>, Search) {
        let mut search = Search::new(space(), GOAL, SearchOptions::default());
        let (mut admission, mut warnings) = (Admission::new(&GOAL), Vec::new());
        let admitted = records.iter().map(|r| admission.admit(&mut search, r, &mut warnings)).collect();
        let out = (0..search.space().len()).filter(|i| search.is_forbidden(*i)).collect();
        (admitted, out, warnings, search)
    }

    #[test]
    fn a_sound_record_is_learned_from_and_its_warnings_are_told() {
        let warned = ProfileRecord { warnings: vec!["odd".into()], ..record(mode(1, 100), mode(1, 100)) };
        let (admitted, out, warnings, _) = admit(&[warned]);
        assert_eq!((admitted, out), (vec![true], Vec::new()));
        assert!(warnings.len() == 1 && warnings[0].ends_with(": odd"), "{warnings:?}");
    }

    #[test]
    fn a_knob_that_stays_twice_takes_its_side_of_the_space_along() {
        let once = record(mode(1, 400), mode(1, 200));
        let twice = record(mode(2, 300), mode(2, 200));
        let (admitted, out, ..) = admit(std::slice::from_ref(&once));
        assert_eq!((admitted, out), (vec![false], vec![3]));
        let (_, out, warnings, _) = admit(&[once.clone(), twice]);
        assert_eq!(out, [2, 3, 6, 7], "all clocks above 200 MHz");
        assert!(warnings.iter().any(|w| w.contains("the GPU clock stays at 200000000")), "{warnings:?}");
        // Another value, or the other side, is another matter.
        let other = record(mode(2, 100), mode(2, 200));
        assert_eq!(admit(&[once, other]).1, [3, 4]);
    }

    #[test]
    fn what_throttles_takes_all_that_is_larger_along_and_caps_the_power() {
        let hot =
            ProfileRecord { throttled: vec!["cooling state 2".into()], ..record(mode(1, 300), mode(1, 300)) };
        let (admitted, out, warnings, search) = admit(&[hot]);
        assert_eq!((admitted, out), (vec![false], vec![2, 3, 6, 7]));
        assert!(warnings[0].contains("the machine throttled (cooling state 2)"), "{warnings:?}");
        let cap = search.goal().limits.power_w.unwrap();
        assert!((cap - 8.0 * 0.97).abs() < 1e-12, "{cap}");
    }

    #[test]
    fn what_is_too_hot_is_learned_from_and_left_out_all_the_same() {
        let hot = ProfileRecord { temperature_c: Reading::Value(60.5), ..record(mode(2, 400), mode(2, 400)) };
        let (admitted, out, warnings, search) = admit(&[hot]);
        assert_eq!((admitted, out), (vec![true], vec![7]));
        assert!(warnings[0].contains("60.5 °C is above the limit of 60.0 °C"), "{warnings:?}");
        assert!(search.goal().limits.power_w < Some(9.0));
        let unknown = ProfileRecord { temperature_c: Reading::Absent, ..record(mode(2, 400), mode(2, 400)) };
        assert!(admit(&[unknown]).1.is_empty());
    }

    #[test]
    fn power_is_asked_for_where_the_goal_needs_it() {
        let dead =
            ProfileRecord { power: Reading::unreadable("errno 5"), ..record(mode(1, 100), mode(1, 100)) };
        let none = ProfileRecord { power: Reading::Absent, ..dead.clone() };
        let reason = |record| match need_power(&GOAL, record) {
            Err(TuneError::NoPower { reason }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&dead), "errno 5");
        assert!(reason(&none).contains("has none"));
        let timed = Goal { limits: Limits::default(), ..GOAL };
        assert_eq!(need_power(&timed, &dead), Ok(()));
    }

    #[test]
    fn zeus_prices_time_at_the_first_power_that_is_seen() {
        let zeus =
            |largest_power_w| Goal { objective: Objective::Zeus { eta: 0.5, largest_power_w }, ..GOAL };
        for (given, priced) in [(0.0, 8.0), (20.0, 20.0)] {
            let mut search = Search::new(space(), zeus(given), SearchOptions::default());
            price_time(&mut search, &record(mode(1, 100), mode(1, 100)));
            assert_eq!(search.goal().objective, zeus(priced).objective);
        }
    }
}
