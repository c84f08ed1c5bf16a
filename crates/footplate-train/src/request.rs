//! What may be said of a training job: every setting is optional, and gets its default where the model and the data
//! are known.

use std::path::PathBuf;
use std::str::FromStr;

use footplate_core::{Bytes, Seconds, Share, quantity};
use footplate_data::CacheSettings;
use serde::Deserialize;

use crate::device::DeviceChoice;
use crate::feed_path::FeedChoice;
use crate::settings::{OptimizerKind, Precision, ScheduleKind};

/// Declares the request once: as a struct, as flags of a command line (with the cargo feature `clap`, where a field's
/// documentation is the flag's help), and as two requests of which one completes the other.
macro_rules! request {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                #[arg($($arg:tt)*)]
                $(#[serde($($serde:tt)*)])?
                pub $field:ident: Option<$type:ty>,
            )*
        }
    ) => {
        $(#[$meta])*
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[cfg_attr(feature = "clap", arg($($arg)*))]
                $(#[serde($($serde)*)])?
                pub $field: Option<$type>,
            )*
        }

        impl $name {
            /// This request, completed by `other` where it says nothing.
            pub fn or(self, other: Self) -> Self {
                Self { $($field: self.$field.or(other.$field)),* }
            }
        }
    };
}

request! {
/// A training job as it is asked for. In a TOML file the fields have the names of the flags.
///
/// ```
/// use footplate_train::JobRequest;
///
/// let flags = JobRequest { epochs: Some(3), ..JobRequest::default() };
/// let file = JobRequest { epochs: Some(9), seed: Some(4), ..JobRequest::default() };
/// let both = flags.or(file);
/// assert_eq!((both.epochs, both.seed, both.model), (Some(3), Some(4), None));
/// ```
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct JobRequest {
    /// A name from the registry [default: lenet5]
    #[arg(skip)]
    pub model: Option<String>,

    /// Folder, file or brace pattern of shards; the embedded data set if not given
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub data: Option<PathBuf>,
    /// image-folder, idx, cifar, tar or text [default: found out from the path]
    #[arg(long, value_name = "FORMAT", help_heading = "Data")]
    pub format: Option<String>,
    /// Share of the data for validation where the data set has no split of its own [default: 0.2; text 0.1]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    #[serde(deserialize_with = "quantity::optional")]
    pub validation_fraction: Option<Share>,
    /// Share of samples that may be damaged before the run stops [default: 0.01]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    #[serde(deserialize_with = "quantity::optional")]
    pub max_bad_fraction: Option<Share>,
    /// Height and width of the images that the model sees [default: from the model and the data]
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    pub image_size: Option<u32>,
    /// Smallest share of an image's area that a random crop takes
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    #[serde(deserialize_with = "quantity::optional")]
    pub crop_min_area: Option<Share>,
    /// Mirror training images at random [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "Data")]
    pub flip: Option<bool>,
    /// Strength of random changes of brightness, contrast and saturation [default: 0]
    #[arg(long, value_name = "STRENGTH", help_heading = "Data")]
    pub color_jitter: Option<f32>,
    /// Turn images upright as their EXIF orientation says; torchvision does not [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "Data")]
    pub exif_orientation: Option<bool>,
    /// lstm: characters in one training sequence [default: 64]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub sequence_length: Option<usize>,
    /// Threads that prepare minibatches; 0: the training thread itself [default: by what the step waits for, up to the number of cores]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub workers: Option<usize>,
    /// Minibatches prepared ahead at most [default: 4]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub prefetch_batches: Option<usize>,
    /// Bytes of minibatches prepared ahead, at most, e.g. 256MiB [default: 512MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Data")]
    #[serde(deserialize_with = "quantity::optional")]
    pub prefetch_bytes: Option<Bytes>,
    /// Keep a fixed part of the training images' bytes: ram:SIZE, disk:FOLDER:SIZE on a fast disk, or auto [default: none]
    #[arg(long, value_name = "CACHE", help_heading = "Data")]
    pub cache: Option<CacheChoice>,

    /// auto, cpu or vulkan [default: cpu]
    #[arg(long, value_name = "DEVICE", help_heading = "Training")]
    pub device: Option<DeviceChoice>,
    /// How minibatches get to the device: auto, mapped, staged or view [default: auto, by whose memory it uses]
    #[arg(long, value_name = "WAY", help_heading = "Training")]
    pub feed: Option<FeedChoice>,
    /// Passes over the training data [default: from the model]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub epochs: Option<u32>,
    /// Stop after so many steps
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub max_steps: Option<u64>,
    /// Samples in a minibatch, or auto for as many as fit [default: from the model]
    #[arg(long, value_name = "N|auto", help_heading = "Training")]
    pub batch_size: Option<BatchSize>,
    /// Minibatches whose gradients make one step [default: 1]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub accumulate: Option<usize>,
    /// Seed of weights, order and augmentation [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub seed: Option<u64>,
    /// f32, f16 or bf16, on a GPU that has them; parameters and loss are f32 with any [default: f32]
    #[arg(long, value_name = "NUMBERS", help_heading = "Training")]
    pub precision: Option<Precision>,
    /// Compute cheap activations again in the backward pass instead of keeping them: less memory, more time [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    pub checkpoint_activations: Option<bool>,
    /// Weights to begin with, in torchvision's layout
    #[arg(long, value_name = "FILE", help_heading = "Training")]
    pub weights: Option<PathBuf>,
    /// sgd or adamw [default: from the model]
    #[arg(long, value_name = "RULE", help_heading = "Training")]
    pub optimizer: Option<OptimizerKind>,
    /// Learning rate after warm-up [default: from the model]
    #[arg(long, visible_alias = "lr", value_name = "RATE", help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// SGD's momentum
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    #[serde(deserialize_with = "quantity::optional")]
    pub momentum: Option<Share>,
    /// Nesterov's form of the momentum [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    pub nesterov: Option<bool>,
    /// Weight decay
    #[arg(long, value_name = "DECAY", help_heading = "Training")]
    pub weight_decay: Option<f64>,
    /// constant, step or cosine [default: cosine]
    #[arg(long, value_name = "KIND", help_heading = "Training")]
    pub schedule: Option<ScheduleKind>,
    /// Steps over which the learning rate rises from 0 [default: from the model]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub warmup_steps: Option<u64>,
    /// Schedule step: epochs between drops [default: a third of the epochs]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub step_epochs: Option<u32>,
    /// Schedule step: factor of a drop [default: 0.1]
    #[arg(long, value_name = "FACTOR", help_heading = "Training")]
    pub step_gamma: Option<f64>,
    /// Share of the target spread over all classes
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    #[serde(deserialize_with = "quantity::optional")]
    pub label_smoothing: Option<Share>,
    /// Scale gradients down to this norm
    #[arg(long, value_name = "NORM", help_heading = "Training")]
    pub clip_norm: Option<f64>,
    /// Stop after so many validations without improvement
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub early_stop: Option<u32>,
    /// lstm: size of the character embedding [default: 64]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub lstm_embed: Option<usize>,
    /// lstm: size of the hidden state [default: 256]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub lstm_hidden: Option<usize>,
    /// lstm: layers [default: 1]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub lstm_layers: Option<usize>,

    /// Where the run's log and checkpoints go [default: runs/TIME-MODEL]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub run_dir: Option<PathBuf>,
    /// Where the embedded data set is kept [default: the user's cache folder]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub cache_dir: Option<PathBuf>,
    /// Time between checkpoints, e.g. 500ms, 60s, 10m; 0s: after each step [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    #[serde(deserialize_with = "quantity::optional")]
    pub checkpoint_every: Option<Seconds>,
    /// Memory that the run may use, e.g. 2GiB [default: what is available]
    #[arg(long, value_name = "SIZE", help_heading = "Run")]
    #[serde(deserialize_with = "quantity::optional")]
    pub memory_max: Option<Bytes>,
}
}

