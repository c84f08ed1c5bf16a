//! What a user may set about a training run, by flags or in a TOML file: the same names in both.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use footplate_core::{Bytes, Seconds, Share, quantity};
use footplate_data::CacheSettings;
use footplate_train::device::DeviceChoice;
use footplate_train::feed::FeedChoice;
use footplate_train::model::OptimizerKind;
use footplate_train::settings::{Precision, ScheduleKind};
use serde::Deserialize;

use crate::commands::tune::GoalArguments;
use crate::failure::{Failure, Kind};

/// Everything is optional here: what is not given gets the model's default.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TrainOptions {
    /// Folder, file or brace pattern of shards; the embedded data set if not given
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub(crate) data: Option<PathBuf>,
    /// image-folder, idx, cifar, tar or text [default: found out from the path]
    #[arg(long, value_name = "FORMAT", help_heading = "Data")]
    pub(crate) format: Option<String>,
    /// Share of the data for validation where the data set has no split of its own [default: 0.2; text 0.1]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    #[serde(deserialize_with = "quantity::optional")]
    pub(crate) validation_fraction: Option<Share>,
    /// Share of samples that may be damaged before the run stops [default: 0.01]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    #[serde(deserialize_with = "quantity::optional")]
    pub(crate) max_bad_fraction: Option<Share>,
    /// Height and width of the images that the model sees [default: from the model and the data]
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    pub(crate) image_size: Option<u32>,
    /// Smallest share of an image's area that a random crop takes
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    #[serde(deserialize_with = "quantity::optional")]
    pub(crate) crop_min_area: Option<Share>,
    /// Mirror training images at random [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "Data")]
    pub(crate) flip: Option<bool>,
    /// Strength of random changes of brightness, contrast and saturation [default: 0]
    #[arg(long, value_name = "STRENGTH", help_heading = "Data")]
    pub(crate) color_jitter: Option<f32>,
    /// Turn images upright as their EXIF orientation says; torchvision does not [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "Data")]
    pub(crate) exif_orientation: Option<bool>,
    /// lstm: characters in one training sequence [default: 64]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub(crate) sequence_length: Option<usize>,
    /// Threads that prepare minibatches; 0: the training thread itself [default: by what the step waits for, up to the number of cores]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub(crate) workers: Option<usize>,
    /// Minibatches prepared ahead at most [default: 4]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub(crate) prefetch_batches: Option<usize>,
    /// Bytes of minibatches prepared ahead, at most, e.g. 256MiB [default: 512MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Data")]
    #[serde(deserialize_with = "quantity::optional")]
    pub(crate) prefetch_bytes: Option<Bytes>,
    /// Keep a fixed part of the training images' bytes: ram:SIZE, disk:FOLDER:SIZE on a fast disk, or auto [default: none]
    #[arg(long, value_name = "CACHE", help_heading = "Data")]
    pub(crate) cache: Option<CacheChoice>,

    /// auto, cpu or vulkan [default: cpu]
    #[arg(long, value_name = "DEVICE", help_heading = "Training")]
    pub(crate) device: Option<DeviceChoice>,
    /// How minibatches get to the device: auto, mapped, staged or view [default: auto, by whose memory it uses]
    #[arg(long, value_name = "WAY", help_heading = "Training")]
    pub(crate) feed: Option<FeedChoice>,
    /// Passes over the training data [default: from the model]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) epochs: Option<u32>,
    /// Stop after so many steps
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) max_steps: Option<u64>,
    /// Samples in a minibatch, or auto for as many as fit [default: from the model]
    #[arg(long, value_name = "N|auto", help_heading = "Training")]
    pub(crate) batch_size: Option<BatchSize>,
    /// Minibatches whose gradients make one step [default: 1]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) accumulate: Option<usize>,
    /// Seed of weights, order and augmentation [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) seed: Option<u64>,
    /// f32, f16 or bf16, on a GPU that has them; parameters and loss are f32 with any [default: f32]
    #[arg(long, value_name = "NUMBERS", help_heading = "Training")]
    pub(crate) precision: Option<Precision>,
    /// Compute cheap activations again in the backward pass instead of keeping them: less memory, more time [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    pub(crate) checkpoint_activations: Option<bool>,
    /// Weights to begin with, in torchvision's layout
    #[arg(long, value_name = "FILE", help_heading = "Training")]
    pub(crate) weights: Option<PathBuf>,
    /// sgd or adamw [default: from the model]
    #[arg(long, value_name = "RULE", help_heading = "Training")]
    pub(crate) optimizer: Option<OptimizerKind>,
    /// Learning rate after warm-up [default: from the model]
    #[arg(long, visible_alias = "lr", value_name = "RATE", help_heading = "Training")]
    pub(crate) learning_rate: Option<f64>,
    /// SGD's momentum
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    #[serde(deserialize_with = "quantity::optional")]
    pub(crate) momentum: Option<Share>,
    /// Nesterov's form of the momentum [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    pub(crate) nesterov: Option<bool>,
    /// Weight decay
    #[arg(long, value_name = "DECAY", help_heading = "Training")]
    pub(crate) weight_decay: Option<f64>,
    /// constant, step or cosine [default: cosine]
    #[arg(long, value_name = "KIND", help_heading = "Training")]
    pub(crate) schedule: Option<ScheduleKind>,
    /// Steps over which the learning rate rises from 0 [default: from the model]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) warmup_steps: Option<u64>,
    /// Schedule step: epochs between drops [default: a third of the epochs]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) step_epochs: Option<u32>,
    /// Schedule step: factor of a drop [default: 0.1]
    #[arg(long, value_name = "FACTOR", help_heading = "Training")]
    pub(crate) step_gamma: Option<f64>,
    /// Share of the target spread over all classes
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    #[serde(deserialize_with = "quantity::optional")]
    pub(crate) label_smoothing: Option<Share>,
    /// Scale gradients down to this norm
    #[arg(long, value_name = "NORM", help_heading = "Training")]
    pub(crate) clip_norm: Option<f64>,
    /// Stop after so many validations without improvement
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) early_stop: Option<u32>,
    /// lstm: size of the character embedding [default: 64]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) lstm_embed: Option<usize>,
    /// lstm: size of the hidden state [default: 256]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) lstm_hidden: Option<usize>,
    /// lstm: layers [default: 1]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) lstm_layers: Option<usize>,

    /// Where the run's log and checkpoints go [default: runs/TIME-MODEL]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Where the embedded data set is kept [default: the user's cache folder]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Time between checkpoints, e.g. 500ms, 60s, 10m; 0s: after each step [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    #[serde(deserialize_with = "quantity::optional")]
    pub(crate) checkpoint_every: Option<Seconds>,
    /// Memory that the run may use, e.g. 2GiB [default: what is available]
    #[arg(long, value_name = "SIZE", help_heading = "Run")]
    #[serde(deserialize_with = "quantity::optional")]
    pub(crate) memory_max: Option<Bytes>,
}

