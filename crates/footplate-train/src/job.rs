//! A job: checked settings, data, device, network and optimizer, and where they stand.

use std::sync::Arc;

use burn::tensor::Device;
use footplate_data::{Dataset, LoaderSettings, Split};

use crate::check::fitted;
use crate::checkpoint::{Checkpoint, Progress};
use crate::device::ChosenDevice;
use crate::error::TrainError;
use crate::loader::loader_settings;
use crate::model::{ModelEntry, Network};
use crate::optimizer::Optimizer;
use crate::settings::TrainSettings;
use crate::weights::{self, LoadReport};

/// Salt that keeps the parameters' seed apart from those of the steps.
const PARAMETER_SEED: u64 = 0x5061_7261_6d73;

/// A run that is ready to start.
pub struct Job {
    pub(crate) settings: TrainSettings,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) device: ChosenDevice,
    pub(crate) entry: &'static ModelEntry,
    pub(crate) net: Box<dyn Network>,
    pub(crate) optimizer: Optimizer,
    pub(crate) progress: Progress,
}

impl Job {
    /// A new run. The report tells what was taken from the weights file, if the settings name one.
    pub fn new(
        settings: TrainSettings,
        dataset: Arc<Dataset>,
        device: ChosenDevice,
    ) -> Result<(Self, Option<LoadReport>), TrainError> {
        let (entry, shape) = fitted(&settings, &dataset)?;
        device.check_precision(settings.precision)?;
        // All randomness of a run is drawn from its seed: first the parameters, then each step's dropout.
        device.device.seed(settings.seed ^ PARAMETER_SEED);
        let mut net = (entry.build)(&shape, &device.training(&settings));
        if !device.synchronous {
            // The same seed gives the same parameters on every device: those that the cpu draws.
            Device::flex().seed(settings.seed ^ PARAMETER_SEED);
            let drawn = (entry.build)(&shape, &Device::flex().autodiff()).tensors();
            net.load(&drawn.into_iter().map(|tensor| (tensor.path, tensor.data)).collect())?;
        }
        let report = match &settings.weights {
            Some(path) => Some(weights::load_safetensors(net.as_mut(), path)?),
            None => None,
        };
        let optimizer = Optimizer::new(settings.optimizer.clone());
        Ok((Self { settings, dataset, device, entry, net, optimizer, progress: Progress::start() }, report))
    }

    /// The rest of the run that `checkpoint` is from.
    pub fn resume(
        checkpoint: Checkpoint,
        dataset: Arc<Dataset>,
        device: ChosenDevice,
    ) -> Result<Self, TrainError> {
        let found = dataset.fingerprint();
        if found != checkpoint.data_fingerprint {
            return Err(TrainError::DataChanged {
                expected: format!("{:016x}", checkpoint.data_fingerprint),
                found: format!("{found:016x}"),
            });
        }
        let settings = TrainSettings { weights: None, ..checkpoint.settings };
        let (mut job, _) = Self::new(settings, dataset, device)?;
        job.net.load(&checkpoint.model.into_iter().collect())?;
        let arrays = checkpoint.optimizer.into_iter().collect();
        job.optimizer.load(checkpoint.progress.optimizer_updates, arrays, &job.device.device);
        job.progress = checkpoint.progress;
        Ok(job)
    }

    /// All settings of the job.
    pub fn settings(&self) -> &TrainSettings {
        &self.settings
    }

    /// Where the run stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The data that it trains on.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Trainable parameters and running statistics.
    pub fn parameter_count(&self) -> usize {
        self.net.parameter_count()
    }

    /// Minibatches in an epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.dataset.len(Split::Train).div_ceil(self.settings.batch_size) as u64
    }

    /// Steps in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.batches_per_epoch().div_ceil(self.settings.accumulate as u64)
    }

    /// Steps of the whole run.
    pub fn steps_total(&self) -> u64 {
        let all = self.steps_per_epoch() * u64::from(self.settings.epochs);
        self.settings.max_steps.map_or(all, |max| all.min(max))
    }

    pub(crate) fn loader_settings(&self, split: Split) -> LoaderSettings {
        loader_settings(&self.settings, split, self.settings.batch_size)
    }
}