/// A batch size, or the wish for the largest that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// The largest that fits, decided with the memory plan.
    Auto,
    /// So many samples, at least 1.
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
pub enum CacheChoice {
    /// In memory, if the page cache cannot hold the data set.
    Auto,
    /// Of this kind and size.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<JobRequest, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_file_says_what_flags_say() {
        let text = "model = 'resnet18'\ndata = 'photos'\nbatch-size = 'auto'\ncache = 'ram:2GiB'\n\
                    validation-fraction = '10%'\ncheckpoint-every = '5min'\nmemory-max = '2GiB'\n\
                    optimizer = 'adamw'\nschedule = 'step'\nprecision = 'bf16'\ndevice = 'vulkan'\nfeed = 'staged'\n";
        let expected = JobRequest {
            model: Some("resnet18".to_owned()),
            data: Some("photos".into()),
            batch_size: Some(BatchSize::Auto),
            cache: Some(CacheChoice::Fixed(CacheSettings::Ram { bytes: 2 << 30 })),
            validation_fraction: Some(Share(0.1)),
            checkpoint_every: Some(Seconds(300.0)),
            memory_max: Some(Bytes(2 << 30)),
            optimizer: Some(OptimizerKind::AdamW),
            schedule: Some(ScheduleKind::Step),
            precision: Some(Precision::Bf16),
            device: Some(DeviceChoice::Vulkan),
            feed: Some(FeedChoice::Staged),
            ..JobRequest::default()
        };
        assert_eq!(parsed(text), Ok(expected));
        assert_eq!(parsed("batch-size = 12").unwrap().batch_size, Some(BatchSize::Fixed(12)));
        assert_eq!(parsed(""), Ok(JobRequest::default()));
    }

    #[test]
    fn what_a_file_says_wrongly_is_told() {
        let cases = [
            ("bach-size = 12", "unknown field `bach-size`"),
            ("batch-size = 0", "a minibatch has at least 1 sample"),
            ("batch-size = 'many'", "`many` is neither a number nor auto"),
            ("checkpoint-every = 60", "`60` has no unit"),
            ("cache = 'tape:/x:1GiB'", "is not a cache such as auto, ram:2GiB"),
            ("epochs = 'ten'", "invalid type"),
            ("optimizer = 'adam'", "unknown variant `adam`"),
        ];
        for (text, words) in cases {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

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
    fn a_request_is_completed_where_it_says_nothing() {
        let flags = JobRequest { epochs: Some(3), flip: Some(false), ..JobRequest::default() };
        let file = JobRequest { epochs: Some(9), seed: Some(4), flip: Some(true), ..JobRequest::default() };
        let both = JobRequest { epochs: Some(3), seed: Some(4), flip: Some(false), ..JobRequest::default() };
        assert_eq!(flags.clone().or(file), both);
        assert_eq!(JobRequest::default().or(flags.clone()), flags);
    }
}
