//! Data sets: opened from a path or made of what a program has in memory, indexed once, shared by all threads.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::decode::checkpoint_cache::CheckpointCache;
use crate::decode::{self, image_info};
use crate::error::DataError;
use crate::format::{Format, find, format_of};
use crate::source::memory::{self, MemoryImage, MemorySample, MemoryStore};
use crate::source::{Form, SourceContents, Store};
use crate::split::{Split, stratified};
use crate::text::TextDataset;

/// Images whose headers are read to learn the typical size.
const SIZE_SAMPLES: usize = 16;
/// Memory for the decoder's checkpoints of plain files: enough for 40,000 photographs.
pub(crate) const CHECKPOINT_BYTES_MAX: usize = 16 << 20;
/// Stands in error messages for the path of data that came from memory.
const IN_MEMORY: &str = "data in memory";

/// How to open a data set.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// The format; `None`: recognised by the files at the path.
    pub format: Option<Format>,
    /// Decides the automatic split, where the data has no split of its own.
    pub seed: u64,
    /// Share of the automatic split that is for validation, from 0 to below 1.
    pub validation_fraction: f64,
    /// Characters that are predicted in one window of a text; other data ignores it.
    pub sequence_length: usize,
}

/// The format is recognised, and the automatic split keeps a fifth for validation, by seed 0.
impl Default for OpenOptions {
    fn default() -> Self {
        Self { format: None, seed: 0, validation_fraction: 0.2, sequence_length: 64 }
    }
}

/// A data set for training.
#[derive(Debug)]
pub enum Dataset {
    /// Images with a class each.
    Images(ImageDataset),
    /// A text, for a character language model.
    Text(TextDataset),
}

/// Images with a class each.
#[derive(Debug)]
pub struct ImageDataset {
    pub(crate) store: Store,
    /// The class of each sample, by the sample's number.
    pub(crate) labels: Vec<u32>,
    classes: Vec<String>,
    train: Vec<u32>,
    validation: Vec<u32>,
    pub(crate) warnings: Vec<String>,
    format: Format,
    typical_side: Option<u32>,
    /// Whether each sample is evicted from the page cache after it was read.
    evicts: AtomicBool,
    /// Where rows begin in files that were decoded in earlier epochs.
    pub(crate) checkpoints: CheckpointCache,
}

/// Opens what is at `path`: a folder, a file, or a pattern of shards such as `train-{000..009}.tar`. The formats are
/// described in `docs/data.md`.
///
/// ```
/// use footplate_data::generated::{GeneratedSettings, generate};
/// use footplate_data::{OpenOptions, Split, open};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = tempfile::tempdir()?;
/// // A folder with `train/CLASS/0000.jpg` and `val/CLASS/0000.jpg`, as photographs may lie.
/// let settings = GeneratedSettings { seed: 1, train_per_class: 2, val_per_class: 1, size: 32 };
/// let folder = generate(cache.path(), &settings, &mut |_, _| {})?;
///
/// let dataset = open(&folder, &OpenOptions::default())?;
/// assert_eq!(dataset.format().to_string(), "image-folder");
/// assert_eq!(dataset.len(Split::Train), 2 * dataset.len(Split::Validation));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`DataError`] if nothing is there, if its format is unknown, or if nothing can be trained on it. Damaged samples are
/// no error here: they are left out when they are read.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let format = format_of(path, options.format)?;
    if format == Format::Text {
        let sequence_length = options.sequence_length.max(1);
        return TextDataset::open(path, options.validation_fraction, sequence_length).map(Dataset::Text);
    }
    ImageDataset::new(find(path, format)?, path, format, options).map(Dataset::Images)
}

impl Dataset {
    /// A data set of images that the program has in memory. `classes` are the names of the classes, at least two; the
    /// label of an image is a place in it. Of `options`, the seed and the fraction of the automatic split are used.
    ///
    /// ```
    /// use footplate_data::{Dataset, ImageData, MemoryImage, OpenOptions, Split};
    ///
    /// # fn main() -> Result<(), footplate_data::DataError> {
    /// let frame = |name: &str, label, gray| MemoryImage {
    ///     name: name.to_owned(),
    ///     label,
    ///     data: ImageData::Pixels { pixels: vec![gray; 8 * 6 * 3], width: 8, height: 6, channels: 3 },
    /// };
    /// let images = vec![frame("a", 0, 10), frame("b", 1, 200), frame("c", 0, 20), frame("d", 1, 210)];
    /// let classes = vec!["dark".to_owned(), "light".to_owned()];
    /// let dataset = Dataset::from_images(classes, images, &OpenOptions::default())?;
    /// assert_eq!((dataset.len(Split::Train), dataset.len(Split::Validation)), (2, 2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`DataError`] for fewer than two classes, for no images, and for a label that is no class or pixels of another
    /// number than the size says, with the image's name.
    pub fn from_images(
        classes: Vec<String>,
        images: Vec<MemoryImage>,
        options: &OpenOptions,
    ) -> Result<Self, DataError> {
        let contents = memory::contents(classes, images)?;
        let path = Path::new(IN_MEMORY);
        ImageDataset::new(contents, path, Format::Memory, options).map(Self::Images)
    }

