//! A fixed part of the training samples' bytes near the workers: in memory, or on a fast disk.
//!
//! The first samples that come are kept until the bound is reached, and none is ever given up for another one.
//! Each epoch visits every sample once in an order of its own, and under such a pattern what is given up is
//! always needed again before what replaces it: half of the data kept for good gives half of the reads, and a
//! cache that evicts the least recently used gives far fewer (docs/cache.md).
//!
//! What is kept are a sample's bytes as its source gives them ([`Form`]). Decoded pixels could be another form.

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

/// Where bytes are kept, and how many at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum CacheSettings {
    /// In memory.
    Ram {
        /// With all overhead.
        bytes: u64,
    },
    /// In files, which a later run uses again.
    Disk {
        /// Holds nothing else; several data sets share it and its bound.
        folder: PathBuf,
        /// With all overhead.
        bytes: u64,
    },
}

impl CacheSettings {
    /// Bytes of memory that it may take for a data set.
    pub fn memory_bytes(&self, dataset: &Dataset) -> u64 {
        match (self, dataset) {
            // It is in memory as a whole already.
            (_, Dataset::Text(_)) => 0,
            (Self::Ram { bytes }, Dataset::Images(images)) if images.store.is_on_disk() => *bytes,
            (Self::Disk { .. }, Dataset::Images(images)) if images.store.is_on_disk() => {
                disk::table_bytes(images.labels.len())
            }
            _ => 0,
        }
    }
}

/// What a cache has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Samples that came from it.
    pub hits: u64,
    /// Samples that came from their source.
    pub misses: u64,
    /// Bytes of the samples that came from it.
    pub hit_bytes: u64,
    /// Bytes of the samples that came from their source.
    pub missed_bytes: u64,
    /// Samples that it holds.
    pub samples: u64,
    /// Bytes that it takes, with all overhead.
    pub bytes: u64,
    /// Bytes that it may take.
    pub bytes_max: u64,
}

/// A sample as it was read.
pub(crate) struct Fetched<'a> {
    pub(crate) form: Form,
    pub(crate) bytes: &'a [u8],
}

/// Stands between the workers and the source.
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

/// What the user should know, until it is asked for.
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
    /// A cache for a data set. What cannot be had is told by a notice, and the run goes on without it.
    pub(crate) fn open(settings: Option<&CacheSettings>, dataset: &Dataset) -> Self {
        let notices = Notices::default();
        let backend = match (settings, dataset) {
            (Some(settings), Dataset::Images(images)) if images.store.is_on_disk() => {
                Self::backend(settings, images, &notices)
            }
            (Some(_), _) => {
                notices.add("the data is in memory as a whole: the cache is not used".to_owned());
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

    /// Reads a sample, from the cache if it is there, or else from its source by way of `buffer`.
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

    /// Whether a sample is there, so that nobody needs to have it read ahead.
    pub(crate) fn holds(&self, index: usize) -> bool {
        match &self.backend {
            Backend::Off => false,
            Backend::Ram(cache) => cache.holds(index),
            Backend::Disk(cache) => cache.holds(index),
        }
    }

    /// What it has done so far; `None` where there is none.
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

    /// What the user should know since the last call.
    pub(crate) fn take_notices(&self) -> Vec<String> {
        self.notices.take()
    }
}

/// Bytes of the file in a sample of so many bytes, for the forms that a cache keeps. Pixels in memory are none.
fn file_length(form: Form, bytes: usize) -> Option<u32> {
    match form {
        Form::File => u32::try_from(bytes).ok(),
        Form::Indexed { file_len } => u32::try_from(file_len).ok(),
        Form::Raw { .. } => None,
    }
}

/// The form of a sample of so many bytes whose file has `file_len`.
fn form_of(file_len: u32, bytes: usize) -> Form {
    match file_len as usize {
        file_len if file_len >= bytes => Form::File,
        file_len => Form::Indexed { file_len },
    }
}

#[cfg(test)]
mod tests;
