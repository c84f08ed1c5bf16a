//! Minibatches in sequence, made by several threads ahead of their consumer.
//!
//! A worker takes the next number in the sequence and makes that whole minibatch. It waits while as many
//! minibatches as the bound allows are made, being made, or waiting to be taken. Finished ones wait by number,
//! so that they leave in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::batch::{BadSample, HostBatch, Inputs, LoaderSettings, PixelLayout, StageTimes};
use crate::dataset::{Dataset, ImageDataset, Split};
use crate::error::DataError;
use crate::order::EpochOrder;
use crate::pool::{Pool, Pooled};
use crate::rng::SampleKey;
use crate::text::TextDataset;
use crate::transform::{Output, Scratch};

/// A place in the sequence of minibatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 0.
    pub epoch: u32,
    /// Number in the epoch, from 0.
    pub batch: u64,
}

/// Minibatches in sequence.
pub struct Pipeline {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Makes minibatches where there are no workers.
    own: Option<Worker>,
    next: u64,
}

/// What all threads see.
struct Shared {
    maker: Maker,
    /// Minibatches of the whole sequence.
    total: u64,
    /// Minibatches that may be there at once.
    ahead: u64,
    queue: Mutex<Queue>,
    /// A minibatch was finished, or a worker died.
    finished: Condvar,
    /// A minibatch was taken, or the pipeline is closing.
    taken: Condvar,
}

struct Queue {
    /// The next number to be made.
    next: u64,
    /// Minibatches that the consumer has taken.
    delivered: u64,
    ready: BTreeMap<u64, HostBatch>,
    closed: bool,
    died: bool,
}

impl Shared {
    /// A lock that a panicking thread has left is as good as any: the queue is changed in single steps.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next number to be made, as soon as the bound allows it; `None`: there is nothing more to do.
    fn ticket(&self) -> Option<u64> {
        let mut queue = self.lock();
        loop {
            if queue.closed || queue.died || queue.next >= self.total {
                return None;
            }
            if queue.next < queue.delivered + self.ahead {
                queue.next += 1;
                return Some(queue.next - 1);
            }
            queue = self.taken.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, batch: HostBatch) {
        self.lock().ready.insert(batch.seq, batch);
        self.finished.notify_all();
    }

    fn take(&self, seq: u64) -> Result<HostBatch, DataError> {
        let mut queue = self.lock();
        loop {
            if let Some(batch) = queue.ready.remove(&seq) {
                queue.delivered = seq + 1;
                self.taken.notify_all();
                return Ok(batch);
            }
            if queue.died {
                return Err(DataError::WorkerDied);
            }
            queue = self.finished.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Tells the consumer when its thread panics.
struct DeathNotice<'a>(&'a Shared);

impl Drop for DeathNotice<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().died = true;
            self.0.finished.notify_all();
            self.0.taken.notify_all();
        }
    }
}

impl Pipeline {
    /// Minibatches of `split` from `from` on, over the ends of epochs, up to the beginning of epoch
    /// `epochs_end`.
    pub fn start(
        dataset: Arc<Dataset>,
        split: Split,
        settings: LoaderSettings,
        from: Position,
        epochs_end: u32,
    ) -> Result<Self, DataError> {
        let maker = Maker::new(dataset, split, settings, from);
        let epochs = u64::from(epochs_end.saturating_sub(from.epoch));
        let total = (epochs * maker.batches_per_epoch).saturating_sub(from.batch);
        let workers = maker.settings.workers;
        let ahead = maker.settings.batches_ahead(&maker.dataset) as u64;
        let queue = Queue { next: 0, delivered: 0, ready: BTreeMap::new(), closed: false, died: false };
        let shared = Arc::new(Shared {
            maker,
            total,
            ahead,
            queue: Mutex::new(queue),
            finished: Condvar::new(),
            taken: Condvar::new(),
        });
        let mut pipeline = Self { shared, threads: Vec::new(), own: None, next: 0 };
        if workers == 0 {
            pipeline.own = Some(Worker::default());
        }
        for number in 0..workers {
            pipeline.spawn(number)?;
        }
        Ok(pipeline)
    }

