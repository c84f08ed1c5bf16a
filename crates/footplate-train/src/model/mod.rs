//! The networks, and the registry that names them.
//!
//! Module fields are named as torchvision's are, so that a parameter's path is its key there or is turned
//! into it by [`Forward::torch_key`].

mod layers;
mod lenet5;
mod lstm;
mod mobilenet_v3;
mod registry;
mod resnet;

use burn::module::Module;
use burn::tensor::{Int, Tensor};

pub use crate::params::Network;
pub use registry::{Defaults, LstmSize, ModelEntry, ModelShape, OptimizerKind, Task, find, models};

/// What a network is given.
#[derive(Clone, Debug)]
pub enum NetInput {
    /// Normalised images, `[n, 3, h, w]`.
    Images(Tensor<4>),
    /// Characters by number, `[n, t]`.
    Tokens(Tensor<2, Int>),
}

/// What a model's file implements.
pub trait Forward: Module + Send + 'static {
    /// Scores, `[rows, classes]`: a row for each image or, for a language model, for each character of
    /// `[n, t]` in row-major order.
    ///
    /// # Panics
    ///
    /// If the input is of the other kind: the registry's task keeps that from happening.
    fn forward(&self, input: NetInput) -> Tensor<2>;

    /// The key of the parameter at `path` in PyTorch's state dictionary.
    fn torch_key(&self, path: &str) -> String {
        path.to_owned()
    }

    /// Beginnings of the keys of the last layer: it may be of another size in a weights file.
    const HEAD: &'static str;
}

impl NetInput {
    /// The images.
    fn images(self) -> Tensor<4> {
        match self {
            Self::Images(images) => images,
            Self::Tokens(_) => panic!("an image model was given text"),
        }
    }

    /// The characters.
    fn tokens(self) -> Tensor<2, Int> {
        match self {
            Self::Tokens(tokens) => tokens,
            Self::Images(_) => panic!("a language model was given images"),
        }
    }
}

#[cfg(test)]
mod tests;
