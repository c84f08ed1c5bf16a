//! Everything that decides what a run computes. Two runs with equal settings, data and thread count on the
//! cpu device compute the same.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use footplate_data::CacheSettings;
use serde::{Deserialize, Serialize};

/// The complete settings of a training run: nothing is left to a default after this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrainSettings {
    /// A name from the registry.
    pub model: String,
    /// Height and width of the images that the model sees, in pixels. Not used by a language model.
    pub image_size: u32,
    /// Size of the language model. Not used by image models.
    pub lstm: LstmSize,
    /// Characters that the language model predicts from, per item.
    pub sequence_length: usize,
    /// Samples in one minibatch.
    pub batch_size: usize,
    /// Minibatches whose gradients make one step.
    pub accumulate: usize,
    /// Passes over the training split.
    pub epochs: u32,
    /// Ends the run after so many steps, whatever the epochs say.
    pub max_steps: Option<u64>,
    /// Seed of the parameters, the order and the augmentation.
    pub seed: u64,
    /// In what numbers the network is computed.
    #[serde(default)]
    pub precision: Precision,
    /// Activations that are cheap to compute are computed again for the backward pass and not kept.
    #[serde(default)]
    pub checkpoint_activations: bool,
    /// The rule of the update.
    pub optimizer: OptimizerSettings,
    /// The learning rate over the run.
    pub schedule: ScheduleSettings,
    /// Share of the target that is spread over all classes, 0 to below 1.
    pub label_smoothing: f64,
    /// Gradients are scaled down to this L2 norm over all parameters.
    pub clip_norm: Option<f64>,
    /// Ends the run after so many validations without improvement.
    pub early_stop: Option<u32>,
    /// Pixel augmentation of training images.
    pub augment: AugmentSettings,
    /// Weights to begin with, in torchvision's layout.
    pub weights: Option<PathBuf>,
    /// Threads that prepare minibatches; 0: the loop's own thread.
    pub workers: usize,
    /// The pipeline may choose up to so many by itself; `None`: it keeps `workers`.
    #[serde(default)]
    pub workers_max: Option<usize>,
    /// Minibatches prepared ahead, at most.
    pub prefetch_batches: usize,
    /// Bytes of minibatches prepared ahead, at most.
    pub prefetch_bytes: u64,
    /// Keeps a part of the training samples' bytes in memory or on a fast disk.
    pub cache: Option<CacheSettings>,
    /// Seconds between checkpoints; 0: after each step.
    pub checkpoint_every_s: f64,
    /// Share of the training split that may be unreadable or damaged, 0 to 1.
    pub max_bad_fraction: f64,
}

impl TrainSettings {
    /// The settings in TOML, under the flags' names.
    ///
    /// # Errors
    ///
    /// A number of more than 63 bits, which TOML does not hold.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// In what numbers a network is computed while it is trained. Parameters, normalisation and loss are f32 with any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision, 32 bits.
    #[default]
    F32,
    /// Half precision, with scaled gradients.
    F16,
    /// Half as many bits with the range of single precision.
    Bf16,
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            other => Err(format!("`{other}` is not one of f32, f16, bf16")),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// Size of the character language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmSize {
    /// Of a character's embedding.
    pub embed: usize,
    /// Of the hidden state.
    pub hidden: usize,
    /// Layers on top of each other.
    pub layers: usize,
}

/// The rule of the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2017).
    #[serde(rename = "adamw")]
    AdamW,
}

impl FromStr for OptimizerKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sgd" => Ok(Self::Sgd),
            "adamw" => Ok(Self::AdamW),
            other => Err(format!("`{other}` is not one of sgd, adamw")),
        }
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sgd => "sgd",
            Self::AdamW => "adamw",
        })
    }
}

/// The rule of the update and its constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OptimizerSettings {
    /// The rule: SGD or AdamW.
    pub kind: OptimizerKind,
    /// SGD's momentum, 0 to below 1. Not used by AdamW.
    pub momentum: f64,
    /// Nesterov's form of the momentum.
    pub nesterov: bool,
    /// L2 penalty (SGD) or decoupled decay (AdamW). Not applied to biases and normalisation parameters.
    pub weight_decay: f64,
}