    fn spawn(&mut self, number: usize) -> Result<(), DataError> {
        let shared = self.shared.clone();
        let work = move || {
            let _notice = DeathNotice(&shared);
            let mut worker = Worker::default();
            while let Some(seq) = shared.ticket() {
                let batch = shared.maker.make(seq, &mut worker);
                shared.put(batch);
            }
        };
        let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(work);
        // A failure drops the pipeline, which ends the threads that did start.
        self.threads.push(thread.map_err(DataError::Thread)?);
        Ok(())
    }

    /// Minibatches in an epoch; the last one may be smaller.
    pub fn batches_per_epoch(&self) -> u64 {
        self.shared.maker.batches_per_epoch
    }
}

impl Iterator for Pipeline {
    type Item = Result<HostBatch, DataError>;

    /// Waits for the next minibatch. `None` after the last one.
    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.shared.total {
            return None;
        }
        let seq = self.next;
        self.next += 1;
        Some(match &mut self.own {
            Some(worker) => Ok(self.shared.maker.make(seq, worker)),
            None => self.shared.take(seq),
        })
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.taken.notify_all();
        for thread in self.threads.drain(..) {
            // That a worker panicked was told by `next`, or nobody asks any more.
            let _ = thread.join();
        }
    }
}

/// One thread's buffers.
#[derive(Default)]
struct Worker {
    encoded: Vec<u8>,
    scratch: Scratch,
}

/// Makes any minibatch of the sequence: a pure function of its number.
struct Maker {
    dataset: Arc<Dataset>,
    split: Split,
    settings: LoaderSettings,
    from: Position,
    samples: u64,
    batches_per_epoch: u64,
    floats: Pool<f32>,
    bytes: Pool<u8>,
    tokens: Pool<i32>,
}

impl Maker {
    fn new(dataset: Arc<Dataset>, split: Split, settings: LoaderSettings, from: Position) -> Self {
        let samples = dataset.len(split) as u64;
        let kept = settings.batches_ahead(&dataset) + 1;
        let values = settings.batch_size * (settings.transform.image_size as usize).pow(2) * 3;
        let window = match dataset.as_ref() {
            Dataset::Text(text) => text.sequence_length() + 1,
            Dataset::Images(_) => 0,
        };
        Self {
            batches_per_epoch: samples.div_ceil(settings.batch_size as u64),
            floats: Pool::new(values, kept),
            bytes: Pool::new(values, kept),
            tokens: Pool::new(settings.batch_size * window, kept),
            dataset,
            split,
            settings,
            from,
            samples,
        }
    }

    fn make(&self, seq: u64, worker: &mut Worker) -> HostBatch {
        let number = self.from.batch + seq;
        let epoch = self.from.epoch + (number / self.batches_per_epoch) as u32;
        let batch = number % self.batches_per_epoch;
        let size = self.settings.batch_size as u64;
        let order = EpochOrder::new(self.samples, self.settings.seed, epoch, self.settings.shuffle);
        let places = batch * size..((batch + 1) * size).min(self.samples);
        let samples: Vec<u64> = places.map(|place| order.at(place)).collect();
        let mut made = Made { seq, epoch, batch, times: StageTimes::default(), bad: Vec::new() };
        match self.dataset.as_ref() {
            Dataset::Images(images) => self.images(images, &samples, &mut made, worker),
            Dataset::Text(text) => self.windows(text, samples, made),
        }
    }

