//! The registry of networks.
//!
//! A new one is a file beside this one that implements [`Forward`](super::Forward), an entry in [`models`], and its name in
//! the help of the commands that take one (`crates/footplate/src/cli.rs` and `commands/tune/arguments.rs`). A simulated board
//! can run it once its work is in `crates/footplate-device/src/sim/workload.rs`.

use burn::tensor::Device;

use super::lenet5::LeNet5;
use super::lstm::CharacterLstm;
use super::mobilenet_v3::{MobileNetV3, Variant};
use super::resnet::ResNet;
use crate::network::Network;
use crate::params::Net;
use crate::settings::{LstmSize, OptimizerKind};

/// What a model learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Images with one class each.
    Images,
    /// Text, of which it predicts each next character.
    CharacterLm,
}

/// What must be known to build a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// Classes, or the size of the vocabulary.
    pub classes: usize,
    /// Height and width of the images.
    pub image_size: usize,
    /// For the language model.
    pub lstm: LstmSize,
}

/// Settings that suit a model on data sets of thousands to some ten thousand samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// Height and width of the images.
    pub image_size: usize,
    /// Samples in a minibatch.
    pub batch_size: usize,
    /// Passes over the data.
    pub epochs: u32,
    /// The rule of the update.
    pub optimizer: OptimizerKind,
    /// The learning rate for `batch_size`.
    pub learning_rate: f64,
    /// SGD's momentum, 0 to below 1.
    pub momentum: f64,
    /// Weight decay, 0 or more; not applied to biases and normalisation parameters.
    pub weight_decay: f64,
    /// Share of the steps that warm up.
    pub warmup_fraction: f64,
    /// Share of the target that is spread over all classes, 0 to below 1.
    pub label_smoothing: f64,
    /// Largest norm of the gradients.
    pub clip_norm: Option<f64>,
}

/// One model: its name, its defaults, and how it is built.
#[derive(Debug)]
pub struct ModelEntry {
    /// As `footplate train NAME` knows it.
    pub name: &'static str,
    /// What it learns from.
    pub task: Task,
    /// What it is, for help texts.
    pub about: &'static str,
    /// Smallest height and width that leave something of the image at its last layer.
    pub min_image_size: usize,
    /// Settings that suit it, where nothing else is asked for.
    pub defaults: Defaults,
    /// Builds it with random parameters: a pure function of the shape and of the device's seed.
    pub build: fn(&ModelShape, &Device) -> Box<dyn Network>,
}

const SGD: Defaults = Defaults {
    image_size: 224,
    batch_size: 32,
    epochs: 20,
    optimizer: OptimizerKind::Sgd,
    learning_rate: 0.02,
    momentum: 0.9,
    weight_decay: 1e-4,
    warmup_fraction: 0.05,
    label_smoothing: 0.0,
    clip_norm: None,
};

const LENET: Defaults = Defaults { image_size: 32, batch_size: 64, epochs: 8, learning_rate: 0.05, ..SGD };

const MOBILENET: Defaults =
    Defaults { optimizer: OptimizerKind::AdamW, learning_rate: 2e-3, weight_decay: 1e-2, ..SGD };

const LSTM: Defaults = Defaults {
    optimizer: OptimizerKind::AdamW,
    learning_rate: 3e-3,
    weight_decay: 0.0,
    epochs: 3,
    clip_norm: Some(1.0),
    ..SGD
};

macro_rules! image_model {
    ($name:literal, $about:literal, $min:literal, $defaults:expr, $build:expr) => {
        ModelEntry {
            name: $name,
            task: Task::Images,
            about: $about,
            min_image_size: $min,
            defaults: $defaults,
            build: |shape, device| Net::boxed($build(shape, device)),
        }
    };
}

/// All models, in the order of help texts.
///
/// ```
/// use footplate_train::model::{Task, find, models};
///
/// let resnet = find("resnet18").ok_or("no such model")?;
/// assert_eq!((resnet.task, resnet.defaults.image_size), (Task::Images, 224));
/// assert!(find("resnet-18").is_none());
/// let texts: Vec<&str> = models().iter().filter(|m| m.task == Task::CharacterLm).map(|m| m.name).collect();
/// assert_eq!(texts, ["lstm"]);
/// # Ok::<(), &str>(())
/// ```
pub fn models() -> &'static [ModelEntry] {
    const MODELS: &[ModelEntry] = &[
        image_model!("lenet5", "LeNet-5 with batch normalisation, for small images", 8, LENET, LeNet5::new),
        image_model!("resnet18", "ResNet-18 as torchvision's", 32, SGD, ResNet::resnet18),
        image_model!("resnet50", "ResNet-50 (v1.5) as torchvision's", 32, SGD, ResNet::resnet50),
        image_model!(
            "mobilenet_v3_small",
            "MobileNetV3 small as torchvision's",
            32,
            MOBILENET,
            |shape, device| { MobileNetV3::new(Variant::Small, shape, device) }
        ),
        image_model!(
            "mobilenet_v3_large",
            "MobileNetV3 large as torchvision's",
            32,
            MOBILENET,
            |shape, device| { MobileNetV3::new(Variant::Large, shape, device) }
        ),
        ModelEntry {
            name: "lstm",
            task: Task::CharacterLm,
            about: "character language model",
            min_image_size: 1,
            defaults: LSTM,
            build: |shape, device| Net::boxed(CharacterLstm::new(shape, device)),
        },
    ];
    MODELS
}

/// The model of that name.
pub fn find(name: &str) -> Option<&'static ModelEntry> {
    models().iter().find(|entry| entry.name == name)
}
