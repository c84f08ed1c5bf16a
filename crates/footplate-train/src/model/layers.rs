//! Layers that several networks share.

use burn::module::{Initializer, Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, PaddingConfig2d};
use burn::tensor::module::{batch_norm, batch_norm_train, conv2d, linear};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor};

/// Batch normalisation with PyTorch's running statistics: the variance is the unbiased one.
///
/// Burn's own keeps the biased variance, and holds back the last update of its statistics, so that a
/// checkpoint would miss it.
#[derive(Module, Debug)]
pub(super) struct BatchNorm2d {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: RunningState<Tensor<1>>,
    running_var: RunningState<Tensor<1>>,
    epsilon: f64,
    momentum: f64,
}

impl BatchNorm2d {
    pub(super) fn new(channels: usize, device: &Device) -> Self {
        Self::with_constants(channels, 1e-5, 0.1, device)
    }

    pub(super) fn with_constants(channels: usize, epsilon: f64, momentum: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
            epsilon,
            momentum,
        }
    }

    /// `[n, channels, h, w]` to the same. On a device with autodiff the batch's statistics are used, and the
    /// running ones are moved towards them; without, the running ones are used.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        if !input.device().is_autodiff() {
            let (mean, var) = (self.running_mean.value(), self.running_var.value());
            return batch_norm(input, self.weight.val(), self.bias.val(), mean, var, self.epsilon);
        }
        let [items, _, height, width] = input.dims();
        let count = (items * height * width) as f64;
        let dtype = input.dtype();
        let input = cast(input, DType::F32);
        let result = batch_norm_train(input, self.weight.val(), self.bias.val(), self.epsilon);
        let unbiased = result.variance.detach().mul_scalar(count / (count - 1.0).max(1.0));
        self.move_towards(&self.running_mean, result.mean.detach());
        self.move_towards(&self.running_var, unbiased);
        cast(result.output, dtype)
    }

    fn move_towards(&self, state: &RunningState<Tensor<1>>, batch: Tensor<1>) {
        let old = state.value().mul_scalar(1.0 - self.momentum);
        state.update((old + batch.mul_scalar(self.momentum)).detach());
        // Without this the update would only be taken over by the next one.
        let _ = state.value_sync();
    }
}

/// A convolution without bias, padded by half its kernel, initialised as torchvision's (He et al. 2015,
/// fan out).
pub(super) fn conv(
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
    device: &Device,
) -> Conv2d {
    let padding = kernel / 2;
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_groups(groups)
        .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true })
        .init(device)
}

/// What a convolution gives, in the precision of its input.
pub(super) fn convolved(conv: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let dtype = input.dtype();
    if dtype == DType::F32 {
        return conv.forward(input);
    }
    // As `conv` pads, and a kernel of 1 needs none.
    let padding = conv.kernel_size.map(|side| side / 2);
    let options = ConvOptions::new(conv.stride, padding, conv.dilation, conv.groups);
    let bias = conv.bias.as_ref().map(|bias| cast(bias.val(), dtype));
    conv2d(input, cast(conv.weight.val(), dtype), bias, options)
}

/// What a dense layer gives, in the precision of its input.
pub(super) fn dense(layer: &Linear, input: Tensor<2>) -> Tensor<2> {
    let dtype = input.dtype();
    if dtype == DType::F32 {
        return layer.forward(input);
    }
    let bias = layer.bias.as_ref().map(|bias| cast(bias.val(), dtype));
    linear(input, cast(layer.weight.val(), dtype), bias)
}

/// The same values in another precision; gradients come back in the one that they had.
fn cast<const D: usize>(input: Tensor<D>, dtype: DType) -> Tensor<D> {
    if input.dtype() == dtype { input } else { input.cast(FloatDType::from(dtype)) }
}

/// The mean of each channel: `[n, c, h, w]` to `[n, c]`.
pub(super) fn global_average(input: Tensor<4>) -> Tensor<2> {
    let [items, channels, height, width] = input.dims();
    let dtype = input.dtype();
    let input = cast(input, DType::F32);
    cast(input.reshape([items, channels, height * width]).mean_dim(2).reshape([items, channels]), dtype)
}