/// A batch size, or the wish for the largest that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchSize {
    Auto,
    Fixed(usize),
}

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(0) => Err("a minibatch has at least 1 sample".to_owned()),
            Ok(size) => Ok(Self::Fixed(size)),
            Err(_) => Err(format!("`{text}` is neither a number nor auto")),
        }
    }
}

/// Where a part of the data is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CacheChoice {
    /// In memory, if the page cache cannot hold the data set.
    Auto,
    /// As said.
    Fixed(CacheSettings),
}

impl FromStr for CacheChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a cache such as auto, ram:2GiB or disk:/mnt/nvme/cache:20GiB");
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (folder, size) = rest.rsplit_once(':').unwrap_or(("", rest));
        let Bytes(bytes) = size.parse().map_err(|e| format!("{}: {e}", wrong()))?;
        match (kind, folder) {
            ("ram", "") => Ok(Self::Fixed(CacheSettings::Ram { bytes })),
            ("disk", folder) if !folder.is_empty() => {
                Ok(Self::Fixed(CacheSettings::Disk { folder: folder.into(), bytes }))
            }
            _ => Err(wrong()),
        }
    }
}

/// Reads a type of the command line from a TOML string (or, for a batch size, a number).
macro_rules! deserialize_by_parsing {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Either {
                    Number(u64),
                    Text(String),
                }
                let text = match Either::deserialize(deserializer)? {
                    Either::Number(number) => number.to_string(),
                    Either::Text(text) => text,
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
deserialize_by_parsing!(BatchSize, CacheChoice);

/// A settings file: the options, and the model's name besides.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SettingsFile {
    pub(crate) model: Option<String>,
    pub(crate) options: TrainOptions,
    /// Which mode is wanted.
    pub(crate) goal: GoalArguments,
}

impl SettingsFile {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|e| {
            Failure::new(Kind::Usage, format!("cannot read the settings file {}: {e}", path.display()))
        })?;
        Self::parse(&text).map_err(|e| Failure::new(Kind::Usage, format!("{}: {e}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut table: toml::Table = toml::from_str(text)?;
        let goal = GoalArguments::taken_from(&mut table).map_err(serde::de::Error::custom)?;
        let model = match table.remove("model") {
            Some(value) => Some(value.try_into()?),
            None => None,
        };
        // Parsed from the text once more where it holds nothing else, for errors that show the line.
        let whole = model.is_none() && goal == GoalArguments::default();
        let options = if whole { toml::from_str(text)? } else { table.try_into()? };
        Ok(Self { model, options, goal })
    }
}

/// Takes each option from `$first`, or else from `$second`.
macro_rules! first_of {
    ($first:expr, $second:expr, $($field:ident),* $(,)?) => {
        TrainOptions { $($field: $first.$field.or($second.$field)),* }
    };
}

impl TrainOptions {
    /// These options, completed by `other` where they say nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        first_of!(
            self,
            other,
            data,
            format,
            validation_fraction,
            max_bad_fraction,
            image_size,
            crop_min_area,
            flip,
            color_jitter,
            exif_orientation,
            sequence_length,
            workers,
            prefetch_batches,
            prefetch_bytes,
            cache,
            device,
            feed,
            epochs,
            max_steps,
            batch_size,
            accumulate,
            seed,
            precision,
            checkpoint_activations,
            weights,
            optimizer,
            learning_rate,
            momentum,
            nesterov,
            weight_decay,
            schedule,
            warmup_steps,
            step_epochs,
            step_gamma,
            label_smoothing,
            clip_norm,
            early_stop,
            lstm_embed,
            lstm_hidden,
            lstm_layers,
            run_dir,
            cache_dir,
            checkpoint_every,
            memory_max,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_have_a_place_and_a_size() {
        let cache = |text: &str| text.parse::<CacheChoice>();
        assert_eq!(cache("ram:2GiB"), Ok(CacheChoice::Fixed(CacheSettings::Ram { bytes: 2 << 30 })));
        assert_eq!(cache("auto"), Ok(CacheChoice::Auto));
        let disk = CacheSettings::Disk { folder: "/a:b/c".into(), bytes: 1 << 20 };
        assert_eq!(cache("disk:/a:b/c:1MiB"), Ok(CacheChoice::Fixed(disk)));
        for bad in [
            "ram",
            "ram:",
            "ram:2",
            "ram:/x:2GiB",
            "disk:2GiB",
            "disk::2GiB",
            "disk:/x:many",
            "tape:/x:1GiB",
            "ram:9999999999999GiB",
        ] {
            assert!(cache(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_flag_overrides_the_file() {
        let flags = TrainOptions { epochs: Some(3), ..TrainOptions::default() };
        let file = TrainOptions { epochs: Some(9), seed: Some(4), ..TrainOptions::default() };
        let both = flags.or(file);
        assert_eq!((both.epochs, both.seed), (Some(3), Some(4)));
    }

    fn examples(folder: &str) -> Vec<(PathBuf, String)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/settings").join(folder);
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty());
        files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
    }

    #[test]
    fn every_valid_example_is_read() {
        for (path, text) in examples("valid") {
            SettingsFile::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }

    /// The first line of an invalid example names a part of its error: `# error: unknown field`.
    #[test]
    fn every_invalid_example_is_refused_for_its_reason() {
        for (path, text) in examples("invalid") {
            let expected = text.lines().next().and_then(|l| l.strip_prefix("# error: ")).unwrap();
            let error = SettingsFile::parse(&text).expect_err(&path.display().to_string()).to_string();
            assert!(error.contains(expected), "{}: {error}", path.display());
        }
    }
}
