//! Why data cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::sample::BadSample;

/// The error of this crate.
#[derive(Debug, Error)]
pub enum DataError {
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Nothing there that could be trained on.
    #[error("{}: no images in it; expected CLASS/*.jpg, train/CLASS/*.jpg, *.tar, idx or CIFAR files, or a text file", path.display())]
    Empty {
        /// Where.
        path: PathBuf,
    },
    /// Nothing to tell apart.
    #[error("{}: {found} class ({names}); a classifier needs at least two", path.display())]
    TooFewClasses {
        /// Where.
        path: PathBuf,
        /// How many there are.
        found: usize,
        /// Their names.
        names: String,
    },
    /// A class that the training split does not have.
    #[error("{}: class `{class}` is in the validation split only", path.display())]
    UnknownClass {
        /// Where.
        path: PathBuf,
        /// Its name.
        class: String,
    },
    /// The path is none of the formats.
    #[error("{}: not a known data format; expected a folder of classes, *.tar, idx or CIFAR files, or a .txt file", path.display())]
    UnknownFormat {
        /// Where.
        path: PathBuf,
    },
    /// A file is not what its format says.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More damaged samples than the settings allow.
    #[error("{} of {total} samples are damaged or unreadable: more than the allowed share of {limit}", bad.len())]
    TooManyBad {
        /// Which, as far as this process has seen them.
        bad: Vec<BadSample>,
        /// Samples of the data set.
        total: u64,
        /// The allowed share.
        limit: f64,
    },
    /// A thread of the pipeline ended before its work.
    #[error("a worker of the data pipeline died")]
    WorkerDied,
    /// A thread could not be started.
    #[error("cannot start a worker of the data pipeline: {0}")]
    Thread(#[source] io::Error),
}

impl DataError {
    /// Whether the system denied access.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
