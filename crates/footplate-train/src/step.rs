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

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::model::{ModelShape, find};
    use crate::settings::{LstmSize, OptimizerKind, OptimizerSettings};
    use crate::testing::seeded;

    const CLASSES: usize = 3;

    fn net() -> Box<dyn Network> {
        let _turn = seeded(5);
        let lstm = LstmSize { embed: 4, hidden: 6, layers: 1 };
        let shape = ModelShape { classes: CLASSES, image_size: 0, lstm };
        (find("lstm").unwrap().build)(&shape, &Device::flex().autodiff())
    }

    /// Windows of 4 characters, the same for the same numbers.
    fn batch(windows: std::ops::Range<i32>) -> (NetInput, Tensor<1, Int>, usize) {
        let device = Device::flex().autodiff();
        let items = windows.len();
        let tokens: Vec<i32> = windows.flat_map(|w| (0..4).map(move |t| (w * 5 + t * 7) % 3)).collect();
        let targets: Vec<i32> = tokens.iter().map(|token| (token + 1) % 3).collect();
        let input = Tensor::from_data(TensorData::new(tokens, [items, 4]), &device);
        let targets = Tensor::from_data(TensorData::new(targets, [4 * items]), &device);
        (NetInput::Tokens(input), targets, 4 * items)
    }

    fn optimizer() -> Optimizer {
        let kind = OptimizerKind::Sgd;
        Optimizer::new(OptimizerSettings { kind, momentum: 0.0, nesterov: false, weight_decay: 0.0 })
    }

    fn values(net: &dyn Network) -> Vec<f32> {
        net.tensors().iter().flat_map(|tensor| tensor.data.iter::<f32>()).collect()
    }

    /// How far the parameters move in one step of the rate 1.
    fn moved(batches: &[(i32, i32)], loss_scale: f64, clip_norm: Option<f64>) -> Vec<f32> {
        let mut net = net();
        let before = values(net.as_ref());
        let mut step = Step::default();
        for (from, to) in batches {
            step.add(net.as_ref(), batch(*from..*to), 0.1, loss_scale);
        }
        step.update(net.as_mut(), &mut optimizer(), Update { loss_scale, clip_norm, learning_rate: 1.0 });
        values(net.as_ref()).iter().zip(before).map(|(after, before)| after - before).collect()
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    fn length(values: &[f32]) -> f64 {
        values.iter().map(|value| f64::from(value * value)).sum::<f64>().sqrt()
    }

    #[test]
    fn unequal_parts_of_a_batch_make_the_step_of_the_whole() {
        let whole = moved(&[(0, 6)], 1.0, None);
        assert!(largest_difference(&whole, &moved(&[(0, 1), (1, 6)], 1.0, None)) < 1e-6);
        assert!(
            largest_difference(&whole, &moved(&[(0, 2)], 1.0, None)) > 1e-4,
            "the samples make no difference"
        );
    }

    #[test]
    fn the_loss_scale_leaves_no_trace_in_the_update() {
        let plain = moved(&[(0, 4)], 1.0, None);
        assert!(largest_difference(&plain, &moved(&[(0, 4)], 1024.0, None)) < 1e-6);
        // Clipping sees what is left after it is divided out.
        let limit = length(&plain) / 2.0;
        let clipped = moved(&[(0, 4)], 1024.0, Some(limit));
        assert!((length(&clipped) - limit).abs() < 1e-3 * limit, "{} of {limit}", length(&clipped));
    }

    #[test]
    fn a_rate_of_zero_moves_nothing_and_a_step_counts_its_rows_and_losses() {
        let mut net = net();
        let before = values(net.as_ref());
        let mut step = Step::default();
        assert!(step.take_loss().is_none());
        step.add(net.as_ref(), batch(0..2), 0.0, 1.0);
        let first = step.take_loss().unwrap().into_data().iter::<f64>().next().unwrap();
        step.add(net.as_ref(), batch(0..2), 0.0, 1.0);
        step.add(net.as_ref(), batch(0..2), 0.0, 1.0);
        let two = step.take_loss().unwrap().into_data().iter::<f64>().next().unwrap();
        assert!((two - 2.0 * first).abs() < 1e-4 && first > 0.0, "{first}, then {two}");
        assert_eq!(step.rows(), 24);
        assert!(step.gradients().values().all(|gradient| gradient.dims()[0] > 0));
        let update = Update { loss_scale: 1.0, clip_norm: None, learning_rate: 0.0 };
        step.update(net.as_mut(), &mut optimizer(), update);
        assert_eq!(values(net.as_ref()), before);
    }
}
