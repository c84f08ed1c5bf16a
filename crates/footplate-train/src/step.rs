//! The training step: forward, loss, backward, update. Training, the memory plan's trials and the measurements of
//! `stalls` all make their steps with it.

use burn::tensor::{Int, Tensor};

use crate::loss::cross_entropy_sum;
use crate::network::{GradientMap, NetInput, Network};
use crate::optimizer::{Optimizer, clip_norm};

/// One or more minibatches on their way to one update.
#[derive(Default)]
pub(crate) struct Step {
    /// Of the summed loss of all minibatches, times the loss scale.
    gradients: GradientMap,
    /// Rows of scores so far.
    rows: usize,
    /// In nats, still on the device.
    loss_sum: Option<Tensor<1>>,
}

/// How gradients become an update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    /// The factor of the loss before the backward pass.
    pub(crate) loss_scale: f64,
    /// Gradients are scaled down to this L2 norm over all parameters.
    pub(crate) clip_norm: Option<f64>,
    /// The rule's rate; 0 costs as much as any other and leaves the parameters as they are.
    pub(crate) learning_rate: f64,
}

impl Step {
    /// Forward, loss and backward of a minibatch of `rows` rows of scores. Smoothing and `loss_scale` are those of
    /// the whole step.
    pub(crate) fn add(
        &mut self,
        net: &dyn Network,
        (input, targets, rows): (NetInput, Tensor<1, Int>, usize),
        label_smoothing: f64,
        loss_scale: f64,
    ) {
        let loss = cross_entropy_sum(net.forward(input), targets, label_smoothing);
        let value = loss.clone().inner();
        self.loss_sum = Some(match self.loss_sum.take() {
            Some(sum) => sum + value,
            None => value,
        });
        self.rows += rows;
        let loss = if loss_scale == 1.0 { loss } else { loss.mul_scalar(loss_scale) };
        for (path, gradient) in net.gradients(loss) {
            let sum = match self.gradients.remove(&path) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.gradients.insert(path, sum);
        }
    }

    /// Rows of scores so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The gradients so far, times the loss scale.
    pub(crate) fn gradients(&self) -> &GradientMap {
        &self.gradients
    }

    /// Takes the summed loss, if there was a minibatch with samples.
    pub(crate) fn take_loss(&mut self) -> Option<Tensor<1>> {
        self.loss_sum.take()
    }

    /// Updates the parameters by the mean of the gradients over all rows. There must be at least one row.
    pub(crate) fn update(self, net: &mut dyn Network, optimizer: &mut Optimizer, how: Update) {
        let divisor = self.rows as f64 * how.loss_scale;
        let mean = self.gradients.into_iter().map(|(path, gradient)| (path, gradient.div_scalar(divisor)));
        let mut gradients: GradientMap = mean.collect();
        if let Some(norm_max) = how.clip_norm {
            clip_norm(&mut gradients, norm_max);
        }
        optimizer.begin_step();
        // As is usual, biases and normalisation parameters (one dimension) do not decay.
        net.update(gradients, &mut |path, rank, value, gradient| {
            optimizer.update(path, rank > 1, value, gradient, how.learning_rate)
        });
    }
}
