//! Why data cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::sample::BadSample;

/// Why data cannot be opened, or minibatches cannot be made of it.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason that the system gave.
        source: io::Error,
    },
    /// There are no images.
    #[error("{}: no images in it; expected CLASS/*.jpg, train/CLASS/*.jpg, *.tar, idx or CIFAR files, or a text file", path.display())]
    Empty {
        /// The folder or file that was searched.
        path: PathBuf,
    },
    /// There are images, but not in folders of classes.
    #[error("{count} images lie directly in {0}; put each class in its own folder: {0}/cat/…, {0}/dog/…", path.display())]
    LooseImages {
        /// The folder that was searched.
        path: PathBuf,
        /// The number of images in it.
        count: usize,
    },
    /// There are images of one class only.
    #[error("{}: {found} class ({names}); a classifier needs at least two", path.display())]
    TooFewClasses {
        /// The folder or file that was searched.
        path: PathBuf,
        /// How many classes there are, 0 or 1.
        found: usize,
        /// The class names, separated by commas.
        names: String,
    },
    /// A class of the validation split has no images for training.
    #[error("{}: class `{class}` is in the validation split only", path.display())]
    UnknownClass {
        /// The folder of the validation split.
        path: PathBuf,
        /// The name of the class.
        class: String,
    },
    /// The path is none of the formats.
    #[error("{}: not a known data format; expected a folder of classes, *.tar, idx or CIFAR files, or a .txt file", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A file contradicts its format.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file, or the name of an image in memory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There are more damaged samples than the settings allow.
    #[error("{} of {total} samples are damaged or unreadable: more than the allowed share of {limit}", bad.len())]
    TooManyBad {
        /// The damaged samples that this process has met.
        bad: Vec<BadSample>,
        /// The number of samples in the data set.
        total: u64,
        /// The allowed share, 0 to 1.
        limit: f64,
    },
    /// A thread of the pipeline panicked.
    #[error("a worker of the data pipeline died")]
    WorkerDied,
    /// A thread could not be started.
    #[error("cannot start a worker of the data pipeline: {0}")]
    Thread(#[source] io::Error),
}

impl DataError {
    /// Whether the system denied access to a file.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_is_wrong_where_and_what_to_do() {
        let path = || PathBuf::from("photos");
        let bad = BadSample { index: 3, name: "x.jpg".to_owned(), reason: "empty file".to_owned() };
        for (error, text) in [
            (
                DataError::io("photos")(io::ErrorKind::PermissionDenied.into()),
                "cannot read photos: permission denied",
            ),
            (
                DataError::LooseImages { path: path(), count: 24 },
                "24 images lie directly in photos; put each class in its own folder: photos/cat/…, photos/dog/…",
            ),
            (
                DataError::TooFewClasses { path: path(), found: 1, names: "cat".to_owned() },
                "photos: 1 class (cat); a classifier needs at least two",
            ),
            (
                DataError::UnknownClass { path: path(), class: "cow".to_owned() },
                "photos: class `cow` is in the validation split only",
            ),
            (
                DataError::TooManyBad { bad: vec![bad], total: 20, limit: 0.01 },
                "1 of 20 samples are damaged or unreadable: more than the allowed share of 0.01",
            ),
        ] {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.is_permission(), text.contains("permission"));
        }
    }
}
