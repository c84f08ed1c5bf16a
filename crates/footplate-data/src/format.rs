//! The formats of data on disk: their names, how one is recognised, and how its samples are found.
#![expect(clippy::disallowed_methods, reason = "a format is recognised by the files that are there")]

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;

use crate::error::DataError;
use crate::source::{self, SourceContents};

/// A format of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A folder of images for each class.
    ImageFolder,
    /// idx files (MNIST and its family), plain or gzipped.
    Idx,
    /// CIFAR-10's or CIFAR-100's binary files.
    Cifar,
    /// Tar shards in WebDataset's convention.
    Tar,
    /// One UTF-8 text.
    Text,
    /// Images that a program had in memory ([`Dataset::from_images`](crate::Dataset::from_images)).
    Memory,
}

/// A name that no format on disk has.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not one of {names}", names = FORMATS.map(|(_, name)| name).join(", "))]
pub struct UnknownFormatName(String);

/// The names of the formats on disk, as `--format` takes them.
const FORMATS: [(Format, &str); 5] = [
    (Format::ImageFolder, "image-folder"),
    (Format::Idx, "idx"),
    (Format::Cifar, "cifar"),
    (Format::Tar, "tar"),
    (Format::Text, "text"),
];

impl FromStr for Format {
    type Err = UnknownFormatName;

    fn from_str(text: &str) -> Result<Self, UnknownFormatName> {
        let known = FORMATS.iter().find(|(_, name)| *name == text).map(|(format, _)| *format);
        known.ok_or_else(|| UnknownFormatName(text.to_owned()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORMATS.iter().find(|(format, _)| format == self).map_or("memory", |(_, name)| name))
    }
}

/// The format that is given, or else what the files at `path` look like.
pub(crate) fn format_of(path: &Path, given: Option<Format>) -> Result<Format, DataError> {
    given.map_or_else(|| detect(path), Ok)
}

/// Finds the images at `path` without reading them.
pub(crate) fn find(path: &Path, format: Format) -> Result<SourceContents, DataError> {
    match format {
        Format::ImageFolder => source::folder::open(path),
        Format::Idx => source::idx::open(path),
        Format::Cifar => source::cifar::open(path),
        Format::Tar => source::tar::open(path),
        Format::Text | Format::Memory => Err(DataError::Empty { path: path.to_owned() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_on_disk_has_a_name_that_is_read_again() {
        for (format, name) in FORMATS {
            assert_eq!((format.to_string().as_str(), name.parse()), (name, Ok(format)));
        }
        let error = "memory".parse::<Format>().unwrap_err().to_string();
        assert_eq!(error, "`memory` is not one of image-folder, idx, cifar, tar, text");
    }

    #[test]
    fn what_lies_in_a_folder_tells_its_format() {
        for (files, format) in [
            (&["cat/1.jpg", "dog/1.jpg"] as &[&str], Format::ImageFolder),
            (&["train-images-idx3-ubyte"], Format::Idx),
            (&["train-images.idx3-ubyte.gz"], Format::Idx),
            (&["data_batch_1.bin"], Format::Cifar),
            (&["train.bin", "test.bin"], Format::Cifar),
            (&["a.tar", "cat/1.jpg"], Format::Tar),
            (&["train/a.tar", "val/a.tar"], Format::Tar),
            (&["train/cat/1.jpg", "val/a.tar"], Format::ImageFolder),
            (&[], Format::ImageFolder),
        ] {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                let path = root.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, b"").unwrap();
            }
            assert_eq!(detect(root.path()).unwrap(), format, "{files:?}");
        }
    }

    #[test]
    fn the_ending_of_a_file_tells_its_format_and_a_given_one_wins() {
        let root = tempfile::tempdir().unwrap();
        for (name, format) in
            [("a.tar", Some(Format::Tar)), ("a.txt", Some(Format::Text)), ("a.zip", None), ("a", None)]
        {
            let path = root.path().join(name);
            assert!(matches!(detect(&path), Err(DataError::Io { .. })), "{name} is not there yet");
            std::fs::write(&path, b"").unwrap();
            assert_eq!(detect(&path).ok(), format, "{name}");
            assert_eq!(format_of(&path, Some(Format::Idx)).unwrap(), Format::Idx);
        }
        assert_eq!(detect(Path::new("shard-{0..3}.tar")).unwrap(), Format::Tar);
    }
}
