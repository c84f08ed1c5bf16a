//! The conversation between a tuner and whoever holds the machine and the job: asks, and answers that fit them.

use std::sync::Arc;

use footplate_core::ports::{Applied, ControlError, WindowReading, WorkError, WorkStep};
use footplate_core::record::ModePurpose;
use footplate_core::{PowerMode, Reading};

use super::errors::{AnswerError, NotKept, TuneError};
use super::tuned::{Purpose, Tuned};
use crate::drift::Verdict;
use crate::profiler::ProfileRecord;

/// What the holder of the machine and the job must do next. Each ask has one answer, named with it; until it is
/// given, [`Tuner::next`](super::Tuner::next) says the same again.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Set a power mode and read it back. Answer: [`Answer::Applied`].
    Apply {
        /// The mode to set.
        mode: PowerMode,
        /// For a measurement ([`ModePurpose::Profile`]), or to train in it from now on ([`ModePurpose::Train`]).
        purpose: ModePurpose,
    },
    /// Change the number of the loader's workers. Answer: [`Answer::Done`].
    SetWorkers(usize),
    /// Let time pass while the machine settles; the job may pause or go on. Answer: [`Answer::Done`].
    Wait {
        /// At least this long, in nanoseconds.
        ns: u64,
    },
    /// Make steps, each to its end on the device, in one stretch without anything between them (no validation, no
    /// checkpoint, if that can be had). Answer: [`Answer::Steps`].
    Steps {
        /// At least so many,
        min: u32,
        /// and for at least so long, in nanoseconds;
        time_min_ns: u64,
        /// at most so many.
        max: u32,
    },
    /// Train on as the job does by itself: nothing is measured but the time of each step. Answer: [`Answer::Steps`].
    Train {
        /// At least so many steps,
        steps_min: u32,
        /// and for at least so long, in nanoseconds.
        time_min_ns: u64,
    },
    /// Say what the sensors saw from one moment to another, both of them past, in nanoseconds of the clock that the
    /// steps were told on. Answer: [`Answer::Window`].
    Window {
        /// Beginning of the window.
        from_ns: u64,
        /// End of the window.
        to_ns: u64,
    },
    /// Keep a measurement, so that a tuner made anew can be told of it
    /// ([`Tuner::resume`](super::Tuner::resume)). Answer: [`Answer::Done`], or [`Answer::NotKept`].
    Keep {
        /// What was measured.
        record: Box<ProfileRecord>,
        /// Why it was measured.
        purpose: Purpose,
    },
    /// A search has ended: note its result. The tuner then sets the choice and asks to train; a holder that wanted
    /// the choice alone asks no further. Answer: [`Answer::Done`].
    Chosen {
        /// The result.
        tuned: Arc<Tuned>,
        /// Why a new plan was made; `None`: this is the first.
        because: Option<Verdict>,
    },
    /// Tell the user a sentence. Answer: [`Answer::Done`].
    Warn(String),
    /// The end: nothing more is asked, and the holder puts back the mode of before. There is no answer.
    Done(Result<(), TuneError>),
}

impl Ask {
    /// The name of this kind of ask.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "Apply",
            Self::SetWorkers(_) => "SetWorkers",
            Self::Wait { .. } => "Wait",
            Self::Steps { .. } => "Steps",
            Self::Train { .. } => "Train",
            Self::Window { .. } => "Window",
            Self::Keep { .. } => "Keep",
            Self::Chosen { .. } => "Chosen",
            Self::Warn(_) => "Warn",
            Self::Done(_) => "Done",
        }
    }
}

/// What became of an [`Ask`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Ask::Apply`]: what was read back, or why the mode cannot be set.
    Applied(Result<Applied, ControlError>),
    /// To [`Ask::Steps`] and [`Ask::Train`]: the steps that were made, in their order; or why there are none. An end
    /// of the job ([`WorkError`]) while it is trained is no failure: it ends the conversation.
    Steps(Result<Vec<WorkStep>, WorkError>),
    /// To [`Ask::Window`]: what the sensors saw.
    Window(WindowReading),
    /// To everything that gives nothing back: it is done.
    Done,
    /// To [`Ask::Keep`]: the record cannot be kept. It ends the conversation: a measurement that is lost is paid for
    /// and cannot be resumed from.
    NotKept(NotKept),
}

