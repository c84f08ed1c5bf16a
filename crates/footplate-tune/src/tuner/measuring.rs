//! One measurement of one setting, as states: set, read back, retry, settle, warm up, make steps in an unbroken
//! stretch, read the sensors.

use footplate_core::ports::{Applied, ControlError, Recovery, WindowReading, WorkError, WorkStep};
use footplate_core::record::ModePurpose;

use super::ask::{Answer, Ask};
use crate::profiler::{ProfileError, ProfileOptions, ProfileRecord};
use crate::setting::Setting;
use crate::window::WindowStats;

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
        let mut record = ProfileRecord::new(self.setting, applied, stats, (self.begin_ns, to_ns));
        if *broken {
            let message = "no stretch without a pause (a validation, a checkpoint) was long enough: a shorter one counts";
            record.warnings.push(message.to_owned());
        }
        Ok(Box::new(record))
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
}
