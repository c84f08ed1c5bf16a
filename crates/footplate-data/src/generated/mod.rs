//! The embedded data set: railway signal aspects as real JPEG files.
//!
//! Each image is drawn from its key alone with additions, multiplications and square roots, which IEEE 754 rounds the same
//! on every machine: the files are the same everywhere.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the embedded data set is written as files"
)]

mod canvas;
mod scene;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jpeg_encoder::{ColorType, Encoder};
use thiserror::Error;

use crate::rng::{SampleKey, SampleRng};

pub use scene::CLASSES;

/// Version of the drawings: it must change with them.
const VERSION: u32 = 1;
/// A file that is written last, into a complete folder.
const MARKER: &str = "complete";

/// The size of the embedded data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratedSettings {
    /// Decides what is drawn.
    pub seed: u64,
    /// Number of images for training in each class.
    pub train_per_class: u32,
    /// Number of images for validation in each class.
    pub val_per_class: u32,
    /// Height and width of an image in pixels.
    pub size: u32,
}

/// Why the data set could not be made.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// A file cannot be written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What failed, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason that the system gave.
        source: io::Error,
    },
    /// An image cannot be encoded as JPEG.
    #[error("cannot encode an image: {0}")]
    Encode(String),
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GenerateError {
    move |source| GenerateError::Io { action, path: path.to_owned(), source }
}

/// Makes the data set in a folder below `cache`, if it is not there yet, and returns that folder. The folder appears
/// completely or not at all: it is written under another name and then renamed. `progress` is called with the number of
/// images that are done, and of all.
///
/// # Errors
/// [`GenerateError`]; nothing is left behind then.
pub fn generate(
    cache: &Path,
    settings: &GeneratedSettings,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf, GenerateError> {
    let GeneratedSettings { seed, train_per_class, val_per_class, size } = settings;
    let name = format!("signals-v{VERSION}-seed{seed}-{train_per_class}+{val_per_class}-{size}px");
    let folder = cache.join(&name);
    if folder.join(MARKER).is_file() {
        return Ok(folder);
    }
    fs::create_dir_all(cache).map_err(failed("create", cache))?;
    let partial = cache.join(format!(".{name}.{}.partial", std::process::id()));
    let result = write_all(&partial, settings, progress).and_then(|()| publish(&partial, &folder));
    if result.is_err() {
        // An incomplete folder is of no use.
        let _ = fs::remove_dir_all(&partial);
    }
    result.map(|()| folder)
}

fn publish(partial: &Path, folder: &Path) -> Result<(), GenerateError> {
    match fs::rename(partial, folder) {
        Ok(()) => Ok(()),
        // Another process has made the same in the meantime.
        Err(_) if folder.join(MARKER).is_file() => {
            fs::remove_dir_all(partial).map_err(failed("remove", partial))
        }
        Err(error) => Err(failed("create", folder)(error)),
    }
}

fn write_all(
    folder: &Path,
    settings: &GeneratedSettings,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), GenerateError> {
    let per_class = u64::from(settings.train_per_class + settings.val_per_class);
    let total = per_class * CLASSES.len() as u64;
    let mut done = 0;
    for (split, count, first) in
        [("train", settings.train_per_class, 0), ("val", settings.val_per_class, settings.train_per_class)]
    {
        for (class, name) in CLASSES.iter().enumerate() {
            let class_folder = folder.join(split).join(name);
            fs::create_dir_all(&class_folder).map_err(failed("create", &class_folder))?;
            for i in 0..count {
                let bytes = image(settings, class, u64::from(first + i))?;
                let path = class_folder.join(format!("{i:04}.jpg"));
                fs::write(&path, bytes).map_err(failed("write", &path))?;
                done += 1;
                progress(done, total);
            }
        }
    }
    let marker = folder.join(MARKER);
    let finish = || -> io::Result<()> {
        let mut file = File::create(&marker)?;
        writeln!(file, "{total} images")?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    };
    finish().map_err(failed("write", &marker))
}

/// One image as a JPEG file.
fn image(settings: &GeneratedSettings, class: usize, number: u64) -> Result<Vec<u8>, GenerateError> {
    let index = number * CLASSES.len() as u64 + class as u64;
    let mut rng = SampleRng::new(SampleKey { seed: settings.seed, epoch: 0, index }, 0);
    let pixels = scene::draw(class, settings.size as usize, &mut rng);
    let side = u16::try_from(settings.size).map_err(|e| GenerateError::Encode(e.to_string()))?;
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, 90)
        .encode(&pixels, side, side, ColorType::Rgb)
        .map_err(|e| GenerateError::Encode(e.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: GeneratedSettings =
        GeneratedSettings { seed: 3, train_per_class: 2, val_per_class: 1, size: 32 };

    #[test]
    fn files_are_the_same_from_the_same_seed_everywhere() {
        let all: Vec<u8> = (0..CLASSES.len()).flat_map(|class| image(&SMALL, class, 0).unwrap()).collect();
        // The checksum of the pictures of version 1; other pictures need another version.
        assert_eq!(format!("{:08x}", crc32fast::hash(&all)), GOLDEN);
        assert_ne!(
            image(&SMALL, 0, 0).unwrap(),
            image(&GeneratedSettings { seed: 4, ..SMALL }, 0, 0).unwrap()
        );
    }

    const GOLDEN: &str = "61a0e6fb";

    #[test]
    fn the_folder_appears_whole_and_is_found_again() {
        let cache = tempfile::tempdir().unwrap();
        let mut told = 0;
        let folder = generate(cache.path(), &SMALL, &mut |_, _| told += 1).unwrap();
        assert_eq!(told, 24);
        let images = |split: &str| fs::read_dir(folder.join(split).join("stop")).unwrap().count();
        assert_eq!((images("train"), images("val")), (2, 1));
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
        let again = generate(cache.path(), &SMALL, &mut |_, _| panic!("made again")).unwrap();
        assert_eq!(again, folder);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named_and_nothing_is_left() {
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("file");
        fs::write(&file, "").unwrap();
        let error = generate(&file.join("cache"), &SMALL, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
