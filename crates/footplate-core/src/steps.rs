//! The port through which a run makes its steps. A training session, an attached program or a loop in another
//! language implements it; whoever keeps the run (its folder, its log, its power mode) knows only this.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::ports::{Clock, Workload};
use crate::sink::RecordSink;
use crate::units::Bytes;

/// Why a job could not begin or end well, as its own crate says it: whoever shows it may downcast.
pub type StepError = Box<dyn Error + Send + Sync + 'static>;

/// What is known of a job before its first step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobFacts {
    /// The network's name.
    pub model: String,
    /// The device that computes, why it was taken, and how minibatches get there.
    pub device: String,
    /// The data set, in words.
    pub data: String,
    /// Values that are trained.
    pub parameters: u64,
    /// Samples of the training split.
    pub train_items: u64,
    /// Samples of the validation split.
    pub validation_items: u64,
    /// Samples in one minibatch.
    pub batch_size: u64,
    /// Samples in one step: those of all minibatches whose gradients make it.
    pub step_items: u64,
    /// Passes over the training split.
    pub epochs: u32,
    /// Steps in one pass.
    pub steps_per_epoch: u64,
    /// Steps of the whole job.
    pub steps_total: u64,
    /// Steps that an earlier process has made: the number of the next one, from 0.
    pub steps_done: u64,
    /// Of everything that the job draws at random.
    pub seed: u64,
    /// What the job will need of memory. An estimate.
    pub planned_memory: Bytes,
    /// All settings, in TOML.
    pub settings_toml: String,
}

/// What a job is given by whoever keeps the run.
#[derive(Clone)]
pub struct StepContext {
    /// Where checkpoints go. `None`: nothing is written, and nothing is validated.
    pub checkpoints: Option<PathBuf>,
    /// Where records go.
    pub sink: RecordSink,
    /// The clock of records and steps.
    pub clock: Arc<dyn Clock + Send + Sync>,
    /// Set by whoever wants the job to stop after the present step.
    pub stop: Arc<AtomicBool>,
}

/// A job that is ready to make its first step, or the next one of an earlier process.
pub trait StepJob {
    /// What is known of it.
    fn facts(&self) -> JobFacts;

    /// What the user should know before it starts, e.g. about its data. Each is told once.
    fn take_warnings(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Starts it. The first step is made when it is asked for.
    fn start(self: Box<Self>, context: StepContext) -> Result<Box<dyn Steps>, StepError>;
}

/// A job that makes steps when it is asked to.
///
/// [`Workload::run`] makes them for a measurement, each to its end on the device; [`Workload::train`] makes them as fast
/// as they go. If the job fails both say so in words, and [`Steps::finish`] gives the error itself. Either way they are
/// the job's own: the same order, records and checkpoints.
pub trait Steps: Workload {
    /// Makes all steps that are left, until the job ends, fails or is asked to stop.
    fn train_to_end(&mut self) {
        while self.train(1, 0).is_ok() {}
    }

    /// Ends it, with a last checkpoint. A job that was not driven to its end can be resumed.
    ///
    /// # Errors
    ///
    /// Whatever made the job fail, now or while it made its steps.
    fn finish(self: Box<Self>) -> Result<StepsEnd, StepError>;
}

/// How a job ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps were made.
    Completed,
    /// Validation stopped improving.
    EarlyStopped,
    /// It was asked to stop, and can be resumed.
    Interrupted,
}

/// The end of a job that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepsEnd {
    /// How it ended.
    pub ending: Ending,
    /// Steps made over the whole job, those of earlier processes included.
    pub steps: u64,
    /// Samples that were left out because they are damaged or unreadable.
    pub bad_samples: u64,
}
