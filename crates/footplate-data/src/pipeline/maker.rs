//! Makes the minibatches of a sequence. Each is a pure function of its number, and is made in pieces by several threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use half::f16;

use crate::batch::{HostBatch, Inputs, PixelLayout, StageTimes};
use crate::cache::{Cache, Fetched};
use crate::dataset::{Dataset, ImageDataset};
use crate::loader::LoaderSettings;
use crate::order::{Order, Visit};
use crate::pipeline::Position;
use crate::pixel_sink::PixelSink;
use crate::pool::{Pool, Pooled};
use crate::rng::SampleKey;
use crate::sample::BadSample;
use crate::shared_buffer::{BufferSlice, SharedBuffer};
use crate::split::Split;
use crate::transform::Scratch;

/// Bytes of samples that a worker takes at once, about: enough to make the cost of taking them negligible.
const TASK_BYTES: usize = 64 << 10;

/// Buffers of one thread, which are used again for each sample.
#[derive(Default)]
pub(super) struct Worker {
    encoded: Vec<u8>,
    scratch: Scratch,
}

/// Makes any minibatch of the sequence.
pub(super) struct BatchMaker {
    pub(super) dataset: Arc<Dataset>,
    pub(super) split: Split,
    settings: LoaderSettings,
    from: Position,
    pub(super) samples: u64,
    pub(super) batches_per_epoch: u64,
    pub(super) batches_ahead: usize,
    pub(super) visit: Visit,
    /// Number of values in a sample.
    sample_length: usize,
    task_samples: usize,
    pools: Pools,
    pub(super) cache: Cache,
}

/// Buffers for each type of minibatch; a pipeline uses one of them.
struct Pools {
    floats: Pool<f32>,
    halves: Pool<f16>,
    bytes: Pool<u8>,
    tokens: Pool<i32>,
}

/// A minibatch while it is made.
pub(super) struct PendingBatch {
    seq: u64,
    epoch: u32,
    batch: u64,
    order: Order,
    /// Positions of its samples in the epoch.
    places: Range<u64>,
    /// Position of its first sample in the whole sequence.
    position: u64,
    buffer: Mutex<Option<Buffer>>,
    /// Number of samples that were handed out.
    given: AtomicUsize,
    /// Number of samples that are not finished.
    unfinished: AtomicUsize,
    fetch_ns: AtomicU64,
    prep_ns: AtomicU64,
    /// Each with its place in the minibatch.
    bad: Mutex<Vec<(usize, BadSample)>>,
}

impl PendingBatch {
    pub(super) fn samples(&self) -> usize {
        (self.places.end - self.places.start) as usize
    }

    pub(super) fn position(&self) -> u64 {
        self.position + self.given.load(Ordering::Relaxed) as u64
    }
}

/// A minibatch's buffer while threads write to it.
enum Buffer {
    Floats(Arc<SharedBuffer<f32>>),
    Halves(Arc<SharedBuffer<f16>>),
    Bytes(Arc<SharedBuffer<u8>>),
    Tokens(Arc<SharedBuffer<i32>>),
}

/// The slice of a minibatch's buffer that belongs to a task.
enum TaskSlice {
    Floats(BufferSlice<f32>),
    Halves(BufferSlice<f16>),
    Bytes(BufferSlice<u8>),
    Tokens(BufferSlice<i32>),
}

/// Some samples of a minibatch for one worker.
pub(super) struct Task {
    pending: Arc<PendingBatch>,
    /// Their places in the minibatch.
    places: Range<usize>,
    slice: TaskSlice,
}

impl BatchMaker {
    pub(super) fn new(dataset: Arc<Dataset>, split: Split, settings: LoaderSettings, from: Position) -> Self {
        let samples = dataset.len(split) as u64;
        let batches_ahead = settings.batches_ahead(&dataset);
        let sample_length = match dataset.as_ref() {
            Dataset::Text(text) => text.sequence_length() + 1,
            Dataset::Images(_) => (settings.transform.image_size as usize).pow(2) * 3,
        };
        let length = settings.batch_size * sample_length;
        let kept = batches_ahead + 1;
        let sample_bytes = (settings.batch_bytes(&dataset) as usize / settings.batch_size.max(1)).max(1);
        let share = settings.batch_size.div_ceil(2 * settings.workers.max(1)).max(1);
        let pools = Pools {
            floats: Pool::new(length, kept),
            halves: Pool::new(length, kept),
            bytes: Pool::with_provider(length, kept, settings.buffer_provider.clone()),
            tokens: Pool::new(length, kept),
        };
        Self {
            batches_per_epoch: samples.div_ceil(settings.batch_size as u64),
            cache: Cache::open(settings.cache.as_ref(), &dataset),
            visit: visit(&dataset, settings.shuffle),
            task_samples: (TASK_BYTES / sample_bytes).clamp(1, share),
            dataset,
            split,
            settings,
            from,
            samples,
            batches_ahead,
            sample_length,
            pools,
        }
    }

