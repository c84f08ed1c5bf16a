//! How minibatches are made, and what memory that takes.

use std::sync::Arc;

use crate::augment::Normalize;
use crate::batch::PixelLayout;
use crate::cache::CacheSettings;
use crate::dataset::{CHECKPOINT_BYTES_MAX, Dataset};
use crate::external_buffer::BufferProvider;
use crate::transform::{Transform, TransformMode};

/// How a [`Pipeline`](crate::Pipeline) makes minibatches. [`LoaderSettings::new`] has a default for all but the batch
/// size and the transform; change single fields by struct update:
///
/// ```
/// use footplate_data::transform::Transform;
/// use footplate_data::{LoaderSettings, PixelLayout};
///
/// let settings = LoaderSettings {
///     workers: 2,
///     layout: PixelLayout::U8Nhwc,
///     ..LoaderSettings::new(32, Transform::train(224))
/// };
/// assert!(settings.shuffle);
/// ```
#[derive(Clone, Debug)]
pub struct LoaderSettings {
    /// Samples in a minibatch, at least 1.
    pub batch_size: usize,
    /// Threads that make minibatches. 0: they are made in the thread that asks for them.
    pub workers: usize,
    /// If set, the pipeline chooses the number of workers (up to this one) and how far ahead it works by what its
    /// consumer waits for. `None`: it keeps `workers` and works as far ahead as it may.
    pub workers_max: Option<usize>,
    /// Minibatches made ahead, at most.
    pub prefetch_batches: usize,
    /// Bytes of minibatches made ahead, at most; one minibatch is always made.
    pub prefetch_bytes: u64,
    /// Keeps part of the samples' files in memory or on a fast disk. Meant for training.
    pub cache: Option<CacheSettings>,
    /// Layout and type of the pixels.
    pub layout: PixelLayout,
    /// Provides the memory of minibatches in [`PixelLayout::U8Nhwc`]. `None`: the pipeline allocates it.
    pub buffer_provider: Option<Arc<dyn BufferProvider<u8>>>,
    /// Decides the order of samples and their augmentation.
    pub seed: u64,
    /// Scaling of pixels in the layouts of floating-point numbers.
    pub normalize: Normalize,
    /// Crop, size and augmentation of each image.
    pub transform: Transform,
    /// Whether each epoch has a random order of its own; otherwise samples come in the order of the data set.
    pub shuffle: bool,
}

/// What a pipeline takes with any number of workers: threads, and the allocator's arenas for them. An estimate, fitted
/// to measured peaks of runs on small images.
const PIPELINE_BYTES: u64 = 10 << 20;
/// What a worker holds besides minibatches with images of any size: its stack, tables, and the allocator's own. An
/// estimate.
const WORKER_BYTES: u64 = 1 << 20;
/// What a worker holds for each pixel of a square whose side is the images' typical shorter side: the encoded file, the
/// decoded pixels, and room for larger and longer images. An estimate.
const WORKER_BYTES_PER_PIXEL: u64 = 8;
/// What the checkpoints of one photograph take. An estimate.
const CHECKPOINT_BYTES_PER_SAMPLE: u64 = 400;
/// The typical shorter side that is assumed where it is unknown, in pixels.
const SIDE_UNKNOWN: u32 = 500;
/// Minibatches made ahead by default.
const PREFETCH_BATCHES: usize = 3;
/// Bytes made ahead by default.
const PREFETCH_BYTES: u64 = 256 << 20;

impl LoaderSettings {
    /// Settings with one worker, three minibatches ahead (at most 256 MiB), no cache, f32 pixels normalised by
    /// ImageNet's mean and deviation, and seed 0. Samples are shuffled if `transform` is one for training.
    pub fn new(batch_size: usize, transform: Transform) -> Self {
        Self {
            batch_size,
            workers: 1,
            workers_max: None,
            prefetch_batches: PREFETCH_BATCHES,
            prefetch_bytes: PREFETCH_BYTES,
            cache: None,
            layout: PixelLayout::F32Nchw,
            buffer_provider: None,
            seed: 0,
            normalize: Normalize::IMAGENET,
            shuffle: matches!(transform.mode, TransformMode::Train { .. }),
            transform,
        }
    }

    /// Bytes of one full minibatch.
    pub fn batch_bytes(&self, dataset: &Dataset) -> u64 {
        let per_item = match dataset {
            Dataset::Text(text) => (text.sequence_length() as u64 + 1) * 4,
            Dataset::Images(_) => {
                let values = u64::from(self.transform.image_size).pow(2) * 3;
                match self.layout {
                    PixelLayout::F32Nchw => values * 4,
                    PixelLayout::F16Nchw => values * 2,
                    PixelLayout::U8Nhwc => values,
                }
            }
        };
        per_item * self.batch_size as u64
    }

