//! Samples in a file that later runs use again. docs/cache.md describes the format.
//!
//! Records are appended to a data file. A second file, the journal, lists them, so that opening need not read all of the
//! data; records that the journal lacks are found by reading the data from the last listed record on.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Notices, file_length, form_of};
use crate::source::{Form, Store};

const MAGIC: [u8; 8] = *b"FPCACHE\0";
const VERSION: u32 = 1;
/// Bytes of the file's header; records begin at multiples of it.
const UNIT: u64 = 64;
/// First bytes of a record.
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"FPCR");
/// Bytes of a record before the sample.
const RECORD_HEAD: usize = 24;
/// Bytes of a journal entry.
const ENTRY: usize = 16;
/// The greatest bound: a location is 32 bits, in units.
const BYTES_LIMIT: u64 = UNIT << 32;
/// Samples that are compared with their source when the cache is opened.
const COMPARED: usize = 8;
const DATA_ENDING: &str = "fpc";
const JOURNAL_ENDING: &str = "fpj";

/// Bytes of memory for the locations of so many samples.
pub(super) fn table_bytes(samples: usize) -> u64 {
    (samples * size_of::<AtomicU64>()) as u64
}

/// A file that can be written; a test injects failures here.
pub(super) trait Medium: Send + Sync {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn set_len(&self, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        Self::set_len(self, length)
    }
}

pub(super) struct DiskCache {
    path: PathBuf,
    data: File,
    /// For each sample of the data set its location (upper 32 bits, in units) and length (lower 32 bits); 0 if it is not in
    /// the cache.
    locations: Box<[AtomicU64]>,
    samples: AtomicU64,
    bytes: AtomicU64,
    bytes_max: u64,
    fingerprint: u64,
    /// `None` if another process holds the lock for writing.
    writer: Option<Mutex<Writer>>,
    /// Set after a failure: nothing more is written.
    full: AtomicBool,
    /// Set once a damaged record was reported.
    damage_reported: AtomicBool,
}

struct Writer {
    data: Box<dyn Medium>,
    journal: Box<dyn Medium>,
    /// End of the intact part of each file.
    data_end: u64,
    journal_end: u64,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    index: u32,
    length: u32,
    file_len: u32,
    crc: u32,
}

impl Record {
    fn encode(&self) -> [u8; RECORD_HEAD] {
        let mut bytes = [0; RECORD_HEAD];
        let words = [RECORD_MAGIC, self.index, self.length, self.file_len, self.crc];
        for (location, word) in bytes.chunks_exact_mut(4).zip(words) {
            location.copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..RECORD_HEAD - 4]);
        bytes[RECORD_HEAD - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let words = words(bytes.get(..RECORD_HEAD)?);
        let good = words[0] == RECORD_MAGIC && words[5] == crc32fast::hash(&bytes[..RECORD_HEAD - 4]);
        good.then_some(Self { index: words[1], length: words[2], file_len: words[3], crc: words[4] })
    }

    /// Bytes from the beginning of a record to the next one.
    fn bytes(length: u32) -> u64 {
        (RECORD_HEAD as u64 + u64::from(length)).next_multiple_of(UNIT)
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect()
}

fn head(fingerprint: u64) -> [u8; UNIT as usize] {
    let mut bytes = [0; UNIT as usize];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&fingerprint.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// A journal entry: the sample's number, location in units, length, and the checksum of these and the fingerprint.
fn entry(index: u32, unit: u32, length: u32, fingerprint: u64) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    for (location, word) in bytes.chunks_exact_mut(4).zip([index, unit, length]) {
        location.copy_from_slice(&word.to_le_bytes());
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&fingerprint.to_le_bytes());
    bytes[12..].copy_from_slice(&crc.finalize().to_le_bytes());
    bytes
}

impl DiskCache {
    /// Opens or creates the files for a data set of so many samples.
    pub(super) fn open(
        folder: &Path,
        bytes_max: u64,
        fingerprint: u64,
        samples: usize,
        notices: &Notices,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{fingerprint:016x}.{DATA_ENDING}"));
        let open =
            |path: &Path| File::options().read(true).write(true).create(true).truncate(false).open(path);
        let data = open(&path)?;
        let writes = match data.try_lock() {
            Ok(()) => true,
            Err(fs::TryLockError::WouldBlock) => {
                notices.add(format!("{}: another process fills the cache; it is only read", path.display()));
                false
            }
            // On a file system without locks, two writers would overwrite each other's records.
            Err(fs::TryLockError::Error(error)) => return Err(error),
        };
        let journal = open(&path.with_extension(JOURNAL_ENDING))?;
        let others = others(folder, &path);
        let bytes_max = bytes_max.saturating_sub(others).min(BYTES_LIMIT);
        if others > 0 && bytes_max < UNIT {
            notices.add(format!("{}: caches of other data take all of its space", folder.display()));
        }
        let mut cache = Self {
            path,
            data: data.try_clone()?,
            locations: (0..samples).map(|_| AtomicU64::new(0)).collect(),
            samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_max,
            fingerprint,
            writer: None,
            full: AtomicBool::new(false),
            damage_reported: AtomicBool::new(false),
        };
        let (data_end, journal_end) = cache.load(&journal, notices)?;
        cache.bytes.store(data_end + journal_end, Ordering::Relaxed);
        if writes {
            let writer = Writer { data: Box::new(data), journal: Box::new(journal), data_end, journal_end };
            cache.begin(writer, notices);
        }
        Ok(cache)
    }

