//! Data sets: found out from a path, indexed once, shared by all threads.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::decode::remembered::Remembered;
use crate::decode::{self, image_info};
use crate::error::DataError;
use crate::source::{self, Form, Found, MemorySample, MemoryStore, Store};
use crate::split::stratified;
use crate::text::TextDataset;

/// Images that are looked at to learn their typical size.
const SIZE_SAMPLES: usize = 16;

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To check on.
    Validation,
}

/// A form of data on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A folder for each class.
    ImageFolder,
    /// idx files, plain or gzipped.
    Idx,
    /// CIFAR's binary files.
    Cifar,
    /// Tar shards in WebDataset's convention.
    Tar,
    /// One text.
    Text,
}

const FORMATS: [(Format, &str); 5] = [
    (Format::ImageFolder, "image-folder"),
    (Format::Idx, "idx"),
    (Format::Cifar, "cifar"),
    (Format::Tar, "tar"),
    (Format::Text, "text"),
];

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = FORMATS.iter().find(|(_, name)| *name == text).map(|(format, _)| *format);
        known.ok_or_else(|| format!("`{text}` is not one of {}", FORMATS.map(|(_, name)| name).join(", ")))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORMATS.iter().find(|(format, _)| format == self).map_or("", |(_, name)| name))
    }
}

/// How to open a data set.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// The format; found out from the path if not given.
    pub format: Option<Format>,
    /// Of the automatic split.
    pub seed: u64,
    /// Share of the automatic split that is for validation, 0 to below 1.
    pub validation_fraction: f64,
    /// Characters that are predicted in one window of a text.
    pub sequence_length: usize,
}

/// What can be trained on.
#[derive(Debug)]
pub enum Dataset {
    /// Images with a class each.
    Images(ImageDataset),
    /// A text.
    Text(TextDataset),
}

/// Images with a class each.
#[derive(Debug)]
pub struct ImageDataset {
    pub(crate) store: Store,
    pub(crate) labels: Vec<u32>,
    classes: Vec<String>,
    train: Vec<u32>,
    validation: Vec<u32>,
    pub(crate) warnings: Vec<String>,
    format: Format,
    typical_side: Option<u32>,
    /// What was read is taken out of the page cache again.
    forgets: AtomicBool,
    /// What samples of earlier epochs tell of the files.
    pub(crate) remembered: Remembered,
}

/// Memory for what is remembered of files: enough for 40,000 photographs.
pub(crate) const REMEMBERED_BYTES_MAX: usize = 16 << 20;

/// Opens what is at `path`: a folder, a file, or a pattern of shards.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let format = format_of(path, options.format)?;
    if format == Format::Text {
        let sequence_length = options.sequence_length.max(1);
        return TextDataset::open(path, options.validation_fraction, sequence_length).map(Dataset::Text);
    }
    ImageDataset::new(find(path, format)?, path, format, options).map(Dataset::Images)
}

/// The format of what is at `path`, if it is not given.
pub(crate) fn format_of(path: &Path, given: Option<Format>) -> Result<Format, DataError> {
    given.map_or_else(|| detect(path), Ok)
}

/// Finds the images at `path`.
pub(crate) fn find(path: &Path, format: Format) -> Result<Found, DataError> {
    match format {
        Format::ImageFolder => source::folder::open(path),
        Format::Idx => source::idx::open(path),
        Format::Cifar => source::cifar::open(path),
        Format::Tar => source::tar::open(path),
        Format::Text => Err(DataError::Empty { path: path.to_owned() }),
    }
}

fn detect(path: &Path) -> Result<Format, DataError> {
    if source::tar::is_pattern(path) && !path.exists() {
        return Ok(Format::Tar);
    }
    let metadata = path.metadata().map_err(DataError::io(path))?;
    if metadata.is_dir() {
        return Ok(if source::idx::is_here(path) {
            Format::Idx
        } else if source::cifar::is_here(path) {
            Format::Cifar
        } else if source::tar::has_tars(path) {
            Format::Tar
        } else {
            Format::ImageFolder
        });
    }
    match path.extension().and_then(|e| e.to_str()) {
        Some("tar") => Ok(Format::Tar),
        Some("txt" | "text") => Ok(Format::Text),
        _ => Err(DataError::UnknownFormat { path: path.to_owned() }),
    }
}

impl Dataset {
    /// Samples of a split: images, or windows of a text.
    pub fn len(&self, split: Split) -> usize {
        match self {
            Self::Images(images) => images.split(split).len(),
            Self::Text(text) => text.windows(split),
        }
    }

    /// What it is, in words.
    pub fn description(&self) -> String {
        match self {
            Self::Images(images) => format!(
                "{} images for training and {} for validation in {} classes ({})",
                images.train.len(),
                images.validation.len(),
                images.classes.len(),
                images.format,
            ),
            Self::Text(text) => format!(
                "a text of {} characters, {} different ones",
                text.characters(),
                text.vocabulary().len()
            ),
        }
    }

    /// A number for its samples, their order, labels and split. A run goes on only with the data it began
    /// with. File contents are not part of it (they would all have to be read).
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Images(images) => images.fingerprint(),
            Self::Text(text) => text.fingerprint(),
        }
    }

    /// What the user should know about it.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Images(images) => &images.warnings,
            Self::Text(_) => &[],
        }
    }

    /// Its format.
    pub fn format(&self) -> Format {
        match self {
            Self::Images(images) => images.format,
            Self::Text(_) => Format::Text,
        }
    }
}

