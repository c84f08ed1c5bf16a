//! Sources of images: each finds its samples with their labels and split, and reads the bytes of one sample.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "sources find and read the files of a data set"
)]

pub(crate) mod cifar;
pub(crate) mod evict;
pub(crate) mod folder;
pub(crate) mod idx;
pub(crate) mod memory;
pub mod page_cache;
pub(crate) mod tar;

use std::io;

use crate::order::Visit;
use crate::transform::Encoded;
use memory::{MemoryStore, PixelStore};

/// Bytes of shards that are read in sequence: enough for an SD card to come near its sequential speed.
const BLOCK_BYTES: u64 = 1 << 20;

/// What a source holds.
#[derive(Debug)]
pub(crate) struct SourceContents {
    pub(crate) store: Store,
    /// The class of each sample, by the sample's number.
    pub(crate) labels: Vec<u32>,
    pub(crate) classes: Vec<String>,
    /// Samples from this number on are for validation; `None` if the data has no split of its own.
    pub(crate) validation_from: Option<usize>,
    pub(crate) warnings: Vec<String>,
}

/// How samples are read.
#[derive(Debug)]
pub(crate) enum Store {
    Folder(folder::FolderStore),
    Tar(tar::TarStore),
    Pixels(PixelStore),
    /// Files and pixels of a program, or samples of another store that were read in to measure their preparation.
    Memory(MemoryStore),
}

/// What the bytes of a sample are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// A JPEG or PNG file.
    File,
    /// A JPEG file of `file_len` bytes, and after it the checkpoints for the decoder.
    Indexed { file_len: usize },
    /// Pixels, row by row, with their channels together.
    Raw { width: u32, height: u32, channels: u32 },
}

impl Form {
    pub(crate) fn encoded(self, bytes: &[u8]) -> Encoded<'_> {
        match self {
            Self::File => Encoded::File(bytes),
            Self::Indexed { file_len } => {
                let (file, index) = bytes.split_at(file_len);
                Encoded::Indexed { file, index }
            }
            Self::Raw { width, height, channels } => Encoded::Raw { pixels: bytes, width, height, channels },
        }
    }
}

impl Store {
    /// Reads a sample's bytes into `buffer`, replacing what it holds.
    pub(crate) fn read(&self, index: usize, buffer: &mut Vec<u8>) -> io::Result<Form> {
        match self {
            Self::Folder(store) => store.read(index, buffer).map(|()| Form::File),
            Self::Tar(store) => store.read(index, buffer),
            Self::Pixels(store) => Ok(store.read(index, buffer)),
            Self::Memory(store) => Ok(store.read(index, buffer)),
        }
    }

    /// Whether samples are in files, so that reading may have to wait for storage.
    pub(crate) fn is_on_disk(&self) -> bool {
        matches!(self, Self::Folder(_) | Self::Tar(_))
    }

    /// The order in which a shuffled epoch should read the samples.
    pub(crate) fn visit(&self) -> Visit {
        match self {
            Self::Folder(_) | Self::Pixels(_) | Self::Memory(_) => Visit::Anywhere,
            Self::Tar(store) => Visit::Blocks { block: (BLOCK_BYTES / store.mean_bytes().max(1)).max(1) },
        }
    }

    /// Asks the system to read samples ahead. It does not wait, and reports no error: reading them will.
    pub(crate) fn advise(&self, samples: &[u32], scratch: &mut Vec<u8>) {
        match self {
            Self::Folder(store) => samples.iter().for_each(|index| store.advise(*index as usize, scratch)),
            Self::Tar(store) => store.advise(samples),
            Self::Pixels(_) | Self::Memory(_) => {}
        }
    }

    /// A sample's name, for messages.
    pub(crate) fn name(&self, index: usize) -> String {
        match self {
            Self::Folder(store) => store.path(index).display().to_string(),
            Self::Tar(store) => store.name(index),
            Self::Pixels(store) => format!("{} #{index}", store.name),
            Self::Memory(store) => store.samples[index].name.clone(),
        }
    }

    /// A sample's file name without folder and ending; `None` where samples have no names of their own.
    pub(crate) fn stem(&self, index: usize) -> Option<String> {
        match self {
            Self::Folder(store) => {
                store.relative(index).file_stem().map(|stem| stem.to_string_lossy().into_owned())
            }
            Self::Tar(store) => store.stem(index),
            Self::Pixels(_) | Self::Memory(_) => None,
        }
    }

    /// Bytes of a sample's file, without reading it; `None` for pixels, or if the file cannot be found.
    pub(crate) fn size(&self, index: usize) -> Option<u64> {
        match self {
            Self::Folder(store) => store.path(index).metadata().ok().map(|metadata| metadata.len()),
            Self::Tar(store) => Some(store.size(index)),
            Self::Memory(store) => Some(store.samples[index].bytes.len() as u64),
            Self::Pixels(_) => None,
        }
    }

    /// A checksum of a sample's name (or of its bytes, where it has none), for the data set's fingerprint.
    pub(crate) fn identity(&self, index: usize) -> u32 {
        match self {
            Self::Folder(store) => crc32fast::hash(store.relative(index).as_os_str().as_encoded_bytes()),
            Self::Tar(store) => store.identity(index),
            Self::Pixels(store) => crc32fast::hash(store.pixels(index)),
            Self::Memory(store) => crc32fast::hash(&store.samples[index].bytes),
        }
    }
}

/// Whether a file's name ends as that of a JPEG or PNG image.
pub(crate) fn is_image_name(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| is_image_ending(ending))
}

/// Whether this is the ending of a JPEG or PNG image, in upper or lower case.
pub(crate) fn is_image_ending(ending: &str) -> bool {
    ["jpg", "jpeg", "png"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}
