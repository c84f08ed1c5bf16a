//! Reads samples from tars by their location. A sample is 16 bytes of memory.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::{Advice, fadvise};

use super::scan::{header_of, split_name};
use crate::shard_index::{self, BLOCK, HEADER_BYTES, IndexHeader, RECORD_BYTES};
use crate::source::Form;

/// The most shards that are open at once, each with up to two files. A process may usually have 1024 files open.
const OPEN_MAX: usize = 200;
/// Bytes of headers and padding of a sample with two members.
const MEMBER_OVERHEAD: u64 = 2048;
/// Members with fewer bytes between them are read ahead together.
const GAP_MAX: u64 = 64 << 10;
/// Offset of the sample's checksum in an index record.
const DATA_CRC_AT: u64 = 16;
/// Names of at least so many bytes may be continued in another header.
const LONG_NAME: usize = 99;

/// The location of a sample in its shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// Where its bytes begin, in units of 512 bytes.
    pub(crate) block: u32,
    pub(crate) size: u32,
    /// CRC-32 of its key.
    pub(crate) name_crc: u32,
    /// Offset of its blob among the shard's blobs.
    pub(crate) blob: u32,
}

impl Member {
    fn offset(&self) -> u64 {
        u64::from(self.block) * BLOCK
    }

    /// Name and size in the header before its bytes.
    fn header(&self, tar: &File) -> io::Result<(String, u64)> {
        let mut block = [0; BLOCK as usize];
        let at = self.offset().checked_sub(BLOCK).ok_or(io::ErrorKind::InvalidData)?;
        tar.read_exact_at(&mut block, at)?;
        header_of(&block)
    }

    /// Whether the header before its bytes has its name and size.
    fn has_header(&self, tar: &File) -> bool {
        self.header(tar).is_ok_and(|(name, size)| {
            let known =
                name.len() >= LONG_NAME || crc32fast::hash(split_name(&name).0.as_bytes()) == self.name_crc;
            known && size == u64::from(self.size)
        })
    }
}

/// Identifies a file, to notice if it is replaced or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A tar with the files that are open for it.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    stamp: FileStamp,
    /// Number of its first sample.
    first: u32,
    /// The header of its side index, if it has one.
    index: Option<IndexHeader>,
    open: RwLock<Option<Arc<OpenFiles>>>,
}

#[derive(Debug)]
struct OpenFiles {
    tar: File,
    index: Option<File>,
    /// The first sample is not where the index says: tar and index do not belong together.
    mismatch: bool,
}

impl Shard {
    /// A shard whose first sample has the number `first`. It is opened when it is first read from.
    pub(crate) fn new(path: PathBuf, tar: &Metadata, first: u32, index: Option<IndexHeader>) -> Self {
        Self { path, stamp: FileStamp::of(tar), first, index, open: RwLock::new(None) }
    }
}

/// The samples of all shards.
#[derive(Debug)]
pub(crate) struct TarStore {
    shards: Vec<Shard>,
    members: Vec<Member>,
    /// Open shards, in the order in which they were opened.
    open: Mutex<VecDeque<u32>>,
}

/// The range of adjacent members in a tar, and of their blobs in the index.
#[derive(Clone, Copy)]
struct AdjacentMembers {
    shard: usize,
    begin: u64,
    end: u64,
    blob: u32,
    blob_end: u32,
}

/// A sample and its shard.
struct SampleLocation<'a> {
    shard: &'a Shard,
    member: &'a Member,
    /// Its number in the shard.
    nth: u32,
    blob_bytes: u32,
}

impl TarStore {
    pub(crate) fn new(shards: Vec<Shard>, members: Vec<Member>) -> Self {
        Self { shards, members, open: Mutex::default() }
    }

    /// The number of a sample's shard.
    pub(crate) fn shard_of(&self, index: usize) -> usize {
        self.shards.partition_point(|shard| shard.first as usize <= index) - 1
    }

