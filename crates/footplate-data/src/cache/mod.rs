//! Keeps part of the training samples' files in memory or on a fast disk.
//!
//! The samples that are read first are kept until the bound is reached, and none is ever evicted. Each epoch reads every
//! sample once in an order of its own: what a cache evicts is needed again before what replaces it. With half of the data,
//! a cache that evicts nothing serves half of the reads; one that evicts the least recently used serves far fewer
//! (docs/cache.md).
//!
//! A sample is kept in the form in which its source gives it ([`Form`]): its file, not its pixels.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a cache may be in files")]

mod disk;
mod ram;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, ImageDataset};
use crate::source::{Form, Store};
use disk::DiskCache;
use ram::RamCache;

/// Where samples are kept, and in how many bytes at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum CacheSettings {
    /// In the memory of this process.
    Ram {
        /// The bound in bytes, for samples and all overhead.
        bytes: u64,
    },
    /// In files, which later runs use again.
    Disk {
        /// The folder of the files. Caches of several data sets may share it; the bound is for all of them.
        folder: PathBuf,
        /// The bound in bytes, for samples and all overhead.
        bytes: u64,
    },
}

impl CacheSettings {
    /// Bytes of memory that the cache may take for a data set.
    pub fn memory_bytes(&self, dataset: &Dataset) -> u64 {
        match (self, dataset) {
            // A text is completely in memory already.
            (_, Dataset::Text(_)) => 0,
            (Self::Ram { bytes }, Dataset::Images(images)) if images.store.is_on_disk() => *bytes,
            (Self::Disk { .. }, Dataset::Images(images)) if images.store.is_on_disk() => {
                disk::table_bytes(images.labels.len())
            }
            _ => 0,
        }
    }
}

/// Counts of what a cache has done, and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Reads of samples that came from the cache.
    pub hits: u64,
    /// Reads of samples that came from their source.
    pub misses: u64,
    /// Bytes that came from the cache.
    pub hit_bytes: u64,
    /// Bytes that came from the source.
    pub missed_bytes: u64,
    /// Number of samples in the cache.
    pub samples: u64,
    /// Bytes that the cache takes, with all overhead.
    pub bytes: u64,
    /// Bytes that the cache may take.
    pub bytes_max: u64,
}

/// A sample as it was read.
pub(crate) struct Fetched<'a> {
    pub(crate) form: Form,
    pub(crate) bytes: &'a [u8],
}

/// A cache between the workers and the source; by default none.
#[derive(Default)]
pub(crate) struct Cache {
    backend: Backend,
    counters: Counters,
    notices: Notices,
}

#[derive(Default)]
enum Backend {
    #[default]
    Off,
    Ram(RamCache),
    Disk(DiskCache),
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    hit_bytes: AtomicU64,
    missed_bytes: AtomicU64,
}

