//! From what a user asked for to settings that leave nothing open.

use std::path::Path;

use footplate_data::CacheSettings;
use footplate_train::TrainError;
use footplate_train::device::{ChosenDevice, DeviceChoice, choose};
use footplate_train::feed::FeedChoice;
use footplate_train::model::{self, LstmSize, ModelEntry, Task};
use footplate_train::settings::{
    AugmentSettings, OptimizerSettings, ScheduleKind, ScheduleSettings, TrainSettings,
};

use crate::failure::Failure;
use crate::host;
use crate::options::{BatchSize, CacheChoice, TrainOptions};

/// The model that `footplate train` trains if none is named.
const DEFAULT_MODEL: &str = "lenet5";
/// Random crops take at least this share of an image: torchvision's for photographs, more where images
/// are so small that a small crop would hold next to nothing.
const CROP_MIN_AREA_PHOTO: f64 = 0.08;
const CROP_MIN_AREA_SMALL: f64 = 0.6;
/// Images with a shorter side than this count as small.
const SMALL_SIDE: u32 = 96;
const PREFETCH_BYTES: u64 = 512 << 20;
/// The pipeline begins with three and takes one more where that helps.
const PREFETCH_BATCHES: usize = 4;
const CHECKPOINT_EVERY_S: f64 = 60.0;

/// The registry's entry for the name that was given, or for the default.
pub(crate) fn entry(name: Option<&str>) -> Result<&'static ModelEntry, Failure> {
    let name = name.unwrap_or(DEFAULT_MODEL);
    model::find(name).ok_or_else(|| TrainError::UnknownModel { name: name.to_owned() }.into())
}

/// Characters of a training sequence.
pub(crate) fn sequence_length(options: &TrainOptions) -> usize {
    options.sequence_length.unwrap_or(64)
}

/// Share of the data for validation where the data set has no split of its own.
pub(crate) fn validation_fraction(options: &TrainOptions, task: Task) -> f64 {
    options.validation_fraction.map_or(if task == Task::CharacterLm { 0.1 } else { 0.2 }, |share| share.0)
}

/// The device; the cpu unless another is asked for.
pub(crate) fn device(options: &TrainOptions) -> DeviceChoice {
    options.device.unwrap_or(DeviceChoice::Cpu)
}

/// Opens a device. Below `cache_dir`, or else the user's cache folder, is what its kernels' tuning left there.
pub(crate) fn open_device(
    choice: DeviceChoice,
    feed: FeedChoice,
    cache_dir: Option<&Path>,
) -> Result<ChosenDevice, TrainError> {
    #[cfg(feature = "autotune")]
    if let Ok(cache) = crate::embedded::cache_folder(cache_dir) {
        footplate_train::kernels::keep_in(&cache.join("kernels"));
    }
    #[cfg(not(feature = "autotune"))]
    let _ = cache_dir;
    choose(choice, feed)
}

/// The device that is asked for.
pub(crate) fn opened_device(options: &TrainOptions) -> Result<ChosenDevice, TrainError> {
    open_device(device(options), feed(options), options.cache_dir.as_deref())
}

/// The way of minibatches to the device.
pub(crate) fn feed(options: &TrainOptions) -> FeedChoice {
    options.feed.unwrap_or_default()
}

/// All settings, from the options or else from the model and the data. `source_side` is the typical shorter
/// side of the data's images in pixels, `train_items` the size of the training split. A batch size of `auto`
/// is given its start value here.
pub(crate) fn settings(
    options: &TrainOptions,
    entry: &ModelEntry,
    source_side: Option<u32>,
    train_items: usize,
) -> TrainSettings {
    let o = options;
    let defaults = &entry.defaults;
    let cores = host::cores();
    let workers = o.workers.unwrap_or_else(|| cores.saturating_sub(1).max(1));
    let batch_size = match o.batch_size {
        Some(BatchSize::Fixed(size)) => size,
        Some(BatchSize::Auto) | None => defaults.batch_size.min(train_items.max(1)),
    };
    let accumulate = o.accumulate.unwrap_or(1);
    let epochs = o.epochs.unwrap_or(defaults.epochs);
    let small = source_side.is_some_and(|side| side < SMALL_SIDE);
    TrainSettings {
        model: entry.name.to_owned(),
        image_size: o.image_size.unwrap_or_else(|| image_size(entry, source_side)),
        lstm: LstmSize {
            embed: o.lstm_embed.unwrap_or(LSTM_DEFAULT.embed),
            hidden: o.lstm_hidden.unwrap_or(LSTM_DEFAULT.hidden),
            layers: o.lstm_layers.unwrap_or(LSTM_DEFAULT.layers),
        },
        sequence_length: sequence_length(o),
        batch_size,
        accumulate,
        epochs,
        max_steps: o.max_steps,
        seed: o.seed.unwrap_or(0),
        precision: o.precision.unwrap_or_default(),
        checkpoint_activations: o.checkpoint_activations.unwrap_or(false),
        optimizer: OptimizerSettings {
            kind: o.optimizer.unwrap_or(defaults.optimizer),
            momentum: o.momentum.map_or(defaults.momentum, |share| share.0),
            nesterov: o.nesterov.unwrap_or(false),
            weight_decay: o.weight_decay.unwrap_or(defaults.weight_decay),
        },
        schedule: schedule(o, entry, train_items, batch_size * accumulate.max(1), epochs),
        label_smoothing: o.label_smoothing.map_or(defaults.label_smoothing, |share| share.0),
        clip_norm: o.clip_norm.or(defaults.clip_norm),
        early_stop: o.early_stop,
        augment: AugmentSettings {
            crop_min_area: o
                .crop_min_area
                .map_or(if small { CROP_MIN_AREA_SMALL } else { CROP_MIN_AREA_PHOTO }, |share| share.0),
            flip: o.flip.unwrap_or(true),
            color_jitter: o.color_jitter.unwrap_or(0.0),
            exif_orientation: o.exif_orientation.unwrap_or(true),
        },
        weights: o.weights.clone(),
        workers,
        // A core is left to the step as long as it does not wait for data.
        workers_max: o.workers.is_none().then_some(cores.max(1)),
        prefetch_batches: o.prefetch_batches.unwrap_or(PREFETCH_BATCHES),
        prefetch_bytes: o.prefetch_bytes.map_or(PREFETCH_BYTES, |size| size.0),
        // `auto` is decided when the memory plan is known.
        cache: o.cache.clone().and_then(cache),
        checkpoint_every_s: o.checkpoint_every.map_or(CHECKPOINT_EVERY_S, |time| time.0),
        max_bad_fraction: o.max_bad_fraction.map_or(0.01, |share| share.0),
    }
}