    /// Number of samples in the sequence before minibatch `seq`.
    pub(super) fn position(&self, seq: u64) -> u64 {
        let number = self.from.batch + seq;
        let begun = self.from.batch * self.settings.batch_size as u64;
        let in_epoch = (number % self.batches_per_epoch * self.settings.batch_size as u64).min(self.samples);
        number / self.batches_per_epoch * self.samples + in_epoch - begun
    }

    /// The epoch of a sample of the sequence, and its position in the epoch.
    pub(super) fn place(&self, position: u64) -> (u32, u64) {
        let from_epoch = position + self.from.batch * self.settings.batch_size as u64;
        (self.from.epoch + (from_epoch / self.samples) as u32, from_epoch % self.samples)
    }

    pub(super) fn order(&self, epoch: u32) -> Order {
        Order::new(self.samples, self.settings.seed, epoch, self.visit)
    }

    pub(super) fn begin(&self, seq: u64) -> PendingBatch {
        let number = self.from.batch + seq;
        let epoch = self.from.epoch + (number / self.batches_per_epoch) as u32;
        let batch = number % self.batches_per_epoch;
        let size = self.settings.batch_size as u64;
        let places = batch * size..((batch + 1) * size).min(self.samples);
        let samples = (places.end - places.start) as usize;
        PendingBatch {
            seq,
            epoch,
            batch,
            order: self.order(epoch),
            position: self.position(seq),
            places,
            buffer: Mutex::new(Some(self.buffer())),
            given: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(samples),
            fetch_ns: AtomicU64::new(0),
            prep_ns: AtomicU64::new(0),
            bad: Mutex::default(),
        }
    }

    fn buffer(&self) -> Buffer {
        match (self.dataset.as_ref(), self.settings.layout) {
            (Dataset::Text(_), _) => Buffer::Tokens(SharedBuffer::new(self.pools.tokens.take())),
            (_, PixelLayout::F32Nchw) => Buffer::Floats(SharedBuffer::new(self.pools.floats.take())),
            (_, PixelLayout::F16Nchw) => Buffer::Halves(SharedBuffer::new(self.pools.halves.take())),
            (_, PixelLayout::U8Nhwc) => Buffer::Bytes(SharedBuffer::new(self.pools.bytes.take())),
        }
    }

    /// The next samples of a minibatch; `None` if all were handed out. Only one thread may call this at a time, so that
    /// samples and slices of the buffer are handed out in the same order.
    pub(super) fn task(&self, pending: &Arc<PendingBatch>) -> Option<Task> {
        let from = pending.given.load(Ordering::Relaxed);
        let count = self.task_samples.min(pending.samples() - from);
        if count == 0 {
            return None;
        }
        pending.given.store(from + count, Ordering::Relaxed);
        let length = count * self.sample_length;
        let buffer = pending.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let slice = match buffer.as_ref()? {
            Buffer::Floats(shared) => TaskSlice::Floats(shared.split_next(length)),
            Buffer::Halves(shared) => TaskSlice::Halves(shared.split_next(length)),
            Buffer::Bytes(shared) => TaskSlice::Bytes(shared.split_next(length)),
            Buffer::Tokens(shared) => TaskSlice::Tokens(shared.split_next(length)),
        };
        drop(buffer);
        Some(Task { pending: pending.clone(), places: from..from + count, slice })
    }

    /// Makes a whole minibatch in this thread.
    pub(super) fn make(&self, seq: u64, worker: &mut Worker) -> Option<HostBatch> {
        let pending = Arc::new(self.begin(seq));
        while let Some(task) = self.task(&pending) {
            if let Some(batch) = self.fill(task, worker) {
                return Some(batch);
            }
        }
        None
    }

    /// Makes the samples of a task; returns the minibatch if they were its last.
    pub(super) fn fill(&self, task: Task, worker: &mut Worker) -> Option<HostBatch> {
        let Task { pending, places, mut slice } = task;
        let count = places.len();
        for (i, place) in places.enumerate() {
            let sample = pending.order.at(pending.places.start + place as u64);
            let range = i * self.sample_length..(i + 1) * self.sample_length;
            let result = self.sample(&pending, sample, &mut slice, range, worker);
            if let Err(bad) = result {
                pending.bad.lock().unwrap_or_else(PoisonError::into_inner).push((place, bad));
            }
        }
        // The slice is dropped before its samples count as finished, so that the last thread can take the buffer back.
        drop(slice);
        if pending.unfinished.fetch_sub(count, Ordering::AcqRel) > count {
            return None;
        }
        self.finish(&pending)
    }

