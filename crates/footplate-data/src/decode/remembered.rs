//! Where rows of MCUs begin in files that were decoded before. A later crop of the same file need not read what lies
//! above it, as with the index of a packed sample; here it is found while crops are made, and costs no reading of its
//! own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts with a lock of their own, so that workers seldom wait for each other.
const SHELVES: usize = 16;
/// What an entry takes beside its places: its key, its stamp, and the map's share. An estimate.
const ENTRY_BYTES: usize = 96;
/// Room for a file's places from the beginning on, as a part of what its height needs at most.
const PLACE_BYTES: usize = 8;

/// A file's content in short: places are of use for the very same bytes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    length: usize,
    checksum: u32,
}

impl Stamp {
    pub(crate) fn of(file: &[u8]) -> Self {
        Self { length: file.len(), checksum: crc32fast::hash(file) }
    }
}

/// Places in files, by the files' numbers, in a bounded amount of memory. What comes when it is full is not kept, and
/// nothing is thrown out for it: each sample is used once in an epoch.
#[derive(Debug)]
pub struct Remembered {
    shelves: Box<[Mutex<Shelf>; SHELVES]>,
    shelf_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Shelf {
    files: HashMap<u64, Places>,
    bytes: usize,
}

#[derive(Debug)]
struct Places {
    stamp: Stamp,
    /// As in an index ([`super::index`]), from the first row on.
    rows: Vec<u8>,
}

impl Places {
    fn bytes(&self) -> usize {
        self.rows.capacity() + ENTRY_BYTES
    }
}

impl Remembered {
    /// Nothing yet, and never more than about `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { shelves: Box::default(), shelf_bytes_max: bytes_max / SHELVES }
    }

    /// Bytes that are held, by an estimate of the map's own.
    pub fn bytes(&self) -> usize {
        self.shelves.iter().map(|shelf| locked(shelf).bytes).sum()
    }

    fn shelf(&self, file: u64) -> MutexGuard<'_, Shelf> {
        locked(&self.shelves[file as usize % SHELVES])
    }

    /// Puts what is known of a file into `rows`: nothing if its content has changed.
    pub(crate) fn recall(&self, file: u64, stamp: Stamp, rows: &mut Vec<u8>) {
        rows.clear();
        if let Some(places) = self.shelf(file).files.get(&file).filter(|places| places.stamp == stamp) {
            rows.extend_from_slice(&places.rows);
        }
    }

    /// Keeps what was found of a file of so many rows of MCUs: the places after those that were known.
    pub(crate) fn keep(&self, file: u64, stamp: Stamp, known: usize, found: &[u8], rows: usize) {
        if found.is_empty() {
            return;
        }
        let mut shelf = self.shelf(file);
        if let Some(places) = shelf.files.get_mut(&file).filter(|places| places.stamp == stamp) {
            // Another worker may have been here first. Allocations after the first one are left out: what is known
            // by then is most of it.
            if places.rows.len() == known && places.rows.capacity() - known >= found.len() {
                places.rows.extend_from_slice(found);
            }
            return;
        }
        if let Some(old) = shelf.files.remove(&file) {
            shelf.bytes -= old.bytes();
        }
        let mut places = Places { stamp, rows: Vec::with_capacity(found.len().max(rows * PLACE_BYTES)) };
        places.rows.extend_from_slice(found);
        if known == 0 && shelf.bytes + places.bytes() <= self.shelf_bytes_max {
            shelf.bytes += places.bytes();
            shelf.files.insert(file, places);
        }
    }
}

/// A panic of another thread leaves a shelf whole: it is changed by single steps.
fn locked(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_grow_and_belong_to_one_content() {
        let (memory, first, other) = (Remembered::new(1 << 20), Stamp::of(b"first"), Stamp::of(b"other"));
        let recalled = |stamp| {
            let mut rows = vec![9];
            memory.recall(3, stamp, &mut rows);
            rows
        };
        memory.keep(3, first, 0, &[1, 2], 10);
        memory.keep(3, first, 0, &[1, 2, 3], 10);
        assert_eq!(recalled(first), [1, 2], "a second worker's finding is no addition");
        memory.keep(3, first, 2, &[3], 10);
        assert_eq!(recalled(first), [1, 2, 3]);
        assert_eq!(recalled(other), []);
        memory.keep(3, other, 0, &[7], 10);
        assert_eq!((recalled(other), recalled(first)), (vec![7], vec![]));
    }

    #[test]
    fn it_never_grows_past_its_bound() {
        let memory = Remembered::new(64 << 10);
        for file in 0..10_000 {
            memory.keep(file, Stamp::of(&[1]), 0, &[0; 100], 50);
            assert!(memory.bytes() <= 64 << 10);
        }
        assert!(memory.bytes() > 50 << 10);
        let mut rows = Vec::new();
        memory.recall(0, Stamp::of(&[1]), &mut rows);
        assert_eq!(rows.len(), 100, "the first is still there");
    }
}
