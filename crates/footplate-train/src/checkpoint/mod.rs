//! Checkpoints: everything that a run needs to go on, in one file that is whole or not there.
//!
//! `docs/checkpoint.md` describes the format. A checkpoint is a pure value ([`Checkpoint`]); `format` turns
//! it into bytes and back, `store` keeps files in a folder, `writer` writes them beside the training loop.

mod format;
mod store;
mod writer;

use std::io;
use std::path::PathBuf;

use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::settings::TrainSettings;

pub use format::{VERSION, decode, encode};
pub use store::{CheckpointStore, Rejected};
pub(crate) use writer::CheckpointWriter;

/// What a run is at one moment, besides its arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps made since the run began.
    pub steps: u64,
    /// The epoch of the next minibatch, from 0.
    pub epoch: u32,
    /// The next minibatch within that epoch, from 0.
    pub batch: u64,
    /// Updates that the optimizer has made.
    pub optimizer_updates: u64,
    /// Summed loss of this epoch so far.
    pub epoch_loss_sum: f64,
    /// Items of this epoch so far.
    pub epoch_items: u64,
    /// Epochs that were validated.
    pub validated_epochs: u32,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Validations since the best one.
    pub validations_without_gain: u32,
    /// Indices of the training samples that were left out, each once, in ascending order.
    pub bad_samples: Vec<u64>,
    /// Whether the run has come to its end.
    pub finished: bool,
}

impl Progress {
    /// The beginning of a run.
    pub fn start() -> Self {
        Self {
            steps: 0,
            epoch: 0,
            batch: 0,
            optimizer_updates: 0,
            epoch_loss_sum: 0.0,
            epoch_items: 0,
            validated_epochs: 0,
            best: None,
            validations_without_gain: 0,
            bad_samples: Vec::new(),
            finished: false,
        }
    }
}

/// A validation that was the best of its run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its epoch, from 0.
    pub epoch: u32,
    /// Mean loss of the validation split, in nats a row.
    pub loss: f64,
    /// Share of items that were right, 0 to 1.
    pub top1: f64,
}

/// Everything that a run needs to go on.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where the run stands.
    pub progress: Progress,
    /// All settings of the run, as `run.toml` has them.
    pub settings: TrainSettings,
    /// Of the data set that it computes on.
    pub data_fingerprint: u64,
    /// The data set's classes, or the vocabulary's characters.
    pub labels: Vec<String>,
    /// Parameters and running statistics by path.
    pub model: Vec<(String, TensorData)>,
    /// The optimizer's memory by name. Empty in the checkpoint of the best model.
    pub optimizer: Vec<(String, TensorData)>,
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A file or a folder could not be read, written or listed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why the system refused.
        source: io::Error,
    },
    /// It is not a checkpoint of ours.
    #[error("not a footplate checkpoint")]
    NotACheckpoint,
    /// A newer program wrote it.
    #[error("checkpoint version {found}; this program reads up to {VERSION}")]
    Version {
        /// The version that the file names.
        found: u32,
    },
    /// It ends too early.
    #[error("truncated: {found} bytes of at least {expected}")]
    Truncated {
        /// What it must have.
        expected: u64,
        /// The bytes that it has.
        found: u64,
    },
    /// Its bytes are not the ones that were written.
    #[error("checksum {found:08x} does not match the file's {expected:08x}")]
    Checksum {
        /// The CRC-32 that the file ends with.
        expected: u32,
        /// Computed from its bytes.
        found: u32,
    },
    /// The checksum is right, and yet its contents make no sense.
    #[error("malformed: {0}")]
    Malformed(String),
}
