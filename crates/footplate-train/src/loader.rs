//! How the pipeline makes a job's minibatches.

use footplate_data::augment::{ColorJitter, Normalize};
use footplate_data::transform::{ExifPolicy, Transform, TransformMode};
use footplate_data::{LoaderSettings, PixelLayout, Split};

use crate::settings::TrainSettings;

/// How the pipeline makes minibatches for the cpu device; a feed changes their form.
pub(crate) fn loader_settings(settings: &TrainSettings, split: Split, batch_size: usize) -> LoaderSettings {
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
        batch_size,
        workers: settings.workers,
        workers_max: settings.workers_max,
        prefetch_batches: settings.prefetch_batches,
        prefetch_bytes: settings.prefetch_bytes,
        // Each epoch's validation would fill it with what is read once.
        cache: settings.cache.clone().filter(|_| split == Split::Train),
        layout: PixelLayout::F32Nchw,
        lender: None,
        seed: settings.seed,
        // What torchvision's weights were trained with.
        normalize: Normalize::IMAGENET,
        transform: Transform { mode, exif, ..Transform::eval(size) },
        shuffle: split == Split::Train,
    }
}
