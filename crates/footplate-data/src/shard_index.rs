//! A shard's side index: location, class, checksum and checkpoints of each sample. docs/shards.md describes the format; all
//! numbers are little-endian.
#![expect(clippy::disallowed_types, reason = "a side index is a file")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Ending of a side index, which is beside its tar under the same name.
pub(crate) const ENDING: &str = "fpi";
pub(crate) const MAGIC: [u8; 8] = *b"FPINDEX\0";
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const RECORD_BYTES: usize = 24;
/// Bytes of a tar's block; members begin at multiples of it.
pub(crate) const BLOCK: u64 = 512;
/// A longer list of class names is taken for damage.
const NAMES_BYTES_MAX: u32 = 64 << 20;

/// Why a side index cannot be used.
#[derive(Debug, Error)]
pub(crate) enum IndexError {
    #[error("it has no side index (.{ENDING})")]
    Missing,
    #[error("its side index cannot be read: {0}")]
    Io(#[source] io::Error),
    #[error("its side index is of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    #[error("its side index is damaged: {0}")]
    Damaged(&'static str),
    #[error("its side index is of a file of {indexed} bytes, and it has {found}")]
    Stale { indexed: u64, found: u64 },
}

/// What an index says of one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexRecord {
    /// Offset of its bytes in the tar, in units of 512 bytes.
    pub(crate) block: u32,
    /// Its length in bytes.
    pub(crate) size: u32,
    pub(crate) label: u32,
    /// CRC-32 of its key.
    pub(crate) name_crc: u32,
    /// CRC-32 of its bytes.
    pub(crate) data_crc: u32,
    /// Offset of its blob among the blobs, in bytes. The blob ends where the next one begins.
    pub(crate) blob: u32,
}

impl IndexRecord {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let words = [self.block, self.size, self.label, self.name_crc, self.data_crc, self.blob];
        let mut bytes = [0; RECORD_BYTES];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            block: word(bytes, 0),
            size: word(bytes, 4),
            label: word(bytes, 8),
            name_crc: word(bytes, 12),
            data_crc: word(bytes, 16),
            blob: word(bytes, 20),
        }
    }
}

/// The header of a side index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexHeader {
    pub(crate) samples: u32,
    /// Length of its tar in bytes.
    pub(crate) tar_size: u64,
    /// A checksum of the data and the options that the shard was made from.
    pub(crate) origin: u64,
    pub(crate) classes: u32,
    /// Bytes of the class names.
    pub(crate) names_bytes: u32,
    /// Bytes of all blobs.
    pub(crate) blobs_bytes: u32,
    /// Samples that were planned for the shard; those that are missing were damaged.
    pub(crate) planned: u32,
    /// CRC-32 of records and class names.
    pub(crate) body_crc: u32,
}

impl IndexHeader {
    /// Offset of the blobs in the file.
    pub(crate) fn blobs_at(&self) -> u64 {
        (HEADER_BYTES + RECORD_BYTES * self.samples as usize) as u64 + u64::from(self.names_bytes)
    }

    /// Length of the whole file in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.blobs_at() + u64::from(self.blobs_bytes)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.samples.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.tar_size.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.origin.to_le_bytes());
        let words = [self.classes, self.names_bytes, self.blobs_bytes, self.planned, self.body_crc];
        for (place, word) in bytes[32..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, IndexError> {
        if bytes[..8] != MAGIC {
            return Err(IndexError::Damaged("it does not begin as one"));
        }
        if word(bytes, 8) != VERSION {
            return Err(IndexError::Version(word(bytes, 8)));
        }
        if word(bytes, HEADER_BYTES - 4) != crc32fast::hash(&bytes[..HEADER_BYTES - 4]) {
            return Err(IndexError::Damaged("the checksum of its head differs"));
        }
        Ok(Self {
            samples: word(bytes, 12),
            tar_size: long(bytes, 16),
            origin: long(bytes, 24),
            classes: word(bytes, 32),
            names_bytes: word(bytes, 36),
            blobs_bytes: word(bytes, 40),
            planned: word(bytes, 44),
            body_crc: word(bytes, 48),
        })
    }

    /// Reads the header of an index, and checks it and the lengths of both files.
    pub(crate) fn read(file: &File, tar_size: Option<u64>) -> Result<Self, IndexError> {
        let mut bytes = [0; HEADER_BYTES];
        let mut file_ref = file;
        match file_ref.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(IndexError::Damaged("it is cut off"));
            }
            other => other.map_err(IndexError::Io)?,
        }
        let header = Self::decode(&bytes)?;
        if header.names_bytes > NAMES_BYTES_MAX || header.planned < header.samples {
            return Err(IndexError::Damaged("its numbers make no sense"));
        }
        if file.metadata().map_err(IndexError::Io)?.len() != header.file_bytes() {
            return Err(IndexError::Damaged("its length is wrong"));
        }
        match tar_size {
            Some(found) if found != header.tar_size => {
                Err(IndexError::Stale { indexed: header.tar_size, found })
            }
            _ => Ok(header),
        }
    }
}

