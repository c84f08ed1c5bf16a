//! One step of each network: the gradients of all its parameters on the GPU against the cpu's.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::gradients::{distance, floats, is_far, length, numbers};
use super::*;
use crate::loss::cross_entropy_sum;
use crate::model::{ModelShape, NetInput, Task, find};
use crate::settings::LstmSize;

const ITEMS: usize = 8;
const CLASSES: usize = 10;
const LENGTH: usize = 6;

/// The loss and each parameter's gradient of one step from a start that the cpu drew.
fn step(name: &str, side: usize, device: &Device) -> (f32, BTreeMap<String, Vec<f32>>) {
    let entry = find(name).unwrap();
    let lstm = LstmSize { embed: 8, hidden: 16, layers: 2 };
    let shape = ModelShape { classes: CLASSES, image_size: side, lstm };
    let drawn = (entry.build)(&shape, &Device::flex().autodiff()).tensors();
    let device = device.clone().autodiff();
    let mut net = (entry.build)(&shape, &device);
    net.load(&drawn.into_iter().map(|tensor| (tensor.path, tensor.data)).collect()).unwrap();
    let classes = |rows: usize| -> Tensor<1, Int> {
        let labels: Vec<i32> = (0..rows).map(|row| (row * 7 % CLASSES) as i32).collect();
        Tensor::from_data(TensorData::new(labels, [rows]), &device)
    };
    let (input, targets) = match entry.task {
        Task::Images => {
            let images = Tensor::from_data(numbers(&[ITEMS, 3, side, side], 5), &device);
            (NetInput::Images(images), classes(ITEMS))
        }
        Task::CharacterLm => {
            let rows = ITEMS * LENGTH;
            (NetInput::Tokens(classes(rows).reshape([ITEMS, LENGTH])), classes(rows))
        }
    };
    // Dropout draws from the cpu's generator.
    Device::flex().seed(3);
    let loss = cross_entropy_sum(net.forward(input), targets, 0.0);
    let value = loss.clone().inner().into_data().iter::<f32>().next().unwrap();
    let gradients = net.gradients(loss);
    (value, gradients.into_iter().map(|(path, gradient)| (path, floats(&gradient.into_data()))).collect())
}

/// `near`: a network's depth carries differences on.
fn agrees(name: &str, side: usize, near: f64) {
    let Some(device) = vulkan(FeedChoice::Auto) else { return };
    let [cpu, gpu] = [Device::flex(), device.device.clone()].map(|device| {
        let _turn = seeded(2);
        step(name, side, &device)
    });
    assert!((cpu.0 - gpu.0).abs() < 1e-4 * cpu.0, "{name}: loss {} {}", cpu.0, gpu.0);
    assert_eq!(cpu.1.keys().collect::<Vec<_>>(), gpu.1.keys().collect::<Vec<_>>());
    // Some gradients are nothing but rounding: of what is added before a normalisation, which takes it away again.
    let least = 1e-3 * cpu.1.values().map(|gradient| length(gradient)).fold(0.0, f64::max);
    let apart = |(path, gradient): (&String, &Vec<f32>)| {
        (path.clone(), distance(gradient, &gpu.1[path]) / length(gradient).max(least))
    };
    let differing: Vec<_> = cpu.1.iter().map(apart).filter(|(_, apart)| is_far(*apart, near)).collect();
    assert!(differing.is_empty(), "{name}: {differing:?}");
}

#[test]
fn a_step_of_lenet() {
    agrees("lenet5", 32, 1e-3);
}

#[test]
fn a_step_of_resnet() {
    agrees("resnet18", 32, 1e-3);
}

#[test]
fn a_step_of_mobilenet() {
    agrees("mobilenet_v3_small", 32, 1e-3);
}

#[test]
fn a_step_of_the_lstm() {
    agrees("lstm", 1, 1e-3);
}
