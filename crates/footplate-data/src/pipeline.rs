//! The sequence of minibatches, made by several threads ahead of their consumer.
//!
//! A worker takes the next few samples of the minibatch that is being made and writes them to their places in its buffer,
//! so that all workers are on the same minibatch and the first one is ready early. Workers wait while as many minibatches
//! as the bound allows are being made or wait to be taken. Finished ones wait by number, so that they leave in order.
#![expect(clippy::disallowed_methods, reason = "stages and waits are timed")]

mod maker;
mod readahead;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::auto::{AutoLoader, Limits, Observation, PipelineSize};
use crate::batch::HostBatch;
use crate::cache::CacheStats;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::loader::LoaderSettings;
use crate::split::Split;

use maker::{BatchMaker, PendingBatch, Task, Worker, nanoseconds};
use readahead::Readahead;

/// A position in the sequence of minibatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u32,
    /// Number of the minibatch in the epoch, from 0.
    pub batch: u64,
}

/// An iterator over the minibatches of a run. They are a pure function of the data set, the settings and their number,
/// whatever the number of workers.
///
/// ```
/// use std::sync::Arc;
///
/// use footplate_data::generated::{GeneratedSettings, generate};
/// use footplate_data::transform::Transform;
/// use footplate_data::{Inputs, LoaderSettings, OpenOptions, Pipeline, Position, Split, open};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = tempfile::tempdir()?;
/// let images = GeneratedSettings { seed: 1, train_per_class: 3, val_per_class: 1, size: 32 };
/// let folder = generate(cache.path(), &images, &mut |_, _| {})?;
/// let dataset = Arc::new(open(&folder, &OpenOptions::default())?);
///
/// let settings = LoaderSettings { workers: 2, ..LoaderSettings::new(4, Transform::train(32)) };
/// let from = Position { epoch: 0, batch: 0 };
/// let mut samples = 0;
/// for batch in Pipeline::start(dataset.clone(), Split::Train, settings, from, 2)? {
///     let batch = batch?;
///     let Inputs::F32Nchw { data, shape } = &batch.inputs else { unreachable!("the default layout") };
///     assert_eq!(data.len(), batch.items * 3 * 32 * 32);
///     assert_eq!((shape[0], batch.labels.len()), (batch.items, batch.items));
///     samples += batch.items;
/// }
/// assert_eq!(samples, 2 * dataset.len(Split::Train));
/// # Ok(())
/// # }
/// ```
pub struct Pipeline {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Makes minibatches if there are no workers.
    own: Option<Worker>,
    next: u64,
    auto: Option<AutoLoader>,
    /// When the consumer got the last minibatch.
    delivered_at: Option<Instant>,
    adjusted: Option<PipelineSize>,
}

/// What all threads share.
struct Shared {
    maker: BatchMaker,
    /// Number of minibatches in the whole sequence.
    total: u64,
    queue: Mutex<Queue>,
    /// Signalled when a minibatch was finished, or a worker died.
    finished: Condvar,
    /// Signalled when a minibatch was taken, the bounds changed, or the pipeline is closing.
    taken: Condvar,
    /// Signalled when samples were handed out to a worker.
    moved: Condvar,
}

struct Queue {
    /// Number of the next minibatch to be begun.
    next: u64,
    /// The minibatch whose samples are being handed out.
    current: Option<Arc<PendingBatch>>,
    /// Number of minibatches that the consumer has taken.
    delivered: u64,
    ready: BTreeMap<u64, HostBatch>,
    /// Minibatches that may be made or waiting at once.
    ahead: u64,
    /// Workers with this number or a higher one wait.
    workers: usize,
    closed: bool,
    died: bool,
}

impl Queue {
    /// Number of samples of the sequence that were handed out.
    fn position(&self, maker: &BatchMaker) -> u64 {
        self.current.as_ref().map_or_else(|| maker.position(self.next), |pending| pending.position())
    }
}

impl Shared {
    /// A panic of another thread leaves the queue usable: it is changed by single steps.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next samples to be made, as soon as the bounds allow it; `None` if there is nothing more to do.
    fn task(&self, worker: usize) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if queue.closed || queue.died {
                return None;
            }
            if worker < queue.workers {
                if let Some(task) = queue.current.as_ref().and_then(|pending| self.maker.task(pending)) {
                    self.moved.notify_one();
                    return Some(task);
                }
                if queue.next >= self.total {
                    return None;
                }
                if queue.next < queue.delivered + queue.ahead {
                    queue.current = Some(Arc::new(self.maker.begin(queue.next)));
                    queue.next += 1;
                    continue;
                }
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

    fn close(&self, died: bool) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.died |= died;
        drop(queue);
        self.finished.notify_all();
        self.taken.notify_all();
        self.moved.notify_all();
    }

    fn work(&self, number: usize) {
        let mut worker = Worker::default();
        while let Some(task) = self.task(number) {
            if let Some(batch) = self.maker.fill(task, &mut worker) {
                self.put(batch);
            }
        }
    }
}

/// Tells the consumer when its thread panics.
struct DeathNotice<'a>(&'a Shared);

impl Drop for DeathNotice<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.close(true);
        }
    }
}