/// The learning rate over the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScheduleSettings {
    /// The learning rate after warm-up.
    pub learning_rate: f64,
    /// How it goes on.
    pub kind: ScheduleKind,
    /// Steps over which it rises linearly from 0.
    pub warmup_steps: u64,
    /// For `step`: epochs between two drops.
    pub step_epochs: u32,
    /// For `step`: the factor of a drop.
    pub step_gamma: f64,
}

/// The course of the learning rate after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// It stays as it is.
    Constant,
    /// It drops by a factor every few epochs.
    Step,
    /// It falls to 0 along half a cosine (Loshchilov and Hutter 2016, without restarts).
    Cosine,
}

impl FromStr for ScheduleKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "constant" => Ok(Self::Constant),
            "step" => Ok(Self::Step),
            "cosine" => Ok(Self::Cosine),
            other => Err(format!("`{other}` is not one of constant, step, cosine")),
        }
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant",
            Self::Step => "step",
            Self::Cosine => "cosine",
        })
    }
}

/// Pixel augmentation of training images; validation images are resized and cropped at the centre.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AugmentSettings {
    /// Smallest share of an image's area that a random crop takes, 0 to 1.
    pub crop_min_area: f64,
    /// Whether images are mirrored at random.
    pub flip: bool,
    /// Strength of random changes of brightness, contrast and saturation; 0: none.
    pub color_jitter: f32,
    /// Whether images are turned upright as their EXIF orientation says.
    pub exif_orientation: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_settings;

    #[test]
    fn names_are_read_as_they_are_written() {
        for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        for kind in [ScheduleKind::Constant, ScheduleKind::Step, ScheduleKind::Cosine] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for kind in [OptimizerKind::Sgd, OptimizerKind::AdamW] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("f64".parse::<Precision>(), Err("`f64` is not one of f32, f16, bf16".to_owned()));
        let schedule = "linear".parse::<ScheduleKind>();
        assert_eq!(schedule, Err("`linear` is not one of constant, step, cosine".to_owned()));
        assert_eq!("adam".parse::<OptimizerKind>(), Err("`adam` is not one of sgd, adamw".to_owned()));
    }

    #[test]
    fn toml_gives_back_what_it_was_given() {
        let settings = TrainSettings {
            max_steps: Some(7),
            clip_norm: Some(1.5),
            weights: Some("w.safetensors".into()),
            workers_max: Some(4),
            cache: Some(CacheSettings::Ram { bytes: 1 << 30 }),
            ..small_settings("lstm")
        };
        let text = settings.to_toml().unwrap();
        assert_eq!(toml::from_str::<TrainSettings>(&text).unwrap(), settings);
        let plain = small_settings("lenet5");
        assert_eq!(toml::from_str::<TrainSettings>(&plain.to_toml().unwrap()).unwrap(), plain);
    }

    #[test]
    fn a_run_of_before_has_no_precision_and_no_recomputing_and_is_read() {
        let text = small_settings("lenet5").to_toml().unwrap();
        let new = ["precision", "checkpoint-activations"];
        let old: String = text
            .lines()
            .filter(|l| !new.iter().any(|n| l.starts_with(n)))
            .fold(String::new(), |text, line| text + line + "\n");
        assert!(old.len() < text.len());
        assert_eq!(toml::from_str::<TrainSettings>(&old).unwrap(), small_settings("lenet5"));
        let unknown = format!("surprise = 1\n{text}");
        assert!(toml::from_str::<TrainSettings>(&unknown).unwrap_err().to_string().contains("surprise"));
    }

    #[test]
    fn a_seed_of_64_bits_is_kept_or_refused_and_never_another() {
        let settings = TrainSettings { seed: u64::MAX, ..small_settings("lstm") };
        if let Ok(text) = settings.to_toml() {
            assert_eq!(toml::from_str::<TrainSettings>(&text).unwrap(), settings);
        }
    }
}
