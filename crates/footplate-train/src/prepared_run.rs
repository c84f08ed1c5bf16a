//! A run that is ready for its first step, or for the next one of an earlier process.

use footplate_core::steps::{JobFacts, StepContext, StepError, StepJob, Steps};
use footplate_data::Split;

use crate::checkpoint::CheckpointStore;
use crate::engine::Session;
use crate::error::TrainError;
use crate::job::Job;
use crate::memory::MemoryPlan;
use crate::run_context::RunContext;
use crate::training_steps::TrainingSteps;

/// A run that is ready for its first step, or for the next one of an earlier process.
///
/// Whoever keeps the run drives it as a [`StepJob`]; [`PreparedRun::session`] drives it by hand.
pub struct PreparedRun {
    job: Job,
    memory: MemoryPlan,
    warnings: Vec<String>,
    cores: usize,
    settings_toml: String,
}

impl PreparedRun {
    pub(crate) fn new(
        job: Job,
        memory: MemoryPlan,
        warnings: Vec<String>,
        cores: usize,
    ) -> Result<Self, TrainError> {
        let settings_toml = job.settings().to_toml()?;
        Ok(Self { job, memory, warnings, cores, settings_toml })
    }

    /// What it trains, and where it stands.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What it will need of memory.
    pub fn memory(&self) -> &MemoryPlan {
        &self.memory
    }

    /// Starts it. The first step is made by the first [`Session::advance`].
    pub fn session(self, context: RunContext) -> Result<Session, TrainError> {
        Session::start(self.job, context)
    }

    /// Numbers of the loader's workers that are worth trying: up to the cores that this process may use. None for a
    /// pipeline that began without workers, which stays without.
    fn worker_choices(&self) -> Vec<usize> {
        let settings = self.job.settings();
        match settings.workers {
            0 => Vec::new(),
            _ => (1..=settings.workers_max.unwrap_or(self.cores).max(1)).collect(),
        }
    }
}

impl StepJob for PreparedRun {
    fn facts(&self) -> JobFacts {
        let (job, settings) = (&self.job, self.job.settings());
        JobFacts {
            model: settings.model.clone(),
            device: job.device.description(),
            data: job.dataset().description(),
            parameters: job.parameter_count() as u64,
            train_items: job.dataset().len(Split::Train) as u64,
            validation_items: job.dataset().len(Split::Validation) as u64,
            batch_size: settings.batch_size as u64,
            step_items: (settings.batch_size * settings.accumulate) as u64,
            epochs: settings.epochs,
            steps_per_epoch: job.steps_per_epoch(),
            steps_total: job.steps_total(),
            steps_done: job.progress().steps,
            seed: settings.seed,
            planned_memory: self.memory.total(),
            settings_toml: self.settings_toml.clone(),
        }
    }

    fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn start(self: Box<Self>, context: StepContext) -> Result<Box<dyn Steps>, StepError> {
        let workers = self.worker_choices();
        let store = match &context.checkpoints {
            Some(folder) => Some(CheckpointStore::create(folder).map_err(TrainError::from)?),
            None => None,
        };
        let StepContext { sink, clock, stop, .. } = context;
        let session = self.session(RunContext { store, sink, clock, stop })?;
        Ok(Box::new(TrainingSteps::new(session, workers)))
    }
}

#[cfg(test)]
mod tests;