/// Records and class names of an index, after a check. The blobs stay in the file.
pub(crate) struct IndexBody<'a> {
    records: &'a [u8],
    /// The class names as stored in the file.
    pub(crate) names: &'a [u8],
}

impl<'a> IndexBody<'a> {
    /// Reads what follows the header into `buffer`.
    pub(crate) fn read(
        file: &File,
        header: &IndexHeader,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Self, IndexError> {
        let length = header.blobs_at() - HEADER_BYTES as u64;
        buffer.clear();
        // The file is at least that long: the header was checked against its length.
        file.take(length).read_to_end(buffer).map_err(IndexError::Io)?;
        if buffer.len() as u64 != length || crc32fast::hash(buffer) != header.body_crc {
            return Err(IndexError::Damaged("the checksum of its records differs"));
        }
        let (records, names) = buffer.split_at(length as usize - header.names_bytes as usize);
        let body = Self { records, names };
        body.check(header)?;
        Ok(body)
    }

    fn check(&self, header: &IndexHeader) -> Result<(), IndexError> {
        let mut blob = 0;
        for record in self.records() {
            let end = u64::from(record.block) * BLOCK + u64::from(record.size);
            if end > header.tar_size || record.label >= header.classes {
                return Err(IndexError::Damaged("a record points outside"));
            }
            if record.blob < blob || record.blob > header.blobs_bytes {
                return Err(IndexError::Damaged("its blobs are out of order"));
            }
            blob = record.blob;
        }
        Ok(())
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = IndexRecord> {
        self.records.chunks_exact(RECORD_BYTES).map(IndexRecord::decode)
    }

    pub(crate) fn class_names(&self, header: &IndexHeader) -> Result<Vec<String>, IndexError> {
        class_names(self.names, header.classes)
    }
}

/// Class names, which are stored with the length before each.
fn class_names(mut bytes: &[u8], classes: u32) -> Result<Vec<String>, IndexError> {
    const BAD: IndexError = IndexError::Damaged("its class names cannot be read");
    let mut names = Vec::new();
    while let Some((length, rest)) = bytes.split_at_checked(4) {
        let (name, rest) = rest.split_at_checked(word(length, 0) as usize).ok_or(BAD)?;
        names.push(String::from_utf8(name.to_vec()).map_err(|_| BAD)?);
        bytes = rest;
    }
    if bytes.is_empty() && names.len() == classes as usize { Ok(names) } else { Err(BAD) }
}

/// An index that is being made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexBuilder {
    pub(crate) records: Vec<IndexRecord>,
    blobs: Vec<u8>,
}

impl IndexBuilder {
    /// Adds a sample and its blob, which may be empty. It sets `record.blob`.
    pub(crate) fn add(&mut self, record: IndexRecord, blob: &[u8]) -> io::Result<()> {
        let at = u32::try_from(self.blobs.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.records.push(IndexRecord { blob: at, ..record });
        self.blobs.extend_from_slice(blob);
        Ok(())
    }

    /// The header for a tar of `tar_size` bytes, and the bytes between it and the blobs.
    fn head(&self, tar_size: u64, origin: u64, planned: u32, classes: &[String]) -> (IndexHeader, Vec<u8>) {
        let mut body: Vec<u8> = self.records.iter().flat_map(IndexRecord::encode).collect();
        let records_bytes = body.len();
        for name in classes {
            body.extend_from_slice(&(name.len() as u32).to_le_bytes());
            body.extend_from_slice(name.as_bytes());
        }
        let header = IndexHeader {
            samples: self.records.len() as u32,
            tar_size,
            origin,
            classes: classes.len() as u32,
            names_bytes: (body.len() - records_bytes) as u32,
            blobs_bytes: self.blobs.len() as u32,
            planned,
            body_crc: crc32fast::hash(&body),
        };
        (header, body)
    }

    /// Writes the whole index.
    pub(crate) fn write(
        &self,
        out: &mut dyn Write,
        tar_size: u64,
        origin: u64,
        planned: u32,
        classes: &[String],
    ) -> io::Result<()> {
        if u32::try_from(self.blobs.len()).is_err() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let (header, body) = self.head(tar_size, origin, planned, classes);
        out.write_all(&header.encode())?;
        out.write_all(&body)?;
        out.write_all(&self.blobs)
    }
}

/// The path of a tar's side index.
pub(crate) fn path_beside(tar: &Path) -> PathBuf {
    tar.with_extension(ENDING)
}

/// Opens the side index of a tar of `tar_size` bytes, and reads its header.
pub(crate) fn open_beside(tar: &Path, tar_size: u64) -> Result<(File, IndexHeader), IndexError> {
    let file = match File::open(path_beside(tar)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(IndexError::Missing),
        Err(error) => return Err(IndexError::Io(error)),
    };
    let header = IndexHeader::read(&file, Some(tar_size))?;
    Ok((file, header))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests;