    /// A data set of a text that the program has in memory. Of `options`, the fraction for validation (the end of the
    /// text) and the sequence length are used.
    ///
    /// # Errors
    /// [`DataError::Malformed`] if the text is too short or has only one different character.
    pub fn from_text(text: &str, options: &OpenOptions) -> Result<Self, DataError> {
        let (fraction, length) = (options.validation_fraction, options.sequence_length.max(1));
        TextDataset::new(text, Path::new(IN_MEMORY), fraction, length).map(Self::Text)
    }

    /// Number of samples in a split: images, or windows of a text.
    pub fn len(&self, split: Split) -> usize {
        match self {
            Self::Images(images) => images.split(split).len(),
            Self::Text(text) => text.windows(split),
        }
    }

    /// A short description in English.
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

    /// A checksum of its samples' names, their order, labels and split, by which a resumed run checks that it has the
    /// data that it began with. The contents of files are not part of it (all of them would have to be read).
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Images(images) => images.fingerprint(),
            Self::Text(text) => text.fingerprint(),
        }
    }

    /// What the user should know about it, such as files that are left out.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Images(images) => &images.warnings,
            Self::Text(_) => &[],
        }
    }

    /// The format that it was opened as.
    pub fn format(&self) -> Format {
        match self {
            Self::Images(images) => images.format,
            Self::Text(_) => Format::Text,
        }
    }
}

impl ImageDataset {
    fn new(
        contents: SourceContents,
        path: &Path,
        format: Format,
        options: &OpenOptions,
    ) -> Result<Self, DataError> {
        if contents.classes.len() < 2 {
            let names = contents.classes.join(", ");
            return Err(DataError::TooFewClasses {
                path: path.to_owned(),
                found: contents.classes.len(),
                names,
            });
        }
        let (train, validation) = match contents.validation_from {
            Some(from) => ((0..from as u32).collect(), (from as u32..contents.labels.len() as u32).collect()),
            None => stratified(
                &contents.labels,
                contents.classes.len(),
                options.validation_fraction,
                options.seed,
            ),
        };
        let mut dataset = Self {
            store: contents.store,
            labels: contents.labels,
            classes: contents.classes,
            train,
            validation,
            warnings: contents.warnings,
            format,
            typical_side: None,
            evicts: AtomicBool::new(false),
            checkpoints: CheckpointCache::new(CHECKPOINT_BYTES_MAX),
        };
        if dataset.train.is_empty() {
            return Err(DataError::Empty { path: path.to_owned() });
        }
        dataset.typical_side = dataset.median_side();
        Ok(dataset)
    }

    /// Evicts a sample that was read from the page cache, if [`Self::set_evicts`] asked for it.
    pub(crate) fn evict_if_asked(&self, index: usize) {
        if self.evicts.load(Ordering::Relaxed) {
            // Only measurements ask for it, and they notice samples that stay in memory.
            let _ = self.store.evict_own(index);
        }
    }

    /// Sets whether each sample is evicted from the page cache after it was read, as if the data set were far larger
    /// than memory.
    pub(crate) fn set_evicts(&self, evicts: bool) {
        self.evicts.store(evicts, Ordering::Relaxed);
    }

    /// Names of the classes; a label is a place in this list.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The median shorter side of 16 of its images, in pixels; `None` if none of them could be read.
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

    /// The samples of these numbers as a data set in memory for training, up to about `bytes_max` bytes; those that
    /// cannot be read are left out. With `indexed`, JPEG files get the decoder's checkpoints. `None` if none could be
    /// read, or if `indexed` changed nothing.
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
            evicts: AtomicBool::new(false),
            checkpoints: CheckpointCache::new(CHECKPOINT_BYTES_MAX),
        })
    }

    /// The numbers of the samples in a split.
    pub(crate) fn split(&self, split: Split) -> &[u32] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
        }
    }

    /// A checksum of its samples' names and of where the data lies, the same for any split.
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