    /// Cuts off damaged ends, and writes a header if there is none.
    fn begin(&mut self, mut writer: Writer, notices: &Notices) {
        let ready = writer.prepare(self.fingerprint, self.bytes_max);
        self.bytes.store(writer.data_end + writer.journal_end, Ordering::Relaxed);
        self.writer = Some(Mutex::new(writer));
        if let Err(error) = ready {
            self.stop(&error, notices);
        }
    }

    /// Finds the records of the files; returns the ends of the intact parts of data and journal.
    fn load(&self, journal: &File, notices: &Notices) -> io::Result<(u64, u64)> {
        let length = self.data.metadata()?.len();
        // A bound that does not even hold the header leaves an empty file.
        if length == 0 || self.bytes_max < UNIT {
            return Ok((0, 0));
        }
        let mut found = [0; UNIT as usize];
        if self.data.read_exact_at(&mut found, 0).is_err() || found != head(self.fingerprint) {
            notices.add(format!("{}: not the cache of this data; it begins anew", self.path.display()));
            return Ok((0, 0));
        }
        let mut entries = Vec::new();
        io::Read::read_to_end(&mut (&mut &*journal), &mut entries)?;
        let (mut end, mut journal_end) = (UNIT, 0);
        for bytes in entries.chunks_exact(ENTRY) {
            let words = words(bytes);
            let at = u64::from(words[1]) * UNIT;
            let whole = entry(words[0], words[1], words[2], self.fingerprint) == *bytes;
            let next = end + Record::bytes(words[2]);
            let fits = next + journal_end + ENTRY as u64 <= self.bytes_max;
            if !whole || !fits || at != end || at + RECORD_HEAD as u64 + u64::from(words[2]) > length {
                break;
            }
            self.keep(words[0], words[1], words[2]);
            end = next;
            journal_end += ENTRY as u64;
        }
        self.walk(&mut end, length, self.bytes_max.saturating_sub(journal_end));
        Ok((end, journal_end))
    }

    /// Finds intact records that the journal lacks, in a data file of this length, and up to this bound.
    fn walk(&self, end: &mut u64, length: u64, bound: u64) {
        let mut bytes = Vec::new();
        while *end + (RECORD_HEAD as u64) < length {
            let mut found = [0; RECORD_HEAD];
            if self.data.read_exact_at(&mut found, *end).is_err() {
                return;
            }
            let Some(record) = Record::decode(&found) else { return };
            let whole = *end + RECORD_HEAD as u64 + u64::from(record.length) <= length;
            if !whole || *end + Record::bytes(record.length) > bound {
                return;
            }
            bytes.resize(record.length as usize, 0);
            let read = self.data.read_exact_at(&mut bytes, *end + RECORD_HEAD as u64);
            if read.is_err() || crc32fast::hash(&bytes) != record.crc {
                return;
            }
            self.keep(record.index, (*end / UNIT) as u32, record.length);
            *end += Record::bytes(record.length);
        }
    }

    fn keep(&self, index: u32, unit: u32, length: u32) {
        if let Some(location) = self.locations.get(index as usize) {
            let before = location.swap(u64::from(unit) << 32 | u64::from(length), Ordering::Release);
            self.samples.fetch_add(u64::from(before == 0), Ordering::Relaxed);
        }
    }

    pub(super) fn holds(&self, index: usize) -> bool {
        self.locations.get(index).is_some_and(|location| location.load(Ordering::Relaxed) != 0)
    }

    /// Reads a sample to the front of `buffer`; returns its form and length.
    pub(super) fn get(&self, index: usize, buffer: &mut Vec<u8>, notices: &Notices) -> Option<(Form, usize)> {
        let location = self.locations.get(index)?;
        let known = location.load(Ordering::Acquire);
        if known == 0 {
            return None;
        }
        match self.record(index, known, buffer) {
            Ok(found) => Some(found),
            Err(error) => {
                // From now on it is read from its source.
                if location.compare_exchange(known, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    self.samples.fetch_sub(1, Ordering::Relaxed);
                }
                if !self.damage_reported.swap(true, Ordering::Relaxed) {
                    let path = self.path.display();
                    notices.add(format!(
                        "{path}: a damaged record is not used (further ones are not reported): {error}"
                    ));
                }
                None
            }
        }
    }

    fn record(&self, index: usize, location: u64, buffer: &mut Vec<u8>) -> io::Result<(Form, usize)> {
        let (at, length) = ((location >> 32) * UNIT, location as u32 as usize);
        let mut found = [0; RECORD_HEAD];
        buffer.resize(length, 0);
        self.data.read_exact_at(&mut found, at)?;
        self.data.read_exact_at(buffer, at + RECORD_HEAD as u64)?;
        let record = Record::decode(&found).filter(|record| {
            record.index as usize == index
                && record.length as usize == length
                && record.crc == crc32fast::hash(buffer)
        });
        let record =
            record.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its checksum differs"))?;
        Ok((form_of(record.file_len, length), length))
    }

