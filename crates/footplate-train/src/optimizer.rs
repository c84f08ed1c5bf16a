//! SGD and AdamW on flat tensors, with their state by parameter path.
//!
//! Burn's optimizers key their state by parameter ids that are drawn anew in each process; a resume needs
//! names that stay. The rules are PyTorch's (`torch.optim.SGD`, `torch.optim.AdamW`), in its order of
//! operations.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

use crate::network::GradientMap;
use crate::settings::{OptimizerKind, OptimizerSettings};

/// AdamW's constants besides rate and decay: PyTorch's defaults, kept fixed.
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// What an optimizer remembers of one parameter.
struct State {
    /// SGD: the momentum buffer. AdamW: the mean of the gradient.
    first: Tensor<1>,
    /// AdamW: the mean of the squared gradient.
    second: Option<Tensor<1>>,
}

/// An update rule with its memory.
pub(crate) struct Optimizer {
    settings: OptimizerSettings,
    states: BTreeMap<String, State>,
    /// Updates done, for AdamW's bias correction.
    updates: u64,
}

impl Optimizer {
    pub(crate) fn new(settings: OptimizerSettings) -> Self {
        Self { settings, states: BTreeMap::new(), updates: 0 }
    }

    /// Bytes of state for each byte of parameters.
    pub(crate) fn state_factor(settings: &OptimizerSettings) -> u64 {
        match settings.kind {
            OptimizerKind::AdamW => 2,
            OptimizerKind::Sgd => u64::from(settings.momentum > 0.0),
        }
    }

    /// To be called once before the updates of a step.
    pub(crate) fn begin_step(&mut self) {
        self.updates += 1;
    }

    /// The new value of the parameter at `path`. `decayed` says whether weight decay applies to it.
    pub(crate) fn update(
        &mut self,
        path: &str,
        decayed: bool,
        value: Tensor<1>,
        gradient: Tensor<1>,
        learning_rate: f64,
    ) -> Tensor<1> {
        let decay = if decayed { self.settings.weight_decay } else { 0.0 };
        match self.settings.kind {
            OptimizerKind::Sgd => self.sgd(path, decay, value, gradient, learning_rate),
            OptimizerKind::AdamW => self.adamw(path, decay, value, gradient, learning_rate),
        }
    }

    fn sgd(
        &mut self,
        path: &str,
        decay: f64,
        value: Tensor<1>,
        gradient: Tensor<1>,
        learning_rate: f64,
    ) -> Tensor<1> {
        let momentum = self.settings.momentum;
        let gradient = if decay > 0.0 { gradient + value.clone().mul_scalar(decay) } else { gradient };
        if momentum == 0.0 {
            return value - gradient.mul_scalar(learning_rate);
        }
        let buffer = match self.states.remove(path) {
            Some(state) => state.first.mul_scalar(momentum) + gradient.clone(),
            None => gradient.clone(),
        };
        let direction = if self.settings.nesterov {
            gradient + buffer.clone().mul_scalar(momentum)
        } else {
            buffer.clone()
        };
        self.states.insert(path.to_owned(), State { first: buffer, second: None });
        value - direction.mul_scalar(learning_rate)
    }

    fn adamw(
        &mut self,
        path: &str,
        decay: f64,
        value: Tensor<1>,
        gradient: Tensor<1>,
        learning_rate: f64,
    ) -> Tensor<1> {
        let squared = gradient.clone() * gradient.clone();
        let (first, second) = match self.states.remove(path) {
            Some(State { first, second: Some(second) }) => (
                first.mul_scalar(BETA_1) + gradient.mul_scalar(1.0 - BETA_1),
                second.mul_scalar(BETA_2) + squared.mul_scalar(1.0 - BETA_2),
            ),
            _ => (gradient.mul_scalar(1.0 - BETA_1), squared.mul_scalar(1.0 - BETA_2)),
        };
        let exponent = i32::try_from(self.updates).unwrap_or(i32::MAX);
        let correction_1 = 1.0 - BETA_1.powi(exponent);
        let correction_2 = 1.0 - BETA_2.powi(exponent);
        let denominator = second.clone().sqrt().div_scalar(correction_2.sqrt()).add_scalar(EPSILON);
        let direction = first.clone() / denominator;
        self.states.insert(path.to_owned(), State { first, second: Some(second) });
        let value = if decay > 0.0 { value.mul_scalar(1.0 - learning_rate * decay) } else { value };
        value - direction.mul_scalar(learning_rate / correction_1)
    }

    /// The memory as named arrays, for a checkpoint.
    pub(crate) fn to_tensors(&self) -> (u64, Vec<(String, TensorData)>) {
        let mut tensors = Vec::new();
        for (path, state) in &self.states {
            tensors.push((format!("{path}#first"), state.first.to_data()));
            if let Some(second) = &state.second {
                tensors.push((format!("{path}#second"), second.to_data()));
            }
        }
        (self.updates, tensors)
    }

    /// Takes over what [`Self::to_tensors`] gave. Arrays of unknown names are left out.
    pub(crate) fn load(&mut self, updates: u64, mut tensors: BTreeMap<String, TensorData>, device: &Device) {
        self.updates = updates;
        self.states.clear();
        let paths: Vec<String> =
            tensors.keys().filter_map(|name| name.strip_suffix("#first")).map(str::to_owned).collect();
        for path in paths {
            let Some(first) = tensors.remove(&format!("{path}#first")) else { continue };
            let second = tensors.remove(&format!("{path}#second")).map(|d| Tensor::from_data(d, device));
            self.states.insert(path, State { first: Tensor::from_data(first, device), second });
        }
    }
}

/// Scales all gradients so that their joint L2 norm is at most `norm_max`; returns the norm before.
pub(crate) fn clip_norm(gradients: &mut GradientMap, norm_max: f64) -> f64 {
    let mut sum = 0.0f64;
    for gradient in gradients.values() {
        let squares = (gradient.clone() * gradient.clone()).sum();
        sum += squares.into_data().iter::<f64>().next().unwrap_or(0.0);
    }
    let norm = sum.sqrt();
    if norm > norm_max {
        let factor = norm_max / (norm + 1e-6);
        for gradient in gradients.values_mut() {
            *gradient = gradient.clone().mul_scalar(factor);
        }
    }
    norm
}

#[cfg(test)]
mod tests;
