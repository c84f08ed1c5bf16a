//! Minibatches in host memory, and how they are to be made.

use std::sync::Arc;

use half::f16;

use crate::augment::Normalize;
use crate::cache::CacheSettings;
use crate::dataset::{Dataset, REMEMBERED_BYTES_MAX};
use crate::pool::{Lender, Pooled};
use crate::transform::Transform;

/// How pixels stand in a minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelLayout {
    /// Normalised f32, `[n, 3, h, w]`.
    F32Nchw,
    /// Normalised f16, `[n, 3, h, w]`.
    F16Nchw,
    /// Bytes, `[n, h, w, 3]`, to be normalised on the device.
    U8Nhwc,
}

/// How minibatches are made.
#[derive(Clone, Debug)]
pub struct LoaderSettings {
    /// Samples in one.
    pub batch_size: usize,
    /// Threads; 0: minibatches are made in the thread that asks for them.
    pub workers: usize,
    /// The pipeline may choose up to so many workers, and its depth, by what its consumer waits for; `None`:
    /// it keeps `workers` and the greatest depth.
    pub workers_max: Option<usize>,
    /// Minibatches made ahead, at most.
    pub prefetch_batches: usize,
    /// Bytes of minibatches made ahead, at most (one is always made).
    pub prefetch_bytes: u64,
    /// A part of the samples' bytes near the workers; for training.
    pub cache: Option<CacheSettings>,
    /// How pixels stand.
    pub layout: PixelLayout,
    /// Lends the memory for minibatches of [`PixelLayout::U8Nhwc`]; `None`: the pipeline's own.
    pub lender: Option<Arc<dyn Lender<u8>>>,
    /// Of order and augmentation.
    pub seed: u64,
    /// For [`PixelLayout::F32Nchw`].
    pub normalize: Normalize,
    /// What is done to each image.
    pub transform: Transform,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
}

/// What a pipeline costs whatever its workers are: threads, the allocator's arenas for them. Fitted to
/// measured peaks of runs on small images; an estimate.
const PIPELINE_BYTES: u64 = 10 << 20;
/// What a worker holds besides minibatches whatever the images are: its stack, tables, and the allocator's own.
/// An estimate.
const WORKER_BYTES: u64 = 1 << 20;
/// What it holds for each pixel of an image whose sides are the typical shorter one: the encoded file, the planes
/// or pixels that it is decoded to, some room for larger and longer images. An estimate.
const WORKER_BYTES_PER_PIXEL: u64 = 8;
/// What is remembered of a photograph's file. An estimate.
const REMEMBERED_BYTES_PER_SAMPLE: u64 = 400;
/// The side that is reckoned with where none is known, in pixels.
const SIDE_UNKNOWN: u32 = 500;

impl LoaderSettings {
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

    /// Minibatches that may be there at once, made or being made.
    pub(crate) fn batches_ahead(&self, dataset: &Dataset) -> usize {
        let by_bytes = self.prefetch_bytes / self.batch_bytes(dataset).max(1);
        self.prefetch_batches.min(usize::try_from(by_bytes).unwrap_or(usize::MAX)).max(1)
    }

    /// Bytes of the whole pipeline: minibatches made ahead, the one that is being consumed, the workers'
    /// buffers, and the cache. An estimate.
    pub fn planned_bytes(&self, dataset: &Dataset) -> u64 {
        let batches = if self.workers == 0 { 1 } else { self.batches_ahead(dataset) as u64 + 1 };
        let (own, per_worker) = match dataset {
            Dataset::Text(_) => (0, 0),
            Dataset::Images(images) => {
                let side = u64::from(images.typical_side().unwrap_or(SIDE_UNKNOWN));
                let remembered = REMEMBERED_BYTES_MAX as u64;
                let remembered = remembered.min(images.labels.len() as u64 * REMEMBERED_BYTES_PER_SAMPLE);
                (PIPELINE_BYTES + remembered, WORKER_BYTES + side * side * WORKER_BYTES_PER_PIXEL)
            }
        };
        let workers = self.workers_max.map_or(self.workers, |max| max.max(self.workers)).max(1) as u64;
        let cache = self.cache.as_ref().map_or(0, |cache| cache.memory_bytes(dataset));
        own + batches * self.batch_bytes(dataset) + workers * per_worker + cache
    }
}

/// One minibatch in host memory.
#[derive(Debug)]
pub struct HostBatch {
    /// Number in the pipeline's sequence, from 0.
    pub seq: u64,
    /// From 0.
    pub epoch: u32,
    /// Number in the epoch, from 0.
    pub batch: u64,
    /// Good samples in it. It may be 0 if all were bad.
    pub items: usize,
    /// The samples.
    pub inputs: Inputs,
    /// The class of each item; empty for text.
    pub labels: Vec<i32>,
    /// Each item's number in the data set.
    pub indices: Vec<u64>,
    /// Samples that were left out.
    pub bad: Vec<BadSample>,
    /// What it took.
    pub times: StageTimes,
}

/// The samples of a minibatch; the data's length is the product of the shape.
#[derive(Debug)]
pub enum Inputs {
    /// Normalised images, `[n, 3, h, w]`.
    F32Nchw {
        /// In row-major order.
        data: Pooled<f32>,
        /// `[n, 3, h, w]`
        shape: [usize; 4],
    },
    /// Normalised images in half precision, `[n, 3, h, w]`.
    F16Nchw {
        /// In row-major order.
        data: Pooled<f16>,
        /// `[n, 3, h, w]`
        shape: [usize; 4],
    },
    /// Pixels, `[n, h, w, 3]`.
    U8Nhwc {
        /// In row-major order.
        data: Pooled<u8>,
        /// `[n, h, w, 3]`
        shape: [usize; 4],
    },
    /// Characters by number, `[n, sequence length + 1]`.
    Tokens {
        /// In row-major order.
        data: Pooled<i32>,
        /// `[n, sequence length + 1]`
        shape: [usize; 2],
    },
}

/// Time of the threads that made a minibatch, added up, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// To read bytes.
    pub fetch_ns: u64,
    /// To decode, augment and collate.
    pub prep_ns: u64,
}

/// A sample that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSample {
    /// Its number in the data set.
    pub index: u64,
    /// Its file, or its name in an archive.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}