    fn windows(&self, text: &TextDataset, samples: Vec<u64>, mut made: Made) -> HostBatch {
        let begun = Instant::now();
        let length = text.sequence_length() + 1;
        let mut data = self.tokens.take();
        for (sample, out) in samples.iter().zip(data.chunks_exact_mut(length)) {
            text.window(self.split, self.settings.seed, made.epoch, *sample, out);
        }
        data.shorten(samples.len() * length);
        made.times.prep_ns = nanoseconds(begun);
        let shape = [samples.len(), length];
        made.batch(Inputs::Tokens { data, shape }, Vec::new(), samples)
    }

    fn images(
        &self,
        images: &ImageDataset,
        samples: &[u64],
        made: &mut Made,
        worker: &mut Worker,
    ) -> HostBatch {
        let mut target = Target::new(self);
        let split = images.split(self.split);
        let (mut labels, mut indices) = (Vec::new(), Vec::new());
        for sample in samples {
            let index = split[*sample as usize];
            let out = target.place(labels.len(), self);
            match self.image(images, index, made, worker, out) {
                Ok(()) => {
                    labels.push(images.labels[index as usize] as i32);
                    indices.push(u64::from(index));
                }
                Err(reason) => {
                    let name = images.store.name(index as usize);
                    made.bad.push(BadSample { index: index.into(), name, reason });
                }
            }
        }
        let inputs = target.finish(labels.len(), self.settings.transform.image_size as usize);
        std::mem::take(made).batch(inputs, labels, indices)
    }

    /// Reads and transforms one image into its place in the minibatch.
    fn image(
        &self,
        images: &ImageDataset,
        index: u32,
        made: &mut Made,
        worker: &mut Worker,
        out: Output<'_>,
    ) -> Result<(), String> {
        let begun = Instant::now();
        let form = images.store.read(index as usize, &mut worker.encoded);
        made.times.fetch_ns += nanoseconds(begun);
        let form = form.map_err(|e| format!("cannot be read: {e}"))?;
        let begun = Instant::now();
        let key = SampleKey { seed: self.settings.seed, epoch: made.epoch, index: index.into() };
        let encoded = form.encoded(&worker.encoded);
        let result = self.settings.transform.apply(encoded, key, &mut worker.scratch, out);
        made.times.prep_ns += nanoseconds(begun);
        result.map_err(|e| e.to_string())
    }
}

/// What is known of a minibatch while it is made.
#[derive(Default)]
struct Made {
    seq: u64,
    epoch: u32,
    batch: u64,
    times: StageTimes,
    bad: Vec<BadSample>,
}

impl Made {
    fn batch(self, inputs: Inputs, labels: Vec<i32>, indices: Vec<u64>) -> HostBatch {
        let Self { seq, epoch, batch, times, bad } = self;
        HostBatch { seq, epoch, batch, items: indices.len(), inputs, labels, indices, bad, times }
    }
}

/// A minibatch's buffer.
enum Target {
    Floats(Pooled<f32>),
    Bytes(Pooled<u8>),
}

impl Target {
    fn new(maker: &Maker) -> Self {
        match maker.settings.layout {
            PixelLayout::F32Nchw => Self::Floats(maker.floats.take()),
            PixelLayout::U8Nhwc => Self::Bytes(maker.bytes.take()),
        }
    }

    /// The place of one image.
    fn place<'a>(&'a mut self, place: usize, maker: &'a Maker) -> Output<'a> {
        let length = (maker.settings.transform.image_size as usize).pow(2) * 3;
        let range = place * length..(place + 1) * length;
        match self {
            Self::Bytes(data) => Output::U8Nhwc(&mut data[range]),
            Self::Floats(data) => {
                Output::F32Nchw { out: &mut data[range], normalize: &maker.settings.normalize }
            }
        }
    }

    fn finish(self, items: usize, size: usize) -> Inputs {
        let length = items * size * size * 3;
        match self {
            Self::Floats(mut data) => {
                data.shorten(length);
                Inputs::F32Nchw { data, shape: [items, 3, size, size] }
            }
            Self::Bytes(mut data) => {
                data.shorten(length);
                Inputs::U8Nhwc { data, shape: [items, size, size, 3] }
            }
        }
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
