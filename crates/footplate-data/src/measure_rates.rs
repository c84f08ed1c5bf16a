//! Measures rates of a data set on this machine: preparing samples that are in memory, and reading them from the page
//! cache and from storage. All measurements are limited in time.
#![expect(clippy::disallowed_methods, reason = "rates are measured by the clock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu_time::process_cpu_s;
use crate::dataset::{Dataset, ImageDataset};
use crate::error::DataError;
use crate::loader::LoaderSettings;
use crate::order::EpochOrder;
use crate::pipeline::{Pipeline, Position};
use crate::source::Store;
use crate::source::evict::Residency;
use crate::split::Split;

/// Bytes of samples that are held in memory to measure their preparation.
const RESIDENT_BYTES: u64 = 64 << 20;
/// Samples that are held in memory to measure their preparation, at most.
const RESIDENT_SAMPLES: usize = 1024;
/// Bytes that are read in one round of measuring storage, at most.
const FETCH_BYTES: u64 = 256 << 20;
/// Samples that are evicted from the page cache in one round, at most.
const FETCH_SAMPLES: usize = 4096;
/// Samples for which the system is asked whether they left the page cache.
const CHECKED: usize = 8;
/// Threads that read at once, to find the greatest rate of the storage.
const READERS: usize = 16;
/// Samples between two looks at the clock while the whole data set is evicted from the page cache.
const EVICT_STRIDE: usize = 64;
/// Seed of the order in which samples are picked (`stals` in ASCII).
const PICK_SEED: u64 = 0x7374_616c_6c73;

/// How often something was done, and what that took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Number of samples.
    pub items: u64,
    /// Bytes that were read; 0 where nothing is read.
    pub bytes: u64,
    /// Time on the wall, in seconds.
    pub wall_s: f64,
    /// CPU time of the whole process in that time, in seconds.
    pub cpu_s: f64,
}

impl Rate {
    /// Samples per second; `None` if there were none.
    pub fn per_s(&self) -> Option<f64> {
        (self.items > 0 && self.wall_s > 0.0).then(|| self.items as f64 / self.wall_s)
    }

    /// Samples per second of CPU time; `None` if there were none.
    pub fn per_cpu_s(&self) -> Option<f64> {
        (self.items > 0 && self.cpu_s > 0.0).then(|| self.items as f64 / self.cpu_s)
    }

    /// CPU seconds for each sample; `None` if there were none.
    pub fn cpu_s_each(&self) -> Option<f64> {
        (self.items > 0).then(|| self.cpu_s / self.items as f64)
    }

    /// Bytes of each sample; `None` if there were none.
    pub fn bytes_each(&self) -> Option<f64> {
        (self.items > 0).then(|| self.bytes as f64 / self.items as f64)
    }

    fn add(&mut self, other: &Self) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.wall_s += other.wall_s;
        self.cpu_s += other.cpu_s;
    }
}

/// Measures wall and CPU time from its start on.
struct Stopwatch {
    begun: Instant,
    cpu_s: f64,
}

impl Stopwatch {
    fn start() -> Self {
        Self { begun: Instant::now(), cpu_s: process_cpu_s() }
    }

    fn rate(&self, items: u64, bytes: u64) -> Rate {
        Rate { items, bytes, wall_s: self.begun.elapsed().as_secs_f64(), cpu_s: process_cpu_s() - self.cpu_s }
    }
}

/// A data set of some of the training samples, held in memory; the same data set if it is in memory already. `None` if no
/// sample could be read.
pub fn resident(dataset: &Arc<Dataset>) -> Option<Arc<Dataset>> {
    let images = match dataset.as_ref() {
        Dataset::Images(images) if images.store.is_on_disk() => images,
        _ => return Some(dataset.clone()),
    };
    let some = images.in_memory(picked(images, 0).take(RESIDENT_SAMPLES), RESIDENT_BYTES, false)?;
    Some(Arc::new(Dataset::Images(some)))
}

/// The same samples as [`resident`] holds, in the form that `footplate pack` gives them: JPEG files with the decoder's
/// checkpoints. `None` if packing would change nothing.
pub fn resident_indexed(dataset: &Dataset) -> Option<Arc<Dataset>> {
    let images = match dataset {
        Dataset::Images(images) if images.store.is_on_disk() => images,
        _ => return None,
    };
    let some = images.in_memory(picked(images, 0).take(RESIDENT_SAMPLES), RESIDENT_BYTES, true)?;
    Some(Arc::new(Dataset::Images(some)))
}

