//! One measurement of one setting, as states: set, read back, retry, settle, warm up, make steps in an unbroken
//! stretch, read the sensors.

use footplate_core::ports::{Applied, ControlError, Recovery, WindowReading, WorkError, WorkStep};
use footplate_core::record::ModePurpose;

use super::ask::{Answer, Ask};
use crate::profiler::{ProfileError, ProfileOptions, ProfileRecord};
use crate::setting::Setting;
use crate::window::{OUTLIER, WindowStats};

/// Tries to set one mode.
const TRIES: u32 = 3;
/// Pause between them.
const RETRY_NS: u64 = 200_000_000;
/// Times that steps are made for one setting until a stretch of them has no pause in it.
const STRETCHES: u32 = 2;
/// More than this share of a step's time between two steps is a pause.
const PAUSE: f64 = 0.5;

/// A measurement in progress. [`Measuring::ask`] says what its present state needs, [`Measuring::take`] goes on to
/// the next.
#[derive(Clone, Debug)]
pub(super) struct Measuring {
    setting: Setting,
    options: ProfileOptions,
    begin_ns: u64,
    /// What was read back, once a mode is set.
    applied: Option<Applied>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Applying {
        tries: u32,
    },
    Pausing {
        tries: u32,
    },
    SettingWorkers(usize),
    Settling,
    WarmingUp,
    Stepping {
        made: u32,
        longest: Vec<WorkStep>,
    },
    Reading {
        steps: Vec<WorkStep>,
        /// No stretch was long enough.
        broken: bool,
    },
}

/// What a measurement gave, or why it gave nothing.
pub(super) type Measured = Result<Box<ProfileRecord>, ProfileError>;

impl Measuring {
    /// A measurement that begins now. The sensors must see at least `options.time_min_ns`.
    pub(super) fn new(setting: Setting, options: ProfileOptions, now_ns: u64) -> Self {
        Self { setting, options, begin_ns: now_ns, applied: None, state: State::Applying { tries: 0 } }
    }

    pub(super) fn ask(&self) -> Ask {
        let ProfileOptions { settle_ns, warmup_steps, steps_min, time_min_ns, steps_max } = self.options;
        match &self.state {
            State::Applying { .. } => Ask::Apply { mode: self.setting.mode, purpose: ModePurpose::Profile },
            State::Pausing { .. } => Ask::Wait { ns: RETRY_NS },
            State::SettingWorkers(workers) => Ask::SetWorkers(*workers),
            State::Settling => Ask::Wait { ns: settle_ns },
            State::WarmingUp => Ask::Steps { min: warmup_steps, time_min_ns: 0, max: warmup_steps },
            State::Stepping { .. } => Ask::Steps { min: steps_min, time_min_ns, max: steps_max },
            State::Reading { steps, .. } => {
                let (from_ns, to_ns) = WindowStats::span(steps).unwrap_or_default();
                Ask::Window { from_ns, to_ns }
            }
        }
    }

    /// Takes the answer to what was asked. `None`: the measurement goes on. Of an answer to something else nothing
    /// becomes.
    pub(super) fn take(&mut self, answer: Answer) -> Option<Measured> {
        match (&mut self.state, answer) {
            (State::Applying { tries }, Answer::Applied(result)) => {
                let tries = *tries + 1;
                match result {
                    Ok(applied) => self.begin_work(applied),
                    Err(error) => return self.refused(error, tries).map(Err),
                }
            }
            (State::Pausing { tries }, Answer::Done) => self.state = State::Applying { tries: *tries },
            (State::SettingWorkers(_), Answer::Done) => self.state = State::Settling,
            (State::Settling, Answer::Done) if self.options.warmup_steps > 0 => {
                self.state = State::WarmingUp;
            }
            (State::Settling, Answer::Done) | (State::WarmingUp, Answer::Steps(Ok(_))) => {
                self.state = State::Stepping { made: 0, longest: Vec::new() };
            }
            (State::WarmingUp, Answer::Steps(Err(error))) => return Some(Err(error.into())),
            (State::Stepping { .. }, Answer::Steps(result)) => return self.stepped(result).map(Err),
            (State::Reading { .. }, Answer::Window(reading)) => return Some(self.record(reading)),
            _ => {}
        }
        None
    }