impl Pipeline {
    /// Starts the threads, which make the minibatches of `split` from position `from` on, up to the beginning of epoch
    /// `epochs_end`.
    ///
    /// # Errors
    /// [`DataError::Thread`] if a thread cannot be started.
    pub fn start(
        dataset: Arc<Dataset>,
        split: Split,
        settings: LoaderSettings,
        from: Position,
        epochs_end: u32,
    ) -> Result<Self, DataError> {
        let workers = settings.workers;
        let limits = settings.workers_max.map(|workers_max| Limits {
            workers: workers_max.max(workers),
            depth: settings.batches_ahead(&dataset),
        });
        let auto = limits.filter(|_| workers > 0).map(|limits| AutoLoader::new(workers, limits));
        let maker = BatchMaker::new(dataset, split, settings, from);
        let epochs = u64::from(epochs_end.saturating_sub(from.epoch));
        let total = (epochs * maker.batches_per_epoch).saturating_sub(from.batch);
        let depth = auto.as_ref().map_or(maker.batches_ahead, |auto| auto.size().depth);
        let queue = Queue {
            next: 0,
            current: None,
            delivered: 0,
            ready: BTreeMap::new(),
            ahead: depth as u64,
            workers,
            closed: false,
            died: false,
        };
        let shared = Arc::new(Shared {
            maker,
            total,
            queue: Mutex::new(queue),
            finished: Condvar::new(),
            taken: Condvar::new(),
            moved: Condvar::new(),
        });
        let mut pipeline = Self {
            shared,
            threads: Vec::new(),
            own: None,
            next: 0,
            auto,
            delivered_at: None,
            adjusted: None,
        };
        if workers == 0 {
            pipeline.own = Some(Worker::default());
            return Ok(pipeline);
        }
        pipeline.spawn_readahead()?;
        pipeline.apply(PipelineSize { workers, depth })?;
        Ok(pipeline)
    }

    /// The present number of workers and depth.
    pub fn size(&self) -> PipelineSize {
        let queue = self.shared.lock();
        PipelineSize { workers: queue.workers, depth: queue.ahead as usize }
    }

    /// The size that the pipeline has chosen since the last call, if it has changed it.
    pub fn take_adjusted(&mut self) -> Option<PipelineSize> {
        self.adjusted.take()
    }

    /// What the cache has done so far; `None` without a cache.
    pub fn cache_stats(&self) -> Option<CacheStats> {
        self.shared.maker.cache.stats()
    }

    /// Messages for the user since the last call, such as a cache that cannot grow.
    pub fn take_notices(&self) -> Vec<String> {
        self.shared.maker.cache.take_notices()
    }

    /// Changes the number of workers while minibatches are made; their contents do not depend on it. From then on the
    /// pipeline no longer chooses its size itself. A pipeline that was started without workers stays without.
    ///
    /// # Errors
    /// [`DataError::Thread`] if a thread cannot be started.
    pub fn set_workers(&mut self, workers: usize) -> Result<(), DataError> {
        self.auto = None;
        if self.own.is_some() {
            return Ok(());
        }
        let depth = self.size().depth;
        self.apply(PipelineSize { workers: workers.max(1), depth })
    }

    fn apply(&mut self, size: PipelineSize) -> Result<(), DataError> {
        let mut queue = self.shared.lock();
        queue.workers = size.workers;
        queue.ahead = size.depth as u64;
        drop(queue);
        self.shared.taken.notify_all();
        let readahead = usize::from(self.shared.maker.reads_ahead());
        // A failure drops the pipeline, which ends the threads that did start.
        for number in self.threads.len() - readahead..size.workers {
            self.spawn(format!("worker-{number}"), move |shared| shared.work(number))?;
        }
        Ok(())
    }

    fn spawn_readahead(&mut self) -> Result<(), DataError> {
        if self.shared.maker.reads_ahead() {
            self.spawn("readahead".to_owned(), |shared| Readahead::new(&shared.maker).run(shared))?;
        }
        Ok(())
    }

    fn spawn(&mut self, name: String, work: impl FnOnce(&Shared) + Send + 'static) -> Result<(), DataError> {
        let shared = self.shared.clone();
        let work = move || {
            let _notice = DeathNotice(&shared);
            work(&shared);
        };
        let thread = thread::Builder::new().name(name).spawn(work);
        self.threads.push(thread.map_err(DataError::Thread)?);
        Ok(())
    }

    /// Number of minibatches in an epoch; the last one may be smaller.
    pub fn batches_per_epoch(&self) -> u64 {
        self.shared.maker.batches_per_epoch
    }

    /// Tells [`AutoLoader`] what the consumer waited for, and follows its choice.
    fn observe(&mut self, asked_at: Instant, batch: &HostBatch) -> Result<(), DataError> {
        let now = Instant::now();
        let before = self.delivered_at.replace(now);
        let (Some(auto), Some(before)) = (&mut self.auto, before) else { return Ok(()) };
        let observation = Observation {
            wait_ns: nanoseconds(now - asked_at),
            busy_ns: nanoseconds(asked_at - before),
            work_ns: batch.times.fetch_ns + batch.times.prep_ns,
        };
        if let Some(size) = auto.observe(observation) {
            self.apply(size)?;
            self.adjusted = Some(size);
        }
        Ok(())
    }
}

impl Iterator for Pipeline {
    type Item = Result<HostBatch, DataError>;

    /// Waits for the next minibatch. `None` after the last one; an error if a worker has panicked.
    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.shared.total {
            return None;
        }
        let seq = self.next;
        self.next += 1;
        if let Some(worker) = &mut self.own {
            return Some(self.shared.maker.make(seq, worker).ok_or(DataError::WorkerDied));
        }
        let asked_at = Instant::now();
        let batch = self.shared.take(seq);
        Some(batch.and_then(|batch| self.observe(asked_at, &batch).map(|()| batch)))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shared.close(false);
        for thread in self.threads.drain(..) {
            // A panic of a worker was reported by `next`, or nobody asks any more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