/// The numbers of all training samples, in a random order that differs for each `round`.
fn picked(images: &ImageDataset, round: u32) -> impl Iterator<Item = u32> + '_ {
    let split = images.split(Split::Train);
    let order = EpochOrder::new(split.len() as u64, PICK_SEED, round, true);
    (0..split.len() as u64).map(move |place| split[order.at(place) as usize])
}

/// The rate at which minibatches are made if their consumer takes no time. The first one is not counted. Ends early when
/// `stop` is set.
pub fn prep(
    dataset: &Arc<Dataset>,
    settings: &LoaderSettings,
    time: Duration,
    stop: &AtomicBool,
) -> Result<Rate, DataError> {
    let from = Position { epoch: 0, batch: 0 };
    let pipeline = Pipeline::start(dataset.clone(), Split::Train, settings.clone(), from, u32::MAX)?;
    let deadline = Instant::now() + time;
    let (mut watch, mut items) = (None, 0);
    for batch in pipeline {
        let batch = batch?;
        match &watch {
            None => watch = Some(Stopwatch::start()),
            Some(_) => items += batch.items as u64,
        }
        // If no good sample came in twice the time, there is none.
        let now = Instant::now();
        if now >= deadline && (items > 0 || now >= deadline + time) || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(watch.map_or(Rate::default(), |watch| watch.rate(items, 0)))
}

/// Rates of reading from storage.
#[derive(Clone, Debug, PartialEq)]
pub enum Cold {
    /// They were measured.
    Measured {
        /// By one thread.
        one: Rate,
        /// By 16 threads: what the storage gives at most.
        many: Rate,
    },
    /// They could not be measured, with the reason.
    NotMeasured(String),
}

/// Rates of reading samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// From the page cache, by one thread.
    pub warm: Rate,
    /// From storage, after the samples were evicted from the page cache.
    pub cold: Cold,
    /// Bytes of all training samples, estimated from the mean of those that were read.
    pub data_bytes: u64,
}

/// Samples whose sizes are looked up to estimate the size of all.
const SIZED: usize = 256;

/// Bytes of all training samples, estimated from the sizes of 256 that are spread evenly over the data set. `None` if they
/// are in this process's memory, or if no size could be read.
pub fn data_bytes(dataset: &Dataset) -> Option<u64> {
    let images = match dataset {
        Dataset::Images(images) if images.store.is_on_disk() => images,
        _ => return None,
    };
    let all = images.split(Split::Train);
    let step = all.len().div_ceil(SIZED).max(1);
    let sizes: Vec<u64> =
        all.iter().step_by(step).filter_map(|number| images.store.size(*number as usize)).collect();
    let each = sizes.iter().sum::<u64>() as f64 / sizes.len() as f64;
    (!sizes.is_empty()).then_some((each * all.len() as f64) as u64)
}

/// The rates at which samples are read. `None` if they are in this process's memory, so that there is nothing to read.
/// Ends early when `stop` is set.
pub fn storage(
    dataset: &Dataset,
    time_warm: Duration,
    time_cold: Duration,
    stop: &AtomicBool,
) -> Option<Storage> {
    let images = match dataset {
        Dataset::Images(images) if images.store.is_on_disk() => images,
        _ => return None,
    };
    let warm = warm(images, time_warm, stop);
    let each = warm.bytes_each().unwrap_or(0.0);
    let data_bytes = (each * images.split(Split::Train).len() as f64) as u64;
    Some(Storage { warm, cold: cold(images, each, time_cold, stop), data_bytes })
}

fn warm(images: &ImageDataset, time: Duration, stop: &AtomicBool) -> Rate {
    let deadline = Instant::now() + time;
    let numbers: Vec<u32> = picked(images, 0).take(FETCH_SAMPLES).collect();
    // What this first pass reads is in the page cache for the passes after it.
    let first = read(&images.store, &numbers, 1, deadline);
    let numbers = &numbers[..first.items.min(numbers.len() as u64) as usize];
    let mut rate = Rate::default();
    let deadline = Instant::now() + time;
    while !numbers.is_empty() && Instant::now() < deadline && !stop.load(Ordering::Relaxed) {
        let pass = read(&images.store, numbers, 1, deadline);
        if pass.items == 0 {
            break;
        }
        rate.add(&pass);
    }
    rate
}

