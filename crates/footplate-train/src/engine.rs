//! The training loop, driven from outside a step at a time.

use footplate_core::ports::WorkStep;
use footplate_core::steps::Ending;
use footplate_data::Pipeline;

use crate::checkpoint::Best;
use crate::device::guarded;
use crate::error::TrainError;
use crate::job::Job;
use crate::run_context::RunContext;
use train_loop::{Tick, TrainLoop};

mod bad_samples;
mod epoch;
mod loss_scale;
#[cfg(test)]
mod tests;
mod times;
mod train_loop;

/// The end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended, if it did not fail.
    pub ending: Ending,
    /// Steps made over the whole run, those of earlier processes included.
    pub steps: u64,
    /// The best validation so far; `None` without any.
    pub best: Option<Best>,
    /// Samples that were left out because they are damaged or unreadable.
    pub bad_samples: u64,
}

/// Trains until the job's end or until it is asked to stop.
pub fn run(job: Job, context: RunContext) -> Result<Outcome, TrainError> {
    let mut session = Session::start(job, context)?;
    while session.advance()?.is_some() {}
    session.finish()
}

/// A run that is driven from outside, a step at a time: what [`run`] does is to drive it to its end.
pub struct Session {
    this: TrainLoop,
    /// `None`: there is nothing left to do.
    pipeline: Option<Pipeline>,
    ending: Option<Ending>,
}

impl Session {
    /// Starts the pipeline. The first step is made by the first [`Session::advance`].
    pub fn start(job: Job, context: RunContext) -> Result<Self, TrainError> {
        let mut this = TrainLoop::new(job, context)?;
        if this.job.progress.finished {
            return Ok(Self { this, pipeline: None, ending: Some(Ending::Completed) });
        }
        let pipeline = this.start_pipeline()?;
        Ok(Self { this, pipeline: Some(pipeline), ending: None })
    }

    /// Makes the next step, with all that is due before it (the end of an epoch) and after it (a checkpoint).
    /// `None`: the run is over, or was asked to stop.
    pub fn advance(&mut self) -> Result<Option<WorkStep>, TrainError> {
        let Some(pipeline) = self.pipeline.as_mut().filter(|_| self.ending.is_none()) else {
            return Ok(None);
        };
        let this = &mut self.this;
        match guarded(&this.job.device.clone(), this.job.settings.batch_size, || this.tick(pipeline))? {
            Tick::Step(step) => Ok(Some(step)),
            Tick::End(ending) => {
                self.ending = Some(ending);
                Ok(None)
            }
        }
    }

    /// The last checkpoint, and the end. A run that was not driven to its end can be resumed.
    pub fn finish(self) -> Result<Outcome, TrainError> {
        let ending = self.ending.unwrap_or(Ending::Interrupted);
        let this = self.this;
        guarded(&this.job.device.clone(), this.job.settings.batch_size, || this.finish(ending))
    }

    /// How the run ended; `None`: it goes on.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Whether each step is waited for to its end on the device: for measurements. What was asked of the device
    /// before is waited for at once.
    pub fn wait_for_steps(&mut self, waits: bool) {
        if waits && !self.this.waits {
            self.this.wait_for_device();
        }
        self.this.waits = waits;
    }

    /// Changes the number of the loader's workers; what minibatches hold does not depend on it.
    pub fn set_workers(&mut self, workers: usize) -> Result<(), TrainError> {
        match &mut self.pipeline {
            Some(pipeline) => Ok(pipeline.set_workers(workers)?),
            None => Ok(()),
        }
    }

    /// The job as it stands.
    pub fn job(&self) -> &Job {
        &self.this.job
    }

    /// Steps that remain of the whole run.
    pub fn steps_left(&self) -> u64 {
        self.this.steps_total.saturating_sub(self.this.job.progress.steps)
    }

    /// Nanoseconds on the clock of its records and steps.
    pub(crate) fn now_ns(&self) -> u64 {
        self.this.context.now_ns()
    }
}
