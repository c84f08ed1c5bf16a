//! A job that trains in the chosen setting, as states: train for a while, read the sensors, compare with what was
//! expected.

use footplate_core::ports::WorkStep;

use super::ask::{Answer, Ask};
use crate::drift::{Action, LookOptions, Replanner};
use crate::setting::Setting;
use crate::window::WindowStats;

/// A job in training and the looks at it.
#[derive(Clone, Debug)]
pub(super) struct Training {
    /// What is set.
    pub(super) present: Setting,
    pub(super) replanner: Replanner,
    look: LookOptions,
    /// Steps whose window is to be read; empty: steps are to be made.
    steps: Vec<WorkStep>,
}

/// What came of an answer.
pub(super) enum Event {
    /// A look was completed.
    Looked(Action, Box<WindowStats>),
    /// The job has ended, was interrupted, or failed.
    JobOver,
}

impl Training {
    pub(super) fn new(present: Setting, replanner: Replanner, look: LookOptions) -> Self {
        Self { present, replanner, look, steps: Vec::new() }
    }

    pub(super) fn ask(&self) -> Ask {
        match WindowStats::span(&self.steps) {
            Some((from_ns, to_ns)) => Ask::Window { from_ns, to_ns },
            None => {
                let LookOptions { steps_min, time_min_ns } = self.look;
                Ask::Train { steps_min, time_min_ns }
            }
        }
    }

    /// Takes the answer to what was asked. `None`: the look goes on.
    pub(super) fn take(&mut self, answer: Answer) -> Option<Event> {
        match answer {
            Answer::Steps(Ok(steps)) => {
                self.steps = steps;
                None
            }
            Answer::Steps(Err(_)) => Some(Event::JobOver),
            Answer::Window(reading) => {
                let stats = WindowStats::of(&std::mem::take(&mut self.steps), reading)?;
                let throttled = !stats.throttled.is_empty();
                let action = self.replanner.look(stats.step_s, stats.step_power_w(), throttled);
                Some(Event::Looked(action, Box::new(stats)))
            }
            Answer::Applied(_) | Answer::Done | Answer::NotKept(_) => None,
        }
    }
}
