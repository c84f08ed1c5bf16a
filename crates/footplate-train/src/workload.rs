//! A run as a tuner sees it: the port `Workload` on real steps.
//!
//! The steps that a tuner asks for are the run's own: they are in its log, its checkpoints and its order like all
//! others, and the weights that come out are those of a run that was never measured.

use footplate_core::ports::{WorkError, WorkStep, Workload};

use crate::engine::{Ending, Session};
use crate::error::TrainError;

/// A run that makes steps when a tuner asks for them.
pub struct TrainingWorkload<'a> {
    session: Session<'a>,
    name: String,
    worker_choices: Vec<usize>,
    /// Why the run failed; a tuner sees only the words.
    error: Option<TrainError>,
}

impl<'a> TrainingWorkload<'a> {
    /// Lends a run to a tuner. `worker_choices`: numbers of the loader's workers that may be tried; empty: none.
    pub fn new(session: Session<'a>, worker_choices: Vec<usize>) -> Self {
        let settings = session.job().settings();
        let name = format!(
            "{}, batch {}, {} pixels, {}, {}",
            settings.model,
            settings.batch_size * settings.accumulate,
            settings.image_size,
            session.job().dataset().description(),
            session.job().device.name,
        );
        // Without workers from the start a pipeline stays without.
        let worker_choices = if settings.workers == 0 { Vec::new() } else { worker_choices };
        Self { session, name, worker_choices, error: None }
    }

    /// The run.
    pub fn session(&mut self) -> &mut Session<'a> {
        &mut self.session
    }

    /// Trains on without waiting for each step's end on the device, until there are `steps_min` steps and
    /// `time_min_ns` has passed; fewer at the end of the run.
    pub fn train(&mut self, steps_min: u32, time_min_ns: u64) -> Result<Vec<WorkStep>, WorkError> {
        let steps = self.make(steps_min, time_min_ns, u32::MAX).map_err(|error| self.failed(error))?;
        match self.session.ending() {
            Some(Ending::Interrupted) => Err(WorkError::Interrupted),
            Some(_) if steps.is_empty() => Err(WorkError::Finished),
            _ => Ok(steps),
        }
    }

    /// Takes the run back. The error is the one that ended it while it was lent.
    pub fn into_session(self) -> Result<Session<'a>, TrainError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.session),
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
        let begin_ns = self.session.clock().now_ns();
        let mut steps = Vec::new();
        while (steps.len() as u64) < u64::from(steps_max) {
            let elapsed = self.session.clock().now_ns() - begin_ns;
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

impl Workload for TrainingWorkload<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        if let Some(error) = &self.error {
            return Err(WorkError::Failed(error.to_string()));
        }
        self.session.wait_for_steps(true);
        let made = self.make(steps_min, time_min_ns, steps_max);
        self.session.wait_for_steps(false);
        let steps = made.map_err(|error| self.failed(error))?;
        match self.session.ending() {
            Some(Ending::Interrupted) => Err(WorkError::Interrupted),
            Some(_) if steps.is_empty() => Err(WorkError::Finished),
            _ => Ok(steps),
        }
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