fn cold(images: &ImageDataset, bytes_each: f64, time: Duration, stop: &AtomicBool) -> Cold {
    let deadline = Instant::now() + time;
    let count = (FETCH_BYTES as f64 / bytes_each.max(1.0)).max(4.0) as usize;
    let (mut one, mut many) = (Rate::default(), Rate::default());
    for round in 1.. {
        let numbers: Vec<u32> = picked(images, round).take(count.min(FETCH_SAMPLES)).collect();
        let began = Instant::now();
        // A quarter of the time, at most, goes to evicting samples.
        let evicted = evict_some(&images.store, &numbers, began + time / 4);
        if round == 1
            && let Err(reason) = check(&images.store, &numbers[..evicted])
        {
            return Cold::NotMeasured(reason);
        }
        let numbers = &numbers[CHECKED.min(evicted / 2)..evicted];
        let (first, second) = numbers.split_at(numbers.len() / 2);
        let left = deadline.saturating_duration_since(Instant::now());
        one.add(&read(&images.store, first, 1, Instant::now() + left / 2));
        many.add(&read(&images.store, second, READERS, deadline));
        let over = Instant::now() + began.elapsed() >= deadline;
        if over || numbers.is_empty() || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    match (one.per_s(), many.per_s()) {
        (Some(_), Some(_)) => Cold::Measured { one, many },
        _ => Cold::NotMeasured("no sample was read in the time given".to_owned()),
    }
}

/// Evicts samples from the page cache until `deadline`; returns how many.
fn evict_some(store: &Store, numbers: &[u32], deadline: Instant) -> usize {
    for (done, number) in numbers.iter().enumerate() {
        if done > CHECKED * 2 && Instant::now() >= deadline {
            return done;
        }
        // A sample that is gone will be noticed when it is read.
        let _ = store.evict(*number as usize);
    }
    numbers.len()
}

/// Checks that samples left the page cache. Asking may read the first few of `evicted` in again.
///
/// # Errors
/// The reason for which reads from storage cannot be measured.
fn check(store: &Store, evicted: &[u32]) -> Result<(), String> {
    let asked = &evicted[..CHECKED.min(evicted.len() / 2).max(1).min(evicted.len())];
    let found: Vec<Residency> =
        asked.iter().filter_map(|number| store.residency(*number as usize).ok()).collect();
    let count = |what: Residency| found.iter().filter(|r| **r == what).count();
    if found.is_empty() {
        return Err("no sample could be opened".to_owned());
    }
    if count(Residency::Cached) * 2 > found.len() {
        return Err(
            "the file system keeps the samples in memory whatever is asked (as tmpfs does)".to_owned()
        );
    }
    if count(Residency::Unknown) * 2 > found.len() {
        return Err("the file system does not tell whether a sample is in memory".to_owned());
    }
    Ok(())
}

/// Reads samples by several threads until `deadline`. Samples that cannot be read are not counted.
fn read(store: &Store, numbers: &[u32], threads: usize, deadline: Instant) -> Rate {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut items, mut bytes, mut buffer) = (0u64, 0u64, Vec::new());
        while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
            if store.read(*number as usize, &mut buffer).is_ok() {
                items += 1;
                bytes += buffer.len() as u64;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        (items, bytes)
    };
    let watch = Stopwatch::start();
    let (items, bytes) = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let done = others.into_iter().filter_map(|thread| thread.join().ok());
        done.fold(own, |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    watch.rate(items, bytes)
}

/// While it is alive, each sample is evicted from the page cache as soon as it was read, so that a small data set behaves
/// as one that is far larger than memory.
pub struct EvictAfterRead(Arc<Dataset>);

impl EvictAfterRead {
    /// Evicts samples of `dataset` from now on, until the value is dropped.
    pub fn begin(dataset: &Arc<Dataset>) -> Self {
        let this = Self(dataset.clone());
        this.set(true);
        this
    }

    fn set(&self, evicts: bool) {
        if let Dataset::Images(images) = self.0.as_ref()
            && images.store.is_on_disk()
        {
            images.set_evicts(evicts);
        }
    }
}

impl Drop for EvictAfterRead {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Evicts the training samples from the page cache, as far as `time` allows; returns the share of them that was evicted, 0
/// to 1. `None` if the data set is in this process's memory.
pub fn evict(dataset: &Dataset, time: Duration) -> Option<f64> {
    let images = match dataset {
        Dataset::Images(images) if images.store.is_on_disk() => images,
        _ => return None,
    };
    let deadline = Instant::now() + time;
    let numbers = images.split(Split::Train);
    for (done, number) in numbers.iter().enumerate() {
        if done % EVICT_STRIDE == 0 && Instant::now() >= deadline {
            return Some(done as f64 / numbers.len() as f64);
        }
        let _ = images.store.evict(*number as usize);
    }
    Some(1.0)
}

#[cfg(test)]
mod tests;