    /// Minibatches that may exist at once before they are taken, made or being made.
    pub(crate) fn batches_ahead(&self, dataset: &Dataset) -> usize {
        let by_bytes = self.prefetch_bytes / self.batch_bytes(dataset).max(1);
        self.prefetch_batches.min(usize::try_from(by_bytes).unwrap_or(usize::MAX)).max(1)
    }

    /// Bytes of the whole pipeline: minibatches made ahead, the one that is being consumed, the workers' buffers, and
    /// the cache. An estimate.
    pub fn planned_bytes(&self, dataset: &Dataset) -> u64 {
        let batches = if self.workers == 0 { 1 } else { self.batches_ahead(dataset) as u64 + 1 };
        let (fixed, per_worker) = match dataset {
            Dataset::Text(_) => (0, 0),
            Dataset::Images(images) => {
                let side = u64::from(images.typical_side().unwrap_or(SIDE_UNKNOWN));
                let checkpoints = images.labels.len() as u64 * CHECKPOINT_BYTES_PER_SAMPLE;
                let checkpoints = checkpoints.min(CHECKPOINT_BYTES_MAX as u64);
                (PIPELINE_BYTES + checkpoints, WORKER_BYTES + side * side * WORKER_BYTES_PER_PIXEL)
            }
        };
        let workers = self.workers_max.map_or(self.workers, |max| max.max(self.workers)).max(1) as u64;
        let cache = self.cache.as_ref().map_or(0, |cache| cache.memory_bytes(dataset));
        fixed + batches * self.batch_bytes(dataset) + workers * per_worker + cache
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::OpenOptions;
    use crate::source::memory::{ImageData, MemoryImage};

    /// Pixels of 100 by 40, so that the typical shorter side is 40.
    fn images(count: u32) -> Dataset {
        let data = ImageData::Pixels { pixels: vec![0; 4000], width: 100, height: 40, channels: 1 };
        let image = |n: u32| MemoryImage { name: n.to_string(), label: n % 2, data: data.clone() };
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        Dataset::from_images(classes, (0..count).map(image).collect(), &OpenOptions::default()).unwrap()
    }

    #[test]
    fn a_minibatch_takes_its_values_times_their_size() {
        let dataset = images(4);
        let bytes = |layout| {
            LoaderSettings { layout, ..LoaderSettings::new(8, Transform::train(10)) }.batch_bytes(&dataset)
        };
        assert_eq!(bytes(PixelLayout::U8Nhwc), 8 * 300);
        assert_eq!(bytes(PixelLayout::F16Nchw), 8 * 600);
        assert_eq!(bytes(PixelLayout::F32Nchw), 8 * 1200);
        let options = OpenOptions { sequence_length: 9, ..OpenOptions::default() };
        let text = Dataset::from_text(&"abc ".repeat(50), &options).unwrap();
        assert_eq!(LoaderSettings::new(8, Transform::train(10)).batch_bytes(&text), 8 * 10 * 4);
    }

    #[test]
    fn both_bounds_limit_what_is_made_ahead_and_one_minibatch_is_always_made() {
        let dataset = images(4);
        let one = LoaderSettings::new(8, Transform::train(10)).batch_bytes(&dataset);
        for (batches, bytes, ahead) in
            [(3, u64::MAX, 3), (3, 2 * one, 2), (3, 2 * one - 1, 1), (3, 0, 1), (0, u64::MAX, 1)]
        {
            let settings = LoaderSettings {
                prefetch_batches: batches,
                prefetch_bytes: bytes,
                ..LoaderSettings::new(8, Transform::train(10))
            };
            assert_eq!(settings.batches_ahead(&dataset), ahead, "{batches} batches, {bytes} bytes");
        }
    }

    #[test]
    fn the_plan_counts_minibatches_workers_and_what_is_remembered() {
        let dataset = images(4);
        let settings = LoaderSettings::new(8, Transform::train(10));
        let batch = settings.batch_bytes(&dataset);
        let fixed = PIPELINE_BYTES + 4 * CHECKPOINT_BYTES_PER_SAMPLE;
        let worker = WORKER_BYTES + 40 * 40 * WORKER_BYTES_PER_PIXEL;
        let planned = |workers, workers_max| {
            LoaderSettings { workers, workers_max, ..settings.clone() }.planned_bytes(&dataset)
        };
        assert_eq!(planned(1, None), fixed + 4 * batch + worker);
        assert_eq!(planned(3, None), fixed + 4 * batch + 3 * worker);
        assert_eq!(planned(2, Some(5)), fixed + 4 * batch + 5 * worker);
        // In the calling thread: one minibatch, and one worker's buffers.
        assert_eq!(planned(0, None), fixed + batch + worker);
    }

    #[test]
    fn a_transform_for_training_is_shuffled_and_one_for_validation_is_not() {
        assert!(LoaderSettings::new(1, Transform::train(8)).shuffle);
        assert!(!LoaderSettings::new(1, Transform::eval(8)).shuffle);
    }
}
