//! Samples in memory, read without a lock and without a copy.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Fetched, file_length, form_of};
use crate::source::Form;

/// Bytes after each sample: the length of its file.
const TRAILER: usize = 4;
/// Bytes that the allocator adds to a block. An estimate.
const BLOCK_OVERHEAD: u64 = 32;
/// From this size on, the allocator takes whole pages from the system.
const LARGE_BLOCK: u64 = 128 << 10;
/// Bytes of a page.
const PAGE: u64 = 4096;

type Slot = OnceLock<Box<[u8]>>;

pub(super) struct RamCache {
    /// One for each sample of the data set.
    slots: Box<[Slot]>,
    samples: AtomicU64,
    bytes: AtomicU64,
    bytes_max: u64,
}

impl RamCache {
    /// An empty cache; `None` if its table alone would take all of the bound.
    pub(super) fn new(samples: usize, bytes_max: u64) -> Option<Self> {
        let table = (samples * size_of::<Slot>()) as u64;
        (table < bytes_max).then(|| Self {
            slots: (0..samples).map(|_| Slot::new()).collect(),
            samples: AtomicU64::new(0),
            bytes: AtomicU64::new(table),
            bytes_max,
        })
    }

    pub(super) fn get(&self, index: usize) -> Option<Fetched<'_>> {
        let block = self.slots.get(index)?.get()?;
        let (bytes, trailer) = block.split_last_chunk::<TRAILER>()?;
        Some(Fetched { form: form_of(u32::from_le_bytes(*trailer), bytes.len()), bytes })
    }

    pub(super) fn holds(&self, index: usize) -> bool {
        self.slots.get(index).is_some_and(|slot| slot.get().is_some())
    }

    /// Keeps a sample if there is space.
    pub(super) fn put(&self, index: usize, form: Form, bytes: &[u8]) {
        let (Some(slot), Some(file_len)) = (self.slots.get(index), file_length(form, bytes.len())) else {
            return;
        };
        let needed = block_bytes(bytes.len() + TRAILER);
        // The space is reserved before the block is allocated, so that the bound holds at every moment.
        let reserved = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            Some(taken + needed).filter(|sum| *sum <= self.bytes_max)
        });
        if reserved.is_err() {
            return;
        }
        let mut block = Vec::with_capacity(bytes.len() + TRAILER);
        block.extend_from_slice(bytes);
        block.extend_from_slice(&file_len.to_le_bytes());
        match slot.set(block.into_boxed_slice()) {
            Ok(()) => self.samples.fetch_add(1, Ordering::Relaxed),
            // Another worker has put it there in the meantime.
            Err(_) => self.bytes.fetch_sub(needed, Ordering::Relaxed),
        };
    }

    /// Number of samples, bytes, and the bound in bytes.
    pub(super) fn size(&self) -> (u64, u64, u64) {
        (self.samples.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed), self.bytes_max)
    }
}

/// Bytes of memory that a block of `length` bytes takes. An estimate.
fn block_bytes(length: usize) -> u64 {
    let length = length as u64 + BLOCK_OVERHEAD;
    if length >= LARGE_BLOCK { length.next_multiple_of(PAGE) } else { length.next_multiple_of(16) }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn file(length: usize, mark: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 3 + mark) as u8).collect()
    }

    #[test]
    fn a_sample_comes_back_in_its_form_and_the_first_one_stays() {
        let cache = RamCache::new(3, 10_000).unwrap();
        cache.put(0, Form::File, &[1, 2, 3]);
        cache.put(1, Form::Indexed { file_len: 2 }, &[4, 5, 6]);
        cache.put(1, Form::File, &[9]);
        // Pixels have no file, and there is no fourth sample.
        cache.put(2, Form::Raw { width: 1, height: 1, channels: 1 }, &[7]);
        cache.put(3, Form::File, &[8]);
        let first = cache.get(0).unwrap();
        assert!(matches!(first.form, Form::File) && first.bytes == [1, 2, 3]);
        let second = cache.get(1).unwrap();
        assert!(matches!(second.form, Form::Indexed { file_len: 2 }) && second.bytes == [4, 5, 6]);
        assert_eq!([0, 1, 2, 3].map(|index| cache.holds(index)), [true, true, false, false]);
        assert!(cache.get(2).is_none() && cache.get(3).is_none());
        assert_eq!(cache.size().0, 2);
    }

    #[test]
    fn a_bound_that_the_table_alone_takes_gives_no_cache() {
        let table = 100 * size_of::<Slot>() as u64;
        assert!(RamCache::new(100, table).is_none());
        let cache = RamCache::new(100, table + 63).unwrap();
        // A byte takes a block of 48 with the trailer and the allocator's share.
        cache.put(0, Form::File, &[1]);
        cache.put(1, Form::File, &[1]);
        assert_eq!((cache.size().0, cache.size().1), (1, table + 48));
    }

    #[test]
    fn large_blocks_are_counted_in_pages() {
        assert_eq!([0, 1, 16, 17].map(block_bytes), [32, 48, 48, 64]);
        assert_eq!(block_bytes((128 << 10) - 32), 128 << 10);
        assert_eq!(block_bytes((128 << 10) - 31), (128 << 10) + 4096);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Threads that put the same samples at once: the bound holds at the end, and what is held is right.
        #[test]
        fn the_bound_holds_under_threads(bytes_max in 500u64..20_000, length in 1usize..900, threads in 2usize..5) {
            let Some(cache) = RamCache::new(40, bytes_max) else { return Ok(()) };
            thread::scope(|scope| {
                for first in 0..threads {
                    let cache = &cache;
                    scope.spawn(move || {
                        for index in (0..40).map(|i| (i + first * 7) % 40) {
                            cache.put(index, Form::File, &file(length, index));
                            assert!(cache.size().1 <= bytes_max);
                        }
                    });
                }
            });
            let held: Vec<usize> = (0..40).filter(|index| cache.holds(*index)).collect();
            for index in &held {
                prop_assert_eq!(cache.get(*index).map(|found| found.bytes.to_vec()), Some(file(length, *index)));
            }
            let (samples, bytes, _) = cache.size();
            prop_assert_eq!(samples, held.len() as u64);
            prop_assert_eq!(bytes, 40 * size_of::<Slot>() as u64 + samples * block_bytes(length + TRAILER));
        }
    }
}
