//! Why a training run cannot begin, go on or end well.

use std::path::PathBuf;

use footplate_core::Bytes;
use footplate_data::DataError;
use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::params::ParamError;
use crate::weights::WeightsError;

/// The error of this crate.
#[derive(Debug, Error)]
pub enum TrainError {
    /// No entry of the registry has this name.
    #[error("unknown model `{name}`")]
    UnknownModel {
        /// What was asked for.
        name: String,
    },
    /// A setting has a value that cannot work.
    #[error("{setting} = {value}: {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model needs another kind of data.
    #[error("model `{model}` is trained on {needs}, and the data is {found}")]
    WrongData {
        /// The model's name.
        model: String,
        /// What it takes.
        needs: &'static str,
        /// What it was given.
        found: String,
    },
    /// The device cannot be had.
    #[error("device `{device}`: {reason}")]
    Device {
        /// Its name.
        device: String,
        /// Why not.
        reason: String,
    },
    /// The plan exceeds what is available.
    #[error("batch size {batch_size} needs about {needed} (estimate), and {available} is available")]
    Memory {
        /// The batch size asked for.
        batch_size: usize,
        /// The plan's total.
        needed: Bytes,
        /// What there is.
        available: Bytes,
        /// The largest batch size that fits; 0: not even one sample.
        largest_batch: usize,
    },
    /// The loss is no longer a number.
    #[error("the loss became {loss} at step {step}")]
    Diverged {
        /// Infinite or not a number.
        loss: f32,
        /// From 0.
        step: u64,
    },
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A weights file.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint's arrays do not fit the model.
    #[error("the checkpoint does not fit the model: {0}")]
    Params(#[from] ParamError),
    /// The data set is not the one that the run began with.
    #[error("the data set is not the one that this run began with ({expected}; now {found})")]
    DataChanged {
        /// What the checkpoint says.
        expected: String,
        /// What was opened.
        found: String,
    },
    /// No checkpoint of the run can be used.
    #[error("no usable checkpoint in {}", folder.display())]
    NoCheckpoint {
        /// Where they were looked for.
        folder: PathBuf,
    },
}