    fn location(&self, index: usize) -> (usize, SampleLocation<'_>) {
        let number = self.shard_of(index);
        let shard = &self.shards[number];
        let member = &self.members[index];
        let next = self.shards.get(number + 1).map_or(self.members.len(), |next| next.first as usize);
        let blobs_end = match self.members[..next].get(index + 1) {
            Some(next) => next.blob,
            None => shard.index.map_or(0, |header| header.blobs_bytes),
        };
        let nth = index as u32 - shard.first;
        (number, SampleLocation { shard, member, nth, blob_bytes: blobs_end - member.blob })
    }

    /// Reads a sample's bytes, followed by its checkpoints if the shard has them.
    pub(crate) fn read(&self, index: usize, buffer: &mut Vec<u8>) -> io::Result<Form> {
        let (number, location) = self.location(index);
        let files = self.files(number)?;
        let size = location.member.size as usize;
        let blob = if files.index.is_some() { location.blob_bytes as usize } else { 0 };
        buffer.resize(size + blob, 0);
        files.tar.read_exact_at(&mut buffer[..size], location.member.offset())?;
        // After the read, so that a change before or during it is noticed.
        if files.mismatch || FileStamp::of(&files.tar.metadata()?) != location.shard.stamp {
            location.check(&files, &buffer[..size])?;
        }
        if blob > 0 && location.read_blob(&files, &mut buffer[size..]) {
            return Ok(Form::Indexed { file_len: size });
        }
        buffer.truncate(size);
        Ok(Form::File)
    }

    /// Calls `with` with the tar that holds a sample, and the offset and length of its bytes.
    pub(crate) fn with_range<T>(
        &self,
        index: usize,
        with: impl FnOnce(&File, u64, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        let (number, location) = self.location(index);
        with(&self.files(number)?.tar, location.member.offset(), location.member.size.into())
    }

    /// The mean size of a sample with headers and padding, in bytes.
    pub(crate) fn mean_bytes(&self) -> u64 {
        let total: u64 = self.members.iter().map(|member| u64::from(member.size) + MEMBER_OVERHEAD).sum();
        total / (self.members.len() as u64).max(1)
    }

    /// Asks the system to read samples to the page cache; adjacent ones in one request.
    pub(crate) fn advise(&self, samples: &[u32]) {
        let mut run: Option<AdjacentMembers> = None;
        for index in samples {
            let (shard, location) = self.location(*index as usize);
            let (from, to) =
                (location.member.offset(), location.member.offset() + u64::from(location.member.size));
            let (blob, blob_end) = (location.member.blob, location.member.blob + location.blob_bytes);
            run = match run {
                Some(run) if shard == run.shard && from >= run.end && from - run.end < GAP_MAX => {
                    Some(AdjacentMembers { end: to, blob_end, ..run })
                }
                other => {
                    self.advise_run(other);
                    Some(AdjacentMembers { shard, begin: from, end: to, blob, blob_end })
                }
            };
        }
        self.advise_run(run);
    }

    fn advise_run(&self, run: Option<AdjacentMembers>) {
        let Some(run) = run else { return };
        // A shard that cannot be opened is reported when it is read.
        let Ok(files) = self.files(run.shard) else { return };
        let _ = fadvise(&files.tar, run.begin, NonZeroU64::new(run.end - run.begin), Advice::WillNeed);
        let blobs = NonZeroU64::new(u64::from(run.blob_end.saturating_sub(run.blob)));
        if let (Some(file), Some(header), Some(_)) = (&files.index, &self.shards[run.shard].index, blobs) {
            let _ = fadvise(file, header.blobs_at() + u64::from(run.blob), blobs, Advice::WillNeed);
        }
    }

    /// The open files of a shard.
    fn files(&self, number: usize) -> io::Result<Arc<OpenFiles>> {
        let shard = &self.shards[number];
        if let Some(files) = &*shard.open.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(files.clone());
        }
        let mut slot = shard.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = &*slot {
            return Ok(files.clone());
        }
        let files = Arc::new(shard.open_files(self.members.get(shard.first as usize))?);
        *slot = Some(files.clone());
        drop(slot);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back(number as u32);
        let oldest = if open.len() > OPEN_MAX { open.pop_front() } else { None };
        drop(open);
        if let Some(oldest) = oldest {
            // A thread that is reading from it still holds its files.
            *self.shards[oldest as usize].open.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(files)
    }

    /// A sample's name from its header, for messages.
    pub(crate) fn name(&self, index: usize) -> String {
        let (number, location) = self.location(index);
        let path = location.shard.path.display();
        let named = self.files(number).and_then(|files| location.member.header(&files.tar));
        match named {
            Ok((name, _)) => format!("{path}: {name}"),
            Err(_) => format!("{path} at byte {}", location.member.offset()),
        }
    }

    /// The last component of a sample's key.
    pub(crate) fn stem(&self, index: usize) -> Option<String> {
        let (number, location) = self.location(index);
        let (name, _) = self.files(number).and_then(|files| location.member.header(&files.tar)).ok()?;
        let key = split_name(&name).0;
        Some(key.rsplit('/').next().unwrap_or(key).to_owned())
    }

    pub(crate) fn identity(&self, index: usize) -> u32 {
        let member = &self.members[index];
        member.name_crc ^ member.size
    }

    /// Size of a sample in bytes, without its checkpoints.
    pub(crate) fn size(&self, index: usize) -> u64 {
        self.members[index].size.into()
    }
}

impl Shard {
    /// `first` is its first member.
    fn open_files(&self, first: Option<&Member>) -> io::Result<OpenFiles> {
        let tar = File::open(&self.path)?;
        // Without its index, or with another one, the shard is read without checkpoints.
        let index = self.index.and_then(|header| {
            let (file, found) = shard_index::open_beside(&self.path, header.tar_size).ok()?;
            (found == header).then_some(file)
        });
        let first = first.filter(|_| index.is_some());
        let mismatch = first.is_some_and(|member| !member.has_header(&tar));
        Ok(OpenFiles { tar, index, mismatch })
    }
}

impl SampleLocation<'_> {
    /// Reads the sample's blob, and tells whether that worked. The decoder checks its content.
    fn read_blob(&self, files: &OpenFiles, out: &mut [u8]) -> bool {
        let (Some(file), Some(header)) = (&files.index, &self.shard.index) else { return false };
        file.read_exact_at(out, header.blobs_at() + u64::from(self.member.blob)).is_ok()
    }

