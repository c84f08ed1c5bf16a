//! How a minibatch of the sequence is made: a pure function of its number, in pieces that threads share.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use half::f16;

use crate::batch::{BadSample, HostBatch, Inputs, LoaderSettings, PixelLayout, StageTimes};
use crate::cache::{Cache, Fetched};
use crate::dataset::{Dataset, ImageDataset, Split};
use crate::order::{Order, Visit};
use crate::parts::{Part, Parts};
use crate::pipeline::Position;
use crate::pool::{Pool, Pooled};
use crate::rng::SampleKey;
use crate::transform::{Output, Scratch};

/// A worker takes samples of about this many bytes at once, so that the taking costs nothing beside the work.
const TASK_BYTES: usize = 64 << 10;

/// One thread's buffers.
#[derive(Default)]
pub(super) struct Worker {
    encoded: Vec<u8>,
    scratch: Scratch,
}

/// Makes any minibatch of the sequence.
pub(super) struct Maker {
    pub(super) dataset: Arc<Dataset>,
    pub(super) split: Split,
    settings: LoaderSettings,
    from: Position,
    pub(super) samples: u64,
    pub(super) batches_per_epoch: u64,
    pub(super) batches_ahead: usize,
    pub(super) visit: Visit,
    /// Elements of one sample.
    sample_length: usize,
    task_samples: usize,
    pools: Pools,
    pub(super) cache: Cache,
}

/// Buffers for the kinds of minibatches; only one of them is used.
struct Pools {
    floats: Pool<f32>,
    halves: Pool<f16>,
    bytes: Pool<u8>,
    tokens: Pool<i32>,
}

/// A minibatch while it is made.
pub(super) struct Building {
    seq: u64,
    epoch: u32,
    batch: u64,
    order: Order,
    /// Positions in the epoch.
    places: Range<u64>,
    /// Position of its first sample in the whole sequence.
    position: u64,
    buffer: Mutex<Option<Buffer>>,
    /// Samples that were given out.
    given: AtomicUsize,
    /// Samples that are not finished.
    unfinished: AtomicUsize,
    fetch_ns: AtomicU64,
    prep_ns: AtomicU64,
    /// With their place in the minibatch.
    bad: Mutex<Vec<(usize, BadSample)>>,
}

impl Building {
    pub(super) fn samples(&self) -> usize {
        (self.places.end - self.places.start) as usize
    }

    pub(super) fn position(&self) -> u64 {
        self.position + self.given.load(Ordering::Relaxed) as u64
    }
}

/// A minibatch's buffer while threads write to it.
enum Buffer {
    Floats(Arc<Parts<f32>>),
    Halves(Arc<Parts<f16>>),
    Bytes(Arc<Parts<u8>>),
    Tokens(Arc<Parts<i32>>),
}

/// A run of a minibatch's buffer.
enum Slot {
    Floats(Part<f32>),
    Halves(Part<f16>),
    Bytes(Part<u8>),
    Tokens(Part<i32>),
}

/// Some samples of a minibatch for one worker.
pub(super) struct Task {
    building: Arc<Building>,
    /// Their places in the minibatch.
    places: Range<usize>,
    slot: Slot,
}

impl Maker {
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
            bytes: Pool::lent(length, kept, settings.lender.clone()),
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

    /// Samples of the sequence before minibatch `seq`.
    pub(super) fn position(&self, seq: u64) -> u64 {
        let number = self.from.batch + seq;
        let begun = self.from.batch * self.settings.batch_size as u64;
        let in_epoch = (number % self.batches_per_epoch * self.settings.batch_size as u64).min(self.samples);
        number / self.batches_per_epoch * self.samples + in_epoch - begun
    }

    /// The epoch and the position in it of a sample of the sequence.
    pub(super) fn place(&self, position: u64) -> (u32, u64) {
        let from_epoch = position + self.from.batch * self.settings.batch_size as u64;
        (self.from.epoch + (from_epoch / self.samples) as u32, from_epoch % self.samples)
    }

    pub(super) fn order(&self, epoch: u32) -> Order {
        Order::new(self.samples, self.settings.seed, epoch, self.visit)
    }

