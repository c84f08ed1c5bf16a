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

pub use crate::network::{Forward, NetInput, Network};
pub use registry::{Defaults, ModelEntry, ModelShape, Task, find, models};

#[cfg(test)]
mod tests;