/// Sets values to zero at random and scales the others, on a device with autodiff.
///
/// The cpu draws for every device, so that a run is the same on all of them; Burn's own draws on the device.
#[derive(Module, Debug)]
pub(super) struct Dropout {
    probability: f64,
}

impl Dropout {
    pub(super) fn new(probability: f64) -> Self {
        Self { probability }
    }

    pub(super) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let device = input.device();
        if !device.is_autodiff() {
            return input;
        }
        let kept = 1.0 - self.probability;
        let mask = Tensor::<2>::random(input.dims(), Distribution::Bernoulli(kept), &Device::flex());
        let mask = cast(Tensor::from_data(mask.into_data(), &device), input.dtype());
        input * mask * (1.0 / kept)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::testing::seeded;

    const WIDTH: usize = 1000;

    fn dropped(seed: u64, device: &Device) -> Vec<f32> {
        let _turn = seeded(seed);
        let input = Tensor::<2>::ones([4, WIDTH], device);
        Dropout::new(0.2).forward(input).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn dropout_follows_from_the_seed_and_keeps_the_mean() {
        let device = Device::flex().autodiff();
        let once = dropped(3, &device);
        assert_eq!(once, dropped(3, &device));
        assert_ne!(once, dropped(4, &device));
        assert!(
            once.iter().all(|value| *value == 0.0 || *value == 1.25),
            "kept values are scaled by 1 / 0.8"
        );
        let kept = once.iter().filter(|value| **value > 0.0).count();
        // Five standard deviations of 4000 draws are 127.
        assert!(kept.abs_diff(4 * WIDTH * 8 / 10) < 127, "{kept} of {}", once.len());
    }

    #[test]
    fn dropout_does_nothing_outside_training() {
        assert!(dropped(3, &Device::flex()).iter().all(|value| *value == 1.0));
    }

    /// Two images of two pixels in one channel: 1, 3, 5, 7 has the mean 4 and the variances 5 (biased) and 20/3.
    fn batch(device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(vec![1.0f32, 3.0, 5.0, 7.0], [2, 1, 1, 2]), device)
    }

    #[test]
    fn normalisation_takes_the_biased_variance_and_remembers_the_unbiased_one() {
        let device = Device::flex().autodiff();
        let norm = BatchNorm2d::with_constants(1, 0.0, 0.1, &device);
        let output: Vec<f32> = norm.forward(batch(&device)).into_data().try_to_vec().unwrap();
        let expected = [-3.0, -1.0, 1.0, 3.0].map(|x: f32| x / 5f32.sqrt());
        assert!(output.iter().zip(expected).all(|(got, x)| (got - x).abs() < 1e-5), "{output:?}");
        let number =
            |state: &RunningState<Tensor<1>>| state.value().into_data().iter::<f32>().next().unwrap();
        assert!((number(&norm.running_mean) - 0.4).abs() < 1e-6);
        assert!((number(&norm.running_var) - (0.9 + 0.1 * 20.0 / 3.0)).abs() < 1e-5);
    }

    #[test]
    fn evaluation_uses_what_is_remembered_and_leaves_it_alone() {
        let device = Device::flex();
        let norm = BatchNorm2d::with_constants(1, 0.0, 0.1, &device);
        let output: Vec<f32> = norm.forward(batch(&device)).into_data().try_to_vec().unwrap();
        assert_eq!(output, [1.0, 3.0, 5.0, 7.0], "mean 0 and variance 1 at the beginning");
        assert_eq!(norm.running_mean.value().into_data().iter::<f32>().next(), Some(0.0));
    }

    #[test]
    fn the_average_is_that_of_each_channel() {
        let values: Vec<f32> = (0..8u8).map(f32::from).collect();
        let input = Tensor::<4>::from_data(TensorData::new(values, [1, 2, 2, 2]), &Device::flex());
        let means: Vec<f32> = global_average(input).into_data().try_to_vec().unwrap();
        assert_eq!(means, [1.5, 5.5]);
    }
}
