//! LeNet-5 (LeCun et al. 1998) as one would build it now: batch normalisation, ReLU, maximum pooling, and a
//! third convolution in place of the first dense layer.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::layers::{BatchNorm2d, conv, convolved, dense};
use super::{Forward, ModelShape, NetInput};

const CHANNELS: [usize; 4] = [3, 16, 32, 64];
const KERNELS: [usize; 3] = [5, 5, 3];
/// Height and width of what the dense layers see, whatever the image's.
const POOLED: usize = 4;
const HIDDEN: usize = 84;

/// About 130,000 parameters.
#[derive(Module, Debug)]
pub(super) struct LeNet5 {
    convs: Vec<(Conv2d, BatchNorm2d)>,
    max_pool: MaxPool2d,
    average_pool: AdaptiveAvgPool2d,
    fc1: Linear,
    fc2: Linear,
}

impl LeNet5 {
    pub(super) fn new(shape: &ModelShape, device: &Device) -> Self {
        let layer = |i: usize| {
            let channels = [CHANNELS[i], CHANNELS[i + 1]];
            (conv(channels, KERNELS[i], 1, 1, device), BatchNorm2d::new(channels[1], device))
        };
        Self {
            convs: (0..KERNELS.len()).map(layer).collect(),
            max_pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            average_pool: AdaptiveAvgPool2dConfig::new([POOLED, POOLED]).init(),
            fc1: LinearConfig::new(CHANNELS[3] * POOLED * POOLED, HIDDEN).init(device),
            fc2: LinearConfig::new(HIDDEN, shape.classes).init(device),
        }
    }
}

impl Forward for LeNet5 {
    fn forward(&self, input: NetInput) -> Tensor<2> {
        let mut x = input.images();
        for (conv, norm) in &self.convs {
            x = self.max_pool.forward(relu(norm.forward(convolved(conv, x))));
        }
        if x.dims()[2..] != [POOLED, POOLED] {
            x = self.average_pool.forward(x);
        }
        let x = relu(dense(&self.fc1, x.flatten::<2>(1, 3)));
        dense(&self.fc2, x)
    }

    const HEAD: &'static str = "fc2.";
}
