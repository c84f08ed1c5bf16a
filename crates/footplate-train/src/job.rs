//! A run that is ready to start: settings that were checked, data, device, network and memory plan.

use std::sync::Arc;

use burn::tensor::Device;
use footplate_core::Bytes;
use footplate_data::augment::{ColorJitter, Normalize};
use footplate_data::transform::{ExifPolicy, Transform, TransformMode};
use footplate_data::{Dataset, LoaderSettings, Split};

use crate::checkpoint::{Checkpoint, Progress};
use crate::device::ChosenDevice;
use crate::error::TrainError;
use crate::memory::{self, HeapMeter, MemoryPlan, StepMemory};
use crate::model::{self, ModelEntry, ModelShape, Network, Task};
use crate::optimizer::Optimizer;
use crate::settings::{Precision, TrainSettings};
use crate::weights::{self, LoadReport};

/// Salt that keeps the parameters' seed apart from those of the steps.
const PARAMETER_SEED: u64 = 0x5061_7261_6d73;
/// The largest batch that is named leaves one part in so many of the memory free.
const ADVICE_MARGIN: u64 = 50;

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

    /// The run's settings.
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
        loader_settings(&self.settings, self.entry, split, self.settings.batch_size)
    }
}

/// The registry's entry and the model's shape, after the settings were found to fit the data.
fn fitted(
    settings: &TrainSettings,
    dataset: &Dataset,
) -> Result<(&'static ModelEntry, ModelShape), TrainError> {
    let entry = model::find(&settings.model)
        .ok_or_else(|| TrainError::UnknownModel { name: settings.model.clone() })?;
    check(settings, entry)?;
    let classes = match (entry.task, dataset) {
        (Task::Images, Dataset::Images(images)) => images.classes().len(),
        (Task::CharacterLm, Dataset::Text(text)) => text.vocabulary().len(),
        (task, _) => {
            let needs = if task == Task::Images { "images" } else { "text" };
            return Err(TrainError::WrongData {
                model: settings.model.clone(),
                needs,
                found: dataset.description(),
            });
        }
    };
    let shape = ModelShape { classes, image_size: settings.image_size as usize, lstm: settings.lstm };
    Ok((entry, shape))
}