impl ImageDataset {
    fn new(found: Found, path: &Path, format: Format, options: &OpenOptions) -> Result<Self, DataError> {
        if found.classes.len() < 2 {
            let names = found.classes.join(", ");
            return Err(DataError::TooFewClasses {
                path: path.to_owned(),
                found: found.classes.len(),
                names,
            });
        }
        let (train, validation) = match found.validation_from {
            Some(from) => ((0..from as u32).collect(), (from as u32..found.labels.len() as u32).collect()),
            None => stratified(&found.labels, found.classes.len(), options.validation_fraction, options.seed),
        };
        let mut dataset = Self {
            store: found.store,
            labels: found.labels,
            classes: found.classes,
            train,
            validation,
            warnings: found.warnings,
            format,
            typical_side: None,
            forgets: AtomicBool::new(false),
            remembered: Remembered::new(REMEMBERED_BYTES_MAX),
        };
        if dataset.train.is_empty() {
            return Err(DataError::Empty { path: path.to_owned() });
        }
        dataset.typical_side = dataset.median_side();
        Ok(dataset)
    }

    /// Takes a sample that was read out of the page cache again, if that is asked for.
    pub(crate) fn forget(&self, index: usize) {
        if self.forgets.load(Ordering::Relaxed) {
            // For measuring only: a sample that stays in memory is noticed there.
            let _ = self.store.evict_own(index);
        }
    }

    /// From now on each sample that was read is taken out of the page cache again, or left there: as with a
    /// data set that is far larger than memory.
    pub(crate) fn set_forgets(&self, forgets: bool) {
        self.forgets.store(forgets, Ordering::Relaxed);
    }

    /// Names of the classes; a label is a place in it.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The median shorter side of a few of its images, in pixels; `None` if none of them could be read.
    pub fn typical_side(&self) -> Option<u32> {
        self.typical_side
    }

    fn median_side(&self) -> Option<u32> {
        let step = (self.train.len() / SIZE_SAMPLES).max(1);
        let mut bytes = Vec::new();
        let mut side = |index: &u32| match self.store.read(*index as usize, &mut bytes).ok()? {
            Form::Raw { width, height, .. } => Some(width.min(height)),
            Form::File | Form::Indexed { .. } => {
                image_info(&bytes).ok().map(|info| info.width.min(info.height))
            }
        };
        let mut sides: Vec<u32> =
            self.train.iter().step_by(step).take(SIZE_SAMPLES).filter_map(&mut side).collect();
        sides.sort_unstable();
        sides.get(sides.len() / 2).copied()
    }

    /// Training samples of these numbers as a data set in memory, up to about `bytes_max` bytes; those that
    /// cannot be read are left out. With `indexed`, JPEG files get the decoder's checkpoints. `None`: none could
    /// be read, or none got checkpoints that had none before.
    pub(crate) fn in_memory(
        &self,
        numbers: impl Iterator<Item = u32>,
        bytes_max: u64,
        indexed: bool,
    ) -> Option<Self> {
        let (mut samples, mut labels, mut bytes_all) = (Vec::new(), Vec::new(), 0u64);
        let mut with_checkpoints = 0;
        for number in numbers {
            let mut bytes = Vec::new();
            let Ok(mut form) = self.store.read(number as usize, &mut bytes) else { continue };
            bytes_all += bytes.len() as u64;
            if indexed
                && matches!(form, Form::File)
                && let Some(index) = decode::index::build(&bytes)
            {
                form = Form::Indexed { file_len: bytes.len() };
                bytes.extend(index);
                with_checkpoints += 1;
            }
            bytes.shrink_to_fit();
            samples.push(MemorySample { name: self.store.name(number as usize), form, bytes });
            labels.push(self.labels[number as usize]);
            if bytes_all >= bytes_max {
                break;
            }
        }
        let useful = !samples.is_empty() && (with_checkpoints > 0 || !indexed);
        useful.then(|| Self {
            train: (0..samples.len() as u32).collect(),
            store: Store::Memory(MemoryStore { samples }),
            labels,
            classes: self.classes.clone(),
            validation: Vec::new(),
            warnings: Vec::new(),
            format: self.format,
            typical_side: self.typical_side,
            forgets: AtomicBool::new(false),
            remembered: Remembered::new(REMEMBERED_BYTES_MAX),
        })
    }

    /// Numbers of the samples of a split.
    pub(crate) fn split(&self, split: Split) -> &[u32] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
        }
    }

    /// A number for its samples and where they come from, whatever the split.
    pub(crate) fn content_fingerprint(&self) -> u64 {
        let mut crcs = [crc32fast::Hasher::new(), crc32fast::Hasher::new()];
        for index in 0..self.labels.len() {
            crcs[0].update(&self.store.identity(index).to_le_bytes());
        }
        crcs[1].update(&(self.labels.len() as u64).to_le_bytes());
        crcs[1].update(self.store.name(0).as_bytes());
        let [samples, place] = crcs.map(crc32fast::Hasher::finalize);
        u64::from(samples) << 32 | u64::from(place)
    }

    fn fingerprint(&self) -> u64 {
        let mut crcs = [crc32fast::Hasher::new(), crc32fast::Hasher::new()];
        for (index, label) in self.labels.iter().enumerate() {
            crcs[0].update(&label.to_le_bytes());
            crcs[0].update(&self.store.identity(index).to_le_bytes());
        }
        for class in &self.classes {
            crcs[1].update(class.as_bytes());
            crcs[1].update(b"\0");
        }
        for index in &self.validation {
            crcs[1].update(&index.to_le_bytes());
        }
        let [samples, split] = crcs.map(crc32fast::Hasher::finalize);
        u64::from(samples) << 32 | u64::from(split)
    }
}
