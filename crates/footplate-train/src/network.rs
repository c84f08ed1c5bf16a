//! What a network is to the rest of the program: a thing that gives scores and gradients, whose arrays have names.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use thiserror::Error;

/// Gradients of one step by parameter path, each flattened to one dimension.
pub type GradientMap = BTreeMap<String, Tensor<1>>;

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
    /// The images; panics on text, see [`Forward::forward`].
    pub(crate) fn images(self) -> Tensor<4> {
        match self {
            Self::Images(images) => images,
            Self::Tokens(_) => panic!("an image model was given text"),
        }
    }

    /// The characters; panics on images, see [`Forward::forward`].
    pub(crate) fn tokens(self) -> Tensor<2, Int> {
        match self {
            Self::Tokens(tokens) => tokens,
            Self::Images(_) => panic!("a language model was given images"),
        }
    }
}

/// Whether an array is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// It is trained by gradients.
    Parameter,
    /// A running statistic of a normalisation layer: it moves without gradients.
    Buffer,
}

/// One array of a network.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// Its place in the module, the same in each process.
    pub path: String,
    /// Whether it is trained.
    pub kind: ParamKind,
    /// A dense layer's weight is `[in, out]` here and `[out, in]` in PyTorch.
    pub transposed: bool,
    /// Its values and shape.
    pub data: TensorData,
}

/// Why arrays cannot be loaded into a network.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParamError {
    /// The network has it, and what is loaded has not.
    #[error("`{path}` is missing")]
    Missing {
        /// The path of the array.
        path: String,
    },
    /// It is of another shape.
    #[error("`{path}` is {found:?}, and the model needs {expected:?}")]
    Shape {
        /// The path of the array.
        path: String,
        /// The network's shape.
        expected: Vec<usize>,
        /// That of what is loaded.
        found: Vec<usize>,
    },
    /// What is loaded has it, and the network has not.
    #[error("`{path}` is not a part of the model")]
    Unknown {
        /// The path of the array.
        path: String,
    },
}

/// New value of a parameter, from its path, rank, value and gradient (both flattened to one dimension).
pub type UpdateRule<'a> = dyn FnMut(&str, usize, Tensor<1>, Tensor<1>) -> Tensor<1> + 'a;

/// A network of any type.
pub trait Network: Send {
    /// Scores, `[rows, classes]`; see [`Forward::forward`].
    fn forward(&self, input: NetInput) -> Tensor<2>;
    /// A copy for evaluation: without autodiff and with the running statistics as they are now.
    fn eval(&self) -> Box<dyn Network>;
    /// All arrays in a stable order.
    fn tensors(&self) -> Vec<NamedTensor>;
    /// Replaces all arrays. On an error some may have been replaced.
    fn load(&mut self, tensors: &BTreeMap<String, TensorData>) -> Result<(), ParamError>;
    /// Gradients of `loss` (one value) by path, each flattened to one dimension.
    fn gradients(&self, loss: Tensor<1>) -> GradientMap;
    /// Updates each parameter that has a gradient, in a stable order.
    fn update(&mut self, gradients: GradientMap, rule: &mut UpdateRule<'_>);
    /// The key of the array at `path` in PyTorch's state dictionary.
    fn torch_key(&self, path: &str) -> String;
    /// Beginning of the keys of the last layer.
    fn head(&self) -> &'static str;
    /// Values that are trained.
    fn parameter_count(&self) -> usize;
}
