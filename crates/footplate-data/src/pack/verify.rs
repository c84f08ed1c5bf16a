//! Checks shards against their side indices.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::{JobControl, PackError, lock};
use crate::decode;
use crate::error::DataError;
use crate::pack_marker;
use crate::shard_index::{self, BLOCK, IndexBody, IndexHeader, IndexRecord};
use crate::source::tar;

/// The most problems of one shard that are listed.
const LISTED_MAX: usize = 20;

/// The result of checking shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Number of shards that were read.
    pub shards: usize,
    /// Number of samples that were read.
    pub samples: u64,
    /// Bytes of images that were read.
    pub bytes: u64,
    /// The problems, one line each; empty if there are none.
    pub problems: Vec<String>,
}

/// Reads every shard at `path` (a folder, a file, or a pattern) completely, and checks that each sample is where the index
/// says, with its class and its checksum, and that its checkpoints are those that are made again from its bytes.
///
/// # Errors
/// [`PackError`] if there are no shards, or if the work was stopped. Problems of a shard are no errors; they are listed in
/// [`Verified::problems`].
pub fn verify(path: &Path, threads: usize, control: JobControl<'_>) -> Result<Verified, PackError> {
    let shards = tar::shard_paths(path)?;
    let samples =
        shards.iter().filter_map(|path| opened(path).ok()).map(|(_, _, h)| u64::from(h.samples)).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let sum = Mutex::new(Verified::default());
    let tick = || (control.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, samples);
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, shards.len().max(1)) {
            scope.spawn(|| {
                while let Some(path) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let stopped = || control.stop.load(Ordering::Relaxed);
                    let found = Check::new(path.clone()).run(&tick, &stopped);
                    let mut sum = lock(&sum);
                    sum.shards += 1;
                    sum.samples += found.samples;
                    sum.bytes += found.bytes;
                    sum.problems.extend(found.problems);
                }
            });
        }
    });
    if control.stop.load(Ordering::Relaxed) {
        return Err(PackError::Stopped);
    }
    let mut verified = std::mem::take(&mut *lock(&sum));
    if pack_marker::is_incomplete(path) {
        verified.problems.push(format!("{}: not complete: `footplate pack` was interrupted", path.display()));
    }
    verified.problems.sort();
    Ok(verified)
}

fn opened(path: &Path) -> Result<(File, File, IndexHeader), String> {
    let tar = File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    let size = tar.metadata().map_err(|e| format!("cannot be read: {e}"))?.len();
    let (file, header) = shard_index::open_beside(path, size).map_err(|e| e.to_string())?;
    Ok((tar, file, header))
}

/// The check of one shard.
struct Check {
    path: PathBuf,
    samples: u64,
    bytes: u64,
    problems: Vec<String>,
    more: usize,
}

impl Check {
    fn new(path: PathBuf) -> Self {
        Self { path, samples: 0, bytes: 0, problems: Vec::new(), more: 0 }
    }

    fn problem(&mut self, what: &str) {
        if self.problems.len() < LISTED_MAX {
            self.problems.push(format!("{}: {what}", self.path.display()));
        } else {
            self.more += 1;
        }
    }

    fn run(mut self, tick: &dyn Fn(), stopped: &dyn Fn() -> bool) -> Self {
        if let Err(reason) = self.read(tick, stopped) {
            self.problem(&reason);
        }
        if self.more > 0 {
            let more = format!("{}: and {} problems more", self.path.display(), self.more);
            self.problems.push(more);
        }
        self
    }

    fn read(&mut self, tick: &dyn Fn(), stopped: &dyn Fn() -> bool) -> Result<(), String> {
        let path = self.path.clone();
        let (tar, file, header) = opened(&path)?;
        let mut buffer = Vec::new();
        let body = IndexBody::read(&file, &header, &mut buffer).map_err(|e| e.to_string())?;
        let records: Vec<IndexRecord> = body.records().collect();
        let mut scanned = Vec::new();
        let mut keep = |found: tar::scan::Scanned<'_>| {
            let name_crc = crc32fast::hash(found.key.as_bytes());
            scanned.push((found.key.to_owned(), found.offset, found.size, found.label, name_crc));
        };
        let warnings = tar::scan::scan(&path, &tar, &mut keep).map_err(|e: DataError| e.to_string())?;
        for warning in warnings {
            self.problem(&warning);
        }
        if scanned.len() != records.len() {
            self.problem(&format!("{} samples, and {} in its index", scanned.len(), records.len()));
        }
        let ends = records.iter().skip(1).map(|record| record.blob).chain([header.blobs_bytes]);
        let mut bytes = Vec::new();
        for ((record, end), (key, offset, size, label, name_crc)) in records.iter().zip(ends).zip(&scanned) {
            if stopped() {
                return Ok(());
            }
            let known = IndexRecord {
                block: (*offset / BLOCK) as u32,
                size: *size,
                label: *label,
                name_crc: *name_crc,
                ..*record
            };
            if known != *record {
                self.problem(&format!("{key}: its place, size or class is not that of its index"));
                continue;
            }
            bytes.resize(*size as usize, 0);
            tar.read_exact_at(&mut bytes, *offset).map_err(|e| format!("{key}: cannot be read: {e}"))?;
            if crc32fast::hash(&bytes) != record.data_crc {
                self.problem(&format!("{key}: its bytes have changed"));
            } else if !blob_is_right(&file, &header, record.blob, end, &bytes) {
                self.problem(&format!("{key}: its decoder's checkpoints are not those of its bytes"));
            }
            self.samples += 1;
            self.bytes += u64::from(*size);
            tick();
        }
        Ok(())
    }
}

/// Whether the blob from `from` to `to` is the one that is made again from the image.
fn blob_is_right(index: &File, header: &IndexHeader, from: u32, to: u32, image: &[u8]) -> bool {
    let expected = decode::index::build(image).unwrap_or_default();
    let mut blob = vec![0; (to - from) as usize];
    index.read_exact_at(&mut blob, header.blobs_at() + u64::from(from)).is_ok() && blob == expected
}
