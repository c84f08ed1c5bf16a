//! Where images come from. A source knows its samples' labels and splits, and reads one sample's bytes.

pub(crate) mod cifar;
pub(crate) mod evict;
pub(crate) mod folder;
pub(crate) mod idx;
pub mod page_cache;
pub(crate) mod tar;

use std::io;

use crate::order::Visit;
use crate::transform::Encoded;

/// Samples of shards are read in runs of this many bytes: long enough for an SD card to be near its sequential
/// speed.
const BLOCK_BYTES: u64 = 1 << 20;

/// What a source found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) store: Store,
    /// Each sample's class, by number.
    pub(crate) labels: Vec<u32>,
    pub(crate) classes: Vec<String>,
    /// Samples from this number on are for validation, if the data has a split of its own.
    pub(crate) validation_from: Option<usize>,
    pub(crate) warnings: Vec<String>,
}

/// How samples are read.
#[derive(Debug)]
pub(crate) enum Store {
    Folder(folder::FolderStore),
    Tar(tar::TarStore),
    Pixels(PixelStore),
    /// Some samples of another store, read in for measuring.
    Memory(MemoryStore),
}

/// The form of what was read into the caller's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    File,
    /// A file's bytes, and after the first `file_len` of them its decoder's checkpoints.
    Indexed {
        file_len: usize,
    },
    Raw {
        width: u32,
        height: u32,
        channels: u32,
    },
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
    /// Reads a sample's bytes into `buffer`, in place of what it holds.
    pub(crate) fn read(&self, index: usize, buffer: &mut Vec<u8>) -> io::Result<Form> {
        match self {
            Self::Folder(store) => store.read(index, buffer).map(|()| Form::File),
            Self::Tar(store) => store.read(index, buffer),
            Self::Pixels(store) => Ok(store.read(index, buffer)),
            Self::Memory(store) => Ok(store.read(index, buffer)),
        }
    }

    /// Whether reading a sample may have to wait for storage.
    pub(crate) fn is_on_disk(&self) -> bool {
        matches!(self, Self::Folder(_) | Self::Tar(_))
    }

    /// How samples are best visited in a shuffled epoch.
    pub(crate) fn visit(&self) -> Visit {
        match self {
            Self::Folder(_) | Self::Pixels(_) | Self::Memory(_) => Visit::Anywhere,
            Self::Tar(store) => Visit::Blocks { block: (BLOCK_BYTES / store.mean_bytes().max(1)).max(1) },
        }
    }

    /// Asks the system to read samples soon: nothing waits for it, and a failure shows when they are read.
    pub(crate) fn advise(&self, samples: &[u32], scratch: &mut Vec<u8>) {
        match self {
            Self::Folder(store) => samples.iter().for_each(|index| store.advise(*index as usize, scratch)),
            Self::Tar(store) => store.advise(samples),
            Self::Pixels(_) | Self::Memory(_) => {}
        }
    }

    /// A sample's name for people.
    pub(crate) fn name(&self, index: usize) -> String {
        match self {
            Self::Folder(store) => store.path(index).display().to_string(),
            Self::Tar(store) => store.name(index),
            Self::Pixels(store) => format!("{} #{index}", store.name),
            Self::Memory(store) => store.samples[index].name.clone(),
        }
    }

    /// A sample's own name, without folder and ending, where it has one.
    pub(crate) fn stem(&self, index: usize) -> Option<String> {
        match self {
            Self::Folder(store) => {
                store.relative(index).file_stem().map(|stem| stem.to_string_lossy().into_owned())
            }
            Self::Tar(store) => store.stem(index),
            Self::Pixels(_) | Self::Memory(_) => None,
        }
    }

    /// Bytes of a sample's file, if it has one, without reading it.
    pub(crate) fn size(&self, index: usize) -> Option<u64> {
        match self {
            Self::Folder(store) => store.path(index).metadata().ok().map(|metadata| metadata.len()),
            Self::Tar(store) => Some(store.size(index)),
            Self::Memory(store) => Some(store.samples[index].bytes.len() as u64),
            Self::Pixels(_) => None,
        }
    }

    /// A number that tells a sample's identity, for the data set's fingerprint.
    pub(crate) fn identity(&self, index: usize) -> u32 {
        match self {
            Self::Folder(store) => crc32fast::hash(store.relative(index).as_os_str().as_encoded_bytes()),
            Self::Tar(store) => store.identity(index),
            Self::Pixels(store) => crc32fast::hash(store.pixels(index)),
            Self::Memory(store) => crc32fast::hash(&store.samples[index].bytes),
        }
    }
}

/// Images of one size that are held in memory as pixels.
#[derive(Debug)]
pub(crate) struct PixelStore {
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) channels: u32,
    /// All images, each row by row with its channels together.
    pub(crate) data: Vec<u8>,
}

impl PixelStore {
    fn size(&self) -> usize {
        self.width as usize * self.height as usize * self.channels as usize
    }

    fn pixels(&self, index: usize) -> &[u8] {
        &self.data[index * self.size()..(index + 1) * self.size()]
    }

    fn read(&self, index: usize, buffer: &mut Vec<u8>) -> Form {
        buffer.clear();
        buffer.extend_from_slice(self.pixels(index));
        Form::Raw { width: self.width, height: self.height, channels: self.channels }
    }
}

/// Samples in memory, as their store gave them.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    pub(crate) samples: Vec<MemorySample>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct MemorySample {
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) bytes: Vec<u8>,
}

impl MemoryStore {
    fn read(&self, index: usize, buffer: &mut Vec<u8>) -> Form {
        let sample = &self.samples[index];
        buffer.clear();
        buffer.extend_from_slice(&sample.bytes);
        sample.form
    }
}

/// Whether a file's name is that of an image.
pub(crate) fn is_image_name(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| ["jpg", "jpeg", "png"].contains(&ending.as_str()))
}
