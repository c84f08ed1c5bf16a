//! How the pipeline makes a job's minibatches.

use footplate_data::augment::{ColorJitter, Normalize};
use footplate_data::transform::{ExifPolicy, Transform, TransformMode};
use footplate_data::{LoaderSettings, Split};

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
        workers: settings.workers,
        workers_max: settings.workers_max,
        prefetch_batches: settings.prefetch_batches,
        prefetch_bytes: settings.prefetch_bytes,
        // Each epoch's validation would fill it with what is read once.
        cache: settings.cache.clone().filter(|_| split == Split::Train),
        seed: settings.seed,
        // What torchvision's weights were trained with.
        normalize: Normalize::IMAGENET,
        shuffle: split == Split::Train,
        ..LoaderSettings::new(batch_size, Transform { mode, exif, ..Transform::eval(size) })
    }
}

#[cfg(test)]
mod tests {
    use footplate_data::CacheSettings;

    use super::*;
    use crate::testing::small_settings;

    fn with_everything() -> TrainSettings {
        let mut settings = small_settings("lenet5");
        settings.augment.color_jitter = 0.25;
        settings.augment.exif_orientation = false;
        settings.cache = Some(CacheSettings::Ram { bytes: 1000 });
        settings
    }

    #[test]
    fn training_is_shuffled_augmented_and_cached_and_validation_is_none_of_these() {
        let settings = with_everything();
        let (train, validation) =
            (loader_settings(&settings, Split::Train, 8), loader_settings(&settings, Split::Validation, 8));
        assert!(train.shuffle && !validation.shuffle);
        assert_eq!((train.cache, validation.cache), (settings.cache, None));
        let TransformMode::Train { scale, flip, jitter, .. } = train.transform.mode else { panic!() };
        assert_eq!((scale, flip), ([0.6, 1.0], true));
        let jitter = jitter.unwrap();
        assert_eq!([jitter.brightness, jitter.contrast, jitter.saturation], [0.25; 3]);
        assert!(!matches!(validation.transform.mode, TransformMode::Train { .. }));
        assert_eq!((train.batch_size, validation.batch_size), (8, 8));
    }

    #[test]
    fn both_splits_see_the_same_pixels_of_the_same_file() {
        let settings = with_everything();
        for split in [Split::Train, Split::Validation] {
            let loader = loader_settings(&settings, split, 8);
            assert!(matches!(loader.transform.exif, ExifPolicy::Ignore));
            assert_eq!(loader.normalize.scale_shift(0), Normalize::IMAGENET.scale_shift(0));
        }
    }

    #[test]
    fn no_jitter_is_none_and_not_one_of_strength_zero() {
        let loader = loader_settings(&small_settings("lenet5"), Split::Train, 8);
        assert!(matches!(loader.transform.mode, TransformMode::Train { jitter: None, .. }));
    }
}