/// A resumed run finds its cache from any folder.
fn cache(choice: CacheChoice) -> Option<CacheSettings> {
    match choice {
        CacheChoice::Auto => None,
        CacheChoice::Fixed(CacheSettings::Disk { folder, bytes }) => {
            let folder = std::path::absolute(&folder).unwrap_or(folder);
            Some(CacheSettings::Disk { folder, bytes })
        }
        CacheChoice::Fixed(ram) => Some(ram),
    }
}

const LSTM_DEFAULT: LstmSize = LstmSize { embed: 64, hidden: 256, layers: 1 };

fn schedule(
    o: &TrainOptions,
    entry: &ModelEntry,
    train_items: usize,
    items_per_step: usize,
    epochs: u32,
) -> ScheduleSettings {
    let defaults = &entry.defaults;
    // The linear rule (Goyal et al. 2017): a rate is good for one batch size and goes up and down with it.
    // AdamW's rates are left alone.
    let scale = match o.optimizer.unwrap_or(defaults.optimizer) {
        model::OptimizerKind::Sgd => items_per_step as f64 / defaults.batch_size as f64,
        model::OptimizerKind::AdamW => 1.0,
    };
    let all = train_items.div_ceil(items_per_step.max(1)) as u64 * u64::from(epochs);
    let steps = o.max_steps.map_or(all, |max| all.min(max));
    ScheduleSettings {
        learning_rate: o.learning_rate.unwrap_or(defaults.learning_rate * scale),
        kind: o.schedule.unwrap_or(ScheduleKind::Cosine),
        warmup_steps: o.warmup_steps.unwrap_or((steps as f64 * defaults.warmup_fraction) as u64),
        step_epochs: o.step_epochs.unwrap_or(epochs.div_ceil(3).max(1)),
        step_gamma: o.step_gamma.unwrap_or(0.1),
    }
}

/// The model's own size, or less where the images are smaller: to blow them up costs time and adds nothing.
/// The size is a multiple of 32, the total stride of the usual networks.
fn image_size(entry: &ModelEntry, source_side: Option<u32>) -> u32 {
    let own = u32::try_from(entry.defaults.image_size).unwrap_or(u32::MAX);
    let smallest = u32::try_from(entry.min_image_size).unwrap_or(1);
    source_side.map_or(own, |side| own.min(side.div_ceil(32) * 32).max(smallest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_not_blown_up_by_default() {
        let resnet = entry(Some("resnet18")).unwrap();
        assert_eq!(
            [None, Some(500), Some(200), Some(28)].map(|s| image_size(resnet, s)),
            [224, 224, 224, 32]
        );
    }

    #[test]
    fn the_learning_rate_follows_the_batch_size_unless_it_is_given() {
        let resnet = entry(Some("resnet18")).unwrap();
        let rate = |batch_size, learning_rate| {
            let options = TrainOptions { batch_size, learning_rate, ..TrainOptions::default() };
            settings(&options, resnet, None, 10_000).schedule.learning_rate
        };
        let doubled = resnet.defaults.batch_size * 2;
        assert_eq!(rate(Some(BatchSize::Fixed(doubled)), None), rate(None, None) * 2.0);
        assert_eq!(rate(Some(BatchSize::Fixed(doubled)), Some(0.3)), 0.3);
    }
}