    pub(super) fn begin(&self, seq: u64) -> Building {
        let number = self.from.batch + seq;
        let epoch = self.from.epoch + (number / self.batches_per_epoch) as u32;
        let batch = number % self.batches_per_epoch;
        let size = self.settings.batch_size as u64;
        let places = batch * size..((batch + 1) * size).min(self.samples);
        let samples = (places.end - places.start) as usize;
        Building {
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
            (Dataset::Text(_), _) => Buffer::Tokens(Parts::new(self.pools.tokens.take())),
            (_, PixelLayout::F32Nchw) => Buffer::Floats(Parts::new(self.pools.floats.take())),
            (_, PixelLayout::F16Nchw) => Buffer::Halves(Parts::new(self.pools.halves.take())),
            (_, PixelLayout::U8Nhwc) => Buffer::Bytes(Parts::new(self.pools.bytes.take())),
        }
    }

    /// The next samples of a minibatch; `None` if all were given out. Only one thread may be here at a time,
    /// so that samples and runs of the buffer go out in the same order.
    pub(super) fn task(&self, building: &Arc<Building>) -> Option<Task> {
        let from = building.given.load(Ordering::Relaxed);
        let count = self.task_samples.min(building.samples() - from);
        if count == 0 {
            return None;
        }
        building.given.store(from + count, Ordering::Relaxed);
        let length = count * self.sample_length;
        let buffer = building.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match buffer.as_ref()? {
            Buffer::Floats(parts) => Slot::Floats(parts.lend(length)),
            Buffer::Halves(parts) => Slot::Halves(parts.lend(length)),
            Buffer::Bytes(parts) => Slot::Bytes(parts.lend(length)),
            Buffer::Tokens(parts) => Slot::Tokens(parts.lend(length)),
        };
        drop(buffer);
        Some(Task { building: building.clone(), places: from..from + count, slot })
    }

    /// Makes a whole minibatch in this thread.
    pub(super) fn make(&self, seq: u64, worker: &mut Worker) -> Option<HostBatch> {
        let building = Arc::new(self.begin(seq));
        while let Some(task) = self.task(&building) {
            if let Some(batch) = self.fill(task, worker) {
                return Some(batch);
            }
        }
        None
    }

    /// Makes the task's samples; gives the minibatch if these were its last.
    pub(super) fn fill(&self, task: Task, worker: &mut Worker) -> Option<HostBatch> {
        let Task { building, places, mut slot } = task;
        let count = places.len();
        for (i, place) in places.enumerate() {
            let sample = building.order.at(building.places.start + place as u64);
            let range = i * self.sample_length..(i + 1) * self.sample_length;
            let result = self.sample(&building, sample, &mut slot, range, worker);
            if let Err(bad) = result {
                building.bad.lock().unwrap_or_else(PoisonError::into_inner).push((place, bad));
            }
        }
        // The run goes back before it counts as finished: whoever finishes last finds the buffer whole.
        drop(slot);
        if building.unfinished.fetch_sub(count, Ordering::AcqRel) > count {
            return None;
        }
        self.finish(&building)
    }

    fn sample(
        &self,
        building: &Building,
        sample: u64,
        slot: &mut Slot,
        range: Range<usize>,
        worker: &mut Worker,
    ) -> Result<(), BadSample> {
        let normalize = &self.settings.normalize;
        let out = match slot {
            Slot::Floats(out) => Output::F32Nchw { out: &mut out[range], normalize },
            Slot::Halves(out) => Output::F16Nchw { out: &mut out[range], normalize },
            Slot::Bytes(out) => Output::U8Nhwc(&mut out[range]),
            Slot::Tokens(out) => {
                if let Dataset::Text(text) = self.dataset.as_ref() {
                    let begun = Instant::now();
                    text.window(self.split, self.settings.seed, building.epoch, sample, &mut out[range]);
                    building.prep_ns.fetch_add(nanoseconds(begun.elapsed()), Ordering::Relaxed);
                }
                return Ok(());
            }
        };
        // Only a text's minibatches are tokens, and a text has no others: `buffer`.
        let Dataset::Images(images) = self.dataset.as_ref() else { return Ok(()) };
        let index = images.split(self.split)[sample as usize];
        self.image(images, index, building, out, worker).map_err(|reason| {
            let name = images.store.name(index as usize);
            BadSample { index: index.into(), name, reason }
        })
    }

