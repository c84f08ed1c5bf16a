//! MobileNetV3 (Howard et al. 2019) as torchvision builds it.

use burn::module::{Initializer, Module};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::layers::{BatchNorm2d, Dropout, conv, convolved, dense, global_average};
use super::{Forward, ModelShape, NetInput};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Small,
    Large,
}

/// One row of the paper's tables 1 and 2: kernel, expanded channels, output channels, squeeze-and-excite,
/// hard swish (else ReLU), stride. The input channels are the output of the row before.
type Row = (usize, usize, usize, bool, bool, usize);

const SMALL: &[Row] = &[
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];

const LARGE: &[Row] = &[
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

const STEM: usize = 16;
const DROPOUT: f64 = 0.2;

type ConvNorm = (Conv2d, BatchNorm2d);

fn conv_norm(channels: [usize; 2], kernel: usize, stride: usize, groups: usize, device: &Device) -> ConvNorm {
    // torchvision's constants for this network.
    let norm = BatchNorm2d::with_constants(channels[1], 1e-3, 0.01, device);
    (conv(channels, kernel, stride, groups, device), norm)
}

fn apply((conv, norm): &ConvNorm, x: Tensor<4>) -> Tensor<4> {
    norm.forward(convolved(conv, x))
}

/// `relu6(x + 3) / 6`.
fn hard_sigmoid<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.add_scalar(3.0).clamp(0.0, 6.0).div_scalar(6.0)
}

/// `x · relu6(x + 3) / 6`.
fn hard_swish<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * hard_sigmoid(x)
}

/// Weighs channels by what their means say.
#[derive(Module, Debug)]
struct SqueezeExcite {
    fc1: Conv2d,
    fc2: Conv2d,
}

impl SqueezeExcite {
    fn new(channels: usize, device: &Device) -> Self {
        let squeezed = divisible_by_8(channels / 4);
        let pointwise = |channels: [usize; 2]| {
            Conv2dConfig::new(channels, [1, 1])
                .with_initializer(Initializer::KaimingNormal {
                    gain: std::f64::consts::SQRT_2,
                    fan_out_only: true,
                })
                .init(device)
        };
        Self { fc1: pointwise([channels, squeezed]), fc2: pointwise([squeezed, channels]) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [items, channels, _, _] = x.dims();
        let mean = global_average(x.clone()).reshape([items, channels, 1, 1]);
        x * hard_sigmoid(convolved(&self.fc2, relu(convolved(&self.fc1, mean))))
    }
}

/// The nearest multiple of 8, not more than a tenth below (the reference code's `_make_divisible`).
fn divisible_by_8(n: usize) -> usize {
    let rounded = ((n + 4) / 8 * 8).max(8);
    if rounded * 10 < n * 9 { rounded + 8 } else { rounded }
}

#[derive(Module, Debug)]
struct InvertedResidual {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    squeeze_excite: Option<SqueezeExcite>,
    project: ConvNorm,
    hard_swish: bool,
    residual: bool,
}

impl InvertedResidual {
    fn new(channels: usize, row: Row, device: &Device) -> Self {
        let (kernel, expanded, out, squeeze, hard_swish, stride) = row;
        Self {
            expand: (expanded != channels).then(|| conv_norm([channels, expanded], 1, 1, 1, device)),
            depthwise: conv_norm([expanded, expanded], kernel, stride, expanded, device),
            squeeze_excite: squeeze.then(|| SqueezeExcite::new(expanded, device)),
            project: conv_norm([expanded, out], 1, 1, 1, device),
            hard_swish,
            residual: stride == 1 && channels == out,
        }
    }

    fn activate(&self, x: Tensor<4>) -> Tensor<4> {
        if self.hard_swish { hard_swish(x) } else { relu(x) }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut x = input.clone();
        if let Some(expand) = &self.expand {
            x = self.activate(apply(expand, x));
        }
        x = self.activate(apply(&self.depthwise, x));
        if let Some(squeeze_excite) = &self.squeeze_excite {
            x = squeeze_excite.forward(x);
        }
        x = apply(&self.project, x);
        if self.residual { x + input } else { x }
    }

    /// A part's place in torchvision's `block`, which counts only the parts that are there.
    fn place_of(&self, part: &str) -> usize {
        let expand = usize::from(self.expand.is_some());
        let squeeze = usize::from(self.squeeze_excite.is_some());
        match part {
            "expand" => 0,
            "depthwise" => expand,
            "squeeze_excite" => expand + 1,
            _ => expand + 1 + squeeze,
        }
    }
}

/// MobileNetV3, small or large.
#[derive(Module, Debug)]
pub(super) struct MobileNetV3 {
    stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    last: ConvNorm,
    hidden: Linear,
    dropout: Dropout,
    head: Linear,
}

impl MobileNetV3 {
    pub(super) fn new(variant: Variant, shape: &ModelShape, device: &Device) -> Self {
        let (rows, hidden) = match variant {
            Variant::Small => (SMALL, 1024),
            Variant::Large => (LARGE, 1280),
        };
        let mut channels = STEM;
        let mut blocks = Vec::with_capacity(rows.len());
        for row in rows {
            blocks.push(InvertedResidual::new(channels, *row, device));
            channels = row.2;
        }
        let wide = 6 * channels;
        let layer = |inputs, outputs| {
            LinearConfig::new(inputs, outputs)
                .with_initializer(Initializer::Normal { mean: 0.0, std: 0.01 })
                .init(device)
        };
        Self {
            stem: conv_norm([3, STEM], 3, 2, 1, device),
            blocks,
            last: conv_norm([channels, wide], 1, 1, 1, device),
            hidden: layer(wide, hidden),
            dropout: Dropout::new(DROPOUT),
            head: layer(hidden, shape.classes),
        }
    }
}

impl Forward for MobileNetV3 {
    fn forward(&self, input: NetInput) -> Tensor<2> {
        let x = hard_swish(apply(&self.stem, input.images()));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = global_average(hard_swish(apply(&self.last, x)));
        let x = hard_swish(dense(&self.hidden, x));
        dense(&self.head, self.dropout.forward(x))
    }

    fn torch_key(&self, path: &str) -> String {
        let parts: Vec<&str> = path.split('.').collect();
        match parts.as_slice() {
            ["stem", rest @ ..] => format!("features.0.{}", rest.join(".")),
            ["last", rest @ ..] => format!("features.{}.{}", self.blocks.len() + 1, rest.join(".")),
            ["hidden", name] => format!("classifier.0.{name}"),
            ["head", name] => format!("classifier.3.{name}"),
            ["blocks", number, part, rest @ ..] => {
                let index: usize = number.parse().unwrap_or(0);
                let place = self.blocks.get(index).map_or(0, |block| block.place_of(part));
                format!("features.{}.block.{place}.{}", index + 1, rest.join("."))
            }
            _ => path.to_owned(),
        }
    }

    const HEAD: &'static str = "classifier.3.";
}