    /// Checks a sample of a tar that has changed since it was opened: by its checksum, or without an index by the header
    /// before it.
    fn check(&self, files: &OpenFiles, bytes: &[u8]) -> io::Result<()> {
        let same = match &files.index {
            Some(index) => {
                let at = HEADER_BYTES as u64 + u64::from(self.nth) * RECORD_BYTES as u64 + DATA_CRC_AT;
                let mut crc = [0; 4];
                index.read_exact_at(&mut crc, at)?;
                crc32fast::hash(bytes).to_le_bytes() == crc
            }
            None => self.member.has_header(&files.tar),
        };
        let path = self.shard.path.display();
        let changed = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{path} was changed, or is not the one of its index"),
            )
        };
        if same { Ok(()) } else { Err(changed()) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::Store;

    /// More shards than may be open at once, read by several threads in every order.
    #[test]
    fn a_bounded_number_of_shards_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let count = OPEN_MAX + 40;
        for number in 0..count {
            let mut tar = ::tar::Builder::new(Vec::new());
            for (name, bytes) in [("k.png", format!("image {number}")), ("k.cls", (number % 2).to_string())] {
                let mut header = ::tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                header.set_cksum();
                tar.append_data(&mut header, name, bytes.as_bytes()).unwrap();
            }
            fs::write(folder.path().join(format!("{number:03}.tar")), tar.into_inner().unwrap()).unwrap();
        }
        let Store::Tar(store) = crate::source::tar::open(folder.path()).unwrap().store else {
            panic!("not tars");
        };
        std::thread::scope(|scope| {
            for step in [1, 7, 41, 199] {
                let store = &store;
                scope.spawn(move || {
                    let mut buffer = Vec::new();
                    for index in (0..count * 2).map(|i| i * step % count) {
                        store.read(index, &mut buffer).unwrap();
                        assert_eq!(buffer, format!("image {index}").as_bytes());
                    }
                });
            }
        });
        assert!(store.open.lock().unwrap().len() <= OPEN_MAX);
        let open = |shard: &&Shard| shard.open.read().unwrap().is_some();
        assert!(store.shards.iter().filter(open).count() <= OPEN_MAX);
    }
}
