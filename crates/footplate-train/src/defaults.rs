//! The default of every setting that is not asked for: from the model, the data and the number of cores.

use footplate_core::Share;
use footplate_data::CacheSettings;

use crate::model::{ModelEntry, Task};
use crate::request::{BatchSize, CacheChoice, JobRequest};
use crate::settings::{
    AugmentSettings, LstmSize, OptimizerKind, OptimizerSettings, ScheduleKind, ScheduleSettings,
    TrainSettings,
};

/// The model that is trained if none is named.
pub(crate) const MODEL: &str = "lenet5";
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

/// Share of the data for validation where the data set has no split of its own: of images, and of a text.
const VALIDATION_FRACTION: f64 = 0.2;
const VALIDATION_FRACTION_TEXT: f64 = 0.1;
const SEQUENCE_LENGTH: usize = 64;
const MAX_BAD_FRACTION: f64 = 0.01;
const LSTM: LstmSize = LstmSize { embed: 64, hidden: 256, layers: 1 };

/// Characters of a training sequence.
pub(crate) fn sequence_length(request: &JobRequest) -> usize {
    request.sequence_length.unwrap_or(SEQUENCE_LENGTH)
}

/// Share of the data for validation where the data set has no split of its own.
pub(crate) fn validation_fraction(request: &JobRequest, task: Task) -> f64 {
    let usual = match task {
        Task::CharacterLm => VALIDATION_FRACTION_TEXT,
        Task::Images => VALIDATION_FRACTION,
    };
    or(request.validation_fraction, usual)
}

/// The share that is asked for, or the usual one.
fn or(share: Option<Share>, usual: f64) -> f64 {
    share.map_or(usual, |share| share.0)
}

/// All settings: those that were asked for, and else what suits the model and the data. `source_side` is the typical
/// shorter side of the data's images in pixels, `train_items` the size of the training split, `cores` what this process
/// may use. A batch size of `auto` gets the model's, a cache of `auto` none: both are decided with the memory plan.
pub(crate) fn settings(
    request: &JobRequest,
    entry: &ModelEntry,
    source_side: Option<u32>,
    train_items: usize,
    cores: usize,
) -> TrainSettings {
    let o = request;
    let defaults = &entry.defaults;
    let workers = o.workers.unwrap_or_else(|| cores.saturating_sub(1).max(1));
    let batch_size = match o.batch_size {
        Some(BatchSize::Fixed(size)) => size,
        Some(BatchSize::Auto) | None => defaults.batch_size.min(train_items.max(1)),
    };
    let accumulate = o.accumulate.unwrap_or(1);
    let epochs = o.epochs.unwrap_or(defaults.epochs);
    TrainSettings {
        model: entry.name.to_owned(),
        image_size: o.image_size.unwrap_or_else(|| image_size(entry, source_side)),
        lstm: lstm(o),
        sequence_length: sequence_length(o),
        batch_size,
        accumulate,
        epochs,
        max_steps: o.max_steps,
        seed: o.seed.unwrap_or(0),
        precision: o.precision.unwrap_or_default(),
        checkpoint_activations: o.checkpoint_activations.unwrap_or(false),
        optimizer: optimizer(o, entry),
        schedule: schedule(o, entry, train_items, batch_size * accumulate.max(1), epochs),
        label_smoothing: or(o.label_smoothing, defaults.label_smoothing),
        clip_norm: o.clip_norm.or(defaults.clip_norm),
        early_stop: o.early_stop,
        augment: augment(o, source_side),
        weights: o.weights.clone(),
        workers,
        // A core is left to the step as long as it does not wait for data.
        workers_max: o.workers.is_none().then_some(cores.max(1)),
        prefetch_batches: o.prefetch_batches.unwrap_or(PREFETCH_BATCHES),
        prefetch_bytes: o.prefetch_bytes.map_or(PREFETCH_BYTES, |size| size.0),
        cache: o.cache.clone().and_then(cache),
        checkpoint_every_s: o.checkpoint_every.map_or(CHECKPOINT_EVERY_S, |time| time.0),
        max_bad_fraction: or(o.max_bad_fraction, MAX_BAD_FRACTION),
    }
}

fn lstm(o: &JobRequest) -> LstmSize {
    LstmSize {
        embed: o.lstm_embed.unwrap_or(LSTM.embed),
        hidden: o.lstm_hidden.unwrap_or(LSTM.hidden),
        layers: o.lstm_layers.unwrap_or(LSTM.layers),
    }
}

fn optimizer(o: &JobRequest, entry: &ModelEntry) -> OptimizerSettings {
    let defaults = &entry.defaults;
    OptimizerSettings {
        kind: o.optimizer.unwrap_or(defaults.optimizer),
        momentum: or(o.momentum, defaults.momentum),
        nesterov: o.nesterov.unwrap_or(false),
        weight_decay: o.weight_decay.unwrap_or(defaults.weight_decay),
    }
}

fn augment(o: &JobRequest, source_side: Option<u32>) -> AugmentSettings {
    let small = source_side.is_some_and(|side| side < SMALL_SIDE);
    let crop_min_area = if small { CROP_MIN_AREA_SMALL } else { CROP_MIN_AREA_PHOTO };
    AugmentSettings {
        crop_min_area: or(o.crop_min_area, crop_min_area),
        flip: o.flip.unwrap_or(true),
        color_jitter: o.color_jitter.unwrap_or(0.0),
        exif_orientation: o.exif_orientation.unwrap_or(true),
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

fn schedule(
    o: &JobRequest,
    entry: &ModelEntry,
    train_items: usize,
    items_per_step: usize,
    epochs: u32,
) -> ScheduleSettings {
    let defaults = &entry.defaults;
    // The linear rule (Goyal et al. 2017): a rate is good for one batch size and goes up and down with it.
    // AdamW's rates are left alone.
    let scale = match o.optimizer.unwrap_or(defaults.optimizer) {
        OptimizerKind::Sgd => items_per_step as f64 / defaults.batch_size as f64,
        OptimizerKind::AdamW => 1.0,
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
mod tests;