    /// Appends a sample if the bound allows it.
    pub(super) fn put(&self, index: usize, form: Form, bytes: &[u8], notices: &Notices) {
        let Some(writer) = &self.writer else { return };
        let (Ok(number), Some(file_len)) = (u32::try_from(index), file_length(form, bytes.len())) else {
            return;
        };
        if self.full.load(Ordering::Relaxed) || self.holds(index) {
            return;
        }
        let record =
            Record { index: number, length: bytes.len() as u32, file_len, crc: crc32fast::hash(bytes) };
        let needed = Record::bytes(record.length) + ENTRY as u64;
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.data_end + writer.journal_end + needed > self.bytes_max {
            return;
        }
        match writer.append(record, bytes, self.fingerprint) {
            Ok(unit) => {
                self.bytes.store(writer.data_end + writer.journal_end, Ordering::Relaxed);
                self.keep(number, unit, record.length);
            }
            Err(error) => {
                drop(writer);
                self.stop(&error, notices);
            }
        }
    }

    /// Stops writing after an error.
    fn stop(&self, error: &io::Error, notices: &Notices) {
        if !self.full.swap(true, Ordering::Relaxed) {
            notices.add(format!("{}: the cache does not grow any more: {error}", self.path.display()));
        }
    }

    /// Whether a few samples are still what their source holds.
    pub(super) fn agrees(&self, store: &Store) -> bool {
        let held: Vec<usize> = (0..self.locations.len()).filter(|index| self.holds(*index)).collect();
        let (mut cached, mut read) = (Vec::new(), Vec::new());
        held.iter().step_by((held.len() / COMPARED).max(1)).take(COMPARED).all(|index| {
            let location = self.locations[*index].load(Ordering::Relaxed);
            let (Ok((form, length)), Ok(own)) =
                (self.record(*index, location, &mut cached), store.read(*index, &mut read))
            else {
                // An unreadable sample is reported when it is read for a minibatch.
                return true;
            };
            let file = |form: Form, length: usize| file_length(form, length).unwrap_or(0) as usize;
            cached[..file(form, length)] == read[..file(own, read.len())]
        })
    }

    /// Discards all samples, on disk too.
    pub(super) fn clear(&self, notices: &Notices) {
        for location in &self.locations {
            location.store(0, Ordering::Relaxed);
        }
        self.samples.store(0, Ordering::Relaxed);
        let Some(writer) = &self.writer else { return };
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        (writer.data_end, writer.journal_end) = (0, 0);
        let ready = writer.prepare(self.fingerprint, self.bytes_max);
        self.bytes.store(writer.data_end + writer.journal_end, Ordering::Relaxed);
        drop(writer);
        if let Err(error) = ready {
            self.stop(&error, notices);
        }
    }

    /// Number of samples, bytes, and the bound in bytes.
    pub(super) fn size(&self) -> (u64, u64, u64) {
        (self.samples.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed), self.bytes_max)
    }
}

impl Writer {
    /// Cuts off damaged ends, and writes the header of an empty file.
    fn prepare(&mut self, fingerprint: u64, bytes_max: u64) -> io::Result<()> {
        self.data.set_len(self.data_end)?;
        self.journal.set_len(self.journal_end)?;
        if self.data_end == 0 {
            if bytes_max < UNIT {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "its bound leaves no space"));
            }
            self.data.write_all_at(&head(fingerprint), 0)?;
            self.data_end = UNIT;
        }
        Ok(())
    }

    /// Appends a record; returns its location in units. After an error both files are cut back to where they ended, if
    /// the system allows that.
    fn append(&mut self, record: Record, bytes: &[u8], fingerprint: u64) -> io::Result<u32> {
        let unit = u32::try_from(self.data_end / UNIT).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let listed = entry(record.index, unit, record.length, fingerprint);
        let written = self
            .data
            .write_all_at(bytes, self.data_end + RECORD_HEAD as u64)
            .and_then(|()| self.data.write_all_at(&record.encode(), self.data_end))
            .and_then(|()| self.journal.write_all_at(&listed, self.journal_end));
        if let Err(error) = written {
            let _ = self.data.set_len(self.data_end);
            let _ = self.journal.set_len(self.journal_end);
            return Err(error);
        }
        self.data_end += Record::bytes(record.length);
        self.journal_end += ENTRY as u64;
        Ok(unit)
    }
}

/// Bytes that caches of other data sets take in the folder.
fn others(folder: &Path, own: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let other = |path: &Path| {
        let ending = path.extension().and_then(|e| e.to_str());
        ending.is_some_and(|e| [DATA_ENDING, JOURNAL_ENDING].contains(&e))
            && path.file_stem() != own.file_stem()
    };
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| other(path));
    paths.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests;