    /// Reads and transforms one image into its place.
    fn image(
        &self,
        images: &ImageDataset,
        index: u32,
        building: &Building,
        out: Output<'_>,
        worker: &mut Worker,
    ) -> Result<(), String> {
        let begun = Instant::now();
        let fetched = self.cache.read(&images.store, index as usize, &mut worker.encoded);
        images.forget(index as usize);
        let read = Instant::now();
        building.fetch_ns.fetch_add(nanoseconds(read - begun), Ordering::Relaxed);
        let Fetched { form, bytes } = fetched.map_err(|e| format!("cannot be read: {e}"))?;
        let key = SampleKey { seed: self.settings.seed, epoch: building.epoch, index: index.into() };
        let encoded = form.encoded(bytes);
        let transform = &self.settings.transform;
        let memory = Some(&images.remembered);
        let result = transform.apply_remembering(encoded, key, memory, &mut worker.scratch, out);
        building.prep_ns.fetch_add(nanoseconds(read.elapsed()), Ordering::Relaxed);
        result.map_err(|e| e.to_string())
    }

    /// All samples are there: the minibatch without its bad ones.
    fn finish(&self, building: &Building) -> Option<HostBatch> {
        let mut bad = std::mem::take(&mut *building.bad.lock().unwrap_or_else(PoisonError::into_inner));
        bad.sort_unstable_by_key(|(place, _)| *place);
        let is_good = |place: &usize| bad.binary_search_by_key(place, |(place, _)| *place).is_err();
        let good: Vec<usize> = (0..building.samples()).filter(is_good).collect();
        let samples = good.iter().map(|place| building.order.at(building.places.start + *place as u64));
        let (labels, indices): (Vec<i32>, Vec<u64>) = match self.dataset.as_ref() {
            Dataset::Text(_) => (Vec::new(), samples.collect()),
            Dataset::Images(images) => {
                let split = images.split(self.split);
                let indices = samples.map(|sample| split[sample as usize]);
                indices.map(|index| (images.labels[index as usize] as i32, u64::from(index))).unzip()
            }
        };
        let buffer = building.buffer.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(HostBatch {
            seq: building.seq,
            epoch: building.epoch,
            batch: building.batch,
            items: good.len(),
            inputs: self.inputs(buffer, &good)?,
            labels,
            indices,
            bad: bad.into_iter().map(|(_, bad)| bad).collect(),
            times: StageTimes {
                fetch_ns: building.fetch_ns.load(Ordering::Relaxed),
                prep_ns: building.prep_ns.load(Ordering::Relaxed),
            },
        })
    }

    fn inputs(&self, buffer: Buffer, good: &[usize]) -> Option<Inputs> {
        let (items, length) = (good.len(), self.sample_length);
        let size = self.settings.transform.image_size as usize;
        Some(match buffer {
            Buffer::Floats(parts) => {
                Inputs::F32Nchw { data: packed(parts, good, length)?, shape: [items, 3, size, size] }
            }
            Buffer::Halves(parts) => {
                Inputs::F16Nchw { data: packed(parts, good, length)?, shape: [items, 3, size, size] }
            }
            Buffer::Bytes(parts) => {
                Inputs::U8Nhwc { data: packed(parts, good, length)?, shape: [items, size, size, 3] }
            }
            Buffer::Tokens(parts) => {
                Inputs::Tokens { data: packed(parts, good, length)?, shape: [items, length] }
            }
        })
    }
}

/// The good samples of a buffer, one after the other.
fn packed<T: Copy>(parts: Arc<Parts<T>>, good: &[usize], length: usize) -> Option<Pooled<T>> {
    let mut data = parts.take_back()?;
    for (to, from) in good.iter().enumerate().filter(|(to, from)| to != *from) {
        data.copy_within(from * length..(from + 1) * length, to * length);
    }
    data.shorten(good.len() * length);
    Some(data)
}

/// How to visit the samples of a data set.
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
