//! A run as whoever keeps and tunes it sees it: the ports `Workload` and `Steps` on real training steps.
//!
//! The steps that a tuner asks for are the run's own: they are in its log, its checkpoints and its order like all
//! others, and the weights that come out are those of a run that was never measured.

use footplate_core::ports::{WorkError, WorkStep, Workload};
use footplate_core::steps::{Ending, StepError, Steps, StepsEnd};

use crate::engine::Session;
use crate::error::TrainError;

/// A run that makes steps when it is asked for them.
pub(crate) struct TrainingSteps {
    session: Session,
    name: String,
    worker_choices: Vec<usize>,
    /// Why the run failed: whoever asks for steps sees only the words, and `finish` gives it whole.
    error: Option<TrainError>,
}

impl TrainingSteps {
    /// `worker_choices`: numbers of the loader's workers that may be tried; empty: none.
    pub(crate) fn new(session: Session, worker_choices: Vec<usize>) -> Self {
        let settings = session.job().settings();
        let name = format!(
            "{}, batch {}, {} pixels, {}, {}",
            settings.model,
            settings.batch_size * settings.accumulate,
            settings.image_size,
            session.job().dataset().description(),
            session.job().device.name,
        );
        Self { session, name, worker_choices, error: None }
    }

    /// Steps, or why there are none.
    fn asked(
        &mut self,
        steps_min: u32,
        time_min_ns: u64,
        steps_max: u32,
    ) -> Result<Vec<WorkStep>, WorkError> {
        if let Some(error) = &self.error {
            return Err(WorkError::Failed(error.to_string()));
        }
        let steps = self.make(steps_min, time_min_ns, steps_max).map_err(|error| self.failed(error))?;
        match self.session.ending() {
            Some(Ending::Interrupted) => Err(WorkError::Interrupted),
            Some(_) if steps.is_empty() => Err(WorkError::Finished),
            _ => Ok(steps),
        }
    }

    fn failed(&mut self, error: TrainError) -> WorkError {
        let words = error.to_string();
        self.error = Some(error);
        WorkError::Failed(words)
    }

    fn make(
        &mut self,
        steps_min: u32,
        time_min_ns: u64,
        steps_max: u32,
    ) -> Result<Vec<WorkStep>, TrainError> {
        let begin_ns = self.session.now_ns();
        let mut steps = Vec::new();
        while (steps.len() as u64) < u64::from(steps_max) {
            let elapsed = self.session.now_ns() - begin_ns;
            if steps.len() as u64 >= u64::from(steps_min) && elapsed >= time_min_ns {
                break;
            }
            match self.session.advance()? {
                Some(step) => steps.push(step),
                None => break,
            }
        }
        Ok(steps)
    }
}

impl Workload for TrainingSteps {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        self.session.wait_for_steps(true);
        let steps = self.asked(steps_min, time_min_ns, steps_max);
        self.session.wait_for_steps(false);
        steps
    }

    fn train(&mut self, steps_min: u32, time_min_ns: u64) -> Result<Vec<WorkStep>, WorkError> {
        self.asked(steps_min, time_min_ns, u32::MAX)
    }

    fn steps_left(&self) -> Option<u64> {
        Some(self.session.steps_left())
    }

    fn steps_per_epoch(&self) -> u64 {
        self.session.job().steps_per_epoch()
    }

    fn worker_choices(&self) -> &[usize] {
        &self.worker_choices
    }

    fn set_workers(&mut self, workers: usize) {
        if let Err(error) = self.session.set_workers(workers) {
            self.error = Some(error);
        }
    }
}

impl Steps for TrainingSteps {
    fn finish(self: Box<Self>) -> Result<StepsEnd, StepError> {
        if let Some(error) = self.error {
            return Err(error.into());
        }
        let outcome = self.session.finish()?;
        Ok(StepsEnd { ending: outcome.ending, steps: outcome.steps, bad_samples: outcome.bad_samples })
    }
}
