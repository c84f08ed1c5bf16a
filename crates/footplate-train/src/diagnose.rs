//! From a job to a diagnosis: measures its stages one after the other within a given time, and lets the model
//! of [`footplate_data::stall`] say what limits it and what would help.

use std::sync::Arc;
use std::time::Duration;

use footplate_core::stats::mean;
use footplate_data::measure_rates::{self, Rate, Storage};
use footplate_data::stall::{self, Change, Recommendation, Situation};
use footplate_data::{DataError, Dataset, LoaderSettings, Pipeline, Position, Split};
use serde::Serialize;

use crate::device::ChosenDevice;
use crate::error::TrainError;
use crate::job::Job;
use crate::loader::loader_settings;
use crate::measure_step::{StepRate, Trial, Watch};
use crate::memory_planner::AUTO_BATCH_MAX;
use crate::prepare::JobPlan;
use crate::settings::TrainSettings;
use bench::Bench;

mod apply;
mod bench;
mod candidates;
mod costs;
mod judge;

/// Steps that an epoch must keep if a larger batch is recommended.
const EPOCH_STEPS_MIN: usize = 4;

/// A job that is to be diagnosed.
pub struct Subject {
    /// All settings of the job.
    pub settings: TrainSettings,
    /// The data set that it trains on.
    pub dataset: Arc<Dataset>,
    /// The device that it trains on.
    pub device: ChosenDevice,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory that is left for the page cache beside the job, in bytes; `None`: unknown.
    pub memory_free: Option<u64>,
    /// The largest batch that fits the memory.
    pub batch_max: usize,
    /// Samples are to be taken as not yet read, whatever their size.
    pub cold: bool,
}

impl Subject {
    /// The job that was prepared. `cold`: its samples are to be taken as not yet read.
    pub fn of(plan: JobPlan, cold: bool) -> Self {
        let JobPlan { open, settings, device, memory, available, planner, cores, .. } = plan;
        let dataset = open.dataset;
        let available = available.value().copied();
        let most = planner.largest_batch(AUTO_BATCH_MAX.max(settings.batch_size), available);
        // A larger batch must leave an epoch a few steps.
        let sensible = (dataset.len(Split::Train) / EPOCH_STEPS_MIN).max(settings.batch_size);
        Self {
            memory_free: available.map(|available| available.0.saturating_sub(memory.total().0)),
            batch_max: most.min(sensible),
            settings,
            dataset,
            device,
            cores,
            cold,
        }
    }
}

/// Where samples come from after the first epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// They are in this process's memory from the beginning.
    Process,
    /// The page cache holds them.
    PageCache,
    /// Storage, because they are more than memory can hold, or because it was asked for.
    Storage {
        /// Share of the reads that the page cache is thought to serve all the same, 0 to 1. An estimate.
        hits: f64,
    },
}

/// What was measured. Rates are `None` where they were not.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The step by itself.
    pub step: StepRate,
    /// Preparing what is in memory by the loop's own thread.
    pub prep_one: Rate,
    /// The same with the job's workers.
    pub prep_many: Option<Rate>,
    /// The same as bytes, by one thread.
    pub prep_u8: Option<Rate>,
    /// The same from the form that packed shards have, by one thread.
    pub prep_indexed: Option<Rate>,
    /// Seconds of a sample to the device, for f32 and u8.
    pub upload: Option<[f64; 2]>,
    /// Reading; `None` where the data is in the process's memory.
    pub storage: Option<Storage>,
    /// The real run, with the real pipeline.
    pub trial: Trial,
    /// Cores that this process got when it asked for all of them, before and after the real run.
    pub cores_got: Vec<f64>,
}

impl Measured {
    /// How many times longer work takes because other programs run on the same cores.
    fn crowded(&self, cores: usize) -> f64 {
        let got = mean(&self.cores_got).unwrap_or(f64::INFINITY);
        (cores as f64 / got).max(1.0)
    }
}

/// What a change was predicted to give, and what it gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Applied {
    /// The one setting that was changed for it.
    #[serde(flatten)]
    pub change: Change,
    /// Items per second that were predicted.
    pub predicted_per_s: f64,
    /// Items per second of a real run with the change.
    pub got_per_s: f64,
    /// The prediction over what was got, less 1.
    pub error: f64,
    /// Items per second of the unchanged job once more, after that: how far the machine itself moved meanwhile.
    pub unchanged_per_s: Option<f64>,
}

/// What limits a job, and what would help.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// All that was measured on the way.
    pub measured: Measured,
    /// Where samples come from.
    pub source: Source,
    /// The job for the model.
    pub situation: Situation,
    /// Where the time of a real step went; `None` where no step ended in time.
    pub split: Option<stall::TimeBreakdown>,
    /// The stage that limits the job.
    pub bottleneck: stall::Bottleneck,
    /// Items per second of an epoch that reads everything from storage, where that is another rate. An
    /// estimate.
    pub first_epoch_per_s: Option<f64>,
    /// What would help, the best first.
    pub recommendations: Vec<Recommendation>,
    /// What the best change that can be made in this process gave.
    pub applied: Option<Applied>,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
}

/// Diagnoses a job in about `time`. `note` is told what is being measured. `None`: it was stopped meanwhile.
pub fn diagnose(
    subject: &Subject,
    time: Duration,
    apply: bool,
    watch: &Watch,
    note: &mut dyn FnMut(&str),
) -> Result<Option<Diagnosis>, TrainError> {
    // Weights are checked as in training, once.
    Job::new(subject.settings.clone(), subject.dataset.clone(), subject.device.clone())?;
    let loader = loader_settings(&subject.settings, Split::Train, subject.settings.batch_size);
    let started = watch.now();
    let Some(resident) = measure_rates::resident(&subject.dataset) else {
        return Err(no_sample(subject, &loader));
    };
    let mut bench = Bench { subject, watch, started, time, loader, resident, apply, note };
    let measured = bench.measure()?;
    if watch.is_stopped() {
        return Ok(None);
    }
    let mut diagnosis = bench.judge(measured)?;
    if apply {
        bench.apply(&mut diagnosis)?;
    }
    Ok((!watch.is_stopped()).then_some(diagnosis))
}

/// What is wrong with a data set whose samples are all bad: the first minibatch's are named.
fn no_sample(subject: &Subject, loader: &LoaderSettings) -> TrainError {
    let (total, limit) = (subject.dataset.len(Split::Train) as u64, subject.settings.max_bad_fraction);
    let loader = LoaderSettings { workers: 0, workers_max: None, ..loader.clone() };
    let from = Position { epoch: 0, batch: 0 };
    let first = Pipeline::start(subject.dataset.clone(), Split::Train, loader, from, 1).map(|mut p| p.next());
    match first {
        Err(error) | Ok(Some(Err(error))) => error.into(),
        Ok(batch) => {
            let bad = batch.and_then(Result::ok).map_or_else(Vec::new, |batch| batch.bad);
            DataError::TooManyBad { bad, total, limit }.into()
        }
    }
}

#[cfg(test)]
mod tests;