    fn sample(
        &self,
        pending: &PendingBatch,
        sample: u64,
        slice: &mut TaskSlice,
        range: Range<usize>,
        worker: &mut Worker,
    ) -> Result<(), BadSample> {
        let normalize = &self.settings.normalize;
        let out = match slice {
            TaskSlice::Floats(out) => PixelSink::F32Nchw { out: &mut out[range], normalize },
            TaskSlice::Halves(out) => PixelSink::F16Nchw { out: &mut out[range], normalize },
            TaskSlice::Bytes(out) => PixelSink::U8Nhwc(&mut out[range]),
            TaskSlice::Tokens(out) => {
                if let Dataset::Text(text) = self.dataset.as_ref() {
                    let begun = Instant::now();
                    text.window(self.split, self.settings.seed, pending.epoch, sample, &mut out[range]);
                    pending.prep_ns.fetch_add(nanoseconds(begun.elapsed()), Ordering::Relaxed);
                }
                return Ok(());
            }
        };
        // Minibatches of a text are tokens, which were handled above.
        let Dataset::Images(images) = self.dataset.as_ref() else { return Ok(()) };
        let index = images.split(self.split)[sample as usize];
        self.image(images, index, pending, out, worker).map_err(|reason| {
            let name = images.store.name(index as usize);
            BadSample { index: index.into(), name, reason }
        })
    }

    /// Reads and transforms one image into its place.
    fn image(
        &self,
        images: &ImageDataset,
        index: u32,
        pending: &PendingBatch,
        out: PixelSink<'_>,
        worker: &mut Worker,
    ) -> Result<(), String> {
        let begun = Instant::now();
        let fetched = self.cache.read(&images.store, index as usize, &mut worker.encoded);
        images.evict_if_asked(index as usize);
        let read = Instant::now();
        pending.fetch_ns.fetch_add(nanoseconds(read - begun), Ordering::Relaxed);
        let Fetched { form, bytes } = fetched.map_err(|e| format!("cannot be read: {e}"))?;
        let key = SampleKey { seed: self.settings.seed, epoch: pending.epoch, index: index.into() };
        let encoded = form.encoded(bytes);
        let transform = &self.settings.transform;
        let memory = Some(&images.checkpoints);
        let result = transform.apply_cached(encoded, key, memory, &mut worker.scratch, out);
        pending.prep_ns.fetch_add(nanoseconds(read.elapsed()), Ordering::Relaxed);
        result.map_err(|e| e.to_string())
    }

    /// The minibatch without its bad samples, once all were made.
    fn finish(&self, pending: &PendingBatch) -> Option<HostBatch> {
        let mut bad = std::mem::take(&mut *pending.bad.lock().unwrap_or_else(PoisonError::into_inner));
        bad.sort_unstable_by_key(|(place, _)| *place);
        let is_good = |place: &usize| bad.binary_search_by_key(place, |(place, _)| *place).is_err();
        let good: Vec<usize> = (0..pending.samples()).filter(is_good).collect();
        let samples = good.iter().map(|place| pending.order.at(pending.places.start + *place as u64));
        let (labels, indices): (Vec<i32>, Vec<u64>) = match self.dataset.as_ref() {
            Dataset::Text(_) => (Vec::new(), samples.collect()),
            Dataset::Images(images) => {
                let split = images.split(self.split);
                let indices = samples.map(|sample| split[sample as usize]);
                indices.map(|index| (images.labels[index as usize] as i32, u64::from(index))).unzip()
            }
        };
        let buffer = pending.buffer.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(HostBatch {
            seq: pending.seq,
            epoch: pending.epoch,
            batch: pending.batch,
            items: good.len(),
            inputs: self.inputs(buffer, &good)?,
            labels,
            indices,
            bad: bad.into_iter().map(|(_, bad)| bad).collect(),
            times: StageTimes {
                fetch_ns: pending.fetch_ns.load(Ordering::Relaxed),
                prep_ns: pending.prep_ns.load(Ordering::Relaxed),
            },
        })
    }

    fn inputs(&self, buffer: Buffer, good: &[usize]) -> Option<Inputs> {
        let (items, length) = (good.len(), self.sample_length);
        let size = self.settings.transform.image_size as usize;
        Some(match buffer {
            Buffer::Floats(shared) => {
                Inputs::F32Nchw { data: packed(shared, good, length)?, shape: [items, 3, size, size] }
            }
            Buffer::Halves(shared) => {
                Inputs::F16Nchw { data: packed(shared, good, length)?, shape: [items, 3, size, size] }
            }
            Buffer::Bytes(shared) => {
                Inputs::U8Nhwc { data: packed(shared, good, length)?, shape: [items, size, size, 3] }
            }
            Buffer::Tokens(shared) => {
                Inputs::Tokens { data: packed(shared, good, length)?, shape: [items, length] }
            }
        })
    }
}

/// Moves the good samples of a buffer to its front, without gaps.
fn packed<T: Copy>(shared: Arc<SharedBuffer<T>>, good: &[usize], length: usize) -> Option<Pooled<T>> {
    let mut data = shared.take_back()?;
    for (to, from) in good.iter().enumerate().filter(|(to, from)| to != *from) {
        data.copy_within(from * length..(from + 1) * length, to * length);
    }
    data.shorten(good.len() * length);
    Some(data)
}

/// In which order the samples of a data set are visited.
fn visit(dataset: &Dataset, shuffle: bool) -> Visit {
    match dataset {
        _ if !shuffle => Visit::AsStored,
        Dataset::Images(images) => images.store.visit(),
        Dataset::Text(_) => Visit::Anywhere,
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