fn check(settings: &TrainSettings, entry: &ModelEntry) -> Result<(), TrainError> {
    let s = settings;
    let at_least_1 = "must be at least 1";
    let share = "must be 0 or more and less than 1";
    let is_share = |x: f64| (0.0..1.0).contains(&x);
    let rate = s.schedule.learning_rate;
    let checks: [(&'static str, String, bool, &str); 13] = [
        ("batch-size", s.batch_size.to_string(), s.batch_size >= 1, at_least_1),
        ("accumulate", s.accumulate.to_string(), s.accumulate >= 1, at_least_1),
        ("epochs", s.epochs.to_string(), s.epochs >= 1, at_least_1),
        ("max-steps", format!("{:?}", s.max_steps), s.max_steps != Some(0), at_least_1),
        ("prefetch-batches", s.prefetch_batches.to_string(), s.prefetch_batches >= 1, at_least_1),
        ("learning-rate", rate.to_string(), rate > 0.0 && rate.is_finite(), "must be more than 0"),
        ("momentum", s.optimizer.momentum.to_string(), is_share(s.optimizer.momentum), share),
        ("label-smoothing", s.label_smoothing.to_string(), is_share(s.label_smoothing), share),
        (
            "weight-decay",
            s.optimizer.weight_decay.to_string(),
            s.optimizer.weight_decay >= 0.0,
            "must be 0 or more",
        ),
        (
            "clip-norm",
            format!("{:?}", s.clip_norm),
            s.clip_norm.is_none_or(|n| n > 0.0),
            "must be more than 0",
        ),
        (
            "max-bad-fraction",
            s.max_bad_fraction.to_string(),
            (0.0..=1.0).contains(&s.max_bad_fraction),
            "must be 0 to 1",
        ),
        (
            "crop-min-area",
            s.augment.crop_min_area.to_string(),
            s.augment.crop_min_area > 0.0 && s.augment.crop_min_area <= 1.0,
            "must be more than 0 and at most 1",
        ),
        ("sequence-length", s.sequence_length.to_string(), s.sequence_length >= 1, at_least_1),
    ];
    for (setting, value, good, reason) in checks {
        if !good {
            return Err(TrainError::Setting { setting, value, reason: reason.to_owned() });
        }
    }
    if entry.task == Task::CharacterLm && s.precision != Precision::F32 {
        let reason = format!("{} is computed in f32", entry.name);
        return Err(TrainError::Setting { setting: "precision", value: s.precision.to_string(), reason });
    }
    let smallest = entry.min_image_size;
    if entry.task == Task::Images && (s.image_size as usize) < smallest {
        let reason = format!("{} needs at least {smallest} pixels", entry.name);
        return Err(TrainError::Setting { setting: "image-size", value: s.image_size.to_string(), reason });
    }
    Ok(())
}

/// How the pipeline makes minibatches for the cpu device; a feed changes their form.
pub(crate) fn loader_settings(
    settings: &TrainSettings,
    entry: &ModelEntry,
    split: Split,
    batch_size: usize,
) -> LoaderSettings {
    let augment = &settings.augment;
    let size = settings.image_size;
    let mode = match split {
        Split::Validation => Transform::eval(size).mode,
        Split::Train => TransformMode::Train {
            scale: [augment.crop_min_area, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: augment.flip,
            jitter: (augment.color_jitter > 0.0).then_some(ColorJitter {
                brightness: augment.color_jitter,
                contrast: augment.color_jitter,
                saturation: augment.color_jitter,
            }),
        },
    };
    let exif = if augment.exif_orientation { ExifPolicy::Apply } else { ExifPolicy::Ignore };
    LoaderSettings {
        workers: settings.workers,
        workers_max: settings.workers_max,
        prefetch_batches: settings.prefetch_batches,
        prefetch_bytes: settings.prefetch_bytes,
        // Each epoch's validation would fill it with what is read once.
        cache: settings.cache.clone().filter(|_| split == Split::Train),
        seed: settings.seed,
        normalize: normalize(entry),
        shuffle: split == Split::Train,
        ..LoaderSettings::new(batch_size, Transform { mode, exif, ..Transform::eval(size) })
    }
}

/// The pixels' scaling: that of ImageNet, which torchvision's weights were trained with.
fn normalize(_entry: &ModelEntry) -> Normalize {
    Normalize::IMAGENET
}

/// The memory of runs of one network at any batch size.
pub struct MemoryPlanner {
    step: StepMemory,
    entry: &'static ModelEntry,
    settings: TrainSettings,
    dataset: Arc<Dataset>,
    program: u64,
    /// The memory of a device that has its own, and the device's name.
    own: Option<(Bytes, &'static str)>,
}

impl MemoryPlanner {
    /// Runs the trials (some small steps on zeros). `program` is what the process holds already.
    pub fn new(
        settings: &TrainSettings,
        dataset: &Arc<Dataset>,
        heap: &dyn HeapMeter,
        program: Bytes,
    ) -> Result<Self, TrainError> {
        let (entry, shape) = fitted(settings, dataset)?;
        let step = memory::try_steps(entry, &shape, settings, heap);
        let (settings, dataset) = (settings.clone(), dataset.clone());
        Ok(Self { step, entry, settings, dataset, program: program.0, own: None })
    }

    /// The same planner for runs on `device`, whose own memory, if it has one, must hold its part.
    pub fn on(self, device: &ChosenDevice) -> Self {
        Self { own: device.own_memory().map(|bytes| (bytes, device.name)), ..self }
    }

    /// The same planner for another wanted batch size.
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.settings.batch_size = batch_size;
        self
    }

    /// The plan for one batch size.
    pub fn plan(&self, batch_size: usize) -> MemoryPlan {
        let pipeline = [Split::Train, Split::Validation]
            .map(|split| {
                loader_settings(&self.settings, self.entry, split, batch_size).planned_bytes(&self.dataset)
            })
            .iter()
            .sum();
        memory::plan(&self.step, &self.settings, batch_size, self.program, pipeline)
    }

    /// The largest batch size up to `limit` that fits; 0 if none does.
    pub fn largest_batch(&self, limit: usize, available: Bytes) -> usize {
        let largest = memory::largest_batch(limit, available, |batch_size| self.plan(batch_size).total());
        match self.own {
            Some((own, _)) => memory::largest_batch(largest, own, |n| self.plan(n).on_device()),
            None => largest,
        }
    }

    /// The plan for the settings' batch size, or what would fit in its place.
    pub fn checked(&self, available: Bytes) -> Result<MemoryPlan, TrainError> {
        let batch_size = self.settings.batch_size;
        let plan = self.plan(batch_size);
        // What is named must still fit when it is tried: the program's own memory differs a little each time.
        let sure = Bytes(available.0 - available.0 / ADVICE_MARGIN);
        if plan.total() > available {
            let largest_batch = self.largest_batch(batch_size, sure);
            return Err(TrainError::Memory { batch_size, needed: plan.total(), available, largest_batch });
        }
        match self.own {
            Some((own, device)) if plan.on_device() > own => Err(TrainError::DeviceMemory {
                device: device.to_owned(),
                batch_size,
                largest_batch: Some(self.largest_batch(batch_size, sure)),
                reason: format!("it needs about {} (estimate), and the device has {own}", plan.on_device()),
            }),
            _ => Ok(plan),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use footplate_data::{OpenOptions, open};

    use super::*;
    use crate::testing::{seeded, small_settings};

    /// A heap whose peak is higher each time that one looks.
    struct Rising(AtomicU64);

    impl HeapMeter for Rising {
        fn live_bytes(&self) -> u64 {
            0
        }

        fn peak_bytes(&self) -> u64 {
            (1 + self.0.fetch_add(1, Ordering::Relaxed)) * (10 << 20)
        }

        fn reset_peak(&self) {}
    }

    #[test]
    fn a_device_with_its_own_memory_limits_the_batch() {
        let _turn = seeded(0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        std::fs::write(&path, "she sells sea shells by the sea shore. ".repeat(30)).unwrap();
        let options = OpenOptions { format: None, seed: 7, validation_fraction: 0.2, sequence_length: 8 };
        let dataset = Arc::new(open(&path, &options).unwrap());
        let settings = TrainSettings { batch_size: 32, ..small_settings("lstm") };
        let heap = Rising(AtomicU64::new(0));
        let mut planner = MemoryPlanner::new(&settings, &dataset, &heap, Bytes(0)).unwrap();
        let (enough, of_8) = (Bytes(1 << 40), planner.plan(8).on_device());
        assert!(of_8 < planner.plan(9).on_device() && planner.checked(enough).is_ok());
        planner.own = Some((of_8, "vulkan"));
        let error = planner.checked(enough).unwrap_err();
        let TrainError::DeviceMemory { batch_size, largest_batch, .. } = error else { panic!("{error}") };
        assert_eq!((batch_size, largest_batch), (32, Some(8)));
        assert_eq!(planner.largest_batch(100, enough), 8);
        assert!(planner.with_batch_size(8).checked(enough).is_ok());
    }
}
