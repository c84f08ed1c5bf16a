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
