//! Why a training run cannot begin, go on or end well.

use std::path::PathBuf;

use footplate_core::Bytes;
use footplate_data::DataError;
use footplate_data::generated::GenerateError;
use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::network::ParamError;
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
    #[error("--{setting} {value}: {reason}")]
    Setting {
        /// The flag's name, which is also its name in a settings file.
        setting: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A language model, and no text was named.
    #[error("{model} needs a text to train on")]
    NeedsText {
        /// The model's name in the registry.
        model: &'static str,
    },
    /// A path that has no absolute form.
    #[error("cannot use {}: {source}", path.display())]
    Path {
        /// The path as it was given.
        path: PathBuf,
        /// Why the system refused.
        source: std::io::Error,
    },
    /// The embedded data set was asked for, and there is no folder to keep it in.
    #[error("no cache folder: neither XDG_CACHE_HOME nor HOME is set")]
    NoCacheFolder,
    /// The embedded data set could not be made.
    #[error(transparent)]
    EmbeddedData(#[from] GenerateError),
    /// Settings that TOML cannot hold, such as a seed of 64 bits.
    #[error("the settings cannot be kept as TOML: {0}")]
    SettingsText(#[from] toml::ser::Error),
    /// The model needs another kind of data.
    #[error("model `{model}` is trained on {needs}, and the data is {found}")]
    WrongData {
        /// The model's name in the registry.
        model: String,
        /// The kind of data that it takes: images, or text.
        needs: &'static str,
        /// What it was given.
        found: String,
    },
    /// The device cannot be had.
    #[error("device `{device}`: {reason}")]
    Device {
        /// The name as `--device` takes it.
        device: String,
        /// Why it cannot be used here.
        reason: String,
    },
    /// The device worked, and then it did not any more.
    #[error("device `{device}` failed: {reason}")]
    DeviceFailed {
        /// The name as `--device` takes it.
        device: String,
        /// The words of the driver or of Burn, without a backtrace.
        reason: String,
    },
    /// The device's own memory is full.
    #[error("batch size {batch_size} does not fit the memory of device `{device}`: {reason}")]
    DeviceMemory {
        /// The name as `--device` takes it.
        device: String,
        /// The batch size that was tried.
        batch_size: usize,
        /// The largest that fits, where it is known.
        largest_batch: Option<usize>,
        /// The words of the driver or of Burn, without a backtrace.
        reason: String,
    },
    /// The plan exceeds what is available.
    #[error("batch size {batch_size} needs about {needed} (estimate), and {available} is available")]
    Memory {
        /// The batch size asked for.
        batch_size: usize,
        /// The sum of the memory plan.
        needed: Bytes,
        /// What the system still gives, or `--memory-max`.
        available: Bytes,
        /// The largest batch size that fits; 0: not even one sample.
        largest_batch: usize,
    },
    /// The loss is no longer a number.
    #[error("the loss became {loss} at step {step}")]
    Diverged {
        /// Infinite or not a number.
        loss: f32,
        /// Number of the step, from 0.
        step: u64,
    },
    /// Data that cannot be opened or read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint that cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A weights file that cannot be written or read.
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
        /// The fingerprint of the data that was opened, in hexadecimal.
        found: String,
    },
    /// No checkpoint of the run can be used.
    #[error("no usable checkpoint in {}", folder.display())]
    NoCheckpoint {
        /// Where they were looked for.
        folder: PathBuf,
        /// Those that are there, and why each cannot be used.
        rejected: Vec<String>,
    },
}

/// Parts of drivers' and Burn's words for memory that cannot be had.
const NO_MEMORY: [&str; 4] = ["out of memory", "outofmemory", "out_of_device_memory", "buffertoobig"];

impl TrainError {
    /// What a device said when it failed: that its memory is full, or that it is broken.
    pub(crate) fn of_device(device: &str, batch_size: usize, said: &str) -> Self {
        let device = device.to_owned();
        let lower = said.to_ascii_lowercase();
        // Burn says that something failed, then what; a backtrace follows.
        let cause = said.split_once("Caused by:").map_or(said, |(_, cause)| cause);
        let reason = cause.trim().lines().next().unwrap_or_default().to_owned();
        if NO_MEMORY.iter().any(|words| lower.contains(words)) {
            return Self::DeviceMemory { device, batch_size, largest_batch: None, reason };
        }
        Self::DeviceFailed { device, reason }
    }

    /// The same error, sorted by what the device said.
    pub(crate) fn on_device(self, device: &str, batch_size: usize) -> Self {
        match self {
            Self::DeviceFailed { reason, .. } => Self::of_device(device, batch_size, &reason),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_memory_is_told_from_a_broken_one() {
        let full = "An error happened during execution\nCaused by:\n  OutOfMemory { size: 9 }\nbacktrace";
        let error = TrainError::of_device("vulkan", 32, full);
        assert!(matches!(&error, TrainError::DeviceMemory { batch_size: 32, .. }), "{error}");
        let lost = "The device is poisoned\nCaused by:\n  Destroyed: gone";
        let error = TrainError::of_device("gpu", 32, lost);
        assert_eq!(error.to_string(), "device `gpu` failed: Destroyed: gone");
        let failed = TrainError::DeviceFailed { device: "gpu".to_owned(), reason: full.to_owned() };
        assert!(matches!(failed.on_device("vulkan", 8), TrainError::DeviceMemory { batch_size: 8, .. }));
    }
}