impl Answer {
    /// The name of this kind of answer.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Applied(_) => "Applied",
            Self::Steps(_) => "Steps",
            Self::Window(_) => "Window",
            Self::Done => "Done",
            Self::NotKept(_) => "NotKept",
        }
    }

    /// Whether this can be an answer to `ask`.
    pub(super) fn check(&self, ask: &Ask) -> Result<(), AnswerError> {
        match (ask, self) {
            (Ask::Done(_), _) => Err(AnswerError::Ended),
            (Ask::Apply { .. }, Self::Applied(_))
            | (Ask::SetWorkers(_) | Ask::Wait { .. } | Ask::Chosen { .. } | Ask::Warn(_), Self::Done)
            | (Ask::Keep { .. }, Self::Done | Self::NotKept(_)) => Ok(()),
            (Ask::Steps { .. } | Ask::Train { .. }, Self::Steps(result)) => {
                result.as_ref().map_or(Ok(()), |steps| check_steps(steps))
            }
            (Ask::Window { .. }, Self::Window(reading)) => check_window(reading),
            _ => Err(AnswerError::Unexpected { ask: ask.name(), answer: self.name() }),
        }
    }
}

fn check_steps(steps: &[WorkStep]) -> Result<(), AnswerError> {
    let wrong = |reason| Err(AnswerError::Steps { reason });
    if steps.windows(2).any(|pair| pair[1].end_ns < pair[0].end_ns) {
        return wrong("a step ends before the one ahead of it");
    }
    if steps.iter().any(|step| step.step_ns == 0) {
        return wrong("a step took no time");
    }
    Ok(())
}

fn check_window(reading: &WindowReading) -> Result<(), AnswerError> {
    let wrong = |quantity, value: f64| Err(AnswerError::Reading { quantity, value: value.to_string() });
    if let Reading::Value(total) = &reading.total {
        let quantities = [
            ("the mean power", total.mean_power_w.0),
            ("the energy", total.energy_j.0),
            ("the error of the energy", total.error_j.0),
        ];
        for (quantity, value) in quantities {
            if !value.is_finite() || value < 0.0 {
                return wrong(quantity, value);
            }
        }
    }
    match &reading.temperature_c {
        Reading::Value(celsius) if !celsius.0.is_finite() => wrong("the temperature", celsius.0),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::ports::WindowEnergy;
    use footplate_core::{Celsius, Joules, Watts};

    #[test]
    fn steps_that_cannot_be_are_refused() {
        let steps = |ends: &[(u64, u64)]| {
            let step = |&(end_ns, step_ns)| WorkStep { end_ns, step_ns, stall_ns: 0, items: 1 };
            Answer::Steps(Ok(ends.iter().map(step).collect()))
        };
        let ask = Ask::Train { steps_min: 1, time_min_ns: 1 };
        for (ends, good) in [
            (&[(10, 10), (20, 10)][..], true),
            (&[(10, 10), (10, 10)], true),
            (&[(20, 10), (10, 10)], false),
            (&[(10, 10), (20, 0)], false),
            (&[(10, u64::MAX)], true),
            (&[], true),
        ] {
            let checked = steps(ends).check(&ask);
            assert_eq!(checked.is_ok(), good, "{ends:?}: {checked:?}");
            assert!(good || matches!(checked, Err(AnswerError::Steps { .. })), "{checked:?}");
        }
    }

    #[test]
    fn readings_that_are_no_numbers_are_refused_by_name() {
        let reading = |mean: f64, energy: f64, error: f64, celsius: f64| {
            let total = WindowEnergy {
                energy_j: Joules(energy),
                error_j: Joules(error),
                coverage: 1.0,
                mean_power_w: Watts(mean),
                peak_power_w: Watts(mean),
                samples: 3,
            };
            Answer::Window(WindowReading {
                total: Reading::Value(total),
                rails: Vec::new(),
                temperature_c: Reading::Value(Celsius(celsius)),
                throttled: Vec::new(),
                simulated: false,
            })
        };
        let ask = Ask::Window { from_ns: 0, to_ns: 1 };
        assert_eq!(reading(0.0, 0.0, 0.0, -40.0).check(&ask), Ok(()));
        for (answer, text) in [
            (reading(f64::NAN, 1.0, 0.0, 20.0), "the mean power of the window is NaN, which cannot be"),
            (reading(-1.0, 1.0, 0.0, 20.0), "the mean power of the window is -1, which cannot be"),
            (reading(1.0, f64::INFINITY, 0.0, 20.0), "the energy of the window is inf, which cannot be"),
            (reading(1.0, 1.0, -0.5, 20.0), "the error of the energy of the window is -0.5, which cannot be"),
            (reading(1.0, 1.0, 0.0, f64::NAN), "the temperature of the window is NaN, which cannot be"),
        ] {
            assert_eq!(answer.check(&ask).unwrap_err().to_string(), text);
        }
    }
}
