//! What each operation of the networks gives on the GPU, and its gradients, against the cpu's: at the shapes that
//! ResNet-18 and MobileNetV3 have on images of 32 pixels.

use burn::tensor::activation::relu;
use burn::tensor::module::{batch_norm_train, conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData};

use super::*;

/// Largest distance over length: of sums of some thousand numbers in another order.
const NEAR: f64 = 1e-5;

pub(super) fn numbers(shape: &[usize], seed: u64) -> TensorData {
    let bytes = pixels(2 * shape.iter().product::<usize>(), seed);
    let value = |pair: &[u8]| (f32::from(pair[0]) * 256.0 + f32::from(pair[1])) / 32_768.0 - 1.0;
    TensorData::new(bytes.chunks_exact(2).map(value).collect::<Vec<f32>>(), shape.to_vec())
}

pub(super) fn floats(data: &TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

pub(super) fn length(numbers: &[f32]) -> f64 {
    numbers.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// How far apart two lists of numbers are.
pub(super) fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    length(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f32>>())
}

/// What is no number is far from any.
pub(super) fn is_far(apart: f64, near: f64) -> bool {
    apart.is_nan() || apart >= near
}

/// An operation on an input and a weight.
type Operation<'a> = &'a dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<4>;

/// Its output and the gradients of input and weight, for a fixed gradient of the output.
fn gradients(device: &Device, input: &[usize], weight: &[usize], operation: Operation<'_>) -> [Vec<f32>; 3] {
    let device = device.clone().autodiff();
    let from = |shape: &[usize], seed| Tensor::<4>::from_data(numbers(shape, seed), &device).require_grad();
    let (x, w) = (from(input, 1), from(weight, 2));
    // What a convolution gives has its channels last in memory, whatever the shape says.
    let inner = x.clone().permute([0, 2, 3, 1]).mul_scalar(1.0).permute([0, 3, 1, 2]);
    let y = operation(inner, w.clone());
    let weighing = Tensor::<4>::from_data(numbers(&y.dims(), 3), &device);
    let mut found = (y.clone() * weighing).sum().backward();
    let gradient = |tensor: &Tensor<4>, found: &mut _| tensor.grad_remove(found).unwrap().into_data();
    [y.into_data(), gradient(&x, &mut found), gradient(&w, &mut found)].map(|data| floats(&data))
}

/// Names what differs.
fn differing(name: &str, input: &[usize], weight: &[usize], operation: Operation<'_>) -> Vec<String> {
    let Some(device) = vulkan(FeedChoice::Auto) else { return Vec::new() };
    let expected = gradients(&Device::flex(), input, weight, operation);
    let found = gradients(&device.device, input, weight, operation);
    let parts = ["output", "gradient of the input", "gradient of the weight"];
    let each = parts.iter().zip(expected.iter().zip(&found));
    each.map(|(part, (expected, found))| (part, distance(expected, found) / length(expected)))
        .filter(|(_, apart)| is_far(*apart, NEAR))
        .map(|(part, apart)| format!("{name}: {part} {apart:.1e}"))
        .collect()
}

const NONE: [String; 0] = [];

/// Channels in and out, side, kernel, stride and groups.
type Convolution = (usize, usize, usize, usize, usize, usize);

fn convolutions(cases: &[Convolution]) -> Vec<String> {
    let of = |case: &Convolution| {
        let (channels, out, side, kernel, stride, groups) = *case;
        let padding = kernel / 2;
        let operation = |x: Tensor<4>, w: Tensor<4>| {
            conv2d(x, w, None, ConvOptions::new([stride; 2], [padding; 2], [1; 2], groups))
        };
        let name = format!("convolution {case:?}");
        differing(&name, &[4, channels, side, side], &[out, channels / groups, kernel, kernel], &operation)
    };
    cases.iter().flat_map(of).collect()
}

#[test]
fn convolutions_of_resnet() {
    let cases = [
        (3, 64, 32, 7, 2, 1),
        (64, 64, 8, 3, 1, 1),
        (64, 128, 8, 3, 2, 1),
        (64, 128, 8, 1, 2, 1),
        (128, 128, 4, 3, 1, 1),
        (128, 256, 4, 3, 2, 1),
        (128, 256, 4, 1, 2, 1),
        (256, 256, 2, 3, 1, 1),
        (256, 512, 2, 3, 2, 1),
        (256, 512, 2, 1, 2, 1),
        (512, 512, 1, 3, 1, 1),
    ];
    assert_eq!(convolutions(&cases), NONE);
}

#[test]
fn convolutions_of_mobilenet() {
    let cases = [
        (3, 16, 32, 3, 2, 1),
        (16, 16, 16, 3, 2, 16),
        (16, 8, 1, 1, 1, 1),
        (8, 16, 1, 1, 1, 1),
        (16, 72, 8, 1, 1, 1),
        (72, 72, 8, 3, 2, 72),
        (88, 88, 4, 3, 1, 88),
        (96, 96, 4, 5, 2, 96),
        (240, 240, 2, 5, 1, 240),
        (96, 576, 1, 1, 1, 1),
        (576, 576, 1, 5, 1, 576),
    ];
    assert_eq!(convolutions(&cases), NONE);
}

#[test]
fn convolutions_of_other_widths() {
    // No multiples of four, groups of several channels, sides that the stride does not divide.
    let cases = [(5, 7, 9, 3, 1, 1), (6, 10, 7, 3, 2, 2), (1, 3, 5, 1, 2, 1), (12, 18, 6, 5, 2, 6)];
    assert_eq!(convolutions(&cases), NONE);
}

#[test]
fn pooling() {
    for side in [16, 8, 7] {
        let operation = |x: Tensor<4>, w: Tensor<4>| {
            let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
            max_pool2d(relu(x) * w, options)
        };
        assert_eq!(differing("max pool", &[4, 64, side, side], &[1, 64, 1, 1], &operation), NONE);
    }
    for side in [8, 4, 1] {
        let operation = |x: Tensor<4>, w: Tensor<4>| (x * w).mean_dim(2).mean_dim(3);
        assert_eq!(differing("mean", &[4, 512, side, side], &[1, 512, 1, 1], &operation), NONE);
        let operation = |x: Tensor<4>, w: Tensor<4>| {
            let [items, channels, height, width] = x.dims();
            (x * w).reshape([items, channels, height * width]).mean_dim(2).reshape([items, channels, 1, 1])
        };
        assert_eq!(differing("global average", &[4, 512, side, side], &[1, 512, 1, 1], &operation), NONE);
    }
}

#[test]
fn normalisation() {
    for (channels, side) in [(64, 16), (64, 8), (128, 4), (256, 2), (512, 1), (7, 3)] {
        let operation = |x: Tensor<4>, w: Tensor<4>| {
            let [_, channels, _, _] = x.dims();
            let beta = Tensor::zeros([channels], &x.device());
            batch_norm_train(x, w.reshape([channels]), beta, 1e-5).output
        };
        let name = format!("batch norm {channels} {side}");
        assert_eq!(differing(&name, &[16, channels, side, side], &[1, channels, 1, 1], &operation), NONE);
    }
}

#[test]
fn dense_layers() {
    for (items, from, to) in [(16, 512, 10), (4, 1024, 84), (5, 7, 3)] {
        let operation = |x: Tensor<4>, w: Tensor<4>| {
            let product = x.reshape([items, from]).matmul(w.reshape([from, to]));
            product.reshape([items, to, 1, 1])
        };
        let name = format!("dense {items} {from} {to}");
        assert_eq!(differing(&name, &[items, from, 1, 1], &[1, 1, from, to], &operation), NONE);
    }
}