impl Counters {
    fn count(samples: &AtomicU64, bytes: &AtomicU64, length: usize) {
        samples.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Messages for the user, until they are taken.
#[derive(Default)]
pub(crate) struct Notices {
    some: AtomicBool,
    texts: Mutex<Vec<String>>,
}

impl Notices {
    pub(crate) fn add(&self, text: String) {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        self.some.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        if !self.some.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.texts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Cache {
    /// Opens a cache for a data set. If that fails, a notice says so, and the run continues without a cache.
    pub(crate) fn open(settings: Option<&CacheSettings>, dataset: &Dataset) -> Self {
        let notices = Notices::default();
        let backend = match (settings, dataset) {
            (Some(settings), Dataset::Images(images)) if images.store.is_on_disk() => {
                Self::backend(settings, images, &notices)
            }
            (Some(_), _) => {
                notices.add("the data is completely in memory: the cache is not used".to_owned());
                Backend::Off
            }
            (None, _) => Backend::Off,
        };
        Self { backend, counters: Counters::default(), notices }
    }

    fn backend(settings: &CacheSettings, images: &ImageDataset, notices: &Notices) -> Backend {
        let samples = images.labels.len();
        match settings {
            CacheSettings::Ram { bytes } => match RamCache::new(samples, *bytes) {
                Some(cache) => Backend::Ram(cache),
                None => {
                    notices
                        .add(format!("a cache of {bytes} bytes cannot hold anything of {samples} samples"));
                    Backend::Off
                }
            },
            CacheSettings::Disk { folder, bytes } => {
                match DiskCache::open(folder, *bytes, images.content_fingerprint(), samples, notices) {
                    Ok(cache) => {
                        if !cache.agrees(&images.store) {
                            notices.add(format!(
                                "{}: the files have changed since they were cached: the cache begins anew",
                                folder.display()
                            ));
                            cache.clear(notices);
                        }
                        Backend::Disk(cache)
                    }
                    Err(error) => {
                        notices.add(format!("{}: no cache here: {error}", folder.display()));
                        Backend::Off
                    }
                }
            }
        }
    }

    /// Reads a sample: from the cache if it is there, or else from its source into `buffer`.
    pub(crate) fn read<'a>(
        &'a self,
        store: &Store,
        index: usize,
        buffer: &'a mut Vec<u8>,
    ) -> io::Result<Fetched<'a>> {
        let counters = &self.counters;
        match &self.backend {
            Backend::Off => {}
            Backend::Ram(cache) => {
                if let Some(fetched) = cache.get(index) {
                    Counters::count(&counters.hits, &counters.hit_bytes, fetched.bytes.len());
                    return Ok(fetched);
                }
            }
            Backend::Disk(cache) => {
                if let Some((form, length)) = cache.get(index, buffer, &self.notices) {
                    Counters::count(&counters.hits, &counters.hit_bytes, length);
                    return Ok(Fetched { form, bytes: &buffer[..length] });
                }
            }
        }
        let form = store.read(index, buffer)?;
        match &self.backend {
            Backend::Off => return Ok(Fetched { form, bytes: buffer }),
            Backend::Ram(cache) => cache.put(index, form, buffer),
            Backend::Disk(cache) => cache.put(index, form, buffer, &self.notices),
        }
        Counters::count(&counters.misses, &counters.missed_bytes, buffer.len());
        Ok(Fetched { form, bytes: buffer })
    }

    /// Whether a sample is in the cache, so that it need not be read ahead.
    pub(crate) fn holds(&self, index: usize) -> bool {
        match &self.backend {
            Backend::Off => false,
            Backend::Ram(cache) => cache.holds(index),
            Backend::Disk(cache) => cache.holds(index),
        }
    }

    /// What the cache has done so far; `None` without a cache.
    pub(crate) fn stats(&self) -> Option<CacheStats> {
        let (samples, bytes, bytes_max) = match &self.backend {
            Backend::Off => return None,
            Backend::Ram(cache) => cache.size(),
            Backend::Disk(cache) => cache.size(),
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(CacheStats {
            hits: count(&self.counters.hits),
            misses: count(&self.counters.misses),
            hit_bytes: count(&self.counters.hit_bytes),
            missed_bytes: count(&self.counters.missed_bytes),
            samples,
            bytes,
            bytes_max,
        })
    }

    /// Messages for the user since the last call.
    pub(crate) fn take_notices(&self) -> Vec<String> {
        self.notices.take()
    }
}

/// The length of the file in a sample of so many bytes; `None` for pixels, which a cache does not keep.
fn file_length(form: Form, bytes: usize) -> Option<u32> {
    match form {
        Form::File => u32::try_from(bytes).ok(),
        Form::Indexed { file_len } => u32::try_from(file_len).ok(),
        Form::Raw { .. } => None,
    }
}

/// The form of a sample of so many bytes whose file has `file_len` bytes.
fn form_of(file_len: u32, bytes: usize) -> Form {
    match file_len as usize {
        file_len if file_len >= bytes => Form::File,
        file_len => Form::Indexed { file_len },
    }
}

#[cfg(test)]
mod tests;
