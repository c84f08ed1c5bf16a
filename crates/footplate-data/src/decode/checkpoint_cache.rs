//! Checkpoints of JPEG files that were decoded before: where their rows of MCUs begin. A later crop of the same file need
//! not read what lies above it, as with the index of a packed sample. The checkpoints are found while crops are decoded,
//! which costs no reading of its own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Segments, each with a lock of its own, so that workers seldom wait for each other.
const SEGMENTS: usize = 16;
/// Bytes of an entry besides its checkpoints: its key, its stamp, and its share of the map. An estimate.
const ENTRY_BYTES: usize = 96;
/// Bytes that are allocated for the checkpoint of a row of MCUs; most take less.
const CHECKPOINT_BYTES: usize = 8;

/// Identifies a file's content: checkpoints are of use for exactly the same bytes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentStamp {
    length: usize,
    checksum: u32,
}

impl ContentStamp {
    pub(crate) fn of(file: &[u8]) -> Self {
        Self { length: file.len(), checksum: crc32fast::hash(file) }
    }
}

/// Checkpoints of files, by the files' numbers, in a bounded amount of memory. When it is full, nothing more is added and
/// nothing is evicted: each sample is used once in an epoch, so that any entry is as useful as any other.
#[derive(Debug)]
pub struct CheckpointCache {
    segments: Box<[Mutex<Segment>; SEGMENTS]>,
    segment_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Segment {
    files: HashMap<u64, FileCheckpoints>,
    bytes: usize,
}

/// The checkpoints of one file.
#[derive(Debug)]
struct FileCheckpoints {
    stamp: ContentStamp,
    /// Encoded as in an index ([`super::index`]), from the first row on; the last rows may be missing.
    rows: Vec<u8>,
}

impl FileCheckpoints {
    /// Bytes of memory, with an estimate of the map's share.
    fn bytes(&self) -> usize {
        self.rows.capacity() + ENTRY_BYTES
    }
}

impl CheckpointCache {
    /// An empty cache that takes at most about `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { segments: Box::default(), segment_bytes_max: bytes_max / SEGMENTS }
    }

    /// Bytes of memory that it takes, with an estimate of the map's share.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| locked(segment).bytes).sum()
    }

    fn segment(&self, file: u64) -> MutexGuard<'_, Segment> {
        locked(&self.segments[file as usize % SEGMENTS])
    }

    /// Copies the known checkpoints of a file to `rows`: none if its content has changed.
    pub(crate) fn recall(&self, file: u64, stamp: ContentStamp, rows: &mut Vec<u8>) {
        rows.clear();
        if let Some(known) = self.segment(file).files.get(&file).filter(|known| known.stamp == stamp) {
            rows.extend_from_slice(&known.rows);
        }
    }

    /// Adds the checkpoints that were `found` after the first `known` bytes of them, in a file of so many rows of MCUs.
    pub(crate) fn keep(&self, file: u64, stamp: ContentStamp, known: usize, found: &[u8], mcu_rows: usize) {
        if found.is_empty() {
            return;
        }
        let mut segment = self.segment(file);
        if let Some(entry) = segment.files.get_mut(&file).filter(|entry| entry.stamp == stamp) {
            // Another worker may have added them first. The entry does not grow beyond its first allocation, which holds
            // most of what a file needs.
            if entry.rows.len() == known && entry.rows.capacity() - known >= found.len() {
                entry.rows.extend_from_slice(found);
            }
            return;
        }
        if let Some(old) = segment.files.remove(&file) {
            segment.bytes -= old.bytes();
        }
        let capacity = found.len().max(mcu_rows * CHECKPOINT_BYTES);
        let mut entry = FileCheckpoints { stamp, rows: Vec::with_capacity(capacity) };
        entry.rows.extend_from_slice(found);
        if known == 0 && segment.bytes + entry.bytes() <= self.segment_bytes_max {
            segment.bytes += entry.bytes();
            segment.files.insert(file, entry);
        }
    }
}

/// A panic of another thread leaves a segment usable: it is changed by single steps.
fn locked(segment: &Mutex<Segment>) -> MutexGuard<'_, Segment> {
    segment.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_grow_and_belong_to_one_content() {
        let (memory, first, other) =
            (CheckpointCache::new(1 << 20), ContentStamp::of(b"first"), ContentStamp::of(b"other"));
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
        assert_eq!(recalled(other), Vec::<u8>::new());
        memory.keep(3, other, 0, &[7], 10);
        assert_eq!((recalled(other), recalled(first)), (vec![7], vec![]));
    }

    #[test]
    fn it_never_grows_past_its_bound() {
        let memory = CheckpointCache::new(64 << 10);
        for file in 0..10_000 {
            memory.keep(file, ContentStamp::of(&[1]), 0, &[0; 100], 50);
            assert!(memory.bytes() <= 64 << 10);
        }
        assert!(memory.bytes() > 50 << 10);
        let mut rows = Vec::new();
        memory.recall(0, ContentStamp::of(&[1]), &mut rows);
        assert_eq!(rows.len(), 100, "the first is still there");
    }

    #[test]
    fn an_entry_does_not_grow_beyond_its_first_allocation() {
        let (memory, stamp) = (CheckpointCache::new(1 << 20), ContentStamp::of(b"file"));
        memory.keep(1, stamp, 0, &[1; 20], 3);
        let bytes = memory.bytes();
        // Three rows have 24 bytes: four more fit, and five do not.
        memory.keep(1, stamp, 20, &[2; 5], 3);
        memory.keep(1, stamp, 20, &[3; 4], 3);
        let mut rows = Vec::new();
        memory.recall(1, stamp, &mut rows);
        assert_eq!(rows, [[1; 20].as_slice(), &[3; 4]].concat());
        assert_eq!(memory.bytes(), bytes);
    }

    #[test]
    fn rows_that_do_not_begin_at_the_first_one_are_not_kept() {
        let memory = CheckpointCache::new(1 << 20);
        memory.keep(1, ContentStamp::of(b"file"), 5, &[1; 20], 3);
        memory.keep(2, ContentStamp::of(b"file"), 0, &[], 3);
        assert_eq!(memory.bytes(), 0);
    }

    /// Threads that find the same rows of the same files: each file has them once.
    #[test]
    fn threads_that_find_the_same_rows_keep_them_once() {
        let memory = CheckpointCache::new(1 << 20);
        let stamp = |file: u64| ContentStamp::of(&file.to_le_bytes());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut rows = Vec::new();
                    for file in (0..200).chain(0..200) {
                        memory.recall(file, stamp(file), &mut rows);
                        let next = [file as u8, rows.len() as u8, 7];
                        memory.keep(file, stamp(file), rows.len(), &next, 4);
                    }
                });
            }
        });
        let mut rows = Vec::new();
        for file in 0..200 {
            memory.recall(file, stamp(file), &mut rows);
            assert!(rows.len() >= 6 && rows.len() <= 32);
            for (i, row) in rows.chunks(3).enumerate() {
                assert_eq!(row, [file as u8, (i * 3) as u8, 7]);
            }
        }
    }
}