    fn begin_work(&mut self, applied: Applied) {
        self.applied = Some(applied);
        self.state = match self.setting.workers {
            Some(workers) => State::SettingWorkers(usize::try_from(workers).unwrap_or(usize::MAX)),
            None => State::Settling,
        };
    }

    /// The mode was not set for the `tries`th time: once more after a pause, or not at all.
    fn refused(&mut self, error: ControlError, tries: u32) -> Option<ProfileError> {
        match error.recovery {
            Recovery::Retry if tries < TRIES => {
                self.state = State::Pausing { tries };
                None
            }
            Recovery::Retry | Recovery::NextMode => {
                Some(ProfileError::Mode { setting: Box::new(self.setting), source: error })
            }
            Recovery::Fatal => Some(ProfileError::Control(error)),
        }
    }

    /// Steps in one stretch that nothing else came into: the power of an evaluation is not that of a step. A stretch
    /// that is too short is tried for once more; the longer one counts then, which is told.
    fn stepped(&mut self, result: Result<Vec<WorkStep>, WorkError>) -> Option<ProfileError> {
        let State::Stepping { made, longest } = &mut self.state else { return None };
        let steps = match result {
            Ok(steps) => steps,
            Err(WorkError::Finished) if !longest.is_empty() => {
                self.state = State::Reading { steps: std::mem::take(longest), broken: true };
                return None;
            }
            Err(error) => return Some(error.into()),
        };
        let stretch = longest_stretch(&steps);
        let whole = stretch.len() == steps.len();
        if spent_ns(stretch) >= spent_ns(longest) {
            *longest = stretch.to_vec();
        }
        *made += 1;
        let (least, least_ns) = (self.options.steps_min as usize, self.options.time_min_ns);
        let enough = whole || (longest.len() >= least && spent_ns(longest) >= least_ns);
        if enough || *made >= STRETCHES {
            if longest.is_empty() {
                return Some(WorkError::Finished.into());
            }
            self.state = State::Reading { steps: std::mem::take(longest), broken: !enough };
        }
        None
    }

    fn record(&mut self, reading: WindowReading) -> Measured {
        let State::Reading { steps, broken } = &self.state else { return Err(WorkError::Finished.into()) };
        let (Some(applied), Some((_, to_ns))) = (self.applied.take(), WindowStats::span(steps)) else {
            return Err(WorkError::Finished.into());
        };
        let stats = WindowStats::of(steps, reading).ok_or(WorkError::Finished)?;
        let mut record = record_of(self.setting, applied, stats, (self.begin_ns, to_ns));
        if *broken {
            let message = "no stretch without a pause (a validation, a checkpoint) was long enough: a shorter one counts";
            record.warnings.push(message.to_owned());
        }
        Ok(Box::new(record))
    }
}

/// The record of a measurement that began at `begin_ns` and ended at `t_ns`.
fn record_of(
    setting: Setting,
    applied: Applied,
    stats: WindowStats,
    (begin_ns, t_ns): (u64, u64),
) -> ProfileRecord {
    let mut warnings = applied.warnings;
    if applied.got != applied.asked {
        warnings.push(format!("asked for {}, got {}", applied.asked, applied.got));
    }
    if stats.counted < stats.steps {
        let count = stats.steps - stats.counted;
        warnings.push(format!("{count} of {} steps took over {OUTLIER} medians: left out", stats.steps));
    }
    ProfileRecord {
        setting,
        got: applied.got,
        steps: u32::try_from(stats.counted).unwrap_or(u32::MAX),
        step_s: stats.step_s,
        step_error_s: stats.step_error_s,
        stall_share: stats.stall_share,
        items: stats.items,
        power: stats.power,
        temperature_c: stats.temperature_c,
        throttled: stats.throttled,
        warnings,
        simulated: stats.simulated,
        t_ns,
        duration_ns: t_ns.saturating_sub(begin_ns),
    }
}

fn spent_ns(steps: &[WorkStep]) -> u64 {
    steps.iter().fold(0, |sum, step| sum.saturating_add(step.step_ns))
}

