//! ResNet (He et al. 2015) as torchvision builds it; in bottlenecks the stride is at the 3 × 3 convolution
//! ("v1.5").

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::layers::{BatchNorm2d, conv, convolved, dense, global_average};
use super::{Forward, ModelShape, NetInput};

const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// Two 3 × 3 convolutions, or a bottleneck of 1 × 1, 3 × 3 and 1 × 1 (where `conv3` is there).
#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm2d>,
    downsample: Option<(Conv2d, BatchNorm2d)>,
}

impl Block {
    /// `channels` of the input, `width` of the block, and whether it is a bottleneck.
    fn new(channels: usize, width: usize, stride: usize, bottleneck: bool, device: &Device) -> Self {
        let out = width * expansion(bottleneck);
        let (kernel1, stride1, stride2) = if bottleneck { (1, 1, stride) } else { (3, stride, 1) };
        let projected = stride != 1 || channels != out;
        Self {
            conv1: conv([channels, width], kernel1, stride1, 1, device),
            bn1: BatchNorm2d::new(width, device),
            conv2: conv([width, width], 3, stride2, 1, device),
            bn2: BatchNorm2d::new(width, device),
            conv3: bottleneck.then(|| conv([width, out], 1, 1, 1, device)),
            bn3: bottleneck.then(|| BatchNorm2d::new(out, device)),
            downsample: projected
                .then(|| (conv([channels, out], 1, stride, 1, device), BatchNorm2d::new(out, device))),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let x = relu(self.bn1.forward(convolved(&self.conv1, input.clone())));
        let mut x = self.bn2.forward(convolved(&self.conv2, x));
        if let (Some(conv3), Some(bn3)) = (&self.conv3, &self.bn3) {
            x = bn3.forward(convolved(conv3, relu(x)));
        }
        let shortcut = match &self.downsample {
            Some((conv, norm)) => norm.forward(convolved(conv, input)),
            None => input,
        };
        relu(x + shortcut)
    }
}

fn expansion(bottleneck: bool) -> usize {
    if bottleneck { 4 } else { 1 }
}

/// ResNet-18 or ResNet-50.
#[derive(Module, Debug)]
pub(super) struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    max_pool: MaxPool2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    fc: Linear,
}

impl ResNet {
    pub(super) fn resnet18(shape: &ModelShape, device: &Device) -> Self {
        Self::new([2, 2, 2, 2], false, shape.classes, device)
    }

    pub(super) fn resnet50(shape: &ModelShape, device: &Device) -> Self {
        Self::new([3, 4, 6, 3], true, shape.classes, device)
    }

    fn new(blocks: [usize; 4], bottleneck: bool, classes: usize, device: &Device) -> Self {
        let layer = |i: usize| -> Vec<Block> {
            let before = if i == 0 { WIDTHS[0] } else { WIDTHS[i - 1] * expansion(bottleneck) };
            let width = WIDTHS[i];
            let first = Block::new(before, width, if i == 0 { 1 } else { 2 }, bottleneck, device);
            let more = (1..blocks[i])
                .map(|_| Block::new(width * expansion(bottleneck), width, 1, bottleneck, device));
            std::iter::once(first).chain(more).collect()
        };
        Self {
            conv1: conv([3, WIDTHS[0]], 7, 2, 1, device),
            bn1: BatchNorm2d::new(WIDTHS[0], device),
            max_pool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            layer1: layer(0),
            layer2: layer(1),
            layer3: layer(2),
            layer4: layer(3),
            fc: LinearConfig::new(WIDTHS[3] * expansion(bottleneck), classes).init(device),
        }
    }
}

impl Forward for ResNet {
    fn forward(&self, input: NetInput) -> Tensor<2> {
        let x = relu(self.bn1.forward(convolved(&self.conv1, input.images())));
        let x = self.max_pool.forward(x);
        let blocks = [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten();
        let x = blocks.fold(x, |x, block| block.forward(x));
        dense(&self.fc, global_average(x))
    }

    const HEAD: &'static str = "fc.";
}
