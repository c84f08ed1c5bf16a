use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};

use super::*;
use crate::loss::cross_entropy_sum;
use crate::settings::LstmSize;
use crate::testing::seeded;

const LSTM: LstmSize = LstmSize { embed: 4, hidden: 6, layers: 2 };

fn build(entry: &ModelEntry, image_size: usize) -> Box<dyn Network> {
    (entry.build)(&ModelShape { classes: 5, image_size, lstm: LSTM }, &Device::flex())
}

#[test]
fn every_model_gives_a_score_for_each_class_at_any_size_from_its_smallest_on() {
    for entry in models() {
        for size in [entry.min_image_size, 40] {
            let (input, rows) = match entry.task {
                Task::Images => (NetInput::Images(Tensor::zeros([2, 3, size, size], &Device::flex())), 2),
                Task::CharacterLm => (NetInput::Tokens(Tensor::<2, Int>::zeros([2, 7], &Device::flex())), 14),
            };
            let _turn = seeded(1);
            assert_eq!(build(entry, size).forward(input).dims(), [rows, 5], "{} at {size}", entry.name);
        }
    }
}

/// torchvision's counts for 1000 classes (its model pages), less the head for 1000 and with one for 5.
#[test]
fn parameters_are_as_many_as_torchvisions() {
    let _turn = seeded(1);
    for (name, with_1000, features) in [
        ("resnet18", 11_689_512, 512),
        ("resnet50", 25_557_032, 2048),
        ("mobilenet_v3_small", 2_542_856, 1024),
        ("mobilenet_v3_large", 5_483_032, 1280),
    ] {
        let head = |classes: usize| classes * (features + 1);
        let count = build(find(name).unwrap(), 32).parameter_count();
        assert_eq!(count, with_1000 - head(1000) + head(5), "{name}");
    }
}

#[test]
fn parameters_follow_from_the_seed() {
    let values = |seed| {
        let _turn = seeded(seed);
        let net = build(find("lenet5").unwrap(), 32);
        net.tensors().into_iter().flat_map(|t| t.data.try_to_vec::<f32>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(values(1), values(1));
    assert_ne!(values(1), values(2));
}

#[test]
fn names_are_unique_and_paths_too() {
    let _turn = seeded(1);
    for entry in models() {
        let mut paths: Vec<String> = build(entry, 32).tensors().into_iter().map(|t| t.path).collect();
        let count = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), count, "{}", entry.name);
    }
}

/// The summed loss of a step, and the length of each parameter's gradient.
fn step(name: &str, device: &Device, dtype: FloatDType) -> (f64, BTreeMap<String, f64>) {
    let _turn = seeded(3);
    let shape = ModelShape { classes: 5, image_size: 32, lstm: LSTM };
    let net = (find(name).unwrap().build)(&shape, device);
    let values: Vec<f32> = (0..4 * 3 * 32 * 32).map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0).collect();
    let images = Tensor::<4>::from_data(TensorData::new(values, [4, 3, 32, 32]), device).cast(dtype);
    let targets = Tensor::<1, Int>::from_ints([0, 1, 2, 3], device);
    let loss = cross_entropy_sum(net.forward(NetInput::Images(images)), targets, 0.0);
    let number = |tensor: Tensor<1>| tensor.into_data().iter::<f64>().next().unwrap();
    let value = number(loss.clone().inner());
    let length = |gradient: Tensor<1>| number((gradient.clone() * gradient).sum()).sqrt();
    (value, net.gradients(loss).into_iter().map(|(path, gradient)| (path, length(gradient))).collect())
}

#[test]
fn activations_that_are_computed_again_give_the_same_gradients() {
    let device = Device::flex().autodiff();
    for name in ["lenet5", "resnet18", "mobilenet_v3_small"] {
        let kept = step(name, &device, FloatDType::F32);
        assert_eq!(kept, step(name, &device.clone().gradient_checkpointing(), FloatDType::F32), "{name}");
    }
}

/// Half precision has 11 bits, of which a network's depth loses some.
#[test]
fn half_precision_comes_near() {
    let device = Device::flex().autodiff();
    let (loss, gradients) = step("lenet5", &device, FloatDType::F32);
    for (dtype, near) in [(FloatDType::F16, 0.1), (FloatDType::BF16, 0.3)] {
        let (half_loss, half_gradients) = step("lenet5", &device, dtype);
        assert!((half_loss - loss).abs() < near * loss, "{dtype:?}: loss {half_loss}, {loss} in f32");
        for (path, length) in &gradients {
            let half = half_gradients[path];
            assert!((half - length).abs() < near * length, "{dtype:?} {path}: {half}, {length} in f32");
        }
    }
}