/// The longest run of steps of which each begins where the one before ended, but for a small share of its time.
fn longest_stretch(steps: &[WorkStep]) -> &[WorkStep] {
    let mut cuts = vec![0];
    for (index, pair) in steps.windows(2).enumerate() {
        let pause = pair[1].end_ns.saturating_sub(pair[1].step_ns).saturating_sub(pair[0].end_ns);
        if pause as f64 > PAUSE * pair[1].step_ns.max(pair[0].step_ns) as f64 {
            cuts.push(index + 1);
        }
    }
    cuts.push(steps.len());
    let parts = cuts.windows(2).map(|cut| &steps[cut[0]..cut[1]]);
    parts.max_by_key(|part| spent_ns(part)).unwrap_or(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::{PowerMode, Reading};

    fn steps(ends: &[(u64, u64)]) -> Vec<WorkStep> {
        let step = |&(end_ns, step_ns)| WorkStep { end_ns, step_ns, stall_ns: 0, items: 1 };
        ends.iter().map(step).collect()
    }

    #[test]
    fn a_pause_cuts_and_the_longer_part_counts() {
        let all = steps(&[(10, 10), (20, 10), (90, 10), (101, 10), (111, 10), (300, 10)]);
        let stretch = longest_stretch(&all);
        assert_eq!(stretch.iter().map(|s| s.end_ns).collect::<Vec<_>>(), [90, 101, 111]);
        assert_eq!(longest_stretch(&[]), []);
    }

    fn refusal(recovery: Recovery) -> Answer {
        let error = ControlError { recovery, permission: false, message: "busy".into() };
        Answer::Applied(Err(error))
    }

    fn applied() -> Answer {
        let (asked, got) = (PowerMode::default(), PowerMode::default());
        Answer::Applied(Ok(Applied { asked, got, warnings: Vec::new() }))
    }

    fn window() -> Answer {
        Answer::Window(WindowReading {
            total: Reading::Absent,
            rails: Vec::new(),
            temperature_c: Reading::Absent,
            throttled: Vec::new(),
            simulated: true,
        })
    }

    const OPTIONS: ProfileOptions =
        ProfileOptions { settle_ns: 5, warmup_steps: 1, steps_min: 3, time_min_ns: 30, steps_max: 100 };

    /// Gives the answers in turn; the names of what was asked, and how it ended.
    fn converse(setting: Setting, options: ProfileOptions, answers: &[Answer]) -> (String, Option<Measured>) {
        let mut measuring = Measuring::new(setting, options, 0);
        let mut asked = Vec::new();
        for answer in answers {
            asked.push(measuring.ask().name());
            if let Some(measured) = measuring.take(answer.clone()) {
                return (asked.join(" "), Some(measured));
            }
        }
        (asked.join(" "), None)
    }

    #[test]
    fn a_busy_control_is_asked_three_times_in_all() {
        let (retry, setting) = (refusal(Recovery::Retry), Setting::default());
        let (asked, end) =
            converse(setting, OPTIONS, &[retry.clone(), Answer::Done, applied(), Answer::Done]);
        assert_eq!((asked.as_str(), end), ("Apply Wait Apply Wait", None));
        let thrice = [retry.clone(), Answer::Done, retry.clone(), Answer::Done, retry];
        let (asked, end) = converse(setting, OPTIONS, &thrice);
        assert_eq!(asked, "Apply Wait Apply Wait Apply");
        assert!(matches!(end, Some(Err(ProfileError::Mode { .. }))), "{end:?}");
    }

    #[test]
    fn another_refusal_ends_the_measurement_at_once() {
        let (asked, end) = converse(Setting::default(), OPTIONS, &[refusal(Recovery::NextMode)]);
        assert!(matches!(end, Some(Err(ProfileError::Mode { .. }))) && asked == "Apply", "{end:?}");
        let (_, end) = converse(Setting::default(), OPTIONS, &[refusal(Recovery::Fatal)]);
        assert!(matches!(end, Some(Err(ProfileError::Control(_)))), "{end:?}");
    }

    #[test]
    fn a_whole_measurement_sets_settles_warms_up_and_reads() {
        let setting = Setting { workers: Some(3), ..Setting::default() };
        let made = steps(&[(10, 10), (20, 10), (30, 10)]);
        let answers = [
            applied(),
            Answer::Done,
            Answer::Done,
            Answer::Steps(Ok(steps(&[(1, 1)]))),
            Answer::Steps(Ok(made)),
            window(),
        ];
        let (asked, end) = converse(setting, OPTIONS, &answers);
        assert_eq!(asked, "Apply SetWorkers Wait Steps Steps Window");
        let record = end.unwrap().unwrap();
        assert_eq!((record.steps, record.t_ns, record.duration_ns), (3, 30, 30));
        assert!((record.step_s - 1e-8).abs() < 1e-15);
        assert_eq!((record.warnings.len(), record.setting), (0, setting));
        // Without warm-up steps none are asked for.
        let options = ProfileOptions { warmup_steps: 0, ..OPTIONS };
        let answers = [applied(), Answer::Done, Answer::Steps(Ok(steps(&[(10, 30)])))];
        let (asked, _) = converse(Setting::default(), options, &answers);
        assert_eq!(asked, "Apply Wait Steps");
    }

    /// Steps with a pause in the middle, of which neither part is long enough.
    fn broken() -> Answer {
        Answer::Steps(Ok(steps(&[(10, 10), (20, 10), (90, 10)])))
    }

    #[test]
    fn a_broken_stretch_is_tried_once_more_and_then_told() {
        let start = [applied(), Answer::Done, Answer::Steps(Ok(steps(&[(1, 1)])))];
        for (second, count) in [(broken(), 2), (Answer::Steps(Err(WorkError::Finished)), 2)] {
            let answers = [&start[..], &[broken(), second, window()]].concat();
            let (asked, end) = converse(Setting::default(), OPTIONS, &answers);
            assert_eq!(asked, "Apply Wait Steps Steps Steps Window");
            let record = end.unwrap().unwrap();
            assert_eq!(record.steps, count);
            assert!(record.warnings[0].contains("without a pause"), "{:?}", record.warnings);
        }
        let whole = Answer::Steps(Ok(steps(&[(110, 10), (120, 10), (130, 10)])));
        let answers = [&start[..], &[broken(), whole, window()]].concat();
        let record = converse(Setting::default(), OPTIONS, &answers).1.unwrap().unwrap();
        assert_eq!((record.steps, record.warnings.len()), (3, 0));
    }

    #[test]
    fn a_job_that_ends_or_fails_gives_no_measurement() {
        for error in [WorkError::Finished, WorkError::Interrupted, WorkError::Failed("lost".into())] {
            let gone = Answer::Steps(Err(error.clone()));
            let warm = Answer::Steps(Ok(steps(&[(1, 1)])));
            for answers in [vec![gone.clone()], vec![warm, gone]] {
                let answers = [&[applied(), Answer::Done][..], &answers].concat();
                let (_, end) = converse(Setting::default(), OPTIONS, &answers);
                assert_eq!(end, Some(Err(ProfileError::Work(error.clone()))));
            }
        }
    }

    #[test]
    fn a_mode_that_is_not_taken_and_odd_steps_are_told_in_the_record() {
        let got = PowerMode { cpu_cores: Some(2), ..PowerMode::default() };
        let asked = PowerMode { cpu_cores: Some(4), ..PowerMode::default() };
        let taken = Answer::Applied(Ok(Applied { asked, got, warnings: vec!["slow to settle".into()] }));
        let made = steps(&[(10, 10), (20, 10), (30, 10), (130, 100)]);
        let options = ProfileOptions { warmup_steps: 0, ..OPTIONS };
        let answers = [taken, Answer::Done, Answer::Steps(Ok(made)), window()];
        let record = converse(Setting::of(asked), options, &answers).1.unwrap().unwrap();
        assert!(!record.is_sound());
        let warnings = record.warnings.join("; ");
        for part in ["slow to settle", "asked for 4 cores, got 2 cores", "1 of 4 steps took over 4 medians"] {
            assert!(warnings.contains(part), "{part}: {warnings}");
        }
    }
}
